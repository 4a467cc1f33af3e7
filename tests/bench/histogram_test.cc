#include "bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace ringside::bench {
namespace {

TEST(Histogram, EveryValueLiesInItsBucketAndBucketsHaveNoGap) {
  for (std::size_t bucket = 0; bucket + 1 < Histogram::kBuckets; ++bucket) {
    const std::uint64_t edge = Histogram::upper_edge(bucket);
    ASSERT_EQ(Histogram::bucket_of(edge), bucket);
    ASSERT_EQ(Histogram::bucket_of(edge + 1), bucket + 1) << edge;
  }
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (std::uint64_t i = 1; i <= 100; ++i) histogram.record(i);
  EXPECT_EQ(histogram.quantile(0.5), 50u);
  EXPECT_EQ(histogram.quantile(0.99), 99u);
  EXPECT_EQ(histogram.quantile(1.0), 100u);
  EXPECT_EQ(histogram.quantile(0.0), 1u);
  EXPECT_EQ(histogram.min(), 1u);
  EXPECT_EQ(histogram.max(), 100u);
  EXPECT_DOUBLE_EQ(histogram.mean(), 50.5);
}

TEST(Histogram, QuantilesAreWithinOneBucketAboveTheTruth) {
  std::mt19937_64 random(20260108);
  std::vector<std::uint64_t> values;
  Histogram histogram;
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t value = random() >> (24 + random() % 40);
    values.push_back(value);
    histogram.record(value);
  }
  std::sort(values.begin(), values.end());
  for (const double fraction : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999}) {
    const auto rank = static_cast<std::size_t>(fraction * static_cast<double>(values.size())) - 1;
    const std::uint64_t truth = values[rank];
    EXPECT_GE(histogram.quantile(fraction), truth) << fraction;
    EXPECT_LE(static_cast<double>(histogram.quantile(fraction)), static_cast<double>(truth) * 1.008 + 1)
        << fraction;
  }
}

TEST(Histogram, MergedHistogramsAreAsOneThatSawAll) {
  Histogram left;
  Histogram right;
  Histogram both;
  for (std::uint64_t i = 1; i < 5000; ++i) {
    (i % 3 == 0 ? left : right).record(i * i);
    both.record(i * i);
  }
  left.merge(right);
  EXPECT_EQ(left.count(), both.count());
  EXPECT_EQ(left.max(), both.max());
  EXPECT_EQ(left.min(), both.min());
  EXPECT_EQ(left.quantile(0.9), both.quantile(0.9));
  EXPECT_DOUBLE_EQ(left.mean(), both.mean());
}

TEST(Histogram, ValuesBeyondTheLimitKeepTheExactMaximum) {
  Histogram histogram;
  histogram.record(Histogram::kLimit * 5 + 3);
  EXPECT_EQ(histogram.max(), Histogram::kLimit * 5 + 3);
  EXPECT_EQ(histogram.quantile(0.5), Histogram::kLimit * 5 + 3);
}

TEST(Histogram, EmptyOneAnswersZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0u);
  EXPECT_EQ(histogram.min(), 0u);
  EXPECT_EQ(histogram.max(), 0u);
}

}  // namespace
}  // namespace ringside::bench
