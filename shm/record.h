// Records: the framed entries of the log. docs/ring-format.md has the byte diagrams; this is the code for
// them.
//
//   offset  0  u32 crc32c of bytes 4 … length-1, continued over the record's position (8 bytes, little-endian),
//              so that old bytes of a reused slot are not taken for a record
//           4  u32 length: the whole record, header and padding, a multiple of 8
//           8  u8  type      9  u8 flags     10  u16 column count (rows)
//          12  u32 TableId  16  u32 ShapeId  20  u32 key bytes
//          24  u64 version
//          32  u64 address of the row's previous version in units of 8 bytes (low 40 bits; 0: none)
//          40  payload
//
// A row's payload: the normalised key; the end offset of each column's value relative to the first value (u16
// each, u32 with kWideOffsets); the values as JSON text, ready to be served. An empty value is SQL NULL. A
// tombstone's payload is the key alone.
//
// All integers are little-endian. Everything here is validated when read: shared memory is outside input.
//
// Threads: pure functions and values.   Ownership: views point into the caller's bytes.
// Errors: parse functions return false for bytes that contradict themselves.   Limits: kMaxRecordBytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "shm/layout.h"

namespace ringside::shm {

enum class RecordType : std::uint8_t {
  kCheckpoint = 1,  // opens every segment: where the log stands
  kRow = 2,         // a row's new version
  kTombstone = 3,   // a row's deletion
  kRelocation = 4,  // a live row appended again by compaction, version unchanged; same payload as kRow
  kCommit = 5,      // closes a transaction, or a batch of a load
  kTableEvent = 6,  // a table goes live, is dropped, is quarantined
  kSegmentEnd = 7,  // the log goes on in the slot named
};

inline constexpr std::uint8_t kWideOffsets = 0x01;  // flags of kRow and kRelocation
inline constexpr std::uint8_t kLoadBatch = 0x02;    // flags of kCommit: rows of a loading table, no version

inline constexpr std::size_t kRecordHeaderBytes = 40;
inline constexpr std::size_t kRecordAlignment = 8;
inline constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 30;
inline constexpr std::size_t kMaxColumns = 4096;

struct RecordHeader {
  std::uint32_t crc = 0;
  std::uint32_t length = 0;
  RecordType type = RecordType::kRow;
  std::uint8_t flags = 0;
  std::uint16_t column_count = 0;
  TableId table_id;
  ShapeId shape_id;
  std::uint32_t key_bytes = 0;
  Version version;
  std::uint64_t previous = 0;  // an address in units of 8 bytes, 0 for none
};

// The bytes a record of this payload takes in the log.
constexpr std::size_t record_bytes(std::size_t payload_bytes) {
  return (kRecordHeaderBytes + payload_bytes + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}

// Writes the header's 40 bytes. `to` has kRecordHeaderBytes.
void store_header(const RecordHeader& header, std::byte* to);
// Reads and checks a header: known type, length within [40, kMaxRecordBytes] and a multiple of 8, key within
// the record. Does not look at the checksum. Precondition: kRecordHeaderBytes at `from`.
bool load_header(const std::byte* from, RecordHeader& header);
// The checksum of a whole record (its first 4 bytes left out) at `position`.
std::uint32_t record_crc(Bytes record, Position position);

// A row record (kRow, kRelocation) with its parts found and bounds-checked.
class RowView {
 public:
  // False when the parts do not fit the record. `record` is the whole record; O(1).
  static bool parse(const RecordHeader& header, Bytes record, RowView& row);

  std::string_view key() const { return key_; }
  std::size_t column_count() const { return column_count_; }
  // The value's JSON text; empty for SQL NULL, and for an offset that points outside the record.
  std::string_view value(std::size_t column) const;
  // Every offset in order and inside; O(columns). parse() does not do it, so that reading one column stays
  // O(1).
  bool offsets_are_valid() const;

 private:
  std::size_t end_offset(std::size_t column) const;

  std::string_view key_;
  const std::byte* ends_ = nullptr;
  std::string_view values_;  // up to the record's end, padding included
  std::size_t column_count_ = 0;
  bool wide_ = false;
};

// Builds a row's payload. Reused from row to row: keeps its memory. Order: begin, add… once per column, set
// key, take.
class RowBuilder {
 public:
  void begin();
  void add_null() { ends_.push_back(values_.size()); }
  void add(std::string_view json) {
    values_.append(json);
    ends_.push_back(values_.size());
  }
  // For encoders that write in place: append to values(), then close_value().
  std::string& values() { return values_; }
  void close_value() { ends_.push_back(values_.size()); }

  std::size_t column_count() const { return ends_.size(); }
  std::string_view value(std::size_t column) const;  // what was added, for making the key
  void set_key(Bytes key) { key_.assign(as_text(key)); }
  std::string_view key() const { return key_; }

  // The payload; valid until the next begin(). `flags` takes kWideOffsets where needed.
  std::string_view payload(std::uint8_t& flags);

 private:
  std::string key_;
  std::vector<std::size_t> ends_;
  std::string values_;
  std::string payload_;
};

// What a commit record says of its transaction.
struct Commit {
  std::uint64_t commit_time_us = 0;   // the source's clock, since 1970; 0 when the source does not tell
  std::uint64_t events_checksum = 0;  // of the transaction's binlog events, compared on every reconnect
  std::uint32_t row_count = 0;        // records of rows and tombstones since the commit before
  // The transaction's own: "0-1-42", "uuid:5", "uuid:tag:5". Empty for a MySQL snapshot's state.
  std::string_view gtid;
  // MySQL: a set that was executed together with it since the commit before; empty when that is `gtid` alone.
  std::string_view executed = {};
  // CLOCK_MONOTONIC when the writer had received the transaction's end; 0: of no transaction received.
  std::uint64_t received_ns = 0;
};
std::string commit_payload(const Commit& commit);
bool parse_commit(const RecordHeader& header, Bytes record, Commit& commit);

// Where the log stands at the beginning of a segment. header.version: of the last commit before.
struct Checkpoint {
  Position position;                       // of this record, the segment's start
  std::uint64_t catalogue_generation = 0;  // in force from here on
  std::string_view gtid_set;               // everything up to the version: "0-1-42", or a MySQL set
};
std::string checkpoint_payload(const Checkpoint& checkpoint);
// How long it is, without making it: asked for at every transaction.
constexpr std::size_t checkpoint_payload_bytes(std::size_t gtid_set_bytes) {
  return 2 * sizeof(std::uint64_t) + sizeof(std::uint32_t) + gtid_set_bytes;
}
bool parse_checkpoint(const RecordHeader& header, Bytes record, Checkpoint& checkpoint);

enum class TableAction : std::uint8_t {
  kLive = 1,     // the incarnation header.table_id serves the name from this version on; another one of that
                 // name ends
  kDropped = 2,  // the incarnation is gone; its rows are dead
  kQuarantined = 3  // the name is refused from this version on, with the reason
};
struct TableEvent {
  TableAction action = TableAction::kLive;
  std::uint64_t catalogue_generation = 0;  // must have been read before this record is applied
  std::string_view name;
  std::string_view reason;  // kQuarantined
};
std::string table_event_payload(const TableEvent& event);
bool parse_table_event(const RecordHeader& header, Bytes record, TableEvent& event);

// What a record still to come will look for in an index: its table, and its key's hash. table 0: nothing, or not known.
// Not verified: for prefetching alone.
struct Upcoming {
  TableId table;
  std::uint64_t hash = 0;
};
// Of the records that follow one: twelve, eight and four of them on. A cache miss takes as long as one record or two; many at
// a time cost each a tenth of that.
struct Ahead {
  Upcoming far;
  Upcoming middle;
  Upcoming near;
};

// A record met while walking the log. `bytes` is the whole record, copied out and with its checksum verified.
struct Record {
  RecordHeader header;
  Bytes bytes;
  Address address = 0;
  Position position;
  bool is_behind_gap = false;  // its segment does not follow the one walked before: commits between are gone
  Ahead ahead;
};

enum class CopyStatus : std::uint8_t {
  kOk,
  kTooSmall,  // the record is longer than the buffer; its header is set
  kGone,      // the slot was reused meanwhile (only after an eviction)
  kCorrupt,   // no record of a plausible form at this address
};

}  // namespace ringside::shm
