// PageArray: a table that grows by whole pages, none of which ever moves. What RowIndex is made of.
//
// All of it is mapped, so that it goes back to the system with the table, wherever the allocator's own memory lies. From
// PageMemory::kLargeBytes on it is taken 2 MiB at a time and asked for as huge pages: where addresses are random, finding a small page's translation costs more than the line
// itself, and a prefetch does not hide it.
//
// Threads: one.   Ownership: owns its pages.   Errors: std::bad_alloc.   Allocation: add() alone.
// Limits: a page is at most 2 MiB.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <vector>

namespace ringside::shm {

class PageMemory {
 public:
  static constexpr std::size_t kLargeBytes = std::size_t{16} << 20;
  static constexpr std::size_t kBlockBytes = std::size_t{2} << 20;

  PageMemory() = default;
  PageMemory(PageMemory&& other) noexcept;
  PageMemory& operator=(PageMemory&& other) noexcept;
  ~PageMemory();

  // Zeroed. Always of the same size, a multiple of 4,096. Throws std::bad_alloc.
  void* add(std::size_t page_bytes);
  std::size_t bytes() const { return bytes_; }

 private:
  struct Block {
    void* at;
    std::size_t bytes;
  };
  void free_all() noexcept;

  std::vector<Block> blocks_;
  std::byte* free_ = nullptr;  // of the last large block
  std::size_t free_bytes_ = 0;
  std::size_t bytes_ = 0;
};

// Pages of one type.
template <class Page>
class PageArray {
 public:
  std::size_t size() const { return pages_.size(); }
  void add() { pages_.push_back(new (memory_.add(sizeof(Page))) Page()); }
  const Page& operator[](std::size_t index) const { return *pages_[index]; }
  Page& operator[](std::size_t index) { return *pages_[index]; }
  std::size_t memory_bytes() const { return memory_.bytes() + pages_.capacity() * sizeof(Page*); }

 private:
  static_assert(std::is_trivially_destructible_v<Page> && sizeof(Page) % 4096 == 0);
  PageMemory memory_;
  std::vector<Page*> pages_;
};

}  // namespace ringside::shm
