// An io_uring for one thread, and the ring of receive buffers that the kernel picks from.
//
// The ring is made with SINGLE_ISSUER, DEFER_TASKRUN and COOP_TASKRUN: completions are worked off only inside
// wait() and poll(), so nothing interrupts the thread and nothing is charged to it behind its back. Requests are
// prepared with liburing's io_uring_prep_* on sqe() and go to the kernel in one system call per turn.
//
// Threads: the one that created it.
// Ownership: unmaps and unregisters at destruction. A receive buffer is the kernel's until a completion names it,
// then the caller's until recycle().
// Errors: create() explains a refusal (sysctl, seccomp rule, kernel version, locked memory).
// Limits: submission and completion entries and buffers are given at creation.   No allocation afterwards.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/result.h"

namespace ringside::replica {

class Uring {
 public:
  static constexpr unsigned kMaxEntries = 32768;

  // `entries`: submissions that fit between two system calls; `completions`: completions the kernel keeps before it
  // has to set some aside. Both powers of two, at most kMaxEntries (completions: twice that).
  // `spins`: poll() will be used; the kernel then leaves word of waiting work, which costs it a little each time.
  static Result<std::unique_ptr<Uring>> create(unsigned entries, unsigned completions, bool spins);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // A free submission entry, zeroed except for what the next io_uring_prep_* sets; submits what is queued when the
  // queue is full. Never nullptr.
  io_uring_sqe* sqe();
  // Makes sure that `count` entries fit without a submission in between (for linked requests). count is small.
  void reserve(unsigned count);

  // Submits, and waits for a completion until `timeout_ns` from now (0: does not wait). One system call.
  void wait(std::uint64_t timeout_ns);
  // Submits and works off what is ready. No system call when there is nothing to do. Precondition: made with `spins`.
  void poll();

  // Calls handle(const io_uring_cqe&) for every completion there is; they are given back afterwards, or earlier
  // when there are many.
  template <class Handle>
  unsigned reap(Handle&& handle) {
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      const io_uring_cqe copy = *cqe;
      handle(copy);
      ++count;
    }
    io_uring_cq_advance(&ring_, count);
    return count;
  }

  io_uring* get() { return &ring_; }

 private:
  Uring() = default;
  io_uring ring_{};
};

class BufferRing {
 public:
  static constexpr unsigned kMaxBuffers = 32768;

  // `count` buffers (a power of two, at most kMaxBuffers) of `buffer_bytes` each, registered as group `group`.
  static Result<std::unique_ptr<BufferRing>> create(Uring& ring, std::uint16_t group, unsigned count,
                                                    std::size_t buffer_bytes);
  ~BufferRing();
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  // The first `size` bytes of a buffer that a completion named. Precondition: size <= the buffer's.
  Bytes bytes(std::uint16_t id, std::size_t size) const { return {buffers_ + stride_ * id, size}; }
  std::uint16_t group() const { return group_; }

  // The buffer is done with. publish() gives all recycled ones back to the kernel at once.
  void recycle(std::uint16_t id) {
    io_uring_buf_ring_add(ring_, buffers_ + stride_ * id, static_cast<unsigned>(stride_), id,
                          static_cast<int>(count_ - 1), static_cast<int>(recycled_++));
  }
  void publish() {
    if (recycled_ == 0) return;
    io_uring_buf_ring_advance(ring_, static_cast<int>(recycled_));
    recycled_ = 0;
  }

 private:
  BufferRing() = default;

  Uring* owner_ = nullptr;
  io_uring_buf_ring* ring_ = nullptr;  // one mapping: the ring's entries, then the buffers
  std::byte* buffers_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::size_t stride_ = 0;
  unsigned count_ = 0;
  unsigned recycled_ = 0;
  std::uint16_t group_ = 0;
  bool is_registered_ = false;
};

}  // namespace ringside::replica
