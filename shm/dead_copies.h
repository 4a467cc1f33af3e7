// DeadCopies: how many superseded copies of a row the log still holds, by the row's handle. A byte a row; the few rows
// that are changed again and again have their count beside.
//
// Threads: one.   Ownership: owns its pages.   Errors: none; preconditions are the caller's.
// Limits: 2^32-1 copies a row.   Allocation: a page of 16 KiB as handles grow; a map's node for a count beyond 254.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/assert.h"
#include "shm/row_index.h"

namespace ringside::shm {

class DeadCopies {
 public:
  std::uint32_t count(RowIndex::Handle handle) const {
    if (handle / kPage >= pages_.size()) return 0;
    const std::uint8_t small = (*pages_[handle / kPage])[handle % kPage];
    return small == kBeyond ? beyond_.at(handle) : small;
  }
  void add(RowIndex::Handle handle) {
    while (handle / kPage >= pages_.size()) pages_.push_back(std::make_unique<Page>());
    std::uint8_t& small = (*pages_[handle / kPage])[handle % kPage];
    if (small == kBeyond) {
      ++beyond_[handle];
    } else if (++small == kBeyond) {
      beyond_[handle] = kBeyond;
    }
  }
  // One less; how many are left. Precondition: count() > 0.
  std::uint32_t remove(RowIndex::Handle handle) {
    RINGSIDE_ASSERT(handle / kPage < pages_.size());
    std::uint8_t& small = (*pages_[handle / kPage])[handle % kPage];
    RINGSIDE_ASSERT(small > 0);
    if (small != kBeyond) return --small;
    const auto found = beyond_.find(handle);
    const std::uint32_t left = --found->second;
    if (left < kBeyond) {
      small = static_cast<std::uint8_t>(left);
      beyond_.erase(found);
    }
    return left;
  }
  std::size_t memory_bytes() const {
    constexpr std::size_t kNode = 48;  // of the map, about
    return pages_.size() * (sizeof(Page) + sizeof(void*)) + beyond_.size() * kNode;
  }

 private:
  static constexpr std::size_t kPage = 16384;
  static constexpr std::uint8_t kBeyond = 255;
  using Page = std::array<std::uint8_t, kPage>;

  std::vector<std::unique_ptr<Page>> pages_;
  std::unordered_map<RowIndex::Handle, std::uint32_t> beyond_;
};

}  // namespace ringside::shm
