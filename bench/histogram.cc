#include "bench/histogram.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

namespace ringside::bench {

static_assert(Histogram::bucket_of(255) + 1 == Histogram::bucket_of(256),
              "no gap between exact and shared buckets");
static_assert(Histogram::bucket_of(Histogram::kLimit - 1) == Histogram::kBuckets - 1);

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

std::uint64_t Histogram::quantile(double fraction) const {
  RINGSIDE_ASSERT(fraction >= 0.0 && fraction <= 1.0);
  if (count_ == 0) return 0;
  const auto wanted = std::max<std::uint64_t>(
      1, static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return i == kBuckets - 1 ? max_ : std::min(upper_edge(i), max_);
  }
  return max_;
}

}  // namespace ringside::bench
