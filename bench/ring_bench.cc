// Figures of the ring between two processes on two cores: append to seen, records a second, waking a sleeper; each
// beside the least that the machine needs for it (a bare cache-line ping-pong, memcpy, a bare ring).
//
// One benchmark is one run of a fixed number of transactions with percentiles in its counters; bench/ring_figures.py
// interleaves whole runs of this program and pairs what belongs together.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/bare_ring.h"
#include "bench/histogram.h"
#include "bench/ring_of_products.h"
#include "bench/two_cores.h"
#include "bench/uring.h"
#include "shm/look_ahead.h"
#include "shm/record.h"
#include "shm/ring_reader.h"
#include "shm/ring_writer.h"
#include "shm/row_index.h"

namespace ringside::bench {
namespace {

constexpr std::uint64_t kChunk = std::uint64_t{8} << 20;  // as it is by default
constexpr std::uint64_t kRows = 65'536;                   // of the table that the records change, in turn

// A ring of its own without a publisher above it: transactions of rows whose key is a number and whose payload has a
// given size.
class PlainRing {
 public:
  // `chunk_bytes`: what is there before anything is measured, as in a ring whose slots are used again and again.
  explicit PlainRing(std::uint64_t chunk_bytes) {
    options_.chunk_bytes = chunk_bytes;
    char path[] = "/dev/shm/ringside-bench-XXXXXX";
    if (::mkdtemp(path) == nullptr) die("cannot make a directory on /dev/shm");
    options_.directory = path;
    options_.name = "bench";
    lock_ = or_die(shm::lock_ring(options_));
    writer_ = or_die(shm::RingWriter::create(options_, lock_));
    or_die(writer_->activate(nullptr));
  }
  ~PlainRing() {
    writer_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(options_.directory, ignored);
  }
  PlainRing(const PlainRing&) = delete;
  PlainRing& operator=(const PlainRing&) = delete;

  // A transaction of so many rows of `payload` bytes, keys in turn. Made first, so that making it costs nothing where
  // putting it into the ring is measured.
  void prepare(std::uint64_t rows, std::size_t payload) {
    ++version_;
    rows_ = rows;
    record_.resize(shm::record_bytes(payload));
    gtid_ = fmt::format("0-1-{}", version_);
    const std::string text = shm::commit_payload(shm::Commit{version_, version_, 0, gtid_, {}, version_});
    ending_.assign(shm::record_bytes(text.size()), std::byte{});
    std::memcpy(ending_.data() + shm::kRecordHeaderBytes, text.data(), text.size());
  }
  // Makes room, appends, publishes.
  void commit() {
    or_die(writer_->make_room(
        {rows_ * record_.size() + ending_.size(), std::max(record_.size(), ending_.size()), {}}));
    shm::RecordHeader header;
    header.version = Version(version_);
    header.table_id = TableId(1);
    header.key_bytes = 8;
    for (std::uint64_t i = 0; i < rows_; ++i) {
      store_be<std::uint64_t>(record_.data() + shm::kRecordHeaderBytes, next_key_++ % kRows);
      writer_->append(header, record_);
    }
    header.type = shm::RecordType::kCommit;
    header.key_bytes = 0;
    writer_->append(header, ending_);
    writer_->publish(Version(version_), gtid_);
  }

  std::uint64_t version() const { return version_; }
  shm::RingWriter& writer() { return *writer_; }
  std::unique_ptr<shm::RingReader> join() const {
    std::unique_ptr<shm::RingReader> reader =
        or_die(shm::RingReader::attach(options_.directory, options_.name));
    or_die(reader->join());
    return reader;
  }

 private:
  shm::RingOptions options_;
  UniqueFd lock_;
  std::unique_ptr<shm::RingWriter> writer_;
  std::uint64_t version_ = 0;
  std::uint64_t next_key_ = 0;
  std::uint64_t rows_ = 0;
  std::string gtid_;
  std::vector<std::byte> record_;
  std::vector<std::byte> ending_;
};

double in_ns(std::uint64_t counted) {
  return static_cast<double>(counted) * ns_per_tick();
}
void report(benchmark::State& state, const char* name, const Histogram& histogram) {
  state.counters[fmt::format("{}_p50_ns", name)] = in_ns(histogram.quantile(0.5));
  state.counters[fmt::format("{}_p99_ns", name)] = in_ns(histogram.quantile(0.99));
}
double median(std::vector<double>& values) {
  if (values.empty()) die("too few iterations for a block");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}
std::uint64_t since(std::uint64_t earlier, std::uint64_t later) {
  return later > earlier ? later - earlier : 0;
}

// ---------------------------------------------------------------------- append to seen

// Two lines, one written by each process: nothing that two cores tell each other is faster. The peer's half: the answers
// to `rounds` words from `first` on.
void answer_pings(Shared& lines, std::uint64_t first, std::uint64_t rounds) {
  for (std::uint64_t n = first; n < first + rounds; ++n) {
    spin_until([&] { return lines->ping.word.load(std::memory_order_acquire) == n; });
    lines->pong.stamp.store(ticks(), std::memory_order_relaxed);
    lines->pong.word.store(n, std::memory_order_release);
  }
}

// The peer's half of what follows: a busy-polling reader that answers when it has a row and when it has its commit record.
void answer_transactions(Shared& lines, shm::RingReader& reader, std::uint64_t first,
                         std::uint64_t transactions) {
  shm::Record record;
  for (std::uint64_t n = first; n < first + transactions;) {
    shm::Step step;
    spin_until([&] { return (step = reader.next(record)) != shm::Step::kCaughtUp; });
    const std::uint64_t now = ticks();
    if (step != shm::Step::kRecord) die("the log cannot be followed");
    if (record.header.type == shm::RecordType::kRow) {
      lines->pong.stamp.store(now, std::memory_order_relaxed);
    } else if (record.header.type == shm::RecordType::kCommit) {
      lines->seen.stamp.store(now, std::memory_order_relaxed);
      lines->pong.word.store(n++, std::memory_order_release);
      reader.set_reclaim_position(reader.position());
    }
  }
}

// The ping-pong, and the same with the ring as the first line: from before the row's append, through its commit record and
// publishing, until a busy-polling reader's next() has returned the row (seen) and the commit record (whole). Back by a
// bare line. A block of the one, a block of the other, in turn: how far apart two cores are changes under a hypervisor that
// moves them, and the ratios are of neighbours.
void append_to_seen(benchmark::State& state) {
  constexpr std::uint64_t kBlock = 500;
  Shared lines;
  PlainRing ring(kChunk);
  const auto rounds = static_cast<std::uint64_t>(state.max_iterations) / kBlock * kBlock;
  const auto payload = static_cast<std::size_t>(state.range(0));
  Peer peer([&] {
    const std::unique_ptr<shm::RingReader> reader = ring.join();
    shm::Record record;
    while (reader->next(record) == shm::Step::kRecord) {
    }
    lines->pong.word.store(~std::uint64_t{0}, std::memory_order_release);
    for (std::uint64_t n = 1; n <= 2 * rounds; n += 2 * kBlock) {
      answer_pings(lines, n, kBlock);
      answer_transactions(lines, *reader, n + kBlock, kBlock);
    }
  });
  spin_until([&] { return lines->pong.word.load(std::memory_order_acquire) != 0; });
  struct Times {
    Histogram ping, ping_round, seen, whole, round, publish;
  };
  Times all;
  auto block = std::make_unique<Times>();
  std::vector<double> seen_ratios;
  std::vector<double> round_ratios;
  std::uint64_t n = 0;
  const auto answered = [&] { return lines->pong.word.load(std::memory_order_acquire) == n; };
  for (auto _ : state) {
    if (n >= 2 * rounds) continue;
    if (n % (2 * kBlock) == 0) {
      for (std::uint64_t i = 0; i < kBlock; ++i) {
        ++n;
        const std::uint64_t start = ticks();
        lines->ping.word.store(n, std::memory_order_release);
        spin_until(answered);
        block->ping_round.record(ticks() - start);
        block->ping.record(since(start, lines->pong.stamp.load(std::memory_order_relaxed)));
      }
    }
    ++n;
    ring.prepare(1, payload);
    const std::uint64_t start = ticks();
    ring.commit();
    const std::uint64_t published = ticks();
    spin_until(answered);
    block->round.record(ticks() - start);
    block->publish.record(published - start);
    block->seen.record(since(start, lines->pong.stamp.load(std::memory_order_relaxed)));
    block->whole.record(since(start, lines->seen.stamp.load(std::memory_order_relaxed)));
    if (n % (2 * kBlock) != 0) continue;
    seen_ratios.push_back(in_ns(block->seen.quantile(0.5)) / in_ns(block->ping.quantile(0.5)));
    round_ratios.push_back(in_ns(block->round.quantile(0.5)) / in_ns(block->ping_round.quantile(0.5)));
    for (Histogram Times::*each :
         {&Times::ping, &Times::ping_round, &Times::seen, &Times::whole, &Times::round, &Times::publish}) {
      (all.*each).merge((*block).*each);
      ((*block).*each).clear();
    }
  }
  peer.join();
  report(state, "ping", all.ping);
  report(state, "ping_round", all.ping_round);
  report(state, "seen", all.seen);
  report(state, "whole", all.whole);
  report(state, "round", all.round);
  report(state, "writer", all.publish);
  state.counters["seen_over_ping"] = median(seen_ratios);
  state.counters["round_over_round"] = median(round_ratios);
}

// What publishing costs the writer when nobody reads: a transaction of one row.
void publish_alone(benchmark::State& state) {
  run_on_core(0);
  PlainRing ring(kChunk);
  Histogram publish;
  for (auto _ : state) {
    ring.prepare(1, static_cast<std::size_t>(state.range(0)));
    const std::uint64_t start = ticks();
    ring.commit();
    publish.record(ticks() - start);
  }
  report(state, "writer", publish);
}

constexpr std::int64_t kRounds = 30'000;
BENCHMARK(publish_alone)->Arg(64)->Iterations(kRounds);
BENCHMARK(append_to_seen)->Arg(64)->Iterations(kRounds);

// ---------------------------------------------------------------------- records a second

constexpr std::uint64_t kRoom = std::uint64_t{200} << 20;
constexpr std::uint64_t kRecords = 1 << 18;      // of a run
constexpr std::uint64_t kRowsATransaction = 64;  // as a bulk change has; each is published

// The same bytes from one buffer to another of 4 MiB, on one core, a record at a time.
void memcpy_records(benchmark::State& state) {
  run_on_core(0);
  const auto size = static_cast<std::size_t>(state.range(0));
  std::vector<std::byte> from(BareRing::kBytes, std::byte{1});
  std::vector<std::byte> to(BareRing::kBytes);
  for (auto _ : state) {
    std::size_t at = 0;
    for (std::uint64_t i = 0; i < kRecords; ++i) {
      std::memcpy(to.data() + at, from.data() + at, size);
      benchmark::ClobberMemory();
      at = at + 2 * size > from.size() ? 0 : at + size;
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}

void bare_ring(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  void* memory = ::mmap(nullptr, sizeof(BareRing), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) die("cannot map shared memory");
  auto* ring = new (memory) BareRing;
  Shared lines;
  const std::uint64_t all = static_cast<std::uint64_t>(state.max_iterations) * kRecords;
  Peer peer([&] {
    std::vector<std::byte> record(size);
    for (std::uint64_t n = 0; n < all; ++n) {
      spin_until([&] { return ring->pop(record.data()) != 0; });
      benchmark::ClobberMemory();
      if ((n + 1) % kRecords == 0) lines->pong.word.store(n + 1, std::memory_order_release);
    }
  });
  const std::vector<std::byte> record(size, std::byte{1});
  std::uint64_t n = 0;
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < kRecords; ++i) {
      spin_until([&] { return ring->push(record.data(), size); });
    }
    n += kRecords;
    spin_until([&] { return lines->pong.word.load(std::memory_order_acquire) == n; });
  }
  peer.join();
  ::munmap(memory, sizeof(BareRing));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}

void append_rows(PlainRing& ring, std::size_t payload, std::uint64_t rows) {
  for (std::uint64_t i = 0; i < rows; i += kRowsATransaction) {
    ring.prepare(kRowsATransaction, payload);
    ring.commit();
  }
}

// What a replica does with a row, less its table's bookkeeping: walk, copy, check, look up, point the index at it.
class Applier {
 public:
  explicit Applier(const PlainRing& ring) : reader_(ring.join()) {}

  // Spins until the next record is there, and applies it.
  void next() {
    shm::Step step;
    spin_until([&] { return (step = reader_->next(record_)) != shm::Step::kCaughtUp; });
    if (step != shm::Step::kRecord) die("the log cannot be followed");
    if (record_.header.type == shm::RecordType::kCommit) {
      reader_->set_reclaim_position(reader_->position());
    } else if (record_.header.type == shm::RecordType::kRow) {
      shm::prefetch_ahead(record_.ahead, record_.header.table_id, index_, *reader_);
      const Bytes key = record_.bytes.subspan(shm::kRecordHeaderBytes, record_.header.key_bytes);
      const std::uint64_t hash = shm::key_hash(key);
      const shm::RowIndex::Handle handle = index_.find(hash, key, *reader_);
      if (handle == shm::RowIndex::kNoRow) {
        index_.insert(hash, record_.address, *reader_);
      } else {
        index_.set_address(handle, record_.address);
      }
      ++rows_;
    }
  }
  void apply(std::uint64_t rows) {
    for (const std::uint64_t end = rows_ + rows; rows_ < end;) next();
    if (index_.size() != kRows) die("the index does not hold the rows that were sent");
  }

 private:
  std::unique_ptr<shm::RingReader> reader_;
  shm::RowIndex index_;
  shm::Record record_;
  std::uint64_t rows_ = 0;
};

// The two halves of what follows, each alone on its core. The table's rows are there before, and what is measured changes
// them.
void append_records(benchmark::State& state) {
  run_on_core(0);
  const auto payload = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    auto ring = std::make_unique<PlainRing>(kRoom);
    append_rows(*ring, payload, kRows);
    state.ResumeTiming();
    append_rows(*ring, payload, kRecords);
    state.PauseTiming();
    ring.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}
void apply_records(benchmark::State& state) {
  run_on_core(0);
  PlainRing ring(kRoom);
  append_rows(ring, static_cast<std::size_t>(state.range(0)), kRows + kRecords);
  for (auto _ : state) {
    state.PauseTiming();
    auto applier = std::make_unique<Applier>(ring);
    applier->apply(kRows);
    state.ResumeTiming();
    applier->apply(kRecords);
    state.PauseTiming();
    applier.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}

// Append with checksum and publishing on one core; applying on the other.
void ring_records(benchmark::State& state) {
  const auto payload = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    Shared lines;
    PlainRing ring(kRoom);
    append_rows(ring, payload, kRows);
    Peer peer([&] {
      Applier applier(ring);
      applier.apply(kRows);
      lines->pong.word.store(1, std::memory_order_release);
      applier.apply(kRecords);
      lines->pong.word.store(2, std::memory_order_release);
    });
    spin_until([&] { return lines->pong.word.load(std::memory_order_acquire) == 1; });
    const std::uint64_t start = monotonic_ns();
    append_rows(ring, payload, kRecords);
    spin_until([&] { return lines->pong.word.load(std::memory_order_acquire) == 2; });
    state.SetIterationTime(static_cast<double>(monotonic_ns() - start) * 1e-9);
    peer.join();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecords));
}

// ---------------------------------------------------------------------- waking a sleeper

// How a reader waits for its FIFO's byte.
class Sleeper {
 public:
  explicit Sleeper(bool by_uring) {
    if (by_uring) uring_ = or_die(Uring::create(8, 8));
  }
  void wait(int fd) {
    char bytes[64];
    if (uring_ == nullptr) {
      pollfd poll{fd, POLLIN, 0};
      while (::poll(&poll, 1, -1) != 1) continue;
      if (::read(fd, bytes, sizeof bytes) <= 0) die("a FIFO that is readable cannot be read");
      return;
    }
    io_uring_prep_read(uring_->sqe(), fd, bytes_, sizeof bytes_, 0);
    io_uring_cqe* cqe = nullptr;
    if (::io_uring_submit_and_wait(uring_->get(), 1) < 0 || ::io_uring_peek_cqe(uring_->get(), &cqe) != 0 ||
        cqe->res <= 0) {
      die("the FIFO cannot be read by io_uring");
    }
    ::io_uring_cqe_seen(uring_->get(), cqe);
  }

 private:
  std::unique_ptr<Uring> uring_;
  char bytes_[64];
};

enum class Waiting : std::int64_t { kSpinning, kPoll, kUring };

// One transaction to a reader that spins, or sleeps in poll(2) or in an io_uring read of its FIFO: from before the append
// until it has the row, and what the writer pays for publishing.
void wake_up(benchmark::State& state) {
  Shared lines;
  PlainRing ring(kChunk);
  const auto waiting = static_cast<Waiting>(state.range(0));
  const auto rounds = static_cast<std::uint64_t>(state.max_iterations);
  Peer peer([&] {
    Sleeper sleeper(waiting == Waiting::kUring);
    const std::unique_ptr<shm::RingReader> reader = ring.join();
    shm::Record record;
    for (std::uint64_t n = 0; n < rounds;) {
      const shm::Step step = reader->next(record);
      if (step == shm::Step::kCaughtUp) {
        lines->ping.word.store(n + 1, std::memory_order_release);  // ready for the next transaction
        if (waiting == Waiting::kSpinning || !reader->prepare_sleep()) continue;
        sleeper.wait(reader->wake_fd());
        reader->awake();
        continue;
      }
      const std::uint64_t now = ticks();
      if (step != shm::Step::kRecord) die("the log cannot be followed");
      if (record.header.type == shm::RecordType::kRow) {
        lines->pong.stamp.store(now, std::memory_order_relaxed);
      } else if (record.header.type == shm::RecordType::kCommit && record.header.version.value() != 0) {
        lines->pong.word.store(++n, std::memory_order_release);
        reader->set_reclaim_position(reader->position());
      }
    }
  });
  Histogram seen;
  Histogram publish;
  std::uint64_t n = 0;
  for (auto _ : state) {
    ++n;
    ring.prepare(1, 64);
    spin_until([&] { return lines->ping.word.load(std::memory_order_acquire) == n; });
    if (waiting != Waiting::kSpinning) spin_until([&] { return ring.writer().readers().at(0).asleep; });
    // In the kernel, and its core at rest.
    constexpr std::uint64_t kSettleNs = 30'000;
    const std::uint64_t settled = monotonic_ns() + kSettleNs;
    spin_until([&] { return monotonic_ns() >= settled; });
    const std::uint64_t start = ticks();
    ring.commit();
    const std::uint64_t published = ticks();
    spin_until([&] { return lines->pong.word.load(std::memory_order_acquire) == n; });
    publish.record(published - start);
    seen.record(since(start, lines->pong.stamp.load(std::memory_order_relaxed)));
  }
  peer.join();
  report(state, "seen", seen);
  report(state, "writer", publish);
}

constexpr std::int64_t kWakeUps = 1'000;
BENCHMARK(wake_up)
    ->Name("wake_up/spinning")
    ->Arg(static_cast<std::int64_t>(Waiting::kSpinning))
    ->Iterations(kWakeUps);
BENCHMARK(wake_up)
    ->Name("wake_up/poll")
    ->Arg(static_cast<std::int64_t>(Waiting::kPoll))
    ->Iterations(kWakeUps);
BENCHMARK(wake_up)
    ->Name("wake_up/io_uring")
    ->Arg(static_cast<std::int64_t>(Waiting::kUring))
    ->Iterations(kWakeUps);

BENCHMARK(memcpy_records)->Arg(64)->Arg(512)->Iterations(4);
BENCHMARK(bare_ring)->Arg(64)->Arg(512)->Iterations(4)->UseRealTime();
BENCHMARK(ring_records)->Arg(64)->Arg(512)->Iterations(3)->UseManualTime();
BENCHMARK(append_records)->Arg(64)->Arg(512)->Iterations(3);
BENCHMARK(apply_records)->Arg(64)->Arg(512)->Iterations(3);

}  // namespace
}  // namespace ringside::bench
