#include "shm/ring_reader.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "shm/ring_files.h"
#include "shm/row_index.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

bool is_readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}
// How many bytes the FIFO held.
std::size_t drain(int fd) {
  std::array<char, 256> bytes;
  std::size_t total = 0;
  for (ssize_t size; (size = ::read(fd, bytes.data(), bytes.size())) > 0;)
    total += static_cast<std::size_t>(size);
  return total;
}

class RingReaderTest : public ::testing::Test {
 protected:
  RingReaderTest() : writer_(directory_.options()) {}

  RingDirectory directory_;
  TestWriter writer_;

  const RingOptions& ring() { return writer_.options().ring; }
  // A transaction of this version with one row of so many bytes.
  bool publish(std::uint64_t version, std::size_t size = 10) {
    return writer_.insert(version, filler(size)) && writer_.commit(version);
  }
};

// --- attach, join

TEST_F(RingReaderTest, ThereIsNothingToAttachToBeforeTheEpochIsInForce) {
  const auto early = RingReader::attach(ring().directory, ring().name);
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().kind, ErrorKind::kUnavailable);
  ASSERT_TRUE(writer_.open());
  EXPECT_EQ(RingReader::attach(ring().directory, ring().name).error().kind, ErrorKind::kUnavailable);
}

TEST_F(RingReaderTest, AnotherLayoutIsRefusedByName) {
  ASSERT_TRUE(writer_.start());
  const RingPath path(ring().directory, ring().name);
  const std::string header = header_path(path.epoch(*current_epoch(path)));
  writer_.close();
  auto file = MappedFile::map(header, Access::kReadWrite, kHeaderBytes);
  ASSERT_TRUE(file) << why(file);
  auto& words = *static_cast<RingHeader*>(file->data());
  words.layout_version = kLayoutVersion + 1;
  const auto other = RingReader::attach(ring().directory, ring().name);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kUnsupported);
  words.layout_version = kLayoutVersion;
  words.max_slots += 1;
  EXPECT_EQ(RingReader::attach(ring().directory, ring().name).error().kind, ErrorKind::kCorrupt);
  words.max_slots -= 1;
  words.epoch ^= 1;
  EXPECT_EQ(RingReader::attach(ring().directory, ring().name).error().kind, ErrorKind::kCorrupt);
  words.epoch ^= 1;
  EXPECT_TRUE(RingReader::attach(ring().directory, ring().name));
  words.epoch = 0;
  EXPECT_EQ(RingReader::attach(ring().directory, ring().name).error().kind, ErrorKind::kUnavailable);
}

TEST_F(RingReaderTest, SixtyFourReadersAreServedAndTheNextIsRefused) {
  ASSERT_TRUE(writer_.start());
  std::vector<std::unique_ptr<RingReader>> readers;
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    readers.push_back(join_ring(ring()));
    ASSERT_NE(readers.back(), nullptr);
    EXPECT_EQ(readers.back()->slot(), i);
  }
  EXPECT_EQ(writer_->ring().readers().size(), kMaxReaders);
  auto refused = RingReader::attach(ring().directory, ring().name);
  ASSERT_TRUE(refused) << why(refused);
  const auto joined = (*refused)->join();
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().kind, ErrorKind::kBusy);
  readers[7].reset();
  readers[7] = join_ring(ring());
  ASSERT_NE(readers[7], nullptr);
  EXPECT_EQ(readers[7]->slot(), 7u);
}

TEST_F(RingReaderTest, SeesNothingThatIsNotCommitted) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(writer_.insert(1, filler(10)));
  Record record;
  EXPECT_EQ(reader->next(record), Step::kCaughtUp);
  ASSERT_TRUE(writer_.commit(2));
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), 1u);
}

TEST_F(RingReaderTest, FollowsOverManySegmentsAndChunks) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  for (std::uint64_t version = 2; version < 300; ++version) {
    ASSERT_TRUE(publish(version, version % 10 == 0 ? 30000 : 1500));
    if (version % 7 == 0) {
      ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
      EXPECT_EQ(mirror.table("items")->size(), version - 1);
    }
  }
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_GT(mirror.segments, 50u);
  EXPECT_EQ(*mirror.table("items"), *mirror_of(ring()).table("items"));
}

TEST_F(RingReaderTest, SeesWhichKeysAreToCome) {
  ASSERT_TRUE(writer_.start());
  for (std::uint64_t version = 2; version < 500; ++version) {
    ASSERT_TRUE(publish(version, 10 + version % 200));
  }
  struct Walked {
    Upcoming own;  // table 0: no row
    Upcoming near;
    Upcoming middle;
    Upcoming far;
  };
  std::vector<Walked> walked;
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Record record;
  while (reader->next(record) == Step::kRecord) {
    Walked& each = walked.emplace_back(Walked{{}, record.ahead.near, record.ahead.middle, record.ahead.far});
    if (record.header.type != RecordType::kRow) continue;
    const Bytes key = record.bytes.subspan(kRecordHeaderBytes, record.header.key_bytes);
    each.own = Upcoming{record.header.table_id, key_hash(key)};
  }
  ASSERT_EQ(reader->position(), reader->committed_position());
  std::size_t seen = 0;
  auto check = [&](const Upcoming& upcoming, std::size_t at) {
    if (upcoming.table == TableId()) return;
    ASSERT_LT(at, walked.size()) << "nothing beyond the committed position is seen";
    EXPECT_EQ(upcoming.table, walked[at].own.table);
    EXPECT_EQ(upcoming.hash, walked[at].own.hash);
    ++seen;
  };
  for (std::size_t i = 0; i < walked.size(); ++i) {
    check(walked[i].near, i + 4);
    check(walked[i].middle, i + 8);
    check(walked[i].far, i + 12);
  }
  EXPECT_GT(seen, 498u * 2) << "nearly all rows, three times each";
}

TEST_F(RingReaderTest, CopiesRecordsByAddressWithinTheBufferItIsGiven) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(publish(2, 500));
  Record record;
  ASSERT_EQ(reader->next(record), Step::kRecord);
  const Address address = record.address;
  const std::string expected(as_text(record.bytes));
  RecordHeader header;
  std::vector<std::byte> exact(expected.size());
  ASSERT_EQ(reader->copy_record(address, header, exact), CopyStatus::kOk);
  EXPECT_EQ(as_text(exact), expected);
  std::vector<std::byte> less(expected.size() - 8);
  EXPECT_EQ(reader->copy_record(address, header, less), CopyStatus::kTooSmall);
  EXPECT_EQ(header.length, expected.size());
  EXPECT_TRUE(reader->equals(address, as_bytes(item_key(2))));
  EXPECT_FALSE(reader->equals(address, as_bytes(item_key(3))));
  EXPECT_FALSE(reader->equals(address, as_bytes(item_key(2)).first(7)));
  EXPECT_EQ(reader->hash(address), key_hash(as_bytes(item_key(2))));
  // Addresses that are none: unknown slots, the middle of a record, a segment's last bytes, anything at all.
  EXPECT_EQ(reader->copy_record(std::uint64_t{1} << 39, header, exact), CopyStatus::kCorrupt);
  EXPECT_EQ(reader->copy_record(~std::uint64_t{0}, header, exact), CopyStatus::kCorrupt);
  EXPECT_EQ(reader->copy_record(ring().segment_bytes / 8 - 1, header, exact), CopyStatus::kCorrupt);
  EXPECT_FALSE(reader->equals(std::uint64_t{1} << 39, as_bytes(item_key(2))));
  EXPECT_EQ(reader->hash(std::uint64_t{1} << 39), 0u);
}

// --- sleeping

TEST_F(RingReaderTest, OneByteWakesASleeperHoweverMuchIsPublished) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  EXPECT_FALSE(reader->prepare_sleep()) << "there is the whole log to read";
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(publish(2));
  EXPECT_FALSE(is_readable(reader->wake_fd())) << "nobody sleeps: no system call";
  EXPECT_FALSE(reader->prepare_sleep()) << "something is new";
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  for (std::uint64_t round = 0; round < 3; ++round) {
    ASSERT_TRUE(reader->prepare_sleep());
    EXPECT_TRUE(writer_->ring().readers().at(0).asleep);
    EXPECT_FALSE(is_readable(reader->wake_fd()));
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(publish(10 + round * 10 + i));
    EXPECT_EQ(drain(reader->wake_fd()), 1u);
    reader->awake();
    EXPECT_FALSE(writer_->ring().readers().at(0).asleep);
    ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  }
}

TEST_F(RingReaderTest, AChangeOfTheCaptureStateWakesEverybodyOnce) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  writer_->ring().set_capture_state(CaptureState::kStreaming);
  EXPECT_EQ(drain(reader->wake_fd()), 1u);
  writer_->ring().set_capture_state(CaptureState::kStreaming);
  EXPECT_EQ(drain(reader->wake_fd()), 0u) << "no change";
  for (int i = 0; i < 10; ++i) {
    writer_->ring().set_capture_state(i % 2 == 0 ? CaptureState::kFull : CaptureState::kStreaming);
  }
  const auto late = join_ring(ring());
  ASSERT_NE(late, nullptr);
  EXPECT_EQ(drain(late->wake_fd()), 0u) << "what happened before is no news to a joiner";
}

TEST_F(RingReaderTest, TheNextWriterWakesWhomTheLastDidNotComeToWake) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(reader->prepare_sleep());
  writer_.close();
  EXPECT_FALSE(reader->writer_is_alive());
  ASSERT_TRUE(writer_.open());
  EXPECT_TRUE(reader->writer_is_alive());
  EXPECT_GE(drain(reader->wake_fd()), 1u);
}

// Publishing looks at the reader slots up to the first one behind those in use.
TEST_F(RingReaderTest, AJoinerBehindASlotThatIsOnlyLockedIsWokenAsWell) {
  ASSERT_TRUE(writer_.start());
  const std::string first =
      reader_path(RingPath(ring().directory, ring().name).epoch(writer_->ring().epoch()), 0);
  const Result<UniqueFd> joining = open_file(first, Access::kReadWrite);  // a process between J1 and J2
  ASSERT_TRUE(joining);
  ASSERT_TRUE(*try_lock(joining->get(), first));
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  ASSERT_EQ(reader->slot(), 1u);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(reader->prepare_sleep());
  ASSERT_TRUE(publish(2));
  writer_->ring().check_readers(1);
  EXPECT_EQ(drain(reader->wake_fd()), 1u) << "late, but not lost";
  writer_->ring().check_readers(2);
  EXPECT_EQ(drain(reader->wake_fd()), 0u) << "once";
  reader->awake();
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(reader->prepare_sleep());
  ASSERT_TRUE(publish(3));
  EXPECT_EQ(drain(reader->wake_fd()), 1u) << "publishing knows it now";
}

TEST_F(RingReaderTest, WhoJoinsAfterOthersHaveLeftIsWokenByPublishing) {
  ASSERT_TRUE(writer_.start());
  auto zeroth = join_ring(ring());
  auto first = join_ring(ring());
  const auto second = join_ring(ring());
  ASSERT_NE(second, nullptr);
  ASSERT_TRUE(publish(2));
  first.reset();
  writer_->ring().check_readers(1);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*second), Step::kCaughtUp);
  ASSERT_TRUE(second->prepare_sleep());
  ASSERT_TRUE(publish(3));
  EXPECT_EQ(drain(second->wake_fd()), 1u) << "it stays in view though the slot before it is free";
  zeroth.reset();
  writer_->ring().check_readers(2);
  const auto again = join_ring(ring());
  ASSERT_NE(again, nullptr);
  ASSERT_EQ(again->slot(), 0u);
  Mirror other;
  ASSERT_EQ(other.follow(*again), Step::kCaughtUp);
  ASSERT_TRUE(again->prepare_sleep());
  ASSERT_TRUE(publish(4));
  EXPECT_EQ(drain(again->wake_fd()), 1u);
}

TEST_F(RingReaderTest, ANewWriterKnowsItsSleepersFromTheStart) {
  ASSERT_TRUE(writer_.start());
  auto zeroth = join_ring(ring());
  const auto first = join_ring(ring());
  ASSERT_NE(first, nullptr);
  zeroth.reset();
  writer_.close();
  ASSERT_TRUE(writer_.open());
  drain(first->wake_fd());
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*first), Step::kCaughtUp);
  ASSERT_TRUE(first->prepare_sleep());
  ASSERT_TRUE(publish(2));
  EXPECT_EQ(drain(first->wake_fd()), 1u);
}

// --- eviction

TEST_F(RingReaderTest, AStuckReaderIsEvictedStopsAndRejoins) {
  writer_.options().ring.reader_limit_bytes = 100'000;
  writer_.options().ring.reader_grace_ns = 0;
  ASSERT_TRUE(writer_.start());
  auto stuck = join_ring(ring());
  const auto steady = join_ring(ring());
  ASSERT_NE(stuck, nullptr);
  ASSERT_NE(steady, nullptr);
  Mirror stuck_mirror;
  Mirror steady_mirror;
  ASSERT_EQ(stuck_mirror.follow(*stuck), Step::kCaughtUp);
  std::uint64_t now_ns = 1;
  EXPECT_EQ(writer_->ring().check_readers(now_ns), 0u);
  for (std::uint64_t version = 2; version < 200; ++version) {
    ASSERT_TRUE(publish(version, 1000));
    ASSERT_EQ(steady_mirror.follow(*steady), Step::kCaughtUp);
    if (version == 20) {
      EXPECT_EQ(writer_->ring().check_readers(++now_ns), 0u) << "it holds less than its limit";
    }
  }
  EXPECT_FALSE(stuck->is_evicted());
  stuck->count_progress();  // late, but not stuck
  EXPECT_EQ(writer_->ring().check_readers(++now_ns), 0u);
  EXPECT_EQ(writer_->ring().check_readers(++now_ns), 1u);
  EXPECT_EQ(writer_->ring().check_readers(++now_ns), 0u) << "once";
  EXPECT_TRUE(stuck->is_evicted());
  EXPECT_FALSE(steady->is_evicted());
  EXPECT_EQ(drain(stuck->wake_fd()), 1u) << "it may be asleep";
  EXPECT_FALSE(stuck->prepare_sleep());
  ASSERT_EQ(writer_->ring().readers().size(), 1u);
  EXPECT_EQ(writer_->ring().readers()[0].slot, 1u);
  EXPECT_EQ(stuck_mirror.follow(*stuck), Step::kEvicted);

  stuck.reset();
  const auto again = join_ring(ring());
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->slot(), 0u);
  EXPECT_FALSE(again->is_evicted()) << "the mark is of the incarnation before";
  Mirror mirror;
  EXPECT_EQ(mirror.follow(*again), Step::kCaughtUp);
  EXPECT_EQ(*mirror.table("items"), *steady_mirror.table("items"));
}

TEST_F(RingReaderTest, AReaderThatHadNothingToDoHasItsGraceFromWhenItIsBehind) {
  constexpr std::uint64_t kHour = std::uint64_t{3'600} * 1'000'000'000;
  writer_.options().ring.reader_limit_bytes = 100'000;
  ASSERT_TRUE(writer_.start());
  const auto idle = join_ring(ring());
  ASSERT_NE(idle, nullptr);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*idle), Step::kCaughtUp);
  EXPECT_EQ(writer_->ring().check_readers(1), 0u);
  ASSERT_TRUE(publish(2, 200'000)) << "more than it may hold, at once";
  const std::uint64_t now_ns = kHour;
  EXPECT_EQ(writer_->ring().check_readers(now_ns), 0u)
      << "it has done nothing for an hour, and had nothing to do";
  EXPECT_EQ(writer_->ring().check_readers(now_ns + ring().reader_grace_ns), 0u);
  EXPECT_EQ(writer_->ring().check_readers(now_ns + ring().reader_grace_ns + 1), 1u) << "now it has";
}

TEST_F(RingReaderTest, AReaderThatHasDiedIsNotWaitedFor) {
  ASSERT_TRUE(writer_.start());
  int joined[2];
  ASSERT_EQ(::pipe(joined), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto reader = RingReader::attach(ring().directory, ring().name);
    const bool ok = reader && (*reader)->join();
    const char word = ok ? 'y' : 'n';
    if (::write(joined[1], &word, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char word = 0;
  ASSERT_EQ(::read(joined[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  ASSERT_EQ(writer_->ring().readers().size(), 1u);
  EXPECT_EQ(writer_->ring().readers()[0].pid, static_cast<std::uint64_t>(child));
  EXPECT_EQ(writer_->ring().check_readers(1), 0u);
  EXPECT_EQ(writer_->ring().readers().size(), 1u) << "alive";
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(writer_->ring().check_readers(2), 0u) << "a dead reader is no eviction";
  EXPECT_TRUE(writer_->ring().readers().empty());
  const auto next = join_ring(ring());
  ASSERT_NE(next, nullptr);
  EXPECT_EQ(next->slot(), 0u);
  EXPECT_FALSE(next->is_evicted());
  ::close(joined[0]);
  ::close(joined[1]);
}

// --- the end of an epoch, and what the source last was

TEST_F(RingReaderTest, NoticesThatItsEpochIsSuperseded) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE(reader->prepare_sleep());
  auto fresh = Publisher::create(writer_.options(), writer_.lock());
  ASSERT_TRUE(fresh) << why(fresh);
  ASSERT_TRUE(publish(2)) << "the old epoch goes on meanwhile";
  EXPECT_EQ(drain(reader->wake_fd()), 1u);
  reader->awake();
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  ASSERT_TRUE((*fresh)->switch_to((*fresh)->new_table(items_table())));
  ASSERT_TRUE((*fresh)->commit(Version(2), Commit{0, 0, 0, "0-1-2"}));
  ASSERT_TRUE(reader->prepare_sleep());
  ASSERT_TRUE((*fresh)->activate(&*writer_));
  EXPECT_GE(drain(reader->wake_fd()), 1u);
  EXPECT_TRUE(reader->is_superseded());
  reader->awake();
  EXPECT_FALSE(reader->prepare_sleep());
  // It still answers from what it has, and a new one finds the new epoch.
  EXPECT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  const auto next = join_ring(ring());
  ASSERT_NE(next, nullptr);
  EXPECT_NE(next->epoch(), reader->epoch());
  EXPECT_EQ(next->epoch(), (*fresh)->ring().epoch());
}

TEST_F(RingReaderTest, TellsWhatTheSourceLastWas) {
  ASSERT_TRUE(writer_.start());
  const auto reader = join_ring(ring());
  ASSERT_NE(reader, nullptr);
  EXPECT_EQ(reader->source().capture, CaptureState::kStarting);
  EXPECT_EQ(reader->source().alive_ns, 0u);
  writer_->ring().set_capture_state(CaptureState::kStreaming);
  writer_->ring().set_source(Version(17), 1234, 5678);
  writer_->ring().beat(91011);
  writer_->ring().set_server_id(42);
  SourceState source = reader->source();
  EXPECT_EQ(source.capture, CaptureState::kStreaming);
  EXPECT_EQ(source.version, Version(17));
  EXPECT_EQ(source.source_time_us, 1234u);
  EXPECT_EQ(source.alive_ns, 5678u);
  EXPECT_EQ(source.writer_heartbeat_ns, 91011u);
  EXPECT_EQ(source.limit_bytes, ring().max_bytes);
  EXPECT_EQ(source.used_bytes, writer_->ring().usage().used_bytes);
  EXPECT_EQ(source.clock.error_us, 0u) << "not measured";
  writer_->ring().set_source_clock({-1'500'000, 40, 1'000'000});
  EXPECT_EQ(reader->source().clock.offset_us, -1'500'000);
  EXPECT_EQ(reader->source().clock.error_us, 40u);
  EXPECT_EQ(reader->source().clock.commit_time_resolution_us, 1'000'000u);
  // A heartbeat without a time, of a source that repeats itself after a reconnect.
  writer_->ring().set_source(Version(16), 0, 6000);
  source = reader->source();
  EXPECT_EQ(source.version, Version(17));
  EXPECT_EQ(source.source_time_us, 1234u);
  EXPECT_EQ(source.alive_ns, 6000u);
  ASSERT_TRUE(writer_.open());
  EXPECT_EQ(writer_->ring().server_id(), 42u) << "outlives the writer";
}

}  // namespace
}  // namespace ringside::shm
