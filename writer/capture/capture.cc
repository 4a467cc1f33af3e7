#include "writer/capture/capture.h"

#include <fmt/format.h>
#include <mariadb/mysqld_error.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "shm/ring_files.h"
#include "writer/source/checks.h"
#include "writer/source/schema.h"
#include "writer/source/source_clock.h"

namespace ringside::writer {
namespace {

constexpr std::uint64_t kLastRetryNs = 5'000'000'000;
constexpr std::uint64_t kFullRetryNs = 30'000'000'000;  // at most, of what did not fit
constexpr std::uint64_t kFullRetryShare = 10;  // of the time that it took: a snapshot in vain is dear
constexpr std::uint64_t kInFlightNs = 5'000'000'000;
constexpr std::uint64_t kInFlightRetryNs = 20'000'000;
constexpr std::uint64_t kScrubBytes = std::uint64_t{1} << 20;  // a tick: some 0.2 ms, 10 MiB a second
constexpr std::uint64_t kPutOffNs = 2'000'000;  // versions without changes are put off no longer under load

shm::PublisherOptions publisher_options(const Config& config) {
  shm::PublisherOptions options;
  options.ring.directory = config.ring.directory;
  options.ring.name = config.ring.name;
  options.ring.segment_bytes = config.ring.segment_size_bytes;
  options.ring.chunk_bytes = config.ring.chunk_size_bytes;
  options.ring.max_bytes = config.ring.max_size_bytes;
  options.ring.reserve_bytes = config.ring.transaction_reserve_bytes;
  options.ring.max_record_bytes = config.ring.max_record_size_bytes;
  options.ring.reader_limit_bytes = config.ring.reader_limit_bytes;
  options.ring.reader_grace_ns = static_cast<std::uint64_t>(config.ring.reader_grace.count()) * 1'000'000;
  options.ring.reader_wait_ns = static_cast<std::uint64_t>(config.ring.reader_wait.count()) * 1'000'000;
  options.transaction_buffer_bytes = config.writer.transaction_buffer_bytes;
  options.spill_directory = config.writer.spill_directory;
  return options;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Zeros where the text, which comes out of the ring, is none of ours.
std::array<std::byte, 16> history_bytes(const std::string& hex) {
  std::array<std::byte, 16> bytes{};
  for (std::size_t i = 0; i < bytes.size() && 2 * i + 2 <= hex.size(); ++i) {
    const int high = hex_digit(hex[2 * i]);
    const int low = hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return {};
    bytes[i] = static_cast<std::byte>(high << 4 | low);
  }
  return bytes;
}

}  // namespace

Capture::Capture(const Config& config, UniqueFd ring_lock, Dependencies dependencies)
    : config_(config),
      ring_lock_(std::move(ring_lock)),
      dependencies_(std::move(dependencies)),
      publisher_options_(publisher_options(config)),
      stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      limits_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Capture::~Capture() = default;

void Capture::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  RINGSIDE_ASSERT(::write(stop_event_.get(), &one, sizeof one) == sizeof one);
  interrupter_.interrupt();
}

bool Capture::wait(std::uint64_t ns) {
  pollfd events[2] = {{stop_event_.get(), POLLIN, 0}, {limits_event_.get(), POLLIN, 0}};
  const std::uint64_t end = monotonic_ns() + ns;
  for (std::uint64_t now = monotonic_ns(); now < end && !stopping(); now = monotonic_ns()) {
    tick();
    if (std::exchange(limits_taken_, false)) return false;
    const std::uint64_t slice = std::min(end - now, kTickNs);
    ::poll(events, 2, static_cast<int>(slice / 1'000'000 + 1));
    if (events[1].revents != 0) take_limits();
  }
  return !stopping();
}

// ------------------------------------------------------------------------------------------------- the main loop

Result<void> Capture::run() {
  Result<void> ended;
  try {
    ended = run_until_stopped();
  } catch (const std::exception& e) {
    // Nothing that has not been published whole is seen by anybody; but this publisher is in the middle of something.
    ended = Error{ErrorKind::kUnavailable,
                  fmt::format("capture failed ({}): start the writer again, it goes on from the last version",
                              e.what())};
  }
  stream_.reset();
  if (ended) {
    set_state(shm::CaptureState::kStopped, "the writer was stopped");
    keep_ring();
  } else {
    log_error("capture has ended", {{"reason", ended.error().message}});
    set_state(shm::CaptureState::kFailed, ended.error().message);
  }
  return ended;
}

Result<void> Capture::run_until_stopped() {
  if (const Result<void> opened = open_ring(); !opened) {
    const ErrorKind kind = opened.error().kind;
    if (kind != ErrorKind::kLimit && kind != ErrorKind::kNotFound) return opened;
  }
  std::uint64_t retry_ns = kFirstRetryNs;
  while (!stopping()) {
    const std::uint64_t began = monotonic_ns();
    const bool was_held_back = !held_back_reason_.empty();
    const Result<void> ended = connect_once();
    stream_.reset();
    look_connection_.reset();
    if (stopping()) break;
    const std::uint64_t took = monotonic_ns() - began;
    if (took > kLastRetryNs) retry_ns = kFirstRetryNs;
    if (!ended) {
      const Error& error = ended.error();
      if (error.kind == ErrorKind::kInvalid || error.kind == ErrorKind::kUnsupported) return ended;
      const bool is_full = error.kind == ErrorKind::kLimit;
      // Held back for the first time, it took as long as the stream had lasted, which says nothing.
      const bool is_measured = was_held_back || held_back_reason_.empty();
      if (is_full && is_measured) retry_ns = std::clamp(kFullRetryShare * took, retry_ns, kFullRetryNs);
      log_warning("the source cannot be followed",
                  {{"reason", error.message}, {"retry_ms", retry_ns / 1'000'000}});
      {
        const std::lock_guard lock(status_mutex_);
        ++status_.attempts_failed;
      }
      set_state(is_full          ? shm::CaptureState::kFull
                : is_replacing() ? shm::CaptureState::kReplacing
                                 : shm::CaptureState::kReconnecting,
                error.message, is_full ? full_cause_ : FullCause::kNone);
    }
    // News of another history, and not the next in a row of them: replicas serve the old one until it is loaded.
    if (ended && is_replacing() && monotonic_ns() - epoch_loaded_ns_ > kLastRetryNs) retry_ns = kFirstRetryNs;
    const bool has_waited = wait(retry_ns);
    retry_ns = has_waited ? std::min(2 * retry_ns, kLastRetryNs) : kFirstRetryNs;
  }
  return {};
}

// So that the ring may be gone on with after a restart of the host as well. On a disk that takes as long as the disk does.
void Capture::keep_ring() {
  if (!publisher_) return;
  const std::uint64_t began = monotonic_ns();
  const Result<void> kept = publisher_->ring().stop_in_order();
  const std::uint64_t took_ms = (monotonic_ns() - began) / 1'000'000;
  if (kept) return log_info("the ring is kept as it is", {{"took_ms", took_ms}});
  log_warning("the ring will be made anew if the host is restarted now", {{"reason", kept.error().message}});
}

// Finds the epoch in force, or begins one, unless that has been done or is about to be.
Result<void> Capture::open_ring() {
  if (publisher_ || !new_epoch_reason_.empty()) return {};
  if (!ring_lock_) {
    RINGSIDE_ASSIGN(ring_lock_, shm::lock_ring(publisher_options_.ring));
  }
  RINGSIDE_ASSIGN(std::unique_ptr<shm::Publisher> opened,
                  shm::Publisher::open(publisher_options_, ring_lock_));
  if (opened->is_fresh()) {
    new_epoch_reason_ = opened->why_fresh();
    fresh_ = std::move(opened);
    return {};
  }
  publisher_ = std::move(opened);
  log_info("continuing the ring",
           {{"version", publisher_->last_commit().version.value()}, {"gtid", publisher_->executed().text()}});
  history_ = publisher_->catalogue().history;
  is_schema_unseen_ = true;
  may_guess_position_ = true;
  make_applier();
  publish_schema();
  return {};
}

// One connection's life: checks, a new epoch if one is needed, the stream until it ends. An Error is for the log; it is
// final when its kind is kInvalid (settings) or kUnsupported.
Result<void> Capture::connect_once() {
  full_cause_ = FullCause::kSpace;
  RINGSIDE_TRY(open_ring());
  // Now, and not only with the new ring (which insists on it): this writer may have to end before, because of what the
  // source's settings have become, and the next one has to know.
  if (history_was_lost_ && dependencies_.history(history_)) history_was_lost_ = false;
  RINGSIDE_TRY(look_at_source());
  if (!new_epoch_reason_.empty()) RINGSIDE_TRY(load_new_epoch());
  RINGSIDE_TRY(open_stream());
  RINGSIDE_TRY(follow());
  return {};
}

// ------------------------------------------------------------------------------------------- is it still the same?

Result<void> Capture::look_at_source() {
  ConnectionOptions options;
  options.interrupter = &interrupter_;
  RINGSIDE_ASSIGN(const std::unique_ptr<Connection> connection, Connection::open(config_.mysql, options));
  RINGSIDE_ASSIGN(const std::vector<Problem> problems, check_source(*connection, config_.mysql));
  if (!may_start(problems)) {
    return Error{ErrorKind::kInvalid, "the source does not allow exact capture:\n" + describe(problems)};
  }
  for (const Problem& problem : problems) {
    if (has_warned_) break;
    log_warning("a setting of the source is doubtful", {{"setting", problem.setting}, {"why", problem.why}});
  }
  has_warned_ = true;
  wall_ahead_ns_ = wall_ahead_ns();  // before: what is set meanwhile is noticed
  RINGSIDE_ASSIGN(source_clock_, measure_source_clock(*connection));
  if (connection->server().flavour == Flavour::kMySql) {
    RINGSIDE_ASSIGN(const SqlRow row, connection->query_row("SELECT @@GLOBAL.server_uuid"));
    server_uuid_ = row[0].value_or("");
  }
  if (new_epoch_reason_.empty()) RINGSIDE_TRY(compare_history(*connection));
  if (new_epoch_reason_.empty() && is_schema_unseen_) RINGSIDE_TRY(compare_schema(*connection));
  return {};
}

// What shows another history before any event does.
Result<void> Capture::compare_history(Connection& connection) {
  const shm::Catalogue& catalogue = publisher_->catalogue();
  if (catalogue.database != config_.mysql.database) {
    start_over(fmt::format("the ring holds the database {}, mysql.database is {}", catalogue.database,
                           config_.mysql.database),
               false);
    return {};
  }
  std::string id;
  const auto rows = connection.query("SELECT LOWER(HEX(`id`)) FROM `ringside`.`history` WHERE `only` = 1");
  if (!rows) {
    const unsigned number = connection.last_error().number;
    if (number != ER_NO_SUCH_TABLE && number != ER_BAD_DB_ERROR) return rows.error();
  } else if (rows->size() == 1) {
    id = rows->front()[0].value_or("");
  }
  if (id != history_) {
    start_over(
        fmt::format("the source's history is {}, the ring's is {}", id.empty() ? "a new one" : id, history_),
        false);
    return {};
  }
  // A server that has gone back and now says nothing would let the stream wait for ever.
  return connection.server().flavour == Flavour::kMySql ? compare_mysql(connection)
                                                        : compare_mariadb(connection);
}

Result<void> Capture::compare_mariadb(Connection& connection) {
  RINGSIDE_ASSIGN(const SqlRow row, connection.query_row("SELECT @@GLOBAL.gtid_binlog_pos"));
  RINGSIDE_ASSIGN(std::string lost, lost_by_mariadb(publisher_->last_commit().gtid, row[0].value_or("")));
  if (!lost.empty()) start_over(std::move(lost), true);
  return {};
}

// The binlog shows a transaction before the server counts it as executed: what seems to be missing may be on its way.
Result<void> Capture::compare_mysql(Connection& connection) {
  const std::uint64_t end = monotonic_ns() + kInFlightNs;
  for (;;) {
    RINGSIDE_ASSIGN(const SqlRow row,
                    connection.query_row("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged"));
    RINGSIDE_ASSIGN(MysqlDifference difference,
                    compare_with_mysql(publisher_->executed(), row[0].value_or(""), row[1].value_or("")));
    const bool may_come = !difference.lost.empty() && difference.purged.empty();
    if (may_come && monotonic_ns() < end && !stopping()) {
      wait(kInFlightRetryNs);
      continue;
    }
    if (!difference.lost.empty()) {
      start_over(std::move(difference.lost), true);
    } else if (!difference.purged.empty()) {
      {
        const std::lock_guard lock(status_mutex_);
        ++status_.reconnects[std::string(to_string(StreamFailure::kPurged))];
      }
      start_over(std::move(difference.purged), false);
    }
    return {};
  }
}

// What was changed while no writer was there, or behind the binlog's back, or by our own configuration.
Result<void> Capture::compare_schema(Connection& connection) {
  RINGSIDE_ASSIGN(const std::vector<shm::Table> tables, read_schema(connection, config_.mysql));
  Reloads differing;
  std::set<std::string> existing;
  for (const shm::Table& table : tables) {
    existing.insert(table.name);
    const shm::Table* live = publisher_->live_table(table.name);
    const std::string* reason = publisher_->quarantine_reason(table.name);
    const bool is_refused = table.state == shm::TableState::kQuarantined;
    const bool is_same = is_refused ? reason != nullptr && *reason == table.reason
                                    : live != nullptr && live->shape.columns == table.shape.columns &&
                                          live->key == table.key && live->key_name == table.key_name;
    if (!is_same) differing.names.insert(table.name);
  }
  for (const shm::Table& known : publisher_->catalogue().tables) {
    if (!existing.contains(known.name)) differing.names.insert(known.name);
  }
  applier_->request_reloads(std::move(differing));
  is_schema_unseen_ = false;
  return {};
}

// -------------------------------------------------------------------------------------------------- the stream

Result<void> Capture::open_stream() {
  StreamOptions options;
  RINGSIDE_ASSIGN(ResumePoint point, resume_point(publisher_->last_commit(), publisher_->executed(),
                                                  may_guess_position_, server_uuid_));
  is_position_guessed_ = point.is_guessed;
  options.position = std::move(point.position);
  options.heartbeat = config_.writer.heartbeat;
  options.watchdog = config_.writer.watchdog;
  options.interrupter = &interrupter_;
  if (publisher_->ring().server_id() == 0) {
    publisher_->ring().set_server_id(static_cast<std::uint32_t>(shm::random_nonzero()) | 1u);
  }
  options.server_id = static_cast<std::uint32_t>(publisher_->ring().server_id());
  publisher_->ring().set_source_clock(source_clock_);
  RINGSIDE_ASSIGN(stream_, BinlogStream::open(config_.mysql, options));
  applier_->expect(point.expected);
  stream_began_at_ = applier_->counters().transactions;
  set_state(held_back_reason_.empty() ? shm::CaptureState::kStreaming : shm::CaptureState::kFull,
            held_back_reason_, held_back_reason_.empty() ? FullCause::kNone : FullCause::kSpace);
  full_since_ns_ = 0;  // if it still has no room, it will say so again
  full_told_.clear();
  full_shown_.clear();
  log_info("following the binlog", {{"from", options.position}});
  return {};
}

// Follows the stream until something else has to be done.
Result<Capture::Next> Capture::follow() {
  for (;;) {
    if (stopping()) return Next::kStop;
    const std::uint64_t now = monotonic_ns();
    const bool is_between = !applier_->is_inside_transaction();
    if (!roomless_.empty() && !applier_->has_reloads() && is_between && now >= roomless_retry_ns_) {
      applier_->request_reloads(Reloads{std::exchange(roomless_, {}), false});
    }
    // A load may only begin between transactions, and when the last transaction that the ring has was found again.
    if (is_between && applier_->has_reloads() && !applier_->has_pending() && !applier_->is_expecting() &&
        now >= next_reload_ns_) {
      RINGSIDE_ASSIGN(const Next next, reload());
      if (next != Next::kGoOn) return next;
      continue;
    }
    if (!applier_->has_put_off()) {
      put_off_since_ns_ = now;
    } else if (is_between && (now - put_off_since_ns_ >= kPutOffNs || !stream_->data_is_waiting())) {
      RINGSIDE_ASSIGN(const Next next, handle_outcome(applier_->flush()));
      if (next != Next::kGoOn) return next;
    }
    if (is_between) {
      if (full_since_ns_ != 0) note_room();
      RINGSIDE_ASSIGN(const bool has_more, tend());
      if (has_more && !stream_->data_is_waiting()) {
        tick();
        continue;
      }
    }
    RINGSIDE_ASSIGN(const Next next, handle_packet(stream_->read_packet(now + kTickNs)));
    if (next != Next::kGoOn) return next;
    if (!held_back_reason_.empty()) note_getting_on();
    tick();
    if (is_replacing()) return Next::kReconnect;  // what the ring holds is not what was written there
  }
}

void Capture::note_getting_on() {
  if (publisher_->last_commit().version < held_back_at_) return;
  log_info("the transaction that found no room has passed", {{"version", held_back_at_.value()}});
  held_back_reason_.clear();
  set_state(shm::CaptureState::kStreaming, {});
}

Result<Capture::Next> Capture::handle_packet(const BinlogStream::Packet& packet) {
  switch (packet.outcome) {
    case BinlogStream::Outcome::kEvent: {
      alive_ns_ = monotonic_ns();
      look_at_clock();  // before the ring gets a commit of after the clock was set
      applier_->note_received(alive_ns_);
      const EventApplier::Outcome outcome = applier_->apply(packet.event);
      if (!applier_->is_inside_transaction()) note_current();
      publisher_->ring().set_source(applier_->newest(), applier_->source_time_us(), current_ns_);
      return handle_outcome(outcome);
    }
    case BinlogStream::Outcome::kHeartbeat:
      alive_ns_ = monotonic_ns();
      look_at_clock();
      current_ns_ = alive_ns_;  // the binlog's end
      publisher_->ring().set_source(applier_->newest(), 0, current_ns_);
      return look_while_idle();
    case BinlogStream::Outcome::kTimeout:
      return Next::kGoOn;
    case BinlogStream::Outcome::kEnd:
    case BinlogStream::Outcome::kFailed:
      return stream_ended(packet.outcome == BinlogStream::Outcome::kEnd);
  }
  return Next::kGoOn;
}

Result<Capture::Next> Capture::handle_outcome(EventApplier::Outcome outcome) {
  switch (outcome) {
    case EventApplier::Outcome::kGoOn:
      return Next::kGoOn;
    case EventApplier::Outcome::kRingFull:
      return wait_for_room();
    case EventApplier::Outcome::kLater:
      return Error{ErrorKind::kUnavailable, applier_->reason()};
    case EventApplier::Outcome::kSpillFull:
      held_back_reason_ = applier_->reason();
      held_back_at_ = applier_->newest();
      return Error{ErrorKind::kLimit, held_back_reason_};
    case EventApplier::Outcome::kReopen: {
      Error error{ErrorKind::kUnavailable, applier_->reason()};
      drop_publisher();
      return error;
    }
    case EventApplier::Outcome::kLostHistory:
      start_over(applier_->reason(), true);
      return Next::kReconnect;
    case EventApplier::Outcome::kFailed:
      return Error{ErrorKind::kUnsupported, applier_->reason()};
  }
  return Next::kGoOn;
}

Result<Capture::Next> Capture::stream_ended(bool in_order) {
  if (stopping()) return Next::kStop;
  const std::string_view why = in_order ? "server_shutdown" : to_string(stream_->failure());
  {
    const std::lock_guard lock(status_mutex_);
    ++status_.reconnects[std::string(why)];
  }
  if (in_order) {
    set_state(shm::CaptureState::kReconnecting, "the server is shutting down");
    return Next::kReconnect;
  }
  const Error& error = stream_->error();
  switch (stream_->failure()) {
    case StreamFailure::kPurged:
    case StreamFailure::kDiverged:
      if (is_position_guessed_ && publisher_->last_commit().events_checksum == 0) {
        may_guess_position_ = false;  // the snapshot's own position is known to be right
        return Next::kReconnect;
      }
      start_over(error.message, stream_->failure() == StreamFailure::kDiverged);
      return Next::kReconnect;
    case StreamFailure::kReplacedId:
      publisher_->ring().set_server_id(static_cast<std::uint32_t>(shm::random_nonzero()) | 1u);
      break;
    case StreamFailure::kPrivilege:
      return Error{ErrorKind::kInvalid, error.message};
    default:
      break;
  }
  return Error{ErrorKind::kUnavailable, error.message};
}

void Capture::start_over(std::string reason, bool history_was_lost) {
  log_warning("the ring has to be loaded anew", {{"reason", reason}});
  new_epoch_reason_ = std::move(reason);
  history_was_lost_ = history_was_lost;
  set_state(shm::CaptureState::kReplacing, "starting over: " + new_epoch_reason_);
}

// It has failed, and what it holds in memory is not to be relied on: the next connection opens the ring anew.
void Capture::drop_publisher() {
  applier_.reset();
  publisher_.reset();
}

void Capture::make_applier() {
  EventApplier::Options options;
  options.database = config_.mysql.database;
  options.is_chosen = [this](std::string_view table) { return config_.mysql.is_chosen(table); };
  options.on_marker = [this](Bytes id, Version version, std::string_view gtid) {
    dependencies_.tracker->committed(id, version, gtid);
  };
  applier_ = std::make_unique<EventApplier>(*publisher_, std::move(options));
}

// -------------------------------------------------------------------------------------------------------- reporting

void Capture::publish_schema() {
  auto schema = std::make_shared<Schema>();
  schema->database = config_.mysql.database;
  schema->history = history_bytes(history_);
  // The newest incarnation of each name, whether it is served or not: commands do not depend on it.
  for (const shm::Table& table : publisher_->catalogue().tables) {
    if (publisher_->catalogue().find(table.name) == &table) schema->tables.push_back(table);
  }
  dependencies_.schema->set(std::move(schema));
  schema_generation_ = publisher_->catalogue().generation;
}

void Capture::tick() {
  const std::uint64_t now = monotonic_ns();
  if (now < next_tick_ns_) return;
  next_tick_ns_ = now + kTickNs;
  take_limits();
  if (!publisher_) return;
  shm::RingWriter& ring = publisher_->ring();
  ring.beat(now);
  const std::size_t evicted = ring.check_readers(now);
  if (evicted > 0)
    log_warning("evicted readers that held back the ring without getting on", {{"readers", evicted}});
  if (!is_replacing()) {
    if (const Result<void> whole = publisher_->scrub(kScrubBytes); !whole) {
      log_error("the ring is corrupt", {{"reason", whole.error().message}});
      {
        const std::lock_guard lock(status_mutex_);
        ++status_.corruptions;
      }
      return start_over(whole.error().message, false);
    }
  }
  if (publisher_->catalogue().generation != schema_generation_) publish_schema();
  const std::lock_guard lock(status_mutex_);
  status_.epoch = ring.epoch();
  status_.version = publisher_->last_commit().version;
  status_.gtid = publisher_->executed().text();
  status_.source_alive_ns = alive_ns_;
  status_.source_clock = source_clock_;
  status_.readers_evicted += evicted;
  status_.spilled_bytes = publisher_->spilled_bytes();
  status_.ring = ring.usage();
  status_.scrubbed = ring.scrubbed();
  status_.compaction = publisher_->compaction();
  status_.readers = ring.readers();
  status_.tables = publisher_->usage();
  status_.quarantined.clear();
  for (const auto& [name, reason] : publisher_->quarantined()) status_.quarantined.emplace_back(name, reason);
  if (!applier_) return;
  status_.newest_seen = applier_->newest();
  if (status_.newest_seen <= status_.version) status_.current_as_of_ns = current_ns_;
  status_.counters = applier_->counters();
}

void Capture::set_state(shm::CaptureState state, std::string reason, FullCause full) {
  // Whatever holds the new ring up, replicas serve a history that is no longer the source's.
  const bool hides_replacing = state == shm::CaptureState::kFull && is_replacing();
  if (publisher_) {
    publisher_->ring().set_capture_state(hides_replacing ? shm::CaptureState::kReplacing : state);
  }
  StreamState stream = StreamState::kStarting;
  switch (state) {
    case shm::CaptureState::kStarting:
      break;
    case shm::CaptureState::kStreaming:
      stream = StreamState::kFollowing;
      break;
    case shm::CaptureState::kReconnecting:
    case shm::CaptureState::kFull:
    case shm::CaptureState::kReplacing:
      stream = StreamState::kInterrupted;
      break;
    case shm::CaptureState::kFailed:
    case shm::CaptureState::kStopped:
      stream = StreamState::kStopped;
      break;
  }
  dependencies_.tracker->set_stream_state(stream);
  {
    const std::lock_guard lock(status_mutex_);
    status_.state = state;
    status_.reason = std::move(reason);
    status_.full = full;
  }
  next_tick_ns_ = 0;
  tick();
}

CaptureStatus Capture::status() const {
  const std::lock_guard lock(status_mutex_);
  return status_;
}

}  // namespace ringside::writer
