#include "shm/catalogue.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "shm/catalogue_file.h"
#include "shm/ring_files.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

Catalogue sample() {
  Catalogue catalogue;
  catalogue.generation = 3;
  catalogue.history = "history";
  catalogue.database = "shop \"quoted\" \\ \n \x01 \xc3\xa9";
  Table items = items_table();
  items.id = TableId(1);
  items.shape.id = ShapeId(2);
  items.state = TableState::kLive;
  Column size;
  size.name = "size";
  size.kind = ValueKind::kEnum;
  size.sql_type = "enum('S','M')";
  size.labels = {"S", "M", ""};
  Column price;
  price.name = "price";
  price.kind = ValueKind::kDecimal;
  price.precision = 65;
  price.scale = 30;
  items.shape.columns.push_back(size);
  items.shape.columns.push_back(price);
  items.key.push_back(KeyColumn{1, KeyRule::kExact, true});
  Table refused;
  refused.name = "refused";
  refused.id = TableId(0xffffffff);
  refused.shape.id = ShapeId(0xffffffff);
  refused.state = TableState::kQuarantined;
  refused.reason = "no key";
  catalogue.tables = {items, refused};
  return catalogue;
}

TEST(Catalogue, ComesBackAsItWasWritten) {
  const Catalogue catalogue = sample();
  const auto parsed = parse_catalogue(catalogue_to_json(catalogue));
  ASSERT_TRUE(parsed) << why(parsed);
  EXPECT_EQ(*parsed, catalogue);
  const auto empty = parse_catalogue(catalogue_to_json(Catalogue()));
  ASSERT_TRUE(empty) << why(empty);
  EXPECT_EQ(*empty, Catalogue());
}

TEST(Catalogue, FindsTheNewestIncarnationOfAName) {
  Catalogue catalogue = sample();
  catalogue.tables.push_back(catalogue.tables[0]);
  catalogue.tables.back().id = TableId(7);
  EXPECT_EQ(catalogue.find("items")->id, TableId(7));
  EXPECT_EQ(catalogue.find(TableId(1))->id, TableId(1));
  EXPECT_EQ(catalogue.find("nothing"), nullptr);
  EXPECT_EQ(catalogue.find(TableId(2)), nullptr);
}

TEST(Catalogue, BytesThatAreNoTextBecomeReadable) {
  Catalogue catalogue = sample();
  catalogue.tables[1].reason = "\xff cut \xc3";
  const auto parsed = parse_catalogue(catalogue_to_json(catalogue));
  ASSERT_TRUE(parsed) << why(parsed);
  EXPECT_EQ(parsed->tables[1].reason, "\xef\xbf\xbd cut \xef\xbf\xbd");
  EXPECT_EQ(valid_utf8("a\xc3\xa9\xc3\xa9", 4), "a\xc3\xa9") << "cut between characters";
  EXPECT_EQ(valid_utf8("\xff\xff", 100), "\xef\xbf\xbd\xef\xbf\xbd");
}

// A text in which `from` has become `to` is refused.
void expect_refused(std::string_view from, std::string_view to) {
  std::string text = catalogue_to_json(sample());
  ASSERT_TRUE(parse_catalogue(text));
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const auto parsed = parse_catalogue(text);
  ASSERT_FALSE(parsed) << from << " -> " << to;
  EXPECT_EQ(parsed.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(parsed.error().message.find("catalogue"), std::string::npos);
}

TEST(Catalogue, WhatIsMissingOrOutOfRangeIsRefused) {
  expect_refused("\"format\":1", "\"format\":2");
  expect_refused("\"generation\":3", "\"generation\":-3");
  expect_refused("\"generation\":3", "\"generation\":\"3\"");
  expect_refused("\"history\"", "\"histories\"");
  expect_refused("\"tables\":[", "\"table\":[");
  expect_refused("\"tables\":[", "\"tables\":[1,");
  expect_refused("\"tables\":[", "\"tables\":{},\"more\":[");
  expect_refused("\"id\":1,", "\"id\":0,");
  expect_refused("\"id\":1,", "\"id\":4294967295,");  // the other one's
  expect_refused("\"id\":1,", "\"id\":4294967296,");
  expect_refused("\"shape\":2", "\"shape\":0");
  expect_refused("\"name\":\"items\"", "\"name\":\"\"");
  expect_refused("\"name\":\"items\"", "\"name\":7");
  expect_refused("\"state\":\"live\"", "\"state\":\"lively\"");
  expect_refused("\"key\":[", "\"keys\":[");
  expect_refused("\"key\":[", "\"key\":[[],");
  expect_refused("\"column\":0", "\"column\":4");
  expect_refused("\"rule\":\"ordered\"", "\"rule\":\"\"");
  expect_refused("\"pad_space\":0", "\"pad_space\":2");
  expect_refused("\"columns\":[", "\"column\":[");
  expect_refused("\"columns\":[", "\"columns\":[null,");
  expect_refused("\"kind\":\"unsigned\"", "\"kind\":\"signed\"");
  expect_refused("\"nullable\":0", "\"nullable\":2");
  expect_refused("\"precision\":65", "\"precision\":256");
  expect_refused("\"labels\":[", "\"labels\":[1,");
  expect_refused("\"labels\":[", "\"labels\":{},\"more\":[");
  expect_refused("\"key\":[{", "\"key\":[],\"more\":[{");  // a live table without a key
}

TEST(Catalogue, EveryTruncationIsRefused) {
  const std::string text = catalogue_to_json(sample());
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(parse_catalogue(std::string_view(text).substr(0, size))) << size;
  }
}

// --- the file

class CatalogueFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = directory_.path() + "/catalogue";
    const auto created = CatalogueFile<ProcessMemory>::create(path_);
    ASSERT_TRUE(created) << why(created);
    auto writer = CatalogueFile<ProcessMemory>::open(path_, Access::kReadWrite);
    ASSERT_TRUE(writer) << why(writer);
    writer_ = std::move(*writer);
    auto reader = CatalogueFile<ProcessMemory>::open(path_, Access::kRead);
    ASSERT_TRUE(reader) << why(reader);
    reader_ = std::move(*reader);
  }
  Result<void> publish(std::uint64_t generation, std::string database) {
    Catalogue catalogue = sample();
    catalogue.generation = generation;
    catalogue.database = std::move(database);
    return writer_.publish(catalogue);
  }

  RingDirectory directory_;
  std::string path_;
  CatalogueFile<ProcessMemory> writer_;
  CatalogueFile<ProcessMemory> reader_;
};

TEST_F(CatalogueFileTest, HalvesTakeTurns) {
  EXPECT_EQ(reader_.read().error().kind, ErrorKind::kUnavailable);
  for (std::uint64_t generation = 1; generation < 8; ++generation) {
    ASSERT_TRUE(publish(generation, std::string(generation * 1000, 'd')));
    EXPECT_EQ(reader_.generation(), generation);
    const auto read = reader_.read();
    ASSERT_TRUE(read) << why(read);
    EXPECT_EQ(read->generation, generation);
    EXPECT_EQ(read->database.size(), generation * 1000);
  }
}

TEST_F(CatalogueFileTest, TheInactiveHalfMayBeAnything) {
  ASSERT_TRUE(publish(1, "one"));
  ASSERT_TRUE(publish(2, "two"));
  auto bytes =
      MappedFile::map(path_, Access::kReadWrite, kCatalogueHeaderBytes + 2 * (kMaxCatalogueBytes + 4096));
  ASSERT_TRUE(bytes) << why(bytes);
  auto* half_one = static_cast<std::byte*>(bytes->data()) + kCatalogueHeaderBytes + kMaxCatalogueBytes + 4096;
  std::memset(half_one, 0x5a, 500);  // a writer died while it filled it
  ASSERT_TRUE(reader_.read());
  EXPECT_EQ(reader_.read()->database, "two");
  ASSERT_TRUE(publish(3, "three"));
  EXPECT_EQ(reader_.read()->database, "three");
}

TEST_F(CatalogueFileTest, AnActiveHalfThatIsSpoiltIsRefused) {
  ASSERT_TRUE(publish(1, "one"));
  auto bytes =
      MappedFile::map(path_, Access::kReadWrite, kCatalogueHeaderBytes + 2 * (kMaxCatalogueBytes + 4096));
  ASSERT_TRUE(bytes) << why(bytes);
  auto* half = reinterpret_cast<std::uint64_t*>(static_cast<std::byte*>(bytes->data()) +
                                                kCatalogueHeaderBytes + kMaxCatalogueBytes + 4096);
  for (const std::size_t word : {0, 1, 2, 3, 10}) {
    const std::uint64_t before = half[word];
    half[word] ^= std::uint64_t{1} << 40;
    const auto read = reader_.read();
    ASSERT_FALSE(read) << word;
    EXPECT_EQ(read.error().kind, ErrorKind::kCorrupt);
    half[word] = before;
  }
  EXPECT_TRUE(reader_.read());
}

TEST_F(CatalogueFileTest, OneThatIsTooLargeChangesNothing) {
  ASSERT_TRUE(publish(1, "one"));
  const auto refused = publish(2, std::string(kMaxCatalogueBytes, 'd'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kLimit);
  EXPECT_EQ(reader_.read()->database, "one");
}

TEST_F(CatalogueFileTest, AFileThatIsNoneIsRefused) {
  const std::string other = directory_.path() + "/other";
  EXPECT_EQ(CatalogueFile<ProcessMemory>::open(other, Access::kRead).error().kind, ErrorKind::kNotFound);
  auto fd = create_file(other, 0640);
  ASSERT_TRUE(fd) << why(fd);
  ASSERT_TRUE(allocate(fd->get(), other, 0, 4096));
  EXPECT_EQ(CatalogueFile<ProcessMemory>::open(other, Access::kRead).error().kind, ErrorKind::kCorrupt);
}

}  // namespace
}  // namespace ringside::shm
