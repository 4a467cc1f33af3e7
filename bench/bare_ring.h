// BareRing: a single-producer single-consumer ring of 4 MiB that does nothing but hand records over: no checksum, no
// index, no log that outlives its reader, no second reader. The yardstick for records a second through the ring.
//
//   [ length (8) │ bytes, padded to words ] [ length │ bytes ] …      a length of kWrap: go on at the beginning
//
// Each side keeps the other's counter as last read, and reads it again only when that one says full or empty: the least
// that two cores can do.
//
// Threads: one producer, one consumer, in two processes that share the memory.   Ownership: the caller's memory.
// Errors: none.   Limits: records of less than a quarter of the ring.   No allocation.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ringside::bench {

class BareRing {
 public:
  static constexpr std::size_t kBytes = std::size_t{4} << 20;

  // False: full.
  bool push(const std::byte* record, std::size_t size) {
    const std::size_t padded = 8 + (size + 7) / 8 * 8;
    std::size_t offset = written_ % kBytes;
    const bool wraps = offset + padded + 8 > kBytes;  // room for a mark is always left
    const std::uint64_t end = written_ + (wraps ? kBytes - offset : 0) + padded;
    if (end - read_seen_ > kBytes) {
      read_seen_ = read_.load(std::memory_order_acquire);
      if (end - read_seen_ > kBytes) return false;
    }
    if (wraps) {
      std::memcpy(bytes_ + offset, &kWrap, 8);
      offset = 0;
    }
    const std::uint64_t length = size;
    std::memcpy(bytes_ + offset, &length, 8);
    std::memcpy(bytes_ + offset + 8, record, size);
    written_ = end;
    written_shared_.store(end, std::memory_order_release);
    return true;
  }

  // The next record's size, its bytes copied to `to`; 0: empty.
  std::size_t pop(std::byte* to) {
    if (position_ == written_seen_) {
      written_seen_ = written_shared_.load(std::memory_order_acquire);
      if (position_ == written_seen_) return 0;
    }
    std::size_t offset = position_ % kBytes;
    std::uint64_t length;
    std::memcpy(&length, bytes_ + offset, 8);
    if (length == kWrap) {
      position_ += kBytes - offset;
      offset = 0;
      std::memcpy(&length, bytes_, 8);
    }
    std::memcpy(to, bytes_ + offset + 8, length);
    position_ += 8 + (length + 7) / 8 * 8;
    read_.store(position_, std::memory_order_release);
    return length;
  }

 private:
  static constexpr std::uint64_t kWrap = ~std::uint64_t{0};

  // The producer's.
  alignas(128) std::atomic<std::uint64_t> written_shared_{0};
  alignas(128) std::uint64_t written_ = 0;
  std::uint64_t read_seen_ = 0;
  // The consumer's.
  alignas(128) std::atomic<std::uint64_t> read_{0};
  alignas(128) std::uint64_t position_ = 0;
  std::uint64_t written_seen_ = 0;

  alignas(128) std::byte bytes_[kBytes];
};

}  // namespace ringside::bench
