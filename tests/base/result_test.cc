#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/ids.h"

namespace ringside {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return Error{ErrorKind::kInvalid, "odd"};
  return number / 2;
}
Result<int> quarter(int number) {
  RINGSIDE_ASSIGN(const int once, half(number));
  return half(once);
}
Result<void> check(int number) {
  RINGSIDE_TRY(half(number));
  return {};
}

TEST(Result, PassesValuesAndErrorsOn) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_TRUE(check(2).has_value());
  EXPECT_EQ(check(3).error().kind, ErrorKind::kInvalid);
}

TEST(Result, CarriesMoveOnlyValues) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 7);
}

TEST(ResultDeathTest, ReadingAFailedResultIsAProgrammersError) {
  EXPECT_DEATH((void)half(1).value(), "assertion failed");
}

TEST(Strong, DoesNotMixMeanings) {
  static_assert(!std::is_convertible_v<Version, Position>);
  static_assert(!std::is_convertible_v<std::uint64_t, Version>);
  EXPECT_LT(Version(1), Version(2));
}

}  // namespace
}  // namespace ringside
