// Metrics as Prometheus reads them (text exposition format 0.0.4), and the histogram behind them.
//
//   MetricsText metrics(out);
//   metrics.counter("ringside_requests_total", "Requests answered.");
//   metrics.sample({{"route", "/version"}, {"status", "200"}}, requests);
//   metrics.histogram("ringside_request_duration_seconds", "From a request's last byte to its answer.");
//   metrics.sample({{"route", "/version"}}, durations);
//
// Threads: a MetricsText belongs to one thread; a Histogram to one writer, and is read by the same thread or
// under the
//   owner's lock.
// Ownership: text goes to the caller's string, which a MetricsText must not outlive.
// Errors: a name or label that Prometheus would refuse is a programmer's error (asserted). Label values may
// be any
//   bytes: what is not UTF-8 is shown as U+FFFD.
// Limits: none of its own; how many series there are is the caller's choice. Histogram::record() does not
// allocate.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace ringside::http {

inline constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

// Durations in buckets of 1, 2 and 5 times each power of ten from 1 µs to 10 s, and one for what is longer.
class Histogram {
 public:
  static constexpr std::size_t kBounds = 22;

  // The bucket's upper bound (it belongs to the bucket), in nanoseconds. Precondition: i < kBounds.
  static std::uint64_t bound_ns(std::size_t i);
  // The bucket of a duration; kBounds for what is beyond the last bound.
  static std::size_t bucket_of(std::uint64_t duration_ns);

  void record(std::uint64_t duration_ns) { record(duration_ns, 1); }
  // So many times the same.
  void record(std::uint64_t duration_ns, std::uint64_t times) {
    counts_[bucket_of(duration_ns)] += times;
    sum_ns_ += times * duration_ns;
  }
  void merge(const Histogram& other);

  // Not cumulative; i <= kBounds.
  std::uint64_t count_in(std::size_t i) const { return counts_[i]; }
  std::uint64_t count() const;
  std::uint64_t sum_ns() const { return sum_ns_; }
  // The upper bound of the bucket in which the given share (0 to 1) of all durations is reached; 0 when there
  // are none. Beyond the last bound, that bound.
  std::uint64_t quantile_ns(double share) const;

 private:
  std::array<std::uint64_t, kBounds + 1> counts_{};
  std::uint64_t sum_ns_ = 0;
};

// A text for people as a label's value: cut to kMaxLabelBytes, not within a character.
inline constexpr std::size_t kMaxLabelBytes = 256;
std::string_view label_text(std::string_view text);

struct MetricLabel {
  std::string_view name;
  std::string_view value;
};
using MetricLabels = std::initializer_list<MetricLabel>;

class MetricsText {
 public:
  explicit MetricsText(std::string& out) : out_(out) {}

  // Begins a family; the samples that follow belong to it. Each name once. A counter's ends in _total.
  void counter(std::string_view name, std::string_view help);
  void gauge(std::string_view name, std::string_view help);
  void histogram(std::string_view name, std::string_view help);

  template <std::integral T>
  void sample(MetricLabels labels, T value) {
    if constexpr (std::unsigned_integral<T>) {
      unsigned_sample(labels, value);
    } else {
      signed_sample(labels, value);
    }
  }
  void sample(MetricLabels labels, double value);  // also NaN and infinities
  void sample(MetricLabels labels, const Histogram& histogram);

 private:
  enum class Kind : std::uint8_t { kNone, kCounter, kGauge, kHistogram };

  void unsigned_sample(MetricLabels labels, std::uint64_t value);
  void signed_sample(MetricLabels labels, std::int64_t value);
  void begin(Kind kind, std::string_view name, std::string_view help);
  void begin_sample(std::string_view suffix, MetricLabels labels, std::string_view bound);
  void end_sample(double value);
  void end_sample(std::uint64_t value);

  std::string& out_;
  std::string family_;
  std::vector<std::string> families_;  // that have been begun
  Kind kind_ = Kind::kNone;
};

}  // namespace ringside::http
