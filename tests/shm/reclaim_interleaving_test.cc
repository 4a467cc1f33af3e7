// Joining, following and being evicted while slots are freed and used again, under a simulated memory
// (store_buffer_memory.h): a joiner's position against the freeing of slots (J2, J3; F0, F1, F2), the mark of an evicted reader
// against its check (E1; R4). Each order that is needed is weakened once; of those that are not it is shown too.
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "tests/shm/ring_interleaving.h"
#include "tests/shm/simulated_reader.h"

namespace ringside::shm {
namespace {

class ReclaimInterleaving : public RingInterleaving {
 protected:
  using RingInterleaving::play;
  ReclaimInterleaving() {
    RingOptions& ring = writer_.options().ring;
    ring.chunk_bytes = 2 * ring.segment_bytes;
    ring.max_bytes = 10 * ring.segment_bytes;
    ring.reserve_bytes = ring.segment_bytes;
    ring.reader_wait_ns = ring.reader_grace_ns = ~std::uint64_t{0} / 2;
    ring.reader_limit_bytes = ring.segment_bytes;
  }

  // A writer whose log goes round the ring, and readers that come and go.
  void play(Interleaving& run) override {
    World world{run, writer_.options().ring};
    world.last_version = 40 + run.random().below(60);
    std::deque<SimulatedReader> readers;
    for (std::uint64_t i = run.random().below(2) + 1; i > 0; --i) readers.emplace_back(world, habits_);
    run.add([&] {
      for (std::uint64_t version = 2; version <= world.last_version && !run.is_over(); ++version) {
        change(world, version);
        commit(world, version);
        if (run.random().chance(512)) run.yield();
      }
    });
    for (SimulatedReader& reader : readers) run.add([&] { reader.run(); });
    run.run([] {});
    for (const SimulatedReader& reader : readers) {
      joined_ += reader.joined;
      evicted_ += reader.evicted;
    }
    freed_ += writer_->ring().usage().segments_freed;
    given_back_ += writer_->ring().usage().chunks_given_back;
  }

  // A few rows; now and then most of them go, so that chunks are given back.
  void change(World& world, std::uint64_t version) {
    Contents next = world.at.back();
    const bool shrinks = version % 32 > 24;
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      if (!world.run.random().chance(256)) continue;
      const bool is_there = next.contains(key);
      if (is_there && world.run.random().chance(shrinks ? 900 : 200)) {
        writer_.erase(key);
        next.erase(key);
      } else if (!shrinks) {
        const std::string row = proven_row(key, version);
        is_there ? writer_.update(key, row) : writer_.insert(key, row);
        next[key] = version;
      }
    }
    world.at.push_back(std::move(next));
  }

  // Waits for room as capture does.
  void commit(World& world, std::uint64_t version) {
    for (int attempts = 0; attempts < 100'000 && !world.run.is_over(); ++attempts) {
      const auto committed = writer_.try_commit(version);
      now_ns_ += 1'000'000;
      // Without a pause between two looks, a reader between its two stores of a word would count as spoilt.
      if (habits_.may_be_evicted) writer_->ring().check_readers(now_ns_);
      const auto tended = writer_->tend(now_ns_);
      if (!tended) return world.run.fail("tend: " + tended.error().message);
      if (committed) {
        if (!committed->empty()) world.run.fail(committed->front().second);
        return;
      }
      if (committed.error().kind != ErrorKind::kLimit)
        return world.run.fail("commit: " + committed.error().message);
      world.run.yield();
    }
    if (!world.run.is_over()) world.run.fail("no room is made");
  }

  void tell() const {
    std::printf("joined %lu times, evicted %lu; freed %lu segments, gave back %lu chunks\n", joined_,
                evicted_, freed_, given_back_);
  }

  static constexpr std::uint64_t kKeys = 16;
  Habits habits_;
  std::uint64_t now_ns_ = 0;
  std::uint64_t joined_ = 0;
  std::uint64_t evicted_ = 0;
  std::uint64_t freed_ = 0;
  std::uint64_t given_back_ = 0;
};

TEST_F(ReclaimInterleaving, AJoinerFindsAllOfItWhileSlotsAreUsedAgain) {
  habits_.leaves = 256;
  habits_.copies = 4;
  habits_.strays = 384;
  expect_nothing_wrong();
  tell();
  EXPECT_GT(freed_, 0u);
}

// The reclaim position needs no more than release and acquire: a writer that has read the joiner's incarnation has acquired
// the 0 stored before it, and one that reads an older position than there is frees later.
TEST_F(ReclaimInterleaving, AnOrderOfJoiningOrFreeingThatIsWeakerIsFound) {
  constexpr Finding kFound = Finding::kFound;
  habits_.leaves = 512;
  habits_.copies = 4;
  habits_.strays = 384;
  habits_.sleeps = false;  // so that no wake-up is what is lost
  for (const Bug& bug : std::vector<Bug>{
           {"J2 (incarnation) a release", {weaker(Word::kIncarnation, Op::kStore)}, kFound, kFound},
           {"J2 (reclaim position) a release",
            {weaker(Word::kReclaim, Op::kStore)},
            Finding::kHarmless,
            Finding::kHarmless},
           {"J3 (generation) an acquire", {weaker(Word::kGeneration, Op::kLoad)}, Finding::kSame, kFound},
           {"J3 (committed position) an acquire",
            {weaker(Word::kCommitted, Op::kLoad)},
            Finding::kSame,
            kFound},
           {"P3 a release", {weaker(Word::kCommitted, Op::kStore)}, Finding::kHarmless, kFound},
           {"F1 a release", {weaker(Word::kGeneration, Op::kStore)}, kFound, kFound},
           {"F0, F2 (incarnation) an acquire",
            {weaker(Word::kIncarnation, Op::kLoad)},
            Finding::kSame,
            kFound},
           {"F0, F2 (reclaim position) an acquire",
            {weaker(Word::kReclaim, Op::kLoad)},
            Finding::kSame,
            Finding::kHarmless},
       }) {
    expect_found(bug);
  }
}

TEST_F(ReclaimInterleaving, ASeedRepeatsItsInterleaving) {
  for (const MemoryModel model : kModels) {
    EXPECT_EQ(play(model, 7), "");
    const std::uint64_t trace = memory_.trace();
    EXPECT_EQ(play(model, 8), "");
    EXPECT_NE(memory_.trace(), trace);
    EXPECT_EQ(play(model, 7), "");
    EXPECT_EQ(memory_.trace(), trace);
  }
}

class EvictionInterleaving : public ReclaimInterleaving {
 protected:
  EvictionInterleaving() {
    RingOptions& ring = writer_.options().ring;
    ring.reader_grace_ns = ring.reader_wait_ns = 3'000'000;
    ring.max_bytes = 16 * ring.segment_bytes;  // of which chunks are given back
    ring.chunk_bytes = ring.segment_bytes;
    habits_.copies = 64;
    habits_.may_be_evicted = true;
  }
};

TEST_F(EvictionInterleaving, ShowsNothingForeign) {
  expect_nothing_wrong();
  tell();
  EXPECT_GT(evicted_, 0u);
  EXPECT_GT(given_back_, 0u);
}

// What R2 and R4 are for. Either is enough to show nothing foreign: a word of a slot's new contents, or of a hole, was stored
// behind both the mark and a new generation, and its acquire shows both. (R4 also ends the answers of a reader that does not
// follow any more.) So neither the mark nor its check has to be seq_cst, as long as words are acquired; were they not, both
// would have to be.
TEST_F(EvictionInterleaving, ChecksThatAreLeftOutAreFound) {
  constexpr Finding kFound = Finding::kFound;
  constexpr Finding kHarmless = Finding::kHarmless;
  constexpr Finding kSame = Finding::kSame;
  const Weakening plain_words{Word::kPayload, Op::kLoad, Order::kAcquireRelease, Order::kRelaxed};
  const Weakening no_generation{Word::kGeneration, Op::kLoad, Order::kAcquireRelease, Order::kNotMade};
  const Weakening mark = weaker(Word::kEvicted, Op::kStore);
  const Weakening check = weaker(Word::kEvicted, Op::kLoad);
  for (const Bug& bug : std::vector<Bug>{
           {"E1 a release", {mark}, kHarmless, kHarmless},
           {"R4 an acquire", {check}, kSame, kHarmless},
           {"R1 relaxed", {plain_words}, kSame, kHarmless},
           {"R1 relaxed, E1 a release", {plain_words, mark}, kSame, kFound},
           {"R1 relaxed, R4 an acquire", {plain_words, check}, kSame, kFound},
           {"R2 left out", {no_generation}, kHarmless, kHarmless},
       }) {
    expect_found(bug);
  }
  habits_.asks_whether_evicted = false;
  expect_found({"R4 left out", {}, kHarmless, kHarmless});
  expect_found({"R2 and R4 left out", {no_generation}, kFound, kFound});
}

}  // namespace
}  // namespace ringside::shm
