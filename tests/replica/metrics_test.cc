// What a replica counts and how it times: without a ring, a socket or a clock.
#include <gtest/gtest.h>

#include "replica/replica_metrics.h"
#include "replica/visibility.h"

namespace ringside::replica {
namespace {

TEST(RequestCounts, EveryStatusOfHttpHasItsOwn) {
  RequestCounts counts;
  for (std::uint16_t status = RequestCounts::kFirstStatus; status <= RequestCounts::kLastStatus; ++status) {
    for (unsigned times = 0; times < status % 3; ++times) counts.count(RouteKind::kRows, status);
  }
  for (std::uint16_t status = RequestCounts::kFirstStatus; status <= RequestCounts::kLastStatus; ++status) {
    EXPECT_EQ(counts.of(RouteKind::kRows, status), status % 3);
    EXPECT_EQ(counts.of(RouteKind::kRow, status), 0u);
    EXPECT_EQ(counts.of(RouteKind::kVersion, status), 0u);
  }
}

TEST(RequestDurations, ThoseOfATurnAreRecordedAtItsEndByTheirRoute) {
  RequestDurations durations;
  durations.answered(RouteKind::kRow, 1000, 1000);
  durations.answered(RouteKind::kRow, 1000, 1000);
  durations.answered(RouteKind::kVersion, 1000, 1000);
  durations.answered(RouteKind::kMetrics, 1000, 1000);
  EXPECT_EQ(durations.of(RouteKind::kRow).count(), 0u) << "the turn goes on";
  durations.end_turn(1000, 4000);
  EXPECT_EQ(durations.of(RouteKind::kRow).count(), 2u);
  EXPECT_EQ(durations.of(RouteKind::kRow).sum_ns(), 6000u);
  EXPECT_EQ(durations.of(RouteKind::kVersion).sum_ns(), 3000u);
  EXPECT_EQ(durations.of(RouteKind::kRows).count(), 0u);
  durations.end_turn(5000, 9000);
  EXPECT_EQ(durations.of(RouteKind::kRow).count(), 2u) << "recorded once";
}

TEST(RequestDurations, AWaitCountsFromItsOwnTurn) {
  RequestDurations durations;
  durations.answered(RouteKind::kRow, 1'000'000, 9'000'000);
  durations.end_turn(9'000'000, 9'500'000);
  EXPECT_EQ(durations.of(RouteKind::kRow).sum_ns(), 8'500'000u);
}

TEST(RequestDurations, AnyNumberOfWaitsMayEndInOneTurn) {
  RequestDurations durations;
  constexpr std::uint64_t kWaits = 10'000;
  for (std::uint64_t i = 0; i < kWaits; ++i) durations.answered(RouteKind::kRows, 1'000'000, 9'000'000);
  durations.end_turn(9'000'000, 9'500'000);
  const http::Histogram& rows = durations.of(RouteKind::kRows);
  EXPECT_EQ(rows.count(), kWaits);
  EXPECT_GE(rows.sum_ns(), kWaits * 8'000'000);
  EXPECT_LE(rows.sum_ns(), kWaits * 8'500'000);
}

TEST(VisibilityTimes, AreTakenFromBothClocksWhenTheCommitsAreShown) {
  VisibilityTimes times;
  EXPECT_TRUE(times.committed(1'000'000, 5'000));
  EXPECT_TRUE(times.committed(1'400'000, 6'000));
  EXPECT_EQ(times.commit_to_visible().count(), 0u);
  times.shown({10'000, 1'500'000});
  EXPECT_TRUE(times.is_empty());
  EXPECT_EQ(times.commit_to_visible().count(), 2u);
  EXPECT_EQ(times.commit_to_visible().sum_ns(), 600'000'000u);
  EXPECT_EQ(times.received_to_visible().sum_ns(), 9'000u);
  times.shown({20'000, 2'500'000});
  EXPECT_EQ(times.commit_to_visible().count(), 2u) << "each once";
}

TEST(VisibilityTimes, UnknownTimesAreNotCountedAndNoneIsNegative) {
  VisibilityTimes times;
  times.committed(0, 0);
  times.committed(2'000'000, 9'000);  // by clocks that do not agree
  times.shown({8'000, 1'000'000});
  EXPECT_EQ(times.commit_to_visible().count(), 1u);
  EXPECT_EQ(times.commit_to_visible().sum_ns(), 0u);
  EXPECT_EQ(times.received_to_visible().count(), 1u);
  EXPECT_EQ(times.received_to_visible().sum_ns(), 0u);
  // An offset that came out of the ring wrong: no year 580,000.
  times.committed(1'000'000, 1);
  times.shown({8'000, ~std::uint64_t{0}});
  EXPECT_EQ(times.commit_to_visible().count(), 1u);
}

TEST(VisibilityTimes, AFullSliceSaysSo) {
  VisibilityTimes times;
  for (std::size_t i = 0; i < VisibilityTimes::kMaxPending; ++i) EXPECT_TRUE(times.committed(1, 1));
  EXPECT_TRUE(times.is_full());
  EXPECT_FALSE(times.committed(1, 1));
  times.shown({2, 2});
  EXPECT_EQ(times.commit_to_visible().count(), VisibilityTimes::kMaxPending);
  EXPECT_TRUE(times.committed(1, 1));
}

}  // namespace
}  // namespace ringside::replica
