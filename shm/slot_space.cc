#include "shm/slot_space.h"

#include <algorithm>

#include "base/assert.h"

namespace ringside::shm {

void SlotSpace::add_chunk(std::uint64_t slots) {
  const std::uint64_t first = size();
  free_.resize(first + slots, true);
  chunk_of_.resize(first + slots, static_cast<std::uint32_t>(chunks_.size()));
  chunks_.push_back({first, slots, 0, true});
  ready_ += slots;
  slots_with_memory_ += slots;
  ++chunks_with_memory_;
}

std::size_t SlotSpace::chunk_of(std::uint64_t slot) const {
  return chunk_of_[slot];
}

std::optional<std::uint64_t> SlotSpace::find(std::uint32_t run, bool any) const {
  std::uint64_t length = 0;
  for (std::size_t i = first_open_; i < chunks_.size(); ++i) {
    const Chunk& chunk = chunks_[i];
    if (chunk.taken == chunk.slots || (!any && !chunk.has_memory)) {
      length = 0;
      continue;
    }
    for (std::uint64_t slot = chunk.first; slot < chunk.first + chunk.slots; ++slot) {
      length = free_[slot] ? length + 1 : 0;
      if (length == run) return slot + 1 - run;
    }
  }
  return std::nullopt;
}

void SlotSpace::take(std::uint64_t slot, std::uint32_t run) {
  for (std::uint64_t s = slot; s < slot + run; ++s) {
    Chunk& chunk = chunks_[chunk_of_[s]];
    RINGSIDE_ASSERT(free_[s] && chunk.has_memory);
    free_[s] = false;
    ++chunk.taken;
  }
  taken_ += run;
  ready_ -= run;
  while (first_open_ < chunks_.size() && chunks_[first_open_].taken == chunks_[first_open_].slots)
    ++first_open_;
}

void SlotSpace::release(std::uint64_t slot, std::uint32_t run) {
  for (std::uint64_t s = slot; s < slot + run; ++s) {
    RINGSIDE_ASSERT(!free_[s]);
    free_[s] = true;
    --chunks_[chunk_of_[s]].taken;
  }
  taken_ -= run;
  ready_ += run;
  first_open_ = std::min<std::size_t>(first_open_, chunk_of_[slot]);
}

std::optional<std::size_t> SlotSpace::given_back() const {
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (!chunks_[i].has_memory) return i;
  }
  return std::nullopt;
}

std::optional<std::size_t> SlotSpace::idle(std::uint64_t first) const {
  for (std::size_t i = chunks_.size(); i-- > 0 && chunks_[i].first >= first;) {
    if (chunks_[i].has_memory && chunks_[i].taken == 0) return i;
  }
  return std::nullopt;
}

void SlotSpace::set_memory(std::size_t chunk, bool has_memory) {
  Chunk& it = chunks_[chunk];
  RINGSIDE_ASSERT(it.has_memory != has_memory && it.taken == 0);
  it.has_memory = has_memory;
  if (has_memory) {
    ready_ += it.slots;
    slots_with_memory_ += it.slots;
    ++chunks_with_memory_;
  } else {
    ready_ -= it.slots;
    slots_with_memory_ -= it.slots;
    --chunks_with_memory_;
  }
}

}  // namespace ringside::shm
