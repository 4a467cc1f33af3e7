#include "shm/key.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace ringside::shm {
namespace {

constexpr std::uint64_t kSeed = 20260108;

Column column_of(ValueKind kind, std::uint32_t width = 0, std::uint8_t precision = 0,
                 std::uint8_t scale = 0) {
  Column column;
  column.name = "k";
  column.kind = kind;
  column.width = width;
  column.precision = precision;
  column.scale = scale;
  return column;
}
Column text_column(std::string_view collation) {
  Column column = column_of(ValueKind::kText);
  column.collation = collation;
  return column;
}

struct Made {
  KeyStatus status;
  std::string bytes;
};
Made from_json(const Column& column, std::string_view json, bool is_last = true) {
  KeyBuffer out;
  const KeyStatus status = append_key_from_json(column, make_key_column(0, column), is_last, json, out);
  return {status, std::string(as_text(out.bytes()))};
}
Made from_text(const Column& column, std::string_view text, bool is_last = true) {
  KeyBuffer out;
  const KeyStatus status = append_key_from_text(column, make_key_column(0, column), is_last, text, out);
  return {status, std::string(as_text(out.bytes()))};
}
// The bytes of a key that must be good.
std::string key(const Column& column, std::string_view text, bool is_last = true) {
  const Made made = from_text(column, text, is_last);
  EXPECT_EQ(made.status, KeyStatus::kOk) << text;
  return made.bytes;
}

int sign(int value) {
  return (value > 0) - (value < 0);
}

// The JSON form of a text, escaping only what must be.
std::string json_of(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    char raw[8];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(raw, sizeof raw, "\\u%04x", static_cast<unsigned>(c));
      out += raw;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

TEST(Key, OrderOfBytesIsOrderOfIntegers) {
  std::mt19937_64 random(kSeed);
  const Column big = column_of(ValueKind::kInteger, 8);
  const Column ubig = column_of(ValueKind::kUnsigned, 8);
  std::vector<std::int64_t> values{0, 1, -1, INT64_MIN, INT64_MAX, INT64_MIN + 1};
  for (int i = 0; i < 300; ++i) values.push_back(static_cast<std::int64_t>(random() >> random() % 64) - 1000);
  for (const std::int64_t a : values) {
    for (const std::int64_t b : values) {
      EXPECT_EQ(sign(key(big, std::to_string(a)).compare(key(big, std::to_string(b)))), (a > b) - (a < b));
      const auto ua = static_cast<std::uint64_t>(a);
      const auto ub = static_cast<std::uint64_t>(b);
      EXPECT_EQ(sign(key(ubig, std::to_string(ua)).compare(key(ubig, std::to_string(ub)))),
                (ua > ub) - (ua < ub));
    }
  }
}

TEST(Key, AnIntegerTakesEightBytesWithItsSignFlipped) {
  EXPECT_EQ(key(column_of(ValueKind::kInteger, 4), "-1"), std::string("\x7f\xff\xff\xff\xff\xff\xff\xff"));
  EXPECT_EQ(key(column_of(ValueKind::kInteger, 4), "1"), std::string("\x80\0\0\0\0\0\0\1", 8));
  EXPECT_EQ(key(column_of(ValueKind::kUnsigned, 4), "1"), std::string("\0\0\0\0\0\0\0\1", 8));
}

TEST(Key, AnIntegerHasOneText) {
  const Column column = column_of(ValueKind::kInteger, 8);
  for (const char* text : {"", "-", "+1", "01", "-0", "00", "1.0", "1e3", " 1", "1 ", "0x10", "--1", "1,2"}) {
    EXPECT_EQ(from_text(column, text).status, KeyStatus::kNotCanonical) << text;
  }
}

TEST(Key, AnIntegerBeyondItsColumnIsOutOfRange) {
  struct Case {
    std::uint32_t width;
    const char* low;
    const char* below;
    const char* high;
    const char* above;
  };
  const std::vector<Case> cases{
      {1, "-128", "-129", "127", "128"},
      {2, "-32768", "-32769", "32767", "32768"},
      {3, "-8388608", "-8388609", "8388607", "8388608"},
      {4, "-2147483648", "-2147483649", "2147483647", "2147483648"},
      {8, "-9223372036854775808", "-9223372036854775809", "9223372036854775807", "9223372036854775808"}};
  for (const Case& each : cases) {
    const Column column = column_of(ValueKind::kInteger, each.width);
    EXPECT_EQ(from_text(column, each.low).status, KeyStatus::kOk) << each.low;
    EXPECT_EQ(from_text(column, each.high).status, KeyStatus::kOk) << each.high;
    EXPECT_EQ(from_text(column, each.below).status, KeyStatus::kOutOfRange) << each.below;
    EXPECT_EQ(from_text(column, each.above).status, KeyStatus::kOutOfRange) << each.above;
  }
  const Column ubig = column_of(ValueKind::kUnsigned, 8);
  EXPECT_EQ(from_text(ubig, "18446744073709551615").status, KeyStatus::kOk);
  EXPECT_EQ(from_text(ubig, "18446744073709551616").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(ubig, "99999999999999999999999999").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(ubig, "-1").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(column_of(ValueKind::kUnsigned, 1), "256").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(column_of(ValueKind::kBit, 3), "7").status, KeyStatus::kOk);
  EXPECT_EQ(from_text(column_of(ValueKind::kBit, 3), "8").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(column_of(ValueKind::kYear), "1900").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(column_of(ValueKind::kYear), "0").status, KeyStatus::kOk);
}

// A decimal as an integer of its last place.
std::string decimal_text(std::int64_t units, int scale) {
  std::string digits = std::to_string(units < 0 ? -units : units);
  while (static_cast<int>(digits.size()) <= scale) digits.insert(0, "0");
  if (scale > 0) digits.insert(digits.size() - static_cast<std::size_t>(scale), ".");
  return (units < 0 ? "-" : "") + digits;
}

TEST(Key, OrderOfBytesIsOrderOfDecimals) {
  std::mt19937_64 random(kSeed);
  for (const int scale : {0, 1, 5, 12}) {
    const Column column = column_of(ValueKind::kDecimal, 0, 18, static_cast<std::uint8_t>(scale));
    std::vector<std::int64_t> values{0, 1, -1, 999'999'999'999'999'999, -999'999'999'999'999'999};
    for (int i = 0; i < 100; ++i) {
      const auto magnitude =
          static_cast<std::int64_t>((random() % 1'000'000'000'000'000'000u) >> random() % 60);
      values.push_back(random() % 2 == 0 ? magnitude : -magnitude);
    }
    for (const std::int64_t a : values) {
      for (const std::int64_t b : values) {
        const std::string key_a = key(column, decimal_text(a, scale));
        const std::string key_b = key(column, decimal_text(b, scale));
        EXPECT_EQ(sign(key_a.compare(key_b)), (a > b) - (a < b)) << a << " " << b << " scale " << scale;
        EXPECT_EQ(key_a, from_json(column, decimal_text(a, scale)).bytes);
      }
    }
  }
}

TEST(Key, ADecimalHasOneText) {
  const Column column = column_of(ValueKind::kDecimal, 0, 5, 2);
  for (const char* text :
       {"1", "1.0", "1.000", "01.00", ".50", "-0.00", "+1.00", "1.", "1e2", "", "-", "1.0a"}) {
    EXPECT_EQ(from_text(column, text).status, KeyStatus::kNotCanonical) << text;
  }
  EXPECT_EQ(from_text(column, "999.99").status, KeyStatus::kOk);
  EXPECT_EQ(from_text(column, "1000.00").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(column_of(ValueKind::kDecimal, 0, 2, 2), "0.50").status, KeyStatus::kOk);
  EXPECT_EQ(from_text(column_of(ValueKind::kDecimal, 0, 2, 2), "1.50").status, KeyStatus::kOutOfRange);
  EXPECT_EQ(from_text(column_of(ValueKind::kDecimal, 0, 5, 0), "7.").status, KeyStatus::kNotCanonical);
}

TEST(Key, OrderOfBytesIsOrderOfDatesAndTimes) {
  const Column date = column_of(ValueKind::kDate);
  const std::vector<std::string> dates{"0000-00-00", "0000-01-00", "0001-01-01", "1999-12-31", "2000-01-01",
                                       "2000-01-31", "2000-02-01", "2026-00-00", "9999-12-31"};
  const Column datetime = column_of(ValueKind::kDatetime, 0, 0, 3);
  const std::vector<std::string> datetimes{"0000-00-00T00:00:00.000", "1970-01-01T00:00:00.001",
                                           "2026-01-08T09:59:59.999", "2026-01-08T10:00:00.000",
                                           "2026-01-08T10:00:00.123", "2026-01-08T10:00:01.000",
                                           "2026-01-08T10:01:00.000", "9999-12-31T23:59:59.999"};
  const Column time = column_of(ValueKind::kTime, 0, 0, 1);
  const std::vector<std::string> times{"-838:59:59.0", "-100:00:00.5", "-01:00:00.0", "-00:00:01.1",
                                       "-00:00:01.0",  "-00:00:00.1",  "00:00:00.0",  "00:00:00.1",
                                       "00:00:59.9",   "00:01:00.0",   "01:00:00.0",  "99:00:00.0",
                                       "100:00:00.0",  "838:59:59.0"};
  const auto check = [](const Column& column, const std::vector<std::string>& ascending) {
    for (std::size_t i = 0; i < ascending.size(); ++i) {
      EXPECT_EQ(key(column, ascending[i]), from_json(column, '"' + ascending[i] + '"').bytes);
      for (std::size_t j = 0; j < ascending.size(); ++j) {
        EXPECT_EQ(sign(key(column, ascending[i]).compare(key(column, ascending[j]))), (i > j) - (i < j))
            << ascending[i] << " against " << ascending[j];
      }
    }
  };
  check(date, dates);
  check(datetime, datetimes);
  check(time, times);
}

TEST(Key, ATimestampIsItsDatetimeWithZ) {
  const Column column = column_of(ValueKind::kTimestamp);
  EXPECT_EQ(key(column, "2026-01-08T10:00:00Z"), key(column_of(ValueKind::kDatetime), "2026-01-08T10:00:00"));
  EXPECT_EQ(from_text(column, "2026-01-08T10:00:00").status, KeyStatus::kNotCanonical);
  EXPECT_EQ(from_json(column, "\"0000-00-00T00:00:00Z\"").status, KeyStatus::kOk);
}

TEST(Key, ADateHasOneText) {
  for (const char* text :
       {"2026-1-08", "2026-01-08T", "20260108", "2026-13-01", "2026-01-32", "", "2026-01-08 "}) {
    EXPECT_EQ(from_text(column_of(ValueKind::kDate), text).status, KeyStatus::kNotCanonical) << text;
  }
  const Column datetime = column_of(ValueKind::kDatetime, 0, 0, 2);
  for (const char* text :
       {"2026-01-08T10:00:00", "2026-01-08T10:00:00.1", "2026-01-08T10:00:00.123", "2026-01-08 10:00:00.12",
        "2026-01-08T24:00:00.00", "2026-01-08T10:60:00.00", "2026-01-08T10:00:00.12Z"}) {
    EXPECT_EQ(from_text(datetime, text).status, KeyStatus::kNotCanonical) << text;
  }
  const Column time = column_of(ValueKind::kTime);
  for (const char* text : {"1:00:00", "001:00:00", "-00:00:00", "01:00", "1000:00:00", "+01:00:00"}) {
    EXPECT_EQ(from_text(time, text).status, KeyStatus::kNotCanonical) << text;
  }
  EXPECT_EQ(from_text(time, "839:00:00").status, KeyStatus::kOutOfRange);
}

// The server's comparison under PAD SPACE: the shorter one is continued with spaces.
int compare_padded(std::string a, std::string b) {
  const std::size_t size = std::max(a.size(), b.size());
  a.resize(size, ' ');
  b.resize(size, ' ');
  return sign(a.compare(b));
}

std::string random_text(std::mt19937_64& random, std::string_view alphabet, std::size_t longest) {
  std::string text(random() % (longest + 1), ' ');
  for (char& c : text) c = alphabet[random() % alphabet.size()];
  return text;
}

TEST(Key, OrderOfBytesIsOrderOfPadSpaceTexts) {
  std::mt19937_64 random(kSeed);
  const Column column = text_column("utf8mb4_bin");
  ASSERT_TRUE(make_key_column(0, column).pad_space);
  constexpr std::string_view kAlphabet("\x01\x1f  a~", 6);
  for (int i = 0; i < 20'000; ++i) {
    const std::string a = random_text(random, kAlphabet, 20);
    const std::string b = random() % 2 == 0
                              ? random_text(random, kAlphabet, 20)
                              : a.substr(0, random() % (a.size() + 1)) + random_text(random, " \x01~", 3);
    EXPECT_EQ(sign(key(column, a).compare(key(column, b))), compare_padded(a, b)) << json_of(a) << json_of(b);
    EXPECT_EQ(key(column, a), from_json(column, json_of(a)).bytes);
  }
}

TEST(Key, OrderOfBytesIsOrderOfNoPadTextsAndBytes) {
  std::mt19937_64 random(kSeed);
  const Column text = text_column("utf8mb4_nopad_bin");
  ASSERT_FALSE(make_key_column(0, text).pad_space);
  constexpr std::string_view kAlphabet("\x00\x01 a~", 5);
  for (int i = 0; i < 10'000; ++i) {
    const std::string a = random_text(random, kAlphabet, 6);
    const std::string b = random_text(random, kAlphabet, 6);
    for (const bool is_last : {false, true}) {
      EXPECT_EQ(sign(key(text, a, is_last).compare(key(text, b, is_last))), sign(a.compare(b)));
    }
    EXPECT_EQ(key(text, a), from_json(text, json_of(a)).bytes);
  }
}

TEST(Key, OrderOfBytesIsOrderOfCompositeKeys) {
  std::mt19937_64 random(kSeed);
  const Column padded = text_column("utf8mb4_bin");
  const Column plain = text_column("utf8mb4_nopad_bin");
  const Column number = column_of(ValueKind::kInteger, 4);
  using Row = std::tuple<std::string, std::string, int, std::string>;
  constexpr std::string_view kAlphabet("\x00\x01 a", 4);
  const auto make = [&](const Row& row) {
    KeyBuffer out;
    const auto add = [&](const Column& column, bool is_last, std::string_view text) {
      EXPECT_EQ(append_key_from_text(column, make_key_column(0, column), is_last, text, out), KeyStatus::kOk);
    };
    add(padded, false, std::get<0>(row));
    add(plain, false, std::get<1>(row));
    add(number, false, std::to_string(std::get<2>(row)));
    add(plain, true, std::get<3>(row));
    return std::string(as_text(out.bytes()));
  };
  for (int i = 0; i < 20'000; ++i) {
    const auto draw = [&] {
      return Row{random_text(random, "a ", 2), random_text(random, kAlphabet, 2),
                 static_cast<int>(random() % 3) - 1, random_text(random, kAlphabet, 2)};
    };
    const Row a = draw();
    const Row b = draw();
    int expected = compare_padded(std::get<0>(a), std::get<0>(b));
    if (expected == 0) expected = sign(std::get<1>(a).compare(std::get<1>(b)));
    if (expected == 0) expected = (std::get<2>(a) > std::get<2>(b)) - (std::get<2>(a) < std::get<2>(b));
    if (expected == 0) expected = sign(std::get<3>(a).compare(std::get<3>(b)));
    EXPECT_EQ(sign(make(a).compare(make(b))), expected);
  }
}

TEST(Key, TheRuleFollowsTheCollation) {
  struct Case {
    const char* collation;
    KeyRule rule;
    bool pad_space;
  };
  const std::vector<Case> cases{
      {"utf8mb4_bin", KeyRule::kOrdered, true},        {"utf8mb3_bin", KeyRule::kOrdered, true},
      {"utf8_bin", KeyRule::kOrdered, true},           {"ascii_bin", KeyRule::kOrdered, true},
      {"utf8mb4_nopad_bin", KeyRule::kOrdered, false}, {"utf8mb4_0900_bin", KeyRule::kOrdered, false},
      {"latin1_bin", KeyRule::kEqual, true},           {"latin1_nopad_bin", KeyRule::kEqual, false},
      {"utf8mb4_general_ci", KeyRule::kExact, false},  {"utf8mb4_0900_ai_ci", KeyRule::kExact, false},
      {"latin1_swedish_ci", KeyRule::kExact, false},   {"koi8r_bin", KeyRule::kExact, false}};
  for (const Case& each : cases) {
    const KeyColumn made = make_key_column(3, text_column(each.collation));
    EXPECT_EQ(made.column, 3u);
    EXPECT_EQ(made.rule, each.rule) << each.collation;
    EXPECT_EQ(made.pad_space, each.pad_space) << each.collation;
  }
  EXPECT_EQ(make_key_column(0, column_of(ValueKind::kBinary)).rule, KeyRule::kOrdered);
}

TEST(Key, TrailingSpacesCountOnlyWithoutPadding) {
  EXPECT_EQ(key(text_column("latin1_bin"), "abc  "), key(text_column("latin1_bin"), "abc"));
  EXPECT_NE(key(text_column("utf8mb4_general_ci"), "abc "), key(text_column("utf8mb4_general_ci"), "abc"));
  EXPECT_EQ(key(text_column("utf8mb4_bin"), ""), std::string("        \x02"));
}

TEST(Key, AllJsonEscapesAreUnderstood) {
  const Column column = text_column("utf8mb4_nopad_bin");
  EXPECT_EQ(from_json(column, R"("a\"\\\/\b\f\n\r\t\u0000\u00e9\u20AC\ud83d\ude00z")").bytes,
            std::string("a\"\\/\b\f\n\r\t\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 20));
  for (const char* json : {"", "\"", "a", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\ud83d\"", "\"\\udc00\"",
                           "\"a\"b\"", "\"\\ud83d\\u0041\""}) {
    EXPECT_EQ(from_json(column, json).status, KeyStatus::kNotCanonical) << json;
  }
}

TEST(Key, TextOutOfAUrlMustBeUtf8) {
  const Column column = text_column("utf8mb4_nopad_bin");
  for (const char* good :
       {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(from_text(column, good).status, KeyStatus::kOk);
    EXPECT_EQ(from_text(column, good).bytes, good);
  }
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3\x28"}) {
    EXPECT_EQ(from_text(column, bad).status, KeyStatus::kNotCanonical);
  }
}

TEST(Key, BinaryIsBase64InJsonAndBase64UrlInText) {
  const Column column = column_of(ValueKind::kBinary);
  EXPECT_EQ(from_json(column, "\"+/8AAQ==\"").bytes, std::string("\xfb\xff\x00\x01", 4));
  EXPECT_EQ(from_text(column, "-_8AAQ").bytes, std::string("\xfb\xff\x00\x01", 4));
  EXPECT_EQ(from_text(column, "").status, KeyStatus::kOk);
  EXPECT_EQ(from_json(column, "\"\"").bytes, "");
  for (const char* text : {"A", "AB", "+/8AAQ", "AAQ=", "AA==", "AAA.", "AAB"}) {
    EXPECT_EQ(from_text(column, text).status, KeyStatus::kNotCanonical) << text;
  }
  for (const char* json : {"\"AAE\"", "\"A===\"", "\"-_8AAQ==\"", "AAAA"}) {
    EXPECT_EQ(from_json(column, json).status, KeyStatus::kNotCanonical) << json;
  }
  std::string escaped("\0\xff\0\x01", 4);
  EXPECT_EQ(from_json(column, "\"AA==\"", false).bytes, escaped);
}

TEST(Key, AnEnumIsItsLabelsNumber) {
  Column column = column_of(ValueKind::kEnum);
  column.labels = {"zebra", "ant", "\xc3\xa9t\xc3\xa9"};
  EXPECT_EQ(key(column, "zebra"), std::string("\0\0\0\0\0\0\0\1", 8));
  EXPECT_EQ(key(column, "\xc3\xa9t\xc3\xa9"), from_json(column, "\"\\u00e9t\xc3\xa9\"").bytes);
  EXPECT_LT(key(column, "zebra"), key(column, "ant"));
  EXPECT_EQ(key(column, ""), std::string(8, '\0'));
  EXPECT_EQ(from_text(column, "Zebra").status, KeyStatus::kOutOfRange);
  EXPECT_TRUE(can_be_key(column));
  column.labels.emplace_back();
  EXPECT_FALSE(can_be_key(column));
  EXPECT_EQ(key(column, ""), std::string("\0\0\0\0\0\0\0\4", 8));
}

TEST(Key, WhatPassesTheLongestKeyIsTooLong) {
  const std::string longest(kMaxKeyBytes, 'x');
  EXPECT_EQ(from_text(text_column("utf8mb4_0900_bin"), longest).status, KeyStatus::kOk);
  EXPECT_EQ(from_text(text_column("utf8mb4_0900_bin"), longest + "x").status, KeyStatus::kTooLong);
  EXPECT_EQ(from_text(text_column("utf8mb4_0900_bin"), longest, false).status, KeyStatus::kTooLong);
  EXPECT_EQ(from_text(text_column("utf8mb4_bin"), longest).status, KeyStatus::kTooLong);
  EXPECT_EQ(from_json(text_column("utf8mb4_bin"), '"' + longest + "x\"").status, KeyStatus::kTooLong);
  // The longest one that a server's index can hold, in the form that takes most.
  std::string euros;
  for (int i = 0; i < 3072; ++i) euros += "\xe2\x82\xac";
  EXPECT_EQ(from_text(text_column("latin1_bin"), euros).status, KeyStatus::kOk);
}

TEST(Key, FloatsSetsAndDocumentsAreNoKeys) {
  for (const ValueKind kind : {ValueKind::kFloat, ValueKind::kDouble, ValueKind::kSet, ValueKind::kJson}) {
    EXPECT_FALSE(can_be_key(kind));
  }
  for (const ValueKind kind : {ValueKind::kInteger, ValueKind::kDecimal, ValueKind::kText, ValueKind::kBit}) {
    EXPECT_TRUE(can_be_key(kind));
  }
}

}  // namespace
}  // namespace ringside::shm
