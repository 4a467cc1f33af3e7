// CommandTracker: where a command meets its own marker row coming out of the binlog.
//
// Every command's transaction writes a row with a random id into `ringside`.`commands`. Capture reports each
// such row with the version of its transaction; a command that waits for it is told at once, and one that
// comes later finds it remembered. The stream often leads the client's own OK, so "seen before it was asked
// for" is the usual case.
//
// A command whose connection was lost in COMMIT asks here as well: a marker that is seen proves the commit.
// One that is not seen proves nothing by itself.
//
// Threads: any. committed() never blocks beyond a short critical section; it calls the waiting callback
// outside of it. Ownership: callbacks are kept until called or cancelled. Each is called once at most.
// Errors: none.
// Limits: kRememberedMarkers markers are remembered, the oldest forgotten first. The number of waiting
// commands is bounded by the number of connections, each of which has one command at a time.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/bytes.h"
#include "base/ids.h"

namespace ringside::writer {

inline constexpr std::size_t kCommandIdBytes = 16;
inline constexpr std::size_t kRememberedMarkers = 16'384;

// Random, so that two hosts' writers never meet. All its bytes are random: it is no RFC 9562 UUID.
using CommandId = std::array<std::byte, kCommandIdBytes>;
// From the kernel's random source; aborts when there is none (then nothing is unique any more).
CommandId make_command_id();

// What the stream said of a command.
struct CommittedAs {
  Version version;
  std::string gtid;
};

// Whether waiting for the stream makes sense.
enum class StreamState : std::uint8_t {
  kStarting,     // connecting, or reading the snapshot: markers come later
  kFollowing,    // events arrive
  kInterrupted,  // reconnecting
  kStopped,      // will not go on in this process: nobody waits
};
std::string_view to_string(StreamState state);

class CommandTracker {
 public:
  using Callback = std::function<void(const CommittedAs&)>;

  // Capture's side: the marker row with this id belongs to that transaction. An id of another length is
  // ignored (the row was not written by a Ringside).
  void committed(Bytes id, Version version, std::string_view gtid);
  void set_stream_state(StreamState state);

  StreamState stream_state() const { return state_.load(std::memory_order_relaxed); }

  // What is known now.
  std::optional<CommittedAs> find(const CommandId& id) const;
  // Calls `callback` once: at once and from here when the marker has been seen, else from the thread that
  // reports it. Precondition: nobody awaits this id yet.
  void await(const CommandId& id, Callback callback);
  // Ends the waiting. False when the callback has been called, or is being called by another thread just now.
  bool cancel(const CommandId& id);
  // Blocks until the marker is seen, the time is over, or the stream has stopped.
  std::optional<CommittedAs> wait_for(const CommandId& id, std::chrono::nanoseconds time);

  std::size_t waiting() const;

 private:
  struct IdHash {
    std::size_t operator()(const CommandId& id) const noexcept { return load_le<std::uint64_t>(id.data()); }
  };

  std::optional<CommittedAs> find_locked(const CommandId& id) const;

  // A monitoring value that publishes nothing else: relaxed suffices. Written under mutex_, so that
  // wait_for() cannot miss the change.
  std::atomic<StreamState> state_{StreamState::kStarting};

  mutable std::mutex mutex_;
  std::condition_variable seen_;
  // Under mutex_:
  std::unordered_map<CommandId, CommittedAs, IdHash> remembered_;
  std::deque<CommandId> order_;  // the keys of remembered_, oldest first
  std::unordered_map<CommandId, Callback, IdHash> callbacks_;
};

}  // namespace ringside::writer
