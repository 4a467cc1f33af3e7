// Follower: keeps a TableStore at the ring's newest version. Waits for a ring, joins it, follows it, and starts over
// when it was evicted, when the bytes contradict themselves, or when another epoch comes into force.
//
//   kWaiting ──attached──► kJoining ──caught up──► kServing ──evicted, corrupt──► kWaiting …
//                                                     │ epoch superseded: joins the next one beside, then switches
//                                                     └───────────────────────────────────────────────────────┘
//
// Everything happens in turn(), in slices of bounded time, so that the event loop goes on between them.
//
// Threads: one.   Ownership: owns readers and stores. References from tables() and reader() are valid until the next
// turn().
// Errors: none leave; reason() says in words why it is not serving. Each cause is logged once.
// Limits: kSliceNs of joining a turn, kServingSliceNs of applying while answers are given; attempts to attach are kMaxBackoffNs apart at most.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "replica/table_store.h"
#include "replica/visibility.h"
#include "shm/ring_reader.h"

namespace ringside::replica {

struct FollowerCounters {
  std::uint64_t joins = 0;  // completed
  std::uint64_t evictions = 0;
  std::uint64_t corruptions = 0;
  std::uint64_t join_ns = 0;  // how long the last join took
};

class Follower {
 public:
  enum class State : std::uint8_t { kWaiting, kJoining, kServing };
  static constexpr std::uint64_t kSliceNs = 1'000'000;
  // What a request that arrives meanwhile waits at most: as long as answering a few dozen others takes.
  static constexpr std::uint64_t kServingSliceNs = 50'000;
  static constexpr std::uint64_t kMinBackoffNs = 10'000'000;
  static constexpr std::uint64_t kMaxBackoffNs = 1'000'000'000;
  static constexpr std::uint64_t kSilenceNs = 5'000'000'000;  // of the writer

  Follower(std::string directory, std::string name);
  ~Follower();
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  // Does what there is to do, for about kSliceNs. `now_ns` is CLOCK_MONOTONIC. False: there was nothing to do.
  bool turn(std::uint64_t now_ns);

  State state() const;
  bool is_serving() const { return current_ != nullptr; }
  // Why not serving, for people; empty while serving.
  const std::string& reason() const { return reason_; }
  // Precondition: is_serving().
  const TableStore& tables() const { return current_->store; }
  const shm::RingReader& reader() const { return *current_->reader; }
  // The highest version that any answer may have shown: kept across joins.
  Version last_version() const { return last_version_; }

  // To be asked after everything was copied and before anything is submitted: false means that nothing of this turn
  // may be sent. Starts over in the next turn().
  bool is_still_valid();
  // A lookup found bytes that are not what they were: start over in the next turn().
  void mark_lost();

  // True when another turn() has work at once.
  bool has_work() const { return has_work_; }
  // Announces sleep to the writer; false: do not sleep, turn() first. awake() after waking for whatever reason.
  bool prepare_sleep();
  void awake();
  // When turn() has something to do of its own accord (look for a ring), CLOCK_MONOTONIC; UINT64_MAX: never.
  std::uint64_t wakes_at_ns() const;
  // Readable when the writer woke this reader; -1: none at the moment. `serial` changes when the descriptor does.
  int wake_fd() const { return current_ ? current_->reader->wake_fd() : -1; }
  std::uint64_t wake_serial() const { return current_ ? current_->serial : 0; }

  const FollowerCounters& counters() const { return counters_; }
  // CLOCK_MONOTONIC up to which the source is known to have had nothing newer than the visible version; 0: unknown.
  std::uint64_t current_as_of_ns() const { return current_as_of_ns_; }
  // How long commits took until they were served here; what a join finds is not among them.
  const VisibilityTimes& visibility() const { return visibility_; }
  // What the join in progress has read: records.
  std::uint64_t joined_records() const { return joining_ ? joining_->store.applied_records() : 0; }

 private:
  struct Session {
    explicit Session(std::unique_ptr<shm::RingReader> ring_reader)
        : reader(std::move(ring_reader)), store(*reader) {}
    std::unique_ptr<shm::RingReader> reader;
    TableStore store;
    std::uint64_t serial = 0;
    std::uint64_t started_ns = 0;
    bool in_transaction = false;
  };
  enum class Slice : std::uint8_t { kCaughtUp, kMore, kEvicted, kCorrupt };

  void try_attach(std::uint64_t now_ns);
  void join_slice();
  void follow_slice();
  Slice apply_slice(Session& session);
  void note_freshness();
  void note_commit(const TableStore& store);
  void note_shown();
  bool has_lost_touch(std::uint64_t now_ns) const;
  void lose(Slice why, Session& session);
  void back_off(std::uint64_t now_ns, const std::string& reason);

  std::string directory_;
  std::string name_;
  std::unique_ptr<Session> current_;  // answers are given from it
  std::unique_ptr<Session> joining_;  // becomes the current one when it has caught up
  std::string reason_;
  std::string last_loss_;  // what was logged last; the same again is not news
  bool has_work_ = true;
  bool has_worked_ = false;  // in this turn
  bool is_lost_ = false;
  bool is_asleep_ = false;
  std::uint64_t serial_ = 0;
  std::uint64_t next_attempt_ns_ = 0;
  std::uint64_t backoff_ns_ = kMinBackoffNs;
  std::uint64_t current_as_of_ns_ = 0;
  Version last_version_;
  FollowerCounters counters_;
  VisibilityTimes visibility_;
};

}  // namespace ringside::replica
