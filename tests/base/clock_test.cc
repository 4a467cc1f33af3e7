#include "base/clock.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace ringside {
namespace {

TEST(Clock, TheOffsetOfATimeNamespaceIsRead) {
  EXPECT_EQ(monotonic_offset_ns("monotonic           0         0\nboottime            0         0\n"), 0);
  EXPECT_EQ(monotonic_offset_ns("monotonic      100000         5\nboottime           -7         0\n"),
            100'000'000'000'005);
  EXPECT_EQ(monotonic_offset_ns("boottime           -7         0\nmonotonic         -12 500000000\n"),
            -11'500'000'000)
      << "the nanoseconds count upwards";
  EXPECT_EQ(monotonic_offset_ns("1 -12 0\n7 3 0"), -12'000'000'000) << "by the clock's number";
}

TEST(Clock, WhatSaysNothingOfAnOffsetIsNotBelieved) {
  for (const char* text :
       {"", "\n", "boottime 1 0\n", "monotonic", "monotonic 1", "monotonic 1 x\n", "monotonic 1 0 0\n",
        "monotonic 1 -1\n", "monotonic 1 1000000000\n", "monotonic 99999999999999999999 0\n",
        "monotonic 5000000001 0\n", "monotonic -9223372036854775808 0\n"}) {
    EXPECT_EQ(monotonic_offset_ns(text), std::nullopt) << text;
  }
}

TEST(Clock, TheWallClockStaysAsFarAheadWhileNobodySetsIt) {
  std::int64_t least = INT64_MAX;
  const std::int64_t before = wall_ahead_ns();
  for (int i = 0; i < 100; ++i) least = std::min(least, std::abs(wall_ahead_ns() - before));
  EXPECT_LT(least, 1'000'000'000);
}

}  // namespace
}  // namespace ringside
