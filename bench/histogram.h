// Histogram: counts of latencies in log-linear buckets, so that p99.9 of ten million samples costs 35 KiB and
// no sort.
//
// Every power of two is divided into 128 buckets of equal width; below 256 each value has a bucket of its
// own. A quantile is the upper edge of its bucket: at most 0.8 % above the true value, never below it.
//
//   value      0 … 255 | 256 … 511 | 512 … 1023 | …
//   width            1 |         2 |          4 | …
//
// Threads: one at a time; merge() joins the histograms of several.   Ownership: values, 35 KiB each.
// Errors: none.   Limits: values from kLimit (18 minutes) on share the last bucket; max() stays exact.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ringside::bench {

class Histogram {
 public:
  static constexpr unsigned kSubBits = 7;
  static constexpr unsigned kValueBits = 40;
  static constexpr std::uint64_t kLimit = std::uint64_t{1} << kValueBits;

  // Constant time, no allocation.
  void record(std::uint64_t value) {
    ++buckets_[bucket_of(value)];
    ++count_;
    sum_ += value;
    if (value > max_) max_ = value;
    if (value < min_) min_ = value;
  }

  void merge(const Histogram& other);
  void clear() { *this = Histogram(); }

  std::uint64_t count() const { return count_; }
  std::uint64_t min() const { return count_ == 0 ? 0 : min_; }
  std::uint64_t max() const { return max_; }
  double mean() const { return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_); }

  // The smallest bucket edge that at least `fraction` of the samples do not exceed; 0 when empty.
  // Precondition: 0 <= fraction <= 1.
  std::uint64_t quantile(double fraction) const;

  static constexpr std::size_t bucket_of(std::uint64_t value) {
    if (value >= kLimit) return kBuckets - 1;
    if (value < (2u << kSubBits)) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kSubBits;
    return (static_cast<std::size_t>(shift) << kSubBits) + static_cast<std::size_t>(value >> shift);
  }
  // The largest value of a bucket.
  static constexpr std::uint64_t upper_edge(std::size_t bucket) {
    if (bucket < (std::size_t{2} << kSubBits)) return bucket;
    const unsigned shift = static_cast<unsigned>(bucket >> kSubBits) - 1;
    const std::uint64_t top = bucket - (static_cast<std::size_t>(shift) << kSubBits);
    return ((top + 1) << shift) - 1;
  }

  static constexpr std::size_t kBuckets = (std::size_t{kValueBits - kSubBits} + 1) << kSubBits;

 private:
  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = UINT64_MAX;
  std::uint64_t max_ = 0;
};

}  // namespace ringside::bench
