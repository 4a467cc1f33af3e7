// The slot table's entries: how a reader judges one, and SlotTable, the hand of the writer on them, which goes by what
// it stored and never by what it finds.
//
//   taking:   start, run ──► check (of the new, odd generation) ──► generation ← odd
//   freeing:                 check (of the new, even generation) ──► generation ← even     F1
//
// So at each moment the check's generation is the entry's or the next one; docs/ring-format.md, "The slot table's
// entries", has what a reader concludes from each pair.
//
// Threads: one writer, any number of readers.   Ownership: SlotTable borrows the shared entries.
// Errors: SlotState::kCorrupt for what no writer leaves behind.   Allocation: SlotTable::adopt only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "base/crc32c.h"
#include "shm/layout.h"
#include "shm/memory.h"

namespace ringside::shm {

enum class SlotState : std::uint8_t { kFree, kInUse, kCorrupt };

struct SlotInfo {
  std::uint64_t slot = 0;
  std::uint64_t generation = 0;  // odd: in use
  std::uint64_t start_position = 0;
  std::uint32_t run = 0;          // slots of its segment
  std::uint32_t chunk_first = 0;  // first slot of the chunk's file
};

// The check word of these two words at this generation.
inline std::uint64_t slot_check(std::uint64_t start_position, std::uint64_t run_and_chunk,
                                std::uint64_t generation) {
  const std::uint64_t words[2] = {start_position, run_and_chunk};
  return generation << 32 | crc32c(words, sizeof words);
}

// The table's word on slot info.slot; fills the rest in. One that is just being taken or freed counts as free (J3).
// `committed`: a committed position that was read before; `max_slots`: of the table.
template <class Memory>
SlotState read_slot_entry(const SlotEntry& entry, std::uint64_t committed, std::uint64_t max_slots,
                          SlotInfo& info) {
  info.generation = Memory::load_seq_cst(&entry.generation);  // J3
  // Before the words that it is of: they are at least as new, and newer only when the generation moves as well.
  const std::uint64_t check = Memory::load_acquire(&entry.check);
  const std::uint64_t words[2] = {Memory::load_acquire(&entry.start_position),
                                  Memory::load_acquire(&entry.run_and_chunk)};
  if (Memory::load_acquire(&entry.generation) != info.generation) return SlotState::kFree;
  info.start_position = words[0];
  info.run = static_cast<std::uint32_t>(words[1]);
  info.chunk_first = static_cast<std::uint32_t>(words[1] >> 32);
  const bool is_settled = check >> 32 == static_cast<std::uint32_t>(info.generation);
  const bool is_moving = check >> 32 == static_cast<std::uint32_t>(info.generation + 1);
  const bool fits = static_cast<std::uint32_t>(check) == crc32c(words, sizeof words);
  if (info.generation % 2 == 0) {
    if (is_settled) return SlotState::kFree;
    // Being taken: for the log's tail, which is not below any committed position. Anything else is a segment in use
    // whose generation has lost its low bit.
    return is_moving && fits && info.start_position >= committed ? SlotState::kFree : SlotState::kCorrupt;
  }
  const bool sane = (is_settled || is_moving) && fits && info.run > 0 && info.slot < max_slots &&
                    info.run <= max_slots - info.slot && info.chunk_first <= info.slot;
  return sane ? SlotState::kInUse : SlotState::kCorrupt;
}

template <class Memory>
class SlotTable {
 public:
  SlotTable() = default;
  explicit SlotTable(SlotEntry* shared) : shared_(shared) {}

  // Takes the next slot's entry as it is found for its own. What a writer that was killed in the middle of taking or
  // freeing has left is settled by the generation.
  void adopt() {
    SlotEntry& entry = shared_[own_.size()];
    SlotEntry found{Memory::load_acquire(&entry.generation), Memory::load_acquire(&entry.start_position),
                    Memory::load_acquire(&entry.run_and_chunk), Memory::load_acquire(&entry.check)};
    if (found.check >> 32 != static_cast<std::uint32_t>(found.generation)) {
      found.check = slot_check(found.start_position, found.run_and_chunk, found.generation);
      Memory::store_release(&entry.check, found.check);
    }
    own_.push_back(found);
  }

  // Slots adopted.
  std::uint64_t count() const { return own_.size(); }
  std::uint64_t generation(std::uint64_t slot) const { return own_[slot].generation; }
  const SlotEntry& own(std::uint64_t slot) const { return own_[slot]; }

  // Puts a segment into a free slot. Its new generation. To be stored before any word of the new contents: R2.
  std::uint64_t take(std::uint64_t slot, std::uint32_t run, std::uint64_t chunk_first, std::uint64_t start) {
    SlotEntry& own = own_[slot];
    RINGSIDE_ASSERT(own.generation % 2 == 0);
    const std::uint64_t words[2] = {start, chunk_first << 32 | run};
    own =
        SlotEntry{own.generation + 1, words[0], words[1], slot_check(words[0], words[1], own.generation + 1)};
    SlotEntry& entry = shared_[slot];
    Memory::store_release(&entry.start_position, own.start_position);
    Memory::store_release(&entry.run_and_chunk, own.run_and_chunk);
    Memory::store_release(&entry.check, own.check);
    Memory::store_seq_cst(&entry.generation, own.generation);
    return own.generation;
  }

  // F1.
  void release(std::uint64_t slot) {
    SlotEntry& own = own_[slot];
    RINGSIDE_ASSERT(own.generation % 2 == 1);
    ++own.generation;
    own.check = slot_check(own.start_position, own.run_and_chunk, own.generation);
    Memory::store_release(&shared_[slot].check, own.check);
    Memory::store_seq_cst(&shared_[slot].generation, own.generation);
  }

  // Whether the entry still is what was stored last.
  bool is_intact(std::uint64_t slot) const {
    const SlotEntry& own = own_[slot];
    const SlotEntry& entry = shared_[slot];
    return Memory::load_acquire(&entry.generation) == own.generation &&
           Memory::load_acquire(&entry.start_position) == own.start_position &&
           Memory::load_acquire(&entry.run_and_chunk) == own.run_and_chunk &&
           Memory::load_acquire(&entry.check) == own.check;
  }

 private:
  SlotEntry* shared_ = nullptr;
  std::vector<SlotEntry> own_;
};

}  // namespace ringside::shm
