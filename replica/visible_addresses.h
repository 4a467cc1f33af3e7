// VisibleAddresses: while a transaction is applied that is not visible yet, the addresses of rows at the version that is.
// Those that their records' `previous` does not tell.
//
// However many rows a transaction changes, no call takes long: beyond some thousands they are spread over small tables, each
// of which is rehashed by itself (one table of a million rows stands still for 0.1 s when it grows, one of ten for 2 s). What
// is taken apart is given back as it goes.
//
// Threads: one.   Ownership: its own.   Errors: none.   Limits: none of its own.   Allocation: in add().
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "shm/row_index.h"

namespace ringside::replica {

class VisibleAddresses {
 public:
  static constexpr std::size_t kFew = 4096;    // in one table
  static constexpr std::size_t kParts = 4096;  // a power of two

  // Of what is added for a row more than once, the first counts. Precondition: what was begun to be taken apart is empty.
  void add(std::uint64_t row, shm::Address address) {
    if (few_.contains(row)) return;
    if (few_.size() < kFew && parts_.empty()) {
      few_.emplace(row, address);
      return;
    }
    if (parts_.empty()) parts_.resize(kParts);
    if (part_of(row).emplace(row, address).second) ++in_parts_;
  }
  // nullptr: nothing was added for it.
  const shm::Address* find(std::uint64_t row) const {
    const auto found = few_.find(row);
    if (found != few_.end()) return &found->second;
    if (in_parts_ == 0) return nullptr;
    const Addresses& part = parts_[index_of(row)];
    const auto in_part = part.find(row);
    return in_part == part.end() ? nullptr : &in_part->second;
  }
  bool is_empty() const { return few_.empty() && in_parts_ == 0; }

  // Takes at most `limit` steps towards being empty, and takes what it needed off `limit`.
  void remove_some(std::size_t& limit) {
    for (; limit > 0 && !few_.empty(); --limit) few_.erase(few_.begin());
    for (; limit > 0 && in_parts_ > 0; --limit) {
      Addresses& part = parts_[next_part_];
      if (part.empty()) {
        part = Addresses();
        ++next_part_;
      } else {
        part.erase(part.begin());
        --in_parts_;
      }
    }
    if (!is_empty() || parts_.empty()) return;
    parts_ = std::vector<Addresses>();
    next_part_ = 0;
  }

 private:
  using Addresses = std::unordered_map<std::uint64_t, shm::Address>;

  // Not the low bits: those are what the parts themselves go by.
  static std::size_t index_of(std::uint64_t row) {
    return static_cast<std::size_t>(row * 0x9e37'79b9'7f4a'7c15u >> 52) & (kParts - 1);
  }
  Addresses& part_of(std::uint64_t row) { return parts_[index_of(row)]; }

  Addresses few_;
  std::vector<Addresses> parts_;  // none before there are many
  std::size_t in_parts_ = 0;
  std::size_t next_part_ = 0;  // those before it have been taken apart
};

}  // namespace ringside::replica
