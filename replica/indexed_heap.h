// IndexedHeap: the smallest of the numbers that small ids have, with removal of any of them.
//
// A binary heap of ids plus each id's place in it. Used for what connections wait for: by version and by deadline.
//
// Threads: one.   Ownership: its own vectors.   Errors: preconditions are the caller's.
// Limits: the ids' number, given at construction.   No allocation afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"

namespace ringside::replica {

class IndexedHeap {
 public:
  // For ids below `capacity`.
  explicit IndexedHeap(std::size_t capacity) : place_(capacity, kAbsent), value_(capacity, 0) {
    heap_.reserve(capacity);
  }

  bool empty() const { return heap_.empty(); }
  std::size_t size() const { return heap_.size(); }
  bool contains(std::uint32_t id) const { return place_[id] != kAbsent; }
  // Precondition of both: not empty.
  std::uint32_t top() const { return heap_.front(); }
  std::uint64_t top_value() const { return value_[heap_.front()]; }

  // Precondition: not contained.
  void push(std::uint32_t id, std::uint64_t value) {
    RINGSIDE_ASSERT(!contains(id));
    value_[id] = value;
    heap_.push_back(id);
    sift_up(heap_.size() - 1);
  }
  // Nothing happens when it is not contained.
  void erase(std::uint32_t id) {
    const std::uint32_t at = place_[id];
    if (at == kAbsent) return;
    place_[id] = kAbsent;
    const std::uint32_t last = heap_.back();
    heap_.pop_back();
    if (at == heap_.size()) return;
    heap_[at] = last;
    place_[last] = at;
    sift_up(at);
    sift_down(place_[last]);
  }

 private:
  static constexpr std::uint32_t kAbsent = 0xffffffffu;

  void put(std::size_t at, std::uint32_t id) {
    heap_[at] = id;
    place_[id] = static_cast<std::uint32_t>(at);
  }
  void sift_up(std::size_t at) {
    const std::uint32_t id = heap_[at];
    while (at > 0) {
      const std::size_t parent = (at - 1) / 2;
      if (value_[heap_[parent]] <= value_[id]) break;
      put(at, heap_[parent]);
      at = parent;
    }
    put(at, id);
  }
  void sift_down(std::size_t at) {
    const std::uint32_t id = heap_[at];
    for (;;) {
      std::size_t child = 2 * at + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && value_[heap_[child + 1]] < value_[heap_[child]]) ++child;
      if (value_[id] <= value_[heap_[child]]) break;
      put(at, heap_[child]);
      at = child;
    }
    put(at, id);
  }

  std::vector<std::uint32_t> heap_;
  std::vector<std::uint32_t> place_;
  std::vector<std::uint64_t> value_;
};

}  // namespace ringside::replica
