#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "shm/ring_reader.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

// Walks the whole log and keeps what a replica would.
std::map<std::string, std::string> contents(RingReader& reader, Version& version) {
  std::map<std::string, std::string> rows;
  Record record;
  Step step;
  while ((step = reader.next(record)) == Step::kRecord) {
    RowView row;
    switch (record.header.type) {
      case RecordType::kRow:
        EXPECT_TRUE(RowView::parse(record.header, record.bytes, row));
        EXPECT_TRUE(row.offsets_are_valid());
        rows[std::string(row.key())] = row.value(1);
        break;
      case RecordType::kTombstone:
        rows.erase(std::string(as_text(record.bytes.subspan(kRecordHeaderBytes, record.header.key_bytes))));
        break;
      case RecordType::kCommit:
        if ((record.header.flags & kLoadBatch) == 0) version = record.header.version;
        break;
      default:
        break;
    }
  }
  EXPECT_EQ(step, Step::kCaughtUp);
  return rows;
}

TEST(Ring, ShowsWholeTransactionsToAReaderThatJoins) {
  const RingDirectory directory;
  const PublisherOptions options = directory.options();
  Result<UniqueFd> lock = lock_ring(options.ring);
  ASSERT_TRUE(lock) << lock.error().message;
  auto publisher = Publisher::open(options, *lock);
  ASSERT_TRUE(publisher) << publisher.error().message;
  Publisher& p = **publisher;
  EXPECT_TRUE(p.is_fresh());
  p.describe("history", "test");
  const TableId items = p.new_table(items_table());
  RowBuilder row;
  for (std::uint64_t id = 0; id < 1000; ++id) {
    const auto loaded = p.load_row(items, Version(7), build_item(row, id, "\"first\""));
    ASSERT_TRUE(loaded) << loaded.error().message;
  }
  ASSERT_TRUE(p.end_load());
  ASSERT_TRUE(p.switch_to(items));
  ASSERT_TRUE(p.commit(Version(7), Commit{0, 1, 0, "0-1-7"}));
  EXPECT_FALSE(RingReader::attach(options.ring.directory, options.ring.name));
  ASSERT_TRUE(p.activate(nullptr));

  auto reader = RingReader::attach(options.ring.directory, options.ring.name);
  ASSERT_TRUE(reader) << reader.error().message;
  ASSERT_TRUE((*reader)->join());
  Version version;
  auto rows = contents(**reader, version);
  EXPECT_EQ(version, Version(7));
  EXPECT_EQ(rows.size(), 1000u);
  const auto catalogue = (*reader)->read_catalogue();
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  EXPECT_EQ(catalogue->tables.at(0).name, "items");

  const Table* live = p.live_table("items");
  ASSERT_NE(live, nullptr);
  ASSERT_TRUE(p.update(*live, item_key(3), build_item(row, 3, "\"second\"")));
  ASSERT_TRUE(p.erase(*live, item_key(4)));
  EXPECT_EQ((*reader)->committed_position(), (*reader)->position());
  ASSERT_TRUE(p.commit(Version(8), Commit{0, 2, 0, "0-1-8"}));
  Record record;
  ASSERT_EQ((*reader)->next(record), Step::kRecord);
  EXPECT_EQ(record.header.version, Version(8));
  EXPECT_NE(record.header.previous, 0u);
  std::array<std::byte, 512> buffer;
  RecordHeader previous;
  ASSERT_EQ((*reader)->copy_record(record.header.previous, previous, buffer), CopyStatus::kOk);
  EXPECT_EQ(previous.version, Version(7));
}

TEST(Ring, ContinuesAfterTheWriterIsGone) {
  const RingDirectory directory;
  const PublisherOptions options = directory.options();
  {
    Result<UniqueFd> lock = lock_ring(options.ring);
    ASSERT_TRUE(lock);
    auto publisher = Publisher::open(options, *lock);
    ASSERT_TRUE(publisher);
    Publisher& p = **publisher;
    const TableId items = p.new_table(items_table());
    ASSERT_TRUE(p.switch_to(items));
    ASSERT_TRUE(p.commit(Version(1), Commit{0, 1, 0, "0-1-1"}));
    ASSERT_TRUE(p.activate(nullptr));
    RowBuilder row;
    ASSERT_TRUE(p.insert(*p.live_table("items"), build_item(row, 5, "\"five\"")));
    ASSERT_TRUE(p.commit(Version(2), Commit{0, 99, 0, "0-1-2"}));
    ASSERT_TRUE(p.insert(*p.live_table("items"), build_item(row, 6, "\"never published\"")));
    EXPECT_FALSE(lock_ring(options.ring)) << "two writers";
  }
  Result<UniqueFd> lock = lock_ring(options.ring);
  ASSERT_TRUE(lock);
  auto publisher = Publisher::open(options, *lock);
  ASSERT_TRUE(publisher);
  Publisher& p = **publisher;
  EXPECT_FALSE(p.is_fresh()) << p.why_fresh();
  EXPECT_EQ(p.last_commit().version, Version(2));
  EXPECT_EQ(p.last_commit().gtid, "0-1-2");
  EXPECT_EQ(p.last_commit().events_checksum, 99u);
  ASSERT_NE(p.live_table("items"), nullptr);
  ASSERT_EQ(p.usage().size(), 1u);
  EXPECT_EQ(p.usage()[0].rows, 1u);
  RowBuilder row;
  ASSERT_TRUE(p.erase(*p.live_table("items"), item_key(5)));
  const auto refused = p.commit(Version(3), Commit{0, 1, 0, "0-1-3"});
  ASSERT_TRUE(refused);
  EXPECT_TRUE(refused->empty());

  auto reader = RingReader::attach(options.ring.directory, options.ring.name);
  ASSERT_TRUE(reader);
  ASSERT_TRUE((*reader)->join());
  Version version;
  EXPECT_TRUE(contents(**reader, version).empty());
  EXPECT_EQ(version, Version(3));
}

}  // namespace
}  // namespace ringside::shm
