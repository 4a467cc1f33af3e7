#include "replica/buffer.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace ringside::replica {

BufferPool::BufferPool(std::size_t limit_bytes, std::size_t warm) {
  limit_ = class_bytes(class_of(limit_bytes));
  for (std::vector<std::unique_ptr<char[]>>& list : free_) list.reserve(64);
  free_[0].reserve(std::max<std::size_t>(warm, 64));
  for (std::size_t i = 0; i < warm; ++i) free_[0].emplace_back(new char[kSmallest]);
  memory_ = warm * kSmallest;
}

std::size_t BufferPool::class_of(std::size_t bytes) {
  std::size_t index = 0;
  while (index + 1 < kClasses && class_bytes(index) < bytes) ++index;
  return index;
}

BufferPool::Block BufferPool::take(std::size_t bytes) {
  const std::size_t index = class_of(bytes);
  const std::size_t size = class_bytes(index);
  lent_ += size;
  if (!free_[index].empty()) {
    std::unique_ptr<char[]> block = std::move(free_[index].back());
    free_[index].pop_back();
    return {std::move(block), size};
  }
  memory_ += size;
  return {std::unique_ptr<char[]>(new char[size]), size};
}

void BufferPool::give(Block block) {
  lent_ -= block.size;
  const std::size_t index = class_of(block.size);
  if (block.size > kKept || (free_[index].size() + 1) * block.size > kKeptPerClass) {
    memory_ -= block.size;
    return;
  }
  free_[index].push_back(std::move(block.bytes));
}

char* Buffer::grow(std::size_t bytes) {
  const std::size_t used = size();
  if (bytes > pool_->limit_bytes() || used > pool_->limit_bytes() - bytes) return nullptr;
  if (block_.size != 0 && used + bytes <= block_.size) {
    std::memmove(block_.bytes.get(), data(), used);
  } else {
    BufferPool::Block larger = pool_->take(used + bytes);
    if (used != 0) std::memcpy(larger.bytes.get(), data(), used);
    if (block_.size != 0) pool_->give(std::move(block_));
    block_ = std::move(larger);
  }
  begin_ = 0;
  end_ = used;
  return block_.bytes.get() + end_;
}

void Buffer::swap(Buffer& other) noexcept {
  RINGSIDE_ASSERT(pool_ == other.pool_);
  std::swap(block_, other.block_);
  std::swap(begin_, other.begin_);
  std::swap(end_, other.end_);
}

}  // namespace ringside::replica
