// Capture: keeps the ring equal to the source. One thread that alone owns the ring: it checks the source, takes the
// snapshot, follows the binlog, loads tables anew when their definition changes, and starts over where it must.
//
//          ┌──────────────── lost connection, server gone ───────────────┐
//          ▼                                                             │
//   connect, check ──► (no ring, or lost history: snapshot into a ──► stream ──► load a table anew
//          ▲            new epoch, then switch to it)                    │         between transactions
//          └── pause while the ring is full ◄────────────────────────────┘         compact a step
//
// Each connection first shows whether the source still has the history that the ring holds: its history's id, its newest
// GTID, and the ring's last transaction, which has to come once more and be the same. A load that fails is tried again
// while the stream goes on without the tables that wait for it.
//
// Threads: run() in one thread of its own; stop(), change_limits() and status() from any.
// Ownership: owns publisher, connection and stream; borrows tracker and schema view.
// Errors: run() returns when it was stopped, or with an Error that an operator must see to (settings that do not allow
// exact capture, a ring of another writer, a failure of its own making). Everything that may pass is tried again.
// Limits: a transaction that finds no room waits for it, at most for ever (ring.on_full); retries wait 50 ms to 5 s, doubling; loads to 60 s, and so long when the ring has no room for one. What found
// no room (in the ring, for a spill file) waits ten times as long as it had taken, to 30 s. stop() is followed at once, but
// for a connection that is being established (5 s) and dependencies.history.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/layout.h"
#include "shm/publisher.h"
#include "writer/capture/event_applier.h"
#include "writer/capture/resume_point.h"
#include "writer/commands/command_tracker.h"
#include "writer/commands/schema_view.h"
#include "writer/source/binlog_stream.h"
#include "writer/source/connection.h"
#include "writer/source/snapshot.h"

namespace ringside::writer {

// What there is no room in, or who holds it.
enum class FullCause : std::uint8_t {
  kNone,     // capture is not full
  kReaders,  // ring.max_size, until readers give up what they hold
  kMaxSize,  // ring.max_size: what lives takes it
  kReserve,  // ring.max_size and ring.transaction_reserve: the transaction is larger
  kSpace,    // what the ring, or a spill file, is made of: a filesystem, descriptors
};

// What /status and /metrics show of capture. A copy, at most kStatusInterval old.
struct CaptureStatus {
  shm::CaptureState state = shm::CaptureState::kStarting;
  std::string reason;  // why it is not streaming, for people; empty while it is
  FullCause full = FullCause::kNone;
  std::uint64_t full_episodes = 0;  // how often the stream had to pause for room
  Epoch epoch;
  Version version;
  std::string gtid;
  Version newest_seen;                // begun to arrive
  std::uint64_t source_alive_ns = 0;  // CLOCK_MONOTONIC of the source's last sign of life
  std::uint64_t current_as_of_ns =
      0;                          // CLOCK_MONOTONIC until when the ring is known to have held all; 0: never
  shm::SourceClock source_clock;  // as last measured
  ApplierCounters counters;
  std::map<std::string, std::uint64_t> reconnects;  // by reason
  std::uint64_t attempts_failed = 0;                // connections or loads that ended in an error
  std::uint64_t snapshots = 0;                      // whole ones, each a new epoch
  std::uint64_t table_loads = 0;                    // of tables whose definition changed
  std::uint64_t snapshot_rows = 0;                  // of the last whole snapshot
  std::uint64_t snapshot_ns = 0;                    // and how long it took
  std::uint64_t readers_evicted = 0;
  std::uint64_t spilled_bytes = 0;
  std::uint64_t corruptions = 0;  // found in the ring: each led to a new epoch
  shm::ScrubCounters scrubbed;    // of the epoch in force
  shm::RingUsage ring;
  shm::CompactionCounters compaction;
  std::vector<shm::ReaderStatus> readers;
  std::vector<shm::TableUsage> tables;
  std::vector<std::pair<std::string, std::string>> quarantined;  // name, reason
};

class Capture {
 public:
  struct Dependencies {
    CommandTracker* tracker = nullptr;
    SchemaView* schema = nullptr;
    // The source's history id (16 bytes as 32 hex digits). `lost`: the id of a history that was lost, to be replaced by a
    // new one if it is still the source's; empty: none. May block.
    std::function<Result<std::string>(const std::string& lost)> history;
  };

  // `ring_lock`: from shm::lock_ring; empty when there was no ring.directory yet: run() then waits for it.
  Capture(const Config& config, UniqueFd ring_lock, Dependencies dependencies);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Result<void> run();
  void stop();
  // Of all that `ring` says, the limits count from now on (those of LiveSettings). A capture that pauses looks at once
  // whether it can go on.
  void change_limits(const RingConfig& ring);
  CaptureStatus status() const;

 private:
  static constexpr std::uint64_t kTickNs = 100'000'000;
  static constexpr std::uint64_t kFirstRetryNs = 50'000'000;

  enum class Next : std::uint8_t { kGoOn, kReconnect, kStop };

  // What a load has brought.
  struct Loaded {
    PendingSwitch change;
    std::set<std::string> existing;  // names of all chosen tables that the source has
    std::set<std::string> again;     // changed while they were read
    std::string reading;             // the table at hand, for errors
  };

  // capture.cc: connect, follow, report.
  Result<void> run_until_stopped();
  Result<void> open_ring();
  void keep_ring();
  Result<void> connect_once();
  Result<void> look_at_source();
  Result<void> compare_history(Connection& connection);
  Result<void> compare_mariadb(Connection& connection);
  Result<void> compare_mysql(Connection& connection);
  Result<void> compare_schema(Connection& connection);
  Result<void> open_stream();
  Result<Next> follow();
  Result<Next> handle_packet(const BinlogStream::Packet& packet);
  Result<Next> handle_outcome(EventApplier::Outcome outcome);
  // capture_idle.cc
  Result<Next> look_while_idle();
  Result<MysqlDifference> ask_idle_source();
  void look_at_clock();
  void note_current();
  Result<shm::SourceClock> ask_source_clock();
  Result<void> open_look_connection();
  void note_getting_on();
  Result<Next> stream_ended(bool in_order);
  void start_over(std::string reason, bool history_was_lost);
  void drop_publisher();
  void make_applier();
  void publish_schema();
  void tick();
  void set_state(shm::CaptureState state, std::string reason, FullCause full = FullCause::kNone);
  // False when there is a reason to look again sooner: it is to stop, or limits have changed.
  bool wait(std::uint64_t ns);
  // An epoch is in force whose history is over: its readers are told that what they serve is of the past.
  bool is_replacing() const { return publisher_ != nullptr && !new_epoch_reason_.empty(); }
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  // capture_room.cc: room in the ring.
  Result<Next> wait_for_room();
  void note_full(shm::RoomState room);
  void note_room();
  bool rebuild_if_configured(const shm::Publisher& target);
  // Calls `put`, again while it finds no room that is being made.
  template <class Put>
  Result<void> with_room(shm::Publisher& target, Put put) {
    for (std::uint64_t since_ns = 0;;) {
      Result<void> done = put();
      if (done || !waits_for_room(target, done.error(), since_ns)) return done;
    }
  }
  bool waits_for_room(const shm::Publisher& target, const Error& error, std::uint64_t& since_ns);
  Result<bool> tend();
  std::string room_text(shm::RoomState room, const std::string& error) const;
  void take_limits();

  // capture_load.cc: snapshots into the ring.
  Result<void> load_new_epoch();
  Result<void> load_fresh();
  Result<Next> reload();
  Result<void> load(shm::Publisher& target, const Reloads& wanted, Version at_least, Loaded& loaded);
  Result<std::unique_ptr<Snapshot>> open_snapshot(Version at_least, const Reloads& wanted);
  Result<void> load_tables(Snapshot& snapshot, shm::Publisher& target, const Reloads& wanted,
                           const std::map<std::string, std::string>& unreadable, Loaded& loaded);
  Result<void> fill_table(Snapshot& snapshot, shm::Publisher& target, const shm::Table& table,
                          Loaded& loaded);
  Result<void> refuse_load(shm::Publisher& target, shm::Table table, std::string reason, Loaded& loaded);

  Config config_;
  UniqueFd ring_lock_;
  Dependencies dependencies_;
  shm::PublisherOptions publisher_options_;
  Interrupter interrupter_;  // of all connections below

  // Owned by run()'s thread.
  std::unique_ptr<shm::Publisher> publisher_;  // the epoch in force; null before the first
  std::unique_ptr<shm::Publisher> fresh_;      // an epoch that open() made, to be loaded
  std::unique_ptr<EventApplier> applier_;      // over publisher_
  std::unique_ptr<BinlogStream> stream_;
  // Looking beside the stream: its connection, and since which count of events source and ring have differed.
  std::unique_ptr<Connection> look_connection_;
  std::uint64_t next_look_ns_ = 0;
  std::uint64_t differs_since_ns_ = 0;
  std::uint64_t differs_at_ = 0;
  std::uint64_t stream_began_at_ = 0;  // transactions seen when it was opened
  std::string history_;                // of publisher_
  std::string server_uuid_;            // MySQL: of the source as last looked at
  std::string new_epoch_reason_;       // not empty: the next connection loads a new epoch
  Version new_epoch_at_least_{1};      // up to which its snapshot must have read
  bool history_was_lost_ = false;
  bool has_warned_ = false;
  bool is_schema_unseen_ = true;  // whether the tables are still those of the ring
  // The ring does not know which transaction came before its first one. One with the number before is tried.
  bool may_guess_position_ = true;
  bool is_position_guessed_ = false;
  std::uint64_t epoch_loaded_ns_ = 0;
  // A transaction that found no room for its spill file: it is read again from its beginning, and until it has passed
  // capture is full, not streaming.
  std::string held_back_reason_;  // empty: there is none
  Version held_back_at_;
  FullCause full_cause_ = FullCause::kSpace;  // of the last kLimit that was not the stream's
  std::uint64_t next_tend_ns_ = 0;
  // The stream's want of room: since when, what was told of it. It lasts until the ring can do without its reserve.
  std::uint64_t full_since_ns_ = 0;  // 0: there is none
  std::set<FullCause> full_told_;
  std::string full_shown_;
  std::uint64_t reload_retry_ns_ = kFirstRetryNs;
  std::uint64_t next_reload_ns_ = 0;
  std::set<std::string> roomless_;  // tables that found no room: tried again by themselves, and later
  std::uint64_t roomless_retry_ns_ = 0;
  std::uint64_t put_off_since_ns_ = 0;
  std::uint64_t next_tick_ns_ = 0;
  std::uint64_t alive_ns_ = 0;  // CLOCK_MONOTONIC of the source's last sign of life
  std::uint64_t current_ns_ =
      0;  // until when it is known to have had nothing newer than what has begun to arrive
  shm::SourceClock source_clock_;
  std::int64_t wall_ahead_ns_ = 0;  // when it was measured
  std::uint64_t next_clock_look_ns_ = 0;
  std::uint64_t schema_generation_ = 0;  // of the catalogue, as published

  // stop(): a flag for run(), and what it may be blocked in.
  std::atomic<bool> stopping_{false};
  UniqueFd stop_event_;  // eventfd, readable once stopping

  // change_limits(): what it leaves for run(), and what it wakes it by.
  std::mutex limits_mutex_;
  std::optional<RingConfig> new_limits_;  // under limits_mutex_
  UniqueFd limits_event_;                 // eventfd, readable while there are some
  bool limits_taken_ = false;             // run()'s: since wait() last said so

  mutable std::mutex status_mutex_;
  CaptureStatus status_;  // under status_mutex_
};

}  // namespace ringside::writer
