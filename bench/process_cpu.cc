#include "bench/process_cpu.h"

#include <fmt/format.h>
#include <sched.h>
#include <time.h>

#include <cerrno>

#include "bench/errno_text.h"

namespace ringside::bench {

Result<std::uint64_t> process_cpu_ns(pid_t pid) {
  // The clock's number has the pid shifted by three bits: a larger one would name another process's clock.
  constexpr pid_t kMaxPid = 1 << 22;
  if (pid <= 0 || pid > kMaxPid) {
    return Error{ErrorKind::kInvalid, fmt::format("process {}: a pid is 1 to {}", pid, kMaxPid)};
  }
  clockid_t clock{};
  if (const int error = ::clock_getcpuclockid(pid, &clock); error != 0) {
    return Error{ErrorKind::kNotFound, fmt::format("CPU clock of process {}: {}", pid, errno_text(error))};
  }
  timespec time{};
  if (::clock_gettime(clock, &time) != 0) {
    return Error{ErrorKind::kNotFound, fmt::format("CPU clock of process {}: {}", pid, errno_text(errno))};
  }
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

Result<std::uint64_t> process_cpu_ns(const std::vector<pid_t>& pids) {
  std::uint64_t sum = 0;
  for (const pid_t pid : pids) {
    RINGSIDE_ASSIGN(const std::uint64_t one, process_cpu_ns(pid));
    sum += one;
  }
  return sum;
}

Result<void> run_on_core(int core) {
  if (core < 0) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  if (core < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(core), &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    return Error{ErrorKind::kInvalid,
                 fmt::format("core {}: {} (`nproc` tells how many there are, counted from 0)", core,
                             errno_text(errno))};
  }
  return {};
}

}  // namespace ringside::bench
