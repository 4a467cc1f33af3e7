// What tests of the ring share: a ring of small segments in a directory of its own on /dev/shm, a one-table
// schema, a writer that can be closed and opened again, and the mirror that a reader builds from the log.
//
// Threads: one.   Ownership: a RingDirectory removes its files.   Errors: gtest expectations.
// Limits: none of its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "shm/publisher.h"
#include "shm/ring_reader.h"
#include "shm/ring_writer.h"

namespace ringside::shm {

// A directory on /dev/shm that goes away with the object.
class RingDirectory {
 public:
  RingDirectory() {
    char path[] = "/dev/shm/ringside-test-XXXXXX";
    EXPECT_NE(::mkdtemp(path), nullptr);
    path_ = path;
  }
  ~RingDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  RingDirectory(const RingDirectory&) = delete;
  RingDirectory& operator=(const RingDirectory&) = delete;

  const std::string& path() const { return path_; }
  PublisherOptions options() const {
    PublisherOptions options;
    options.ring.directory = path_;
    options.ring.name = "test";
    options.ring.segment_bytes = 16384;
    options.ring.chunk_bytes = 65536;
    options.ring.max_bytes = std::uint64_t{64} << 20;
    options.ring.reserve_bytes = std::uint64_t{16} << 20;
    options.transaction_buffer_bytes = std::uint64_t{1} << 20;
    return options;
  }

 private:
  std::string path_;
};

// items(id BIGINT UNSIGNED primary key, name VARCHAR)
inline Table items_table(std::string name = "items") {
  Table table;
  table.name = std::move(name);
  table.key_name = "PRIMARY";
  Column id;
  id.name = "id";
  id.kind = ValueKind::kUnsigned;
  id.width = 8;
  id.sql_type = "bigint(20) unsigned";
  Column text;
  text.name = "name";
  text.kind = ValueKind::kText;
  text.nullable = true;
  text.collation = "utf8mb4_bin";
  text.sql_type = "varchar(100)";
  table.shape.columns = {id, text};
  table.key = {KeyColumn{0, KeyRule::kOrdered, false}};
  return table;
}

inline std::string item_key(std::uint64_t id) {
  char raw[8];
  store_be<std::uint64_t>(raw, id);
  return {raw, 8};
}

// The row (id, json) in `row`.
inline RowBuilder& build_item(RowBuilder& row, std::uint64_t id, std::string_view json) {
  row.begin();
  row.add(std::to_string(id));
  if (json.empty()) {
    row.add_null();
  } else {
    row.add(json);
  }
  const std::string key = item_key(id);
  row.set_key(as_bytes(key));
  return row;
}

inline std::string json_text(std::string_view text) {
  return '"' + std::string(text) + '"';
}

// A value of that many bytes between its quotes.
inline std::string filler(std::size_t size, char c = 'x') {
  return json_text(std::string(size, c));
}

// The seed of a random test: RINGSIDE_TEST_SEED, or the test's own. Printed, so that a failure can be repeated.
inline std::uint32_t test_seed(std::uint32_t own) {
  const char* set = std::getenv("RINGSIDE_TEST_SEED");
  const std::uint32_t seed =
      set == nullptr ? own : static_cast<std::uint32_t>(std::strtoul(set, nullptr, 10));
  std::printf("RINGSIDE_TEST_SEED=%u\n", seed);
  return seed;
}

// How many kills at random moments: RINGSIDE_KILLS, or the test's own number.
inline std::uint64_t kills_wanted(std::uint64_t own) {
  const char* set = std::getenv("RINGSIDE_KILLS");
  return set == nullptr ? own : std::strtoull(set, nullptr, 10);
}

// A Result's error for a failed expectation.
template <class T>
std::string why(const Result<T>& result) {
  return result ? std::string("no error") : result.error().message;
}

// What a reader would serve, made by the log's records in order, as docs/ring-format.md has it.
class Mirror {
 public:
  using Rows = std::map<std::string, std::string>;  // normalised key → second column's JSON

  void apply(const Record& record) {
    const RecordHeader& header = record.header;
    switch (header.type) {
      case RecordType::kRow:
      case RecordType::kRelocation: {
        RowView row;
        ASSERT_TRUE(RowView::parse(header, record.bytes, row));
        ASSERT_TRUE(row.offsets_are_valid());
        rows_[header.table_id.value()][std::string(row.key())] = row.value(1);
        ++rows_since_commit_;
        return;
      }
      case RecordType::kTombstone:
        rows_[header.table_id.value()].erase(
            std::string(as_text(record.bytes.subspan(kRecordHeaderBytes, header.key_bytes))));
        ++rows_since_commit_;
        return;
      case RecordType::kTableEvent:
        return apply_event(record);
      case RecordType::kCommit: {
        Commit commit;
        ASSERT_TRUE(parse_commit(header, record.bytes, commit));
        if (!is_short_) {
          EXPECT_EQ(commit.row_count, rows_since_commit_);
        }
        is_short_ = false;
        rows_since_commit_ = 0;
        ++commits;
        if ((header.flags & kLoadBatch) == 0) {
          EXPECT_GE(header.version, version);
          version = header.version;
          gtid = commit.gtid;
        }
        return;
      }
      case RecordType::kCheckpoint: {
        Checkpoint checkpoint;
        ASSERT_TRUE(parse_checkpoint(header, record.bytes, checkpoint));
        EXPECT_EQ(checkpoint.position, record.position);
        if (record.is_behind_gap) {  // the commits between have been compacted away
          EXPECT_GE(header.version, version);
          version = header.version;
          gtid = checkpoint.gtid_set;
        }
        EXPECT_EQ(header.version, version);
        ++segments;
        is_short_ |= record.is_behind_gap;  // of a transaction whose first segments are gone
        return;
      }
      case RecordType::kSegmentEnd:
        FAIL() << "segment ends are not returned";
    }
  }

  // Everything up to the committed position; how the walk ended.
  template <class Reader>
  Step follow(Reader& reader) {
    Record record;
    Step step;
    while ((step = reader.next(record)) == Step::kRecord) apply(record);
    if (step == Step::kCaughtUp) reader.set_reclaim_position(reader.position());
    return step;
  }

  // The rows that the name stands for; nothing when it is not served.
  const Rows* table(std::string_view name) const {
    static const Rows kEmpty;
    const auto id = live.find(name);
    if (id == live.end()) return nullptr;
    const auto found = rows_.find(id->second);
    return found == rows_.end() ? &kEmpty : &found->second;
  }
  // Rows of an incarnation, whether it is served or not.
  const Rows& incarnation(TableId id) { return rows_[id.value()]; }

  std::map<std::string, std::uint32_t, std::less<>> live;
  std::map<std::string, std::string, std::less<>> quarantined;
  Version version;
  std::string gtid;
  std::size_t commits = 0;
  std::size_t segments = 0;

 private:
  void apply_event(const Record& record) {
    TableEvent event;
    ASSERT_TRUE(parse_table_event(record.header, record.bytes, event));
    const std::string name(event.name);
    if (event.action == TableAction::kLive) {
      const auto before = live.find(name);
      if (before != live.end() && before->second != record.header.table_id.value())
        rows_.erase(before->second);
      live[name] = record.header.table_id.value();
      quarantined.erase(name);
      return;
    }
    const auto before = live.find(name);
    if (before == live.end() && event.action == TableAction::kQuarantined && quarantined.contains(name)) {
      EXPECT_EQ(quarantined[name], event.reason);  // carried forward
      return;
    }
    // The event that made the incarnation live may have been compacted away, or this one carried forward.
    if (before != live.end()) {
      EXPECT_GE(record.header.table_id.value(), before->second)
          << "an event names the incarnation that it ends";
    }
    if (before != live.end()) {
      rows_.erase(before->second);
      live.erase(before);
    }
    quarantined.erase(name);
    if (event.action == TableAction::kQuarantined) quarantined[name] = event.reason;
  }

  std::map<std::uint32_t, Rows> rows_;
  std::uint32_t rows_since_commit_ = 0;
  bool is_short_ = false;
};

// The one writer of a test's ring: lock and publisher, closed and opened again at will.
template <class Memory>
class BasicTestWriter {
 public:
  explicit BasicTestWriter(PublisherOptions options) : options_(std::move(options)) {}

  // Opens or continues the ring. False after a failed expectation.
  bool open() {
    close();
    Result<UniqueFd> lock = lock_ring(options_.ring);
    EXPECT_TRUE(lock) << why(lock);
    if (!lock) return false;
    lock_ = std::move(*lock);
    auto opened = BasicPublisher<Memory>::open(options_, lock_);
    EXPECT_TRUE(opened) << why(opened);
    if (!opened) return false;
    publisher_ = std::move(*opened);
    return true;
  }
  // As a process that ends: nothing is written any more.
  void close() {
    publisher_.reset();
    lock_.reset();
  }
  // A new ring with one empty live table at version 1.
  bool start(const std::string& name = "items") {
    if (!open()) return false;
    publisher_->describe("history", "test");
    const TableId id = publisher_->new_table(items_table(name));
    EXPECT_TRUE(publisher_->switch_to(id));
    return commit(1) && activate();
  }
  bool activate() {
    const auto activated = publisher_->activate(nullptr);
    EXPECT_TRUE(activated) << why(activated);
    return activated.has_value();
  }

  BasicPublisher<Memory>& operator*() { return *publisher_; }
  BasicPublisher<Memory>* operator->() { return publisher_.get(); }
  PublisherOptions& options() { return options_; }
  const UniqueFd& lock() const { return lock_; }

  // GTIDs are MySQL's from now on: kUuid:1, kUuid:2, …
  static constexpr const char* kUuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
  void use_mysql_gtids() { is_mysql_ = true; }

  // Commits at this version, with a GTID to match (and, on MySQL, those between it and the commit before); the tables
  // that had to be quarantined.
  Result<typename BasicPublisher<Memory>::Quarantined> try_commit(std::uint64_t version) {
    const std::string number = std::to_string(version);
    const std::uint64_t before = publisher_->last_commit().version.value();
    const std::string gtid = is_mysql_ ? kUuid + (":" + number) : "0-1-" + number;
    std::string executed;
    if (is_mysql_ && before + 1 < version)
      executed = kUuid + (":" + std::to_string(before + 1) + "-" + number);
    return publisher_->commit(Version(version), Commit{version * 10, version * 100, 0, gtid, executed});
  }
  // As above, again and again while compaction is at it.
  Result<typename BasicPublisher<Memory>::Quarantined> commit_soon(std::uint64_t version) {
    auto refused = try_commit(version);
    for (int i = 0; i < 10'000 && !refused && publisher_->room_state() == RoomState::kSoon; ++i) {
      refused = try_commit(version);
    }
    return refused;
  }
  // As above; true when it went well and nothing was quarantined.
  bool commit(std::uint64_t version) {
    const auto refused = commit_soon(version);
    EXPECT_TRUE(refused) << why(refused);
    if (!refused) return false;
    EXPECT_TRUE(refused->empty()) << refused->front().second;
    return refused->empty();
  }
  bool insert(std::uint64_t id, std::string_view json, std::string_view table = "items") {
    return expect(publisher_->insert(*publisher_->live_table(table), build_item(row_, id, json)));
  }
  bool update(std::uint64_t id, std::string_view json, std::string_view table = "items") {
    return expect(
        publisher_->update(*publisher_->live_table(table), item_key(id), build_item(row_, id, json)));
  }
  bool erase(std::uint64_t id, std::string_view table = "items") {
    return expect(publisher_->erase(*publisher_->live_table(table), item_key(id)));
  }

 private:
  bool expect(const Result<void>& result) {
    EXPECT_TRUE(result) << why(result);
    return result.has_value();
  }

  bool is_mysql_ = false;
  PublisherOptions options_;
  UniqueFd lock_;
  std::unique_ptr<BasicPublisher<Memory>> publisher_;
  RowBuilder row_;
};
using TestWriter = BasicTestWriter<ProcessMemory>;

// A reader that has joined, or nothing after a failed expectation.
inline std::unique_ptr<RingReader> join_ring(const RingOptions& options) {
  auto reader = RingReader::attach(options.directory, options.name);
  EXPECT_TRUE(reader) << why(reader);
  if (!reader) return nullptr;
  const auto joined = (*reader)->join();
  EXPECT_TRUE(joined) << why(joined);
  return joined ? std::move(*reader) : nullptr;
}

// What a reader that joins now finds.
inline Mirror mirror_of(const RingOptions& options) {
  Mirror mirror;
  if (const std::unique_ptr<RingReader> reader = join_ring(options)) {
    EXPECT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  }
  return mirror;
}

}  // namespace ringside::shm
