// RowIndex: normalised key → row. A hash table for rows that live elsewhere (in the ring): it holds no keys.
//
//   bucket (64 bytes)  12 tags of 8 bits | 12 handles of 32 bits | overflow bucket (32 bits)
//   handle → address   5 bytes each, in fixed pages; a handle is stable for the life of its row, so that a
//                      relocation changes one address and nothing else
//
// Linear hashing: the table grows by one bucket at a time (split of the next bucket in turn), so no insertion
// ever pays for a rehash of everything. A bucket that is full before its turn gets an overflow bucket.
// A lookup costs one cache line for the bucket (prefetch() asks for it), one for the address, and the row's own.
// A split needs the keys of its rows, which lie scattered over the ring. The next bucket in turn is known long before,
// so each insertion in between asks for a few of those lines (prepare_split); they still cost much of an insertion. Who adds
// millions of rows in a run, and has the memory meanwhile, has their hashes kept (keep_hashes): no split goes to the rows.
//
// `Rows` gives access to the keys, which are outside input for a replica:
//   bool equals(Address, Bytes key) const    does the record there have this key?
//   std::uint64_t hash(Address) const        key_hash() of the key there (any number if it is unreadable)
//   void prefetch_key(Address) const         asks the processor for the lines that hash() reads (optional)
//
// Threads: one.   Ownership: owns buckets and addresses.
// Errors: none; preconditions are the caller's.   Limits: 2^32-2 rows.
// Allocation: insert may allocate pages of 64 or 80 KiB, in large tables 2 MiB; find, set and erase never do.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/bytes.h"
#include "base/prefetch.h"
#include "shm/layout.h"
#include "shm/page_array.h"

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
  // From now on four bytes more a row. Precondition: no row has ever been inserted.
  void keep_hashes();
  // Gives them back; splits read the rows again.
  void forget_hashes();
  // Memory held.
  std::size_t memory_bytes() const;

  // Asks the processor for the key's bucket. For batches: prefetch all, then find all.
  void prefetch(std::uint64_t hash) const { prefetch_line(&bucket(bucket_of(hash))); }
  // What else finding the key needs: once the bucket is there, its overflow bucket and addresses; after those, the rows.
  void prefetch_addresses(std::uint64_t hash) const;
  template <class Rows>
  void prefetch_rows(std::uint64_t hash, const Rows& rows) const;

  // The row with this key, or kNoRow.
  template <class Rows>
  Handle find(std::uint64_t hash, Bytes key, const Rows& rows) const;

  // Adds a row. Precondition: no row has its key.
  template <class Rows>
  Handle insert(std::uint64_t hash, Address address, const Rows& rows);

  // Takes a row out; its handle may be given to another row later. False when the row is not under that hash:
  // with `Rows` over bytes that have changed underneath, the index is no longer to be relied on.
  [[nodiscard]] bool erase(std::uint64_t hash, Handle handle);
  bool holds(std::uint64_t hash, Handle handle) const;  // only then does the handle lead to an address
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
  // The low half of each row's hash, by handle: as much as buckets are chosen by.
  using HashPage = std::array<std::uint32_t, kAddressesPerPage>;

  static std::uint8_t tag_of(std::uint64_t hash) {
    const auto tag = static_cast<std::uint8_t>(hash >> 56);
    return tag == 0 ? std::uint8_t{1} : tag;
  }
  std::size_t bucket_of(std::uint64_t hash) const {
    const std::size_t index = hash & (low_mask_ << 1 | 1);
    return index < bucket_count_ ? index : hash & low_mask_;
  }
  const Bucket& bucket(std::size_t index) const {
    return buckets_[index / kBucketsPerPage][index % kBucketsPerPage];
  }
  Bucket& bucket(std::size_t index) { return buckets_[index / kBucketsPerPage][index % kBucketsPerPage]; }
  const Bucket& overflow(std::uint32_t link) const {
    return overflow_[(link - 1) / kBucketsPerPage][(link - 1) % kBucketsPerPage];
  }
  Bucket& overflow(std::uint32_t link) {
    return overflow_[(link - 1) / kBucketsPerPage][(link - 1) % kBucketsPerPage];
  }
  const std::byte* address_slot(Handle handle) const {
    return addresses_[handle / kAddressesPerPage].bytes.data() + handle % kAddressesPerPage * 5;
  }
  std::byte* address_slot(Handle handle) {
    return addresses_[handle / kAddressesPerPage].bytes.data() + handle % kAddressesPerPage * 5;
  }

  // Which entries have this tag: bit i for entry i.
  static unsigned entries_with(const Bucket& b, std::uint8_t tag) {
#if defined(__SSE2__)
    // Behind the tags stands the first handle, masked away.
    const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(&b));
    // A whole word: a byte would go through the stack, and loading more than was just stored there waits for all stores.
    const auto spread = static_cast<long long>(tag * std::uint64_t{0x0101010101010101});
    const __m128i equal = _mm_cmpeq_epi8(tags, _mm_set1_epi64x(spread));
    return static_cast<unsigned>(_mm_movemask_epi8(equal)) & ((1u << kEntries) - 1);
#else
    unsigned found = 0;
    for (std::size_t i = 0; i < kEntries; ++i) found |= static_cast<unsigned>(b.tags[i] == tag) << i;
    return found;
#endif
  }

  std::uint32_t& hash_slot(Handle handle) {
    return hashes_[handle / kAddressesPerPage][handle % kAddressesPerPage];
  }
  Handle take_handle();
  void give_handle(Handle handle);
  void place(std::size_t index, std::uint8_t tag, Handle handle);
  std::uint32_t take_overflow();
  bool wants_split() const;
  std::size_t next_to_split() const {
    return bucket_count_ - low_mask_ - 1;
  }
  template <class Rows>
  void split(const Rows& rows);
  // One insertion's share of getting the next split's lines.
  template <class Rows>
  void prepare_split(const Rows& rows);

  PageArray<BucketPage> buckets_;
  PageArray<BucketPage> overflow_;
  PageArray<AddressPage> addresses_;
  PageArray<HashPage> hashes_;  // as many as addresses_, or none
  bool keeps_hashes_ = false;
  std::size_t bucket_count_ = kFirstBuckets;
  std::size_t low_mask_ =
      kFirstBuckets - 1;  // of the round: buckets below bucket_count_ - low_mask_ - 1 are split
  std::size_t size_ = 0;
  Handle next_handle_ = 0;           // never given before
  Handle free_handle_ = kNoRow;      // head of the list of given-back handles, linked through their addresses
  std::uint32_t overflow_used_ = 0;  // overflow buckets ever taken
  std::uint32_t free_overflow_ = 0;  // head of the list of given-back overflow buckets
  unsigned prepared_ = 0;            // steps of prepare_split() since the last split
};

template <class Rows>
RowIndex::Handle RowIndex::find(std::uint64_t hash, Bytes key, const Rows& rows) const {
  const std::uint8_t tag = tag_of(hash);
  for (const Bucket* b = &bucket(bucket_of(hash));; b = &overflow(b->overflow)) {
    for (unsigned found = entries_with(*b, tag); found != 0; found &= found - 1) {
      const Handle handle = b->handles[static_cast<std::size_t>(std::countr_zero(found))];
      if (rows.equals(address(handle), key)) return handle;
    }
    if (b->overflow == 0) return kNoRow;
  }
}

template <class Rows>
void RowIndex::prefetch_rows(std::uint64_t hash, const Rows& rows) const {
  const Bucket* b = &bucket(bucket_of(hash));
  const std::uint8_t tag = tag_of(hash);
  for (int links = 0;; ++links, b = &overflow(b->overflow)) {
    for (unsigned found = entries_with(*b, tag); found != 0; found &= found - 1) {
      rows.prefetch_key(address(b->handles[static_cast<std::size_t>(std::countr_zero(found))]));
    }
    if (b->overflow == 0 || links > 0) return;  // longer chains are rare
  }
}

template <class Rows>
RowIndex::Handle RowIndex::insert(std::uint64_t hash, Address address, const Rows& rows) {
  if (wants_split()) {
    split(rows);
  } else {
    prepare_split(rows);
  }
  const Handle handle = take_handle();
  set_address(handle, address);
  if (keeps_hashes_) hash_slot(handle) = static_cast<std::uint32_t>(hash);
  place(bucket_of(hash), tag_of(hash), handle);
  ++size_;
  return handle;
}

template <class Rows>
void RowIndex::split(const Rows& rows) {
  const std::size_t from = next_to_split();
  prepared_ = 0;
  if (bucket_count_ / kBucketsPerPage == buckets_.size()) buckets_.add();
  const std::size_t to = bucket_count_++;
  const std::size_t mask = low_mask_ << 1 | 1;
  if (bucket_count_ == mask + 1) low_mask_ = mask;
  // In order, but too rarely for the processor to see it.
  prefetch_line(&bucket(next_to_split() + 1 < bucket_count_ ? next_to_split() + 1 : 0));
  if (bucket_count_ % kBucketsPerPage != 0) prefetch_line_to_write(&bucket(bucket_count_));

  // Take the chain out, then put every entry where it now belongs. The chain's overflow buckets are free
  // meanwhile, so placing them again needs no more than there were, and at most one more for the new bucket.
  Bucket chain = bucket(from);
  bucket(from) = Bucket{};
  bucket(to) = Bucket{};
  for (;;) {
    for (std::size_t i = 0; i < kEntries; ++i) {
      if (chain.tags[i] == 0) continue;
      const Handle handle = chain.handles[i];
      const std::uint64_t hash = keeps_hashes_ ? hash_slot(handle) : rows.hash(address(handle));
      place((hash & mask) == to ? to : from, chain.tags[i], handle);
    }
    const std::uint32_t next = chain.overflow;
    if (next == 0) return;
    chain = overflow(next);
    overflow(next) = Bucket{};
    overflow(next).overflow = free_overflow_;
    free_overflow_ = next;
  }
}

template <class Rows>
void RowIndex::prepare_split(const Rows& rows) {
  // Every ninth insertion of a growing table splits, and this has eight steps for those between: three for the
  // addresses (or hashes) of the bucket's rows, one for those of its first overflow bucket, then as many for the rows.
  constexpr unsigned kAddressSteps = 4;
  constexpr std::size_t kEntriesPerStep = kEntries / (kAddressSteps - 1);
  if (prepared_ >= (keeps_hashes_ ? kAddressSteps : 2 * kAddressSteps)) return;
  const unsigned step = prepared_++;
  const Bucket* b = &bucket(next_to_split());
  std::size_t begin = step % kAddressSteps * kEntriesPerStep;
  std::size_t end = begin + kEntriesPerStep;
  if (step == 0 && b->overflow != 0) prefetch_line(&overflow(b->overflow));
  if (begin == kEntries) {
    if (b->overflow == 0) return;
    b = &overflow(b->overflow);
    begin = 0;
    end = kEntries;
  }
  for (std::size_t i = begin; i < end; ++i) {
    if (b->tags[i] == 0) continue;
    const Handle handle = b->handles[i];
    if (keeps_hashes_) {
      prefetch_line(&hash_slot(handle));
    } else if (step < kAddressSteps) {
      prefetch_line(address_slot(handle));
    } else if constexpr (requires { rows.prefetch_key(Address{}); }) {
      rows.prefetch_key(address(handle));
    }
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
