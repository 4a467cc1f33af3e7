// The ring at bounded memory: dead rows make room, deleted rows stay deleted, memory is given back, and what does not fit
// waits and goes on.
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "shm/publisher.h"
#include "tests/shm/small_ring.h"

namespace ringside::shm {
namespace {

// Fills `items` with rows of about 1,000 bytes from id 0 on; how many rows.
std::uint64_t fill(TestWriter& writer, std::uint64_t& version, std::uint64_t live_bytes) {
  std::uint64_t rows = 0;
  while (writer->ring().usage().live_bytes < live_bytes) {
    EXPECT_TRUE(writer.insert(rows++, filler(940)));
    EXPECT_TRUE(writer.commit(++version));
  }
  return rows;
}

TEST(Compaction, UpdatesGoOnForEverInARingEightyPercentLive) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 820 * kKiB);
  const auto reader = join_ring(writer.options().ring);
  ASSERT_NE(reader, nullptr);
  Mirror follower;
  std::mt19937_64 random(7);
  std::map<std::string, std::string> model = *mirror_of(writer.options().ring).table("items");
  for (int i = 0; i < 20'000; ++i) {  // twenty times the ring
    const std::uint64_t id = random() % rows;
    const std::string json = filler(940, static_cast<char>('a' + random() % 26));
    ASSERT_TRUE(writer.update(id, json));
    ASSERT_TRUE(writer.commit(++version)) << i;
    model[item_key(id)] = json;
    ASSERT_EQ(follower.follow(*reader), Step::kCaughtUp);
    ASSERT_LE(writer->ring().usage().used_bytes, writer.options().ring.max_bytes);
  }
  EXPECT_EQ(*follower.table("items"), model);
  EXPECT_EQ(*mirror_of(writer.options().ring).table("items"), model) << "to one that joins now";
  EXPECT_GT(writer->ring().usage().segments_freed, 1000u);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(*mirror_of(writer.options().ring).table("items"), model) << "after a restart of the writer";
}

TEST(Compaction, LiveBytesAreThoseThatTheLogTells) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 500 * kKiB);
  std::mt19937_64 random(11);
  std::vector<bool> there(rows, true);
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t id = random() % rows;
      if (!there[id]) {
        ASSERT_TRUE(writer.insert(id, filler(random() % 1000)));
      } else if (random() % 3 == 0) {
        ASSERT_TRUE(writer.erase(id));
      } else {
        ASSERT_TRUE(writer.update(id, filler(random() % 1000)));
        there[id] = false;  // flipped back below
      }
      there[id] = !there[id];
      ASSERT_TRUE(writer.commit(++version));
    }
    const TableUsage usage = writer->usage().front();
    const std::uint64_t live = writer->ring().usage().live_bytes;
    const bool is_at_rest = writer->ring().usage().pending_bytes == 0 && !writer->ring().has_victim();
    EXPECT_GE(live, usage.bytes);
    ASSERT_TRUE(writer.open());
    EXPECT_EQ(writer->usage().front().bytes, usage.bytes);
    EXPECT_EQ(writer->usage().front().rows, usage.rows);
    // What a victim's dead copies allowed to forget is remembered again while the victim is still there.
    if (is_at_rest) {
      EXPECT_EQ(writer->ring().usage().live_bytes, live);
    } else {
      EXPECT_GE(writer->ring().usage().live_bytes, live);
    }
  }
}

// Fresh keys inserted and deleted, a hundred times the ring's size, over a base that nobody touches.
TEST(Compaction, AQueueOverAColdBaseNeitherFillsTheRingNorRaisesTheDead) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t base = fill(writer, version, 512 * kKiB);
  constexpr std::uint64_t kLength = 40;  // of the queue
  std::uint64_t next = 1'000'000;
  std::uint64_t oldest = next;
  const std::uint64_t volume = 100 * writer.options().ring.max_bytes;
  int rounds = 0;
  for (std::uint64_t captured = 0; captured < volume; captured += std::uint64_t{8} * 900) {
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(writer.insert(next++, filler(900)));
    while (next - oldest > kLength) ASSERT_TRUE(writer.erase(oldest++));
    ASSERT_TRUE(writer.commit(++version));
    ASSERT_LE(writer->ring().usage().used_bytes, writer.options().ring.max_bytes);
    if (++rounds % 500 != 0) continue;
    const Mirror joined = mirror_of(writer.options().ring);
    ASSERT_EQ(joined.table("items")->size(), base + kLength);
    if (rounds % 2000 == 0) {
      ASSERT_TRUE(writer.open());
    }
  }
  // Neither have its tombstones piled up.
  EXPECT_LT(writer->ring().usage().live_bytes, 700 * kKiB);
  const Mirror joined = mirror_of(writer.options().ring);
  EXPECT_EQ(joined.table("items")->size(), base + kLength);
  EXPECT_TRUE(joined.table("items")->contains(item_key(oldest)));
  EXPECT_FALSE(joined.table("items")->contains(item_key(oldest - 1)));
}

TEST(Compaction, ATombstoneIsCarriedAsLongAsADeadCopyIsThere) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  // A row that dies in a segment full of live rows, its tombstone in one where everything else dies.
  ASSERT_TRUE(writer.insert(9'999'999, filler(100)));
  const std::uint64_t rows = fill(writer, version, 400 * kKiB);
  ASSERT_TRUE(writer.erase(9'999'999));
  ASSERT_TRUE(writer.commit(++version));
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    // The first segment's rows stay untouched.
    ASSERT_TRUE(writer.update(20 + random() % (rows - 20), filler(940)));
    ASSERT_TRUE(writer.commit(++version));
    if (i % 100 != 0) continue;
    ASSERT_FALSE(mirror_of(writer.options().ring).table("items")->contains(item_key(9'999'999))) << i;
  }
  EXPECT_GT(writer->compaction().tombstones_carried, 0u);
  ASSERT_TRUE(writer.open());
  ASSERT_TRUE(writer.insert(9'999'999, filler(100))) << "the key may be used again";
  ASSERT_TRUE(writer.commit(++version));
  EXPECT_TRUE(mirror_of(writer.options().ring).table("items")->contains(item_key(9'999'999)));
}

TEST(Compaction, WhatIsSaidOfTablesIsCarriedForward) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  for (const char* name : {"dropped", "refused", "kept"}) {
    const TableId id = writer->new_table(items_table(name));
    ASSERT_TRUE(writer->switch_to(id));
    ASSERT_TRUE(writer.commit(++version));
    ASSERT_TRUE(writer.insert(1, json_text(name), name));
    ASSERT_TRUE(writer.commit(++version));
  }
  ASSERT_TRUE(writer->drop("dropped"));
  ASSERT_TRUE(writer->quarantine("refused", "a reason"));
  ASSERT_TRUE(writer.commit(++version));
  const std::uint64_t rows = fill(writer, version, 300 * kKiB);
  for (int i = 0; i < 4000; ++i) {
    ASSERT_TRUE(writer.update(static_cast<std::uint64_t>(i) % rows, filler(940)));
    ASSERT_TRUE(writer.commit(++version));
  }
  for (int restarts = 0; restarts < 2; ++restarts) {
    const Mirror joined = mirror_of(writer.options().ring);
    ASSERT_NE(joined.table("kept"), nullptr);
    EXPECT_EQ(*joined.table("kept"), (Mirror::Rows{{item_key(1), json_text("kept")}}));
    EXPECT_EQ(joined.table("dropped"), nullptr);
    EXPECT_EQ(joined.table("refused"), nullptr);
    EXPECT_EQ(joined.quarantined.at("refused"), "a reason");
    EXPECT_EQ(joined.table("items")->size(), rows);
    EXPECT_EQ(writer->live_table("dropped"), nullptr);
    EXPECT_NE(writer->live_table("kept"), nullptr);
    ASSERT_NE(writer->quarantine_reason("refused"), nullptr);
    EXPECT_EQ(*writer->quarantine_reason("refused"), "a reason");
    ASSERT_TRUE(writer.open());
    ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
  }
}

TEST(Compaction, AResyncsOldIncarnationGivesItsRoomBack) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  RowBuilder row;
  for (int round = 0; round < 40; ++round) {  // each load is two fifths of the ring
    const TableId id = writer->new_table(items_table());
    for (std::uint64_t key = 0; key < 400; ++key) {
      const auto loaded = writer->load_row(id, Version(version), build_item(row, key, filler(940)));
      ASSERT_TRUE(loaded) << why(loaded);
    }
    Result<void> ended = writer->end_load();
    for (int i = 0; i < 10'000 && !ended && writer->room_state() == RoomState::kSoon; ++i)
      ended = writer->end_load();
    ASSERT_TRUE(ended) << why(ended);
    ASSERT_TRUE(writer->switch_to(id));
    ASSERT_TRUE(writer.commit(++version));
  }
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), 400u);
}

TEST(Compaction, MemoryIsGivenBackWhenTheDatabaseShrinks) {
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.max_bytes = 16 * 1024 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  EXPECT_LE(writer->ring().usage().chunk_bytes, options.ring.chunk_bytes) << "before the first row";
  const auto reader = join_ring(writer.options().ring);
  Mirror follower;
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 12 * 1024 * kKiB);
  const std::uint64_t most = writer->ring().usage().chunk_bytes;
  EXPECT_GT(most, 12 * 1024 * kKiB);
  for (std::uint64_t id = 0; id < rows; ++id) {
    if (id % 20 != 0) {
      ASSERT_TRUE(writer.erase(id));
    }
  }
  ASSERT_TRUE(writer.commit(++version));
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(follower.follow(*reader), Step::kCaughtUp);
    ASSERT_NE(tend_until_idle(writer, monotonic_ns()), -1);
  }
  const RingUsage usage = writer->ring().usage();
  EXPECT_LT(usage.chunk_bytes, most / 4) << usage.used_bytes << " used, " << usage.live_bytes << " live";
  EXPECT_GT(usage.chunks_given_back, 0u);
  // The filesystem has it back, though readers still map all of it.
  EXPECT_EQ(memory_of_chunks(directory.path()), usage.chunk_bytes);
  EXPECT_EQ(follower.table("items")->size(), (rows + 19) / 20);
  // And it grows again.
  for (std::uint64_t id = 0; id < rows; ++id) {
    if (id % 20 != 0) {
      ASSERT_TRUE(writer.insert(id, filler(940)));
    }
    if (id % 500 == 0) {
      ASSERT_TRUE(writer.commit(++version));
    }
  }
  ASSERT_TRUE(writer.commit(++version));
  ASSERT_EQ(follower.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(follower.table("items")->size(), rows);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), rows);
}

TEST(Compaction, OneUpdateOfEveryRowPassesByTheReserve) {
  const RingDirectory directory;
  PublisherOptions options = small_ring(directory);
  options.ring.reserve_bytes = options.ring.max_bytes;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 820 * kKiB);
  for (int round = 0; round < 5; ++round) {
    const std::string json = filler(940, static_cast<char>('a' + round));
    for (std::uint64_t id = 0; id < rows; ++id) ASSERT_TRUE(writer.update(id, json));
    ASSERT_TRUE(writer.commit(++version));
    EXPECT_EQ(mirror_of(options.ring).table("items")->at(item_key(rows / 2)), json);
    ASSERT_NE(tend_until_idle(writer, monotonic_ns()), -1);
    EXPECT_LE(writer->ring().usage().used_bytes, options.ring.max_bytes) << "the reserve is given back";
    EXPECT_LE(writer->ring().usage().chunk_bytes, options.ring.max_bytes + 5 * options.ring.chunk_bytes);
  }
}

TEST(Compaction, ATransactionBeyondTheReserveIsNamedAsOne) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 820 * kKiB);
  for (std::uint64_t id = 0; id < rows; ++id) ASSERT_TRUE(writer.update(id, filler(940, 'y')));
  const auto refused = writer.commit_soon(++version);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kLimit);
  EXPECT_NE(refused.error().message.find("ring.transaction_reserve"), std::string::npos);
  EXPECT_EQ(writer->room_state(), RoomState::kReserve);
  // Nothing was lost or half done: with more room it goes on.
  ASSERT_TRUE(writer->ring().set_limits(4096 * kKiB, 0));
  ASSERT_TRUE(writer.commit(version));
  EXPECT_EQ(writer->room_state(), RoomState::kFree);
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->at(item_key(3)), filler(940, 'y'));
}

TEST(Compaction, ARingFullOfLiveRowsGoesOnOnceItsLimitIsRaised) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  std::uint64_t rows = 0;
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  while (rows < 2000) {
    ASSERT_TRUE(writer.insert(rows, filler(940)));
    last = writer.commit_soon(version + 1);
    if (!last) break;
    ++version;
    ++rows;
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(writer->room_state(), RoomState::kMaxSize);
  EXPECT_GT(writer->ring().usage().live_bytes, 900 * kKiB) << "nearly all of it is live";
  EXPECT_FALSE(writer.try_commit(version + 1)) << "and stays so";
  const auto beyond = writer->ring().set_limits(std::uint64_t{1} << 40, 0);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().kind, ErrorKind::kInvalid);
  ASSERT_TRUE(writer->ring().set_limits(2048 * kKiB, 0));
  ASSERT_TRUE(writer.commit(++version));
  EXPECT_EQ(writer->room_state(), RoomState::kFree);
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), rows + 1);
}

TEST(Compaction, DeletionsBehindWhatDidNotFitAreReachedByTheReserve) {
  const RingDirectory directory;
  PublisherOptions options = small_ring(directory);
  options.ring.reserve_bytes = options.ring.max_bytes;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  std::uint64_t rows = 0;
  while (rows < 2000) {
    ASSERT_TRUE(writer.insert(rows, filler(940)));
    if (!writer.commit_soon(version + 1)) break;
    ++version;
    ++rows;
  }
  ASSERT_EQ(writer->room_state(), RoomState::kMaxSize);
  // The stream goes on with what did not fit, then more, then the deletions. The clock is the test's.
  std::uint64_t now_ns = 1;
  const auto commit = [&] {
    for (int i = 0; i < 100; ++i) {
      if (writer.try_commit(version + 1)) {
        ++version;
        return true;
      }
      now_ns += 300'000'000;
      const auto tended = writer->tend(now_ns);
      EXPECT_TRUE(tended) << why(tended);
    }
    return false;
  };
  const std::uint64_t waited_from = now_ns;
  ASSERT_TRUE(commit());
  ++rows;
  EXPECT_GT(now_ns - waited_from, 900'000'000u) << "it paused first";
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(writer.insert(rows++, filler(940)));
    ASSERT_TRUE(commit());
  }
  for (std::uint64_t id = 0; id < rows / 2; ++id) {
    ASSERT_TRUE(writer.erase(id));
    ASSERT_TRUE(commit());
  }
  ASSERT_NE(tend_until_idle(writer, monotonic_ns()), -1);
  EXPECT_LE(writer->ring().usage().used_bytes, options.ring.max_bytes);
  ASSERT_TRUE(writer.insert(rows, filler(940)));
  ASSERT_TRUE(writer.commit(++version)) << "without any pause";
  EXPECT_EQ(mirror_of(options.ring).table("items")->size(), rows - rows / 2 + 1);
}

// There is some room, and one eighth of the reserve more would not be enough either.
TEST(Compaction, TheReserveIsOpenedEighthByEighthUntilTheTransactionFits) {
  const RingDirectory directory;
  PublisherOptions options = small_ring(directory);
  options.ring.reserve_bytes = options.ring.max_bytes;
  options.ring.chunk_bytes = 512 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  std::uint64_t rows = fill(writer, version, 900 * kKiB);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(writer.insert(rows++, filler(940)));
  ASSERT_FALSE(writer.commit_soon(version + 1));
  ASSERT_EQ(writer->room_state(), RoomState::kMaxSize);
  ASSERT_GE(writer->ring().available_slots(), 4);
  std::uint64_t now_ns = 1;
  bool fits = false;
  for (int i = 0; i < 50 && !fits; ++i) {
    now_ns += 200'000'000;
    const auto tended = writer->tend(now_ns);
    ASSERT_TRUE(tended) << why(tended);
    fits = writer.try_commit(version + 1).has_value();
  }
  EXPECT_TRUE(fits);
}

TEST(Compaction, AStoppedReaderIsWaitedForNoLongerThanItsGrace) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 700 * kKiB);
  const auto stopped = join_ring(writer.options().ring);
  Mirror seen;
  ASSERT_EQ(seen.follow(*stopped), Step::kCaughtUp);
  std::mt19937_64 random(5);
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  for (int i = 0; i < 5000 && last; ++i) {
    ASSERT_TRUE(writer.update(random() % rows, filler(940, 'b')));
    last = writer.commit_soon(version + 1);
    if (last) ++version;
  }
  ASSERT_FALSE(last) << "its old rows are all still there";
  EXPECT_EQ(writer->room_state(), RoomState::kReaders);
  const std::uint64_t grace = writer.options().ring.reader_grace_ns;
  EXPECT_EQ(writer->ring().check_readers(1), 0u);
  EXPECT_EQ(writer->ring().check_readers(grace), 0u);
  EXPECT_FALSE(stopped->is_evicted());
  EXPECT_EQ(writer->ring().check_readers(2 * grace + 2), 1u);
  EXPECT_TRUE(stopped->is_evicted());
  ASSERT_TRUE(writer.commit(++version));
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(writer.update(random() % rows, filler(940, 'c')));
    ASSERT_TRUE(writer.commit(++version));
  }
  // It wakes: what it reads is nothing but the end.
  Record record;
  Step step;
  while ((step = stopped->next(record)) == Step::kRecord) {
  }
  EXPECT_EQ(step, Step::kEvicted);
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), rows);
}

TEST(Compaction, AReaderThatCrawlsIsWaitedForNoLongerThanItsLimit) {
  const RingDirectory directory;
  TestWriter writer(small_ring(directory));
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const std::uint64_t rows = fill(writer, version, 700 * kKiB);
  const auto joiner = join_ring(writer.options().ring);
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  for (std::uint64_t i = 0; i < 5000 && last; ++i) {
    ASSERT_TRUE(writer.update(i % rows, filler(940, 'b')));
    last = writer.commit_soon(version + 1);
    if (last) ++version;
  }
  ASSERT_FALSE(last);
  const std::uint64_t wait = writer.options().ring.reader_wait_ns;
  std::uint64_t now_ns = 1;
  for (; now_ns < wait; now_ns += 1'000'000'000) {
    joiner->count_progress();
    ASSERT_EQ(writer->ring().check_readers(now_ns), 0u) << "it gets on";
  }
  joiner->count_progress();
  writer->ring().check_readers(now_ns + 2'000'000'000);
  EXPECT_TRUE(joiner->is_evicted());
  ASSERT_TRUE(writer.commit(++version));
}

TEST(Compaction, JumboRowsAreUpdatedForEver) {
  const RingDirectory directory;
  PublisherOptions options = small_ring(directory);
  options.ring.max_bytes = 2048 * kKiB;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  std::mt19937_64 random(9);
  std::map<std::string, std::string> model;
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t id = random() % 8;
    const std::string json = filler(random() % 4 == 0 ? random() % 500 : 16'000 + random() % 80'000,
                                    static_cast<char>('a' + random() % 26));
    if (model.contains(item_key(id))) {
      ASSERT_TRUE(writer.update(id, json));
    } else {
      ASSERT_TRUE(writer.insert(id, json));
    }
    model[item_key(id)] = json;
    ASSERT_TRUE(writer.commit(++version)) << i;
    if (i % 500 == 250) {
      ASSERT_TRUE(writer.open());
    }
  }
  EXPECT_EQ(*mirror_of(options.ring).table("items"), model);
}

}  // namespace
}  // namespace ringside::shm
