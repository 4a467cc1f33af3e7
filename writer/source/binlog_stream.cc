#include "writer/source/binlog_stream.h"

// clang-format off
#include <mariadb/mysql.h>
#include <mariadb/ma_pvio.h>  // needs mysql.h before it
// clang-format on

#include <errno.h>
#include <fmt/format.h>
#include <mariadb/errmsg.h>
#include <mariadb/mysqld_error.h>
#include <poll.h>

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

constexpr auto kDumpGtidCommand = static_cast<enum enum_server_command>(30);
constexpr std::size_t kEventTypeAt = 4;
constexpr std::size_t kEventHeaderBytes = 19;
constexpr std::byte kHeartbeatEvent{27};
constexpr std::byte kHeartbeatEventV2{41};
constexpr std::uint64_t kNsPerMs = 1'000'000;

std::uint64_t to_ns(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

template <class T>
void append_le(std::string& out, T value) {
  char bytes[sizeof value];
  store_le(bytes, value);
  out.append(bytes, sizeof bytes);
}

bool mentions(std::string_view text, std::initializer_list<std::string_view> phrases) {
  return std::any_of(phrases.begin(), phrases.end(),
                     [text](std::string_view phrase) { return text.find(phrase) != std::string_view::npos; });
}

}  // namespace

std::string_view to_string(StreamFailure failure) {
  switch (failure) {
    case StreamFailure::kLostConnection:
      return "lost connection";
    case StreamFailure::kHalfDead:
      return "half-dead connection";
    case StreamFailure::kInterrupted:
      return "interrupted";
    case StreamFailure::kReplacedId:
      return "server_id taken by another reader";
    case StreamFailure::kPurged:
      return "binlog purged";
    case StreamFailure::kDiverged:
      return "history diverged";
    case StreamFailure::kPrivilege:
      return "privilege missing";
    case StreamFailure::kOther:
      return "other";
  }
  return "other";
}

StreamFailure classify_stream_error(unsigned number, std::string_view text) {
  switch (number) {
    case ER_ACCESS_DENIED_ERROR:
    case ER_DBACCESS_DENIED_ERROR:
    case ER_SPECIFIC_ACCESS_DENIED_ERROR:
      return StreamFailure::kPrivilege;
    case ER_SLAVE_SAME_ID:
      return StreamFailure::kReplacedId;
    case ER_SERVER_SHUTDOWN:
    case ER_QUERY_INTERRUPTED:
    case ER_CONNECTION_KILLED:
    case CR_SSL_CONNECTION_ERROR:  // the handshake is long over: the connection is gone
      return StreamFailure::kLostConnection;
    case ER_MASTER_FATAL_ERROR_READING_BINLOG:
      break;
    default:
      return SqlError{number, {}, {}}.is_lost_connection() ? StreamFailure::kLostConnection
                                                           : StreamFailure::kOther;
  }
  // The texts of both servers; MySQL says source and replica where MariaDB says master and slave.
  if (mentions(text, {"same server_uuid/server_id"})) return StreamFailure::kReplacedId;
  if (mentions(
          text,
          {"not in the master's binlog", "is missing the GTID", "more GTIDs than the", "diverged",
           // What it changed has no version, and comes in no stream: the ring is of another history without it.
           "Cannot replicate anonymous transaction"})) {
    return StreamFailure::kDiverged;
  }
  if (mentions(text, {"purged", "Could not find GTID state", "could not find GTID state"})) {
    return StreamFailure::kPurged;
  }
  return StreamFailure::kOther;
}

BinlogStream::BinlogStream(std::unique_ptr<Connection> connection, const StreamOptions& options)
    : connection_(std::move(connection)),
      watchdog_ns_(to_ns(options.watchdog)),
      last_bytes_ns_(monotonic_ns()) {}

Result<std::unique_ptr<BinlogStream>> BinlogStream::open(const MysqlConfig& config,
                                                         const StreamOptions& options) {
  if (options.server_id == 0)
    return Error{ErrorKind::kInvalid, "a binlog stream needs a server_id other than 0"};
  if (options.watchdog <= options.heartbeat) {
    return Error{ErrorKind::kInvalid, "writer.watchdog must be longer than writer.heartbeat"};
  }
  ConnectionOptions session;
  session.connect_timeout = options.connect_timeout;
  // Inside one packet the library waits for itself: it gives up after the same silence.
  session.read_timeout = options.watchdog;
  session.interrupter = options.interrupter;
  RINGSIDE_ASSIGN(auto connection, Connection::open(config, session));
  std::unique_ptr<BinlogStream> stream(new BinlogStream(std::move(connection), options));
  RINGSIDE_TRY(stream->request(options));
  return stream;
}

Result<void> BinlogStream::request(const StreamOptions& options) {
  DumpSettings settings;
  settings.position = options.position;
  settings.heartbeat = options.heartbeat;
  // One identity per server_id is all MySQL asks for.
  settings.replica_uuid = fmt::format("72696e67-7369-4465-8000-0000{:08x}", options.server_id);
  RINGSIDE_ASSIGN(const std::string payload, dump_request(options));
  for (const std::string& statement : dump_statements(connection_->server(), settings)) {
    RINGSIDE_TRY(connection_->execute(statement));
  }
  const bool is_mariadb = connection_->server().flavour == Flavour::kMariaDb;
  if (!is_mariadb) {
    RINGSIDE_TRY(require_known_position(options));
    if (has_failed_) return {};
  }
  MYSQL* const mysql = connection_->handle();
  // skip_check: the answer is the stream itself, not a result that the library would read.
  if (mysql->methods->db_command(mysql, is_mariadb ? COM_BINLOG_DUMP : kDumpGtidCommand, payload.data(),
                                 payload.size(), 1, nullptr) != 0) {
    return connection_->take_error("asking for the binlog");
  }
  last_bytes_ns_ = monotonic_ns();
  return {};
}

Result<std::string> BinlogStream::dump_request(const StreamOptions& options) const {
  constexpr std::uint32_t kFirstEvent = 4;
  constexpr std::uint16_t kNoFlags = 0;
  std::string payload;
  if (connection_->server().flavour == Flavour::kMariaDb) {
    RINGSIDE_TRY(parse_mariadb_gtid_list(options.position));
    append_le(payload, kFirstEvent);
    append_le(payload, kNoFlags);
    append_le(payload, options.server_id);
    return payload;  // then the file's name: empty, @slave_connect_state counts
  }
  RINGSIDE_ASSIGN(const MysqlGtidSet set, MysqlGtidSet::parse(options.position));
  const std::string wire = wire_form(set);
  constexpr std::uint16_t kHeartbeatsOfSecondForm = 2;  // their positions have 64 bits
  constexpr std::uint16_t kThroughGtid = 4;
  append_le(payload, static_cast<std::uint16_t>(kHeartbeatsOfSecondForm | kThroughGtid));
  append_le(payload, options.server_id);
  append_le(payload, std::uint32_t{0});  // the file's name is empty
  append_le(payload, std::uint64_t{kFirstEvent});
  append_le(payload, static_cast<std::uint32_t>(wire.size()));
  payload += wire;
  return payload;
}

// The server itself looks for its own UUID's transactions only: of another server's (it was a replica once, or has been
// made anew) it would believe anything. It may be asked before its engine has committed what its stream has sent already:
// hence the wait, which is shorter than the silence at which the connection would be given up.
Result<void> BinlogStream::require_known_position(const StreamOptions& options) {
  const std::string position = quote_text(options.position);
  const double patience_s = std::chrono::duration<double>(options.watchdog).count() / 2;
  RINGSIDE_ASSIGN(
      const SqlRow row,
      connection_->query_row(fmt::format(
          "SELECT WAIT_FOR_EXECUTED_GTID_SET({}, {:.3f}), GTID_SUBTRACT({}, @@GLOBAL.gtid_executed)",
          position, patience_s, position)));
  if (row[0] == "0") return {};
  constexpr std::size_t kShown = 200;
  fail(StreamFailure::kDiverged,
       {ErrorKind::kInvalid,
        fmt::format("the database server at {} does not know the transactions '{}' of our position: "
                    "its history is another one",
                    connection_->endpoint(), row[1].value_or("").substr(0, kShown))});
  return {};
}

bool BinlogStream::has_cached_bytes() const {
  const MARIADB_PVIO* const pvio = connection_->handle()->net.pvio;
  return pvio != nullptr && pvio->cache != nullptr && pvio->cache + pvio->cache_size > pvio->cache_pos;
}

bool BinlogStream::data_is_waiting() const {
  if (has_cached_bytes()) return true;
  pollfd waited{connection_->socket_fd(), POLLIN, 0};
  return ::poll(&waited, 1, 0) > 0;
}

bool BinlogStream::wait_for_bytes(std::uint64_t deadline_ns, Packet& packet) {
  if (has_cached_bytes()) return true;
  pollfd waited{connection_->socket_fd(), POLLIN, 0};
  int ready = ::poll(&waited, 1, 0);
  while (ready <= 0) {
    if (ready < 0 && errno != EINTR) {
      packet = fail(StreamFailure::kOther,
                    {ErrorKind::kIo, fmt::format("waiting for the binlog: {}", std::strerror(errno))});
      return false;
    }
    // Only now, with nothing there: whoever was late to read is not the source's fault.
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t silence_ends = last_bytes_ns_ + watchdog_ns_;
    if (now >= silence_ends) {
      packet = fail_silent();
      return false;
    }
    if (now >= deadline_ns) {
      packet = {Outcome::kTimeout, {}};
      return false;
    }
    const std::uint64_t wait_ns = std::min(deadline_ns, silence_ends) - now;
    const timespec wait{static_cast<time_t>(wait_ns / 1'000'000'000),
                        static_cast<long>(wait_ns % 1'000'000'000)};
    ready = ::ppoll(&waited, 1, &wait, nullptr);
  }
  return true;
}

BinlogStream::Packet BinlogStream::read_packet(std::uint64_t deadline_ns) {
  Packet packet;
  if (has_failed_) return {Outcome::kFailed, {}};
  if (connection_->is_interrupted()) {
    return fail(StreamFailure::kInterrupted, {ErrorKind::kUnavailable, "the binlog stream was interrupted"});
  }
  // Bytes that the TLS library has taken off the socket do not show in poll(): there the read blocks until
  // the next packet, which is a heartbeat at the latest.
  if (!connection_->is_encrypted() && !wait_for_bytes(deadline_ns, packet)) return packet;
  MYSQL* const mysql = connection_->handle();
  const unsigned long size = mysql_net_read_packet(mysql);
  if (size == packet_error) return fail_from_library();
  last_bytes_ns_ = monotonic_ns();
  const Bytes bytes(reinterpret_cast<const std::byte*>(mysql->net.read_pos), size);
  constexpr std::byte kEofMarker{0xfe};
  constexpr std::size_t kMaxEofBytes = 8;
  if (size > 0 && bytes[0] == kEofMarker && size < kMaxEofBytes) {
    has_failed_ = true;
    failure_ = StreamFailure::kLostConnection;
    error_ = {ErrorKind::kUnavailable, "the database server ended the binlog stream (it shuts down)"};
    return {Outcome::kEnd, {}};
  }
  if (size <= kEventHeaderBytes || bytes[0] != std::byte{0}) {
    return fail(StreamFailure::kOther, {ErrorKind::kCorrupt, "a packet of the binlog stream is no event"});
  }
  packet.event = bytes.subspan(1);
  const std::byte type = packet.event[kEventTypeAt];
  packet.outcome =
      type == kHeartbeatEvent || type == kHeartbeatEventV2 ? Outcome::kHeartbeat : Outcome::kEvent;
  return packet;
}

BinlogStream::Packet BinlogStream::fail(StreamFailure failure, Error error) {
  has_failed_ = true;
  failure_ = failure;
  error_ = std::move(error);
  return {Outcome::kFailed, {}};
}

BinlogStream::Packet BinlogStream::fail_from_library() {
  Error error = connection_->take_error("reading the binlog");
  if (connection_->is_interrupted()) return fail(StreamFailure::kInterrupted, std::move(error));
  const SqlError& said = connection_->last_error();
  const StreamFailure failure = classify_stream_error(said.number, said.text);
  // Where the library reads and blocks (TLS), its time-out is what ends the silence.
  const bool is_silent = monotonic_ns() - last_bytes_ns_ >= watchdog_ns_;
  if (failure == StreamFailure::kLostConnection && is_silent) return fail_silent();
  return fail(failure, std::move(error));
}

BinlogStream::Packet BinlogStream::fail_silent() {
  const std::uint64_t silence_ns = monotonic_ns() - last_bytes_ns_;
  return fail(StreamFailure::kHalfDead,
              {ErrorKind::kUnavailable,
               fmt::format("nothing, not even a heartbeat, from the database server at {} for {} ms "
                           "(writer.watchdog): it hangs, or the network between drops packets",
                           connection_->endpoint(), silence_ns / kNsPerMs)});
}

}  // namespace ringside::writer
