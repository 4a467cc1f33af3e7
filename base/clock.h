// The clocks, by the question they answer. Passed in as values where code must be testable.
//
// Threads: any.   Errors: none (the three clocks always exist on Linux).
#pragma once

#include <time.h>

#include <cstdint>

namespace ringside {

inline std::uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// How long did it take? Nanoseconds since an arbitrary start, the same for all processes of the host.
inline std::uint64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

// When was it? Nanoseconds since 1970-01-01T00:00:00Z; may jump.
inline std::uint64_t wall_ns() {
  return clock_ns(CLOCK_REALTIME);
}

// How much processor did this thread use? Nanoseconds.
inline std::uint64_t thread_cpu_ns() {
  return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace ringside
