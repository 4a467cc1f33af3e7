#include "bench/uring.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <bit>
#include <cerrno>

#include "bench/errno_text.h"

namespace ringside::bench {
namespace {

constexpr unsigned short kGroup = 0;

// Buffers a whole number of pages apart would all begin in the same set of the L1 cache; one line more
// spreads them.
constexpr std::size_t kStagger = 64;

std::size_t whole_pages(std::size_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

}  // namespace

Result<std::unique_ptr<Uring>> Uring::create(unsigned sqes, unsigned cqes) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = cqes;
  std::unique_ptr<Uring> ring(new Uring);
  if (const int result = io_uring_queue_init_params(sqes, &ring->ring_, &params); result != 0) {
    ring->ring_.ring_fd = -1;
    return Error{
        ErrorKind::kUnsupported,
        fmt::format(
            "io_uring is refused: {}. Linux 6.1 or newer is needed; `sysctl kernel.io_uring_disabled` "
            "must be 0, and a container's seccomp profile must allow io_uring_setup, io_uring_enter "
            "and io_uring_register",
            errno_text(-result))};
  }
  // Spares the look-up of the ring's file on each enter. It may be refused; then the look-up stays.
  (void)io_uring_register_ring_fd(&ring->ring_);
  return ring;
}

Uring::~Uring() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

io_uring_sqe* Uring::sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

Result<std::unique_ptr<BufferRing>> BufferRing::create(Uring& ring, unsigned count,
                                                       std::size_t buffer_bytes) {
  RINGSIDE_ASSERT(std::has_single_bit(count) && count <= 32768);
  std::unique_ptr<BufferRing> buffers(new BufferRing);
  buffers->bytes_ = buffer_bytes;
  buffers->stride_ = (buffer_bytes + 63) / 64 * 64 + kStagger;
  buffers->mask_ = count - 1;
  const std::size_t ring_bytes = whole_pages(count * sizeof(io_uring_buf));
  const std::size_t mapped = ring_bytes + whole_pages(count * buffers->stride_);
  void* memory =
      ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{ErrorKind::kIo, fmt::format("{} bytes for receive buffers: {}", mapped, errno_text(errno))};
  }
  buffers->mapped_ = mapped;
  buffers->ring_ = static_cast<io_uring_buf_ring*>(memory);
  buffers->buffers_ = static_cast<char*>(memory) + ring_bytes;
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
  registration.ring_entries = count;
  registration.bgid = kGroup;
  if (const int result = io_uring_register_buf_ring(ring.get(), &registration, 0); result != 0) {
    return Error{ErrorKind::kUnsupported,
                 fmt::format("io_uring provided buffers are refused: {}. Linux 6.1 or newer "
                             "is needed",
                             errno_text(-result))};
  }
  buffers->owner_ = &ring;
  io_uring_buf_ring_init(buffers->ring_);
  for (unsigned id = 0; id < count; ++id) buffers->recycle(static_cast<std::uint16_t>(id));
  buffers->publish();
  return buffers;
}

BufferRing::~BufferRing() {
  if (owner_ != nullptr) io_uring_unregister_buf_ring(owner_->get(), kGroup);
  if (ring_ != nullptr) ::munmap(ring_, mapped_);
}

}  // namespace ringside::bench
