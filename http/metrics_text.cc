#include "http/metrics_text.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "base/assert.h"
#include "base/utf8.h"

namespace ringside::http {
namespace {

constexpr std::array<std::uint64_t, Histogram::kBounds> make_bounds() {
  std::array<std::uint64_t, Histogram::kBounds> bounds{};
  std::uint64_t decade = 1000;  // 1 µs
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    constexpr std::array<std::uint64_t, 3> kSteps{1, 2, 5};
    bounds[i] = kSteps[i % 3] * decade;
    if (i % 3 == 2) decade *= 10;
  }
  return bounds;
}
constexpr std::array<std::uint64_t, Histogram::kBounds> kBoundsNs = make_bounds();
static_assert(kBoundsNs.back() == 10'000'000'000);

// For each bit width of a duration, the first bucket that a duration of that width can belong to. Steps of at
// most 2.5 leave at most one more bound within a power of two.
constexpr std::array<std::uint8_t, 65> make_first_buckets() {
  std::array<std::uint8_t, 65> first{};
  for (unsigned width = 1; width <= 64; ++width) {
    const std::uint64_t smallest = std::uint64_t{1} << (width - 1);
    std::uint8_t bucket = 0;
    while (bucket < kBoundsNs.size() && kBoundsNs[bucket] < smallest) ++bucket;
    first[width] = bucket;
  }
  return first;
}
constexpr std::array<std::uint8_t, 65> kFirstBuckets = make_first_buckets();

void append_real(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    char text[32];
    out.append(text, std::to_chars(text, text + sizeof text, value).ptr);
  }
}

std::string seconds_text(std::uint64_t ns) {
  std::string text;
  append_real(text, static_cast<double>(ns) / 1e9);
  return text;
}

bool is_name(std::string_view name, bool may_have_colon) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (may_have_colon && c == ':');
  });
}

// Help texts escape backslash and line feed, label values the quote as well.
void append_escaped(std::string& out, std::string_view text, bool is_label) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (text[0] == '\\') {
      out += "\\\\";
    } else if (text[0] == '\n') {
      out += "\\n";
    } else if (text[0] == '"' && is_label) {
      out += "\\\"";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

std::uint64_t Histogram::bound_ns(std::size_t i) {
  RINGSIDE_ASSERT(i < kBounds);
  return kBoundsNs[i];
}

std::size_t Histogram::bucket_of(std::uint64_t duration_ns) {
  std::size_t bucket = kFirstBuckets[static_cast<std::size_t>(std::bit_width(duration_ns))];
  while (bucket < kBounds && kBoundsNs[bucket] < duration_ns) ++bucket;
  return bucket;
}

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  sum_ns_ += other.sum_ns_;
}

std::uint64_t Histogram::count() const {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts_) total += count;
  return total;
}

std::uint64_t Histogram::quantile_ns(double share) const {
  const double wanted = share * static_cast<double>(count());
  std::uint64_t reached = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    reached += counts_[i];
    if (reached != 0 && static_cast<double>(reached) >= wanted) return kBoundsNs[std::min(i, kBounds - 1)];
  }
  return 0;
}

std::string_view label_text(std::string_view text) {
  if (text.size() <= kMaxLabelBytes) return text;
  std::size_t size = kMaxLabelBytes;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0u) == 0x80u) --size;
  return text.substr(0, size);
}

void MetricsText::counter(std::string_view name, std::string_view help) {
  RINGSIDE_ASSERT(name.ends_with("_total"));
  begin(Kind::kCounter, name, help);
}

void MetricsText::gauge(std::string_view name, std::string_view help) {
  RINGSIDE_ASSERT(!name.ends_with("_total"));
  begin(Kind::kGauge, name, help);
}

void MetricsText::histogram(std::string_view name, std::string_view help) {
  begin(Kind::kHistogram, name, help);
}

void MetricsText::begin(Kind kind, std::string_view name, std::string_view help) {
  constexpr std::array<std::string_view, 4> kTypes{"", "counter", "gauge", "histogram"};
  RINGSIDE_ASSERT(is_name(name, true) && !help.empty());
  // These endings belong to a histogram's own series.
  RINGSIDE_ASSERT(!name.ends_with("_count") && !name.ends_with("_sum") && !name.ends_with("_bucket"));
  RINGSIDE_ASSERT(std::find(families_.begin(), families_.end(), name) == families_.end());
  kind_ = kind;
  family_ = name;
  families_.push_back(family_);
  out_.append("# HELP ").append(name).append(" ");
  append_escaped(out_, help, false);
  out_.append("\n# TYPE ").append(name).append(" ");
  out_.append(kTypes[static_cast<std::size_t>(kind)]).append("\n");
}

void MetricsText::begin_sample(std::string_view suffix, MetricLabels labels, std::string_view bound) {
  out_.append(family_).append(suffix);
  char separator = '{';
  for (const MetricLabel& label : labels) {
    RINGSIDE_ASSERT(is_name(label.name, false) && label.name != "le");
    out_ += separator;
    out_.append(label.name).append("=\"");
    append_escaped(out_, label.value, true);
    out_ += '"';
    separator = ',';
  }
  if (!bound.empty()) {
    out_ += separator;
    out_.append("le=\"").append(bound).append("\"");
    separator = ',';
  }
  out_.append(separator == ',' ? "} " : " ");
}

void MetricsText::end_sample(double value) {
  append_real(out_, value);
  out_ += '\n';
}
void MetricsText::end_sample(std::uint64_t value) {
  out_.append(std::to_string(value)).append("\n");
}

void MetricsText::unsigned_sample(MetricLabels labels, std::uint64_t value) {
  RINGSIDE_ASSERT(kind_ == Kind::kCounter || kind_ == Kind::kGauge);
  begin_sample("", labels, "");
  end_sample(value);
}

void MetricsText::signed_sample(MetricLabels labels, std::int64_t value) {
  RINGSIDE_ASSERT(kind_ == Kind::kGauge || (kind_ == Kind::kCounter && value >= 0));
  begin_sample("", labels, "");
  out_.append(std::to_string(value)).append("\n");
}

void MetricsText::sample(MetricLabels labels, double value) {
  RINGSIDE_ASSERT(kind_ == Kind::kCounter || kind_ == Kind::kGauge);
  begin_sample("", labels, "");
  end_sample(value);
}

void MetricsText::sample(MetricLabels labels, const Histogram& histogram) {
  RINGSIDE_ASSERT(kind_ == Kind::kHistogram);
  std::uint64_t reached = 0;
  for (std::size_t i = 0; i < Histogram::kBounds; ++i) {
    reached += histogram.count_in(i);
    begin_sample("_bucket", labels, seconds_text(Histogram::bound_ns(i)));
    end_sample(reached);
  }
  reached += histogram.count_in(Histogram::kBounds);
  begin_sample("_bucket", labels, "+Inf");
  end_sample(reached);
  begin_sample("_sum", labels, "");
  end_sample(static_cast<double>(histogram.sum_ns()) / 1e9);
  begin_sample("_count", labels, "");
  end_sample(reached);
}

}  // namespace ringside::http
