// What a replica counts. Plain numbers, incremented on the hot path and read when somebody asks for /metrics.
//
// Threads: one.   Ownership: values.   Errors: none.   No allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/metrics_text.h"

namespace ringside::replica {

// What a request asked for: the label `route`.
enum class RouteKind : std::uint8_t {
  kRow,   // one row by its key
  kRows,  // rows by several keys
  kVersion,
  kStatus,
  kHealthz,
  kReadyz,
  kMetrics,
  kIndex,  // the page for people
  kOther,  // anything else, also what could not be parsed
};
inline constexpr std::size_t kRouteKinds = 9;
// As a template of the path, so that there are as many as there are kinds: "/v1/{table}/{key}".
std::string_view to_string(RouteKind route);
// The kinds whose durations are kept: those that clients ask. They come first.
inline constexpr std::size_t kTimedRoutes = 3;
constexpr bool is_timed(RouteKind route) {
  return static_cast<std::size_t>(route) < kTimedRoutes;
}

// Every status of HTTP has its own count.
class RequestCounts {
 public:
  static constexpr std::uint16_t kFirstStatus = 200;
  static constexpr std::uint16_t kLastStatus = 599;

  // Precondition: kFirstStatus <= status <= kLastStatus.
  void count(RouteKind route, std::uint16_t status) {
    ++counts_[static_cast<std::size_t>(route)][std::size_t{status} - kFirstStatus];
  }
  std::uint64_t of(RouteKind route, std::uint16_t status) const {
    return counts_[static_cast<std::size_t>(route)][std::size_t{status} - kFirstStatus];
  }

 private:
  std::array<std::array<std::uint64_t, kLastStatus - kFirstStatus + 1>, kRouteKinds> counts_{};
};

// How long requests took, from the turn of the event loop that had the whole head to the end of the turn that answered
// it, when the answer goes to the kernel. Most are answered in the turn that they arrive in, and all of these took
// the same: they are only counted, and recorded together at the turn's end, which costs one look at the clock.
class RequestDurations {
 public:
  // `asked_ns`: when the turn began that had the whole head; `turn_ns`: when this one began.
  void answered(RouteKind route, std::uint64_t asked_ns, std::uint64_t turn_ns) {
    if (!is_timed(route)) return;
    if (asked_ns == turn_ns) {
      ++answered_[static_cast<std::size_t>(route)];
    } else {
      answered_later(route, asked_ns, turn_ns);
    }
  }
  void end_turn(std::uint64_t turn_ns, std::uint64_t now_ns);

  // Precondition: is_timed(route).
  const http::Histogram& of(RouteKind route) const { return histograms_[static_cast<std::size_t>(route)]; }

 private:
  // Of answers that had waited: more of them in one turn are recorded without the rest of their turn.
  static constexpr std::size_t kMaxWaited = 256;
  struct Waited {
    RouteKind route;
    std::uint64_t before_turn_ns;
  };
  void answered_later(RouteKind route, std::uint64_t asked_ns, std::uint64_t turn_ns);

  std::array<http::Histogram, kTimedRoutes> histograms_{};
  std::array<std::uint64_t, kTimedRoutes> answered_{};  // in this turn
  std::array<Waited, kMaxWaited> waited_{};             // answered in this turn
  std::size_t waited_size_ = 0;
};

struct ReplicaMetrics {
  RequestCounts requests;
  RequestDurations request_durations;
  http::Histogram turn_duration;  // of turns in which there was something to do, without submission and sleep
  std::uint64_t idle_turns = 0;   // the others
  std::uint64_t waits = 0;        // requests that had to wait for a version
  std::uint64_t wait_timeouts = 0;
  std::uint64_t waiting = 0;      // now
  std::uint64_t connections = 0;  // open now
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  // over max_connections
  std::uint64_t idle_closed = 0;
  std::uint64_t head_timeouts = 0;
  std::uint64_t stalled_closed = 0;   // did not take their answers
  std::uint64_t discarded_turns = 0;  // answers thrown away because the ring had changed underneath
  std::uint64_t received_bytes = 0;
  std::uint64_t sent_bytes = 0;
};

}  // namespace ringside::replica
