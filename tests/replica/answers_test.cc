#include "replica/answers.h"

#include <gtest/gtest.h>

#include "replica/gtid.h"
#include "replica/name_table.h"

namespace ringside::replica {
namespace {

TEST(Etag, IsFoundInListsAndWeakForms) {
  EXPECT_TRUE(matches_etag("\"a-1\"", "\"a-1\""));
  EXPECT_TRUE(matches_etag(" W/\"a-1\" ", "\"a-1\""));
  EXPECT_TRUE(matches_etag("\"x\",\t\"a-1\" , \"y\"", "\"a-1\""));
  EXPECT_TRUE(matches_etag("\"with, comma\", \"a-1\"", "\"a-1\""));
  EXPECT_TRUE(matches_etag("*", "\"a-1\""));
  EXPECT_FALSE(matches_etag("\"a-12\"", "\"a-1\""));
  EXPECT_FALSE(matches_etag("a-1", "\"a-1\""));
  EXPECT_FALSE(matches_etag("\"a-1", "\"a-1\""));
  EXPECT_FALSE(matches_etag("* , \"b\"", "\"a-1\""));
  EXPECT_FALSE(matches_etag("", "\"a-1\""));
  EXPECT_FALSE(matches_etag(" , ,", "\"a-1\""));
}

TEST(Numbers, BeyondADoubleAreThoseAboveTwoToThe53) {
  EXPECT_FALSE(is_beyond_double("0"));
  EXPECT_FALSE(is_beyond_double("-9007199254740992"));
  EXPECT_FALSE(is_beyond_double("9007199254740992"));
  EXPECT_TRUE(is_beyond_double("9007199254740993"));
  EXPECT_TRUE(is_beyond_double("-9007199254740993"));
  EXPECT_TRUE(is_beyond_double("18446744073709551615"));
  EXPECT_FALSE(is_beyond_double("999999999999999"));
}

TEST(Gtid, TheWindowKnowsWhichServerWroteWhat) {
  GtidWindow window;
  EXPECT_FALSE(window.contradicts({7, 7, 7})) << "nothing known yet";
  window.remember({0, 1, 41});
  window.remember({0, 2, 42});
  EXPECT_FALSE(window.contradicts({0, 2, 42}));
  EXPECT_TRUE(window.contradicts({0, 1, 42}));
  EXPECT_FALSE(window.contradicts({0, 9, 40})) << "not seen: cannot tell";
  EXPECT_FALSE(window.contradicts({0, 9, 43})) << "still to come";
  EXPECT_TRUE(window.contradicts({1, 2, 42}));
  window.remember({0, 2, 42 + GtidWindow::kSize});
  EXPECT_FALSE(window.contradicts({0, 1, 42})) << "forgotten";
}

TEST(NameTable, FindsWhatItWasBuiltFrom) {
  std::vector<std::string> names;
  for (int i = 0; i < 500; ++i) names.push_back("name" + std::to_string(i * i));
  NameTable table;
  EXPECT_EQ(table.find("name0"), NameTable::kNone);
  table.build({names.begin(), names.end()});
  for (std::uint32_t i = 0; i < 500; ++i) EXPECT_EQ(table.find(names[i]), i);
  EXPECT_EQ(table.find("name"), NameTable::kNone);
  EXPECT_EQ(table.find(""), NameTable::kNone);
}

}  // namespace
}  // namespace ringside::replica
