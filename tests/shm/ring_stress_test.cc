// One writer thread, two reader threads, one ring: rows that prove themselves are published, followed, copied
// by address in no order, and waited for asleep. Meant for ThreadSanitizer as well.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "shm/row_index.h"
#include "tests/shm/proven_rows.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kKeys = 500;
constexpr std::uint64_t kLastVersion = 2000;

class StressReader {
 public:
  // `seen`: the newest version that any reader has seen.
  StressReader(const RingOptions& options, std::uint32_t seed, std::atomic<std::uint64_t>& seen)
      : options_(options), random_(seed), seen_(seen) {}

  // Joins again and again until the last version has been seen.
  void run() {
    buffer_.resize(4096);
    while (version_ < kLastVersion && failure.empty()) {
      rows_.clear();
      version_ = 0;
      stay(random_() % 3 == 0 ? kLastVersion : 1000 + random_() % 8000);
    }
  }

  std::string failure;
  std::uint64_t copied = 0;
  std::uint64_t slept = 0;
  std::uint64_t joined = 0;

 private:
  struct Row {
    Address address = 0;
    std::uint64_t version = 0;
    std::uint64_t generation = 0;
  };

  // Follows for so many records at least, then leaves the ring in the middle of whatever it does.
  void stay(std::uint64_t records) {
    auto reader = RingReader::attach(options_.directory, options_.name);
    if (!reader) return fail("attach: " + reader.error().message);
    RingReader& ring = **reader;
    if (const auto joining = ring.join(); !joining) return fail("join: " + joining.error().message);
    ++joined;
    Record record;
    for (std::uint64_t seen = 0; failure.empty();) {
      const Step step = ring.next(record);
      if (step == Step::kRecord) {
        ++seen;
        apply(record);
        continue;
      }
      if (step != Step::kCaughtUp) return fail("step " + std::to_string(static_cast<int>(step)));
      ring.set_reclaim_position(ring.position());
      check_rows(ring);
      std::uint64_t newest = seen_.load();
      while (newest < version_ && !seen_.compare_exchange_weak(newest, version_)) {
      }
      if (version_ >= kLastVersion || seen >= records) return;
      wait(ring);
    }
  }

  void apply(const Record& record) {
    if (record.header.type == RecordType::kCommit) {
      if (record.header.version.value() < version_) return fail("a version went back");
      version_ = record.header.version.value();
    }
    const bool is_row = record.header.type == RecordType::kRow;
    if (!is_row && record.header.type != RecordType::kTombstone) return;
    const std::uint64_t key = load_be<std::uint64_t>(record.bytes.data() + kRecordHeaderBytes);
    if (!is_row) {
      rows_.erase(key);
      return;
    }
    RowView row;
    if (!RowView::parse(record.header, record.bytes, row)) return fail("a row contradicts itself");
    const std::uint64_t generation = generation_of(key, row.value(1));
    if (generation == 0) return fail("a row does not prove itself: " + std::string(row.value(1)));
    if (generation > record.header.version.value()) return fail("a row of the future");
    Row& mine = rows_[key];
    if (generation <= mine.generation) return fail("a row went back");
    mine = Row{record.address, record.header.version.value(), generation};
  }

  // Rows at random, by address, against what the log said.
  void check_rows(RingReader& ring) {
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t key = random_() % kKeys;
      const auto found = rows_.find(key);
      if (found == rows_.end()) continue;
      RecordHeader header;
      const CopyStatus status = ring.copy_record(found->second.address, header, buffer_);
      RowView row;
      const std::string name = item_key(key);
      if (status != CopyStatus::kOk || !RowView::parse(header, Bytes(buffer_).first(header.length), row) ||
          header.version.value() != found->second.version || row.key() != name ||
          generation_of(key, row.value(1)) != found->second.generation ||
          !ring.equals(found->second.address, as_bytes(name)) ||
          ring.hash(found->second.address) != key_hash(as_bytes(name))) {
        return fail("a row copied by address is another");
      }
      ++copied;
    }
  }

  void wait(RingReader& ring) {
    if (!ring.prepare_sleep()) return;
    pollfd fd{ring.wake_fd(), POLLIN, 0};
    while (::poll(&fd, 1, -1) < 0) {
    }
    ring.awake();
    char bytes[64];
    while (::read(ring.wake_fd(), bytes, sizeof bytes) > 0) {
    }
    ++slept;
  }

  void fail(std::string what) {
    if (failure.empty()) failure = std::move(what);
    seen_.store(~std::uint64_t{0});  // so that nobody waits for this one
  }

  RingOptions options_;
  std::mt19937 random_;
  std::atomic<std::uint64_t>& seen_;
  std::vector<std::byte> buffer_;
  std::unordered_map<std::uint64_t, Row> rows_;
  std::uint64_t version_ = 0;
};

TEST(RingStress, ReadersFollowSleepAndCopyWhileTheWriterPublishes) {
  const std::uint32_t seed = test_seed(7);
  const RingDirectory directory;
  TestWriter writer(directory.options());
  writer.options().ring.max_bytes = std::uint64_t{256} << 20;
  ASSERT_TRUE(writer.start());
  std::atomic<std::uint64_t> seen{0};
  std::vector<StressReader> readers;
  readers.emplace_back(writer.options().ring, seed + 1, seen);
  readers.emplace_back(writer.options().ring, seed + 2, seen);
  std::vector<std::thread> threads;
  for (StressReader& reader : readers) threads.emplace_back([&reader] { reader.run(); });

  std::mt19937 random(seed);
  std::vector<bool> present(kKeys, false);
  bool good = true;
  for (std::uint64_t version = 2; version <= kLastVersion; ++version) {
    for (std::uint64_t changes = random() % 6; changes-- > 0;) {
      const std::uint64_t key = random() % kKeys;
      if (present[key] && random() % 4 == 0) {
        good = writer.erase(key) && good;
        present[key] = false;
        continue;
      }
      // The generation is the version: twice in a transaction would not be told apart.
      if (!present[key]) {
        good = writer.insert(key, proven_row(key, version)) && good;
      } else {
        good = writer.erase(key) && writer.insert(key, proven_row(key, version)) && good;
      }
      present[key] = true;
    }
    good = writer.commit(version) && good;
    if (version % 64 == 0) writer->ring().check_readers(version);
    // Now in step with the faster reader, which then sleeps after nearly every transaction, now ahead of it.
    const std::uint64_t lead = version / 500 % 2 == 0 ? 1 : 50;
    while (good && seen.load() + lead < version) std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(good);
  std::uint64_t slept = 0;
  for (const StressReader& reader : readers) {
    EXPECT_EQ(reader.failure, "");
    EXPECT_GT(reader.copied, 0u);
    EXPECT_GT(reader.joined, 0u);
    slept += reader.slept;
    std::printf("joined %lu times, slept %lu times, copied %lu rows\n", reader.joined, reader.slept,
                reader.copied);
  }
  EXPECT_GT(slept, 100u);
}

}  // namespace
}  // namespace ringside::shm
