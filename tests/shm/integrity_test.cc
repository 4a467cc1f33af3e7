// What is stored twice, and who notices what: a writer killed between the two stores of a position, a slot whose
// generation loses a bit, readers' files that change, readers that report, files of another boot, pages that are gone.
// (Every bit in turn, read by key: tests/replica/integrity_test.cc.)
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shm/boot.h"
#include "shm/publisher.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "shm/slot_table.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

// A ring of a few segments and the mapping of its header, which tests spoil.
class Integrity : public ::testing::Test {
 protected:
  Integrity() : writer_(directory_.options()) {
    EXPECT_TRUE(writer_.start());
    for (std::uint64_t id = 0; id < 40; ++id) EXPECT_TRUE(writer_.insert(id, filler(1000)));
    EXPECT_TRUE(writer_.commit(2));
    const RingPath path(options().directory, options().name);
    epoch_directory_ = path.epoch(*current_epoch(path));
    auto mapped = MappedFile::map(header_path(epoch_directory_), Access::kReadWrite, kHeaderBytes + 4096);
    EXPECT_TRUE(mapped) << why(mapped);
    file_ = std::move(*mapped);
  }

  const RingOptions& options() { return writer_.options().ring; }
  RingHeader& header() { return *static_cast<RingHeader*>(file_.data()); }
  SlotEntry& slot(std::size_t s) {
    return reinterpret_cast<SlotEntry*>(static_cast<std::byte*>(file_.data()) + kHeaderBytes)[s];
  }
  Result<void> join() {
    auto reader = RingReader::attach(options().directory, options().name, options().boot_id_path);
    if (!reader) return reader.error();
    return (*reader)->join();
  }
  MappedFile reader_file(std::size_t slot) {
    return std::move(
        *MappedFile::map(reader_path(epoch_directory_, slot), Access::kReadWrite, kReaderFileBytes));
  }

  RingDirectory directory_;
  TestWriter writer_;
  std::string epoch_directory_;
  MappedFile file_;
};

// --- the committed position

TEST_F(Integrity, APositionWhoseWriterDiedBetweenCopyAndWordIsMadeUpForByTheNext) {
  const auto reader = join_ring(options());
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  const std::uint64_t before = header().committed_position.word;
  ASSERT_TRUE(writer_.insert(100, json_text("whole")));
  ASSERT_TRUE(writer_.commit(3));
  writer_.close();
  const std::uint64_t after = header().committed_position.word;
  header().committed_position.word = before;
  EXPECT_EQ(mirror.follow(*reader), Step::kCaughtUp) << "a follower goes on to what is committed";
  EXPECT_EQ(mirror.version, Version(2));
  const Result<void> joined = join();
  ASSERT_FALSE(joined) << "a joiner cannot tell";
  EXPECT_EQ(joined.error().kind, ErrorKind::kUnavailable);
  ASSERT_TRUE(writer_.open());
  EXPECT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
  EXPECT_EQ(writer_->last_commit().version, Version(3));
  EXPECT_EQ(header().committed_position.word, after);
  EXPECT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.version, Version(3));
  EXPECT_EQ(mirror_of(options()).table("items")->at(item_key(100)), json_text("whole"));
}

TEST_F(Integrity, ACopyAheadOfWhatTheLogHoldsIsCorrupt) {
  writer_.close();
  header().committed_position.copy += 4096;
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(writer_->is_fresh());
}

TEST_F(Integrity, APositionAboveItsCopyOrBelowWhatWasReachedIsCorrupt) {
  for (const std::int64_t change : {+64, -64}) {
    const auto reader = join_ring(options());
    Mirror mirror;
    ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
    header().committed_position.word += static_cast<std::uint64_t>(change);
    Record record;
    EXPECT_EQ(reader->next(record), Step::kCorrupt) << change;
    const Result<void> joined = join();
    ASSERT_FALSE(joined);
    EXPECT_EQ(joined.error().kind, ErrorKind::kUnavailable);
    header().committed_position.word -= static_cast<std::uint64_t>(change);
  }
}

// --- the slot table

TEST_F(Integrity, ASlotInUseWhoseGenerationLosesItsLowBitIsNoFreeSlot) {
  ASSERT_EQ(slot(1).generation, 1u);
  slot(1).generation = 0;
  const Result<void> joined = join();
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(joined.error().message.find("slot 1"), std::string::npos) << joined.error().message;
  writer_.close();
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(writer_->is_fresh());
}

TEST(SlotEntryTest, EveryPairOfGenerationAndCheckIsJudged) {
  constexpr std::uint64_t kStart = 4096;
  constexpr std::uint64_t kRun = 1;
  const auto judge = [](std::uint64_t generation, std::uint64_t check_generation, std::uint64_t committed,
                        std::uint64_t spoilt = 0) {
    const SlotEntry entry{generation, kStart, kRun, slot_check(kStart, kRun, check_generation) ^ spoilt};
    SlotInfo info;
    return read_slot_entry<ProcessMemory>(entry, committed, 8, info);
  };
  EXPECT_EQ(judge(3, 3, 9000), SlotState::kInUse);
  EXPECT_EQ(judge(3, 4, 9000), SlotState::kInUse) << "being freed";
  EXPECT_EQ(judge(4, 4, 9000), SlotState::kFree);
  EXPECT_EQ(judge(4, 4, 9000, 1), SlotState::kFree) << "the next taking has begun";
  EXPECT_EQ(judge(2, 3, kStart), SlotState::kFree) << "being taken, for what is not committed";
  EXPECT_EQ(judge(2, 3, kStart + 1), SlotState::kCorrupt) << "in use, and its low bit is gone";
  EXPECT_EQ(judge(2, 3, kStart, 1), SlotState::kCorrupt);
  EXPECT_EQ(judge(3, 2, 9000), SlotState::kCorrupt);
  EXPECT_EQ(judge(3, 5, 9000), SlotState::kCorrupt);
  EXPECT_EQ(judge(4, 3, 9000), SlotState::kCorrupt);
  EXPECT_EQ(judge(4, 6, 9000), SlotState::kCorrupt);
  EXPECT_EQ(judge(3, 3, 9000, 1), SlotState::kCorrupt);
  EXPECT_EQ(judge(0xffffffff, 0x100000000, 9000), SlotState::kInUse) << "the half that is kept wraps";
}

// --- readers' files

TEST_F(Integrity, AReaderWhoseFileChangesIsEvictedAndOneThatNoticesJoinsAgain) {
  for (const bool is_reclaim : {false, true}) {
    const auto reader = join_ring(options());
    Mirror mirror;
    ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
    const MappedFile mapped = reader_file(reader->slot());
    auto& file = *static_cast<ReaderFile*>(mapped.data());
    TwinWord& word = is_reclaim ? file.reclaim_position : file.incarnation;
    EXPECT_EQ(writer_->ring().check_readers(1), 0u);
    word.word ^= 4;
    EXPECT_EQ(writer_->ring().check_readers(2), 0u) << "it may be in the middle of storing";
    if (is_reclaim) {
      EXPECT_LE(writer_->ring().readers().at(0).reclaim_position, reader->position())
          << "the safe one of the two";
    }
    EXPECT_EQ(writer_->ring().check_readers(3), 1u);
    Record record;
    reader->set_reclaim_position(reader->position());
    EXPECT_NE(reader->next(record), Step::kCaughtUp);
    EXPECT_NE(reader->next(record), Step::kRecord);
  }
  const auto reader = join_ring(options());
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  const MappedFile mapped = reader_file(reader->slot());
  auto& file = *static_cast<ReaderFile*>(mapped.data());
  file.reclaim_position.word += 8;
  file.reclaim_position.copy += 8;  // alike: the writer cannot see it, its reader can
  reader->set_reclaim_position(reader->position());
  Record record;
  EXPECT_EQ(reader->next(record), Step::kCorrupt);
}

TEST_F(Integrity, AnEvictionThatWasHalfStoredIsMadeWholeAndNoBitHidesOne) {
  const auto reader = join_ring(options());
  const MappedFile mapped = reader_file(reader->slot());
  const std::uint64_t incarnation = static_cast<ReaderFile*>(mapped.data())->incarnation.word;
  TwinWord& mark = header().evicted[reader->slot()];
  mark = TwinWord{incarnation ^ 1, incarnation};
  EXPECT_TRUE(reader->is_evicted());
  mark = TwinWord{incarnation, incarnation ^ 1};
  EXPECT_TRUE(reader->is_evicted());
  mark = TwinWord{7, 9};
  EXPECT_FALSE(reader->is_evicted());
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(reader->is_evicted()) << "whom the mark was for cannot be told: whoever is there";
}

// --- scrub and reports

TEST_F(Integrity, AReportIsLookedIntoFirstAndBelievedOnlyWhenItIsTrue) {
  RingWriter& ring = writer_->ring();
  const auto reader = join_ring(options());
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(reader->report_corruption(), reader->position());
  ASSERT_TRUE(ring.scrub(1));
  EXPECT_EQ(ring.scrubbed().reports, 1u);
  ASSERT_TRUE(ring.scrub(1));
  EXPECT_EQ(ring.scrubbed().reports, 1u) << "once";

  // A bit in the last segment: a slice of nothing but what is wanted finds it.
  auto chunk =
      MappedFile::map(chunk_path(epoch_directory_, 0), Access::kReadWrite, 4 * options().segment_bytes);
  ASSERT_TRUE(chunk) << why(chunk);
  std::byte* const at = static_cast<std::byte*>(chunk->data()) + 2 * options().segment_bytes + 2000;
  *at ^= std::byte{1};
  const MappedFile mapped = reader_file(reader->slot());
  auto& file = *static_cast<ReaderFile*>(mapped.data());
  file.reported_position = slot(2).start_position + 2000;
  ++file.reports;
  const Result<void> found = ring.scrub(4000);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(found.error().message.find("chunk.0: the record at position"), std::string::npos)
      << found.error().message;
  EXPECT_NE(found.error().message.find("slot 2"), std::string::npos) << found.error().message;
}

TEST_F(Integrity, ASlowScrubComesRound) {
  RingWriter& ring = writer_->ring();
  for (int slice = 0; slice < 1000 && ring.scrubbed().rounds < 2; ++slice) ASSERT_TRUE(ring.scrub(1500));
  EXPECT_GE(ring.scrubbed().rounds, 2u);
  EXPECT_GT(ring.scrubbed().bytes, 80'000u);
}

TEST_F(Integrity, APublisherWhoseRingIsCorruptPublishesNothingMore) {
  header().server_id.word ^= 2;
  const Result<void> found = writer_->scrub(1);
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("server_id"), std::string::npos) << found.error().message;
  header().server_id.word ^= 2;
  ASSERT_TRUE(writer_.insert(200, json_text("x")));
  EXPECT_FALSE(writer_.try_commit(3));
  // The next one begins beside it, and puts itself in its place.
  auto fresh = Publisher::create(writer_.options(), writer_.lock());
  ASSERT_TRUE(fresh) << why(fresh);
}

TEST_F(Integrity, TheWriterDoesNotTakeARowWhoseKeyHasChangedForAMissingOne) {
  auto chunk =
      MappedFile::map(chunk_path(epoch_directory_, 0), Access::kReadWrite, 4 * options().segment_bytes);
  ASSERT_TRUE(chunk) << why(chunk);
  // The key of row 7, wherever it stands.
  auto* bytes = static_cast<std::byte*>(chunk->data());
  const std::string key = item_key(7);
  std::size_t found = 0;
  for (std::size_t at = 0; at + 48 < chunk->size() && found == 0; at += 8) {
    RecordHeader record;
    if (load_header(bytes + at, record) && record.type == RecordType::kRow && record.key_bytes == 8 &&
        as_text({bytes + at + kRecordHeaderBytes, 8}) == key) {
      found = at;
    }
  }
  ASSERT_NE(found, 0u);
  bytes[found + kRecordHeaderBytes + 7] ^= std::byte{64};
  ASSERT_TRUE(writer_.update(7, json_text("seven")));
  const auto refused = writer_.try_commit(3);
  ASSERT_FALSE(refused) << "it is not the source that contradicts itself";
  EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
}

// One bit of the generation in force, and the catalogue is the one before, whole: its tables and their rows would pass for
// dropped.
TEST_F(Integrity, ACatalogueOlderThanTheLogIsNotTaken) {
  const TableId second = writer_->new_table(items_table("second"));
  EXPECT_TRUE(writer_->switch_to(second));
  EXPECT_TRUE(writer_.commit(3));
  const std::uint64_t generation = writer_->ring().catalogue_generation();
  writer_.close();
  auto catalogue = MappedFile::map(catalogue_path(epoch_directory_), Access::kReadWrite, 4096);
  ASSERT_TRUE(catalogue) << why(catalogue);
  std::uint64_t& in_force = static_cast<std::uint64_t*>(catalogue->data())[2];
  ASSERT_EQ(in_force, generation);
  in_force = generation - 1;
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(writer_->is_fresh());
  EXPECT_NE(writer_->why_fresh().find("generation"), std::string::npos) << writer_->why_fresh();
  writer_.close();
  in_force = generation;
  ASSERT_TRUE(writer_.open());
  EXPECT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
}

// --- restart of the host

class AnotherBoot : public Integrity {
 protected:
  AnotherBoot() { boot("one"); }
  // From now on this is the boot that everybody sees.
  void boot(const std::string& id) {
    const std::string path = directory_.path() + "/boot_id";
    std::ofstream(path) << id;
    writer_.options().ring.boot_id_path = path;
  }
};

TEST_F(AnotherBoot, AfterAnOrderlyStopTheRingIsGoneOnWith) {
  ASSERT_TRUE(writer_.open());
  ASSERT_TRUE(writer_->is_fresh()) << "it was the machine's own boot before";
  ASSERT_TRUE(writer_.start());
  ASSERT_TRUE(writer_.insert(1, json_text("kept")) && writer_.commit(2));
  const Result<void> stopped = writer_->ring().stop_in_order();
  ASSERT_TRUE(stopped) << why(stopped);
  writer_.close();
  boot("two");
  EXPECT_TRUE(join()) << "a reader need not wait for the writer";
  ASSERT_TRUE(writer_.open());
  EXPECT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
  EXPECT_TRUE(join());
  ASSERT_TRUE(writer_.insert(2, json_text("goes on")) && writer_.commit(3));
  writer_.close();  // killed
  ASSERT_TRUE(writer_.open());
  EXPECT_FALSE(writer_->is_fresh()) << "the same boot: the page cache is what it was";
  writer_.close();
  boot("three");
  const Result<void> joined = join();
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().kind, ErrorKind::kUnavailable);
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(writer_->is_fresh()) << "nothing was synced since";
  EXPECT_NE(writer_->why_fresh().find("the host has restarted uncleanly"), std::string::npos)
      << writer_->why_fresh();
}

TEST_F(AnotherBoot, TimesOfItsClockAreNotBelieved) {
  ASSERT_TRUE(writer_.open());
  ASSERT_TRUE(writer_.start());
  writer_->ring().set_source(Version(1), 0, 5000);
  writer_->ring().beat(6000);
  ASSERT_TRUE(writer_->ring().stop_in_order());
  writer_.close();
  const auto attached = [&] {
    return RingReader::attach(options().directory, options().name, options().boot_id_path);
  };
  auto before = attached();
  ASSERT_TRUE(before) << why(before);
  EXPECT_EQ((*before)->source().alive_ns, 5000u);
  boot("two");
  auto after = attached();
  ASSERT_TRUE(after) << why(after);
  const auto expect_none = [&] {
    EXPECT_EQ((*after)->source().alive_ns, 0u);
    EXPECT_EQ((*after)->source().writer_heartbeat_ns, 0u);
    EXPECT_EQ((*after)->source().version, Version(1)) << "all else is as it was";
  };
  expect_none();
  ASSERT_TRUE(writer_.open());
  ASSERT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
  expect_none();
  writer_->ring().set_source(Version(1), 0, 70);
  writer_->ring().beat(80);
  EXPECT_EQ((*after)->source().alive_ns, 70u);
  EXPECT_EQ((*after)->source().writer_heartbeat_ns, 80u);
}

TEST_F(AnotherBoot, ABitOfTheBootOrOfTheOrderlyStopIsNoPermission) {
  ASSERT_TRUE(writer_.open());
  ASSERT_TRUE(writer_->is_fresh());
  ASSERT_TRUE(writer_.start());
  writer_.close();
  boot("two");
  const RingPath path(options().directory, options().name);
  auto mapped =
      MappedFile::map(header_path(path.epoch(*current_epoch(path))), Access::kReadWrite, kHeaderBytes);
  ASSERT_TRUE(mapped) << why(mapped);
  static_cast<RingHeader*>(mapped->data())->clean_stop.word = 1;
  EXPECT_FALSE(join());
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(writer_->is_fresh());
}

TEST_F(AnotherBoot, ABootThatCannotBeToldIsAnErrorOfTheMachine) {
  writer_.close();
  writer_.options().ring.boot_id_path = directory_.path() + "/nothing";
  const Result<UniqueFd> lock = lock_ring(options());
  ASSERT_TRUE(lock);
  const auto refused = Publisher::open(writer_.options(), *lock);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kIo);
}

// --- pages that are gone

// Runs `act` in a child; its wait status.
int status_of_child(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(act());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST_F(Integrity, AChunkCutShortUnderAReaderIsCorruptAndDoesNotEndIt) {
  const auto reader = join_ring(options());
  Record record;
  std::vector<Address> addresses;
  while (reader->next(record) == Step::kRecord) {
    if (record.header.type == RecordType::kRow) addresses.push_back(record.address);
  }
  ASSERT_EQ(addresses.size(), 40u);
  const int status = status_of_child([&] {
    if (!survive_missing_pages()) return 2;
    if (::truncate(chunk_path(epoch_directory_, 0).c_str(), 0) != 0) return 3;
    std::vector<std::byte> buffer(65536);
    RecordHeader header;
    for (const Address address : addresses) {
      if (reader->copy_record(address, header, buffer) != CopyStatus::kCorrupt) return 4;
    }
    return reader->corrupt_address() == addresses.front() ? 0 : 5;
  });
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Integrity, APageThatIsGoneElsewhereEndsTheProcessAsEver) {
  const std::string path = directory_.path() + "/file";
  { std::ofstream(path) << std::string(4096, 'x'); }
  const int status = status_of_child([&] {
    // A sanitizer's own handler is not what is tried here.
    if (!survive_missing_pages()) return 2;
    const auto mapped = MappedFile::map(path, Access::kRead, 4096);
    if (!mapped || ::truncate(path.c_str(), 0) != 0) return 3;
    return static_cast<int>(ProcessMemory::load_acquire(static_cast<const std::uint64_t*>(mapped->data())) &
                            1);
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << "exit " << WEXITSTATUS(status);
  EXPECT_EQ(WTERMSIG(status), SIGBUS);
}

}  // namespace
}  // namespace ringside::shm
