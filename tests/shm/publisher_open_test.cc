// How a publisher opens what the one before it left: whole, half made, spoilt, out of reach.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "shm/publisher.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "shm/slot_table.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

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
// Its slot table has entries for four times what it was made for.
TEST(Publisher, ARingThatCannotGrowToItsNewLimitsIsReplaced) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  RingOptions& ring = writer.options().ring;
  const std::uint64_t before = ring.max_bytes + ring.reserve_bytes;
  ring.max_bytes = 4 * before - ring.reserve_bytes;
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  ring.max_bytes *= 2;
  ASSERT_TRUE(writer.open());
  EXPECT_TRUE(writer->is_fresh()) << "it would never have become as large as the configuration says";
  EXPECT_NE(writer->why_fresh().find("ring.max_size"), std::string::npos) << writer->why_fresh();
}

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
      // The slot table's check and the words' copies are no secret: half of the time they fit.
      auto* slots = reinterpret_cast<SlotEntry*>(words + kHeaderBytes / 8);
      for (std::uint64_t changes = 1 + random() % 3; changes-- > 0;) {
        const bool in_table = random() % 2 == 0;
        std::uint64_t& word = in_table ? words[kHeaderBytes / 8 + random() % 48] : words[random() % 46];
        const std::uint64_t values[] = {
            0, 1, word + 1, word * 2, word ^ (std::uint64_t{1} << random() % 64), random()};
        word = values[random() % std::size(values)];
      }
      if (random() % 2 == 0) {
        for (std::size_t s = 0; s < 12; ++s) {
          slots[s].check = slot_check(slots[s].start_position, slots[s].run_and_chunk, slots[s].generation);
        }
        for (std::size_t w = 8; w < 46; w += 2) words[w + 1] = words[w];
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
