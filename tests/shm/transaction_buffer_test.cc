#include "shm/transaction_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kMaxRecord = std::uint64_t{16} << 20;

std::vector<std::string> payloads_of(TransactionBuffer& buffer) {
  std::vector<std::string> payloads;
  const auto all = buffer.for_each([&](std::span<std::byte> record, const Ahead&) -> Result<void> {
    RecordHeader header;
    EXPECT_TRUE(load_header(record.data(), header));
    EXPECT_EQ(header.length, record.size());
    // The key's length tells the payload from its padding.
    payloads.emplace_back(as_text(record.subspan(kRecordHeaderBytes, header.key_bytes)));
    return {};
  });
  EXPECT_TRUE(all) << why(all);
  return payloads;
}

Result<void> add(TransactionBuffer& buffer, std::string_view payload) {
  RecordHeader header;
  header.type = RecordType::kTombstone;
  header.key_bytes = static_cast<std::uint32_t>(payload.size());
  return buffer.add(header, payload);
}

TEST(TransactionBuffer, GivesBackWhatItWasGivenInOrderSpilledOrNot) {
  std::mt19937 random(test_seed(5));
  for (const std::uint64_t limit :
       {std::uint64_t{1}, std::uint64_t{1000}, std::uint64_t{100'000}, kMaxRecord}) {
    TransactionBuffer buffer(limit, "/tmp", kMaxRecord);
    for (int round = 0; round < 3; ++round) {
      std::vector<std::string> expected;
      std::uint64_t bytes = 0;
      for (int i = 0; i < 300; ++i) {
        // Now and then larger than the block in which the file is read, and than several of them.
        const std::size_t size = i == 150 ? 5 << 20 : i == 151 ? (1 << 20) - 40 : random() % 3000;
        expected.emplace_back(size, static_cast<char>('a' + i % 26));
        const auto added = add(buffer, expected.back());
        ASSERT_TRUE(added) << why(added);
        bytes += record_bytes(size);
      }
      EXPECT_EQ(buffer.records(), 300u);
      EXPECT_EQ(buffer.bytes(), bytes);
      EXPECT_EQ(buffer.spilled_bytes() > 0, limit < kMaxRecord);
      EXPECT_EQ(payloads_of(buffer), expected);
      EXPECT_EQ(payloads_of(buffer), expected) << "a second time";
      buffer.clear();
      EXPECT_EQ(buffer.records(), 0u);
      EXPECT_EQ(buffer.spilled_bytes(), 0u);
      EXPECT_TRUE(payloads_of(buffer).empty());
    }
  }
}

TEST(TransactionBuffer, RefusesARecordThatIsTooLargeAndKeepsTheOthers) {
  TransactionBuffer buffer(1 << 20, "/tmp", 4096);
  ASSERT_TRUE(add(buffer, "one"));
  EXPECT_TRUE(add(buffer, std::string(4096 - kRecordHeaderBytes, 'x')));
  EXPECT_EQ(add(buffer, std::string(4096 - kRecordHeaderBytes + 1, 'x')).error().kind,
            ErrorKind::kUnsupported);
  EXPECT_EQ(payloads_of(buffer).size(), 2u);
}

TEST(TransactionBuffer, ASpillDirectoryThatIsMissingIsNamed) {
  TransactionBuffer buffer(100, "/nonexistent-directory", kMaxRecord);
  ASSERT_TRUE(add(buffer, std::string(80, 'x')));
  const auto refused = add(buffer, "next");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kLimit);
  EXPECT_NE(refused.error().message.find("/nonexistent-directory"), std::string::npos);
  EXPECT_NE(refused.error().message.find("writer.spill_directory"), std::string::npos);
}

TEST(TransactionBuffer, SaysWhatItsRecordsTakeInSegments) {
  TransactionBuffer buffer(1 << 20, "/tmp", kMaxRecord);
  const auto of = [](std::size_t record) { return std::string(record - kRecordHeaderBytes, 'x'); };
  ASSERT_TRUE(add(buffer, of(64)));
  ASSERT_TRUE(add(buffer, of(3000)));
  ASSERT_TRUE(add(buffer, of(4000)));
  ASSERT_TRUE(add(buffer, of(4008)));
  const RoomNeeded room = buffer.room(4000);
  EXPECT_EQ(room.bytes, 64u + 3000u + 4000u);
  EXPECT_EQ(room.largest, 4000u);
  EXPECT_EQ(room.jumbo, std::vector<std::uint64_t>{4008});
}

TEST(TransactionBuffer, AnErrorOfTheVisitorEndsTheVisit) {
  TransactionBuffer buffer(100, "/tmp", kMaxRecord);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(add(buffer, "record"));
  int visited = 0;
  const auto ended = buffer.for_each([&](std::span<std::byte>, const Ahead&) -> Result<void> {
    if (++visited == 5) return Error{ErrorKind::kInvalid, "enough"};
    return {};
  });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().message, "enough");
  EXPECT_EQ(visited, 5);
}

}  // namespace
}  // namespace ringside::shm
