#include "replica/uring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/assert.h"
#include "base/unique_fd.h"

namespace ringside::replica {
namespace {

bool is_power_of_two(unsigned value) {
  return value != 0 && (value & (value - 1)) == 0;
}

// The content of /proc/sys/kernel/io_uring_disabled, -1 when the kernel has no such setting.
int io_uring_disabled() {
  const UniqueFd file(::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC));
  char digit = 0;
  if (!file || ::read(file.get(), &digit, 1) != 1 || digit < '0' || digit > '9') return -1;
  return digit - '0';
}

Error refusal(int error, const char* what) {
  std::string text = std::string("io_uring is refused (") + what + ": " + std::strerror(error) + "). ";
  switch (error) {
    case EPERM:
    case EACCES: {
      const int disabled = io_uring_disabled();
      if (disabled > 0) {
        text += "The sysctl kernel.io_uring_disabled is " + std::to_string(disabled) +
                ": set it to 0 (sysctl -w kernel.io_uring_disabled=0)";
        if (disabled == 1) text += ", or put this user into the group of kernel.io_uring_group";
        text += ".";
      } else {
        text +=
            "A seccomp rule forbids it, as container run-times do by default: allow the system calls "
            "io_uring_setup, io_uring_enter and io_uring_register (docker: --security-opt seccomp=PROFILE).";
      }
      return {ErrorKind::kUnsupported, std::move(text)};
    }
    case ENOSYS:
      text += "This kernel has no io_uring, or a seccomp rule hides it. Linux 6.1 or newer is needed.";
      return {ErrorKind::kUnsupported, std::move(text)};
    case EINVAL:
      text += "This kernel is too old for it. Linux 6.1 or newer is needed.";
      return {ErrorKind::kUnsupported, std::move(text)};
    case ENOMEM:
      text +=
          "Not enough memory, or the limit of locked memory is too low: raise it (ulimit -l, LimitMEMLOCK=).";
      return {ErrorKind::kIo, std::move(text)};
    default:
      return {ErrorKind::kIo, std::move(text)};
  }
}

}  // namespace

Result<std::unique_ptr<Uring>> Uring::create(unsigned entries, unsigned completions, bool spins) {
  RINGSIDE_ASSERT(is_power_of_two(entries) && entries <= kMaxEntries);
  RINGSIDE_ASSERT(is_power_of_two(completions) && completions >= entries && completions <= 2 * kMaxEntries);
  std::unique_ptr<Uring> uring(new Uring);
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
  if (spins) params.flags |= IORING_SETUP_TASKRUN_FLAG;
  params.cq_entries = completions;
  const int rc = ::io_uring_queue_init_params(entries, &uring->ring_, &params);
  if (rc < 0) {
    uring->ring_.ring_fd = -1;
    return refusal(-rc, "io_uring_setup");
  }
  // Without EXT_ARG a wait with a time-out would need a submission of its own, without NODROP completions could be
  // lost: all kernels with DEFER_TASKRUN have both.
  if ((params.features & IORING_FEAT_EXT_ARG) == 0 || (params.features & IORING_FEAT_NODROP) == 0) {
    return refusal(EINVAL, "missing features");
  }
  // A rule that lets only some of the three calls through would otherwise show as a loop in which nothing ever happens.
  const int entered = ::io_uring_get_events(&uring->ring_);
  if (entered < 0) return refusal(-entered, "io_uring_enter");
  return uring;
}

Uring::~Uring() {
  if (ring_.ring_fd >= 0 && ring_.sq.ring_ptr != nullptr) ::io_uring_queue_exit(&ring_);
}

io_uring_sqe* Uring::sqe() {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    const int rc = ::io_uring_submit(&ring_);
    // EBUSY, EAGAIN: completions have to be worked off first; the loop does that by asking for events.
    if (rc < 0) ::io_uring_get_events(&ring_);
    sqe = ::io_uring_get_sqe(&ring_);
  }
  return sqe;
}

void Uring::reserve(unsigned count) {
  if (::io_uring_sq_space_left(&ring_) < count) ::io_uring_submit(&ring_);
}

void Uring::wait(std::uint64_t timeout_ns) {
  if (timeout_ns == 0 || ::io_uring_cq_ready(&ring_) != 0) {
    ::io_uring_submit_and_get_events(&ring_);
    return;
  }
  __kernel_timespec timeout{};
  timeout.tv_sec = static_cast<long long>(timeout_ns / 1'000'000'000u);
  timeout.tv_nsec = static_cast<long long>(timeout_ns % 1'000'000'000u);
  io_uring_cqe* cqe = nullptr;
  // ETIME, EINTR and EAGAIN all mean: have a look and come again.
  ::io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &timeout, nullptr);
}

void Uring::poll() {
  const unsigned flags = std::atomic_ref(*ring_.sq.kflags).load(std::memory_order_relaxed);
  const bool has_work = (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (has_work || ::io_uring_sq_ready(&ring_) != 0) ::io_uring_submit_and_get_events(&ring_);
}

Result<std::unique_ptr<BufferRing>> BufferRing::create(Uring& ring, std::uint16_t group, unsigned count,
                                                       std::size_t buffer_bytes) {
  RINGSIDE_ASSERT(is_power_of_two(count) && count <= kMaxBuffers && buffer_bytes > 0);
  std::unique_ptr<BufferRing> buffers(new BufferRing);
  buffers->owner_ = &ring;
  buffers->group_ = group;
  buffers->count_ = count;
  buffers->stride_ = (buffer_bytes + 63) / 64 * 64;
  const std::size_t ring_bytes = (count * sizeof(io_uring_buf) + 4095) / 4096 * 4096;
  buffers->mapped_bytes_ = ring_bytes + count * buffers->stride_;
  void* memory =
      ::mmap(nullptr, buffers->mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{ErrorKind::kIo, "no memory for " + std::to_string(buffers->mapped_bytes_) +
                                     " bytes of receive buffers: " + std::strerror(errno)};
  }
  buffers->ring_ = static_cast<io_uring_buf_ring*>(memory);
  buffers->buffers_ = static_cast<std::byte*>(memory) + ring_bytes;
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
  registration.ring_entries = count;
  registration.bgid = group;
  const int rc = ::io_uring_register_buf_ring(ring.get(), &registration, 0);
  if (rc < 0) return refusal(-rc, "registering receive buffers");
  buffers->is_registered_ = true;
  io_uring_buf_ring_init(buffers->ring_);
  for (unsigned id = 0; id < count; ++id) buffers->recycle(static_cast<std::uint16_t>(id));
  buffers->publish();
  return buffers;
}

BufferRing::~BufferRing() {
  if (is_registered_) ::io_uring_unregister_buf_ring(owner_->get(), group_);
  if (ring_ != nullptr) ::munmap(ring_, mapped_bytes_);
}

}  // namespace ringside::replica
