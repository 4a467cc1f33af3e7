// The one way to touch shared memory. Every load and store that crosses between processes goes through a
// policy type with these static functions, so that fault points and a simulated memory can be put under the
// real code.
//
// Shared memory is seen as 8-byte words. Payload is written by release words and read by acquire words: a
// reader that races a reused slot reads old or new words, never undefined behaviour, and finds out by the
// slot's generation afterwards. A reader's acquire load of any new word also makes the eviction mark visible
// that was stored before the slot was reused (docs/ring-format.md, "Eviction").
//
// Threads: any.   Ownership: none.   Errors: none.   No allocation.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/assert.h"
#include "base/crc32c.h"

namespace ringside::shm {

static_assert(std::endian::native == std::endian::little, "the ring's words are little-endian");
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

// The real memory.
struct ProcessMemory {
  static std::uint64_t load_acquire(const std::uint64_t* word) {
    return std::atomic_ref(*const_cast<std::uint64_t*>(word)).load(std::memory_order_acquire);
  }
  static std::uint64_t load_seq_cst(const std::uint64_t* word) {
    return std::atomic_ref(*const_cast<std::uint64_t*>(word)).load(std::memory_order_seq_cst);
  }
  static void store_release(std::uint64_t* word, std::uint64_t value) {
    std::atomic_ref(*word).store(value, std::memory_order_release);
  }
  static void store_seq_cst(std::uint64_t* word, std::uint64_t value) {
    std::atomic_ref(*word).store(value, std::memory_order_seq_cst);
  }
};

// Copies `size` bytes (a multiple of 8) into shared memory at `to` (8-aligned) by release words.
template <class Memory>
void copy_in(void* to, const void* from, std::size_t size) {
  RINGSIDE_ASSERT(size % 8 == 0 && reinterpret_cast<std::uintptr_t>(to) % 8 == 0);
  auto* words = static_cast<std::uint64_t*>(to);
  const auto* bytes = static_cast<const std::byte*>(from);
  for (std::size_t i = 0; i < size / 8; ++i) {
    std::uint64_t word;
    std::memcpy(&word, bytes + 8 * i, 8);
    Memory::store_release(words + i, word);
  }
}

// Copies `size` bytes (a multiple of 8) out of shared memory at `from` (8-aligned) by acquire words.
template <class Memory>
void copy_out(void* to, const void* from, std::size_t size) {
  RINGSIDE_ASSERT(size % 8 == 0 && reinterpret_cast<std::uintptr_t>(from) % 8 == 0);
  const auto* words = static_cast<const std::uint64_t*>(from);
  auto* bytes = static_cast<std::byte*>(to);
  for (std::size_t i = 0; i < size / 8; ++i) {
    const std::uint64_t word = Memory::load_acquire(words + i);
    std::memcpy(bytes + 8 * i, &word, 8);
  }
}

// Copies a record of which `there` bytes are at `to` already: the rest from `from`, as copy_out does. Its checksum
// (base/crc32c.h), with `last` behind it.
template <class Memory>
std::uint32_t copy_out_record(void* to, const void* from, std::size_t size, std::size_t there,
                              std::uint64_t last) {
  if constexpr (std::is_same_v<Memory, ProcessMemory>) {
    return crc32c_copy_record(to, from, size, there, last);
  } else {
    copy_out<Memory>(static_cast<std::byte*>(to) + there, from, size - there);
    return crc32c_record(to, size, last);
  }
}

}  // namespace ringside::shm
