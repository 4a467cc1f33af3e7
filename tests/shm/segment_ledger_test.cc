#include "shm/segment_ledger.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kSegment = 4096;

TEST(SegmentLedger, CountsLiveBytesAsAMapWould) {
  std::mt19937 random(test_seed(1));
  SegmentLedger ledger(kSegment);
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint64_t> model;  // slot, table → bytes
  for (std::uint64_t slot = 0; slot < 20; ++slot) ledger.open(slot, 1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t slot = random() % 20;
    const auto table = static_cast<std::uint32_t>(random() % 4);
    const std::uint64_t bytes = 40 + random() % 50 * 8;
    std::uint64_t& live = model[{slot, table}];
    if (random() % 2 == 0 || live < bytes) {
      EXPECT_EQ(ledger.remove(slot, TableId(table), live + 8), false) << "more than was counted";
      ledger.add(slot, TableId(table), bytes, Version(1));
      live += bytes;
    } else {
      ASSERT_TRUE(ledger.remove(slot, TableId(table), bytes));
      live -= bytes;
    }
    if (i % 500 == 0) {  // a table ends
      ledger.forget(TableId(table));
      for (auto& [at, left] : model) {
        if (at.second == table) left = 0;
      }
    }
    std::uint64_t all = 0;
    std::uint64_t here = 0;
    for (const auto& [at, left] : model) {
      all += left;
      if (at.first == slot) here += left;
    }
    ASSERT_EQ(ledger.live_bytes(), all);
    ASSERT_EQ(ledger.live_bytes(slot), here);
  }
}

TEST(SegmentLedger, PicksTheEmptyThenTheDeadestThenTheOldest) {
  SegmentLedger ledger(kSegment);
  for (std::uint64_t slot = 0; slot < 4; ++slot) ledger.open(slot, 1);
  ledger.add(0, TableId(1), 2000, Version(100));
  ledger.add(1, TableId(1), 1000, Version(100));
  ledger.add(2, TableId(1), 1000, Version(10));
  EXPECT_EQ(ledger.pick_victim({}, Version(100), 1)->slot, 3u) << "nothing in it is live";
  const std::uint64_t pinned[] = {3};
  EXPECT_EQ(ledger.pick_victim(pinned, Version(100), 1)->slot, 2u) << "as live as the other, and older";
  ledger.add(2, TableId(1), 3000, Version(10));
  EXPECT_EQ(ledger.pick_victim(pinned, Version(100), 1)->slot, 1u);
  EXPECT_FALSE(ledger.pick_victim(pinned, Version(100), 0.1).has_value()) << "all are livelier than that";
}

// More segments than one search looks at.
TEST(SegmentLedger, AVainLookAtAPartOfTheSegmentsIsNoVainSearch) {
  SegmentLedger ledger(kSegment);
  constexpr std::uint64_t kSlots = 3 * SegmentLedger::kMostLookedAt;
  for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
    ledger.open(slot, 1);
    ledger.add(slot, TableId(1), kSegment, Version(1));
  }
  constexpr std::uint64_t kDead = kSlots - 1;
  ASSERT_TRUE(ledger.remove(kDead, TableId(1), kSegment));
  for (int part = 0; part < 2; ++part) {
    EXPECT_FALSE(ledger.pick_victim({}, Version(1), 0.9).has_value());
    EXPECT_TRUE(ledger.is_looking());
  }
  ASSERT_EQ(ledger.pick_victim({}, Version(1), 0.9)->slot, kDead);
  EXPECT_FALSE(ledger.is_looking());
  ledger.close(kDead);
  // Now there is none. That is known after one look at each, until more has died or more is asked for.
  int looks = 1;
  for (; !ledger.pick_victim({}, Version(1), 0.9) && ledger.is_looking(); ++looks) ASSERT_LT(looks, 10);
  EXPECT_EQ(looks, 3);
  EXPECT_FALSE(ledger.pick_victim({}, Version(1), 0.9).has_value());
  EXPECT_FALSE(ledger.is_looking());
  ASSERT_TRUE(ledger.remove(7, TableId(1), kSegment));
  looks = 1;
  std::optional<SegmentLedger::Victim> found;
  while (!(found = ledger.pick_victim({}, Version(1), 0.9)) && looks < 10) ++looks;
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->slot, 7u);
}

TEST(SegmentLedger, ASegmentWithALiveJumboRecordIsNotMoved) {
  SegmentLedger ledger(kSegment);
  ledger.open(0, 3);
  ledger.add(0, TableId(1), 10'000, Version(1));
  ledger.add(2, TableId(2), 100, Version(1));  // behind it, in the run's last slot
  EXPECT_EQ(ledger.live_bytes(1), 10'100u) << "a run is one segment";
  EXPECT_FALSE(ledger.pick_victim({}, Version(1), 1).has_value());
  EXPECT_FALSE(ledger.first_within(0, 3, {}).has_value());
  ledger.forget(TableId(1));
  const std::uint64_t pinned[] = {2};
  EXPECT_FALSE(ledger.first_within(0, 3, pinned).has_value());
  EXPECT_EQ(ledger.first_within(0, 3, {})->slot, 0u);
  ASSERT_TRUE(ledger.remove(2, TableId(2), 100));
  ledger.close(0);
  EXPECT_FALSE(ledger.pick_victim({}, Version(1), 1).has_value());
}

}  // namespace
}  // namespace ringside::shm
