// The part of Capture that makes room in the ring, waits for it, and takes the limits that an operator changes meanwhile.
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "writer/capture/capture.h"

namespace ringside::writer {
namespace {

constexpr std::uint64_t kRoomRetryNs = 200'000'000;  // of what only an operator, or a disk, can mend
constexpr std::uint64_t kReadersRetryNs = 1'000'000;
// Room that is being made is no event, unless it takes so long.
constexpr std::uint64_t kPatienceNs = 1'000'000'000;
// A load whose next megabyte is not to be had for so long by compaction comes again later.
constexpr std::uint64_t kLoadPatienceNs = 5'000'000'000;

FullCause cause_of(shm::RoomState room) {
  switch (room) {
    case shm::RoomState::kFree:
    case shm::RoomState::kSoon:
    case shm::RoomState::kFilesystem:
      return FullCause::kSpace;
    case shm::RoomState::kReaders:
      return FullCause::kReaders;
    case shm::RoomState::kMaxSize:
      return FullCause::kMaxSize;
    case shm::RoomState::kReserve:
      return FullCause::kReserve;
  }
  return FullCause::kSpace;
}

// What to look at, as the configuration names it.
std::string_view setting_of(FullCause cause) {
  switch (cause) {
    case FullCause::kNone:
      break;
    case FullCause::kReaders:
      return "ring.reader_wait";
    case FullCause::kMaxSize:
      return "ring.max_size";
    case FullCause::kReserve:
      return "ring.transaction_reserve";
    case FullCause::kSpace:
      return "ring.directory";
  }
  return "";
}

bool is_being_made(shm::RoomState room) {
  return room == shm::RoomState::kSoon || room == shm::RoomState::kReaders;
}

std::uint64_t nanoseconds(std::chrono::milliseconds duration) {
  return static_cast<std::uint64_t>(duration.count()) * 1'000'000;
}

}  // namespace

// For people: what is full, who holds it, and what mends it. `error` is the ring's, which ends with "raise
// ring.max_size".
std::string Capture::room_text(shm::RoomState room, const std::string& error) const {
  switch (room) {
    case shm::RoomState::kFree:
    case shm::RoomState::kSoon:
    case shm::RoomState::kFilesystem:
      return error;
    case shm::RoomState::kReaders: {
      const std::vector<shm::ReaderStatus> readers = publisher_->ring().readers();
      const auto last = std::min_element(readers.begin(), readers.end(), [](const auto& a, const auto& b) {
        return a.reclaim_position < b.reclaim_position;
      });
      if (last == readers.end()) return error;
      return fmt::format(
          "{}, or wait: the replica with pid {} (reader {}) holds room, and is evicted unless it passes "
          "within ring.reader_wait",
          error, last->pid, last->slot);
    }
    case shm::RoomState::kMaxSize:
      return fmt::format("{} (SIGHUP makes the writer take it), or delete rows", error);
    case shm::RoomState::kReserve:
      return fmt::format(
          "{} or ring.transaction_reserve (SIGHUP makes the writer take it), or set ring.on_full to "
          "\"rebuild\"",
          error);
  }
  return error;
}

// The transaction at hand does not fit: nothing more is read from the source until it does. What is being made, by compaction
// or by readers that get on, is waited for without a word.
Result<Capture::Next> Capture::wait_for_room() {
  const std::uint64_t began = monotonic_ns();
  while (!stopping()) {
    const shm::RoomState room = publisher_->room_state();
    if (is_replacing()) return Next::kReconnect;  // the ring was found corrupt meanwhile
    if (rebuild_if_configured(*publisher_)) return Next::kReconnect;
    if (!is_being_made(room) || monotonic_ns() - began >= kPatienceNs) note_full(room);
    if (room == shm::RoomState::kSoon) {
      tick();
    } else {
      wait(room == shm::RoomState::kReaders ? kReadersRetryNs : kRoomRetryNs);
    }
    if (stopping()) break;
    RINGSIDE_TRY(tend());
    const EventApplier::Outcome outcome = applier_->commit_again();
    if (outcome == EventApplier::Outcome::kRingFull) continue;
    note_room();
    return handle_outcome(outcome);
  }
  return Next::kStop;
}

// Shows why capture waits; the first time that a cause shows is a line of the log.
void Capture::note_full(shm::RoomState room) {
  const FullCause cause = cause_of(room);
  std::string reason = room_text(room, applier_->reason());
  if (full_since_ns_ == 0) {
    full_since_ns_ = monotonic_ns();
    const std::lock_guard lock(status_mutex_);
    ++status_.full_episodes;
  }
  if (full_told_.insert(cause).second) {
    log_error("capture pauses, replicas go on answering",
              {{"setting", setting_of(cause)}, {"reason", reason}});
  }
  if (reason == full_shown_) return;
  full_shown_ = reason;
  set_state(shm::CaptureState::kFull, std::move(reason), cause);
}

// A transaction has passed. As long as that takes the reserve (deletions further on in the stream have to be reached) it is
// not the end.
void Capture::note_room() {
  if (full_since_ns_ == 0 || publisher_->is_overdrawn()) return;
  log_info("the ring has room again", {{"after_ms", (monotonic_ns() - full_since_ns_) / 1'000'000}});
  full_since_ns_ = 0;
  full_told_.clear();
  full_shown_.clear();
  set_state(shm::CaptureState::kStreaming, {});
}

// ring.on_full = "rebuild": what fits in no way while it is one transaction may fit as the rows that it leaves.
bool Capture::rebuild_if_configured(const shm::Publisher& target) {
  if (target.room_state() != shm::RoomState::kReserve || config_.ring.on_full != OnFull::kRebuild)
    return false;
  start_over(fmt::format("{}; ring.on_full is rebuild", applier_->reason()), false);
  new_epoch_at_least_ = applier_->newest();
  return true;
}

// Whether to try again what has failed; after a wait, when it is for readers. A kLimit is remembered with its cause.
// `since_ns`: when it first failed; 0 before.
bool Capture::waits_for_room(const shm::Publisher& target, const Error& error, std::uint64_t& since_ns) {
  if (error.kind != ErrorKind::kLimit) return false;
  const shm::RoomState room = target.room_state();
  full_cause_ = cause_of(room);
  if (!is_being_made(room) || stopping()) return false;
  const std::uint64_t now = monotonic_ns();
  if (since_ns == 0) since_ns = now;
  if (room == shm::RoomState::kSoon && now - since_ns > kLoadPatienceNs) return false;
  if (room == shm::RoomState::kReaders) {
    wait(kReadersRetryNs);
  } else {
    tick();
  }
  return true;
}

// A step of compaction; whether there is more to do. While the source has more to be read it takes no more than half of
// the time.
Result<bool> Capture::tend() {
  const std::uint64_t began = monotonic_ns();
  if (began < next_tend_ns_ && stream_->data_is_waiting()) return false;
  const Result<bool> tended = publisher_->tend(began);
  const std::uint64_t ended = monotonic_ns();
  next_tend_ns_ = ended + (ended - began);
  if (tended) return tended;
  if (tended.error().kind == ErrorKind::kLimit) return false;
  drop_publisher();
  return Error{ErrorKind::kUnavailable, tended.error().message};
}

void Capture::change_limits(const RingConfig& ring) {
  const std::uint64_t one = 1;
  const std::lock_guard lock(limits_mutex_);
  new_limits_ = ring;
  RINGSIDE_ASSERT(::write(limits_event_.get(), &one, sizeof one) == sizeof one);
}

void Capture::take_limits() {
  std::optional<RingConfig> ring;
  {
    const std::lock_guard lock(limits_mutex_);
    ring.swap(new_limits_);
    std::uint64_t count = 0;
    if (ring) RINGSIDE_ASSERT(::read(limits_event_.get(), &count, sizeof count) == sizeof count);
  }
  if (!ring) return;
  limits_taken_ = true;
  config_.ring.max_size_bytes = ring->max_size_bytes;
  config_.ring.transaction_reserve_bytes = ring->transaction_reserve_bytes;
  config_.ring.on_full = ring->on_full;
  config_.ring.reader_limit_bytes = ring->reader_limit_bytes;
  config_.ring.reader_grace = ring->reader_grace;
  config_.ring.reader_wait = ring->reader_wait;
  shm::RingOptions& options = publisher_options_.ring;
  options.max_bytes = ring->max_size_bytes;
  options.reserve_bytes = ring->transaction_reserve_bytes;
  options.reader_limit_bytes = ring->reader_limit_bytes;
  options.reader_grace_ns = nanoseconds(ring->reader_grace);
  options.reader_wait_ns = nanoseconds(ring->reader_wait);
  for (shm::Publisher* publisher : {publisher_.get(), fresh_.get()}) {
    if (publisher == nullptr) continue;
    publisher->ring().set_reader_limits(options);
    if (const Result<void> set = publisher->ring().set_limits(options.max_bytes, options.reserve_bytes);
        !set) {
      log_error(
          "the ring in force keeps its limits: it cannot grow so far; to have the new ones, restart the "
          "writer",
          {{"reason", set.error().message}});
    }
  }
  // A table that found no room is tried again at once.
  reload_retry_ns_ = kFirstRetryNs;
  next_reload_ns_ = 0;
  roomless_retry_ns_ = 0;
}

}  // namespace ringside::writer
