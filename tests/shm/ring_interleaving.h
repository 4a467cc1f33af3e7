// What the interleavings of the ring share: a writer and readers made of the ring's own code over the simulated memory, rows
// that prove themselves, what was published by version, and the search for a seed that shows something wrong.
//
// RINGSIDE_INTERLEAVINGS: how many seeds each search tries (an hour: some 50,000). RINGSIDE_SEED: the first of them. A
// failure names its seed: RINGSIDE_SEED=<it> RINGSIDE_INTERLEAVINGS=1 repeats it.
//
// Threads: one.   Ownership: the fixture removes its ring.   Errors: Interleaving::fail(), gtest expectations.
// Limits: none of its own.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "shm/publisher.h"
#include "shm/ring_reader.h"
#include "tests/shm/interleaving.h"
#include "tests/shm/ring_fixture.h"
#include "tests/shm/store_buffer_memory.h"

namespace ringside::shm {

extern template class BasicRingReader<StoreBufferMemory>;
extern template class BasicRingWriter<StoreBufferMemory>;
extern template class BasicPublisher<StoreBufferMemory>;

using SimulatedWriter = BasicTestWriter<StoreBufferMemory>;

inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* set = std::getenv(name);
  return set == nullptr ? otherwise : std::strtoull(set, nullptr, 10);
}

// --- rows that prove themselves

inline std::uint32_t proof_of(std::uint64_t key, std::uint64_t generation) {
  const std::uint64_t both[2] = {key, generation};
  return crc32c(both, sizeof both);
}

// "key:generation:proof:fill", of a length that depends on the generation.
inline std::string proven_row(std::uint64_t key, std::uint64_t generation) {
  return json_text(std::to_string(key) + ':' + std::to_string(generation) + ':' +
                   std::to_string(proof_of(key, generation)) + ':' +
                   std::string(generation * 37 % 400, static_cast<char>('a' + generation % 26)));
}

// The generation of a row that proves itself to be of this key; 0 when it does not.
inline std::uint64_t generation_of(std::uint64_t key, std::string_view json) {
  std::string_view rest = json.substr(std::min<std::size_t>(json.size(), 1));
  std::uint64_t numbers[3] = {};
  for (std::uint64_t& number : numbers) {
    const char* const end = rest.data() + rest.size();
    const auto [at, error] = std::from_chars(rest.data(), end, number);
    if (error != std::errc() || at == end || *at != ':') return 0;
    rest.remove_prefix(static_cast<std::size_t>(at - rest.data()) + 1);
  }
  return numbers[0] == key && json == proven_row(key, numbers[1]) ? numbers[1] : 0;
}

using Contents = std::map<std::uint64_t, std::uint64_t>;  // key → generation

// What all processes of an interleaving share beside the ring.
struct World {
  Interleaving& run;
  const RingOptions& options;
  std::vector<Contents> at{{}, {}};  // by version
  std::uint64_t last_version = 0;    // with which it ends
};

// --- a reader

// What a reader does besides following.
struct Habits {
  std::uint64_t leaves = 0;  // after how many of 1,024 times that it has caught up
  std::uint64_t copies = 0;  // rows by their addresses whenever it has
  std::uint64_t strays = 0;  // before how many of 1,024 joins it stays away for a while
  bool sleeps = true;        // or asks again and again
  bool may_be_evicted = false;
  bool asks_whether_evicted = true;  // R4; false is a bug
};

class SimulatedReader {
 public:
  SimulatedReader(World& world, const Habits& habits) : world_(world), habits_(habits), buffer_(4096) {}

  // Joins, follows and leaves until it has seen the last version.
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

  std::uint64_t joined = 0;
  std::uint64_t slept = 0;
  std::uint64_t evicted = 0;

 private:
  struct Row {
    Address address = 0;
    std::uint64_t generation = 0;
  };

  void stay() {
    rows_.clear();
    version_ = 0;
    if (world_.run.random().chance(habits_.strays)) stray();
    auto attached = BasicRingReader<StoreBufferMemory>::attach(world_.options.directory, world_.options.name);
    if (!attached) return world_.run.fail("attach: " + attached.error().message);
    reader_ = std::move(*attached);
    SimulatedMemory::instance().lock();
    if (const auto has_joined = reader_->join(); !has_joined) {
      // The committed position was being stored whenever it looked: the next attempt follows.
      const bool is_for_now = has_joined.error().kind == ErrorKind::kUnavailable;
      if (!is_for_now) world_.run.fail("join: " + has_joined.error().message);
    } else {
      ++joined;
      follow();
    }
    reader_.reset();
    SimulatedMemory::instance().unlock();
  }

  // Meanwhile the log goes on, and round the ring: it knows nothing of that.
  void stray() {
    const std::uint64_t published = world_.at.size() - 1;
    const std::uint64_t until = published + world_.run.random().below(world_.last_version - published + 1);
    while (!world_.run.is_over() && world_.at.size() - 1 < until) world_.run.yield();
  }

  void follow() {
    Record record;
    while (!world_.run.is_over()) {
      const Step step = reader_->next(record);
      if (step == Step::kRecord) {
        apply(record);
        continue;
      }
      if (step == Step::kEvicted && habits_.may_be_evicted) break;
      if (step != Step::kCaughtUp) {
        return world_.run.fail(step == Step::kEvicted ? "a reader that was not evicted lost its slots"
                                                      : "the log contradicts itself");
      }
      check_contents();
      reader_->set_reclaim_position(reader_->position());
      if (!copy_rows()) break;
      if (version_ >= world_.last_version || world_.run.random().chance(habits_.leaves)) return;
      sleep();
    }
    ++evicted;
    version_ = 0;
  }

  void apply(const Record& record) {
    const RecordHeader& header = record.header;
    switch (header.type) {
      case RecordType::kCheckpoint:
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
        if (generation == 0) return world_.run.fail("a row of the log does not prove itself");
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

  // Answers, as it were (R1 to R4). False: it has been evicted.
  bool copy_rows() {
    if (rows_.empty()) return true;
    for (std::uint64_t i = 0; i < habits_.copies && !world_.run.is_over(); ++i) {
      auto chosen = rows_.begin();
      std::advance(chosen, world_.run.random().below(rows_.size()));
      const auto& [key, mine] = *chosen;
      RecordHeader header;
      const CopyStatus status = reader_->copy_record(mine.address, header, buffer_);
      if (habits_.asks_whether_evicted && reader_->is_evicted()) {
        if (!habits_.may_be_evicted) world_.run.fail("a reader was evicted");
        return false;
      }
      if (status == CopyStatus::kGone && habits_.may_be_evicted) return false;
      RowView row;
      if (status != CopyStatus::kOk || !RowView::parse(header, Bytes(buffer_).first(header.length), row) ||
          row.key() != item_key(key) || generation_of(key, row.value(1)) != mine.generation) {
        world_.run.fail("a row copied by its address is another");
      }
    }
    return true;
  }

  void sleep() {
    if (!habits_.sleeps) return world_.run.yield();
    if (!reader_->prepare_sleep()) return;
    is_asleep_ = true;
    world_.run.wait_for(reader_->wake_fd());
    is_asleep_ = false;
    reader_->awake();
    ++slept;
    char bytes[64];
    while (::read(reader_->wake_fd(), bytes, sizeof bytes) > 0) {
    }
  }

  World& world_;
  Habits habits_;
  std::vector<std::byte> buffer_;
  std::unique_ptr<BasicRingReader<StoreBufferMemory>> reader_;
  std::map<std::uint64_t, Row> rows_;
  std::uint64_t version_ = 0;
  bool is_asleep_ = false;
};

// --- interleavings

inline constexpr MemoryModel kModels[] = {MemoryModel::kStoreBuffers, MemoryModel::kViews};

inline const char* name_of(MemoryModel model) {
  return model == MemoryModel::kViews ? "views" : "store buffers";
}

enum class Finding : std::uint8_t {
  kFound,
  kHarmless,  // nothing is wrong, and the test says why
  kSame,      // the same as what is written: not tried (x86's seq_cst load is an ordinary one)
};

// One or two orders of the code, weakened.
struct Bug {
  const char* what;
  std::vector<Weakening> weakenings;
  Finding with_store_buffers;
  Finding with_views;
};
inline Weakening weaker(Word word, Op op) {
  return {word, op, Order::kSeqCst, Order::kAcquireRelease};
}

class RingInterleaving : public testing::Test {
 protected:
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

  // Adds the processes and runs them.
  virtual void play(Interleaving& run) = 0;

  // One interleaving; what is wrong, or nothing.
  std::string play(MemoryModel model, std::uint64_t seed) {
    memory_.restore();
    if (!writer_.open()) return "the ring is not opened";
    Interleaving run(model, seed);
    play(run);
    steps_ += run.steps();
    switches_ += run.switches();
    writer_.close();
    return run.failure();
  }

  // The first of so many seeds that shows something wrong, and what; 0: none does.
  std::pair<std::uint64_t, std::string> search(MemoryModel model, std::uint64_t seeds) {
    const std::uint64_t first = from_environment("RINGSIDE_SEED", 1);
    seeds = from_environment("RINGSIDE_INTERLEAVINGS", seeds);
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
      std::string wrong = play(model, seed);
      if (!wrong.empty()) return {seed, std::move(wrong)};
    }
    return {0, ""};
  }

  void expect_nothing_wrong() {
    for (const MemoryModel model : kModels) {
      steps_ = switches_ = 0;
      const auto [seed, wrong] = search(model, kSeeds);
      EXPECT_EQ(seed, 0u) << name_of(model) << ", RINGSIDE_SEED=" << seed << ": " << wrong;
      std::printf("%s: %lu accesses, %lu switches\n", name_of(model), steps_, switches_);
    }
  }

  void expect_found(const Bug& bug) {
    for (const MemoryModel model : kModels) {
      const Finding expected = model == MemoryModel::kViews ? bug.with_views : bug.with_store_buffers;
      if (expected == Finding::kSame) continue;
      memory_.mend();
      for (const Weakening& each : bug.weakenings) memory_.weaken(each);
      const auto [seed, wrong] =
          search(model, expected == Finding::kFound ? kSeedsForBugs : kSeedsForHarmless);
      memory_.mend();
      EXPECT_EQ(seed != 0, expected == Finding::kFound)
          << bug.what << ", " << name_of(model) << ", seed " << seed << ": " << wrong;
      std::printf("%s, %s: %s\n", bug.what, name_of(model),
                  seed == 0 ? "nothing wrong" : ("seed " + std::to_string(seed) + ": " + wrong).c_str());
    }
  }

  static constexpr std::uint64_t kSeeds = 100;
  static constexpr std::uint64_t kSeedsForBugs = 1000;  // at most
  static constexpr std::uint64_t kSeedsForHarmless = 40;
  RingDirectory directory_;
  SimulatedMemory& memory_ = SimulatedMemory::instance();
  SimulatedWriter writer_;
  std::uint64_t steps_ = 0;
  std::uint64_t switches_ = 0;
};

}  // namespace ringside::shm
