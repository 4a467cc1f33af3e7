// Micro-benchmarks of what is proportional to the number of rows: joining, a writer's restart, and the memory of the
// index, over a ring of N small rows (64 bytes each) in no order of their keys.
//
//   taskset -c 1 index_bench --rows 10000000 --benchmark_repetitions=5
//
// `index_bytes` is what the index says of itself; `private_bytes` what the kernel counts as the process's own memory
// more than before, the allocator's share and all else included. Both are for each row.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/ring_of_products.h"
#include "replica/table_store.h"
#include "shm/row_index.h"

namespace ringside::bench {
namespace {

std::uint64_t row_count = 10'000'000;  // --rows; set before anything runs

RingOfProducts& ring() {
  static RingOfProducts made(row_count, RowKind::kStock);
  return made;
}

// The process's anonymous memory, what the allocator holds without need given back.
std::uint64_t private_bytes() {
  ::malloc_trim(0);
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kib = 0;
    if (word == "RssAnon:" && status >> kib) return kib * 1024;
  }
  die("/proc/self/status has no RssAnon");
}

double per_row(std::uint64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(row_count);
}

void join(benchmark::State& state) {
  const RingOfProducts& all = ring();
  for (auto _ : state) {
    state.PauseTiming();
    const std::uint64_t before = private_bytes();
    state.ResumeTiming();
    const std::unique_ptr<shm::RingReader> reader = all.join();
    replica::TableStore store(*reader);
    shm::Record record;
    shm::Step step;
    while ((step = reader->next(record)) == shm::Step::kRecord) {
      if (store.apply(record) == replica::Applied::kCorrupt) die(store.why());
      while (!store.remove_some(256)) {
      }
    }
    state.PauseTiming();
    const std::uint64_t most = private_bytes();
    state.ResumeTiming();
    store.end_join();
    state.PauseTiming();
    const replica::Route* route = store.find_route("stock");
    const bool is_whole = step == shm::Step::kCaughtUp && route != nullptr && route->table != nullptr &&
                          route->table->index.size() == row_count;
    if (!is_whole) die("the replica does not hold what was loaded");
    state.counters["index_bytes"] = per_row(route->table->index.memory_bytes());
    state.counters["private_bytes"] = per_row(private_bytes() - before);
    state.counters["private_bytes_at_end_of_join"] = per_row(most - before);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(row_count));
}
BENCHMARK(join)->Unit(benchmark::kMillisecond)->Iterations(1);

// From the ring's files to a writer that may append: what a restart spends on the ring.
void reopen(benchmark::State& state) {
  RingOfProducts& all = ring();
  for (auto _ : state) {
    state.PauseTiming();
    all.close();
    const std::uint64_t before = private_bytes();
    state.ResumeTiming();
    all.reopen();
    state.PauseTiming();
    const std::vector<shm::TableUsage> usage = all.publisher().usage();
    if (usage.size() != 1 || usage[0].rows != row_count) die("the writer does not hold what was loaded");
    state.counters["index_bytes"] = per_row(usage[0].index_bytes);
    state.counters["private_bytes"] = per_row(private_bytes() - before);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(row_count));
}
BENCHMARK(reopen)->Unit(benchmark::kMillisecond)->Iterations(1);

// Rows for an index alone: the address is the number, and the key its eight bytes.
struct NumberRows {
  bool equals(shm::Address address, Bytes key) const { return load_le<std::uint64_t>(key.data()) == address; }
  std::uint64_t hash(shm::Address address) const {
    std::byte key[8];
    store_le<std::uint64_t>(key, address);
    return shm::key_hash(key);
  }
  void prefetch_key(shm::Address) const {}
};

// What the index takes while it grows from a tenth of the rows to all of them, looked at a thousand times on the way.
void index_growth(benchmark::State& state) {
  const NumberRows rows;
  for (auto _ : state) {
    shm::RowIndex index;
    double sum = 0;
    double peak = 0;
    std::uint64_t looks = 0;
    const std::uint64_t step = std::max<std::uint64_t>(row_count / 1000, 1);
    for (std::uint64_t id = 1; id <= row_count; ++id) {
      index.insert(rows.hash(id), id, rows);
      if (id % step != 0 || id < row_count / 10) continue;
      const double bytes = static_cast<double>(index.memory_bytes()) / static_cast<double>(id);
      sum += bytes;
      peak = std::max(peak, bytes);
      ++looks;
    }
    state.counters["index_bytes_mean"] = sum / static_cast<double>(looks);
    state.counters["index_bytes_peak"] = peak;
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(row_count));
}
BENCHMARK(index_growth)->Unit(benchmark::kMillisecond)->Iterations(1);

// Takes --rows out of the arguments.
bool take_rows(int argc, char** argv) {
  if (argc == 1) return true;
  if (argc != 3 || std::strcmp(argv[1], "--rows") != 0) return false;
  const std::string_view text = argv[2];
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), row_count);
  return error == std::errc() && end == text.data() + text.size() && row_count > 0;
}

}  // namespace
}  // namespace ringside::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (!ringside::bench::take_rows(argc, argv))
    ringside::bench::die("usage: index_bench [--rows N] [--benchmark_…]");
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
