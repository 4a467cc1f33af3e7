// Memory policies for tests: the real memory, with a fault point at every store.
//
// A process that is killed leaves behind exactly the stores it had made. So a writer whose memory throws at the
// Nth store and is then destroyed (destroying it stores nothing) leaves what a kill before that store leaves.
//
// Most stores are words of a record's payload, one behind the other, and no kill between two of them can be told
// from a kill between two others. So a run without a fault is recorded first, and from it come the stores worth
// dying at: the first, the second and the last word of every run of neighbours, and one in its middle.
//
// Threads: one writer at a time in a process; the counters are global to it.   Ownership: none.
// Errors: FaultPoint is thrown at the armed store, and at every one after it: the dead do not store.
// Limits: none.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "shm/memory.h"

namespace ringside::shm {

struct FaultPoint {};

struct FaultMemory : ProcessMemory {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  static void store_release(std::uint64_t* word, std::uint64_t value) {
    count(word);
    ProcessMemory::store_release(word, value);
  }
  static void store_seq_cst(std::uint64_t* word, std::uint64_t value) {
    count(word);
    ProcessMemory::store_seq_cst(word, value);
  }

  static void arm(std::uint64_t stores_until_the_fault) {
    stores = 0;
    fault_at = stores_until_the_fault;
    words.clear();
  }
  static void disarm() { arm(kNever); }

  // Of the stores since arm(): which to die at. All of them when RINGSIDE_CRASH_EVERY is set.
  static std::vector<std::uint64_t> points() {
    std::vector<std::uint64_t> chosen;
    const bool every = std::getenv("RINGSIDE_CRASH_EVERY") != nullptr;
    for (std::uint64_t first = 0, end = 0; first < words.size(); first = end) {
      for (end = first + 1; end < words.size() && words[end] == words[end - 1] + 1;) ++end;
      for (std::uint64_t i = first; i < end; ++i) {
        const bool is_chosen = i <= first + 1 || i == end - 1 || i == first + (end - first) / 2;
        if (every || is_chosen) chosen.push_back(i);
      }
    }
    return chosen;
  }

  static inline std::uint64_t stores = 0;
  static inline std::uint64_t fault_at = kNever;
  static inline std::vector<const std::uint64_t*> words;  // stored to since arm()

 private:
  static void count(const std::uint64_t* word) {
    if (stores >= fault_at) throw FaultPoint();
    ++stores;
    words.push_back(word);
  }
};

// Counts stores where another process can see it, which may then kill this one after so many.
struct CountingMemory : ProcessMemory {
  static void store_release(std::uint64_t* word, std::uint64_t value) {
    if (counter != nullptr) counter->fetch_add(1, std::memory_order_relaxed);
    ProcessMemory::store_release(word, value);
  }
  static void store_seq_cst(std::uint64_t* word, std::uint64_t value) {
    if (counter != nullptr) counter->fetch_add(1, std::memory_order_relaxed);
    ProcessMemory::store_seq_cst(word, value);
  }

  static inline std::atomic<std::uint64_t>* counter = nullptr;
};

}  // namespace ringside::shm
