// LookAhead: the records that a walk will come to, twelve of them, as far as an index needs to know them beforehand:
// table and hash of the key. Joining a large table is waiting for cache misses; asked for so long before, they overlap.
//
// Nothing seen here is verified. A record that turns out to be another one has had the wrong line prefetched.
//
// Threads: one.   Ownership: none.   Errors: none; what cannot be read is not seen.   Allocation: none.
// Limits: keys of kShortKey bytes; ahead ends with the segment.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/record.h"
#include "shm/row_index.h"

namespace ringside::shm {

template <class Memory>
class LookAhead {
 public:
  // The walk stands at `position` now; `limit` is committed, and `segment_end` the end of the segment. What follows the
  // record that ends at the position is put into `ahead`.
  template <class View>
  void step(const View& view, std::uint64_t position, Address address, std::uint64_t limit,
            std::uint64_t segment_end, Ahead& ahead) {
    if (count_ > 0) {
      ++nearest_;
      --count_;
    }
    if (end_position_ < position) {  // nothing was in sight, or what was is in the segment before
      end_position_ = position;
      end_address_ = address;
      count_ = 0;
    }
    while (count_ < kInSight && end_position_ < limit) {
      const std::uint32_t length =
          peek(view, end_address_, segment_end - end_position_, seen_[(nearest_ + count_) % seen_.size()]);
      if (length == 0) break;
      end_position_ += length;
      end_address_ += length / 8;
      ++count_;
    }
    ahead.far = seen(kInSight);
    ahead.middle = seen(kInSight * 2 / 3);
    ahead.near = seen(kInSight / 3);
  }

 private:
  static constexpr std::size_t kInSight = 12;
  static constexpr std::size_t kShortKey = 64;  // beyond, hashing twice costs more than it saves

  Upcoming seen(std::size_t distance) const {
    return distance <= count_ ? seen_[(nearest_ + distance - 1) % seen_.size()] : Upcoming();
  }

  // The record's length, and what it will look for. 0: there is none, or a segment's end, which next() follows.
  template <class View>
  static std::uint32_t peek(const View& view, Address address, std::uint64_t room, Upcoming& upcoming) {
    upcoming = Upcoming();
    if (room < kRecordHeaderBytes) return 0;
    const auto* words = reinterpret_cast<const std::uint64_t*>(view.at(address));
    const auto length = static_cast<std::uint32_t>(Memory::load_acquire(words) >> 32);
    const std::uint64_t type_and_table = Memory::load_acquire(words + 1);
    const std::uint64_t key_bytes = Memory::load_acquire(words + 2) >> 32;
    const auto type = static_cast<RecordType>(type_and_table & 0xff);
    if (length < kRecordHeaderBytes || length % kRecordAlignment != 0 || length > room ||
        type == RecordType::kSegmentEnd) {
      return 0;
    }
    const bool is_row =
        type == RecordType::kRow || type == RecordType::kRelocation || type == RecordType::kTombstone;
    if (!is_row || key_bytes > std::min<std::uint64_t>(kShortKey, length - kRecordHeaderBytes)) return length;
    std::byte key[kShortKey];
    copy_out<Memory>(key, words + kRecordHeaderBytes / 8, (key_bytes + 7) / 8 * 8);
    upcoming =
        Upcoming{TableId(static_cast<std::uint32_t>(type_and_table >> 32)), key_hash({key, key_bytes})};
    return length;
  }

  // Those in sight, the nearest first, round the array; and where the record behind them begins.
  std::array<Upcoming, 16> seen_{};
  std::size_t nearest_ = 0;
  std::size_t count_ = 0;
  std::uint64_t end_position_ = 0;
  Address end_address_ = 0;
};

// Asks for what the next records of this table will look for in its index.
template <class Rows>
void prefetch_ahead(const Ahead& ahead, TableId table, const RowIndex& index, const Rows& rows) {
  if (ahead.far.table == table) index.prefetch(ahead.far.hash);
  if (ahead.middle.table == table) index.prefetch_addresses(ahead.middle.hash);
  if (ahead.near.table == table) index.prefetch_rows(ahead.near.hash, rows);
}

}  // namespace ringside::shm
