// Memory policies for tests: the real memory, with a fault point at every store.
//
// A process that is killed leaves behind exactly the stores it had made. So a writer whose memory throws at the
// Nth store and is then destroyed (destroying it stores nothing) leaves what a kill before that store leaves.
//
// Threads: one writer at a time in a process; the counters are global to it.   Ownership: none.
// Errors: FaultPoint is thrown at the armed store, and at every one after it: the dead do not store.
// Limits: none.
#pragma once

#include <atomic>
#include <cstdint>

#include "shm/memory.h"

namespace ringside::shm {

struct FaultPoint {};

struct FaultMemory : ProcessMemory {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  static void store_release(std::uint64_t* word, std::uint64_t value) {
    count();
    ProcessMemory::store_release(word, value);
  }
  static void store_seq_cst(std::uint64_t* word, std::uint64_t value) {
    count();
    ProcessMemory::store_seq_cst(word, value);
  }

  static void arm(std::uint64_t stores_until_the_fault) {
    stores = 0;
    fault_at = stores_until_the_fault;
  }
  static void disarm() { arm(kNever); }

  static inline std::uint64_t stores = 0;
  static inline std::uint64_t fault_at = kNever;

 private:
  static void count() {
    if (stores >= fault_at) throw FaultPoint();
    ++stores;
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
