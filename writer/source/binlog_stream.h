// BinlogStream: the server's binlog events as they are committed, from a GTID position on.
//
// libmariadb is the transport only: it authenticates, encrypts and joins packets; the events are handed on as
// bytes. A stream ends for good with its first failure; the owner opens another one from the position it has
// reached.
//
// The watchdog: an idle server sends a heartbeat every options.heartbeat. When nothing at all arrives for
// options.watchdog, the connection is half-dead (a frozen server, a firewall that forgot the flow) and the
// stream fails.
//
// Threads: one, except interrupt(), which any thread may call while the object lives.
// Ownership: owns the connection; an event's bytes are valid until the next read_packet().
// Errors: open() as Connection::open(); later failures are classified (StreamFailure) with an Error for
// people. Limits: an event has at most 1 GiB, the servers' own limit.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/config.h"
#include "base/result.h"
#include "writer/source/connection.h"

namespace ringside::writer {

// What the owner decides by. Except for the first three, connecting again alone does not help.
enum class StreamFailure : std::uint8_t {
  kLostConnection,  // the connection or the server went away
  kHalfDead,        // silence beyond the watchdog
  kInterrupted,     // interrupt()
  kReplacedId,      // another reader of the binlog took our server_id: take a new one
  kPurged,          // the server no longer has the binlog from our position on: a new snapshot
  kDiverged,        // the server does not know our position: its history is another one
  kPrivilege,       // refused: credentials or privileges
  kOther,
};
std::string_view to_string(StreamFailure failure);

// By the server's error number and, since 1236 has many meanings, its text.
StreamFailure classify_stream_error(unsigned number, std::string_view text);

struct StreamOptions {
  // Everything up to here is known: a MariaDB GTID position ("0-1-42"; "": from the first transaction), or a
  // MySQL GTID set.
  std::string position;
  std::uint32_t server_id = 0;  // random, not 0, no other replica's
  std::chrono::milliseconds heartbeat{1'000};
  std::chrono::milliseconds watchdog{5'000};
  std::chrono::milliseconds connect_timeout{5'000};
  Interrupter* interrupter = nullptr;
};

class BinlogStream {
 public:
  enum class Outcome : std::uint8_t {
    kEvent,      // `event` is one
    kHeartbeat,  // the source lives and has nothing new; `event` is the heartbeat's
    kTimeout,    // the deadline passed
    kEnd,        // the server ended the stream in order (it shuts down): open another one
    kFailed,     // see failure() and error()
  };
  struct Packet {
    Outcome outcome = Outcome::kTimeout;
    Bytes event;  // header, body and, where the format description says so, checksum
  };

  static Result<std::unique_ptr<BinlogStream>> open(const MysqlConfig& config, const StreamOptions& options);
  BinlogStream(const BinlogStream&) = delete;
  BinlogStream& operator=(const BinlogStream&) = delete;

  // The next packet, or kTimeout at `deadline_ns` (monotonic_ns(); a time in the past: only what is there).
  // Over TLS the deadline is met no more exactly than the heartbeat comes: what the TLS library holds back
  // cannot be polled for. No allocation unless an event is the largest so far.
  Packet read_packet(std::uint64_t deadline_ns);

  // Has the next packet begun to arrive? False may be late over TLS, never wrong for longer than a heartbeat.
  bool data_is_waiting() const;

  // Makes a blocking read_packet(), and every later one, fail with kInterrupted.
  void interrupt() { connection_->interrupt(); }

  StreamFailure failure() const { return failure_; }
  const Error& error() const { return error_; }
  const ServerVersion& server() const { return connection_->server(); }

 private:
  BinlogStream(std::unique_ptr<Connection> connection, const StreamOptions& options);

  Result<void> request(const StreamOptions& options);
  Result<std::string> dump_request(const StreamOptions& options) const;
  // MySQL. Leaves the stream failed, as kDiverged, when the server has not all of the position.
  Result<void> require_known_position(const StreamOptions& options);
  bool has_cached_bytes() const;
  // True when bytes are there; otherwise `packet` says why not.
  bool wait_for_bytes(std::uint64_t deadline_ns, Packet& packet);
  Packet fail(StreamFailure failure, Error error);
  Packet fail_from_library();
  Packet fail_silent();

  std::unique_ptr<Connection> connection_;
  std::uint64_t watchdog_ns_;
  std::uint64_t last_bytes_ns_;
  bool has_failed_ = false;
  StreamFailure failure_ = StreamFailure::kOther;
  Error error_{ErrorKind::kUnavailable, {}};
};

}  // namespace ringside::writer
