// One reader slot as the writer sees it: the reader's file, its lock and FIFO, and what was made of them so far.
//
// Threads: the writer's.   Ownership: owns mapping and descriptors.   Errors: none.   No allocation.
#pragma once

#include <cstdint>

#include "base/unique_fd.h"
#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/ring_files.h"
#include "shm/twin_word.h"

namespace ringside::shm {

struct ReaderWatch {
  MappedFile file;
  UniqueFd lock_probe;  // for asking whether its reader lives
  UniqueFd wake;
  std::uint64_t woken_for = 0;  // the sleep word for which a byte was written
  std::uint64_t progress = 0;   // as last seen, and since when
  std::uint64_t incarnation = 0;
  std::uint64_t progress_since_ns = 0;
  bool is_behind = false;          // of the committed position, when it was last looked at
  TwinWord odd_incarnation{0, 0};  // words that differed when they were last looked at; equal: they did not
  TwinWord odd_reclaim{0, 0};
  std::uint64_t reports = 0;  // of corruption, as last seen

  ReaderFile& reader() const { return *static_cast<ReaderFile*>(file.data()); }

  // seq_cst: F0, F2. A reader that lets go or joins is in neither state until the word is stored.
  template <class Memory>
  std::uint64_t load_incarnation() const {
    return Memory::load_seq_cst(&reader().incarnation.word);
  }
  // seq_cst: F0, F2. Of two that differ the one that holds back more.
  template <class Memory>
  std::uint64_t load_reclaim() const {
    return load_twin_min<Memory>(reader().reclaim_position);
  }

  // Whether a word differs from its copy in the very way it did when this was asked last. No reader is between two
  // stores for so long, unless it was stopped there: it joins again, which harms nothing.
  template <class Memory>
  bool is_spoilt() {
    const bool in_incarnation = differs_still<Memory>(reader().incarnation, odd_incarnation);
    const bool in_reclaim =
        differs_still<Memory>(reader().reclaim_position, odd_reclaim);  // both are remembered
    return in_incarnation || in_reclaim;
  }

 private:
  template <class Memory>
  static bool differs_still(const TwinWord& word, TwinWord& before) {
    const TwinWord now{Memory::load_acquire(&word.word), Memory::load_acquire(&word.copy)};
    const bool still = now.word != now.copy && now.word == before.word && now.copy == before.copy;
    before = now;
    return still;
  }
};

}  // namespace ringside::shm
