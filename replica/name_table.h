// NameTable: a name → a small number, by open addressing over a power of two. Built seldom, asked for every request.
//
// Threads: one.   Ownership: views of the names; whoever built the table keeps them alive.
// Errors: none.   Limits: 2^31 names.   No allocation in find().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "shm/row_index.h"

namespace ringside::replica {

class NameTable {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  // The number of names[i] is i. Of equal names the first wins.
  void build(const std::vector<std::string_view>& names) {
    std::size_t size = 8;
    while (size < 2 * names.size()) size *= 2;
    slots_.assign(size, Slot{});
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (find(names[i]) != kNone) continue;
      std::size_t at = hash(names[i]) & (size - 1);
      while (slots_[at].number != kNone) at = (at + 1) & (size - 1);
      slots_[at] = {names[i], static_cast<std::uint32_t>(i)};
    }
  }

  std::uint32_t find(std::string_view name) const {
    if (slots_.empty()) return kNone;
    for (std::size_t at = hash(name) & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].number == kNone || slots_[at].name == name) return slots_[at].number;
    }
  }

 private:
  struct Slot {
    std::string_view name;
    std::uint32_t number = kNone;
  };
  static std::size_t hash(std::string_view name) { return shm::key_hash(as_bytes(name)); }

  std::vector<Slot> slots_;
};

}  // namespace ringside::replica
