#include "shm/page_array.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace ringside::shm {
namespace {

constexpr std::align_val_t kLine{64};

// Address space for a large block, at a multiple of its size.
void* map_block() {
  constexpr std::size_t kBytes = PageMemory::kBlockBytes;
  void* mapped = ::mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* const first = static_cast<std::byte*>(mapped);
  const std::size_t before = (kBytes - reinterpret_cast<std::uintptr_t>(mapped) % kBytes) % kBytes;
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
  for (const Block& block : blocks_) {
    if (block.is_large) {
      ::munmap(block.at, kBlockBytes);
    } else {
      ::operator delete(block.at, kLine);
    }
  }
  blocks_.clear();
}

void* PageMemory::add(std::size_t page_bytes) {
  if (free_bytes_ < page_bytes) {
    blocks_.reserve(blocks_.size() + 1);
    if (bytes_ < kLargeBytes) {
      void* const page = ::operator new(page_bytes, kLine);
      std::memset(page, 0, page_bytes);
      blocks_.push_back({page, false});
      bytes_ += page_bytes;
      return page;
    }
    free_ = static_cast<std::byte*>(map_block());
    free_bytes_ = kBlockBytes;
    blocks_.push_back({free_, true});
    bytes_ += kBlockBytes;
  }
  free_bytes_ -= page_bytes;
  return std::exchange(free_, free_ + page_bytes);
}

}  // namespace ringside::shm
