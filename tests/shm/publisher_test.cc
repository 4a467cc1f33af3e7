#include "shm/publisher.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

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

}  // namespace
}  // namespace ringside::shm
