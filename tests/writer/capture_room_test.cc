// Capture against a real server: no room in the ring, or for a spill file.
#include <filesystem>

#include "tests/writer/capture_fixture.h"

namespace ringside::writer {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CaptureRoom : public testing::CaptureFixture {};

TEST_P(CaptureRoom, AFullRingPausesAndGoesOnWithALargerOne) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT)");
  config_.ring.max_size_bytes = 8 * config_.ring.segment_size_bytes;
  config_.ring.transaction_reserve_bytes = 0;
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  for (int id = 1; id <= 100; ++id) {
    server_->sql("INSERT INTO big VALUES (" + std::to_string(id) + ", REPEAT('x', 10000))");
  }
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kFull; }));
  EXPECT_THAT(status().reason, HasSubstr("raise ring.max_size"));
  EXPECT_EQ(status().full, FullCause::kMaxSize);
  const std::size_t rows = mirror_.lines("big").size();
  EXPECT_LT(rows, 100u);
  EXPECT_EQ(tracker_->stream_state(), StreamState::kInterrupted);
  ASSERT_TRUE(stop()) << "a full ring can be stopped";
  config_.ring.max_size_bytes = 32 * config_.ring.segment_size_bytes;  // what this ring can address
  start();
  expect_equal_version();
  EXPECT_EQ(mirror_.lines("big").size(), 100u);
  EXPECT_EQ(mirror_.epoch(), epoch);
  EXPECT_EQ(status().snapshots, 0u);
}

TEST_P(CaptureRoom, AFullRingGoesOnByItselfWhenItsLimitIsRaised) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT)");
  config_.ring.max_size_bytes = 8 * config_.ring.segment_size_bytes;
  config_.ring.transaction_reserve_bytes = 0;
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  for (int id = 1; id <= 100; ++id) {
    server_->sql("INSERT INTO big VALUES (" + std::to_string(id) + ", REPEAT('x', 10000))");
  }
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.full == FullCause::kMaxSize; }));
  RingConfig larger = config_.ring;
  larger.max_size_bytes = std::uint64_t{1}
                          << 50;  // more than this ring could ever address: it stays as it is
  capture_->change_limits(larger);
  larger.max_size_bytes = 32 * config_.ring.segment_size_bytes;
  capture_->change_limits(larger);
  expect_equal_version();
  EXPECT_EQ(mirror_.lines("big").size(), 100u);
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
  EXPECT_EQ(status().full, FullCause::kNone);
  EXPECT_EQ(status().full_episodes, 1u);
  EXPECT_EQ(mirror_.epoch(), epoch);
}

TEST_P(CaptureRoom, ATransactionThatFitsInNoWayWaitsOrMakesTheRingAnew) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, n INT, t TEXT)");
  config_.ring.max_size_bytes = 16 * config_.ring.segment_size_bytes;
  config_.ring.transaction_reserve_bytes = 0;
  start_and_load();
  server_->sql("INSERT INTO big SELECT seq, 0, REPEAT('x', 10000) FROM " + sequence(20));
  server_->sql("INSERT INTO big SELECT 20 + seq, 0, REPEAT('x', 10000) FROM " + sequence(20));
  server_->sql("INSERT INTO big SELECT 40 + seq, 0, REPEAT('x', 10000) FROM " + sequence(20));
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  server_->sql("UPDATE big SET n = 1");
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.full == FullCause::kReserve; }));
  EXPECT_THAT(status().reason, HasSubstr("ring.on_full"));
  EXPECT_EQ(mirror_.epoch(), epoch);
  RingConfig rebuilding = config_.ring;
  rebuilding.on_full = OnFull::kRebuild;
  capture_->change_limits(rebuilding);
  expect_equal("big", "SELECT CONCAT_WS('\t', id, n, CONCAT('\"', t, '\"'))");
  EXPECT_NE(mirror_.epoch(), epoch);
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
  EXPECT_EQ(status().snapshots, 2u);
  server_->sql("DELETE FROM big WHERE id > 1");
  expect_equal_version();
  EXPECT_EQ(mirror_.lines("big").size(), 1u);
}

// Of tables that have to be loaded, one is too large for what is left.
TEST_P(CaptureRoom, ATableThatFindsNoRoomKeepsNoOtherOut) {
  server_->sql_all({"CREATE TABLE small (id INT PRIMARY KEY, v INT)", "INSERT INTO small VALUES (1, 1)"});
  config_.ring.max_size_bytes = 16 * config_.ring.segment_size_bytes;
  config_.ring.transaction_reserve_bytes = 0;
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  ASSERT_TRUE(stop());
  server_->sql_all({"CREATE TABLE big (id INT PRIMARY KEY, t TEXT)",
                    "INSERT INTO big SELECT seq, REPEAT('x', 10000) FROM " + sequence(150),
                    "ALTER TABLE small ADD COLUMN w INT", "UPDATE small SET w = 3"});
  start();
  expect_equal("small", "SELECT CONCAT_WS('\t', id, v, w)");
  EXPECT_NE(mirror_.lines("big").size(), 150u);
  RingConfig larger = config_.ring;
  larger.max_size_bytes = 48 * config_.ring.segment_size_bytes;
  capture_->change_limits(larger);
  EXPECT_TRUE(until([&] { return mirror_.lines("big").size() == 150; })) << "tried again at once";
  EXPECT_EQ(mirror_.epoch(), epoch);
}

// The source has another history, which does not fit: what is served is of the past all the same.
TEST_P(CaptureRoom, AReplacementThatFindsNoRoomIsStillOne) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT)");
  config_.ring.max_size_bytes = 16 * config_.ring.segment_size_bytes;
  config_.ring.transaction_reserve_bytes = 0;
  start_and_load();
  ASSERT_TRUE(stop());
  server_->sql("INSERT INTO big SELECT seq, REPEAT('x', 10000) FROM " + sequence(150));
  server_->sql("DELETE FROM ringside.history");
  start();
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kFull; }));
  EXPECT_NE(status().full, FullCause::kNone);
  EXPECT_TRUE(until([&] { return mirror_.state() == shm::CaptureState::kReplacing; }));
  // The limits of the ring that is being loaded are raised with all others.
  RingConfig larger = config_.ring;
  larger.max_size_bytes = 64 * kMiB;
  capture_->change_limits(larger);
  EXPECT_TRUE(until([&] { return mirror_.lines("big").size() == 150; }));
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
}

TEST_P(CaptureRoom, ALargeTransactionGoesThroughTheSpillFile) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT)");
  config_.writer.transaction_buffer_bytes = 64 * 1024;
  start_and_load();
  server_->sql("INSERT INTO big SELECT seq, REPEAT('x', 500) FROM " + sequence(2000));
  expect_equal("big", "SELECT CONCAT(id, '\t\"', t, '\"')");
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.spilled_bytes > 500'000; }));
  EXPECT_EQ(mirror_.lines("big").size(), 2000u);
}

TEST_P(CaptureRoom, ASpillDirectoryThatIsMissingIsAPassingTrouble) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT)");
  config_.writer.transaction_buffer_bytes = 64 * 1024;
  config_.writer.spill_directory = server_->directory() / "spill";
  start_and_load();
  server_->sql("INSERT INTO big SELECT seq, REPEAT('x', 500) FROM " + sequence(2000));
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kFull; }));
  EXPECT_THAT(status().reason, HasSubstr("writer.spill_directory"));
  EXPECT_THAT(mirror_.lines("big"), IsEmpty());
  std::filesystem::create_directory(config_.writer.spill_directory);
  expect_equal_version();
  EXPECT_EQ(mirror_.lines("big").size(), 2000u);
}

// --- refusals

RINGSIDE_ON_BOTH_SERVERS(CaptureRoom);

}  // namespace
}  // namespace ringside::writer
