// Micro-benchmarks of the ring: checksum, keys, index, appending, walking, copying rows out.
//
// Random keys come from a sequence fixed in advance, so that drawing them costs nothing here.
#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "bench/ring_of_products.h"
#include "shm/key.h"
#include "shm/record.h"
#include "shm/row_index.h"

namespace ringside::bench {
namespace {

constexpr std::uint64_t kProducts = 63'000;
constexpr std::size_t kDraws = 1 << 16;  // a power of two

// Numbers 1 … `bound`, kDraws of them.
std::vector<std::uint64_t> draws(std::uint64_t bound) {
  std::mt19937_64 random(20260108);
  std::vector<std::uint64_t> numbers(kDraws);
  for (std::uint64_t& number : numbers) number = 1 + random() % bound;
  return numbers;
}

void crc(benchmark::State& state) {
  const std::string bytes(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(crc32c(bytes.data(), bytes.size()));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(crc)->Name("crc32c/bytes")->Arg(64)->Arg(512)->Arg(4096);

void crc_portable(benchmark::State& state) {
  const std::string bytes(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(crc32c_portable(bytes.data(), bytes.size()));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(crc_portable)->Name("crc32c_portable/bytes")->Arg(512);

void key_from_text(benchmark::State& state) {
  const shm::Table table = products_table();
  auto key = std::make_unique<shm::KeyBuffer>();
  for (auto _ : state) {
    key->clear();
    const shm::KeyStatus status =
        shm::append_key_from_text(table.shape.columns[0], table.key[0], true, "48213", *key);
    if (status != shm::KeyStatus::kOk) die("48213 is no key");
    benchmark::DoNotOptimize(shm::key_hash(key->bytes()));
  }
}
BENCHMARK(key_from_text)->Name("key_from_text_and_hash/integer");

// Rows for an index alone: the address is the number, and the key its eight bytes.
struct NumberRows {
  bool equals(shm::Address address, Bytes key) const { return load_be<std::uint64_t>(key.data()) == address; }
  std::uint64_t hash(shm::Address address) const { return shm::key_hash(as_bytes(product_key(address))); }
};

void index_insert(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  const NumberRows numbers;
  for (auto _ : state) {
    shm::RowIndex index;
    for (std::uint64_t id = 1; id <= rows; ++id) index.insert(numbers.hash(id), id, numbers);
    benchmark::DoNotOptimize(index.size());
    state.counters["index_bytes_per_row"] =
        static_cast<double>(index.memory_bytes()) / static_cast<double>(rows);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(index_insert)->Arg(kProducts)->Unit(benchmark::kMillisecond);

void index_find(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  const NumberRows numbers;
  shm::RowIndex index;
  for (std::uint64_t id = 1; id <= rows; ++id) index.insert(numbers.hash(id), id, numbers);
  std::vector<std::array<std::byte, 8>> keys(kDraws);
  const std::vector<std::uint64_t> ids = draws(rows);
  for (std::size_t i = 0; i < kDraws; ++i) store_be<std::uint64_t>(keys[i].data(), ids[i]);
  std::size_t at = 0;
  for (auto _ : state) {
    const Bytes key = keys[at++ % kDraws];
    const shm::RowIndex::Handle handle = index.find(shm::key_hash(key), key, numbers);
    if (handle == shm::RowIndex::kNoRow) die("a row that was inserted is not found");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(index_find)->Arg(kProducts)->Arg(1'000'000);

// What making a row costs before the ring sees it: a part of the two that follow.
void build_row(benchmark::State& state) {
  shm::RowBuilder row;
  std::uint64_t id = 0;
  for (auto _ : state) {
    ++id;
    build_product(row, id % kProducts, id);
    std::uint8_t flags = 0;
    benchmark::DoNotOptimize(row.payload(flags).data());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(build_row);

// One UPDATE of one row as a transaction of its own, up to and with publishing. Bounded, since the ring keeps it all.
void commit_one_row(benchmark::State& state) {
  RingOfProducts ring(kProducts);
  const std::vector<std::uint64_t> ids = draws(kProducts);
  std::size_t at = 0;
  for (auto _ : state) ring.update(ids[at++ % kDraws]);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(commit_one_row)->Iterations(100'000);

void load_rows(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  for (auto _ : state) {
    RingOfProducts ring(rows);
    state.counters["ring_bytes_per_row"] =
        static_cast<double>(ring.publisher().ring().usage().used_bytes) / static_cast<double>(rows);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(load_rows)->Arg(kProducts)->Unit(benchmark::kMillisecond);

// What a joining replica does before its index: every record walked over, checked and copied out.
void walk_log(benchmark::State& state) {
  const RingOfProducts ring(kProducts);
  std::int64_t bytes = 0;
  for (auto _ : state) {
    const std::unique_ptr<shm::RingReader> reader = ring.join();
    shm::Record record;
    std::uint64_t rows = 0;
    shm::Step step;
    while ((step = reader->next(record)) == shm::Step::kRecord) {
      if (record.header.type == shm::RecordType::kRow) ++rows;
      bytes += static_cast<std::int64_t>(record.bytes.size());
    }
    if (step != shm::Step::kCaughtUp || rows != kProducts) die("the log does not hold what was loaded");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kProducts));
  state.SetBytesProcessed(bytes);
}
BENCHMARK(walk_log)->Unit(benchmark::kMillisecond);

// A reader that has indexed the whole table, as a replica's point read needs it.
class IndexedReader {
 public:
  explicit IndexedReader(const RingOfProducts& ring) : reader_(ring.join()) {
    shm::Record record;
    while (reader_->next(record) == shm::Step::kRecord) {
      if (record.header.type == shm::RecordType::kRow) {
        index_.insert(reader_->hash(record.address), record.address, *reader_);
      }
    }
    if (index_.size() != ring.rows()) die("the index does not hold what was loaded");
  }
  shm::RowIndex::Handle find(Bytes key) const { return index_.find(shm::key_hash(key), key, *reader_); }
  const shm::RingReader& reader() const { return *reader_; }
  const shm::RowIndex& index() const { return index_; }

 private:
  std::unique_ptr<shm::RingReader> reader_;
  shm::RowIndex index_;
};

// Key to row in hand: index, the key's comparison in the ring, the record copied out, its parts found.
void point_read(benchmark::State& state) {
  const RingOfProducts ring(kProducts);
  const IndexedReader indexed(ring);
  const std::vector<std::uint64_t> ids = draws(kProducts);
  std::vector<std::byte> buffer(65536);
  std::size_t at = 0;
  for (auto _ : state) {
    std::array<std::byte, 8> key;
    store_be<std::uint64_t>(key.data(), ids[at++ % kDraws]);
    const shm::RowIndex::Handle handle = indexed.find(key);
    if (handle == shm::RowIndex::kNoRow) die("a product is not found");
    shm::RecordHeader header;
    shm::RowView row;
    if (indexed.reader().copy_record(indexed.index().address(handle), header, buffer) !=
            shm::CopyStatus::kOk ||
        !shm::RowView::parse(header, Bytes(buffer).first(header.length), row)) {
      die("a product cannot be copied");
    }
    benchmark::DoNotOptimize(row.value(11).size());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(point_read);

}  // namespace
}  // namespace ringside::bench
