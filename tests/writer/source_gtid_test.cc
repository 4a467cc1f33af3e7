#include <gtest/gtest.h>

#include <string>

#include "base/bytes.h"
#include "writer/source/dialect.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

constexpr const char* kUuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

TEST(MysqlGtidSet, WireFormIsLittleEndianWithExclusiveEnds) {
  const auto wire = wire_form(*MysqlGtidSet::parse(std::string(kUuidA) + ":1-5:9"));
  ASSERT_TRUE(wire);
  ByteReader reader(as_bytes(*wire));
  EXPECT_EQ(reader.u64(), 1u);
  EXPECT_EQ(reader.u8(), 0x3e);
  reader.skip(15);
  EXPECT_EQ(reader.u64(), 2u);
  EXPECT_EQ(reader.u64(), 1u);
  EXPECT_EQ(reader.u64(), 6u);
  EXPECT_EQ(reader.u64(), 9u);
  EXPECT_EQ(reader.u64(), 10u);
  EXPECT_TRUE(reader.ok() && reader.empty());
  EXPECT_FALSE(wire_form(*MysqlGtidSet::parse(std::string(kUuidA) + ":tag:1")));
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
