#include "writer/capture/capture.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "shm/ring_files.h"
#include "writer/source/checks.h"
#include "writer/source/connection.h"

namespace ringside::writer {
namespace {

constexpr std::uint64_t kFirstRetryNs = 50'000'000;
constexpr std::uint64_t kLastRetryNs = 5'000'000'000;
constexpr std::uint64_t kRoomRetryNs = 200'000'000;
constexpr unsigned kSnapshotAttempts = 200;  // to find one that is not behind the stream; each takes milliseconds

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
  options.transaction_buffer_bytes = config.writer.transaction_buffer_bytes;
  options.spill_directory = config.writer.spill_directory;
  return options;
}

std::array<std::byte, 16> history_bytes(const std::string& hex) {
  std::array<std::byte, 16> bytes{};
  for (std::size_t i = 0; i < bytes.size() && 2 * i + 2 <= hex.size(); ++i) {
    bytes[i] = static_cast<std::byte>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  }
  return bytes;
}

}  // namespace

Capture::Capture(const Config& config, UniqueFd ring_lock, Dependencies dependencies)
    : config_(config),
      ring_lock_(std::move(ring_lock)),
      dependencies_(std::move(dependencies)),
      publisher_options_(publisher_options(config)),
      stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Capture::~Capture() = default;

void Capture::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  RINGSIDE_ASSERT(::write(stop_event_.get(), &one, sizeof one) == sizeof one);
  const std::lock_guard lock(interrupt_mutex_);
  if (interrupt_) interrupt_();
}

// What stop() interrupts from now on; nullptr: nothing, before `source` goes away.
template <class Source>
void Capture::set_interruptible(Source* source) {
  const std::lock_guard lock(interrupt_mutex_);
  interrupt_ = nullptr;
  if (source == nullptr) return;
  interrupt_ = [source] { source->interrupt(); };
  if (stopping()) source->interrupt();
}

void Capture::wait(std::uint64_t ns) {
  pollfd poll_fd{stop_event_.get(), POLLIN, 0};
  const std::uint64_t end = monotonic_ns() + ns;
  for (std::uint64_t now = monotonic_ns(); now < end && !stopping(); now = monotonic_ns()) {
    tick();
    const std::uint64_t slice = std::min(end - now, kTickNs);
    ::poll(&poll_fd, 1, static_cast<int>(slice / 1'000'000 + 1));
  }
}

// --------------------------------------------------------------------------------------------------- the main loop

Result<void> Capture::run() {
  RINGSIDE_ASSIGN(std::unique_ptr<shm::Publisher> opened, shm::Publisher::open(publisher_options_, ring_lock_));
  if (opened->is_fresh()) {
    new_epoch_reason_ = opened->why_fresh();
    fresh_ = std::move(opened);
  } else {
    publisher_ = std::move(opened);
    log_info("continuing the ring", {{"version", publisher_->last_commit().version.value()},
                                     {"gtid", publisher_->last_commit().gtid}});
    history_ = publisher_->catalogue().history;
    reload_quarantined_ = true;
    make_applier();
    publish_schema();
  }
  std::uint64_t retry_ns = kFirstRetryNs;
  while (!stopping()) {
    const std::uint64_t began = monotonic_ns();
    const Result<void> ended = connect_once();
    set_interruptible<BinlogStream>(nullptr);
    stream_.reset();
    if (stopping()) break;
    if (!ended) {
      if (ended.error().kind == ErrorKind::kInvalid || ended.error().kind == ErrorKind::kUnsupported) {
        set_state(shm::CaptureState::kFailed, ended.error().message);
        return ended;
      }
      log_warning("the source cannot be followed", {{"reason", ended.error().message}, {"retry_ms", retry_ns / 1'000'000}});
      set_state(ended.error().kind == ErrorKind::kLimit ? shm::CaptureState::kFull : shm::CaptureState::kReconnecting,
                ended.error().message);
    }
    if (monotonic_ns() - began > kLastRetryNs) retry_ns = kFirstRetryNs;
    wait(retry_ns);
    retry_ns = std::min(2 * retry_ns, kLastRetryNs);
  }
  set_state(shm::CaptureState::kStopped, "the writer was stopped");
  return {};
}

// One connection's life: checks, a new epoch if one is needed, the stream until it ends. An Error is for the log; it is
// final when its kind is kInvalid (settings) or kUnsupported.
Result<void> Capture::connect_once() {
  {
    RINGSIDE_ASSIGN(const std::unique_ptr<Connection> connection, Connection::open(config_.mysql, {}));
    set_interruptible(connection.get());
    const Result<std::vector<Problem>> problems = check_source(*connection, config_.mysql);
    set_interruptible<Connection>(nullptr);
    if (!problems) return problems.error();
    if (!may_start(*problems)) {
      return Error{ErrorKind::kInvalid, "the source does not allow exact capture:\n" + describe(*problems)};
    }
    for (const Problem& problem : *problems) {
      if (has_warned_) break;
      log_warning("a setting of the source is doubtful", {{"setting", problem.setting}, {"why", problem.why}});
    }
    has_warned_ = true;
  }
  if (!new_epoch_reason_.empty()) RINGSIDE_TRY(load_new_epoch());

  const shm::LastCommit& last = publisher_->last_commit();
  StreamOptions options;
  options.position = last.gtid_before.empty() ? last.gtid : last.gtid_before;
  options.heartbeat = config_.writer.heartbeat;
  options.watchdog = config_.writer.watchdog;
  if (publisher_->ring().server_id() == 0) {
    publisher_->ring().set_server_id(static_cast<std::uint32_t>(shm::random_nonzero()) | 1u);
  }
  options.server_id = static_cast<std::uint32_t>(publisher_->ring().server_id());
  RINGSIDE_ASSIGN(stream_, BinlogStream::open(config_.mysql, options));
  set_interruptible(stream_.get());
  applier_->expect(last);
  if (std::exchange(reload_quarantined_, false)) {
    for (const shm::Table& table : publisher_->catalogue().tables) {
      if (publisher_->quarantine_reason(table.name) != nullptr) applier_->request_reload(table.name);
    }
  }
  set_state(shm::CaptureState::kStreaming, {});
  log_info("following the binlog", {{"from", options.position}});

  for (;;) {
    RINGSIDE_ASSIGN(const Next next, follow());
    if (next == Next::kStop || next == Next::kReconnect) return {};
    RINGSIDE_ASSERT(next == Next::kNewEpoch);
    return Error{ErrorKind::kUnavailable, "starting over: " + new_epoch_reason_};
  }
}

// Follows the stream until something else has to be done.
Result<Capture::Next> Capture::follow() {
  for (;;) {
    if (stopping()) return Next::kStop;
    // A load may only begin between transactions, and when the last transaction that the ring has was found again.
    if (!applier_->is_inside_transaction() && !applier_->has_pending() && !applier_->is_expecting()) {
      std::set<std::string> names = applier_->take_reloads();
      if (!names.empty()) {
        RINGSIDE_TRY(reload(std::move(names)));
        continue;
      }
    }
    if (!applier_->is_inside_transaction() && applier_->has_put_off() && !stream_->data_is_waiting()) {
      RINGSIDE_ASSIGN(const Next next, handle_outcome(applier_->flush()));
      if (next != Next::kGoOn) return next;
    }
    const BinlogStream::Packet packet = stream_->read_packet(monotonic_ns() + kTickNs);
    RINGSIDE_ASSIGN(const Next next, handle_packet(packet));
    if (next != Next::kGoOn) return next;
    tick();
  }
}

Result<Capture::Next> Capture::handle_packet(const BinlogStream::Packet& packet) {
  switch (packet.outcome) {
    case BinlogStream::Outcome::kEvent: {
      alive_ns_ = monotonic_ns();
      const EventApplier::Outcome outcome = applier_->apply(packet.event);
      publisher_->ring().set_source(applier_->newest(), applier_->source_time_us(), alive_ns_);
      return handle_outcome(outcome);
    }
    case BinlogStream::Outcome::kHeartbeat:
      alive_ns_ = monotonic_ns();
      publisher_->ring().set_source(applier_->newest(), 0, alive_ns_);
      return Next::kGoOn;
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
    case EventApplier::Outcome::kLostHistory:
      new_epoch_reason_ = applier_->reason();
      history_was_lost_ = true;
      return Next::kNewEpoch;
    case EventApplier::Outcome::kFailed:
      return Error{ErrorKind::kUnsupported, applier_->reason()};
  }
  return Next::kGoOn;
}

// The ring is full: nothing more is read from the source until the transaction at hand fits.
Result<Capture::Next> Capture::wait_for_room() {
  log_error("capture pauses, replicas go on answering", {{"reason", applier_->reason()}});
  set_state(shm::CaptureState::kFull, applier_->reason());
  while (!stopping()) {
    wait(kRoomRetryNs);
    const EventApplier::Outcome outcome = applier_->commit_again();
    if (outcome == EventApplier::Outcome::kRingFull) continue;
    log_info("the ring has room again");
    set_state(shm::CaptureState::kStreaming, {});
    return handle_outcome(outcome);
  }
  return Next::kStop;
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
      new_epoch_reason_ = error.message;
      history_was_lost_ = stream_->failure() == StreamFailure::kDiverged;
      return Next::kNewEpoch;
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

// --------------------------------------------------------------------------------------------------------- loading

// A snapshot of everything into a new epoch, which then takes the place of the one in force, if there is one.
Result<void> Capture::load_new_epoch() {
  log_info("loading a new ring", {{"reason", new_epoch_reason_}});
  set_state(shm::CaptureState::kStarting, "loading a snapshot: " + new_epoch_reason_);
  RINGSIDE_ASSIGN(std::string history, dependencies_.history(history_was_lost_));
  const std::uint64_t began = monotonic_ns();
  RINGSIDE_ASSIGN(const std::unique_ptr<Snapshot> snapshot, Snapshot::open(config_.mysql, SnapshotOptions{}));
  if (snapshot->version().value() == 0) {
    return Error{ErrorKind::kUnavailable, "the source has no transaction yet: its binlog is empty"};
  }
  // Unless it is put in force, its files go away with the object.
  std::unique_ptr<shm::Publisher> fresh = std::move(fresh_);
  if (!fresh) {
    RINGSIDE_ASSIGN(fresh, shm::Publisher::create(publisher_options_, ring_lock_));
  }
  fresh->describe(history, config_.mysql.database);
  PendingSwitch loaded;
  set_interruptible(snapshot.get());
  const Result<void> filled = load_tables(*snapshot, *fresh, nullptr, loaded);
  set_interruptible<Snapshot>(nullptr);
  RINGSIDE_TRY(filled);
  for (const TableId id : loaded.live) RINGSIDE_TRY(fresh->switch_to(id));
  for (const auto& [name, reason] : loaded.quarantined) {
    log_warning("a table is not served", {{"table", name}, {"reason", reason}});
    RINGSIDE_TRY(fresh->quarantine(name, reason));
  }
  shm::Commit commit;
  commit.gtid = snapshot->position();
  RINGSIDE_TRY(fresh->commit(loaded.at, commit));
  RINGSIDE_TRY(fresh->activate(publisher_.get()));

  applier_.reset();
  publisher_ = std::move(fresh);
  history_ = std::move(history);
  history_was_lost_ = false;
  new_epoch_reason_.clear();
  make_applier();
  publish_schema();
  const std::uint64_t took = monotonic_ns() - began;
  const std::lock_guard lock(status_mutex_);
  ++status_.snapshots;
  status_.snapshot_ns = took;
  status_.snapshot_rows = 0;
  for (const shm::TableUsage& table : publisher_->usage()) status_.snapshot_rows += table.rows;
  log_info("loaded a new ring", {{"rows", status_.snapshot_rows},
                                 {"tables", loaded.live.size()},
                                 {"version", loaded.at.value()},
                                 {"took_ms", took / 1'000'000}});
  return {};
}

// Loads the snapshot's tables (`only`: of these names) as new incarnations, and says what is to be switched when.
Result<void> Capture::load_tables(Snapshot& snapshot, shm::Publisher& target, const std::set<std::string>* only,
                                  PendingSwitch& loaded) {
  loaded.at = snapshot.version();
  for (const shm::Table& table : snapshot.tables()) {
    if (only != nullptr && !only->contains(table.name)) continue;
    if (table.state == shm::TableState::kQuarantined) {
      target.new_table(table);
      loaded.quarantined.emplace_back(table.name, table.reason);
      continue;
    }
    RINGSIDE_TRY(fill_table(snapshot, target, table, loaded));
  }
  return {};
}

Result<void> Capture::fill_table(Snapshot& snapshot, shm::Publisher& target, const shm::Table& table,
                                 PendingSwitch& loaded) {
  const TableId id = target.new_table(table);
  std::optional<Error> contradiction;
  Result<TableRead> read = snapshot.read_table(table, [&](shm::RowBuilder& row) -> Result<void> {
    tick();
    Result<void> added = target.load_row(id, snapshot.version(), row);
    if (!added && added.error().kind == ErrorKind::kCorrupt) contradiction = added.error();
    return added;
  });
  if (read) {
    const Result<void> ended = target.end_load();
    if (!ended && ended.error().kind == ErrorKind::kCorrupt) contradiction = ended.error();
    if (!ended && !contradiction) read = ended.error();
  }
  if (!contradiction && !read) {
    RINGSIDE_TRY(target.abandon(id));
    return read.error();
  }
  if (!contradiction && read->outcome == TableRead::Outcome::kComplete) {
    loaded.live.push_back(id);
    return {};
  }
  // kChanged: the DDL that changed it is in the stream behind the snapshot, and makes it be loaded anew.
  const std::string reason = contradiction ? contradiction->message : read->reason;
  RINGSIDE_TRY(target.abandon(id));
  shm::Table refused = table;
  refused.state = shm::TableState::kQuarantined;
  refused.reason = reason;
  target.new_table(std::move(refused));
  loaded.quarantined.emplace_back(table.name, reason);
  return {};
}

// Loads tables whose definition changed, beside what is served, and hands the switch to the applier.
Result<void> Capture::reload(std::set<std::string> names) {
  std::unique_ptr<Snapshot> snapshot;
  // The stream can be ahead of what a read view shows: a snapshot behind it would lose rows.
  for (unsigned attempt = 0; attempt < kSnapshotAttempts && !stopping(); ++attempt) {
    RINGSIDE_ASSIGN(snapshot, Snapshot::open(config_.mysql, SnapshotOptions{}));
    if (snapshot->version() >= applier_->newest()) break;
    snapshot.reset();
    wait(1'000'000);
  }
  for (const std::string& name : names) applier_->request_reload(name);  // until it has succeeded
  if (!snapshot) return Error{ErrorKind::kUnavailable, "no snapshot could be opened that is as new as the stream"};
  set_interruptible(snapshot.get());
  PendingSwitch loaded;
  const Result<void> filled = load_tables(*snapshot, *publisher_, &names, loaded);
  set_interruptible(stream_.get());
  if (!filled) {
    for (const TableId id : loaded.live) RINGSIDE_TRY(publisher_->abandon(id));
    return filled;
  }
  for (const std::string& name : names) {
    const bool exists = std::any_of(snapshot->tables().begin(), snapshot->tables().end(),
                                    [&](const shm::Table& table) { return table.name == name; });
    if (!exists) loaded.dropped.push_back(name);
  }
  applier_->take_reloads();
  {
    const std::lock_guard lock(status_mutex_);
    status_.table_loads += loaded.live.size();
  }
  log_info("loaded tables again", {{"tables", fmt::format("{}", fmt::join(names, ", "))}, {"version", loaded.at.value()}});
  RINGSIDE_ASSIGN(const Next next, handle_outcome(applier_->set_pending(std::move(loaded))));
  publish_schema();
  if (next == Next::kGoOn || next == Next::kStop) return {};
  return Error{ErrorKind::kUnavailable, applier_->reason()};
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
}

void Capture::tick() {
  const std::uint64_t now = monotonic_ns();
  if (now < next_tick_ns_ || !publisher_) return;
  next_tick_ns_ = now + kTickNs;
  shm::RingWriter& ring = publisher_->ring();
  ring.beat(now);
  const std::size_t evicted = ring.check_readers(now);
  if (evicted > 0) log_warning("evicted readers that held back the ring without getting on", {{"readers", evicted}});
  const std::lock_guard lock(status_mutex_);
  status_.epoch = ring.epoch();
  status_.version = publisher_->last_commit().version;
  status_.gtid = publisher_->last_commit().gtid;
  status_.source_alive_ns = alive_ns_;
  status_.readers_evicted += evicted;
  status_.spilled_bytes = publisher_->spilled_bytes();
  status_.ring = ring.usage();
  status_.readers = ring.readers();
  status_.tables = publisher_->usage();
  status_.quarantined.clear();
  for (const auto& [name, reason] : publisher_->quarantined()) status_.quarantined.emplace_back(name, reason);
  if (!applier_) return;
  status_.newest_seen = applier_->newest();
  status_.counters = applier_->counters();
}

void Capture::set_state(shm::CaptureState state, std::string reason) {
  if (publisher_) publisher_->ring().set_capture_state(state);
  StreamState stream = StreamState::kStarting;
  switch (state) {
    case shm::CaptureState::kStarting:
      break;
    case shm::CaptureState::kStreaming:
      stream = StreamState::kFollowing;
      break;
    case shm::CaptureState::kReconnecting:
    case shm::CaptureState::kFull:
      stream = StreamState::kInterrupted;
      break;
    case shm::CaptureState::kFailed:
    case shm::CaptureState::kStopped:
      stream = StreamState::kStopped;
      break;
  }
  dependencies_.tracker->set_stream_state(stream);
  const std::lock_guard lock(status_mutex_);
  status_.state = state;
  status_.reason = std::move(reason);
  next_tick_ns_ = 0;
}

CaptureStatus Capture::status() const {
  const std::lock_guard lock(status_mutex_);
  return status_;
}

}  // namespace ringside::writer
