// Two processes on two cores, as the ring's figures need them: this one on the first core, a forked peer on the second.
//
// They meet in shared lines: words, each alone on a pair of cache lines (processors fetch lines in pairs). Times that
// cross from one process to the other are read from the processor's time-stamp counter, which counts at one rate and in step
// on all cores of a machine (the constant_tsc and nonstop_tsc flags of Linux); tsc_skew() shows how well that is kept. On a
// machine of a single core the two share it: everything works, and the figures say nothing.
//
// Threads: one in each process.   Ownership: Peer waits for its process, SharedLines unmaps.
// Errors: die() says what failed, in either process.   Limits: spinning gives the core up every kSpins rounds, so that a
// peer without a core of its own gets on.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "base/clock.h"

namespace ringside::bench {

// Binds the calling process to its nth allowed core (modulo how many there are).
void run_on_core(unsigned n);

// Ticks of one clock that all cores share.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  unsigned core;
  const std::uint64_t now = __rdtscp(&core);  // after all loads before it
  _mm_lfence();                               // and before what comes next
  return now;
#else
  return monotonic_ns();
#endif
}
// Measured once against CLOCK_MONOTONIC, over some milliseconds.
double ns_per_tick();

struct alignas(128) Line {
  std::atomic<std::uint64_t> word{0};
  std::atomic<std::uint64_t> stamp{0};  // ticks(), stored before word
};

// What both processes see. Made before the fork.
struct SharedLines {
  Line ping;
  Line pong;
  Line seen;
  Line stop;
};
class Shared {
 public:
  Shared();
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  SharedLines* operator->() const { return lines_; }

 private:
  SharedLines* lines_;
};

// Spins until `is_done` says so.
template <class Condition>
void spin_until(Condition&& is_done) {
  constexpr unsigned kSpins = 1 << 14;
  for (unsigned i = 1; !is_done(); ++i) {
    if (i % kSpins == 0) ::sched_yield();
  }
}

// A forked process on the second core. `work` gets on until it is told to stop; the process then ends without its
// destructors.
class Peer {
 public:
  explicit Peer(const std::function<void()>& work);
  // Waits for its end; dies when it failed.
  void join();
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

 private:
  pid_t pid_ = -1;
};

}  // namespace ringside::bench
