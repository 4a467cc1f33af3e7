#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/bytes.h"
#include "writer/source/dialect.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

TEST(MariaDbGtid, TextRoundTrips) {
  for (const char* text : {"0-1-42", "4294967295-4294967295-18446744073709551615", "0-0-0"}) {
    const auto gtid = parse_mariadb_gtid(text);
    ASSERT_TRUE(gtid) << text;
    EXPECT_EQ(to_string(*gtid), text);
  }
  EXPECT_EQ(parse_mariadb_gtid("0-1-42")->version(), Version{42});
}

TEST(MariaDbGtid, RefusesWhatIsNone) {
  for (const char* text : {"", "0", "0-1", "0-1-", "-1-2", "0-1-2-3", "a-1-2", "0-1-2 ", " 0-1-2", "0-+1-2",
                           "0--1-2", "4294967296-1-1", "0-1-18446744073709551616"}) {
    EXPECT_FALSE(parse_mariadb_gtid(text)) << "'" << text << "'";
  }
}

TEST(MariaDbGtid, ListsAreReadInOrder) {
  EXPECT_TRUE(parse_mariadb_gtid_list("")->empty());
  const auto list = parse_mariadb_gtid_list("0-1-5, 1-2-7,\n0-3-9");
  ASSERT_TRUE(list);
  EXPECT_EQ(*list, (std::vector<MariaDbGtid>{{0, 1, 5}, {1, 2, 7}, {0, 3, 9}}));
  for (const char* text : {",", "0-1-5,", ",0-1-5", "0-1-5,,0-1-6", "0-1-5;0-1-6"}) {
    EXPECT_FALSE(parse_mariadb_gtid_list(text)) << text;
  }
}

constexpr const char* kUuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
constexpr const char* kUuidB = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

MysqlGtidSet set_of(const std::string& text) {
  auto set = MysqlGtidSet::parse(text);
  EXPECT_TRUE(set) << text << ": " << (set ? "" : set.error().message);
  return set ? *set : MysqlGtidSet{};
}

TEST(MysqlGtidSet, PrintsTheCanonicalForm) {
  const std::string a = kUuidA;
  const std::string b = kUuidB;
  EXPECT_EQ(set_of("").to_string(), "");
  EXPECT_EQ(set_of(a + ":1-5").to_string(), a + ":1-5");
  EXPECT_EQ(set_of(a + ":7:1-5:6").to_string(), a + ":1-7");
  EXPECT_EQ(set_of("3E11FA47-71CA-11E1-9E33-C80AA9429562:3").to_string(), a + ":3");
  EXPECT_EQ(set_of(b + ":1,\n" + a + ":2-3:9").to_string(), a + ":2-3:9," + b + ":1");
  EXPECT_EQ(set_of(a + ":1-2:Blue:3-4:5").to_string(), a + ":1-2:blue:3-5");
  EXPECT_EQ(set_of(a + ":1," + a + ":2").to_string(), a + ":1-2");
}

TEST(MysqlGtidSet, CountsTransactionsAsTheVersion) {
  const std::string a = kUuidA;
  EXPECT_EQ(set_of("").version(), Version{0});
  EXPECT_EQ(set_of(a + ":1-5:7," + kUuidB + ":1:tag:1-10").version(), Version{17});
}

TEST(MysqlGtidSet, RefusesWhatIsNone) {
  const std::string a = kUuidA;
  for (const std::string& text :
       {std::string("x"), a, a + ":", a + ":0", a + ":5-4", a + ":1-9223372036854775808", a + ":1:tag",
        a + ":1-", a + ":-1", a + ":1x", a.substr(1) + ":1", a + "0:1",
        std::string("3e11fa4771ca11e19e33c80aa9429562:1")}) {
    EXPECT_FALSE(MysqlGtidSet::parse(text)) << text;
  }
}

TEST(MysqlGtidSet, AgreesWithASetOfNumbers) {
  constexpr unsigned kSeed = 20260108;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    MysqlGtidSet set;
    std::set<std::uint64_t> model;
    const MysqlGtidSet::Source source{*MysqlGtidSet::parse_uuid(kUuidA), ""};
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t first = 1 + random() % 60;
      const std::uint64_t end = first + 1 + random() % 6;
      set.add(source, {first, end});
      for (std::uint64_t n = first; n < end; ++n) model.insert(n);
    }
    ASSERT_EQ(set.count(), model.size());
    for (std::uint64_t n = 1; n < 70; ++n) ASSERT_EQ(set.contains(source, n), model.contains(n)) << n;
    ASSERT_EQ(set_of(set.to_string()), set);
  }
}

TEST(MysqlGtidSet, WireFormIsLittleEndianWithExclusiveEnds) {
  const auto wire = set_of(std::string(kUuidA) + ":1-5:9").wire_form();
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
  EXPECT_FALSE(set_of(std::string(kUuidA) + ":tag:1").wire_form());
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
