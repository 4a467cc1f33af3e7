// What the interleavings of the ring share: a ring that every one of them begins with, its writer, the bugs that are put in,
// and the search for a seed that shows something wrong. The readers are those of simulated_reader.h.
//
// RINGSIDE_INTERLEAVINGS: how many seeds each search tries that is to find nothing (an hour: some 15,000).
// RINGSIDE_SEED: the first of them. A failure names its seed: RINGSIDE_SEED=<it> RINGSIDE_INTERLEAVINGS=1 repeats it.
//
// Threads: one.   Ownership: the fixture removes its ring.   Errors: Interleaving::fail(), gtest expectations.
// Limits: none of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "shm/publisher.h"
#include "tests/shm/interleaving.h"
#include "tests/shm/ring_fixture.h"
#include "tests/shm/simulated_reader.h"
#include "tests/shm/store_buffer_memory.h"

namespace ringside::shm {

extern template class BasicRingWriter<StoreBufferMemory>;
extern template class BasicPublisher<StoreBufferMemory>;

using SimulatedWriter = BasicTestWriter<StoreBufferMemory>;

inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* set = std::getenv(name);
  return set == nullptr ? otherwise : std::strtoull(set, nullptr, 10);
}

inline constexpr MemoryModel kModels[] = {MemoryModel::kStoreBuffers, MemoryModel::kViews};

inline const char* name_of(MemoryModel model) {
  return model == MemoryModel::kViews ? "views" : "store buffers";
}

enum class Finding : std::uint8_t {
  kFound,
  kHarmless,  // nothing is wrong, and the test says why
  kSame,      // the same as what is written: not tried (x86's seq_cst load is an ordinary one)
};

// One or two orders of the code, weakened.
struct Bug {
  const char* what;
  std::vector<Weakening> weakenings;
  Finding with_store_buffers;
  Finding with_views;
};
inline Weakening weaker(Word word, Op op) {
  return {word, op, Order::kSeqCst, Order::kAcquireRelease};
}

class RingInterleaving : public testing::Test {
 protected:
  RingInterleaving() : writer_(small_ring()) {}
  // Every interleaving begins with this ring: it is made once, and its memory put back.
  void SetUp() override {
    memory_.mend();
    ASSERT_TRUE(writer_.start());
    writer_.close();
    memory_.save();
  }

  PublisherOptions small_ring() const {
    PublisherOptions options = directory_.options();
    options.ring.segment_bytes = 4096;
    options.ring.chunk_bytes = 16384;
    options.ring.max_bytes = 65536;
    options.ring.reserve_bytes = 65536;
    return options;
  }

  // Adds the processes and runs them.
  virtual void play(Interleaving& run) = 0;

  // One interleaving; what is wrong, or nothing.
  std::string play(MemoryModel model, std::uint64_t seed) {
    memory_.restore();
    if (!writer_.open()) return "the ring is not opened";
    Interleaving run(model, seed);
    play(run);
    steps_ += run.steps();
    switches_ += run.switches();
    writer_.close();
    return run.failure();
  }

  // The first of so many seeds that shows something wrong, and what; 0: none does.
  std::pair<std::uint64_t, std::string> search(MemoryModel model, std::uint64_t first, std::uint64_t seeds) {
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
      std::string wrong = play(model, seed);
      if (!wrong.empty()) return {seed, std::move(wrong)};
    }
    return {0, ""};
  }
  // As many as are asked for.
  std::pair<std::uint64_t, std::string> search(MemoryModel model, std::uint64_t seeds) {
    return search(model, from_environment("RINGSIDE_SEED", 1),
                  from_environment("RINGSIDE_INTERLEAVINGS", seeds));
  }

  void expect_nothing_wrong() {
    for (const MemoryModel model : kModels) {
      steps_ = switches_ = 0;
      const auto [seed, wrong] = search(model, kSeeds);
      EXPECT_EQ(seed, 0u) << name_of(model) << ", RINGSIDE_SEED=" << seed << ": " << wrong;
      std::printf("%s: %lu accesses, %lu switches\n", name_of(model), steps_, switches_);
    }
  }

  void expect_found(const Bug& bug) {
    for (const MemoryModel model : kModels) {
      const Finding expected = model == MemoryModel::kViews ? bug.with_views : bug.with_store_buffers;
      if (expected == Finding::kSame) continue;
      memory_.mend();
      for (const Weakening& each : bug.weakenings) memory_.weaken(each);
      const auto [seed, wrong] =
          expected == Finding::kFound ? search(model, 1, kSeedsForBugs) : search(model, kSeedsForHarmless);
      memory_.mend();
      EXPECT_EQ(seed != 0, expected == Finding::kFound)
          << bug.what << ", " << name_of(model) << ", seed " << seed << ": " << wrong;
      std::printf("%s, %s: %s\n", bug.what, name_of(model),
                  seed == 0 ? "nothing wrong" : ("seed " + std::to_string(seed) + ": " + wrong).c_str());
    }
  }

  static constexpr std::uint64_t kSeeds = 100;
  static constexpr std::uint64_t kSeedsForBugs = 1000;  // at most
  static constexpr std::uint64_t kSeedsForHarmless = 40;
  RingDirectory directory_;
  SimulatedMemory& memory_ = SimulatedMemory::instance();
  SimulatedWriter writer_;
  std::uint64_t steps_ = 0;
  std::uint64_t switches_ = 0;
};

}  // namespace ringside::shm
