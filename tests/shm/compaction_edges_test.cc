// Compaction where it meets something else: names that come back, rings without a byte to gain, memory that is gone after
// a restart, readers that hold what the filesystem lacks.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

#include "shm/publisher.h"
#include "tests/shm/small_ring.h"

namespace ringside::shm {
namespace {

// Updates rows of `items` one a transaction, so that segments fill, die and are compacted.
void churn(TestWriter& writer, std::uint64_t& version, std::uint64_t rows, int updates) {
  for (int i = 0; i < updates; ++i) {
    ASSERT_TRUE(writer.update(static_cast<std::uint64_t>(i) % rows, filler(940, 'c')));
    ASSERT_TRUE(writer.commit(++version)) << i;
  }
}

TEST(Compaction, ANameThatWasDroppedMayComeBackAtAnyTime) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  constexpr std::uint64_t kRows = 400;
  for (std::uint64_t id = 0; id < kRows; ++id) {
    ASSERT_TRUE(writer.insert(id, filler(940)));
    ASSERT_TRUE(writer.commit(++version));
  }
  std::mt19937 random(1);
  // It comes, goes, and comes back at all distances, so that each of its events is compacted before and after the others.
  for (int round = 0; round < 60; ++round) {
    const TableId id = writer->new_table(items_table("guest"));
    ASSERT_TRUE(writer->switch_to(id));
    ASSERT_TRUE(writer.commit(++version));
    ASSERT_TRUE(writer.insert(1, json_text("here"), "guest") && writer.commit(++version));
    ASSERT_NO_FATAL_FAILURE(churn(writer, version, kRows, static_cast<int>(random() % 900)));
    ASSERT_NE(mirror_of(writer.options().ring).table("guest"), nullptr);
    ASSERT_TRUE(writer->drop("guest"));
    ASSERT_TRUE(writer.commit(++version));
    ASSERT_NO_FATAL_FAILURE(churn(writer, version, kRows, static_cast<int>(random() % 1800)));
    ASSERT_EQ(mirror_of(writer.options().ring).table("guest"), nullptr);
    if (round % 7 != 6) continue;
    ASSERT_TRUE(writer.open());
    ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
  }
}

// The log tells of several lives of a name; the catalogue has the last one.
TEST(Compaction, ANamesEarlierLivesDoNotTouchItsLastOneAtARestart) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const auto come = [&] {
    EXPECT_TRUE(writer->switch_to(writer->new_table(items_table("guest"))));
    EXPECT_TRUE(writer.commit(++version));
    EXPECT_TRUE(writer.insert(1, json_text("here"), "guest") && writer.commit(++version));
  };
  come();
  ASSERT_TRUE(writer->quarantine("guest", "is altered") && writer.commit(++version));
  come();
  ASSERT_TRUE(writer->drop("guest") && writer.commit(++version));
  come();
  // The catalogue says by now that it is live.
  ASSERT_TRUE(writer->switch_to(writer->new_table(items_table("another"))) && writer.commit(++version));
  for (int restart = 0; restart < 3; ++restart) {
    ASSERT_TRUE(writer.open());
    ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
    ASSERT_NE(writer->live_table("guest"), nullptr);
    EXPECT_TRUE(writer.update(1, json_text("still here"), "guest") && writer.commit(++version));
    EXPECT_EQ(mirror_of(writer.options().ring).table("guest")->size(), 1u);
  }
}

// What compaction itself has packed is not packed any better by doing it again.
TEST(Compaction, ARingWithoutAByteToGainIsLeftAtRest) {
  for (const std::size_t size : {700, 1450, 2600, 5300, 7400}) {
    const RingDirectory directory;
    TestWriter writer(small_ring(directory));
    ASSERT_TRUE(writer.start());
    std::uint64_t version = 1;
    std::uint64_t rows = 0;
    for (; rows < 5000; ++rows) {
      ASSERT_TRUE(writer.insert(rows, filler(size)));
      if (!writer.commit_soon(version + 1)) break;
      ++version;
    }
    EXPECT_EQ(writer->room_state(), RoomState::kMaxSize) << size;
    EXPECT_NE(tend_until_idle(writer), -1) << "full of rows of " << size;
    EXPECT_EQ(writer.commit_soon(version + 1).has_value(), false);
    EXPECT_EQ(writer->room_state(), RoomState::kMaxSize) << "and stays so, of " << size;
    writer->rollback();
    // A third of the rows go: then there is something to gain, and an end to that as well.
    ASSERT_TRUE(writer->ring().set_limits(1280 * kKiB, 0));
    for (std::uint64_t id = 0; id < rows; id += 3) {
      ASSERT_TRUE(writer.erase(id));
      ASSERT_TRUE(writer.commit(++version));
    }
    ASSERT_TRUE(writer->ring().set_limits(1024 * kKiB, 0));
    EXPECT_NE(tend_until_idle(writer), -1) << "a third free, of " << size;
    for (std::uint64_t id = 0; id < rows / 2; id += 3) {
      ASSERT_TRUE(writer.insert(id, filler(size)));
      ASSERT_TRUE(writer.commit(++version)) << "of " << size;
    }
    EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(),
              rows - (rows + 2) / 3 + (rows / 2 + 2) / 3);
  }
}

TEST(Compaction, MemoryThatWasGivenBackIsNotCountedOnAfterARestart) {
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.max_bytes = 16 * 1024 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  constexpr std::uint64_t kRows = 6000;
  for (std::uint64_t id = 0; id < kRows; ++id) {
    ASSERT_TRUE(writer.insert(id, filler(940)));
    if (id % 100 == 99) {
      ASSERT_TRUE(writer.commit(++version));
    }
  }
  for (std::uint64_t id = 0; id < kRows; ++id) {
    if (id % 20 != 0) {
      ASSERT_TRUE(writer.erase(id));
    }
  }
  ASSERT_TRUE(writer.commit(++version));
  for (int i = 0; i < 10; ++i) ASSERT_NE(tend_until_idle(writer), -1);
  ASSERT_GT(writer->ring().usage().chunks_given_back, 10u);
  // More in use than when they were given back: they lie below what is kept for growth, and are still holes.
  const std::uint64_t chunks = writer->ring().usage().chunks;
  for (std::uint64_t id = 1; writer->ring().usage().chunks == chunks; ++id) {
    if (id % 20 == 0) continue;
    ASSERT_TRUE(writer.insert(id, filler(940)));
    ASSERT_TRUE(writer.commit(++version));
  }
  EXPECT_EQ(memory_of_chunks(directory.path()), writer->ring().usage().chunk_bytes);
  for (int restart = 0; restart < 3; ++restart) {
    ASSERT_TRUE(writer.open());
    ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
    EXPECT_EQ(memory_of_chunks(directory.path()), writer->ring().usage().chunk_bytes)
        << "what has no memory is not written to before it has some: a full filesystem would kill the writer";
  }
}

// Rows in all of the first chunk, up to its last bytes, two sevenths of them dead in every segment, and a limit that is
// nearly met: compaction has to begin, and to do so in a chunk that is not there yet.
void fill_first_chunk(TestWriter& writer, std::uint64_t& version, std::uint64_t rows) {
  const RingOptions& ring = writer.options().ring;
  const std::uint64_t end = ring.segment_bytes + ring.chunk_bytes;  // positions begin at a segment's size
  const auto left = [&] { return end - writer->ring().committed_position().value(); };
  for (std::uint64_t i = 0; left() > 3 * kKiB; ++i) {
    ASSERT_TRUE(i < rows ? writer.insert(i, filler(940)) : writer.update(i * 7 % rows, filler(940, 'b')));
    ASSERT_TRUE(writer.commit(++version));
  }
  ASSERT_EQ(writer->ring().usage().chunks, 1u);
  ASSERT_TRUE(writer->ring().set_limits(ring.chunk_bytes + 2 * ring.segment_bytes, 0));
}

TEST(Compaction, AStepDoesNotMakeAWholeChunk) {
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.chunk_bytes = 4096 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  constexpr std::uint64_t kRows = 3000;
  fill_first_chunk(writer, version, kRows);
  std::uint64_t memory = memory_of_chunks(directory.path());
  ASSERT_EQ(memory, options.ring.chunk_bytes);
  int slices = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Result<bool> more = writer->tend(static_cast<std::uint64_t>(i) + 1);
    ASSERT_TRUE(more) << why(more);
    if (!*more) break;
    const std::uint64_t now = memory_of_chunks(directory.path());
    EXPECT_LE(now, memory + 1024 * kKiB);
    if (now > memory) {
      ++slices;
      EXPECT_EQ(writer->ring().usage().segments_freed, 0u) << "there was no memory to begin with";
    }
    memory = now;
  }
  EXPECT_EQ(slices, 4);
  EXPECT_EQ(writer->ring().usage().chunks, 2u);
  EXPECT_GT(writer->ring().usage().segments_freed, 0u);
  // A transaction does not wait for slices: it makes what it needs.
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(writer.update(i % kRows, filler(940, 'c')));
    ASSERT_TRUE(writer.commit(++version));
  }
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), kRows);
}

// What a writer that died in the middle of a chunk has left of it is no chunk, neither to its successor nor on the disk.
TEST(Compaction, AChunkThatWasBeingMadeIsNotCountedOnAfterARestart) {
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.chunk_bytes = 4096 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  constexpr std::uint64_t kRows = 3000;
  fill_first_chunk(writer, version, kRows);
  const Result<bool> more = writer->tend(1);
  ASSERT_TRUE(more && *more);
  ASSERT_EQ(memory_of_chunks(directory.path()), options.ring.chunk_bytes + 1024 * kKiB) << "a slice of it";
  EXPECT_EQ(writer->ring().usage().chunks, 1u);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(memory_of_chunks(directory.path()), options.ring.chunk_bytes);
  // A jumbo record in the meantime finds the chunk that is being made, and finishes it.
  ASSERT_TRUE(writer->ring().set_limits(options.ring.chunk_bytes + 2 * options.ring.segment_bytes, 0));
  ASSERT_TRUE(writer->tend(2));
  ASSERT_EQ(memory_of_chunks(directory.path()), options.ring.chunk_bytes + 1024 * kKiB);
  ASSERT_TRUE(writer->ring().set_limits(options.ring.max_bytes, 0));
  ASSERT_TRUE(writer.insert(kRows, filler(100'000)));
  ASSERT_TRUE(writer.commit(++version));
  EXPECT_EQ(memory_of_chunks(directory.path()), writer->ring().usage().chunk_bytes);
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), kRows + 1);
}

// As if its filesystem were smaller than its limits: this ring's slot table has 260 entries, which four chunks of 64 leave
// and a fifth does not fit.
TEST(Compaction, AStoppedReaderDoesNotKeepWhatTheFilesystemLacks) {
  const RingDirectory directory;
  PublisherOptions options = small_ring(directory);
  options.ring.chunk_bytes = options.ring.max_bytes;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  constexpr std::uint64_t kRows = 500;
  for (std::uint64_t id = 0; id < kRows; ++id) {
    ASSERT_TRUE(writer.insert(id, filler(940)));
    ASSERT_TRUE(writer.commit(++version));
  }
  writer.options().ring.max_bytes = 260 * options.ring.segment_bytes;
  ASSERT_TRUE(writer.open());
  ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
  const auto stopped = join_ring(writer.options().ring);
  ASSERT_NE(stopped, nullptr);
  Mirror seen;
  ASSERT_EQ(seen.follow(*stopped), Step::kCaughtUp);
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  for (std::uint64_t i = 0; i < 20'000 && last; ++i) {
    ASSERT_TRUE(writer.update(i % kRows, filler(940, 'b')));
    last = writer.commit_soon(version + 1);
    if (last) ++version;
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(writer->room_state(), RoomState::kFilesystem);
  const std::uint64_t grace = writer.options().ring.reader_grace_ns;
  EXPECT_EQ(writer->ring().check_readers(1), 0u);
  EXPECT_EQ(writer->ring().check_readers(grace + 2), 1u);
  EXPECT_TRUE(stopped->is_evicted());
  EXPECT_EQ(writer->ring().usage().pending_bytes, 0u) << "taken before it was woken and can join again";
  EXPECT_TRUE(writer.commit(++version)) << "with the room that it held";
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), kRows);
}

// What a large transaction has left in use beyond the limit is worked off in many calls: while commit() runs, nobody looks
// after the readers.
TEST(Compaction, ALargeTransactionIsNotWorkedOffInOneGo) {
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.segment_bytes = 256 * kKiB;
  options.ring.chunk_bytes = 4096 * kKiB;
  options.ring.max_bytes = 128 * 1024 * kKiB;
  options.ring.reserve_bytes = 64 * 1024 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  std::uint64_t rows = 0;
  while (writer->ring().usage().live_bytes < 118 * 1024 * kKiB) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(writer.insert(rows++, filler(940)));
    ASSERT_TRUE(writer.commit(++version));
  }
  // A fourth of each segment dies: what is to be gained costs three times as much to carry.
  for (std::uint64_t id = 0; id < rows; id += 4) ASSERT_TRUE(writer.update(id, filler(940, 'b')));
  ASSERT_TRUE(writer.commit(++version));
  EXPECT_GT(writer->ring().usage().used_bytes, options.ring.max_bytes);
  EXPECT_NE(tend_until_idle(writer), -1);
  EXPECT_LT(writer->ring().usage().used_bytes, options.ring.max_bytes);
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), rows);
}

// Compaction that finds room for its own records does not hide that the transaction waits.
TEST(Compaction, AWaitForReadersIsTimedWhileCompactionGoesOn) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  constexpr std::uint64_t kRows = 700;
  for (std::uint64_t id = 0; id < kRows; ++id) {
    ASSERT_TRUE(writer.insert(id, filler(940)));
    ASSERT_TRUE(writer.commit(++version));
  }
  const auto crawling = join_ring(writer.options().ring);
  ASSERT_NE(crawling, nullptr);
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  std::mt19937_64 random(5);
  for (int i = 0; i < 20'000 && last; ++i) {
    ASSERT_TRUE(writer.update(random() % kRows, filler(940, 'b')));
    last = writer.commit_soon(version + 1);
    if (last) ++version;
  }
  ASSERT_FALSE(last);
  // More than a segment's worth, so that it does not fit behind what compaction appends meanwhile.
  for (std::uint64_t id = 0; id < 20; ++id) ASSERT_TRUE(writer.update(id, filler(940, 'c')));
  const std::uint64_t wait = writer.options().ring.reader_wait_ns;
  std::uint64_t now_ns = 1;
  std::size_t evicted = 0;
  for (; now_ns < 2 * wait && evicted == 0; now_ns += wait / 16) {
    EXPECT_FALSE(writer.try_commit(version + 1));
    crawling->count_progress();
    const Result<bool> tended = writer->tend(now_ns);
    ASSERT_TRUE(tended) << why(tended);
    evicted = writer->ring().check_readers(now_ns);
  }
  EXPECT_EQ(evicted, 1u);
  EXPECT_LE(now_ns, wait + wait / 4);
}

}  // namespace
}  // namespace ringside::shm
