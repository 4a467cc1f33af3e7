#include "http/metrics_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace ringside::http {
namespace {

TEST(Histogram, EveryDurationFallsUnderTheFirstBoundThatHoldsIt) {
  for (std::size_t i = 0; i < Histogram::kBounds; ++i) {
    const std::uint64_t bound = Histogram::bound_ns(i);
    EXPECT_EQ(Histogram::bucket_of(bound), i);
    EXPECT_EQ(Histogram::bucket_of(bound + 1), i + 1);
    EXPECT_EQ(Histogram::bucket_of(bound - 1), i);
  }
  EXPECT_EQ(Histogram::bound_ns(0), 1000u);
  EXPECT_EQ(Histogram::bucket_of(0), 0u);
  EXPECT_EQ(Histogram::bucket_of(std::numeric_limits<std::uint64_t>::max()), Histogram::kBounds);
  for (std::uint64_t duration = 1; duration < std::uint64_t{1} << 40; duration += duration / 7 + 1) {
    std::size_t expected = 0;
    while (expected < Histogram::kBounds && Histogram::bound_ns(expected) < duration) ++expected;
    ASSERT_EQ(Histogram::bucket_of(duration), expected) << duration;
  }
}

TEST(Histogram, CountsSumsMergesAndEstimates) {
  Histogram a;
  EXPECT_EQ(a.quantile_ns(0.5), 0u);
  for (int i = 0; i < 99; ++i) a.record(1500);
  a.record(60'000'000'000);
  EXPECT_EQ(a.count(), 100u);
  EXPECT_EQ(a.sum_ns(), 60'000'148'500u);
  EXPECT_EQ(a.quantile_ns(0.5), 2000u);
  EXPECT_EQ(a.quantile_ns(0.99), 2000u);
  EXPECT_EQ(a.quantile_ns(1.0), 10'000'000'000u);
  Histogram b;
  b.record(1);
  b.merge(a);
  EXPECT_EQ(b.count(), 101u);
  EXPECT_EQ(b.count_in(0), 1u);
  EXPECT_EQ(b.count_in(Histogram::kBounds), 1u);
}

TEST(Histogram, SoManyTimesTheSameIsRecordedInOneGo) {
  Histogram one_by_one;
  Histogram at_once;
  for (int i = 0; i < 7; ++i) one_by_one.record(3000);
  at_once.record(3000, 7);
  for (std::size_t i = 0; i <= Histogram::kBounds; ++i)
    EXPECT_EQ(at_once.count_in(i), one_by_one.count_in(i));
  EXPECT_EQ(at_once.sum_ns(), one_by_one.sum_ns());
}

TEST(MetricsText, LabelsForPeopleAreCutBetweenCharacters) {
  EXPECT_EQ(label_text("short"), "short");
  const std::string ascii(kMaxLabelBytes + 10, 'x');
  EXPECT_EQ(label_text(ascii), ascii.substr(0, kMaxLabelBytes));
  std::string two_bytes = "x";
  for (std::size_t i = 0; i < kMaxLabelBytes; ++i) two_bytes += "\u00e9";
  EXPECT_EQ(label_text(two_bytes).size(), kMaxLabelBytes - 1);
  EXPECT_EQ(label_text(std::string(300, '\x80')), "") << "no beginning of a character anywhere";
}

TEST(MetricsText, CountersAndGauges) {
  std::string out;
  MetricsText metrics(out);
  metrics.counter("ringside_requests_total", "Requests \\ answered\nso far, \"all\".");
  metrics.sample({{"route", "row"}, {"why", "a\"b\\c\nd\xff"}}, 18446744073709551615u);
  metrics.sample({}, 3);
  metrics.gauge("ringside_lag_seconds", "Lag.");
  metrics.sample({}, -1);
  metrics.sample({}, 0.25);
  metrics.sample({}, std::nan(""));
  metrics.sample({}, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(
      out,
      "# HELP ringside_requests_total Requests \\\\ answered\\nso far, \"all\".\n"
      "# TYPE ringside_requests_total counter\n"
      "ringside_requests_total{route=\"row\",why=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\"} 18446744073709551615\n"
      "ringside_requests_total 3\n"
      "# HELP ringside_lag_seconds Lag.\n"
      "# TYPE ringside_lag_seconds gauge\n"
      "ringside_lag_seconds -1\n"
      "ringside_lag_seconds 0.25\n"
      "ringside_lag_seconds NaN\n"
      "ringside_lag_seconds -Inf\n");
}

TEST(MetricsText, HistogramsAreCumulative) {
  Histogram histogram;
  histogram.record(1000);
  histogram.record(4000);
  histogram.record(20'000'000'000);
  std::string out;
  MetricsText metrics(out);
  metrics.histogram("ringside_request_duration_seconds", "Durations.");
  metrics.sample({{"route", "row"}}, histogram);
  const std::string series = "ringside_request_duration_seconds";
  const auto has = [&](const std::string& line) {
    return out.find(series + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("_bucket{route=\"row\",le=\"1e-06\"} 1")) << out;
  EXPECT_TRUE(has("_bucket{route=\"row\",le=\"2e-06\"} 1"));
  EXPECT_TRUE(has("_bucket{route=\"row\",le=\"5e-06\"} 2"));
  EXPECT_TRUE(has("_bucket{route=\"row\",le=\"10\"} 2"));
  EXPECT_TRUE(has("_bucket{route=\"row\",le=\"+Inf\"} 3"));
  EXPECT_TRUE(has("_sum{route=\"row\"} 20.000005"));
  EXPECT_TRUE(has("_count{route=\"row\"} 3"));
}

TEST(MetricsTextDeath, NamesThatPrometheusRefusesAreProgrammersErrors) {
  std::string out;
  MetricsText metrics(out);
  EXPECT_DEATH(metrics.counter("ringside_requests", "Help."), "_total");
  EXPECT_DEATH(metrics.gauge("9lives", "Help."), "is_name");
  EXPECT_DEATH(metrics.gauge("ringside_rows_count", "Help."), "_count");
  EXPECT_DEATH(metrics.sample({}, 1), "kind_");
  metrics.gauge("ringside_rows", "Help.");
  EXPECT_DEATH(metrics.gauge("ringside_rows", "Help."), "families_");
  EXPECT_DEATH(metrics.sample({{"le", "1"}}, 1), "le");
}

}  // namespace
}  // namespace ringside::http
