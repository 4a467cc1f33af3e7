// A writer at full speed in a ring that is four fifths live, and readers that join and follow meanwhile: compaction,
// freeing and reuse of slots against everything that a reader does. Meant for ThreadSanitizer as well.
//
// RINGSIDE_JOINS: how many joins one after the other (20).
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "tests/shm/proven_rows.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kKeys = 1000;  // of about 500 bytes each, nearly all there
constexpr std::uint64_t kSegmentBytes = 8192;

std::uint64_t joins_wanted() {
  const char* set = std::getenv("RINGSIDE_JOINS");
  return set == nullptr ? 20 : std::strtoull(set, nullptr, 10);
}

// Follows the log as a replica does, with the address of each row, and looks rows up by it.
class LiveReader {
 public:
  // `is_over`: it leaves, once it is caught up. Set before it is woken for the last time.
  LiveReader(const RingOptions& options, std::uint32_t seed, const std::atomic<bool>& is_over)
      : options_(options), random_(seed), is_over_(is_over), buffer_(4096) {}

  // Joins, and stays until it has been caught up that many times. False: `failure` says why.
  bool stay(std::uint64_t times, bool sleeps) {
    auto reader = RingReader::attach(options_.directory, options_.name);
    if (!reader) return fail("attach: " + reader.error().message);
    RingReader& ring = **reader;
    if (const auto joining = ring.join(); !joining) return fail("join: " + joining.error().message);
    rows_ = ProvenRows();
    addresses_.clear();
    version_ = 0;
    Record record;
    for (std::uint64_t count = 1; failure.empty() && times > 0; ++count) {
      if (count % 64 == 0) ring.count_progress();
      const Step step = ring.next(record);
      if (step == Step::kRecord) {
        apply(record);
        continue;
      }
      if (step != Step::kCaughtUp) return fail("step " + std::to_string(static_cast<int>(step)));
      if (const std::string wrong = rows_.what_is_wrong(version_); !wrong.empty()) return fail(wrong);
      check_rows(ring);
      ring.set_reclaim_position(ring.position());
      check_rows(ring);
      --times;
      if (is_over_) break;
      if (sleeps && times > 0) wait(ring);
    }
    return failure.empty();
  }

  std::string failure;
  std::uint64_t copied = 0;
  std::uint64_t relocations = 0;

 private:
  void apply(const Record& record) {
    const RecordHeader& header = record.header;
    const bool is_checkpoint = header.type == RecordType::kCheckpoint;
    if ((header.type == RecordType::kCommit && (header.flags & kLoadBatch) == 0) ||
        (is_checkpoint && record.is_behind_gap)) {
      if (header.version.value() < version_) fail("a version went back");
      version_ = header.version.value();
    }
    const bool is_relocation = header.type == RecordType::kRelocation;
    const bool is_row = is_relocation || header.type == RecordType::kRow;
    if (!is_row && header.type != RecordType::kTombstone) return;
    const std::uint64_t key = load_be<std::uint64_t>(record.bytes.data() + kRecordHeaderBytes);
    if (!is_row) {
      rows_.erase(key);
      addresses_.erase(key);
      return;
    }
    relocations += is_relocation ? 1 : 0;
    RowView row;
    if (!RowView::parse(header, record.bytes, row)) {
      fail("a row contradicts itself");
      return;
    }
    const auto before = rows_.generations().find(key);
    const std::uint64_t generation_before = before == rows_.generations().end() ? 0 : before->second;
    if (!rows_.read(key, row.value(1))) fail("a row does not prove itself: " + std::string(row.value(1)));
    if (key != kSumKey) {
      const std::uint64_t generation = rows_.generations().at(key);
      if (generation != header.version.value()) fail("a row of another version");
      if (generation < generation_before || (!is_relocation && generation == generation_before))
        fail("a row went back");
    }
    addresses_[key] = record.address;
  }

  // Rows at random by their addresses: what the log said last of them.
  void check_rows(RingReader& ring) {
    for (int i = 0; i < 10; ++i) {
      const std::uint64_t key = random_() % kKeys;
      const auto found = addresses_.find(key);
      if (found == addresses_.end()) continue;
      RecordHeader header;
      RowView row;
      const std::string name = item_key(key);
      if (ring.copy_record(found->second, header, buffer_) != CopyStatus::kOk ||
          !RowView::parse(header, Bytes(buffer_).first(header.length), row) || row.key() != name ||
          generation_of(key, row.value(1)) != rows_.generations().at(key) ||
          !ring.equals(found->second, as_bytes(name))) {
        fail("a row copied by address is another");
        return;
      }
      ++copied;
    }
  }

  static void wait(RingReader& ring) {
    if (!ring.prepare_sleep()) return;
    pollfd fd{ring.wake_fd(), POLLIN, 0};
    while (::poll(&fd, 1, -1) < 0) {
    }
    ring.awake();
    char bytes[64];
    while (::read(ring.wake_fd(), bytes, sizeof bytes) > 0) {
    }
  }

  bool fail(std::string what) {
    if (failure.empty()) failure = std::move(what);
    return false;
  }

  RingOptions options_;
  std::mt19937 random_;
  const std::atomic<bool>& is_over_;
  std::vector<std::byte> buffer_;
  ProvenRows rows_;
  std::unordered_map<std::uint64_t, Address> addresses_;
  std::uint64_t version_ = 0;
};

TEST(RingStress, ReadersJoinAndFollowWhileAFullRingIsCompacted) {
  const std::uint32_t seed = test_seed(20260312);
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().ring.segment_bytes = kSegmentBytes;
  writer.options().ring.chunk_bytes = 4 * kSegmentBytes;
  writer.options().ring.reserve_bytes = 0;
  // Nobody is stopped here: whoever is evicted was evicted wrongly, however slow the machine.
  writer.options().ring.reader_grace_ns = 120'000'000'000;
  writer.options().ring.reader_wait_ns = 120'000'000'000;
  ASSERT_TRUE(writer.start());
  std::mt19937_64 random(seed);
  ProvenRows rows;
  ProvenChanges<TestWriter> changes(writer, rows, kKeys);
  std::uint64_t version = 2;
  ASSERT_TRUE(changes.fill(version) && writer.commit(version));
  for (; version < 1000;) {  // rows of all lengths
    ASSERT_TRUE(changes.change(++version, random) && writer.commit(version));
  }
  const std::uint64_t live = writer->ring().usage().live_bytes;
  ASSERT_TRUE(
      writer->ring().set_limits((live * 5 / 4 + kSegmentBytes - 1) / kSegmentBytes * kSegmentBytes, 0));

  std::atomic<bool> is_over{false};
  std::atomic<std::uint64_t> joins{0};
  LiveReader joiner(writer.options().ring, seed + 1, is_over);
  LiveReader follower(writer.options().ring, seed + 2, is_over);
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    while (joins < joins_wanted() && joiner.stay(1 + joins % 3, false)) ++joins;
    is_over = true;
  });
  threads.emplace_back([&] {
    while (!is_over && follower.stay(50, true)) {
    }
  });

  bool good = true;
  std::uint64_t longest_wait_ns = 0;
  const std::uint64_t began = version;
  // It goes on until the joiner is done; then the follower is woken until it sees that.
  for (int after = 0; good && after < 200; after += is_over ? 1 : 0) {
    good = changes.change(version + 1, random);
    const std::uint64_t from_ns = monotonic_ns();
    Result<Publisher::Quarantined> committed = writer.try_commit(version + 1);
    while (!committed && committed.error().kind == ErrorKind::kLimit &&
           (writer->room_state() == RoomState::kSoon || writer->room_state() == RoomState::kReaders)) {
      const Result<bool> tended = writer->tend(monotonic_ns());
      EXPECT_TRUE(tended) << why(tended);
      if (!tended) break;
      EXPECT_EQ(writer->ring().check_readers(monotonic_ns()), 0u);
      if (writer->room_state() == RoomState::kReaders) std::this_thread::yield();
      committed = writer.try_commit(version + 1);
    }
    longest_wait_ns = std::max(longest_wait_ns, monotonic_ns() - from_ns);
    EXPECT_TRUE(committed) << why(committed);
    good = good && committed && committed->empty();
    ++version;
  }
  is_over = true;
  for (std::thread& thread : threads) {
    // Whoever sleeps is woken by the next state.
    writer->ring().set_capture_state(CaptureState::kReconnecting);
    writer->ring().set_capture_state(CaptureState::kStreaming);
    thread.join();
  }
  EXPECT_TRUE(good);
  EXPECT_EQ(joiner.failure, "");
  EXPECT_EQ(follower.failure, "");
  EXPECT_EQ(joins, joins_wanted());
  EXPECT_GT(joiner.relocations, 0u);
  EXPECT_GT(follower.relocations, 0u);
  EXPECT_GT(follower.copied, 0u);
  EXPECT_GT(writer->ring().usage().segments_freed, 0u);
  std::printf(
      "%lu joins while %lu transactions were written and %lu segments freed; the longest waited %.1f ms\n",
      joins.load(), version - began, writer->ring().usage().segments_freed,
      static_cast<double>(longest_wait_ns) / 1e6);
  std::string wrong;
  proven_rows_of(mirror_of(writer.options().ring), wrong);
  EXPECT_EQ(wrong, "");
}

}  // namespace
}  // namespace ringside::shm
