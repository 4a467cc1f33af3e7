#include "shm/page_array.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

namespace ringside::shm {
namespace {

std::byte* map(std::size_t bytes) {
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(mapped);
}

// A large block, at a multiple of its size.
std::byte* map_block() {
  constexpr std::size_t kBytes = PageMemory::kBlockBytes;
  std::byte* const first = map(2 * kBytes);
  const std::size_t before = (kBytes - reinterpret_cast<std::uintptr_t>(first) % kBytes) % kBytes;
  if (before > 0) ::munmap(first, before);
  ::munmap(first + before + kBytes, kBytes - before);
  // Refused where the kernel has no huge pages: then these are small ones.
  ::madvise(first + before, kBytes, MADV_HUGEPAGE);
  return first + before;
}

}  // namespace

PageMemory::PageMemory(PageMemory&& other) noexcept
    : blocks_(std::exchange(other.blocks_, {})),
      free_(std::exchange(other.free_, nullptr)),
      free_bytes_(std::exchange(other.free_bytes_, 0)),
      bytes_(std::exchange(other.bytes_, 0)) {}

PageMemory& PageMemory::operator=(PageMemory&& other) noexcept {
  if (this == &other) return *this;
  free_all();
  blocks_ = std::exchange(other.blocks_, {});
  free_ = std::exchange(other.free_, nullptr);
  free_bytes_ = std::exchange(other.free_bytes_, 0);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

PageMemory::~PageMemory() {
  free_all();
}

void PageMemory::free_all() noexcept {
  for (const Block& block : blocks_) ::munmap(block.at, block.bytes);
  blocks_.clear();
}

void* PageMemory::add(std::size_t page_bytes) {
  if (free_bytes_ < page_bytes) {
    blocks_.reserve(blocks_.size() + 1);
    const bool is_large = bytes_ >= kLargeBytes;
    free_bytes_ = is_large ? kBlockBytes : page_bytes;
    free_ = is_large ? map_block() : map(page_bytes);
    blocks_.push_back({free_, free_bytes_});
    bytes_ += free_bytes_;
  }
  free_bytes_ -= page_bytes;
  return std::exchange(free_, free_ + page_bytes);
}

}  // namespace ringside::shm
