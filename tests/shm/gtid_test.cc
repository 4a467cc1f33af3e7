#include "shm/gtid.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

namespace ringside::shm {
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
  for (const char* text :
       {"", "0", "0-1", "0-1-", "-1-2", "0-1-2-3", "a-1-2", "0-1-2 ", " 0-1-2", "0-+1-2", "0--1-2", "0-1-42x",
        "0-1-42,1-1-2", "4294967296-1-1", "0-1-18446744073709551616"}) {
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
    const MysqlGtidSet::Source source{*MysqlGtidSet::parse_uuid(kUuidA), {}};
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t first = 1 + random() % 60;
      const std::uint64_t end = first + 1 + random() % 6;
      const bool adds = random() % 3 != 0;
      if (adds) set.add(source, {first, end});
      if (!adds) set.remove(source, {first, end});
      for (std::uint64_t n = first; n < end; ++n) {
        if (adds) model.insert(n);
        if (!adds) model.erase(n);
      }
      const std::uint64_t low = 1 + random() % 60;
      const std::uint64_t high = low + 1 + random() % 8;
      std::uint64_t missing = 0;
      for (std::uint64_t n = low; n < high; ++n) missing += model.contains(n) ? 0 : 1;
      ASSERT_EQ(set.missing(source, MysqlGtidSet::Interval{low, high}), missing) << low << "-" << high;
      ASSERT_EQ(set.contains(source, MysqlGtidSet::Interval{low, high}), missing == 0) << low << "-" << high;
    }
    ASSERT_EQ(set.count(), model.size());
    for (std::uint64_t n = 1; n < 70; ++n) ASSERT_EQ(set.contains(source, n), model.contains(n)) << n;
    ASSERT_EQ(set_of(set.to_string()), set);
  }
}

TEST(MysqlGtidSet, AddsTakesAwayAndContainsWholeSets) {
  const std::string a = kUuidA;
  const std::string b = kUuidB;
  MysqlGtidSet set = set_of(a + ":1-5");
  set.add(set_of(a + ":6:9:blue:1-2," + b + ":3"));
  EXPECT_EQ(set.to_string(), a + ":1-6:9:blue:1-2," + b + ":3");
  EXPECT_TRUE(set.contains(set_of(a + ":2-4:9:blue:2," + b + ":3")));
  EXPECT_TRUE(set.contains(set_of("")));
  EXPECT_FALSE(set.contains(set_of(a + ":6-9")));
  EXPECT_FALSE(set.contains(set_of(a + ":blue:3")));
  EXPECT_FALSE(set.contains(set_of(b + ":blue:1")));
  set.remove(set_of(a + ":3:blue:1-9," + b + ":1-9"));
  EXPECT_EQ(set.to_string(), a + ":1-2:4-6:9");
  set.remove(set_of(a + ":1-100"));
  EXPECT_TRUE(set.is_empty());
  EXPECT_EQ(set, MysqlGtidSet());
}

TEST(MysqlGtidSet, OneGtidIsASetOfOne) {
  MysqlGtidSet::Source source{*MysqlGtidSet::parse_uuid(kUuidA), {}};
  EXPECT_EQ(to_string(source, 5), std::string(kUuidA) + ":5");
  ASSERT_TRUE(source.tag.assign("Blue_1"));
  EXPECT_EQ(to_string(source, 7), std::string(kUuidA) + ":blue_1:7");
  EXPECT_TRUE(set_of(to_string(source, 7)).contains(source, 7));
  EXPECT_FALSE(source.tag.assign("1x"));
  EXPECT_FALSE(source.tag.assign(std::string(33, 'x')));
  EXPECT_TRUE(source.tag.assign(std::string(32, 'x')));
}

TEST(MysqlGtidSet, TextIsReadIntervalByInterval) {
  const std::string a = kUuidA;
  const std::string text = a + ":1-5:7:tag:3";
  GtidSetReader reader(text);
  MysqlGtidSet::Source source;
  MysqlGtidSet::Interval interval;
  std::string seen;
  while (reader.next(source, interval)) {
    seen += std::string(source.tag.view()) + "/" + std::to_string(interval.first) + "-" +
            std::to_string(interval.end) + " ";
  }
  EXPECT_EQ(seen, "/1-6 /7-8 tag/3-4 ");
  EXPECT_FALSE(reader.has_failed());
  const std::string broken = a + ":1-5:x y," + a + ":9";
  GtidSetReader stops(broken);
  EXPECT_TRUE(stops.next(source, interval));
  EXPECT_FALSE(stops.next(source, interval));
  EXPECT_TRUE(stops.has_failed());
  EXPECT_EQ(stops.where(), "x y");
  EXPECT_FALSE(stops.next(source, interval));
}

TEST(ExecutedGtids, AreTheNewestOfMariaDbOrASetOfMysql) {
  const std::string a = kUuidA;
  ExecutedGtids maria;
  EXPECT_TRUE(maria.assign("0-1-5"));
  EXPECT_TRUE(maria.add("0-2-7") && maria.add(""));
  EXPECT_EQ(maria.text(), "0-2-7");
  EXPECT_FALSE(maria.is_mysql());
  EXPECT_FALSE(maria.add(a + ":1"));
  ExecutedGtids mysql;
  EXPECT_TRUE(mysql.add("") && mysql.add(a + ":1-3") && mysql.add(a + ":5"));
  EXPECT_TRUE(mysql.is_mysql());
  EXPECT_EQ(mysql.text(), a + ":1-3:5");
  EXPECT_FALSE(mysql.add("0-1-5"));
  EXPECT_FALSE(mysql.add(a + ":4:x y")) << "nothing of it is taken";
  EXPECT_FALSE(mysql.assign(a + ":"));
  EXPECT_TRUE(mysql.add(a + ":4"));
  EXPECT_EQ(mysql.text(), a + ":1-5");
  EXPECT_EQ(mysql.set().version(), Version(5));
  EXPECT_TRUE(mysql.assign("0-1-1"));
  EXPECT_FALSE(mysql.is_mysql());
}

}  // namespace
}  // namespace ringside::shm
