#include "bench/visible.h"

#include <gtest/gtest.h>

namespace ringside::bench {
namespace {

TEST(HasMember, WantsTheWholeNumberOfTheRightMember) {
  const std::string_view body = R"({"id":7,"stock":1000001,"name":"stock"})";
  EXPECT_TRUE(has_member(body, "stock", "1000001"));
  EXPECT_FALSE(has_member(body, "stock", "100000"));
  EXPECT_FALSE(has_member(body, "stock", "10000011"));
  EXPECT_FALSE(has_member(body, "id", "1000001"));
  EXPECT_FALSE(has_member(body, "price", "7"));
  EXPECT_TRUE(has_member(R"({"stock":5)", "stock", "5"));
}

TEST(Visible, WithoutADatabaseSaysWhatItCouldNotReach) {
  const KeySet keys = *KeySet::parse("1..5");
  std::vector<NamedReplica> replicas;
  replicas.push_back({"a", *RequestPlan::make("http://127.0.0.1:9/{key}", {}, keys, "")});
  VisibleOptions options;
  options.mysql.socket = "/nowhere/mysqld.sock";
  const auto reports = run_visible(replicas, keys, options);
  ASSERT_FALSE(reports);
  EXPECT_NE(reports.error().message.find("/nowhere/mysqld.sock"), std::string::npos)
      << reports.error().message;
}

}  // namespace
}  // namespace ringside::bench
