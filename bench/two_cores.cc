#include "bench/two_cores.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <vector>

#include "bench/ring_of_products.h"

namespace ringside::bench {
namespace {

// Of the process as it was started: run_on_core() narrows what the kernel would answer later.
const std::vector<int>& allowed_cores() {
  static const std::vector<int> cores = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) != 0) die("cannot read the processor affinity");
    std::vector<int> found;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) found.push_back(core);
    }
    return found;
  }();
  return cores;
}

}  // namespace

void run_on_core(unsigned n) {
  const std::vector<int>& cores = allowed_cores();
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cores[n % cores.size()], &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) die("cannot bind to a core");
}

double ns_per_tick() {
  static const double ratio = [] {
    constexpr std::uint64_t kWindowNs = 5'000'000;
    const std::uint64_t ns = monotonic_ns();
    const std::uint64_t tick = ticks();
    spin_until([&] { return monotonic_ns() - ns >= kWindowNs; });
    const std::uint64_t ticked = ticks() - tick;
    return static_cast<double>(monotonic_ns() - ns) / static_cast<double>(ticked);
  }();
  return ratio;
}

Shared::Shared() {
  void* memory =
      ::mmap(nullptr, sizeof(SharedLines), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("cannot map shared memory");
  lines_ = new (memory) SharedLines;
}
Shared::~Shared() {
  ::munmap(lines_, sizeof(SharedLines));
}

Peer::Peer(const std::function<void()>& work) {
  run_on_core(0);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) die("cannot fork");
  if (pid_ > 0) return;
  // A benchmark that dies must not leave a spinning process behind.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) std::_Exit(1);
  run_on_core(1);
  work();
  std::_Exit(0);
}

void Peer::join() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) die("cannot wait for the other process");
  }
  pid_ = -1;
  if (status != 0) die("the other process has failed");
}

Peer::~Peer() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace ringside::bench
