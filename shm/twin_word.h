// The ways to store and to load a word that shared memory holds twice (layout.h, TwinWord).
//
//   store: copy ← value, then word ← value          load: word first, then the copy
//
// Both stores are releases at least, both loads acquires: whoever sees a value in the word sees that value, or a later
// one, in the copy. So word == copy says nothing wrong, and a difference is either a store under way (or one whose
// writer was killed in the middle) or a bit that flipped: which of them each word's reader decides by what the word
// means (docs/ring-format.md, "Stored twice").
//
// Threads: one writer a word, any number of readers.   Ownership: none.   Errors: false for words that differ and go
// on to.   No allocation. Bounded: kTwinAttempts looks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/layout.h"
#include "shm/memory.h"

namespace ringside::shm {

// A writer that stores without a pause is between its two stores a few nanoseconds of many: so often in a row it is not
// met there unless it stays there.
inline constexpr int kTwinAttempts = 1000;

template <class Memory>
void store_twin(TwinWord& to, std::uint64_t value) {
  Memory::store_release(&to.copy, value);
  Memory::store_release(&to.word, value);
}

// For the words of a store-then-load handshake, which is the word's alone.
template <class Memory>
void store_twin_seq_cst(TwinWord& to, std::uint64_t value) {
  Memory::store_release(&to.copy, value);
  Memory::store_seq_cst(&to.word, value);
}

// The value that word and copy agree upon. False: they go on to differ; `value` is then the word.
template <class Memory>
bool load_twin(const TwinWord& from, std::uint64_t& value) {
  for (int attempt = 0; attempt < kTwinAttempts; ++attempt) {
    value = Memory::load_acquire(&from.word);
    if (Memory::load_acquire(&from.copy) == value) return true;
  }
  return false;
}

// The smaller of the two, for what grows only, or where less is the safe side.
template <class Memory>
std::uint64_t load_twin_min(const TwinWord& from) {
  const std::uint64_t word = Memory::load_seq_cst(&from.word);
  return std::min(word, Memory::load_acquire(&from.copy));
}
// The larger of the two.
template <class Memory>
std::uint64_t load_twin_max(const TwinWord& from) {
  const std::uint64_t word = Memory::load_acquire(&from.word);
  return std::max(word, Memory::load_acquire(&from.copy));
}

}  // namespace ringside::shm
