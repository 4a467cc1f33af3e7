// Buffers of connections: contiguous bytes that grow, out of a pool, so that an idle connection holds none and a busy
// one allocates none.
//
// Sizes go up by factors of four from kSmallest. Each size has a list of free blocks; the larger ones are
// given back to the heap instead of being kept.
//
// Threads: one.
// Ownership: a Buffer returns its block to the pool it came from, which must outlive it.
// Errors: a Buffer that would pass its limit refuses (false, nullptr) and keeps what it has.
// Limits: the limit given to the pool. Allocation: only when the pool has no free block of the size.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace ringside::replica {

class BufferPool {
 public:
  static constexpr std::size_t kSmallest = 4096;
  static constexpr std::size_t kClasses = 12;             // 4 KiB … 16 GiB
  static constexpr std::size_t kKept = 1 << 20;           // blocks above this are not kept
  static constexpr std::size_t kKeptPerClass = 64 << 20;  // bytes

  // A buffer may grow to `limit_bytes`, rounded up to the next block size. `warm` smallest blocks are made at once.
  BufferPool(std::size_t limit_bytes, std::size_t warm);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  std::size_t limit_bytes() const { return limit_; }
  // Memory held by the pool and lent by it.
  std::size_t memory_bytes() const { return memory_; }
  // Of that, what buffers hold now.
  std::size_t lent_bytes() const { return lent_; }

 private:
  friend class Buffer;
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };

  static std::size_t class_of(std::size_t bytes);
  static std::size_t class_bytes(std::size_t index) { return kSmallest << (2 * index); }
  Block take(std::size_t bytes);
  void give(Block block);

  std::size_t limit_;
  std::size_t memory_ = 0;
  std::size_t lent_ = 0;
  std::array<std::vector<std::unique_ptr<char[]>>, kClasses> free_;
};

class Buffer {
 public:
  explicit Buffer(BufferPool& pool) : pool_(&pool) {}
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const BufferPool& pool() const { return *pool_; }
  // Memory that it holds.
  std::size_t capacity() const { return block_.size; }
  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }
  const char* data() const { return block_.bytes.get() + begin_; }
  char* data() { return block_.bytes.get() + begin_; }
  std::string_view view() const { return {data(), size()}; }

  // Room for `bytes` behind the end, as one piece; nullptr when that would pass the limit. Moves the contents at
  // need: earlier views are gone.
  char* reserve(std::size_t bytes) {
    if (bytes <= block_.size - end_) return block_.bytes.get() + end_;
    return grow(bytes);
  }
  // `bytes` of the reserved room have been filled.
  void commit(std::size_t bytes) { end_ += bytes; }
  bool append(std::string_view text) {
    char* to = reserve(text.size());
    if (to == nullptr) return false;
    std::memcpy(to, text.data(), text.size());
    commit(text.size());
    return true;
  }
  // Takes bytes away: at the front, and at the end (down to `size`).
  void consume(std::size_t bytes) {
    begin_ += bytes;
    if (begin_ == end_) release();
  }
  void truncate(std::size_t size) { end_ = begin_ + size; }
  // Gives the memory back.
  void release() {
    if (block_.size != 0) pool_->give(std::move(block_));
    block_ = {};
    begin_ = end_ = 0;
  }
  void swap(Buffer& other) noexcept;

 private:
  char* grow(std::size_t bytes);

  BufferPool* pool_;
  BufferPool::Block block_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace ringside::replica
