// Room in the ring and in the buffer: records of any size, a ring that is full, transactions larger than memory.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

#include "shm/publisher.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

TEST(Publisher, RecordsBehindAJumboRecordAreFound) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  // More than a segment, and not a whole number of them: what follows stands in the segment's last slot.
  ASSERT_TRUE(writer.insert(1, filler(20000)));
  ASSERT_TRUE(writer.insert(2, json_text("behind")));
  ASSERT_TRUE(writer.commit(2));
  ASSERT_TRUE(writer.insert(3, json_text("later")));
  ASSERT_TRUE(writer.commit(3));
  const Mirror mirror = mirror_of(writer.options().ring);
  ASSERT_NE(mirror.table("items"), nullptr);
  EXPECT_EQ(*mirror.table("items"), (Mirror::Rows{{item_key(1), filler(20000)},
                                                  {item_key(2), json_text("behind")},
                                                  {item_key(3), json_text("later")}}));
  // The writer's index finds them as well, before and after a restart.
  ASSERT_TRUE(writer.update(2, json_text("changed")));
  ASSERT_TRUE(writer.commit(4));
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  ASSERT_TRUE(writer.update(2, json_text("changed again")));
  ASSERT_TRUE(writer.update(3, json_text("changed")));
  ASSERT_TRUE(writer.commit(5));
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->at(item_key(2)), json_text("changed again"));
}

TEST(Publisher, AJumboRecordThatFitsTheSlackOfTheOneBeforeLeavesTheNextItsOwnSegment) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  // Segments are 16,384 bytes. The first record leaves its third slot nearly empty; the second is just too
  // large for an empty segment (checkpoint and end take 128 bytes) and fits there; the third needs three slots.
  const auto bytes_for = [](std::size_t record) { return record - kRecordHeaderBytes - 8 - 4 - 3; };
  ASSERT_TRUE(writer.insert(1, filler(bytes_for(2 * 16384 - 120))));
  ASSERT_TRUE(writer.insert(2, filler(bytes_for(16384 - 104))));
  ASSERT_TRUE(writer.insert(3, filler(bytes_for(3 * 16384 - 512))));
  ASSERT_TRUE(writer.commit(2));
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), 3u);
}

TEST(Publisher, AFullRingChangesNothingAndGoesOnOnceItHasMoreRoom) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().ring.max_bytes = 256 * 1024;
  writer.options().ring.reserve_bytes = 0;
  ASSERT_TRUE(writer.start());
  const auto reader = join_ring(writer.options().ring);
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  std::uint64_t version = 1;
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  while (version < 1000 && last) {
    ASSERT_TRUE(writer.insert(version, filler(1000)));
    last = writer.try_commit(++version);
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().kind, ErrorKind::kLimit);
  EXPECT_NE(last.error().message.find("ring.max_size"), std::string::npos);
  const Position committed = writer->ring().committed_position();
  const std::uint64_t used = writer->ring().usage().used_bytes;
  EXPECT_LE(used, writer.options().ring.max_bytes);
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_EQ(writer.try_commit(version).error().kind, ErrorKind::kLimit);
    EXPECT_EQ(writer->ring().committed_position(), committed);
    EXPECT_EQ(writer->ring().usage().used_bytes, used);
  }
  EXPECT_EQ(writer->last_commit().version, Version(version - 1));
  writer->ring().set_capture_state(CaptureState::kFull);
  EXPECT_EQ(reader->source().capture, CaptureState::kFull);
  EXPECT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), version - 2);

  writer.options().ring.max_bytes *= 2;
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(writer->last_commit().version, Version(version - 1));
  ASSERT_TRUE(writer.insert(version - 1, filler(1000)));
  ASSERT_TRUE(writer.commit(version));
  EXPECT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), version - 1);
}

TEST(Publisher, ALoadRowThatTheRingHasNoRoomForMayBeOfferedAgain) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().ring.max_bytes = 512 * 1024;
  writer.options().ring.reserve_bytes = 0;
  ASSERT_TRUE(writer.start());
  const TableId id = writer->new_table(items_table("loaded"));
  RowBuilder row;
  std::uint64_t key = 0;
  Result<void> loaded;
  while (key < 10000 && (loaded = writer->load_row(id, Version(1), build_item(row, key, filler(1000)))))
    ++key;
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::kLimit);
  const auto again = writer->load_row(id, Version(1), build_item(row, key, filler(1000)));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kLimit);
  EXPECT_EQ(writer->end_load().error().kind, ErrorKind::kLimit);
  // The load is taken back, and what is live goes on.
  ASSERT_TRUE(writer->abandon(id));
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
}

TEST(Publisher, WhatFitsBehindTheTailIsWelcomeAlsoBeyondTheSteadyState) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().ring.max_bytes = 128 * 1024;
  writer.options().ring.reserve_bytes = 1024 * 1024;
  ASSERT_TRUE(writer.start());
  for (std::uint64_t id = 0; id < 400; ++id) ASSERT_TRUE(writer.insert(id, filler(1000)));
  ASSERT_TRUE(writer.commit(2)) << "a large transaction may use the reserve";
  EXPECT_GT(writer->ring().usage().used_bytes, writer.options().ring.max_bytes);
  std::uint64_t version = 2;
  Result<Publisher::Quarantined> last = Publisher::Quarantined();
  while (version < 1000 && last) {
    ASSERT_TRUE(writer.insert(1000 + version, json_text("small")));
    last = writer.commit_soon(++version);
  }
  EXPECT_GT(version, 3u) << "the first small one fits the tail's segment";
  ASSERT_FALSE(last) << "a small one may not open a segment in the reserve";
  EXPECT_EQ(last.error().kind, ErrorKind::kLimit);
}

TEST(Publisher, ARowLargerThanARecordMayBeIsRefusedAndNotTaken) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().ring.max_record_bytes = 40000;
  ASSERT_TRUE(writer.start());
  RowBuilder row;
  const auto refused = writer->insert(*writer->live_table("items"), build_item(row, 1, filler(50000)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  EXPECT_FALSE(writer->has_changes());
}

TEST(Publisher, AVersionDoesNotGoBackAndAGtidLeavesRoomForRows) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.commit(5));
  EXPECT_EQ(writer.try_commit(4).error().kind, ErrorKind::kInvalid);
  const std::string endless(writer.options().ring.segment_bytes, '1');
  EXPECT_EQ(writer->commit(Version(6), Commit{0, 0, 0, endless}).error().kind, ErrorKind::kInvalid);
  const std::string longest(writer->ring().segment_capacity() / 4, '1');
  ASSERT_TRUE(writer->commit(Version(6), Commit{0, 0, 0, longest}));
  for (std::uint64_t id = 0; id < 100; ++id) ASSERT_TRUE(writer.insert(id, filler(1000)));
  ASSERT_TRUE(writer.commit(7));
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), 100u);
}

// make_room's promise is that append never runs out, in whatever order records of whatever sizes come: it
// would stop by an assertion.
TEST(Publisher, RoomMadeIsRoomEnoughForRecordsOfAnySize) {
  for (std::uint32_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const RingDirectory directory;
    TestWriter writer(directory.options());
    writer.options().ring.segment_bytes = seed % 2 == 0 ? 4096 : 16384;
    writer.options().ring.chunk_bytes = 2 * writer.options().ring.segment_bytes;
    writer.options().ring.max_bytes = std::uint64_t{1} << 30;
    ASSERT_TRUE(writer.start());
    const std::uint64_t segment = writer.options().ring.segment_bytes;
    std::uint64_t key = 0;
    for (std::uint64_t version = 2; version < 40; ++version) {
      const std::uint64_t style = random() % 4;  // small, around a segment, around two, all
      for (std::uint64_t rows = random() % 20; rows-- > 0;) {
        const std::uint64_t size = style == 0   ? random() % 300
                                   : style == 1 ? segment - 400 + random() % 400
                                   : style == 2 ? 2 * segment - 300 + random() % 300
                                                : random() % (3 * segment);
        ASSERT_TRUE(writer.insert(++key, filler(size)));
      }
      ASSERT_TRUE(writer.commit(version));
    }
    EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), key);
  }
}

TEST(Publisher, ATransactionLargerThanItsBufferIsPublishedWhole) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().transaction_buffer_bytes = 4096;
  ASSERT_TRUE(writer.start());
  for (std::uint64_t id = 0; id < 3000; ++id) ASSERT_TRUE(writer.insert(id, filler(id % 700)));
  // Larger than the block in which the file is read.
  ASSERT_TRUE(writer.insert(5000, filler(3 << 20)));
  ASSERT_TRUE(writer.erase(7));
  ASSERT_TRUE(writer.commit(2));
  EXPECT_GT(writer->spilled_bytes(), 3u << 20);
  const Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_EQ(mirror.table("items")->size(), 3000u);
  EXPECT_EQ(mirror.table("items")->at(item_key(5000)).size(), (3u << 20) + 2);
  EXPECT_FALSE(mirror.table("items")->contains(item_key(7)));
}

}  // namespace
}  // namespace ringside::shm
