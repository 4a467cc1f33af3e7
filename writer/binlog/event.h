// Binlog events: bytes in, typed values out. MariaDB 10.11 and MySQL 9.7.
//
//   offset 0  u32 timestamp (seconds)     4  u8 type      5  u32 server id
//          9  u32 size, header included  13  u32 end position (0 for made-up events)  17  u16 flags
//         19  post header and body, by type
//       -4    u32 CRC-32 (zlib's) of all before it, when the format description says so
//
// The decoder is fed whole events in order, as they come out of COM_BINLOG_DUMP (without the OK byte) or stand in a
// binlog file behind its four magic bytes. It learns flavour and checksum from FORMAT_DESCRIPTION. Types that carry
// nothing for us are Ignored; what we would need and cannot decode is Unsupported, with the reason, so that a caller
// never passes over a change.
//
// Threads: one decoder belongs to one thread.
// Ownership: views in an Event point into the bytes given to decode() or into the decoder's own buffer; both must
// stand until the next decode().   Errors: Result with kCorrupt for bytes that contradict themselves or their
// checksum, kUnsupported for a format description of unknown layout.   Limits: kMaxInflatedBytes (wire.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"
#include "writer/binlog/wire.h"

namespace ringside::writer::binlog {

inline constexpr std::size_t kEventHeaderBytes = 19;
inline constexpr std::size_t kChecksumBytes = 4;

enum class Flavour : std::uint8_t { kMysql, kMariadb };

struct EventHeader {
  std::uint32_t timestamp = 0;
  std::uint8_t type = 0;
  std::uint32_t server_id = 0;
  std::uint32_t size = 0;
  std::uint32_t end_position = 0;
  std::uint16_t flags = 0;
};

struct FormatDescription {
  std::string_view server_version;
  Flavour flavour = Flavour::kMysql;
  bool has_checksums = false;
};
struct Rotate {
  std::uint64_t position = 0;
  std::string_view file;
};
// Proof of life on an idle stream. Both forms (27 and 41).
struct Heartbeat {
  std::string_view file;
  std::uint64_t position = 0;
};

// Opens a transaction on MariaDB. The server id of the GTID is the header's.
struct MariadbGtid {
  std::uint32_t domain = 0;
  std::uint64_t sequence = 0;
  std::uint8_t flags = 0;
  std::uint64_t commit_id = 0;   // group commit, 0 when it was alone
  std::uint8_t extra_flags = 0;  // two-phase ALTER
  std::string_view xid_gtrid;    // XA only
  std::string_view xid_bqual;
  std::uint32_t xid_format = 0;

  bool is_standalone() const {
    return (flags & 0x01) != 0;
  }  // no COMMIT or XID follows: ends with its one event
  bool is_transactional() const { return (flags & 0x04) != 0; }
  bool is_ddl() const { return (flags & 0x20) != 0; }
  bool is_xa_prepare() const { return (flags & 0x40) != 0; }
  bool is_xa_complete() const { return (flags & 0x80) != 0; }
  // An ALTER in two phases (binlog_alter_two_phase) changes nothing before its COMMIT part.
  bool is_alter_start() const { return (extra_flags & 0x02) != 0; }
};

// The state at a binlog file's beginning: per domain and server the last sequence number.
class MariadbGtidList {
 public:
  struct Entry {
    std::uint32_t domain = 0;
    std::uint32_t server_id = 0;
    std::uint64_t sequence = 0;
  };
  explicit MariadbGtidList(Bytes entries = {}) : entries_(entries) {}
  std::size_t size() const { return entries_.size() / 16; }
  Entry operator[](std::size_t index) const;

 private:
  Bytes entries_;
};

// Opens a transaction on MySQL: types 33 and 42 (tagged).
struct MysqlGtid {
  std::array<std::byte, 16> uuid{};
  std::string_view tag;  // empty for type 33
  std::uint64_t number = 0;
  std::uint8_t flags =
      0;  // 1 for DDL, XA COMMIT and DML in statement form; a transaction of rows alone has 0
  // Since 1970, by the clock of the server where it was committed first; 0: the event does not say.
  std::uint64_t commit_time_us = 0;
};

struct Query {
  std::uint32_t thread_id = 0;
  std::uint16_t error_code = 0;
  std::string_view schema;
  std::string_view sql;
  std::uint64_t sql_mode = 0;          // 0 when the event does not say
  std::uint32_t client_collation = 0;  // of `sql`; 0 when the event does not say
};
// Ends a transaction.
struct Xid {
  std::uint64_t number = 0;
};
// Ends an XA transaction's first phase, or its only one.
struct XaPrepare {
  bool is_one_phase = false;
  std::uint32_t format = 0;
  std::string_view gtrid;
  std::string_view bqual;
};
// The statement behind the rows that follow, for people.
struct AnnotateRows {
  std::string_view sql;
};

// Names a table id for the row events that follow; table_map.h decodes the body.
struct TableMapEvent {
  std::uint64_t table_id = 0;
  std::uint16_t flags = 0;
  Flavour flavour = Flavour::kMysql;
  Bytes body;  // behind the post header
};

enum class RowsOperation : std::uint8_t { kWrite, kUpdate, kDelete };

struct RowsEvent {
  RowsOperation operation = RowsOperation::kWrite;
  std::uint64_t table_id = 0;
  std::uint16_t flags = 0;
  std::uint64_t column_count = 0;
  Bytes present;        // bitmap of the columns in the image (of an update: in the image before)
  Bytes present_after;  // updates only
  Bytes images;
};

// A whole transaction but its GTID, packed (MySQL's binlog_transaction_compression); payload.h has the events in it.
struct TransactionPayload {
  enum class Compression : std::uint8_t { kNone, kZstd };

  Compression compression = Compression::kNone;
  std::uint64_t size = 0;  // of the events, unpacked
  Bytes packed;
};

// The server lost events: what follows is no complete history.
struct Incident {
  std::uint16_t number = 0;
  std::string_view message;
};
// Known to change nothing that is mirrored (STOP, checkpoints, previous GTIDs, encryption start, statement text, …).
struct Ignored {};
struct Unsupported {
  std::string_view reason;  // lives for ever
};

using EventBody = std::variant<Ignored, FormatDescription, Rotate, Heartbeat, MariadbGtid, MariadbGtidList,
                               MysqlGtid, Query, Xid, XaPrepare, AnnotateRows, TableMapEvent, RowsEvent,
                               TransactionPayload, Incident, Unsupported>;

struct Event {
  EventHeader header;
  EventBody body;
};

// The header alone, unchecked. Empty when there are fewer than kEventHeaderBytes.
std::optional<EventHeader> read_event_header(Bytes bytes);

class EventDecoder {
 public:
  // `event`: one whole event. Allocates only to grow the buffer for compressed events, and for errors.
  Result<Event> decode(Bytes event);
  // The same for an event out of a TransactionPayload: those have no checksum. kCorrupt for what cannot stand in one.
  Result<Event> decode_inner(Bytes event);

  // As the last FORMAT_DESCRIPTION said.
  Flavour flavour() const { return flavour_; }
  bool has_checksums() const { return has_checksums_; }

 private:
  Result<Bytes> without_checksum(const EventHeader& header, Bytes event) const;
  Result<EventBody> decode_format(Bytes event);
  Result<EventBody> decode_body(const EventHeader& header, Bytes body);
  Result<EventBody> decode_query(Bytes body, bool is_compressed);
  Result<EventBody> decode_rows(std::uint8_t type, Bytes body);
  bool unpack(Bytes packed, std::string_view& text);

  bool has_format_ = false;
  Flavour flavour_ = Flavour::kMysql;
  bool has_checksums_ = false;
  Inflater inflater_;
  std::string unpacked_;
};

// An event's type for people: "TABLE_MAP", or "type 99".
std::string event_type_name(std::uint8_t type);

}  // namespace ringside::writer::binlog
