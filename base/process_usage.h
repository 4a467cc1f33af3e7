// What this process takes from the machine, as the kernel counts it: for /metrics.
//
// Threads: any.   Ownership: values.
// Errors: what /proc does not tell is nullopt (no /proc, or hidden); never an exception.
// Limits: reads two small files; counts at most kMaxProbedFiles descriptors one by one where the kernel (before 6.2)
// does not say how many are open.
#pragma once

#include <cstdint>
#include <optional>

namespace ringside {

inline constexpr std::uint64_t kMaxProbedFiles = 65'536;

struct ProcessUsage {
  std::optional<double> cpu_seconds;         // user and system, of all threads
  std::optional<double> start_time_seconds;  // since 1970
  std::optional<std::uint64_t> resident_bytes;
  std::optional<std::uint64_t> virtual_bytes;
  std::optional<std::uint64_t> threads;
  std::optional<std::uint64_t> open_files;
  std::optional<std::uint64_t> max_files;  // the soft limit; nullopt: none
};

ProcessUsage read_process_usage();

}  // namespace ringside
