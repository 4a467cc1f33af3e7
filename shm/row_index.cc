#include "shm/row_index.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "base/assert.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ringside::shm {

std::uint64_t key_hash(Bytes key) {
  return XXH3_64bits(key.data(), key.size());
}

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

RowIndex::RowIndex() {
  buckets_.add();
}

void RowIndex::keep_hashes() {
  RINGSIDE_ASSERT(next_handle_ == 0);
  keeps_hashes_ = true;
}

void RowIndex::forget_hashes() {
  keeps_hashes_ = false;
  hashes_ = {};
  prepared_ = 0;
}

std::size_t RowIndex::memory_bytes() const {
  return buckets_.memory_bytes() + overflow_.memory_bytes() + addresses_.memory_bytes() +
         hashes_.memory_bytes();
}

bool RowIndex::wants_split() const {
  // Three quarters full on average. Until its turn has come a bucket holds up to twice what a split one does: fuller
  // tables take a little less memory, and more lookups have to go to an overflow bucket (docs/performance.md).
  return size_ * 4 >= bucket_count_ * kEntries * 3;
}

void RowIndex::prefetch_addresses(std::uint64_t hash) const {
  const Bucket& b = bucket(bucket_of(hash));
  if (b.overflow != 0) __builtin_prefetch(&overflow(b.overflow));
  for (unsigned found = entries_with(b, tag_of(hash)); found != 0; found &= found - 1) {
    __builtin_prefetch(address_slot(b.handles[static_cast<std::size_t>(std::countr_zero(found))]));
  }
}

RowIndex::Handle RowIndex::take_handle() {
  if (free_handle_ != kNoRow) {
    const Handle handle = free_handle_;
    free_handle_ = static_cast<Handle>(address(handle));
    return handle;
  }
  RINGSIDE_ASSERT(next_handle_ < kNoRow);
  const Handle handle = next_handle_++;
  if (handle / kAddressesPerPage == addresses_.size()) {
    addresses_.add();
    if (keeps_hashes_) hashes_.add();
  }
  return handle;
}

void RowIndex::give_handle(Handle handle) {
  set_address(handle, free_handle_);
  free_handle_ = handle;
}

std::uint32_t RowIndex::take_overflow() {
  if (free_overflow_ != 0) {
    const std::uint32_t link = free_overflow_;
    free_overflow_ = overflow(link).overflow;
    overflow(link) = Bucket{};
    return link;
  }
  if (overflow_used_ / kBucketsPerPage == overflow_.size()) overflow_.add();
  return ++overflow_used_;
}

void RowIndex::place(std::size_t index, std::uint8_t tag, Handle handle) {
  for (Bucket* b = &bucket(index);; b = &overflow(b->overflow)) {
    if (const unsigned free = entries_with(*b, 0); free != 0) {
      const auto i = static_cast<std::size_t>(std::countr_zero(free));
      b->tags[i] = tag;
      b->handles[i] = handle;
      return;
    }
    if (b->overflow == 0) {
      const std::uint32_t link = take_overflow();  // pages never move, so `b` stays valid
      b->overflow = link;
    }
  }
}

bool RowIndex::erase(std::uint64_t hash, Handle handle) {
  const std::uint8_t tag = tag_of(hash);
  for (Bucket* b = &bucket(bucket_of(hash));; b = &overflow(b->overflow)) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (b->tags[i] == tag && b->handles[i] == handle) {
        b->tags[i] = 0;
        give_handle(handle);
        --size_;
        return true;
      }
    }
    if (b->overflow == 0) return false;
  }
}

}  // namespace ringside::shm
