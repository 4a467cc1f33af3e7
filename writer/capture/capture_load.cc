// The half of Capture that reads tables: whole snapshots into a new epoch, and single tables beside the stream.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "writer/capture/capture.h"

namespace ringside::writer {
namespace {

constexpr unsigned kSnapshotAttempts =
    200;  // to find one that is not behind the stream; each takes milliseconds
constexpr std::size_t kMaxUnreadable = 100;            // tables that the server refuses to read, in one load
constexpr std::uint64_t kBusyRetryNs = 2'000'000'000;  // of tables that could not be locked
constexpr std::uint64_t kLastReloadRetryNs = 60'000'000'000;

}  // namespace

// A snapshot of everything into a new epoch, which then takes the place of the one in force, if there is one. Unless it is
// put in force, its files go away with the object.
Result<void> Capture::load_new_epoch() {
  const Result<void> loaded = load_fresh();
  fresh_.reset();
  return loaded;
}

Result<void> Capture::load_fresh() {
  log_info("loading a new ring", {{"reason", new_epoch_reason_}});
  set_state(is_replacing() ? shm::CaptureState::kReplacing : shm::CaptureState::kStarting,
            "loading a snapshot: " + new_epoch_reason_);
  RINGSIDE_ASSIGN(std::string history, dependencies_.history(history_was_lost_ ? history_ : std::string()));
  history_was_lost_ = false;  // it has its new id, however often the load is tried
  const std::uint64_t began = monotonic_ns();
  // A member from here on: limits that change meanwhile are its limits too.
  if (!fresh_) {
    RINGSIDE_ASSIGN(fresh_, shm::Publisher::create(publisher_options_, ring_lock_));
  }
  shm::Publisher& fresh = *fresh_;
  fresh.describe(history, config_.mysql.database);
  Loaded loaded;
  // Insisted on once: a source that has gone back meanwhile has no such version.
  const Version at_least = std::exchange(new_epoch_at_least_, Version{1});
  RINGSIDE_TRY(load(fresh, Reloads{{}, true}, at_least, loaded));
  for (const TableId id : loaded.change.live) RINGSIDE_TRY(fresh.switch_to(id));
  for (const auto& [name, reason] : loaded.change.quarantined) {
    RINGSIDE_TRY(fresh.quarantine(name, reason));
  }
  shm::Commit commit;
  const bool is_mysql = loaded.change.position.find(':') != std::string::npos;
  (is_mysql ? commit.executed : commit.gtid) = loaded.change.position;
  RINGSIDE_TRY(with_room(fresh, [&]() -> Result<void> {
    const auto committed = fresh.commit(loaded.change.at, commit);
    return committed ? Result<void>() : committed.error();
  }));
  if (const Result<void> activated = fresh.activate(publisher_.get()); !activated) {
    drop_publisher();  // which of the two is in force is for open_ring() to find out
    return activated;
  }

  applier_.reset();
  publisher_ = std::move(fresh_);
  history_ = std::move(history);
  new_epoch_reason_.clear();
  roomless_.clear();
  held_back_reason_.clear();  // of another history, perhaps
  epoch_loaded_ns_ = monotonic_ns();
  may_guess_position_ = true;
  is_schema_unseen_ = false;
  make_applier();
  applier_->request_reloads(Reloads{std::move(loaded.again), false});
  publish_schema();
  const std::uint64_t took = monotonic_ns() - began;
  std::uint64_t rows = 0;
  for (const shm::TableUsage& table : publisher_->usage()) rows += table.rows;
  log_info("loaded a new ring", {{"rows", rows},
                                 {"tables", loaded.change.live.size()},
                                 {"version", loaded.change.at.value()},
                                 {"took_ms", took / 1'000'000}});
  const std::lock_guard lock(status_mutex_);
  ++status_.snapshots;
  status_.snapshot_ns = took;
  status_.snapshot_rows = rows;
  return {};
}

// Loads tables whose definition changed, beside what is served, and hands the switch to the applier. When that fails, the
// stream goes on without them, and they are tried again later.
Result<Capture::Next> Capture::reload() {
  Reloads wanted = applier_->take_reloads();
  Loaded loaded;
  const Result<void> done = load(*publisher_, wanted, applier_->newest(), loaded);
  if (is_replacing()) return Next::kReconnect;  // the ring was found corrupt meanwhile
  if (!done) {
    const ErrorKind kind = done.error().kind;
    if (kind == ErrorKind::kIo || kind == ErrorKind::kCorrupt) drop_publisher();
    if (!publisher_) return done.error();
    const bool is_one_of_several = kind == ErrorKind::kLimit && wanted.names.erase(loaded.reading) > 0;
    if (is_one_of_several) {  // others that do find room need not wait for it
      roomless_.insert(loaded.reading);
      roomless_retry_ns_ = monotonic_ns() + kLastReloadRetryNs;
      log_warning("a table finds no room, and is loaded later",
                  {{"table", loaded.reading},
                   {"reason", done.error().message},
                   {"retry_ms", kLastReloadRetryNs / 1'000'000}});
    }
    applier_->request_reloads(std::move(wanted));
    if (stopping()) return Next::kStop;
    if (is_one_of_several) return Next::kGoOn;
    if (kind == ErrorKind::kLimit) reload_retry_ns_ = kLastReloadRetryNs;  // each try takes room of its own
    if (kind == ErrorKind::kBusy) reload_retry_ns_ = std::max(reload_retry_ns_, kBusyRetryNs);
    log_warning("tables cannot be loaded anew for now",
                {{"reason", done.error().message}, {"retry_ms", reload_retry_ns_ / 1'000'000}});
    next_reload_ns_ = monotonic_ns() + reload_retry_ns_;
    reload_retry_ns_ = std::min(2 * reload_retry_ns_, kLastReloadRetryNs);
    return Next::kGoOn;
  }
  reload_retry_ns_ = kFirstRetryNs;
  // Names that are none of a table (a statement is read generously) need nothing.
  std::set<std::string> gone;
  for (const shm::Table& table : publisher_->catalogue().tables) {
    const bool is_wanted = wanted.all || wanted.names.contains(table.name);
    if (is_wanted && !loaded.existing.contains(table.name)) gone.insert(table.name);
  }
  PendingSwitch& change = loaded.change;
  change.dropped.assign(gone.begin(), gone.end());
  applier_->request_reloads(Reloads{std::move(loaded.again), false});
  if (change.live.empty() && change.quarantined.empty() && gone.empty()) return Next::kGoOn;
  log_info("loaded tables anew", {{"tables", change.live.size()},
                                  {"refused", change.quarantined.size()},
                                  {"dropped", gone.size()},
                                  {"version", change.at.value()}});
  {
    const std::lock_guard lock(status_mutex_);
    status_.table_loads += change.live.size();
  }
  return handle_outcome(applier_->set_pending(std::move(change)));
}

// Loads the wanted tables as new incarnations. On an Error none of them is left.
Result<void> Capture::load(shm::Publisher& target, const Reloads& wanted, Version at_least, Loaded& loaded) {
  std::map<std::string, std::string> unreadable;
  for (;;) {
    loaded = Loaded{};
    RINGSIDE_ASSIGN(const std::unique_ptr<Snapshot> snapshot, open_snapshot(at_least, wanted));
    loaded.change.at = snapshot->version();
    loaded.change.position = snapshot->position();
    for (const shm::Table& table : snapshot->tables()) loaded.existing.insert(table.name);
    const Result<void> filled = load_tables(*snapshot, target, wanted, unreadable, loaded);
    if (filled) return {};
    for (const TableId id : loaded.change.live) RINGSIDE_TRY(target.abandon(id));
    // What the server refuses is one table's trouble. It may have ended the read view: all is read anew without it.
    if (filled.error().kind != ErrorKind::kInvalid || unreadable.size() >= kMaxUnreadable) return filled;
    unreadable.emplace(loaded.reading, filled.error().message);
  }
}

// The stream can be ahead of what a read view shows: a snapshot behind it would lose rows.
Result<std::unique_ptr<Snapshot>> Capture::open_snapshot(Version at_least, const Reloads& wanted) {
  SnapshotOptions options;
  if (!wanted.all) {
    // Beside the stream, which stands still meanwhile: a lock that is not to be had is asked for again later.
    options.names = wanted.names;
    options.lock_attempts = 1;
  }
  options.max_value_bytes = config_.ring.max_record_size_bytes;
  options.connection.interrupter = &interrupter_;
  for (unsigned attempt = 0; attempt < kSnapshotAttempts && !stopping(); ++attempt) {
    RINGSIDE_ASSIGN(std::unique_ptr<Snapshot> snapshot, Snapshot::open(config_.mysql, options));
    if (snapshot->version() >= at_least) return snapshot;
    if (snapshot->version().value() == 0) {
      return Error{ErrorKind::kUnavailable, "the source has no transaction yet: its binlog is empty"};
    }
    wait(1'000'000);
  }
  return Error{ErrorKind::kUnavailable,
               fmt::format("no snapshot could be opened that is as new as version {}", at_least.value())};
}

Result<void> Capture::load_tables(Snapshot& snapshot, shm::Publisher& target, const Reloads& wanted,
                                  const std::map<std::string, std::string>& unreadable, Loaded& loaded) {
  for (const shm::Table& table : snapshot.tables()) {
    if (!wanted.all && !wanted.names.contains(table.name)) continue;
    loaded.reading = table.name;
    if (const auto refused = unreadable.find(table.name); refused != unreadable.end()) {
      RINGSIDE_TRY(refuse_load(target, table, refused->second, loaded));
    } else if (table.state == shm::TableState::kQuarantined) {
      RINGSIDE_TRY(refuse_load(target, table, table.reason, loaded));
    } else {
      RINGSIDE_TRY(fill_table(snapshot, target, table, loaded));
    }
  }
  return {};
}

Result<void> Capture::fill_table(Snapshot& snapshot, shm::Publisher& target, const shm::Table& table,
                                 Loaded& loaded) {
  const TableId id = target.new_table(table);
  std::string refusal;
  const auto refuses = [&refusal](const Result<void>& added) {
    const bool is_of_the_table = !added && (added.error().kind == ErrorKind::kCorrupt ||
                                            added.error().kind == ErrorKind::kUnsupported);
    if (is_of_the_table) refusal = added.error().message;
    return is_of_the_table;
  };
  Result<TableRead> read = snapshot.read_table(table, [&](shm::RowBuilder& row) -> Result<void> {
    tick();
    // The rest is read to no end but this: an error would end the snapshot, and other tables with it.
    if (!refusal.empty()) return {};
    Result<void> added = with_room(target, [&] { return target.load_row(id, snapshot.version(), row); });
    return refuses(added) ? Result<void>() : added;
  });
  if (read && refusal.empty()) {
    const Result<void> ended = with_room(target, [&] { return target.end_load(); });
    if (!ended && !refuses(ended)) read = ended.error();
  }
  if (!read) {
    RINGSIDE_TRY(target.abandon(id));
    return read.error();
  }
  if (refusal.empty() && read->outcome == TableRead::Outcome::kComplete) {
    loaded.change.live.push_back(id);
    return {};
  }
  RINGSIDE_TRY(target.abandon(id));
  if (read->outcome == TableRead::Outcome::kChanged) loaded.again.insert(table.name);
  return refuse_load(target, table, refusal.empty() ? read->reason : refusal, loaded);
}

// The table cannot be served. It stands in the catalogue for its columns and the reason, in the place of what stood there
// for the same cause before.
Result<void> Capture::refuse_load(shm::Publisher& target, shm::Table table, std::string reason,
                                  Loaded& loaded) {
  std::vector<TableId> older;
  for (const shm::Table& known : target.catalogue().tables) {
    if (known.name == table.name && known.state == shm::TableState::kQuarantined) older.push_back(known.id);
  }
  for (const TableId id : older) RINGSIDE_TRY(target.abandon(id));
  log_warning("a table is not served", {{"table", table.name}, {"reason", reason}});
  table.state = shm::TableState::kQuarantined;
  table.reason = reason;
  loaded.change.quarantined.emplace_back(table.name, std::move(reason));
  target.new_table(std::move(table));
  return {};
}

}  // namespace ringside::writer
