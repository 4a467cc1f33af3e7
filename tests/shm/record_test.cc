#include "shm/record.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace ringside::shm {
namespace {

// A whole record as it stands in the log at this position.
std::vector<std::byte> frame(RecordHeader header, std::string_view payload, Position position) {
  std::vector<std::byte> bytes(record_bytes(payload.size()));
  header.length = static_cast<std::uint32_t>(bytes.size());
  store_header(header, bytes.data());
  std::memcpy(bytes.data() + kRecordHeaderBytes, payload.data(), payload.size());
  store_le<std::uint32_t>(bytes.data(), record_crc(bytes, position));
  return bytes;
}

// A reader's check of what it has copied.
bool is_whole(const std::vector<std::byte>& bytes, Position position) {
  RecordHeader header;
  return bytes.size() >= kRecordHeaderBytes && load_header(bytes.data(), header) &&
         header.length <= bytes.size() &&
         record_crc(Bytes(bytes).first(header.length), position) == header.crc;
}

RecordHeader row_header(RowBuilder& row, std::string_view& payload) {
  RecordHeader header;
  payload = row.payload(header.flags);
  header.type = RecordType::kRow;
  header.column_count = static_cast<std::uint16_t>(row.column_count());
  header.table_id = TableId(7);
  header.shape_id = ShapeId(9);
  header.key_bytes = static_cast<std::uint32_t>(row.key().size());
  header.version = Version(0x1122334455667788);
  header.previous = 0xfedcba9876;
  return header;
}

std::vector<std::byte> sample_row(Position position) {
  RowBuilder row;
  row.begin();
  row.add("42");
  row.add_null();
  row.add("\"hello\"");
  row.set_key(as_bytes("key"));
  std::string_view payload;
  const RecordHeader header = row_header(row, payload);
  return frame(header, payload, position);
}

TEST(Record, ARowComesBackAsItWasBuilt) {
  const Position position(4096);
  const std::vector<std::byte> bytes = sample_row(position);
  ASSERT_TRUE(is_whole(bytes, position));
  RecordHeader header;
  ASSERT_TRUE(load_header(bytes.data(), header));
  EXPECT_EQ(header.type, RecordType::kRow);
  EXPECT_EQ(header.table_id, TableId(7));
  EXPECT_EQ(header.shape_id, ShapeId(9));
  EXPECT_EQ(header.version, Version(0x1122334455667788));
  EXPECT_EQ(header.previous, 0xfedcba9876u);
  RowView row;
  ASSERT_TRUE(RowView::parse(header, bytes, row));
  EXPECT_TRUE(row.offsets_are_valid());
  EXPECT_EQ(row.key(), "key");
  ASSERT_EQ(row.column_count(), 3u);
  EXPECT_EQ(row.value(0), "42");
  EXPECT_EQ(row.value(1), "");
  EXPECT_EQ(row.value(2), "\"hello\"");
  EXPECT_EQ(row.value(3), "");
}

TEST(Record, EveryTruncationIsFound) {
  const Position position(8192);
  const std::vector<std::byte> bytes = sample_row(position);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    // What follows is not the record's: an unwritten tail.
    std::vector<std::byte> torn(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(is_whole(torn, position)) << size;
    torn.resize(bytes.size());
    if (torn != bytes) {
      EXPECT_FALSE(is_whole(torn, position)) << size;
    }
  }
}

TEST(Record, EveryFlippedBitIsFoundAndAnotherPositionIsNotBelieved) {
  const Position position(8192);
  std::vector<std::byte> bytes = sample_row(position);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_FALSE(is_whole(bytes, position)) << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  EXPECT_TRUE(is_whole(bytes, position));
  EXPECT_FALSE(is_whole(bytes, Position(8192 + 8))) << "old bytes of a reused slot";
}

TEST(Record, HeadersThatContradictThemselvesAreRefused) {
  const auto loads = [](auto&& change) {
    RecordHeader header;
    header.length = 64;
    header.key_bytes = 24;
    change(header);
    std::byte bytes[kRecordHeaderBytes];
    store_header(header, bytes);
    RecordHeader loaded;
    return load_header(bytes, loaded);
  };
  EXPECT_TRUE(loads([](RecordHeader&) {}));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.length = 0; }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.length = 32; }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.length = 63; }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.length = kMaxRecordBytes + 8; }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.key_bytes = 25; }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.key_bytes = ~0u; }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.type = static_cast<RecordType>(0); }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.type = static_cast<RecordType>(8); }));
  EXPECT_FALSE(loads([](RecordHeader& h) { h.previous = std::uint64_t{1} << 40; }));
}

TEST(Record, ARowWhoseOffsetsLeaveItGivesNoBytesOfOthers) {
  std::vector<std::byte> bytes = sample_row(Position(0));
  RecordHeader header;
  ASSERT_TRUE(load_header(bytes.data(), header));
  RowView row;
  const std::size_t ends = kRecordHeaderBytes + 3;
  store_le<std::uint16_t>(bytes.data() + ends + 2, 0xffff);  // the second value's end
  ASSERT_TRUE(RowView::parse(header, bytes, row));
  EXPECT_FALSE(row.offsets_are_valid());
  EXPECT_EQ(row.value(0), "42");
  EXPECT_EQ(row.value(1), "");
  EXPECT_EQ(row.value(2), "") << "begins behind its end";
  // Counts that do not fit the record.
  header.column_count = 0xffff;
  EXPECT_FALSE(RowView::parse(header, bytes, row));
  ASSERT_TRUE(load_header(bytes.data(), header));
  header.flags |= kWideOffsets;
  header.column_count = 7;
  EXPECT_FALSE(RowView::parse(header, bytes, row));
  ASSERT_TRUE(load_header(bytes.data(), header));
  EXPECT_FALSE(RowView::parse(header, Bytes(bytes).first(bytes.size() - 8), row));
}

TEST(RowBuilder, WidensItsOffsetsExactlyWhenItMust) {
  RowBuilder row;
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 1'000'000u}) {
    row.begin();
    row.add("1");
    if (size > 0) row.add(std::string(size - 1, 'v'));
    row.add_null();
    row.set_key(as_bytes("k"));
    std::string_view payload;
    const RecordHeader header = row_header(row, payload);
    EXPECT_EQ((header.flags & kWideOffsets) != 0, size > 65535) << size;
    const std::vector<std::byte> bytes = frame(header, payload, Position(0));
    RecordHeader loaded;
    ASSERT_TRUE(load_header(bytes.data(), loaded));
    RowView view;
    ASSERT_TRUE(RowView::parse(loaded, bytes, view));
    EXPECT_TRUE(view.offsets_are_valid());
    EXPECT_EQ(view.value(0), "1");
    if (size > 0) {
      EXPECT_EQ(view.value(1).size(), size - 1);
      EXPECT_EQ(view.value(2), "");
    }
  }
}

TEST(RowBuilder, ValuesMadeInPlaceAreValuesLikeOthers) {
  RowBuilder row;
  row.begin();
  row.values() += "12";
  row.close_value();
  row.add("34");
  EXPECT_EQ(row.column_count(), 2u);
  EXPECT_EQ(row.value(0), "12");
  EXPECT_EQ(row.value(1), "34");
  row.begin();
  EXPECT_EQ(row.column_count(), 0u);
  EXPECT_EQ(row.key(), "");
}

template <class T, class Parse>
void expect_refused_when_cut(RecordType type, const std::string& payload, Parse parse) {
  RecordHeader header;
  header.type = type;
  std::vector<std::byte> bytes = frame(header, payload, Position(0));
  ASSERT_TRUE(load_header(bytes.data(), header));
  T out;
  EXPECT_TRUE(parse(header, bytes, out));
  EXPECT_FALSE(parse(header, Bytes(bytes).first(bytes.size() - 8), out)) << "not the record's length";
  // A text longer than the record: its length is the payload's last word but the text.
  for (std::size_t size = 0; size + 8 < payload.size(); size += 8) {
    std::vector<std::byte> cut = frame(header, payload.substr(0, size), Position(0));
    RecordHeader cut_header;
    ASSERT_TRUE(load_header(cut.data(), cut_header));
    EXPECT_FALSE(parse(cut_header, cut, out)) << size;
  }
  header.type = RecordType::kRow;
  EXPECT_FALSE(parse(header, bytes, out)) << "another type";
}

TEST(Record, CommitsCheckpointsAndEventsComeBackAndAreCheckedOnTheWay) {
  const std::string gtid = "0-1-1234567890";
  expect_refused_when_cut<Commit>(RecordType::kCommit, commit_payload(Commit{1, 2, 3, gtid}), parse_commit);
  expect_refused_when_cut<Checkpoint>(RecordType::kCheckpoint,
                                      checkpoint_payload(Checkpoint{Position(5), 6, gtid}), parse_checkpoint);
  expect_refused_when_cut<TableEvent>(
      RecordType::kTableEvent,
      table_event_payload(TableEvent{TableAction::kQuarantined, 7, "a table", "for this reason"}),
      parse_table_event);

  RecordHeader header;
  header.type = RecordType::kCommit;
  std::vector<std::byte> bytes = frame(header, commit_payload(Commit{1, 2, 3, gtid, {}, 4}), Position(0));
  ASSERT_TRUE(load_header(bytes.data(), header));
  Commit commit;
  ASSERT_TRUE(parse_commit(header, bytes, commit));
  EXPECT_EQ(commit.commit_time_us, 1u);
  EXPECT_EQ(commit.events_checksum, 2u);
  EXPECT_EQ(commit.row_count, 3u);
  EXPECT_EQ(commit.gtid, gtid);
  EXPECT_EQ(commit.received_ns, 4u);

  header.type = RecordType::kTableEvent;
  bytes = frame(header, table_event_payload(TableEvent{TableAction::kDropped, 7, "t", ""}), Position(0));
  ASSERT_TRUE(load_header(bytes.data(), header));
  TableEvent event;
  ASSERT_TRUE(parse_table_event(header, bytes, event));
  EXPECT_EQ(event.action, TableAction::kDropped);
  EXPECT_EQ(event.catalogue_generation, 7u);
  EXPECT_EQ(event.name, "t");
  bytes[kRecordHeaderBytes] = std::byte{4};
  EXPECT_FALSE(parse_table_event(header, bytes, event)) << "no such action";
}

}  // namespace
}  // namespace ringside::shm
