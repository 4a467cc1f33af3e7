// A follower between the ring and what is served: large transactions, and what it tells the writer: how far it is, and that
// it gets on.
#include "replica/follower.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

// Turns until it serves; false when it does not come to that.
bool join(Follower& follower) {
  for (int i = 0; i < 100'000 && !follower.is_serving(); ++i) follower.turn(monotonic_ns());
  return follower.is_serving();
}

TEST(Follower, AppliesALargeTransactionInSlicesAndShowsItWhole) {
  shm::PublisherOptions options = shm::RingDirectory().options();
  options.ring.segment_bytes = std::uint64_t{1} << 20;
  options.ring.chunk_bytes = std::uint64_t{8} << 20;
  options.ring.max_bytes = std::uint64_t{256} << 20;
  TestRing ring(options);
  constexpr std::uint64_t kRows = 60'000;
  ring.begin(kRows, 5);
  Follower follower(ring.directory(), ring.name());
  while (!follower.is_serving()) follower.turn(monotonic_ns());
  EXPECT_EQ(follower.tables().visible_version(), Version(5));
  for (std::uint64_t id = 0; id < kRows; ++id) {
    if (id % 2 == 0) {
      ring.set_item(id, "\"new\"");
    } else {
      ring.erase_item(id);
    }
  }
  ring.commit(6);
  RowBuffer buffer;
  int slices = 0;
  const auto expect_whole = [&] {
    const ServedTable& table = *follower.tables().find_route("items")->table;
    const bool is_new = follower.tables().visible_version() == Version(6);
    for (const std::uint64_t id :
         {std::uint64_t{0}, std::uint64_t{1}, kRows / 2, kRows / 2 + 1, kRows - 2, kRows - 1}) {
      const std::string key = shm::item_key(id);
      const Lookup found =
          follower.tables().lookup(table, shm::key_hash(as_bytes(key)), as_bytes(key), buffer);
      ASSERT_EQ(found, is_new && id % 2 == 1 ? Lookup::kNone : Lookup::kRow) << id;
      if (found == Lookup::kRow) {
        ASSERT_EQ(buffer.row.value(1), is_new ? "\"new\"" : "\"item-" + std::to_string(id) + "\"");
      }
    }
  };
  do {
    follower.turn(monotonic_ns());
    ++slices;
    expect_whole();
    if (HasFatalFailure()) return;
  } while (follower.has_work());
  EXPECT_EQ(follower.tables().visible_version(), Version(6));
  EXPECT_GT(slices, 2) << "60,000 records do not fit a slice";
  EXPECT_EQ(follower.tables().find_route("items")->table->row_count, kRows / 2);
}

// A transaction may be larger than what a reader may hold back, and take longer than a stuck one is waited for.
TEST(Follower, IsNotTakenForStuckWhileItAppliesALargeTransaction) {
  const shm::RingDirectory directory;
  shm::PublisherOptions options = directory.options();
  options.ring.reader_limit_bytes = std::uint64_t{1} << 20;
  options.transaction_buffer_bytes = std::uint64_t{16} << 20;
  shm::TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  Follower follower(options.ring.directory, options.ring.name);
  ASSERT_TRUE(join(follower));
  constexpr std::uint64_t kRows = 20'000;
  for (std::uint64_t id = 0; id < kRows; ++id) ASSERT_TRUE(writer.insert(id, shm::filler(200)));
  ASSERT_TRUE(writer.commit(2));
  std::uint64_t now_ns = 1;
  EXPECT_EQ(writer->ring().check_readers(now_ns), 0u);
  int looks = 0;
  while (follower.tables().visible_version() < Version(2)) {
    ASSERT_LT(++looks, 100'000);
    follower.turn(monotonic_ns());
    ASSERT_TRUE(follower.is_serving());
    now_ns += options.ring.reader_grace_ns / 2 + 1;  // as if a slice took so long
    ASSERT_EQ(writer->ring().check_readers(now_ns), 0u) << "after " << looks << " slices";
  }
  EXPECT_GT(looks, 4) << "or else nothing was tried";
  EXPECT_EQ(follower.counters().evictions, 0u);
}

// Whatever record of the log a slice of the join ended behind, the last one included: rows so large that a slice never
// gets further than to its first look at the clock, and a log that is one transaction longer each time.
TEST(Follower, HoldsNothingOnceItHasJoined) {
  const shm::RingDirectory directory;
  shm::PublisherOptions options = directory.options();
  options.ring.segment_bytes = std::uint64_t{4} << 20;
  options.ring.chunk_bytes = std::uint64_t{4} << 20;
  options.ring.max_bytes = std::uint64_t{256} << 20;
  shm::TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  for (std::uint64_t version = 2; version < 64; ++version) {
    ASSERT_TRUE(writer.insert(version, shm::filler(1'000'000)));
    ASSERT_TRUE(writer.commit(version));
    Follower follower(options.ring.directory, options.ring.name);
    ASSERT_TRUE(join(follower));
    const std::vector<shm::ReaderStatus> readers = writer->ring().readers();
    ASSERT_EQ(readers.size(), 1u);
    EXPECT_EQ(readers.front().reclaim_position, writer->ring().committed_position()) << "at " << version;
  }
}

}  // namespace
}  // namespace ringside::replica
