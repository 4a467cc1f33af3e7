#include "shm/row_index.h"

#include "base/assert.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ringside::shm {

std::uint64_t key_hash(Bytes key) {
  return XXH3_64bits(key.data(), key.size());
}

RowIndex::RowIndex() {
  buckets_.push_back(std::make_unique<BucketPage>());
}

std::size_t RowIndex::memory_bytes() const {
  return (buckets_.size() + overflow_.size()) * sizeof(BucketPage) + addresses_.size() * sizeof(AddressPage) +
         (buckets_.capacity() + overflow_.capacity() + addresses_.capacity()) * sizeof(void*);
}

bool RowIndex::wants_split() const {
  // Four fifths full on average: beyond that overflow buckets cost more than the buckets saved.
  return size_ * 10 >= bucket_count_ * kEntries * 8;
}

RowIndex::Handle RowIndex::take_handle() {
  if (free_handle_ != kNoRow) {
    const Handle handle = free_handle_;
    free_handle_ = static_cast<Handle>(address(handle));
    return handle;
  }
  RINGSIDE_ASSERT(next_handle_ < kNoRow);
  const Handle handle = next_handle_++;
  if (handle / kAddressesPerPage == addresses_.size()) addresses_.push_back(std::make_unique<AddressPage>());
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
  if (overflow_used_ / kBucketsPerPage == overflow_.size())
    overflow_.push_back(std::make_unique<BucketPage>());
  return ++overflow_used_;
}

void RowIndex::place(std::size_t index, std::uint8_t tag, Handle handle) {
  for (Bucket* b = &bucket(index);; b = &overflow(b->overflow)) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (b->tags[i] == 0) {
        b->tags[i] = tag;
        b->handles[i] = handle;
        return;
      }
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
