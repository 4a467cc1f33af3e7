// The processor time of other processes, and where this one runs.
//
// process_cpu_ns() reads the kernel's CPU clock of a whole process: all its threads, those that have ended
// too, in nanoseconds, user and system together. For a thread that runs at this very moment the clock may be
// behind by one scheduler tick (4 ms at HZ=250): take windows of seconds.
//
// What a process is charged for on loopback: the kernel carries a segment through to the peer's socket inside
// the sender's system call, so receiving is paid by whoever sends. The same holds for everything that is
// compared here.
//
// Threads: any.   Errors: says which pid or core, and why.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace ringside::bench {

Result<std::uint64_t> process_cpu_ns(pid_t pid);

// The sum over several processes.
Result<std::uint64_t> process_cpu_ns(const std::vector<pid_t>& pids);

// Binds the calling thread to one core. -1: leaves it as it is.
Result<void> run_on_core(int core);

}  // namespace ringside::bench
