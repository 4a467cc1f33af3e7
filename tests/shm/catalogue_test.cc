#include "shm/catalogue.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

TEST(Catalogue, RefusesATableWithoutColumnsOrKey) {
  EXPECT_FALSE(parse_catalogue(R"({"format":1,"generation":1,"history":"","database":"d"})"));
  EXPECT_FALSE(parse_catalogue(R"({"format":1,"generation":1,"history":"","database":"d","tables":[
    {"id":1,"name":"t","state":"live","reason":"","key_name":"PRIMARY","shape":1,"key":[]}]})"));
  EXPECT_FALSE(parse_catalogue(R"({"format":1,"generation":1,"history":"","database":"d","tables":[
    {"id":1,"name":"t","state":"quarantined","reason":"","key_name":"PRIMARY","shape":1,"columns":[]}]})"));
}

}  // namespace
}  // namespace ringside::shm
