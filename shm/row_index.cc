#include "shm/row_index.h"

#include "base/assert.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ringside::shm {

std::uint64_t key_hash(Bytes key) {
  return XXH3_64bits(key.data(), key.size());
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
  if (b.overflow != 0) prefetch_line(&overflow(b.overflow));
  for (unsigned found = entries_with(b, tag_of(hash)); found != 0; found &= found - 1) {
    prefetch_line(address_slot(b.handles[static_cast<std::size_t>(std::countr_zero(found))]));
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

bool RowIndex::holds(std::uint64_t hash, Handle handle) const {
  const std::uint8_t tag = tag_of(hash);
  for (const Bucket* b = &bucket(bucket_of(hash));; b = &overflow(b->overflow)) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (b->tags[i] == tag && b->handles[i] == handle) return true;
    }
    if (b->overflow == 0) return false;
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
