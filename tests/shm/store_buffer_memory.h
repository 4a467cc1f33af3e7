// A simulated memory beneath the ring's own code. A model checker like spin is sequentially consistent: it cannot show a
// handshake that fails only where a store waits in a buffer. This can, and it runs the real templates.
//
// Simulated processes (interleaving.h) are fibers of one thread: exactly one runs, and each access is a step of one of two
// memories:
//
//   kStoreBuffers  x86 (TSO): a store goes to its process' FIFO buffer and reaches memory some time later; a load looks
//                  into its own buffer first; a seq_cst store empties the buffer.
//   kViews         C++'s acquire and release, as weak as arm64 or weaker: each word keeps all its values in the order of
//                  their stores, and a load may return any of them that is not older than what its process knows. A store
//                  carries what its process knew, a load learns that. Two seq_cst accesses of one word take effect in
//                  the order in which they ran. What a process knows is a vector clock over stores.
//
// kViews runs every process in program order and never shows a value before it was stored. For acquire and release that is
// all there is. It takes seq_cst operations and "happens before" to have one order together, which C++11 promised, C++20
// no longer does for one shape (a seq_cst store that is read by an acquire load before a seq_cst operation) and x86 and arm64
// both keep.
//
// Every process maps a file somewhere else: the test's linker wraps mmap(), so that an address is known by file and
// offset. The mapping itself may not be touched (PROT_NONE): whoever passes by the policy dies. Other system calls are
// real and order nothing, but for locks (lock(), unlock()) and holes (punch()).
//
// Threads: one.   Ownership: a singleton: the policy's functions are static.
// Errors: an address that nobody mapped is an assertion.   Limits: kProcesses; values are kept until restore().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shm/memory.h"

namespace ringside::shm {

enum class MemoryModel : std::uint8_t { kStoreBuffers, kViews };

// What a word is for. Those before kOther are the handshakes'; the copy that some have beside them is not.
enum class Word : std::uint8_t {
  kCommitted,
  kGeneration,
  kEvicted,
  kIncarnation,
  kReclaim,
  kSleep,
  kOther,
  kPayload
};
inline constexpr std::size_t kWords = 8;
enum class Op : std::uint8_t { kLoad, kStore };
// How much an access orders. kNotMade: a load that is left out, its process goes on with what it read there last.
enum class Order : std::uint8_t { kNotMade, kRelaxed, kAcquireRelease, kSeqCst };
inline constexpr std::size_t kOrders = 4;

// A bug put in: accesses of that kind and order have another one.
struct Weakening {
  Word word;
  Op op;
  Order written;
  Order made;
};

// SplitMix64: small, and the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t end) { return next() % end; }
  // True with a probability of n in 1,024.
  bool chance(std::uint64_t n) { return (next() >> 20) % 1024 < n; }

 private:
  std::uint64_t state_;
};

// Who decides what runs next: asked before every access while a run lasts.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  virtual void step(bool is_handshake) = 0;
};

class SimulatedMemory {
 public:
  static constexpr std::size_t kProcesses = 4;

  static SimulatedMemory& instance();

  void weaken(const Weakening& bug);
  void mend();
  // Reader slots below this are in use: only their words are worth a switch.
  void set_reader_slots(std::size_t slots) { reader_slots_ = slots; }

  // Between runs memory is plain. save() keeps it, restore() puts it back.
  void save();
  void restore();

  // A run: all processes begin with all that is there.
  void begin(MemoryModel model, Scheduler& scheduler, Random& random);
  // Every store reaches memory; plain again.
  void end();
  void become(std::size_t process) { self_ = process; }
  // Stores that wait in buffers reach memory.
  void flush();
  // A lock of the kernel, let go and taken: whoever takes it knows what those knew who let go of it.
  void unlock();
  void lock();
  // A sum over who accessed what in which order.
  std::uint64_t trace() const { return trace_; }

  std::uint64_t load(const std::uint64_t* word, Order order);
  void store(std::uint64_t* word, std::uint64_t value, Order order);

  // For the wrapped mmap(), munmap() and fallocate(). A hole's words are 0 at once and for all: the kernel takes the pages
  // out of every process' table, and whoever reads such a word knows what its puncher knew.
  void punch(const std::string& path, std::uint64_t offset, std::uint64_t size);
  void add_mapping(const std::string& path, std::uintptr_t base, std::size_t size, std::uint64_t offset);
  void remove_mappings(std::uintptr_t base, std::size_t size);

 private:
  // Per process, how many of its stores are known.
  using Clock = std::array<std::uint32_t, kProcesses>;
  struct Message {
    std::uint64_t value = 0;
    Clock clock{};  // learnt by who reads it with acquire
    std::uint32_t stamp = 0;
    std::uint32_t process = 0;
  };
  struct Cell {
    std::uint64_t value = 0;                       // newest that is in memory
    std::array<std::uint64_t, kProcesses> last{};  // that each process loaded or stored
    std::vector<Message> history;  // kViews: value i + 1 of this word; value 0 is what the run began with
    std::array<std::uint32_t, kProcesses>
        floor{};                      // kViews: the oldest value that each process may still read
    std::uint32_t seq_cst_floor = 0;  // kViews: and each seq_cst load
    std::array<std::uint16_t, kProcesses> pending{};  // kStoreBuffers: entries in the buffers
  };
  static constexpr std::size_t kPageWords = 64;
  using Page = std::array<Cell, kPageWords>;
  using PlainPage = std::array<std::uint64_t, kPageWords>;
  enum class Kind : std::uint8_t { kHeader, kReader, kChunk, kOther };
  struct File {
    Kind kind = Kind::kOther;
    std::size_t number = 0;                                        // of a reader; else one of each file
    std::map<std::size_t, PlainPage> plain;                        // what was stored before the run
    std::unordered_map<std::size_t, std::unique_ptr<Page>> pages;  // and in it
  };
  struct Mapping {
    std::size_t size = 0;
    File* file = nullptr;
    std::uint64_t offset = 0;
  };
  struct Place {
    File* file = nullptr;
    std::size_t index = 0;
  };
  struct Waiting {
    Cell* cell = nullptr;
    std::uint64_t value = 0;
  };
  // Where addresses were last found.
  struct Known {
    std::uintptr_t page = 0;
    File* file = nullptr;
    std::uint64_t offset = 0;
  };

  Place find(const std::uint64_t* word);
  static Word word_of(const Place& place);
  bool is_handshake(const Place& place, Word word) const;
  static std::uint64_t plain(const Place& place);
  static Cell* existing(const Place& place);
  static Cell& cell(const Place& place);
  void before(const Place& place, Word word, Op op);
  Order& made(Word word, Op op, Order written);
  std::uint64_t load_of_views(Cell& cell, std::uint64_t first, Order order);
  void store_of_views(Cell& cell, std::uint64_t value, Order order);
  std::uint64_t load_of_buffers(Cell& cell) const;
  void store_of_buffers(Cell& cell, std::uint64_t value, Order order);
  void drain(std::size_t process, std::size_t entries);

  std::map<std::string, File> files_;
  std::map<std::string, std::map<std::size_t, PlainPage>> saved_;
  std::map<std::uintptr_t, Mapping> mappings_;
  std::array<Known, 256> known_{};
  std::array<std::array<std::array<Order, kOrders>, 2>, kWords> made_{};
  std::size_t reader_slots_ = 2;

  // Of the run.
  bool is_running_ = false;
  MemoryModel model_ = MemoryModel::kStoreBuffers;
  Scheduler* scheduler_ = nullptr;
  Random* random_ = nullptr;
  std::size_t self_ = 0;
  std::uint64_t laziness_ = 0;  // how often buffers are left alone, or old values read
  std::size_t capacity_ = 0;    // of a buffer
  std::array<std::deque<Waiting>, kProcesses> buffers_;
  std::array<Clock, kProcesses> clocks_{};
  Clock kernel_{};  // known to those who let go of a lock
  std::uint64_t trace_ = 0;
};

// The policy.
struct StoreBufferMemory {
  static std::uint64_t load_acquire(const std::uint64_t* word) {
    return SimulatedMemory::instance().load(word, Order::kAcquireRelease);
  }
  static std::uint64_t load_seq_cst(const std::uint64_t* word) {
    return SimulatedMemory::instance().load(word, Order::kSeqCst);
  }
  static void store_release(std::uint64_t* word, std::uint64_t value) {
    SimulatedMemory::instance().store(word, value, Order::kAcquireRelease);
  }
  static void store_seq_cst(std::uint64_t* word, std::uint64_t value) {
    SimulatedMemory::instance().store(word, value, Order::kSeqCst);
  }
};

}  // namespace ringside::shm
