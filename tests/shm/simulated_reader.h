// A reader as a simulated process: the ring's own reader over the simulated memory, which joins, follows, copies rows and
// leaves, and holds all it finds against what was published. Rows prove themselves: "<key>:<generation>:<proof>:<fill>".
//
// Threads: one; a fiber of interleaving.h.   Ownership: its reader.   Errors: Interleaving::fail().
// Limits: none of its own.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "shm/ring_reader.h"
#include "tests/shm/interleaving.h"
#include "tests/shm/ring_fixture.h"
#include "tests/shm/store_buffer_memory.h"

namespace ringside::shm {

extern template class BasicRingReader<StoreBufferMemory>;

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

}  // namespace ringside::shm
