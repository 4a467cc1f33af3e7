// Replicas join one after the other while a writer at full speed changes a ring that is four fifths live and compacted
// all the time: each finds, by everything that it looks rows up in, exactly the rows of the version that it shows.
//
// RINGSIDE_JOINS: how many joins (20).
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <stop_token>
#include <string>
#include <thread>

#include "base/clock.h"
#include "replica/follower.h"
#include "shm/key.h"
#include "tests/shm/proven_rows.h"

namespace ringside::replica {
namespace {

constexpr std::uint64_t kKeys = 2000;  // of about 500 bytes each, nearly all there
constexpr std::uint64_t kSegmentBytes = 16384;

std::uint64_t joins_wanted() {
  const char* set = std::getenv("RINGSIDE_JOINS");
  return set == nullptr ? 20 : std::strtoull(set, nullptr, 10);
}

// Asks for every key that there may be, at the version that is shown.
void expect_all_rows(const Follower& follower) {
  const TableStore& store = follower.tables();
  const std::uint64_t version = store.visible_version().value();
  const Route* route = store.find_route("items");
  ASSERT_TRUE(route != nullptr && route->table != nullptr);
  RowBuffer buffer;
  shm::ProvenRows rows;
  std::uint64_t found = 0;
  const auto ask = [&](std::uint64_t id) {
    const std::string key = shm::item_key(id);
    const Lookup lookup = store.lookup(*route->table, shm::key_hash(as_bytes(key)), as_bytes(key), buffer);
    ASSERT_NE(lookup, Lookup::kLost) << id << " at version " << version;
    if (lookup != Lookup::kRow) return;
    ++found;
    EXPECT_TRUE(rows.read(id, buffer.row.value(1))) << buffer.row.value(1);
  };
  for (std::uint64_t id = 0; id < kKeys; ++id) ask(id);
  ask(shm::kSumKey);
  EXPECT_EQ(rows.what_is_wrong(version), "");
  if (store.is_between_transactions()) {
    EXPECT_EQ(route->table->row_count, found);
  }
}

TEST(Joining, TwentyReplicasInARowFindEveryRowWhileTheRingIsCompacted) {
  const std::uint32_t seed = shm::test_seed(20260314);
  const shm::RingDirectory directory;
  shm::PublisherOptions options = directory.options();
  options.ring.segment_bytes = kSegmentBytes;
  options.ring.chunk_bytes = 4 * kSegmentBytes;
  options.ring.reserve_bytes = 0;
  options.ring.reader_grace_ns = 120'000'000'000;  // however slow the machine: nobody is stopped here
  options.ring.reader_wait_ns = 120'000'000'000;
  shm::TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::mt19937_64 random(seed);
  shm::ProvenRows rows;
  shm::ProvenChanges<shm::TestWriter> changes(writer, rows, kKeys);
  std::uint64_t version = 2;
  ASSERT_TRUE(changes.fill(version) && writer.commit(version));
  while (version < 2000) {
    ++version;
    ASSERT_TRUE(changes.change(version, random) && writer.commit(version));
  }
  const std::uint64_t live = writer->ring().usage().live_bytes;
  ASSERT_TRUE(
      writer->ring().set_limits((live * 5 / 4 + kSegmentBytes - 1) / kSegmentBytes * kSegmentBytes, 0));

  std::atomic<bool> is_good{true};
  std::uint64_t longest_wait_ns = 0;
  std::jthread writing([&](const std::stop_token& stop) {
    while (!stop.stop_requested() && is_good) {
      bool good = changes.change(++version, random);
      const std::uint64_t from_ns = monotonic_ns();
      auto committed = writer.try_commit(version);
      while (!committed && committed.error().kind == ErrorKind::kLimit &&
             (writer->room_state() == shm::RoomState::kSoon ||
              writer->room_state() == shm::RoomState::kReaders)) {
        good = writer->tend(monotonic_ns()).has_value() && good;
        good = writer->ring().check_readers(monotonic_ns()) == 0 && good;
        if (!good) break;
        if (writer->room_state() == shm::RoomState::kReaders) std::this_thread::yield();
        committed = writer.try_commit(version);
      }
      longest_wait_ns = std::max(longest_wait_ns, monotonic_ns() - from_ns);
      if (!good || !committed || !committed->empty()) is_good = false;
      writer->ring().beat(monotonic_ns());
    }
  });

  std::uint64_t joined = 0;
  for (; joined < joins_wanted() && is_good && !::testing::Test::HasFailure(); ++joined) {
    Follower follower(options.ring.directory, options.ring.name);
    while (!follower.is_serving() && is_good) {
      follower.turn(monotonic_ns());
      ASSERT_EQ(follower.counters().evictions + follower.counters().corruptions, 0u) << "a join was given up";
    }
    // As it has joined, and while it follows: also in the middle of transactions.
    for (std::uint64_t turn = 0; turn < 4 + joined % 5 && is_good; ++turn) {
      ASSERT_NO_FATAL_FAILURE(expect_all_rows(follower));
      follower.turn(monotonic_ns());
      ASSERT_TRUE(follower.is_serving()) << follower.reason();
    }
  }
  writing.request_stop();
  writing.join();
  EXPECT_TRUE(is_good) << "the writer came to an end";
  EXPECT_EQ(joined, joins_wanted());
  EXPECT_GT(writer->ring().usage().segments_freed, 100u);
  std::printf("%lu joins; %lu transactions, the longest waited %.1f ms; %lu segments freed\n", joined,
              version - 2000, static_cast<double>(longest_wait_ns) / 1e6,
              writer->ring().usage().segments_freed);
}

}  // namespace
}  // namespace ringside::replica
