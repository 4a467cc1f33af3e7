// SlotSpace: which slots of the log are free, and which chunks have memory. The writer's private bookkeeping: all of it
// can be told from the slot table and the chunk files.
//
//   chunk 0 (8 slots)        chunk 8 (8 slots)        chunk 16 (3 slots: made for a jumbo record)
//   ■■■□■■□■ with memory     □□□□□□□□ given back      ■■■ with memory          ■ taken   □ free
//
// Slots are taken lowest first, so that the upper chunks drain when the database shrinks. A run of slots may lie across
// neighbouring chunks: they are neighbours in every process' address space too.
//
// Threads: one.   Ownership: none: it moves no memory and touches no file.   Errors: none; preconditions are the
// caller's.   Limits: none of its own. Allocation: when a chunk is added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace ringside::shm {

class SlotSpace {
 public:
  struct Chunk {
    std::uint64_t first = 0;
    std::uint64_t slots = 0;
    std::uint64_t taken = 0;
    bool has_memory = true;
  };

  // A new chunk behind all others, with memory, all its slots free.
  void add_chunk(std::uint64_t slots);

  // Slots of all chunks; also the first slot of the next one.
  std::uint64_t size() const { return free_.size(); }
  std::uint64_t taken() const { return taken_; }
  // Free slots of chunks that have memory.
  std::uint64_t ready() const { return ready_; }
  std::uint64_t slots_with_memory() const { return slots_with_memory_; }
  std::uint64_t chunks_with_memory() const { return chunks_with_memory_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }
  std::size_t chunk_of(std::uint64_t slot) const;

  // The lowest run of free slots, where there is one: in chunks that have memory; else, if `any`, also over chunks
  // that were given back, whose memory must be made sure of before the run is taken.
  std::optional<std::uint64_t> find(std::uint32_t run, bool any) const;
  // Precondition: free, and its chunks have memory.
  void take(std::uint64_t slot, std::uint32_t run);
  // Precondition: taken.
  void release(std::uint64_t slot, std::uint32_t run);
  bool is_free(std::uint64_t slot) const { return free_[slot]; }

  // The lowest chunk without memory; the highest with memory and no slot taken that begins at `first` or above it.
  std::optional<std::size_t> given_back() const;
  std::optional<std::size_t> idle(std::uint64_t first) const;
  void set_memory(std::size_t chunk, bool has_memory);

 private:
  std::vector<bool> free_;
  std::vector<Chunk> chunks_;
  std::vector<std::uint32_t> chunk_of_;
  std::uint64_t taken_ = 0;
  std::uint64_t ready_ = 0;
  std::uint64_t slots_with_memory_ = 0;
  std::uint64_t chunks_with_memory_ = 0;
  std::size_t first_open_ = 0;  // all chunks before it are full
};

}  // namespace ringside::shm
