#include "shm/publisher.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "base/crc32c.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

std::string filler(std::size_t size, char c = 'x') {
  return json_text(std::string(size, c));
}

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

TEST(Publisher, AReasonOfAnyBytesLeavesTheCatalogueReadable) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  // 4,096 bytes would cut the last character in two; and \xff occurs in no UTF-8 text.
  ASSERT_TRUE(writer->quarantine("items", "\xff" + std::string(4094, 'r') + "\xc3\xa9"));
  ASSERT_TRUE(writer.try_commit(2));
  writer->new_table(items_table("others"));
  ASSERT_TRUE(writer.try_commit(3));
  const auto catalogue = writer->ring().read_catalogue();
  ASSERT_TRUE(catalogue) << why(catalogue);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  ASSERT_NE(writer->quarantine_reason("items"), nullptr);
  EXPECT_TRUE(writer->quarantine_reason("items")->starts_with("\xef\xbf\xbdrrr"));
}

TEST(Publisher, AnEpochThatIsReplacedAtRestartTellsItsReaders) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const auto reader = join_ring(writer.options().ring);
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(reader->prepare_sleep());

  writer.options().ring.segment_bytes *= 2;  // cannot be continued
  ASSERT_TRUE(writer.open());
  EXPECT_TRUE(writer->is_fresh());
  EXPECT_FALSE(reader->is_superseded()) << "the old epoch serves until the new one is in force";
  writer->new_table(items_table());
  ASSERT_TRUE(writer.try_commit(1));
  ASSERT_TRUE(writer.activate());
  EXPECT_TRUE(reader->is_superseded());
  char byte = 0;
  EXPECT_EQ(::read(reader->wake_fd(), &byte, 1), 1);
}

TEST(Publisher, EpochsThatWereNeverPutInForceAreRemovedByTheNextAttempt) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  const RingPath path(writer.options().ring.directory, writer.options().ring.name);
  for (int attempt = 0; attempt < 3; ++attempt) {
    ASSERT_TRUE(writer.open());
    const auto epochs = list_epochs(path);
    ASSERT_TRUE(epochs) << why(epochs);
    EXPECT_EQ(epochs->size(), 1u);
  }
}

TEST(Publisher, ChunksLeftBehindByAWriterThatDiedWhileMakingThemDoNotStopTheNext) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const RingPath path(writer.options().ring.directory, writer.options().ring.name);
  const std::string next = chunk_path(path.epoch(*current_epoch(path)), 4);
  ASSERT_FALSE(std::filesystem::exists(next));
  { const std::ofstream made(next); }  // created, not yet allocated
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  for (std::uint64_t id = 0; id < 100; ++id) ASSERT_TRUE(writer.insert(id, filler(1000)));
  ASSERT_TRUE(writer.commit(2));
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->size(), 100u);
}

// The slot table's entry of a segment in use is spoilt: neither reader nor writer may pass over its rows.
TEST(Publisher, ASlotThatContradictsItselfIsNotPassedOver) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  for (std::uint64_t id = 0; id < 100; ++id) ASSERT_TRUE(writer.insert(id, filler(1000)));
  ASSERT_TRUE(writer.commit(2));
  const RingPath path(writer.options().ring.directory, writer.options().ring.name);
  const std::string header = header_path(path.epoch(*current_epoch(path)));
  writer.close();
  auto file = MappedFile::map(header, Access::kReadWrite, kHeaderBytes + 4096);
  ASSERT_TRUE(file) << why(file);
  auto* slots = reinterpret_cast<SlotEntry*>(static_cast<std::byte*>(file->data()) + kHeaderBytes);
  ASSERT_EQ(slots[4].generation, 1u);
  slots[4].check ^= 1;
  auto reader = RingReader::attach(writer.options().ring.directory, writer.options().ring.name);
  ASSERT_TRUE(reader) << why(reader);
  EXPECT_FALSE((*reader)->join());
  ASSERT_TRUE(writer.open());
  EXPECT_TRUE(writer->is_fresh());
}

// --- limits

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
    ASSERT_TRUE(writer.update(1, json_text("small")));
    last = writer.try_commit(++version);
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

// --- contradictions, loads, names

TEST(Publisher, AContradictionQuarantinesItsTableInTheTransactionThatShowsIt) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const TableId other = writer->new_table(items_table("other"));
  ASSERT_TRUE(writer->switch_to(other));
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));

  ASSERT_TRUE(writer.insert(1, json_text("one more")));  // is there already
  ASSERT_TRUE(writer.insert(2, json_text("left out")));
  ASSERT_TRUE(writer.insert(9, json_text("nine"), "other"));
  const auto refused = writer.try_commit(3);
  ASSERT_TRUE(refused) << why(refused);
  ASSERT_EQ(refused->size(), 1u);
  EXPECT_EQ(refused->front().first, "items");
  EXPECT_EQ(writer->live_table("items"), nullptr);
  ASSERT_NE(writer->quarantine_reason("items"), nullptr);
  EXPECT_EQ(*writer->quarantine_reason("items"), refused->front().second);
  Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_EQ(mirror.table("items"), nullptr);
  EXPECT_EQ(mirror.quarantined.at("items"), refused->front().second);
  EXPECT_EQ(mirror.table("other")->size(), 1u);
  EXPECT_EQ(mirror.version, Version(3));

  ASSERT_TRUE(writer.update(8, json_text("was never here"), "other"));
  ASSERT_EQ(writer.try_commit(4)->size(), 1u);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_NE(writer->quarantine_reason("items"), nullptr);
  EXPECT_NE(writer->quarantine_reason("other"), nullptr);
  EXPECT_TRUE(writer->usage().empty());
}

TEST(Publisher, NothingIsAddedToAnIncarnationThatTheSameTransactionEnded) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
  const Table before = *writer->live_table("items");
  ASSERT_TRUE(writer->quarantine("items", "reason one"));
  RowBuilder row;
  ASSERT_TRUE(writer->update(before, item_key(1), build_item(row, 1, json_text("late"))));
  const auto refused = writer.try_commit(3);
  ASSERT_TRUE(refused) << why(refused);
  EXPECT_TRUE(refused->empty());
  EXPECT_EQ(*writer->quarantine_reason("items"), "reason one");
  EXPECT_EQ(mirror_of(writer.options().ring).quarantined.at("items"), "reason one");
}

TEST(Publisher, AReloadSwitchesTheNameAtOneVersion) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  for (std::uint64_t id = 0; id < 10; ++id) ASSERT_TRUE(writer.insert(id, json_text("old")));
  ASSERT_TRUE(writer.commit(2));
  const auto reader = join_ring(writer.options().ring);
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  const TableId second = writer->new_table(items_table());
  RowBuilder row;
  for (std::uint64_t id = 100; id < 4000; ++id) {  // several batches
    const auto loaded = writer->load_row(second, Version(2), build_item(row, id, filler(500)));
    ASSERT_TRUE(loaded) << why(loaded);
  }
  ASSERT_TRUE(writer->end_load());
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), 10u) << "a load batch makes nothing visible";
  EXPECT_EQ(mirror.incarnation(second).size(), 3900u);
  EXPECT_EQ(mirror.version, Version(2));
  ASSERT_TRUE(writer.update(3, json_text("changed meanwhile")));
  ASSERT_TRUE(writer.commit(3));
  ASSERT_TRUE(writer->switch_to(second));
  ASSERT_TRUE(writer.commit(4));
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), 3900u);
  EXPECT_EQ(writer->live_table("items")->id, second);
  ASSERT_EQ(writer->usage().size(), 1u);
  EXPECT_EQ(writer->usage()[0].rows, 3900u);
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->usage().at(0).rows, 3900u);
  EXPECT_EQ(writer->catalogue().tables.size(), 1u);
}

TEST(Publisher, ALoadThatSeesAKeyTwiceIsAbandoned) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const TableId second = writer->new_table(items_table("second"));
  RowBuilder row;
  ASSERT_TRUE(writer->load_row(second, Version(1), build_item(row, 1, json_text("a"))));
  ASSERT_TRUE(writer->load_row(second, Version(1), build_item(row, 1, json_text("b"))));
  EXPECT_EQ(writer->end_load().error().kind, ErrorKind::kCorrupt);
  ASSERT_TRUE(writer->abandon(second));
  EXPECT_EQ(writer->catalogue().find("second"), nullptr);
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
}

TEST(Publisher, UnfinishedLoadsAreForgottenAtRestartAndTheirIdsNotUsedAgain) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
  ASSERT_TRUE(writer->quarantine("items", "to be loaded again"));
  ASSERT_TRUE(writer.try_commit(3));
  RowBuilder row;
  const TableId again = writer->new_table(items_table());
  ASSERT_TRUE(writer->load_row(again, Version(3), build_item(row, 1, json_text("a"))));
  const TableId fresh = writer->new_table(items_table("fresh"));
  ASSERT_TRUE(writer->load_row(fresh, Version(3), build_item(row, 1, json_text("a"))));
  ASSERT_TRUE(writer->end_load());
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->catalogue().find(again), nullptr);
  EXPECT_EQ(writer->catalogue().find(fresh), nullptr);
  ASSERT_EQ(writer->catalogue().tables.size(), 1u) << "the quarantined one, for its columns";
  EXPECT_EQ(writer->catalogue().tables[0].reason, "to be loaded again");
  const TableId next = writer->new_table(items_table());
  EXPECT_GT(next, fresh);
  ASSERT_TRUE(writer->switch_to(next));
  ASSERT_TRUE(writer.commit(4));
  EXPECT_EQ(writer->quarantine_reason("items"), nullptr);
  EXPECT_EQ(writer->live_table("items")->reason, "");
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->live_table("items")->reason, "");
  EXPECT_EQ(writer->live_table("items")->state, TableState::kLive);
}

TEST(Publisher, ADroppedNameIsGoneWithAllItsIncarnations) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer->quarantine("items", "reason"));
  ASSERT_TRUE(writer.try_commit(2));
  ASSERT_TRUE(writer->drop("items"));
  ASSERT_TRUE(writer.commit(3));
  EXPECT_EQ(writer->quarantine_reason("items"), nullptr);
  EXPECT_EQ(writer->catalogue().find("items"), nullptr);
  // Live and dropped within one transaction: the event names the incarnation that it ends (the mirror checks).
  const TableId id = writer->new_table(items_table());
  ASSERT_TRUE(writer->switch_to(id));
  ASSERT_TRUE(writer->drop("items"));
  ASSERT_TRUE(writer.commit(4));
  const Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_EQ(mirror.table("items"), nullptr);
  EXPECT_TRUE(mirror.quarantined.empty());
}

TEST(Publisher, AKeyThatChangesIsADeletionAndAnInsertion) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.insert(2, json_text("two")));
  ASSERT_TRUE(writer.commit(2));
  RowBuilder row;
  // 1 → 3, 2 → 1, in one transaction.
  ASSERT_TRUE(
      writer->update(*writer->live_table("items"), item_key(1), build_item(row, 3, json_text("one"))));
  ASSERT_TRUE(
      writer->update(*writer->live_table("items"), item_key(2), build_item(row, 1, json_text("two"))));
  ASSERT_TRUE(writer.commit(3));
  EXPECT_EQ(*mirror_of(writer.options().ring).table("items"),
            (Mirror::Rows{{item_key(1), json_text("two")}, {item_key(3), json_text("one")}}));
}

TEST(Publisher, ARolledBackTransactionLeavesNothing) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("never")));
  EXPECT_TRUE(writer->has_changes());
  writer->rollback();
  EXPECT_FALSE(writer->has_changes());
  ASSERT_TRUE(writer.commit(2));
  const Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_TRUE(mirror.table("items")->empty());
  EXPECT_EQ(mirror.gtid, "0-1-2") << "a transaction without changes publishes as well";
}

TEST(Publisher, MysqlGtidsAddUpInCommitsAndCheckpointsAndOverARestart) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  const std::string a = TestWriter::kUuid;
  const std::string b = "4e11fa47-71ca-11e1-9e33-c80aa9429562";
  ASSERT_TRUE(writer.open());
  ASSERT_TRUE(writer->switch_to(writer->new_table(items_table())));
  // A snapshot's state, of which nobody knows what came last.
  const std::string snapshot = a + ":1-5:blue:1-2";
  ASSERT_TRUE(writer->commit(Version(7), Commit{0, 0, 0, "", snapshot}));
  ASSERT_TRUE(writer.activate());
  EXPECT_EQ(writer->executed().text(), snapshot);
  EXPECT_EQ(writer->last_commit().gtid, "");
  const auto commit = [&](std::uint64_t version, const std::string& gtid, const std::string& executed) {
    const auto committed = writer->commit(Version(version), Commit{0, version, 0, gtid, executed});
    EXPECT_TRUE(committed) << why(committed);
  };
  commit(8, b + ":9", "");
  commit(11, a + ":7", a + ":6-7:blue:3");  // published together
  commit(11, a + ":7", "");                 // a table that became live at a version already reached
  EXPECT_EQ(writer->executed().text(), a + ":1-7:blue:1-3," + b + ":9");
  EXPECT_EQ(writer->last_commit().gtid, a + ":7");
  EXPECT_EQ(writer->last_commit().gtid_before, "");
  // Many segments, each with a checkpoint that has to say the same as the commits before it; loads say nothing new.
  std::uint64_t version = 12;
  for (; version < 40; ++version) {
    if (version == 20) {
      RowBuilder row;
      const TableId second = writer->new_table(items_table("second"));
      EXPECT_TRUE(writer->load_row(second, Version(4), build_item(row, 1, filler(9000))));
      EXPECT_TRUE(writer->end_load());
    }
    ASSERT_TRUE(writer.insert(version, filler(3000)));
    commit(version, b + ":" + std::to_string(version), "");
  }
  const std::string text = a + ":1-7:blue:1-3," + b + ":9:12-39";
  EXPECT_EQ(writer->executed().text(), text);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(writer.open());
    ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
    EXPECT_EQ(writer->executed().text(), text);
    EXPECT_EQ(writer->executed().set().version(), writer->last_commit().version);
    EXPECT_EQ(writer->last_commit().gtid, b + ":39");
  }
}

TEST(Publisher, RefusesGtidsThatDoNotGoTogether) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  const std::string uuid = TestWriter::kUuid;
  ASSERT_TRUE(writer.start());
  const auto refused = [&](const std::string& gtid, const std::string& executed) {
    const auto committed = writer->commit(Version(9), Commit{0, 1, 0, gtid, executed});
    return !committed && committed.error().kind == ErrorKind::kInvalid;
  };
  EXPECT_TRUE(refused(uuid + ":1", "")) << "a MySQL GTID in a MariaDB ring";
  EXPECT_TRUE(refused("0-1-9", uuid + ":1"));
  EXPECT_TRUE(refused("0-1-9" + std::string(8192, '9'), "")) << "longer than a segment bears";
  ASSERT_TRUE(writer.commit(2));

  const RingDirectory other;
  TestWriter mysql(other.options());
  mysql.use_mysql_gtids();
  ASSERT_TRUE(mysql.start());
  const auto mysql_refused = [&](const std::string& gtid, const std::string& executed) {
    const auto committed = mysql->commit(Version(9), Commit{0, 1, 0, gtid, executed});
    return !committed && committed.error().kind == ErrorKind::kInvalid;
  };
  EXPECT_TRUE(mysql_refused("0-1-9", ""));
  EXPECT_TRUE(mysql_refused(uuid + ":2:x y", ""));
  EXPECT_TRUE(mysql_refused(uuid + ":2", uuid + ":0"));
  std::string many = uuid;
  for (int n = 0; n < 1200; ++n) many += ":" + std::to_string(1000 + 2 * n);
  EXPECT_TRUE(mysql_refused("", many)) << "a set longer than a segment bears";
  EXPECT_EQ(mysql->executed().text(), uuid + ":1") << "nothing of it was taken";
  ASSERT_TRUE(mysql.commit(2));
}

TEST(Publisher, ARingThatCannotBeReachedIsNotReplaced) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const Epoch epoch = writer->ring().epoch();
  Result<UniqueFd> second = lock_ring(writer.options().ring);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kBusy);
  EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
  writer.close();
  Result<UniqueFd> lock = lock_ring(writer.options().ring);
  ASSERT_TRUE(lock) << why(lock);
  // An error of the system that says nothing about the log: something else stands where a FIFO was.
  const RingPath path(writer.options().ring.directory, writer.options().ring.name);
  const std::string wake = wake_path(path.epoch(epoch), 5);
  std::filesystem::rename(wake, wake + ".aside");
  std::filesystem::create_directory(wake);
  const auto refused = Publisher::open(writer.options(), *lock);
  std::filesystem::remove(wake);
  std::filesystem::rename(wake + ".aside", wake);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kIo);
  lock->reset();
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(writer->ring().epoch(), epoch);
}

// Words of the header and of the slot table are spoilt at random: the next writer continues or begins anew, and
// does not fall over them.
TEST(Publisher, OpensWhateverItFinds) {
  std::mt19937_64 random(test_seed(11));
  int continued = 0;
  int fresh = 0;
  for (int round = 0; round < 150; ++round) {
    const RingDirectory directory;
    TestWriter writer(directory.options());
    ASSERT_TRUE(writer.start());
    for (std::uint64_t id = 0; id < 60; ++id) ASSERT_TRUE(writer.insert(id, filler(id == 30 ? 40000 : 1000)));
    ASSERT_TRUE(writer.commit(2));
    const RingPath path(writer.options().ring.directory, writer.options().ring.name);
    const std::string header = header_path(path.epoch(*current_epoch(path)));
    writer.close();
    {
      auto file = MappedFile::map(header, Access::kReadWrite, kHeaderBytes + 4096);
      ASSERT_TRUE(file) << why(file);
      auto* words = static_cast<std::uint64_t*>(file->data());
      // The slot table's check is no secret: half of the time it fits.
      auto* slots = reinterpret_cast<SlotEntry*>(words + kHeaderBytes / 8);
      for (std::uint64_t changes = 1 + random() % 3; changes-- > 0;) {
        const bool in_table = random() % 2 == 0;
        std::uint64_t& word = in_table ? words[kHeaderBytes / 8 + random() % 48] : words[random() % 26];
        const std::uint64_t values[] = {
            0, 1, word + 1, word * 2, word ^ (std::uint64_t{1} << random() % 64), random()};
        word = values[random() % std::size(values)];
      }
      if (random() % 2 == 0) {
        for (std::size_t s = 0; s < 12; ++s) slots[s].check = crc32c(&slots[s].start_position, 16);
      }
    }
    ASSERT_TRUE(writer.open());
    writer->is_fresh() ? ++fresh : ++continued;
    if (writer->is_fresh()) {
      EXPECT_TRUE(writer->switch_to(writer->new_table(items_table())));
    }
    if (writer->live_table("items") != nullptr) {
      ASSERT_TRUE(writer.erase(1));
      ASSERT_TRUE(writer.insert(1, filler(30000)));
    }
    ASSERT_TRUE(writer.try_commit(3));
  }
  EXPECT_GT(continued, 0);
  EXPECT_GT(fresh, 0);
}

}  // namespace
}  // namespace ringside::shm
