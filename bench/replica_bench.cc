// Micro-benchmarks of the replica without its sockets: joining, and everything from a request's bytes to its answer's.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "bench/ring_of_products.h"
#include "replica/responder.h"
#include "replica/table_store.h"

namespace ringside::bench {
namespace {

using replica::HttpConnection;
using replica::TableStore;

constexpr std::uint64_t kProducts = 63'000;
constexpr std::size_t kDraws = 1 << 14;  // a power of two

// A reader and the store that has applied all of its ring.
struct Joined {
  explicit Joined(const RingOfProducts& ring) : reader(ring.join()), store(*reader) { follow(); }
  void follow() {
    shm::Record record;
    shm::Step step;
    while ((step = reader->next(record)) == shm::Step::kRecord) {
      if (store.apply(record) == replica::Applied::kCorrupt) die(store.why());
      while (!store.remove_some(1024)) {
      }
    }
    if (step != shm::Step::kCaughtUp) die("the log cannot be walked");
  }
  std::unique_ptr<shm::RingReader> reader;
  TableStore store;
};

void join(benchmark::State& state) {
  const RingOfProducts ring(kProducts);
  for (auto _ : state) {
    const Joined joined(ring);
    const replica::Route* route = joined.store.find_route("products");
    if (route == nullptr || route->table == nullptr) die("the table is not served");
    state.counters["index_bytes_per_row"] =
        static_cast<double>(route->table->index.memory_bytes()) / static_cast<double>(kProducts);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kProducts));
}
BENCHMARK(join)->Unit(benchmark::kMillisecond);

// A replica that is up to date, and transactions of so many rows that are there to be followed. Items are rows.
class Following {
 public:
  explicit Following(benchmark::State& state) : state_(state), ring_(kProducts), joined_(ring_) {}

  template <class Publish>
  void run(std::uint64_t rows, Publish&& publish) {
    for (auto _ : state_) {
      state_.PauseTiming();
      publish(ring_);
      state_.ResumeTiming();
      joined_.follow();
    }
    if (joined_.store.visible_version() != ring_.publisher().ring().version())
      die("it has not come to the end");
    state_.SetItemsProcessed(state_.iterations() * static_cast<std::int64_t>(rows));
  }
  const replica::ServedTable& table() const { return *joined_.store.find_route("products")->table; }

 private:
  benchmark::State& state_;
  RingOfProducts ring_;
  Joined joined_;
};

constexpr std::uint64_t kFollowed = 10'000;  // rows an iteration

void follow_updates(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  std::mt19937_64 random(20260108);
  Following following(state);
  following.run(kFollowed, [&](RingOfProducts& ring) {
    for (std::uint64_t i = 0; i < kFollowed; i += rows) {
      ring.update_some(rows, [&] { return 1 + random() % kProducts; });
    }
  });
  if (following.table().row_count != kProducts) die("an update has added a row");
}
BENCHMARK(follow_updates)->Arg(1)->Arg(100)->Iterations(10)->Unit(benchmark::kMillisecond);

void follow_inserts(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t id = kProducts;
  Following following(state);
  following.run(kFollowed, [&](RingOfProducts& ring) {
    for (std::uint64_t i = 0; i < kFollowed; i += rows) {
      ring.insert_some(rows, [&] { return ++id; });
    }
  });
  if (following.table().row_count != id) die("an insert was lost");
}
BENCHMARK(follow_inserts)->Arg(1)->Arg(100)->Iterations(10)->Unit(benchmark::kMillisecond);

struct NoPages final : replica::PageSource {
  replica::Page page(replica::RouteKind) override { die("a point read was taken for a page"); }
};

// `connections` clients with one request each in a turn; answers are thrown away as if they had been sent.
class Turns {
 public:
  Turns(const RingOfProducts& ring, std::size_t connections)
      : joined_(ring),
        inputs_(std::size_t{1} << 20, connections),
        outputs_(std::size_t{1} << 20, connections),
        responder_(replica::ResponderLimits{}, pages_, metrics_) {
    for (std::size_t i = 0; i < connections; ++i) {
      connections_.push_back(
          std::make_unique<HttpConnection>(static_cast<std::uint32_t>(i), inputs_, outputs_));
      connections_.back()->reset(false);
    }
    std::mt19937_64 random(20260108);
    for (std::size_t i = 0; i < kDraws; ++i) {
      requests_.push_back(
          fmt::format("GET /v1/products/{} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n",
                      1 + random() % ring.rows()));
    }
  }

  void turn() {
    replica::Responder::TurnState state;
    state.tables = &joined_.store;
    state.version = joined_.store.visible_version();
    state.now_ns = monotonic_ns();
    state.unix_seconds = 1'767'830'400;
    responder_.begin_turn(state);
    for (const auto& connection : connections_) {
      responder_.receive(*connection, as_bytes(requests_[next_++ % kDraws]));
    }
    responder_.flush();
    for (HttpConnection* connection : responder_.touched()) {
      const std::string_view answer = connection->output.view();
      if (!answer.starts_with("HTTP/1.1 200 ")) die(answer);
      bytes_ += answer.size();
      connection->output.consume(answer.size());
    }
    responder_.clear_touched();
    responder_.end_turn(monotonic_ns());
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  Joined joined_;
  NoPages pages_;
  replica::ReplicaMetrics metrics_;
  replica::BufferPool inputs_;
  replica::BufferPool outputs_;
  replica::Responder responder_;
  std::vector<std::unique_ptr<HttpConnection>> connections_;
  std::vector<std::string> requests_;
  std::size_t next_ = 0;
  std::uint64_t bytes_ = 0;
};

// The whole user-space part of a point read: parse, plan, look up, answer. Items are requests.
void point_reads_a_turn(benchmark::State& state) {
  const RingOfProducts ring(kProducts);
  Turns turns(ring, static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) turns.turn();
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["response_bytes"] =
      static_cast<double>(turns.bytes()) / static_cast<double>(state.iterations() * state.range(0));
}
BENCHMARK(point_reads_a_turn)->Arg(1)->Arg(16)->Arg(64);

// What counting and timing costs: so many point reads a turn, the look at the clock at its end included. Items are
// requests.
void counting_requests_a_turn(benchmark::State& state) {
  const auto metrics = std::make_unique<replica::ReplicaMetrics>();
  std::uint64_t turn_ns = 0;
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      replica::RouteKind route = replica::RouteKind::kRow;
      std::uint64_t asked_ns = turn_ns;
      benchmark::DoNotOptimize(route);
      benchmark::DoNotOptimize(asked_ns);
      metrics->requests.count(route, 200);
      metrics->request_durations.answered(route, asked_ns, turn_ns);
    }
    const std::uint64_t ended_ns = monotonic_ns();
    metrics->request_durations.end_turn(turn_ns, ended_ns);
    metrics->turn_duration.record(ended_ns - turn_ns);
    turn_ns = ended_ns;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(counting_requests_a_turn)->Arg(1)->Arg(16)->Arg(64);

}  // namespace
}  // namespace ringside::bench
