// Which bytes of the log are live, against a map that knows.
#include "tools/ring/live_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>

#include "tests/shm/ring_fixture.h"

namespace ringside::tools {
namespace {

using shm::RecordType;

// A record of the log, as a scan gives it.
class MadeRecord {
 public:
  MadeRecord(RecordType type, std::uint32_t table, std::string_view payload, std::uint32_t key_bytes = 0) {
    bytes_.resize(shm::record_bytes(payload.size()));
    payload.copy(bytes_.data() + shm::kRecordHeaderBytes, payload.size());
    record_.header.type = type;
    record_.header.table_id = TableId(table);
    record_.header.key_bytes = key_bytes;
    record_.header.length = static_cast<std::uint32_t>(bytes_.size());
    record_.bytes = as_bytes(bytes_);
  }
  const shm::Record& record() const { return record_; }
  std::uint64_t length() const { return record_.header.length; }

 private:
  std::string bytes_;
  shm::Record record_;
};

MadeRecord row(std::uint32_t table, const std::string& key, std::size_t more = 0) {
  return {RecordType::kRow, table, key + std::string(more, 'v'), static_cast<std::uint32_t>(key.size())};
}
MadeRecord tombstone(std::uint32_t table, const std::string& key) {
  return {RecordType::kTombstone, table, key, static_cast<std::uint32_t>(key.size())};
}
MadeRecord event(shm::TableAction action, std::uint32_t table, std::string_view name) {
  return {RecordType::kTableEvent, table, shm::table_event_payload({action, 1, name, ""})};
}

bool is_in_catalogue(TableId) {
  return true;
}

TEST(LiveIndex, OnlyTheLatestRecordOfAKeyIsLive) {
  LiveIndex index;
  const MadeRecord first = row(1, "a", 10);
  const MadeRecord second = row(1, "a", 100);
  const MadeRecord other = row(2, "a", 30);
  ASSERT_TRUE(index.add(0, first.record()));
  ASSERT_TRUE(index.add(0, other.record()));
  EXPECT_EQ(index.live(1, is_in_catalogue).segment_bytes[0], first.length() + other.length());
  ASSERT_TRUE(index.add(1, second.record()));
  const LiveIndex::Live live = index.live(2, is_in_catalogue);
  EXPECT_EQ(live.segment_bytes[0], other.length());
  EXPECT_EQ(live.segment_bytes[1], second.length());
  EXPECT_EQ(live.tables.at(1).rows, 1u);
  EXPECT_EQ(live.tables.at(2).bytes, other.length());
}

TEST(LiveIndex, ATombstoneLivesWhileAnOlderRowOfItsKeyIsInTheLog) {
  LiveIndex index;
  const MadeRecord covers = tombstone(1, "a");
  ASSERT_TRUE(index.add(0, row(1, "a").record()));
  ASSERT_TRUE(index.add(1, covers.record()));
  ASSERT_TRUE(index.add(1, tombstone(1, "never seen").record()));
  const LiveIndex::Live live = index.live(2, is_in_catalogue);
  EXPECT_EQ(live.segment_bytes[0], 0u);
  EXPECT_EQ(live.segment_bytes[1], covers.length());
  EXPECT_EQ(live.tables.at(1).rows, 0u);
}

TEST(LiveIndex, AnIncarnationThatEndedHasNothingLive) {
  LiveIndex index;
  const MadeRecord switched = event(shm::TableAction::kLive, 2, "items");
  const MadeRecord kept = row(2, "a");
  ASSERT_TRUE(index.add(0, row(1, "a").record()));
  ASSERT_TRUE(index.add(0, event(shm::TableAction::kLive, 1, "items").record()));
  ASSERT_TRUE(index.add(1, kept.record()));
  ASSERT_TRUE(index.add(1, switched.record()));
  const LiveIndex::Live live = index.live(2, is_in_catalogue);
  EXPECT_EQ(live.segment_bytes[0], 0u);
  EXPECT_EQ(live.segment_bytes[1], kept.length() + switched.length());
  // Dropped, as the catalogue has it, before its event is reached.
  EXPECT_EQ(index.live(2, [](TableId id) { return id.value() != 2; }).segment_bytes[1], switched.length());
}

TEST(LiveIndex, CountsWhatAMapCounts) {
  std::mt19937_64 random(shm::test_seed(41));
  LiveIndex index;
  struct Latest {
    std::size_t segment;
    std::uint64_t length;
    bool is_row;
  };
  std::map<std::pair<std::uint32_t, std::string>, Latest> model;
  constexpr std::size_t kSegments = 50;
  for (std::size_t segment = 0; segment < kSegments; ++segment) {
    for (int i = 0; i < 1000; ++i) {
      const auto table = static_cast<std::uint32_t>(1 + random() % 3);
      const std::string key = shm::item_key(random() % 8000);
      const bool is_row = random() % 3 != 0;
      const MadeRecord made = is_row ? row(table, key, random() % 200) : tombstone(table, key);
      ASSERT_TRUE(index.add(segment, made.record()));
      if (is_row || model.contains({table, key})) model[{table, key}] = {segment, made.length(), is_row};
    }
  }
  std::vector<std::uint64_t> bytes(kSegments);
  std::map<std::uint32_t, std::uint64_t> rows;
  for (const auto& [key, latest] : model) {
    bytes[latest.segment] += latest.length;
    rows[key.first] += latest.is_row ? 1 : 0;
  }
  const LiveIndex::Live live = index.live(kSegments, is_in_catalogue);
  EXPECT_EQ(live.segment_bytes, bytes);
  for (const auto& [table, count] : rows) EXPECT_EQ(live.tables.at(table).rows, count);
  EXPECT_LE(index.memory_bytes(), 43 * model.size() + 256 * 16 * 16);
}

}  // namespace
}  // namespace ringside::tools
