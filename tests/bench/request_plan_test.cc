#include "bench/request_plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace ringside::bench {
namespace {

std::string request(const RequestPlan& plan, std::size_t index) {
  std::string text(plan.longest_request(), '\0');
  text.resize(plan.write(index, text.data()));
  return text;
}

TEST(RequestPlan, PutsEachKeyOfARangeInItsPlace) {
  Result<KeySet> keys = KeySet::parse("9..1000");
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->size(), 992u);
  const Result<RequestPlan> plan = RequestPlan::make("http://127.0.0.1:8080/v1/products/{key}?fields=name",
                                                     {"Accept: application/json"}, *keys, "");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->keys(), 992u);
  EXPECT_EQ(
      request(*plan, 0),
      "GET /v1/products/9?fields=name HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: application/json\r\n\r\n");
  EXPECT_EQ(request(*plan, 991).substr(0, 21), "GET /v1/products/1000");
  EXPECT_EQ(request(*plan, 991).size(), plan->longest_request());
  EXPECT_EQ(plan->endpoint().name(), "127.0.0.1:8080");
}

TEST(RequestPlan, WithoutAPlaceForTheKeyAsksOneThing) {
  Result<KeySet> keys = KeySet::parse("1..5");
  ASSERT_TRUE(keys);
  const Result<RequestPlan> plan = RequestPlan::make("http://localhost:81", {}, *keys, "");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->keys(), 1u);
  EXPECT_EQ(request(*plan, 0), "GET / HTTP/1.1\r\nHost: localhost:81\r\n\r\n");
}

TEST(KeySet, ReadsKeysFromAFile) {
  char path[] = "/tmp/ringside-keys-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::ofstream(path) << "alpha\n\nb%2Cc\n";
  const Result<KeySet> keys = KeySet::parse(path);
  std::ofstream(path) << "with space\n";
  const Result<KeySet> bad = KeySet::parse(path);
  ::unlink(path);
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->size(), 2u);
  EXPECT_EQ(keys->longest(), 5u);
  std::string text(keys->longest(), '\0');
  text.resize(keys->write(1, text.data()));
  EXPECT_EQ(text, "b%2Cc");
  EXPECT_FALSE(bad);
}

TEST(KeySet, RefusesWhatIsNeitherRangeNorFile) {
  EXPECT_FALSE(KeySet::parse("5..4"));
  EXPECT_FALSE(KeySet::parse("1..999999999999"));
  EXPECT_FALSE(KeySet::parse("/nowhere/keys"));
}

TEST(Url, RefusesWhatCannotBeConnectedTo) {
  EXPECT_FALSE(parse_url("https://127.0.0.1/"));
  EXPECT_FALSE(parse_url("http://example/"));
  EXPECT_FALSE(parse_url("http://127.0.0.1:0/"));
  EXPECT_FALSE(parse_url("http://127.0.0.1:70000/"));
  EXPECT_FALSE(parse_url("http://127.0.0.1/a b"));
  EXPECT_TRUE(parse_url("http://127.0.0.1"));
}

TEST(RequestPlan, RefusesHeadersThatWouldSplitTheRequest) {
  const KeySet keys = *KeySet::parse("1..5");
  EXPECT_FALSE(RequestPlan::make("http://127.0.0.1/", {"no colon"}, keys, ""));
  EXPECT_FALSE(RequestPlan::make("http://127.0.0.1/", {"A: b\r\nC: d"}, keys, ""));
  EXPECT_FALSE(RequestPlan::make("http://127.0.0.1/" + std::string(kMaxRequestBytes, 'a'), {}, keys, ""));
}

}  // namespace
}  // namespace ringside::bench
