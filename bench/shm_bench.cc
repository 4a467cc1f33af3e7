// Micro-benchmarks of the ring: checksum, keys, index, appending, walking, copying rows out.
//
// Random keys come from a sequence fixed in advance, so that drawing them costs nothing here.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "bench/ring_of_products.h"
#include "shm/key.h"
#include "shm/log_view.h"
#include "shm/log_walker.h"
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
BENCHMARK(crc)->Name("crc32c/bytes")->Arg(64)->Arg(256)->Arg(512)->Arg(691)->Arg(4096);

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

// Rows of one size in a ring, and where they are: what verifying a record costs when it is copied out.
class RowsOfASize {
 public:
  RowsOfASize(std::size_t record_bytes, std::uint64_t rows) {
    char path[] = "/dev/shm/ringside-bench-XXXXXX";
    if (::mkdtemp(path) == nullptr) die("cannot make a directory on /dev/shm");
    directory_ = path;
    shm::PublisherOptions options;
    options.ring.directory = directory_;
    options.ring.name = "bench";
    lock_ = or_die(shm::lock_ring(options.ring));
    publisher_ = or_die(shm::Publisher::create(options, lock_));
    publisher_->describe("history", "bench");
    shm::Table table = products_table();
    table.shape.columns.resize(2);
    const TableId id = publisher_->new_table(table);
    shm::RowBuilder row;
    for (std::uint64_t key = 1; key <= rows; ++key) {
      row.begin();
      row.add("1");
      row.add(std::string(record_bytes - shm::kRecordHeaderBytes - 8 - 4 - 1, 'v'));
      const std::string bytes = product_key(key);
      row.set_key(as_bytes(bytes));
      or_die(publisher_->load_row(id, Version(1), row));
    }
    or_die(publisher_->end_load());
    or_die(publisher_->switch_to(id));
    or_die(publisher_->commit(Version(1), shm::Commit{0, 1, 0, "0-1-1"}));
    or_die(publisher_->activate(nullptr));
    const shm::RingPath ring(directory_, "bench");
    view_ = or_die(shm::LogView<shm::ProcessMemory>::open(ring.epoch(or_die(shm::current_epoch(ring))),
                                                          shm::Access::kRead));
    shm::LogWalker<shm::ProcessMemory> walker;
    or_die(walker.start(view_));
    shm::Record record;
    while (walker.next(view_, record) == shm::WalkStatus::kRecord) {
      if (record.header.type == shm::RecordType::kRow) addresses_.push_back(record.address);
    }
    if (addresses_.size() != rows) die("the log does not hold what was loaded");
  }
  ~RowsOfASize() {
    publisher_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  RowsOfASize(const RowsOfASize&) = delete;
  RowsOfASize& operator=(const RowsOfASize&) = delete;

  const shm::LogView<shm::ProcessMemory>& view() const { return view_; }
  shm::Address address(std::uint64_t number) const { return addresses_[number - 1]; }

 private:
  std::string directory_;
  UniqueFd lock_;
  std::unique_ptr<shm::Publisher> publisher_;
  shm::LogView<shm::ProcessMemory> view_;
  std::vector<shm::Address> addresses_;
};

constexpr std::uint64_t kRowsOfASize = 16'384;

void copy_verified(benchmark::State& state) {
  const RowsOfASize rows(static_cast<std::size_t>(state.range(0)), kRowsOfASize);
  const std::vector<std::uint64_t> ids = draws(kRowsOfASize);
  std::vector<std::byte> buffer(65536);
  std::size_t at = 0;
  for (auto _ : state) {
    shm::RecordHeader header;
    if (rows.view().copy_record(rows.address(ids[at++ % kDraws]), header, buffer) != shm::CopyStatus::kOk)
      die("a row cannot be copied");
    benchmark::DoNotOptimize(buffer.data());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(copy_verified)->Name("copy_record/verified")->Arg(64)->Arg(256)->Arg(691)->Arg(4096);

// The same without the checksum, as copy_record was before it verified.
void copy_unverified(benchmark::State& state) {
  const RowsOfASize rows(static_cast<std::size_t>(state.range(0)), kRowsOfASize);
  const std::vector<std::uint64_t> ids = draws(kRowsOfASize);
  std::vector<std::byte> buffer(65536);
  std::size_t at = 0;
  const auto& view = rows.view();
  for (auto _ : state) {
    const shm::Address address = rows.address(ids[at++ % kDraws]);
    shm::RecordHeader header;
    shm::copy_out<shm::ProcessMemory>(buffer.data(), view.at(address), shm::kRecordHeaderBytes);
    if (!shm::load_header(buffer.data(), header) || header.length > buffer.size())
      die("a row cannot be copied");
    shm::copy_out<shm::ProcessMemory>(buffer.data() + shm::kRecordHeaderBytes,
                                      view.at(address) + shm::kRecordHeaderBytes,
                                      header.length - shm::kRecordHeaderBytes);
    benchmark::DoNotOptimize(view.load(view.slot_entry(address * 8 / view.segment_bytes()).generation));
    benchmark::DoNotOptimize(buffer.data());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(copy_unverified)->Name("copy_record/unverified")->Arg(64)->Arg(256)->Arg(691)->Arg(4096);

// What the scrub takes for a slice of the size that capture gives it.
void scrub_slice(benchmark::State& state) {
  RingOfProducts ring(kProducts);
  shm::RingWriter& writer = ring.publisher().ring();
  for (auto _ : state) or_die(writer.scrub(std::uint64_t{1} << 20));
  state.SetBytesProcessed(static_cast<std::int64_t>(writer.scrubbed().bytes));
}
BENCHMARK(scrub_slice)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace ringside::bench
