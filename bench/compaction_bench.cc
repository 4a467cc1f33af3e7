// What compaction costs capture: a ring is filled with rows up to a share of its size, then rows are updated, uniformly or by
// Zipf's law, until the ring has been written several times over; what is reported is of the last lap.
//
//   --ring-mib N     ring.max_size (default 16, which is for the tests; figures are of 256 and more)
//   --segment-kib N  its segments (default 64; 1024 is the product's default)
//   --laps N         ring sizes captured before the lap that is measured (default 1; figures are after 3)
//
// Items are rows. The counters: written_per_captured (bytes appended, relocations included, over bytes captured), the CPU of
// the longest compaction step, the longest millisecond of a bare loop that runs in turn with the steps for as long (what a
// hypervisor takes away is counted in either), p99 and most of what a transaction costs with its share of compaction, captured
// MB per second of CPU with compaction and without it.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "bench/histogram.h"
#include "bench/ring_of_products.h"
#include "bench/two_cores.h"
#include "shm/publisher.h"

namespace ringside::bench {
namespace {

struct Size {
  std::uint64_t ring_mib = 16;
  std::uint64_t segment_kib = 64;
  std::uint64_t laps = 1;
};
Size size;

constexpr std::size_t kValueBytes = 140;
constexpr std::uint64_t kRowsATransaction = 4;

std::uint64_t thread_cpu_ns() {
  timespec now{};
  if (::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0) die("there is no clock of the thread's CPU");
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// Row numbers below `rows`, by Zipf's law with exponent 0.99 (Gray et al., "Quickly generating billion-record synthetic
// databases", 1994), spread over all numbers; or uniform.
class Draws {
 public:
  Draws(std::uint64_t rows, bool is_zipfian) : rows_(rows), is_zipfian_(is_zipfian), random_(20260108) {
    if (!is_zipfian_) return;
    for (std::uint64_t i = 1; i <= rows; ++i) zeta_ += std::pow(static_cast<double>(i), -kExponent);
    const double zeta2 = 1 + std::pow(0.5, kExponent);
    eta_ = (1 - std::pow(2.0 / static_cast<double>(rows), 1 - kExponent)) / (1 - zeta2 / zeta_);
  }
  std::uint64_t next() {
    if (!is_zipfian_) return random_() % rows_;
    const double u = std::uniform_real_distribution<>()(random_);
    std::uint64_t rank = 0;
    if (u * zeta_ >= 1) {
      rank = u * zeta_ < 1 + std::pow(0.5, kExponent)
                 ? 1
                 : static_cast<std::uint64_t>(static_cast<double>(rows_) *
                                              std::pow(eta_ * u - eta_ + 1, 1 / (1 - kExponent)));
    }
    constexpr std::uint64_t kPrime = 2'654'435'761;  // larger than any number of rows here: no two ranks meet
    return rank % rows_ * kPrime % rows_;
  }

 private:
  static constexpr double kExponent = 0.99;
  std::uint64_t rows_;
  bool is_zipfian_;
  std::mt19937_64 random_;
  double zeta_ = 0;
  double eta_ = 0;
};

// A ring whose live rows take `live` of its size.
class FullRing {
 public:
  explicit FullRing(double live) {
    char path[] = "/dev/shm/ringside-bench-XXXXXX";
    if (::mkdtemp(path) == nullptr) die("cannot make a directory on /dev/shm");
    options_.ring.directory = path;
    options_.ring.name = "bench";
    options_.ring.segment_bytes = size.segment_kib << 10;
    options_.ring.chunk_bytes = 8 * options_.ring.segment_bytes;
    options_.ring.max_bytes = size.ring_mib << 20;
    options_.ring.max_record_bytes = std::uint64_t{1} << 20;
    lock_ = or_die(shm::lock_ring(options_.ring));
    publisher_ = or_die(shm::Publisher::create(options_, lock_));
    publisher_->describe("history", "bench");
    const TableId id = publisher_->new_table(items());
    build(0);
    std::uint8_t flags = 0;
    const std::uint64_t row_bytes = shm::record_bytes(row_.payload(flags).size());
    rows_ = static_cast<std::uint64_t>(live * static_cast<double>(options_.ring.max_bytes)) / row_bytes;
    for (std::uint64_t i = 0; i < rows_; ++i) {
      build(i);
      or_die(publisher_->load_row(id, Version(1), row_));
    }
    or_die(publisher_->end_load());
    or_die(publisher_->switch_to(id));
    or_die(publisher_->commit(Version(1), shm::Commit{0, 1, 0, "0-1-1"}));
    or_die(publisher_->activate(nullptr));
  }
  ~FullRing() {
    publisher_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(options_.ring.directory, ignored);
  }
  FullRing(const FullRing&) = delete;
  FullRing& operator=(const FullRing&) = delete;

  std::uint64_t rows() const { return rows_; }
  std::uint64_t bytes() const { return options_.ring.max_bytes; }
  const shm::CompactionCounters& counters() const { return publisher_->compaction(); }

  // As capture does it: a transaction, and a step of compaction behind it if there is reason to.
  void update(Draws& draws) {
    const shm::Table& table = *publisher_->live_table("items");
    for (std::uint64_t i = 0; i < kRowsATransaction; ++i) {
      build(draws.next());
      or_die(publisher_->update(table, row_.key(), row_));
    }
    ++version_;
    const std::string gtid = fmt::format("0-1-{}", version_);
    constexpr int kAttempts = 1000;
    for (int attempt = 1;; ++attempt) {
      const auto committed = publisher_->commit(Version(version_), shm::Commit{0, version_, 0, gtid});
      if (committed) break;
      if (committed.error().kind != ErrorKind::kLimit || attempt == kAttempts) die(committed.error().message);
      or_die(publisher_->tend(monotonic_ns()));
    }
    or_die(publisher_->tend(monotonic_ns()));
  }

 private:
  static shm::Table items() {
    shm::Table table;
    table.name = "items";
    table.key_name = "PRIMARY";
    shm::Column id;
    id.name = "id";
    id.kind = shm::ValueKind::kUnsigned;
    id.width = 8;
    id.sql_type = "bigint(20) unsigned";
    shm::Column text;
    text.name = "text";
    text.kind = shm::ValueKind::kText;
    text.collation = "utf8mb4_bin";
    text.sql_type = "varchar(255)";
    table.shape.columns = {id, text};
    table.key = {shm::KeyColumn{0, shm::KeyRule::kOrdered, false}};
    return table;
  }
  // About 200 bytes as a record.
  void build(std::uint64_t id) {
    row_.begin();
    row_.add(fmt::format("{:07}", id));
    row_.add(value_);
    const std::string key = product_key(id);
    row_.set_key(as_bytes(key));
  }

  shm::PublisherOptions options_;
  UniqueFd lock_;
  std::unique_ptr<shm::Publisher> publisher_;
  shm::RowBuilder row_;
  std::string value_ = "\"" + std::string(kValueBytes, 'x') + "\"";
  std::uint64_t rows_ = 0;
  std::uint64_t version_ = 1;
};

// The yardstick of the longest step: a loop that ends after a millisecond of the thread's CPU, as a step does, and has
// nothing else to do. It gets as much time as the steps, behind each of them.
class BareLoop {
 public:
  void run_beside(std::uint64_t steps_ns) {
    constexpr std::uint64_t kBlockNs = 1'000'000;
    owed_ns_ += steps_ns - seen_ns_;
    seen_ns_ = steps_ns;
    for (; owed_ns_ >= kBlockNs; owed_ns_ -= kBlockNs) {
      const std::uint64_t start = thread_cpu_ns();
      std::uint64_t took = 0;
      while (took < kBlockNs) took = thread_cpu_ns() - start;
      longest_ns_ = std::max(longest_ns_, took);
    }
  }
  std::uint64_t longest_ns() const { return longest_ns_; }

 private:
  std::uint64_t seen_ns_ = 0;
  std::uint64_t owed_ns_ = 0;
  std::uint64_t longest_ns_ = 0;
};

void update_rows(benchmark::State& state, bool is_zipfian) {
  run_on_core(0);
  for (auto _ : state) {
    FullRing ring(static_cast<double>(state.range(0)) / 100);
    Draws draws(ring.rows(), is_zipfian);
    const shm::CompactionCounters& now = ring.counters();
    const std::uint64_t first = now.captured_bytes;
    BareLoop bare;
    while (now.captured_bytes - first < size.laps * ring.bytes()) {
      ring.update(draws);
      bare.run_beside(now.cpu_ns);
    }
    const shm::CompactionCounters before = now;
    Histogram costs;
    std::uint64_t cpu_ns = 0;
    std::uint64_t transactions = 0;
    while (now.captured_bytes - before.captured_bytes < ring.bytes()) {
      const std::uint64_t start = thread_cpu_ns();
      ring.update(draws);
      const std::uint64_t cost = thread_cpu_ns() - start;
      costs.record(cost);
      cpu_ns += cost;
      ++transactions;
      bare.run_beside(now.cpu_ns);
    }
    if (now.relocated_bytes == before.relocated_bytes && state.range(0) >= 70) {
      die("a ring that was written over holds live rows that nobody has carried");
    }
    const auto captured = static_cast<double>(now.captured_bytes - before.captured_bytes);
    const auto relocated = static_cast<double>(now.relocated_bytes - before.relocated_bytes);
    const auto compaction_ns = static_cast<double>(now.cpu_ns - before.cpu_ns);
    state.SetIterationTime(static_cast<double>(cpu_ns) * 1e-9);
    state.SetItemsProcessed(static_cast<std::int64_t>(transactions * kRowsATransaction));
    state.counters["written_per_captured"] = (captured + relocated) / captured;
    state.counters["longest_step_us"] = static_cast<double>(now.longest_step_ns) / 1e3;
    state.counters["longest_bare_us"] = static_cast<double>(bare.longest_ns()) / 1e3;
    state.counters["transaction_p99_us"] = static_cast<double>(costs.quantile(0.99)) / 1e3;
    state.counters["transaction_max_us"] = static_cast<double>(costs.max()) / 1e3;
    state.counters["captured_mb_per_s"] = captured * 1e3 / static_cast<double>(cpu_ns);
    state.counters["captured_mb_per_s_without"] =
        captured * 1e3 / (static_cast<double>(cpu_ns) - compaction_ns);
  }
}
void update_uniform(benchmark::State& state) {
  update_rows(state, false);
}
void update_zipfian(benchmark::State& state) {
  update_rows(state, true);
}
BENCHMARK(update_uniform)
    ->Arg(50)
    ->Arg(70)
    ->Arg(80)
    ->Arg(90)
    ->Iterations(1)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(update_zipfian)
    ->Arg(50)
    ->Arg(70)
    ->Arg(80)
    ->Arg(90)
    ->Iterations(1)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// Takes our own options out of argv.
void take_options(int& argc, char** argv) {
  const std::pair<std::string_view, std::uint64_t*> options[] = {
      {"--ring-mib", &size.ring_mib}, {"--segment-kib", &size.segment_kib}, {"--laps", &size.laps}};
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    std::uint64_t* value = nullptr;
    for (const auto& [name, where] : options) {
      if (argv[i] == name) value = where;
    }
    if (value == nullptr) {
      argv[kept++] = argv[i];
      continue;
    }
    const char* text = ++i < argc ? argv[i] : "";
    const char* end = text + std::strlen(text);
    if (text == end || std::from_chars(text, end, *value).ptr != end || *value == 0) {
      die(fmt::format("{} takes a number", argv[i - 1]));
    }
  }
  argc = kept;
}

}  // namespace
}  // namespace ringside::bench

int main(int argc, char** argv) {
  ringside::bench::take_options(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
