#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "writer/commands/command_tracker.h"

namespace ringside::writer {
namespace {

using namespace std::chrono_literals;

TEST(CommandTracker, IdsDiffer) {
  std::set<CommandId> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(make_command_id());
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(CommandTracker, AMarkerThatComesFirstIsRemembered) {
  CommandTracker tracker;
  const CommandId id = make_command_id();
  tracker.committed(id, Version(42), "0-1-42");
  std::vector<std::uint64_t> told;
  tracker.await(id, [&](const CommittedAs& as) {
    told.push_back(as.version.value());
    EXPECT_EQ(as.gtid, "0-1-42");
  });
  EXPECT_EQ(told, std::vector<std::uint64_t>{42});
  EXPECT_EQ(tracker.waiting(), 0u);
  EXPECT_EQ(tracker.find(id)->version, Version(42));
}

TEST(CommandTracker, AWaitingCommandIsToldOnceEvenWhenTheStreamRepeats) {
  CommandTracker tracker;
  const CommandId id = make_command_id();
  int told = 0;
  tracker.await(id, [&](const CommittedAs&) { ++told; });
  EXPECT_EQ(tracker.waiting(), 1u);
  tracker.committed(make_command_id(), Version(1), "0-1-1");
  EXPECT_EQ(told, 0);
  tracker.committed(id, Version(2), "0-1-2");
  tracker.committed(id, Version(2), "0-1-2");
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(tracker.cancel(id));
}

TEST(CommandTracker, ACancelledCommandIsNotTold) {
  CommandTracker tracker;
  const CommandId id = make_command_id();
  int told = 0;
  tracker.await(id, [&](const CommittedAs&) { ++told; });
  EXPECT_TRUE(tracker.cancel(id));
  EXPECT_FALSE(tracker.cancel(id));
  tracker.committed(id, Version(2), "0-1-2");
  EXPECT_EQ(told, 0);
  EXPECT_TRUE(tracker.find(id)) << "who asks later still finds it";
}

TEST(CommandTracker, ForgetsTheOldestBeyondItsLimit) {
  CommandTracker tracker;
  const CommandId first = make_command_id();
  const CommandId second = make_command_id();
  tracker.committed(first, Version(1), "0-1-1");
  tracker.committed(second, Version(2), "0-1-2");
  for (std::size_t i = 2; i < kRememberedMarkers + 1; ++i)
    tracker.committed(make_command_id(), Version(i), "g");
  EXPECT_FALSE(tracker.find(first));
  EXPECT_TRUE(tracker.find(second));
}

TEST(CommandTracker, RowsThatNoRingsideWroteAreIgnored) {
  CommandTracker tracker;
  tracker.committed(as_bytes("short"), Version(1), "0-1-1");
  tracker.committed({}, Version(1), "0-1-1");
  EXPECT_EQ(tracker.waiting(), 0u);
}

TEST(CommandTracker, WaitForEndsWithTheMarkerTheTimeOrTheStream) {
  CommandTracker tracker;
  const CommandId id = make_command_id();
  EXPECT_FALSE(tracker.wait_for(id, 1ms));
  std::thread stream([&] { tracker.committed(id, Version(7), "0-1-7"); });
  const auto seen = tracker.wait_for(id, 1h);
  stream.join();
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->version, Version(7));
  std::thread stopper([&] { tracker.set_stream_state(StreamState::kStopped); });
  EXPECT_FALSE(tracker.wait_for(make_command_id(), 1h));
  stopper.join();
}

// Whatever the order of await, cancel and marker, each command is told exactly once or cancelled.
TEST(CommandTracker, EachCommandIsToldOrCancelledUnderConcurrency) {
  CommandTracker tracker;
  constexpr int kCommands = 2000;
  std::vector<CommandId> ids(kCommands);
  for (CommandId& id : ids) id = make_command_id();
  std::vector<std::atomic<int>> told(kCommands);
  std::atomic<int> cancelled{0};
  std::thread stream([&] {
    for (int i = 0; i < kCommands; ++i) tracker.committed(ids[static_cast<std::size_t>(i)], Version(1), "g");
  });
  std::thread canceller([&] {
    for (int i = kCommands - 1; i >= 0; i -= 2) {
      if (tracker.cancel(ids[static_cast<std::size_t>(i)])) ++cancelled;
    }
  });
  for (std::size_t i = 0; i < kCommands; ++i) {
    tracker.await(ids[i], [&told, i](const CommittedAs&) { ++told[i]; });
  }
  stream.join();
  canceller.join();
  int sum = 0;
  for (const auto& each : told) {
    EXPECT_LE(each.load(), 1);
    sum += each.load();
  }
  EXPECT_EQ(sum + cancelled.load(), kCommands);
  EXPECT_EQ(tracker.waiting(), 0u);
}

}  // namespace
}  // namespace ringside::writer
