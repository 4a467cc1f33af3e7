#include "writer/value_json.h"

#include <gtest/gtest.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace ringside::writer {
namespace {

constexpr std::uint64_t kSeed = 20260108;

std::string text(std::string_view bytes, Charset charset = Charset::kUtf8mb4) {
  std::string out;
  const ValueStatus status = append_text(out, bytes, charset);
  return status == ValueStatus::kOk ? out : std::string(to_string(status));
}
std::string decimal(std::string_view digits) {
  std::string out;
  return append_decimal(out, digits) == ValueStatus::kOk ? out : "(bad)";
}

TEST(ValueJson, IntegersHaveAllTheirDigits) {
  std::string out;
  append_integer(out, std::numeric_limits<std::int64_t>::min());
  out += ' ';
  append_unsigned(out, std::numeric_limits<std::uint64_t>::max());
  out += ' ';
  append_year(out, 0);
  out += ' ';
  append_bit(out, 5);
  EXPECT_EQ(out, "-9223372036854775808 18446744073709551615 0 5");
}

TEST(ValueJson, DecimalsKeepTheServersDigits) {
  EXPECT_EQ(decimal("0.50"), "0.50");
  EXPECT_EQ(decimal("-0.05"), "-0.05");
  EXPECT_EQ(decimal("100"), "100");
  EXPECT_EQ(decimal("000003.50"), "3.50");  // ZEROFILL
  EXPECT_EQ(decimal("0000"), "0");
  EXPECT_EQ(decimal("-0.00"), "0.00");
  for (const char* bad : {"", "-", ".5", "5.", "1.2.3", "1e5", "+1", " 1", "1a"})
    EXPECT_EQ(decimal(bad), "(bad)") << bad;
}

TEST(ValueJson, FloatsReadBackToTheSameBits) {
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < 20'000; ++i) {
    const auto single = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    const auto twice = std::bit_cast<double>(random());
    std::string out;
    if (std::isfinite(single)) {
      ASSERT_EQ(append_float(out, single), ValueStatus::kOk);
      float back = 0;
      std::from_chars(out.data(), out.data() + out.size(), back);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(back), std::bit_cast<std::uint32_t>(single)) << out;
      char nine[64];
      EXPECT_LE(out.size(), static_cast<std::size_t>(
                                std::snprintf(nine, sizeof nine, "%.8e", static_cast<double>(single))));
    }
    if (std::isfinite(twice)) {
      out.clear();
      ASSERT_EQ(append_double(out, twice), ValueStatus::kOk);
      double back = 0;
      std::from_chars(out.data(), out.data() + out.size(), back);
      EXPECT_EQ(std::bit_cast<std::uint64_t>(back), std::bit_cast<std::uint64_t>(twice)) << out;
    }
  }
}

TEST(ValueJson, FloatsAreTheShortestTextAndFinite) {
  std::string out;
  EXPECT_EQ(append_float(out, 0.1f), ValueStatus::kOk);
  EXPECT_EQ(out, "0.1");
  EXPECT_EQ(append_float(out, std::numeric_limits<float>::infinity()), ValueStatus::kBadFloat);
  EXPECT_EQ(append_double(out, std::numeric_limits<double>::quiet_NaN()), ValueStatus::kBadFloat);
}

TEST(ValueJson, TextIsEscapedWhereJsonDemandsIt) {
  EXPECT_EQ(text("plain"), "\"plain\"");
  EXPECT_EQ(text(""), "\"\"");
  EXPECT_EQ(text("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
  EXPECT_EQ(text(std::string_view("\0\x01\x1f\x7f", 4)), "\"\\u0000\\u0001\\u001f\x7f\"");
  EXPECT_EQ(text("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
  EXPECT_EQ(text("\xf0\x9f\x98\x80 e\xcc\x81"), "\"\xf0\x9f\x98\x80 e\xcc\x81\"");
  EXPECT_EQ(text("caf\xe9 \x80", Charset::kLatin1), "\"caf\xc3\xa9 \xe2\x82\xac\"");
}

TEST(ValueJson, TextThatIsNotValidIsRefused) {
  EXPECT_EQ(text("a\xff"), "has bytes that are not valid in its character set");
  EXPECT_EQ(text("a\xe9", Charset::kAscii), "has bytes that are not valid in its character set");
  EXPECT_EQ(text("a", Charset::kUnsupported), "is of a type or character set that is not decoded");
  EXPECT_EQ(text("a", Charset::kBinary), "is of a type or character set that is not decoded");
}

TEST(ValueJson, BinaryIsBase64WithPadding) {
  const std::vector<std::pair<std::string, std::string>> cases{{"", "\"\""},
                                                               {"f", "\"Zg==\""},
                                                               {"fo", "\"Zm8=\""},
                                                               {"foo", "\"Zm9v\""},
                                                               {"foob", "\"Zm9vYg==\""},
                                                               {"fooba", "\"Zm9vYmE=\""},
                                                               {"foobar", "\"Zm9vYmFy\""},
                                                               {"\xfb\xff", "\"+/8=\""}};
  for (const auto& [bytes, expected] : cases) {
    std::string out;
    append_binary(out, bytes);
    EXPECT_EQ(out, expected);
  }
}

TEST(ValueJson, OnlyJsonDocumentsPass) {
  const std::string deep(kMaxJsonDepth, '[');
  const std::string deep_end(kMaxJsonDepth, ']');
  for (const std::string& good :
       {std::string("{}"), std::string("[]"), std::string("null"), std::string("-0.5e+10"),
        std::string(" [1 , 2] "),
        std::string("{\"a\":{\"b\":[true,false,null,\"\\u00e9\\n\xc3\xa9\"]},\"a\":0}"), std::string("\"\""),
        std::string("[[],{}]"), std::string("{\"a\":[]}"), std::string("10"), deep + deep_end}) {
    std::string out;
    EXPECT_EQ(append_json(out, good), ValueStatus::kOk) << good;
    EXPECT_EQ(out, good);
  }
  for (const std::string& bad :
       {std::string(),           std::string(" "),           std::string("{"),
        std::string("}"),        std::string("[1,]"),        std::string("{,}"),
        std::string("{\"a\"}"),  std::string("{\"a\":}"),    std::string("{a:1}"),
        std::string("[1 2]"),    std::string("01"),          std::string("1."),
        std::string(".5"),       std::string("1e"),          std::string("+1"),
        std::string("-"),        std::string("nul"),         std::string("\"\n\""),
        std::string("\"\\x\""),  std::string("\"\\u12g4\""), std::string("\"a"),
        std::string("\"\xff\""), std::string("[}"),          std::string("{]"),
        std::string("1,2"),      std::string("[]]"),         std::string("{\"a\":1,}"),
        std::string("NaN"),      std::string("// x\n1"),     "[" + deep + deep_end + "]"}) {
    std::string out;
    EXPECT_EQ(append_json(out, bad), ValueStatus::kBadJson) << bad;
    EXPECT_EQ(out, "");
  }
}

TEST(ValueJson, DatesAndTimesAreWhatTheServerPrints) {
  std::string out;
  EXPECT_EQ(append_date(out, 2026, 1, 8), ValueStatus::kOk);
  EXPECT_EQ(append_date(out, 0, 0, 0), ValueStatus::kOk);
  EXPECT_EQ(append_datetime(out, {2026, 1, 8, 10, 0, 0, 123'000}, 3, false), ValueStatus::kOk);
  EXPECT_EQ(append_datetime(out, {9999, 12, 31, 23, 59, 59, 0}, 0, true), ValueStatus::kOk);
  EXPECT_EQ(append_time(out, {true, 838, 59, 59, 500'000}, 1), ValueStatus::kOk);
  EXPECT_EQ(append_time(out, {false, 1, 2, 3, 0}, 0), ValueStatus::kOk);
  EXPECT_EQ(out,
            "\"2026-01-08\"\"0000-00-00\"\"2026-01-08T10:00:00.123\"\"9999-12-31T23:59:59Z\"\"-838:59:59."
            "5\"\"01:02:03\"");
}

TEST(ValueJson, ImpossibleDatesAndTimesAreRefused) {
  std::string out;
  EXPECT_EQ(append_date(out, 10'000, 1, 1), ValueStatus::kBadDate);
  EXPECT_EQ(append_date(out, 2026, 13, 1), ValueStatus::kBadDate);
  EXPECT_EQ(append_date(out, 2026, 1, 32), ValueStatus::kBadDate);
  EXPECT_EQ(append_datetime(out, {2026, 1, 1, 24, 0, 0, 0}, 0, false), ValueStatus::kBadTime);
  EXPECT_EQ(append_datetime(out, {2026, 1, 1, 0, 60, 0, 0}, 0, false), ValueStatus::kBadTime);
  EXPECT_EQ(append_datetime(out, {2026, 1, 1, 0, 0, 0, 1}, 3, false), ValueStatus::kBadTime);
  EXPECT_EQ(append_datetime(out, {2026, 1, 1, 0, 0, 0, 1'000'000}, 6, false), ValueStatus::kBadTime);
  EXPECT_EQ(append_time(out, {false, 839, 0, 0, 0}, 0), ValueStatus::kBadTime);
}

// Against a calendar counted day by day.
TEST(ValueJson, TimestampsAreUtc) {
  std::string zero;
  EXPECT_EQ(append_timestamp_from_epoch(zero, 0, 0, 0), ValueStatus::kOk);
  EXPECT_EQ(zero, "\"0000-00-00T00:00:00Z\"");
  std::uint32_t year = 1970;
  std::uint32_t month = 1;
  std::uint32_t day = 1;
  constexpr std::uint32_t kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  for (std::uint64_t days = 0; year < 2110; ++days) {
    std::string mine;
    std::string expected;
    ASSERT_EQ(append_timestamp_from_epoch(mine, days * 86'400 + 3'723, 250'000, 2), ValueStatus::kOk);
    ASSERT_EQ(append_datetime(expected, {year, month, day, 1, 2, 3, 250'000}, 2, true), ValueStatus::kOk);
    ASSERT_EQ(mine, expected);
    const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (++day > kDays[month - 1] + (month == 2 && is_leap ? 1 : 0)) {
      day = 1;
      if (++month > 12) {
        month = 1;
        ++year;
      }
    }
  }
  std::string late;
  EXPECT_EQ(append_timestamp_from_epoch(late, 253'402'300'799, 0, 0), ValueStatus::kOk);
  EXPECT_EQ(late, "\"9999-12-31T23:59:59Z\"");
  EXPECT_EQ(append_timestamp_from_epoch(late, 253'402'300'800, 0, 0), ValueStatus::kBadDate);
}

TEST(ValueJson, EnumsAndSetsShowTheirLabels) {
  const JsonLabels labels({"small", "\"q\"", "caf\xc3\xa9"});
  std::string out;
  EXPECT_EQ(append_enum(out, 2, labels), ValueStatus::kOk);
  EXPECT_EQ(append_enum(out, 0, labels), ValueStatus::kOk);
  EXPECT_EQ(append_set(out, 0, labels), ValueStatus::kOk);
  EXPECT_EQ(append_set(out, 5, labels), ValueStatus::kOk);
  EXPECT_EQ(out, "\"\\\"q\\\"\"\"\"[][\"small\",\"caf\xc3\xa9\"]");
  EXPECT_EQ(append_enum(out, 4, labels), ValueStatus::kBadLabel);
  EXPECT_EQ(append_set(out, 8, labels), ValueStatus::kBadLabel);
}

TEST(ValueJson, ASetsTextGivesTheSameAsItsBits) {
  const JsonLabels labels({"small", "large", "caf\xc3\xa9"});
  const std::vector<std::string> texts{"",        "small",         "large",         "small,large",
                                       "caf\xe9", "small,caf\xe9", "large,caf\xe9", "small,large,caf\xe9"};
  for (std::size_t bits = 0; bits < texts.size(); ++bits) {
    std::string from_bits;
    std::string from_text;
    ASSERT_EQ(append_set(from_bits, bits, labels), ValueStatus::kOk);
    ASSERT_EQ(append_set_from_text(from_text, texts[bits], Charset::kLatin1, labels), ValueStatus::kOk);
    EXPECT_EQ(from_bits, from_text);
  }
  std::string out;
  for (const char* bad : {"huge", "small,", ",small", "small,,large"}) {
    EXPECT_EQ(append_set_from_text(out, bad, Charset::kUtf8mb4, labels), ValueStatus::kBadLabel) << bad;
  }
  EXPECT_EQ(append_set_from_text(out, "a", Charset::kUtf8mb4, JsonLabels({"", "a"})),
            ValueStatus::kUnsupported);
}

}  // namespace
}  // namespace ringside::writer
