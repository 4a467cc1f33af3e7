#include "replica/follower.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

namespace ringside::replica {
namespace {

// Between two looks at the clock.
constexpr unsigned kRecordsPerLook = 32;
constexpr std::size_t kRemovalsPerLook = 128;

}  // namespace

Follower::Follower(std::string directory, std::string name)
    : directory_(std::move(directory)),
      name_(std::move(name)),
      reason_("it has not looked for its ring yet") {}

Follower::~Follower() = default;

Follower::State Follower::state() const {
  if (current_ != nullptr) return State::kServing;
  return joining_ != nullptr ? State::kJoining : State::kWaiting;
}

bool Follower::turn(std::uint64_t now_ns) {
  has_work_ = has_worked_ = false;
  if (is_lost_ && current_ != nullptr) {
    lose(current_->reader->is_evicted() ? Slice::kEvicted : Slice::kCorrupt, *current_);
    current_.reset();
  }
  is_lost_ = false;
  if (current_ != nullptr) follow_slice();
  if (joining_ == nullptr && now_ns >= next_attempt_ns_ && (current_ == nullptr || has_lost_touch(now_ns))) {
    try_attach(now_ns);
  }
  if (joining_ != nullptr) join_slice();
  return has_worked_;
}

void Follower::try_attach(std::uint64_t now_ns) {
  has_worked_ = true;
  Result<std::unique_ptr<shm::RingReader>> reader = shm::RingReader::attach(directory_, name_);
  if (!reader) return back_off(now_ns, reader.error().message);
  if (current_ != nullptr && (*reader)->epoch() == current_->reader->epoch()) {
    return back_off(now_ns, {});  // the next epoch is not in force yet, or there is none
  }
  const Result<void> joined = (*reader)->join();
  if (!joined) {
    if (joined.error().kind == ErrorKind::kCorrupt) ++counters_.corruptions;
    return back_off(now_ns, joined.error().message);
  }
  joining_ = std::make_unique<Session>(std::move(reader).value());
  joining_->serial = ++serial_;
  joining_->started_ns = now_ns;
  if (current_ == nullptr) reason_ = "it is joining the ring";
  log_line(last_loss_.empty() ? LogLevel::kInfo : LogLevel::kDebug, "joining the ring",
           {{"ring", directory_ + "/" + name_},
            {"epoch", joining_->reader->epoch().value()},
            {"reader", static_cast<std::uint64_t>(joining_->reader->slot())}});
}

void Follower::back_off(std::uint64_t now_ns, const std::string& reason) {
  next_attempt_ns_ = now_ns + backoff_ns_;
  backoff_ns_ = std::min(2 * backoff_ns_, kMaxBackoffNs);
  if (current_ != nullptr || reason.empty() || reason == reason_) return;
  reason_ = reason;
  log_warning("waiting for the ring", {{"reason", reason_}});
}

void Follower::join_slice() {
  const Slice slice = apply_slice(*joining_);
  joining_->reader->count_progress();
  if (slice == Slice::kMore) {
    has_work_ = true;
    return;
  }
  if (slice != Slice::kCaughtUp) {
    lose(slice, *joining_);
    joining_.reset();
    return;
  }
  // Also where the slice before this one came to the end: on an idle source nothing else would say that the log's beginning
  // is not needed any more.
  joining_->reader->set_reclaim_position(joining_->reader->position());
  ++counters_.joins;
  joining_->store.end_join();
  counters_.join_ns = monotonic_ns() - joining_->started_ns;
  current_ = std::move(joining_);
  reason_.clear();
  last_loss_.clear();
  current_as_of_ns_ = 0;
  note_freshness();
  backoff_ns_ = kMinBackoffNs;
  last_version_ = std::max(last_version_, current_->store.visible_version());
  std::uint64_t rows = 0;
  for (const auto& [name, route] : current_->store.routes()) {
    if (route.table != nullptr) rows += route.table->row_count;
  }
  log_info("replica is ready", {{"version", current_->store.visible_version().value()},
                                {"gtid", std::string(current_->store.gtid())},
                                {"tables", static_cast<std::uint64_t>(current_->store.routes().size())},
                                {"rows", rows},
                                {"join_ms", counters_.join_ns / 1'000'000}});
}

void Follower::follow_slice() {
  const Slice slice = apply_slice(*current_);
  if (!visibility_.is_empty()) note_shown();
  last_version_ = std::max(last_version_, current_->store.visible_version());
  if (slice == Slice::kMore) {
    current_->reader->count_progress();  // a transaction may take longer than a stuck reader is waited for
    has_work_ = true;
  } else if (slice == Slice::kCaughtUp) {
    note_freshness();
  } else {
    lose(slice, *current_);
    current_.reset();
    has_work_ = true;
  }
}

Follower::Slice Follower::apply_slice(Session& session) {
  if (session.reader->is_evicted()) return Slice::kEvicted;
  if (!session.in_transaction && session.reader->position() == session.reader->committed_position()) {
    return Slice::kCaughtUp;
  }
  has_worked_ = true;
  const bool is_served = &session == current_.get();
  TableStore& store = session.store;
  const std::uint64_t end_ns = monotonic_ns() + (is_served ? kServingSliceNs : kSliceNs);
  shm::Record record;
  for (unsigned count = 1;; ++count) {
    while (!store.remove_some(kRemovalsPerLook)) {
      if (monotonic_ns() >= end_ns) return Slice::kMore;
    }
    if (session.in_transaction && store.is_between_transactions()) {
      // Everything up to here is visible and clean: the writer may have the space of what it replaced.
      session.in_transaction = false;
      // A joiner holds the whole log until it has caught up.
      if (is_served) session.reader->set_reclaim_position(session.reader->position());
    }
    if (count % kRecordsPerLook == 0 && monotonic_ns() >= end_ns) return Slice::kMore;
    switch (session.reader->next(record)) {
      case shm::Step::kRecord: {
        session.in_transaction = true;
        const Version before = store.visible_version();
        const Applied applied = store.apply(record);
        if (applied == Applied::kCorrupt) {
          return session.reader->is_evicted() ? Slice::kEvicted : Slice::kCorrupt;
        }
        if (applied == Applied::kCommit && is_served && store.visible_version() != before) note_commit(store);
        break;
      }
      case shm::Step::kCaughtUp:
        session.reader->set_reclaim_position(session.reader->position());
        return Slice::kCaughtUp;
      case shm::Step::kEvicted:
        return Slice::kEvicted;
      case shm::Step::kCorrupt:
        return Slice::kCorrupt;
    }
  }
}

// What is visible was all that the source had, as far as the writer's last proof of its life tells.
void Follower::note_freshness() {
  const shm::SourceState source = current_->reader->source();
  const bool is_all = current_->store.visible_version() >= source.version;
  if (!is_all || source.alive_ns <= current_as_of_ns_) return;
  // A sign of life that is still to come proves nothing: it would keep the data fresh whatever happened until then.
  if (source.alive_ns <= monotonic_ns()) current_as_of_ns_ = source.alive_ns;
}

void Follower::note_commit(const TableStore& store) {
  if (visibility_.is_full()) note_shown();
  RINGSIDE_ASSERT(visibility_.committed(store.commit_time_us(), store.received_ns()));
}

// Answers are given after the slice, so that one look at the clocks does for all commits of it.
void Follower::note_shown() {
  VisibilityTimes::Now now;
  now.monotonic_ns = monotonic_ns();
  // Modulo 2^64, so that an offset that came out of the ring wrong harms nothing.
  now.source_us =
      now.monotonic_ns / 1000 + static_cast<std::uint64_t>(current_->reader->source().clock.offset_us);
  visibility_.shown(now);
}

void Follower::lose(Slice why, Session& session) {
  const bool was_evicted = why == Slice::kEvicted;
  const Position met = was_evicted ? session.reader->position() : session.reader->report_corruption();
  ++(was_evicted ? counters_.evictions : counters_.corruptions);
  reason_ = was_evicted ? "the writer evicted it for holding back the ring too long; it joins again"
                        : "the ring's bytes contradict themselves; it joins again";
  const std::string detail = session.store.why().empty() ? reason_ : session.store.why();
  log_line(detail == last_loss_ ? LogLevel::kDebug : LogLevel::kError,
           was_evicted ? "evicted by the writer; joining again" : "corrupt ring; joining again",
           {{"epoch", session.reader->epoch().value()}, {"position", met.value()}, {"detail", detail}});
  last_loss_ = detail;
  // Bytes that stay corrupt must not become a busy loop.
  if (!was_evicted) {
    next_attempt_ns_ = monotonic_ns() + backoff_ns_;
    backoff_ns_ = std::min(2 * backoff_ns_, kMaxBackoffNs);
  }
}

bool Follower::is_still_valid() {
  if (current_ == nullptr || is_lost_) return false;
  if (!current_->reader->is_evicted()) return true;
  mark_lost();
  return false;
}

void Follower::mark_lost() {
  is_lost_ = true;
  has_work_ = true;
}

bool Follower::prepare_sleep() {
  if (has_work_) return false;
  if (current_ == nullptr) return true;                // sleeps until wakes_at_ns()
  if (current_->reader->is_superseded()) return true;  // likewise: there is nothing more in this epoch
  is_asleep_ = current_->reader->prepare_sleep();
  return is_asleep_;
}

void Follower::awake() {
  if (!is_asleep_) return;
  is_asleep_ = false;
  if (current_ != nullptr) current_->reader->awake();
}

// Another epoch is in force, or the writer has been silent for so long that there may be one: a writer killed between
// putting an epoch in force and marking the one before leaves no mark.
bool Follower::has_lost_touch(std::uint64_t now_ns) const {
  return current_->reader->is_superseded() ||
         now_ns > current_->reader->source().writer_heartbeat_ns + kSilenceNs;
}

std::uint64_t Follower::wakes_at_ns() const {
  const bool wants_session = current_ == nullptr || current_->reader->is_superseded();
  return wants_session ? next_attempt_ns_ : std::numeric_limits<std::uint64_t>::max();
}

}  // namespace ringside::replica
