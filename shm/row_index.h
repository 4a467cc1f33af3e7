// RowIndex: normalised key → row. A hash table for rows that live elsewhere (in the ring): it holds no keys.
//
//   bucket (64 bytes)  12 tags of 8 bits | 12 handles of 32 bits | overflow bucket (32 bits)
//   handle → address   5 bytes each, in fixed pages; a handle is stable for the life of its row, so that a
//                      relocation changes one address and nothing else
//
// Linear hashing: the table grows by one bucket at a time (split of the next bucket in turn), so no insertion
// ever pays for a rehash of everything. A bucket that is full before its turn gets an overflow bucket.
// A lookup costs one cache line for the bucket (found() prefetches it), one for the address, and the row's
// own.
//
// `Rows` gives access to the keys, which are outside input for a replica:
//   bool equals(Address, Bytes key) const    does the record there have this key?
//   std::uint64_t hash(Address) const        key_hash() of the key there (any number if it is unreadable)
//
// Threads: one.   Ownership: owns buckets and addresses.
// Errors: none; preconditions are the caller's.   Limits: 2^32-2 rows.
// Allocation: insert may allocate one page (64 KiB); find, set and erase never do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "shm/layout.h"

namespace ringside::shm {

// The hash of a normalised key. Local to a process: never stored in the ring.
std::uint64_t key_hash(Bytes key);

class RowIndex {
 public:
  using Handle = std::uint32_t;
  static constexpr Handle kNoRow = 0xffffffffu;

  RowIndex();
  RowIndex(RowIndex&&) noexcept = default;
  RowIndex& operator=(RowIndex&&) noexcept = default;

  std::size_t size() const { return size_; }
  // Heap memory held.
  std::size_t memory_bytes() const;

  // Asks the processor for the key's bucket. For batches: prefetch all, then find all.
  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&bucket(bucket_of(hash))); }

  // The row with this key, or kNoRow.
  template <class Rows>
  Handle find(std::uint64_t hash, Bytes key, const Rows& rows) const;

  // Adds a row. Precondition: no row has its key.
  template <class Rows>
  Handle insert(std::uint64_t hash, Address address, const Rows& rows);

  // Takes a row out; its handle may be given to another row later. False when the row is not under that hash:
  // with `Rows` over bytes that have changed underneath, the index is no longer to be relied on.
  [[nodiscard]] bool erase(std::uint64_t hash, Handle handle);

  Address address(Handle handle) const {
    const std::byte* at = address_slot(handle);
    return load_le<std::uint32_t>(at) | std::uint64_t{std::to_integer<std::uint8_t>(at[4])} << 32;
  }
  void set_address(Handle handle, Address address) {
    std::byte* at = address_slot(handle);
    store_le<std::uint32_t>(at, static_cast<std::uint32_t>(address));
    at[4] = static_cast<std::byte>(address >> 32);
  }

  // Calls visit(Handle, Address) for every row, in no order.
  template <class Visit>
  void for_each(Visit&& visit) const;

 private:
  static constexpr std::size_t kEntries = 12;
  static constexpr std::size_t kBucketsPerPage = 1024;  // 64 KiB
  static constexpr std::size_t kAddressesPerPage = 16384;
  static constexpr std::size_t kFirstBuckets = 1;  // of a new index; a power of two

  struct alignas(64) Bucket {
    std::array<std::uint8_t, kEntries> tags{};  // 0: free
    std::array<Handle, kEntries> handles{};
    std::uint32_t overflow = 0;  // index + 1 into overflow_; 0: none
  };
  static_assert(sizeof(Bucket) == 64);
  struct AddressPage {
    std::array<std::byte, kAddressesPerPage * 5> bytes;
  };
  using BucketPage = std::array<Bucket, kBucketsPerPage>;

  static std::uint8_t tag_of(std::uint64_t hash) {
    const auto tag = static_cast<std::uint8_t>(hash >> 56);
    return tag == 0 ? std::uint8_t{1} : tag;
  }
  std::size_t bucket_of(std::uint64_t hash) const {
    const std::size_t index = hash & (low_mask_ << 1 | 1);
    return index < bucket_count_ ? index : hash & low_mask_;
  }
  const Bucket& bucket(std::size_t index) const {
    return (*buckets_[index / kBucketsPerPage])[index % kBucketsPerPage];
  }
  Bucket& bucket(std::size_t index) { return (*buckets_[index / kBucketsPerPage])[index % kBucketsPerPage]; }
  const Bucket& overflow(std::uint32_t link) const {
    return (*overflow_[(link - 1) / kBucketsPerPage])[(link - 1) % kBucketsPerPage];
  }
  Bucket& overflow(std::uint32_t link) {
    return (*overflow_[(link - 1) / kBucketsPerPage])[(link - 1) % kBucketsPerPage];
  }
  const std::byte* address_slot(Handle handle) const {
    return addresses_[handle / kAddressesPerPage]->bytes.data() + handle % kAddressesPerPage * 5;
  }
  std::byte* address_slot(Handle handle) {
    return addresses_[handle / kAddressesPerPage]->bytes.data() + handle % kAddressesPerPage * 5;
  }

  Handle take_handle();
  void give_handle(Handle handle);
  void place(std::size_t index, std::uint8_t tag, Handle handle);
  std::uint32_t take_overflow();
  bool wants_split() const;
  template <class Rows>
  void split(const Rows& rows);

  std::vector<std::unique_ptr<BucketPage>> buckets_;
  std::vector<std::unique_ptr<BucketPage>> overflow_;
  std::vector<std::unique_ptr<AddressPage>> addresses_;
  std::size_t bucket_count_ = kFirstBuckets;
  std::size_t low_mask_ =
      kFirstBuckets - 1;  // of the round: buckets below bucket_count_ - low_mask_ - 1 are split
  std::size_t size_ = 0;
  Handle next_handle_ = 0;           // never given before
  Handle free_handle_ = kNoRow;      // head of the list of given-back handles, linked through their addresses
  std::uint32_t overflow_used_ = 0;  // overflow buckets ever taken
  std::uint32_t free_overflow_ = 0;  // head of the list of given-back overflow buckets
};

template <class Rows>
RowIndex::Handle RowIndex::find(std::uint64_t hash, Bytes key, const Rows& rows) const {
  const std::uint8_t tag = tag_of(hash);
  for (const Bucket* b = &bucket(bucket_of(hash));; b = &overflow(b->overflow)) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (b->tags[i] == tag && rows.equals(address(b->handles[i]), key)) return b->handles[i];
    }
    if (b->overflow == 0) return kNoRow;
  }
}

template <class Rows>
RowIndex::Handle RowIndex::insert(std::uint64_t hash, Address address, const Rows& rows) {
  if (wants_split()) split(rows);
  const Handle handle = take_handle();
  set_address(handle, address);
  place(bucket_of(hash), tag_of(hash), handle);
  ++size_;
  return handle;
}

template <class Rows>
void RowIndex::split(const Rows& rows) {
  const std::size_t from = bucket_count_ - low_mask_ - 1;
  if (bucket_count_ / kBucketsPerPage == buckets_.size()) buckets_.push_back(std::make_unique<BucketPage>());
  const std::size_t to = bucket_count_++;
  const std::size_t mask = low_mask_ << 1 | 1;
  if (bucket_count_ == mask + 1) low_mask_ = mask;

  // Take the chain out, then put every entry where it now belongs. The chain's overflow buckets are free
  // meanwhile, so placing them again needs no more than there were, and at most one more for the new bucket.
  Bucket chain = bucket(from);
  bucket(from) = Bucket{};
  bucket(to) = Bucket{};
  for (;;) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (chain.tags[i] == 0) continue;
      const std::uint64_t hash = rows.hash(address(chain.handles[i]));
      place((hash & mask) == to ? to : from, chain.tags[i], chain.handles[i]);
    }
    const std::uint32_t next = chain.overflow;
    if (next == 0) return;
    chain = overflow(next);
    overflow(next) = Bucket{};
    overflow(next).overflow = free_overflow_;
    free_overflow_ = next;
  }
}

template <class Visit>
void RowIndex::for_each(Visit&& visit) const {
  for (std::size_t index = 0; index < bucket_count_; ++index) {
    for (const Bucket* b = &bucket(index);; b = &overflow(b->overflow)) {
      for (std::size_t i = 0; i < kEntries; ++i) {
        if (b->tags[i] != 0) visit(b->handles[i], address(b->handles[i]));
      }
      if (b->overflow == 0) break;
    }
  }
}

}  // namespace ringside::shm
