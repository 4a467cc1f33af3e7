#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "base/bytes.h"
#include "writer/source/dialect.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

constexpr const char* kUuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

TEST(MysqlGtidSet, WireFormIsLittleEndianWithExclusiveEnds) {
  const std::string wire = wire_form(*MysqlGtidSet::parse(std::string(kUuidA) + ":1-5:9"));
  ByteReader reader(as_bytes(wire));
  EXPECT_EQ(reader.u64(), 1u);
  EXPECT_EQ(reader.u8(), 0x3e);
  reader.skip(15);
  EXPECT_EQ(reader.u64(), 2u);
  EXPECT_EQ(reader.u64(), 1u);
  EXPECT_EQ(reader.u64(), 6u);
  EXPECT_EQ(reader.u64(), 9u);
  EXPECT_EQ(reader.u64(), 10u);
  EXPECT_TRUE(reader.ok() && reader.empty());
}

// As MySQL 9.7 writes the same set into the PREVIOUS_GTIDS event of a binlog file.
TEST(MysqlGtidSet, WireFormOfTagsIsTheServers) {
  const char* const recorded =
      "01050000000000011111111122223333444455555555555500010000000000000007000000000000000800000000000000"
      "11111111222233334444555555555555047a7a010000000000000009000000000000000a00000000000000"
      "a1d7b2d1e70d11f1bc1902fc0000000100010000000000000001000000000000000a00000000000000"
      "a1d7b2d1e70d11f1bc1902fc0000000140615f6c6f6e6765725f7461675f6f665f33325f636861726163746572735f3030"
      "010000000000000001000000000000000200000000000000"
      "a1d7b2d1e70d11f1bc1902fc0000000108626c7565010000000000000001000000000000000300000000000000";
  const std::string wire = wire_form(*MysqlGtidSet::parse(
      "11111111-2222-3333-4444-555555555555:7:zz:9,\n"
      "a1d7b2d1-e70d-11f1-bc19-02fc00000001:1-9:a_longer_tag_of_32_characters_00:1:blue:1-2"));
  std::string hex;
  for (const char c : wire) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex, recorded);
}

TEST(Dialect, ReadsServerVersions) {
  const auto maria = parse_server_version("10.11.19-MariaDB-0+deb12u1-log");
  ASSERT_TRUE(maria);
  EXPECT_EQ(maria->flavour, Flavour::kMariaDb);
  EXPECT_TRUE(maria->is_at_least(10, 11));
  EXPECT_FALSE(maria->is_at_least(11, 0));
  EXPECT_EQ(parse_server_version("5.5.5-10.6.1-MariaDB")->minor, 6u);
  const auto mysql = parse_server_version("9.7.4");
  ASSERT_TRUE(mysql);
  EXPECT_EQ(mysql->flavour, Flavour::kMySql);
  EXPECT_EQ(mysql->patch, 4u);
  EXPECT_FALSE(parse_server_version("banana"));
}

TEST(Dialect, QuotesNamesAndTexts) {
  EXPECT_EQ(quote_name("a`b"), "`a``b`");
  EXPECT_EQ(quote_text("it's \\"), "'it''s \\\\'");
}

}  // namespace
}  // namespace ringside::writer
