// The ring's handshakes under a simulated memory (store_buffer_memory.h): writer and readers run the ring's own code,
// interleaved by a seed, and what the readers find is held against what the writer published. Each bug put in on
// purpose has to be found.
//
// RINGSIDE_INTERLEAVINGS: how many seeds each test tries (an hour: 1,000,000). RINGSIDE_SEED: the first of them. A failure
// names its seed: RINGSIDE_SEED=<it> RINGSIDE_INTERLEAVINGS=1 repeats it.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "shm/publisher_impl.h"
#include "shm/ring_reader_impl.h"
#include "tests/shm/interleaving.h"
#include "tests/shm/ring_fixture.h"
#include "tests/shm/store_buffer_memory.h"

namespace ringside::shm {
namespace {

using SimulatedWriter = BasicTestWriter<StoreBufferMemory>;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* set = std::getenv(name);
  return set == nullptr ? otherwise : std::strtoull(set, nullptr, 10);
}

// --- rows that prove themselves

std::uint32_t proof_of(std::uint64_t key, std::uint64_t generation) {
  const std::uint64_t both[2] = {key, generation};
  return crc32c(both, sizeof both);
}

// "key:generation:proof:fill", of a length that depends on the generation.
std::string proven_row(std::uint64_t key, std::uint64_t generation, std::uint64_t fill) {
  return json_text(
      std::to_string(key) + ':' + std::to_string(generation) + ':' +
      std::to_string(proof_of(key, generation)) + ':' +
      std::string(fill == 0 ? 0 : generation * 37 % fill, static_cast<char>('a' + generation % 26)));
}

// The generation of a row that proves itself to be of this key; 0 when it does not.
std::uint64_t generation_of(std::uint64_t key, std::string_view json) {
  std::string_view rest = json.substr(std::min<std::size_t>(json.size(), 1));
  std::uint64_t numbers[3] = {};
  for (std::uint64_t& number : numbers) {
    const char* const end = rest.data() + rest.size();
    const auto [at, error] = std::from_chars(rest.data(), end, number);
    if (error != std::errc() || at == end || *at != ':') return 0;
    rest.remove_prefix(static_cast<std::size_t>(at - rest.data()) + 1);
  }
  return numbers[0] == key && numbers[2] == proof_of(key, numbers[1]) ? numbers[1] : 0;
}

using Contents = std::map<std::uint64_t, std::uint64_t>;  // key → generation

// What all processes of an interleaving share beside the ring.
struct World {
  Interleaving& run;
  const RingOptions& options;
  std::vector<Contents> at;        // by version
  std::uint64_t last_version = 0;  // with which it ends
};

// --- a reader

class SimulatedReader {
 public:
  explicit SimulatedReader(World& world) : world_(world) {}

  void run() {
    while (!world_.run.is_over() && version_ < world_.last_version) stay();
  }

  // Asleep without a byte to wake it.
  bool is_sleeping() const {
    if (!is_asleep_) return false;
    pollfd fd{reader_->wake_fd(), POLLIN, 0};
    return ::poll(&fd, 1, 0) == 0;
  }
  Position position() const { return reader_->position(); }

 private:
  struct Row {
    Address address = 0;
    std::uint64_t generation = 0;
  };

  void stay() {
    rows_.clear();
    version_ = 0;
    auto attached = BasicRingReader<StoreBufferMemory>::attach(world_.options.directory, world_.options.name);
    if (!attached) return world_.run.fail("attach: " + attached.error().message);
    reader_ = std::move(*attached);
    SimulatedMemory::instance().lock();
    if (const auto joined = reader_->join(); !joined) {
      world_.run.fail("join: " + joined.error().message);
    } else {
      follow();
    }
    reader_.reset();
    SimulatedMemory::instance().unlock();
  }

  void follow() {
    Record record;
    while (!world_.run.is_over()) {
      const Step step = reader_->next(record);
      if (step == Step::kRecord) {
        apply(record);
        continue;
      }
      if (step != Step::kCaughtUp) return world_.run.fail("step " + std::to_string(static_cast<int>(step)));
      check_contents();
      reader_->set_reclaim_position(reader_->position());
      if (version_ >= world_.last_version) return;
      sleep();
    }
  }

  void apply(const Record& record) {
    const RecordHeader& header = record.header;
    switch (header.type) {
      case RecordType::kCommit:
        if ((header.flags & kLoadBatch) != 0) return;
        if (header.version.value() < version_) return world_.run.fail("a version went back");
        version_ = header.version.value();
        return;
      case RecordType::kTombstone:
        rows_.erase(load_be<std::uint64_t>(record.bytes.data() + kRecordHeaderBytes));
        return;
      case RecordType::kRow:
      case RecordType::kRelocation: {
        const std::uint64_t key = load_be<std::uint64_t>(record.bytes.data() + kRecordHeaderBytes);
        RowView row;
        const std::uint64_t generation =
            RowView::parse(header, record.bytes, row) ? generation_of(key, row.value(1)) : 0;
        if (generation == 0) return world_.run.fail("a row does not prove itself");
        rows_[key] = Row{record.address, generation};
        return;
      }
      default:
        return;
    }
  }

  // All that the writer published up to this version, and nothing else.
  void check_contents() {
    if (version_ >= world_.at.size()) return world_.run.fail("a version of the future");
    Contents mine;
    for (const auto& [key, row] : rows_) mine.emplace(key, row.generation);
    if (mine != world_.at[version_])
      world_.run.fail("the contents are not those of version " + std::to_string(version_));
  }

  void sleep() {
    if (!reader_->prepare_sleep()) return;
    is_asleep_ = true;
    world_.run.wait_for(reader_->wake_fd());
    is_asleep_ = false;
    reader_->awake();
    char bytes[64];
    while (::read(reader_->wake_fd(), bytes, sizeof bytes) > 0) {
    }
  }

  World& world_;
  std::unique_ptr<BasicRingReader<StoreBufferMemory>> reader_;
  std::map<std::uint64_t, Row> rows_;
  std::uint64_t version_ = 0;
  bool is_asleep_ = false;
};

// --- interleavings

constexpr MemoryModel kModels[] = {MemoryModel::kStoreBuffers, MemoryModel::kViews};

const char* name_of(MemoryModel model) {
  return model == MemoryModel::kViews ? "views" : "store buffers";
}

// One order of the code, weakened.
struct Weakening {
  const char* what;
  Word word;
  Op op;
  Order at_most;
  bool found_by_store_buffers;
  bool found_by_views;
};

class RingInterleaving : public testing::Test {
 public:
  using Scenario = std::string (RingInterleaving::*)(MemoryModel, std::uint64_t seed);

  RingInterleaving() : writer_(small_ring()) {}
  // Every interleaving begins with this ring: it is made once, and its memory put back.
  void SetUp() override {
    memory_.mend();
    ASSERT_TRUE(writer_.start());
    writer_.close();
    memory_.save();
  }

  PublisherOptions small_ring() const {
    PublisherOptions options = directory_.options();
    options.ring.segment_bytes = 4096;
    options.ring.chunk_bytes = 16384;
    options.ring.max_bytes = 65536;
    options.ring.reserve_bytes = 65536;
    return options;
  }

  // The first seed that shows something wrong, and what; 0: none does.
  std::pair<std::uint64_t, std::string> search(Scenario scenario, MemoryModel model) {
    const std::uint64_t first = from_environment("RINGSIDE_SEED", 1);
    for (std::uint64_t i = 0; i < from_environment("RINGSIDE_INTERLEAVINGS", kInterleavings); ++i) {
      std::string wrong = (this->*scenario)(model, first + i);
      if (!wrong.empty()) return {first + i, std::move(wrong)};
    }
    return {0, ""};
  }

  void expect_nothing_wrong(Scenario scenario) {
    for (const MemoryModel model : kModels) {
      steps_ = switches_ = 0;
      const auto [seed, wrong] = search(scenario, model);
      EXPECT_EQ(seed, 0u) << name_of(model) << ", RINGSIDE_SEED=" << seed << ": " << wrong;
      std::printf("%s: %lu accesses, %lu switches\n", name_of(model), steps_, switches_);
    }
  }

  void expect_found(Scenario scenario, const Weakening& bug) {
    for (const MemoryModel model : kModels) {
      memory_.mend();
      memory_.weaken(bug.word, bug.op, bug.at_most);
      const auto [seed, wrong] = search(scenario, model);
      const bool expected = model == MemoryModel::kViews ? bug.found_by_views : bug.found_by_store_buffers;
      EXPECT_EQ(seed != 0, expected) << bug.what << ", " << name_of(model) << ", seed " << seed << ": "
                                     << wrong;
      if (seed != 0) std::printf("%s, %s, seed %lu: %s\n", bug.what, name_of(model), seed, wrong.c_str());
    }
    memory_.mend();
  }

  std::string sleep_and_wake(MemoryModel model, std::uint64_t seed);

  void count(const Interleaving& run) {
    steps_ += run.steps();
    switches_ += run.switches();
  }

  static constexpr std::uint64_t kInterleavings = 300;
  RingDirectory directory_;
  SimulatedMemory& memory_ = SimulatedMemory::instance();
  SimulatedWriter writer_;
  std::uint64_t steps_ = 0;
  std::uint64_t switches_ = 0;
};

// --- sleep word and committed position (S1, S2; P3, P4)

// Transactions one after the other, and readers that sleep whenever they can.
std::string RingInterleaving::sleep_and_wake(MemoryModel model, std::uint64_t seed) {
  memory_.restore();
  if (!writer_.open()) return "the ring is not opened";
  Interleaving run(model, seed);
  World world{run, writer_.options().ring, {{}, {}}, 10 + run.random().below(30)};
  std::deque<SimulatedReader> readers;
  for (std::uint64_t i = run.random().below(2) + 1; i > 0; --i) readers.emplace_back(world);
  const auto nobody_oversleeps = [&] {
    const Position end = writer_->ring().committed_position();
    for (const SimulatedReader& reader : readers) {
      if (!reader.is_sleeping() || reader.position() >= end) continue;
      run.fail("a reader sleeps at " + std::to_string(reader.position().value()) + " while the log ends at " +
               std::to_string(end.value()));
    }
  };
  run.add([&] {
    for (std::uint64_t version = 2; version <= world.last_version && !run.is_over(); ++version) {
      const std::uint64_t key = run.random().below(4);
      Contents next = world.at.back();
      const std::string row = proven_row(key, version, 64);
      next.contains(key) ? writer_.update(key, row) : writer_.insert(key, row);
      next[key] = version;
      world.at.push_back(std::move(next));
      writer_.commit(version);
      nobody_oversleeps();
      if (run.random().chance(512)) run.yield();
    }
  });
  for (SimulatedReader& reader : readers) run.add([&] { reader.run(); });
  run.run(nobody_oversleeps);
  count(run);
  writer_.close();
  return run.failure();
}

TEST_F(RingInterleaving, NoWakeUpIsLost) {
  expect_nothing_wrong(&RingInterleaving::sleep_and_wake);
}

TEST_F(RingInterleaving, ALostWakeUpIsFoundWhereOneOrderOfTheHandshakeIsWeaker) {
  constexpr Order kWeaker = Order::kAcquireRelease;
  for (const Weakening& bug : {
           Weakening{"S1 a release", Word::kSleep, Op::kStore, kWeaker, true, true},
           Weakening{"P3 a release", Word::kCommitted, Op::kStore, kWeaker, true, true},
           // On x86 a seq_cst load is an ordinary one.
           Weakening{"S2 an acquire", Word::kCommitted, Op::kLoad, kWeaker, false, true},
           Weakening{"P4 an acquire", Word::kSleep, Op::kLoad, kWeaker, false, true},
       }) {
    expect_found(&RingInterleaving::sleep_and_wake, bug);
  }
}

TEST_F(RingInterleaving, ASeedRepeatsItsInterleaving) {
  for (const MemoryModel model : kModels) {
    EXPECT_EQ(sleep_and_wake(model, 7), "");
    const std::uint64_t trace = memory_.trace();
    EXPECT_EQ(sleep_and_wake(model, 8), "");
    EXPECT_NE(memory_.trace(), trace);
    EXPECT_EQ(sleep_and_wake(model, 7), "");
    EXPECT_EQ(memory_.trace(), trace);
  }
}

}  // namespace
}  // namespace ringside::shm
