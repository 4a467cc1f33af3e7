#include "writer/commands/command_tracker.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"

namespace ringside::writer {

CommandId make_command_id() {
  CommandId id;
  std::size_t filled = 0;
  while (filled < id.size()) {
    const ssize_t got = ::getrandom(id.data() + filled, id.size() - filled, 0);
    RINGSIDE_ASSERT(got > 0 || errno == EINTR);
    if (got > 0) filled += static_cast<std::size_t>(got);
  }
  return id;
}

std::string_view to_string(StreamState state) {
  switch (state) {
    case StreamState::kStarting:
      return "starting";
    case StreamState::kFollowing:
      return "following";
    case StreamState::kInterrupted:
      return "interrupted";
    case StreamState::kStopped:
      return "stopped";
  }
  return "unknown";
}

void CommandTracker::committed(Bytes id_bytes, Version version, std::string_view gtid) {
  CommandId id;
  if (id_bytes.size() != id.size()) return;
  std::copy(id_bytes.begin(), id_bytes.end(), id.begin());

  Callback callback;
  CommittedAs seen{version, std::string(gtid)};
  {
    const std::lock_guard lock(mutex_);
    // A reconnect resumes one transaction early, so the same marker may come twice.
    if (!remembered_.emplace(id, seen).second) return;
    order_.push_back(id);
    if (order_.size() > kRememberedMarkers) {
      remembered_.erase(order_.front());
      order_.pop_front();
    }
    if (const auto it = callbacks_.find(id); it != callbacks_.end()) {
      callback = std::move(it->second);
      callbacks_.erase(it);
    }
  }
  seen_.notify_all();
  if (callback) callback(seen);
}

void CommandTracker::set_stream_state(StreamState state) {
  {
    const std::lock_guard lock(mutex_);
    state_.store(state, std::memory_order_relaxed);
  }
  seen_.notify_all();
}

std::optional<CommittedAs> CommandTracker::find_locked(const CommandId& id) const {
  const auto it = remembered_.find(id);
  if (it == remembered_.end()) return std::nullopt;
  return it->second;
}

std::optional<CommittedAs> CommandTracker::find(const CommandId& id) const {
  const std::lock_guard lock(mutex_);
  return find_locked(id);
}

void CommandTracker::await(const CommandId& id, Callback callback) {
  std::optional<CommittedAs> seen;
  {
    const std::lock_guard lock(mutex_);
    seen = find_locked(id);
    if (!seen) {
      const bool is_new = callbacks_.emplace(id, std::move(callback)).second;
      RINGSIDE_ASSERT(is_new);
      return;
    }
  }
  callback(*seen);
}

bool CommandTracker::cancel(const CommandId& id) {
  const std::lock_guard lock(mutex_);
  return callbacks_.erase(id) == 1;
}

std::optional<CommittedAs> CommandTracker::wait_for(const CommandId& id, std::chrono::nanoseconds time) {
  std::unique_lock lock(mutex_);
  std::optional<CommittedAs> seen;
  seen_.wait_for(lock, time, [&] {
    seen = find_locked(id);
    return seen.has_value() || stream_state() == StreamState::kStopped;
  });
  return seen;
}

std::size_t CommandTracker::waiting() const {
  const std::lock_guard lock(mutex_);
  return callbacks_.size();
}

}  // namespace ringside::writer
