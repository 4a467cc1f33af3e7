// set_clock: preloaded into a program, sets the time of day that it sees, and that of nobody else.
//
//   LD_PRELOAD=libset_clock.so RINGSIDE_SET_CLOCK=FILE program …
//
// FILE holds eight bytes: by how many nanoseconds CLOCK_REALTIME is set. It is mapped, so that what a test stores there
// counts with the next look at the clock. CLOCK_MONOTONIC is not touched. Waits until a time of day end when the
// time has gone by that they had to wait when they began.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
// A condition variable may be one of CLOCK_MONOTONIC, whose times are uptimes: below this.
constexpr std::int64_t kLongestUptimeSeconds = 1'000'000'000;

// Null until the program's constructors run, and without the variable.
std::atomic_ref<std::int64_t>* set_by = nullptr;

__attribute__((constructor)) void map_file() {
  const char* path = std::getenv("RINGSIDE_SET_CLOCK");
  const int fd = path == nullptr ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* page = ::mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  if (page == MAP_FAILED) std::abort();
  static std::atomic_ref<std::int64_t> word(*static_cast<std::int64_t*>(page));
  set_by = &word;
}

timespec shifted(const timespec& time, std::int64_t by_ns) {
  const std::int64_t ns = time.tv_sec * kSecondNs + time.tv_nsec + by_ns;
  return {ns / kSecondNs, ns % kSecondNs};
}
std::int64_t set_by_ns() {
  return set_by == nullptr ? 0 : set_by->load(std::memory_order_relaxed);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const long failed = ::syscall(SYS_clock_gettime, clock, now);
  if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    *now = shifted(*now, set_by_ns());
  return static_cast<int>(failed);
}

int gettimeofday(timeval* __restrict now, void* __restrict) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  *now = {precise.tv_sec, precise.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  if (until->tv_sec < kLongestUptimeSeconds) {
    return ::pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
  }
  const timespec unset = shifted(*until, -set_by_ns());
  return ::pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &unset);
}

}  // extern "C"
