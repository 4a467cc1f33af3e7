// An io_uring and its ring of receive buffers, as both ends of the measurement use them.
//
// One thread submits and reaps (SINGLE_ISSUER), and completions are worked off when it asks for them
// (DEFER_TASKRUN), so that no interrupt of its work is charged to it. Receives draw from a shared ring of
// buffers: an idle connection holds none.
//
// Threads: the one that created it.   Ownership: unmaps and unregisters at destruction.
// Errors: a refusal names the sysctl or seccomp rule.   Limits: given at creation.   No allocation
// afterwards.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace ringside::bench {

class Uring {
 public:
  static Result<std::unique_ptr<Uring>> create(unsigned sqes, unsigned cqes);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  io_uring* get() { return &ring_; }

  // A free submission entry; submits what is queued when there is none.
  io_uring_sqe* sqe();

 private:
  Uring() = default;
  io_uring ring_{};
};

// Receive buffers that the kernel picks from (buffer group 0). A buffer is the receiver's from its completion
// until recycle(); publish() gives all recycled ones back at once.
class BufferRing {
 public:
  // `count` is a power of two, at most 32768.
  static Result<std::unique_ptr<BufferRing>> create(Uring& ring, unsigned count, std::size_t buffer_bytes);
  ~BufferRing();
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  const char* buffer(std::uint16_t id) const { return buffers_ + stride_ * id; }

  void recycle(std::uint16_t id) {
    io_uring_buf_ring_add(ring_, buffers_ + stride_ * id, static_cast<unsigned>(bytes_), id,
                          static_cast<int>(mask_), static_cast<int>(recycled_++));
  }
  void publish() {
    if (recycled_ == 0) return;
    io_uring_buf_ring_advance(ring_, static_cast<int>(recycled_));
    recycled_ = 0;
  }

 private:
  BufferRing() = default;

  Uring* owner_ = nullptr;
  io_uring_buf_ring* ring_ = nullptr;
  char* buffers_ = nullptr;
  std::size_t mapped_ = 0;
  std::size_t bytes_ = 0;
  std::size_t stride_ = 0;
  unsigned mask_ = 0;
  unsigned recycled_ = 0;
};

}  // namespace ringside::bench
