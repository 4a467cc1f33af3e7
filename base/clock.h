// The clocks, by the question they answer. Passed in as values where code must be testable.
//
// A process may have been put into a time namespace, where CLOCK_MONOTONIC is the host's plus an offset; two processes'
// times could not be compared then. The kernel tells each process its offset (time_namespaces(7)), so what is
// called monotonic here has it taken out again.
//
// Threads: any.   Errors: none (the three clocks always exist on Linux).
// Limits: the offset is read once. Before Linux 6.3 the kernel tells that of a process's children, which is the
// process's own unless whoever made the namespace went on into the program without forking.
#pragma once

#include <time.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace ringside {

inline std::uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// What a text like that of /proc/PID/timens_offsets says of CLOCK_MONOTONIC, in nanoseconds; none: it says nothing.
std::optional<std::int64_t> monotonic_offset_ns(std::string_view offsets);
// This process's. 0 as well where the kernel has no time namespaces, or /proc cannot be read.
std::int64_t read_monotonic_offset_ns();

// How long did it take? Nanoseconds since an arbitrary start, the same for all processes of the host.
inline std::uint64_t monotonic_ns() {
  static const auto kOffset = static_cast<std::uint64_t>(read_monotonic_offset_ns());
  return clock_ns(CLOCK_MONOTONIC) - kOffset;
}

// When was it? Nanoseconds since 1970-01-01T00:00:00Z; may jump.
inline std::uint64_t wall_ns() {
  return clock_ns(CLOCK_REALTIME);
}

// How far the wall clock is ahead of the monotonic one, in nanoseconds. Another value than before, by more than the
// moment between two looks at a clock: the wall clock was set, or the host slept.
inline std::int64_t wall_ahead_ns() {
  return static_cast<std::int64_t>(wall_ns() - monotonic_ns());
}

// How much processor did this thread use? Nanoseconds.
inline std::uint64_t thread_cpu_ns() {
  return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace ringside
