#include "http/target.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "base/utf8.h"

namespace ringside::http {
namespace {

struct Decoded {
  DecodeStatus status;
  std::string text;
};
Decoded decode(std::string_view raw, PlusMeans plus = PlusMeans::kPlus, std::size_t capacity = 64) {
  std::string buffer(capacity, '?');
  std::string_view view;
  const DecodeStatus status = percent_decode(raw, plus, buffer, view);
  return {status, status == DecodeStatus::kOk ? std::string(view) : std::string()};
}

TEST(PercentDecode, DecodesOrSaysWhyNot) {
  EXPECT_EQ(decode("abc").text, "abc");
  EXPECT_EQ(decode("a%2Cb%2c").text, "a,b,");
  EXPECT_EQ(decode("%00").text, std::string(1, '\0'));
  EXPECT_EQ(decode("%25%32%35").text, "%25");
  EXPECT_EQ(decode("a+b").text, "a+b");
  EXPECT_EQ(decode("a+b%2B", PlusMeans::kSpace).text, "a b+");
  for (const char* bad : {"%", "%2", "a%", "%g0", "%0g", "%%20", "%+1", "%-1"}) {
    EXPECT_EQ(decode(bad).status, DecodeStatus::kBadEscape) << bad;
  }
  EXPECT_EQ(decode("\xc3\xa9").status, DecodeStatus::kNotAscii);
  EXPECT_EQ(decode("%20\xc3").status, DecodeStatus::kNotAscii);
  EXPECT_EQ(decode("ab%20", PlusMeans::kPlus, 3).text, "ab ");
  EXPECT_EQ(decode("abc%20", PlusMeans::kPlus, 3).status, DecodeStatus::kTooLong);
  EXPECT_EQ(decode("abcd%20", PlusMeans::kPlus, 3).status, DecodeStatus::kTooLong);
  EXPECT_EQ(decode("longer than the buffer", PlusMeans::kPlus, 0).text, "longer than the buffer");
}

TEST(PercentDecode, EveryByteRoundTrips) {
  constexpr char kHex[] = "0123456789aBcDeF";
  for (unsigned value = 0; value < 256; ++value) {
    const std::string raw{'%', kHex[value >> 4], kHex[value & 15]};
    EXPECT_EQ(decode(raw, PlusMeans::kSpace).text, std::string(1, static_cast<char>(value)));
  }
}

// The definition itself, to check the validator against: decode to code points, then test each.
bool is_utf8_by_definition(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const unsigned first = static_cast<unsigned char>(text[i]);
    const std::size_t length = first < 0x80       ? 1
                               : first >> 5 == 6  ? 2
                               : first >> 4 == 14 ? 3
                               : first >> 3 == 30 ? 4
                                                  : 0;
    if (length == 0 || i + length > text.size()) return false;
    unsigned point = length == 1 ? first : first & (0x7fu >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const unsigned next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 2) return false;
      point = point << 6 | (next & 0x3f);
    }
    constexpr std::array<unsigned, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
    i += length;
  }
  return true;
}

TEST(Utf8, AgreesWithTheDefinition) {
  // Every first two bytes, and the edges of the third and fourth, with ASCII around them.
  constexpr std::array<unsigned, 6> kEdges{0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      for (const unsigned c : kEdges) {
        for (const unsigned d : kEdges) {
          const std::string bytes{static_cast<char>(a), static_cast<char>(b), static_cast<char>(c),
                                  static_cast<char>(d)};
          for (std::size_t size = 1; size <= 4; ++size) {
            const std::string text = bytes.substr(0, size);
            ASSERT_EQ(is_utf8(text), is_utf8_by_definition(text)) << a << ' ' << b << ' ' << c << ' ' << d;
          }
          ASSERT_EQ(is_utf8("12345678" + bytes + "123456789"), is_utf8_by_definition(bytes + "1"));
        }
      }
    }
  }
}

TEST(Path, SplitsAtRawSlashesOnly) {
  EXPECT_EQ(split_path("/").count, 0u);
  const PathSegments key = split_path("/v1/a%2Fb/c");
  ASSERT_EQ(key.count, 3u);
  EXPECT_EQ(key[1], "a%2Fb");
  EXPECT_EQ(key[2], "c");
  EXPECT_EQ(key[3], "");
  const PathSegments trailing = split_path("/v1/a/");
  ASSERT_EQ(trailing.count, 3u);
  EXPECT_EQ(trailing[2], "");
  EXPECT_EQ(split_path("//").count, 2u);
  EXPECT_FALSE(split_path("/1/2/3/4").is_too_deep);
  EXPECT_TRUE(split_path("/1/2/3/4/5").is_too_deep);
}

TEST(Path, DotSegmentsAreSeenInAllTheirForms) {
  for (const char* path : {"/.", "/..", "/a/%2e", "/a/.%2E/b", "/%2e%2E", "/1/2/3/4/.."}) {
    EXPECT_TRUE(split_path(path).has_dot_segment) << path;
  }
  for (const char* path : {"/", "/...", "/a.", "/.a", "/%2e%2e%2e", "/%2", "/%2f"}) {
    EXPECT_FALSE(split_path(path).has_dot_segment) << path;
  }
}

std::vector<std::string> list_of(std::string_view list) {
  std::vector<std::string> all;
  ListReader reader(list);
  for (std::string_view raw; reader.next(raw);) all.emplace_back(raw);
  return all;
}

TEST(Lists, SplitAtRawCommas) {
  using List = std::vector<std::string>;
  EXPECT_EQ(list_of(""), List());
  EXPECT_EQ(list_of("a"), List({"a"}));
  EXPECT_EQ(list_of("a,b%2Cc"), List({"a", "b%2Cc"}));
  EXPECT_EQ(list_of(","), List({"", ""}));
  EXPECT_EQ(list_of("a,,b,"), List({"a", "", "b", ""}));
}

TEST(Query, ReadsRawParametersInOrder) {
  QueryReader reader("&a=1&&b&c=&=d&e=f=g&");
  RawParameter p;
  std::string seen;
  while (reader.next(p)) seen.append(p.name).append(p.has_equals ? "=" : "!").append(p.value).append(";");
  EXPECT_EQ(seen, "a=1;b!;c=;=d;e=f=g;");
}

TEST(Numbers, HaveOneForm) {
  std::uint64_t number = 0;
  EXPECT_TRUE(parse_number("0", number));
  EXPECT_TRUE(parse_number("18446744073709551615", number));
  EXPECT_EQ(number, 18446744073709551615u);
  for (const char* bad : {"", "00", "01", "-1", "+1", " 1", "1 ", "1a", "18446744073709551616"}) {
    EXPECT_FALSE(parse_number(bad, number)) << bad;
  }
}

TEST(Waits, HaveAUnit) {
  std::uint32_t ms = 0;
  EXPECT_TRUE(parse_wait("250ms", ms));
  EXPECT_EQ(ms, 250u);
  EXPECT_TRUE(parse_wait("10s", ms));
  EXPECT_EQ(ms, 10'000u);
  EXPECT_TRUE(parse_wait("0s", ms));
  EXPECT_EQ(ms, 0u);
  EXPECT_TRUE(parse_wait("86400s", ms));
  for (const char* bad :
       {"", "s", "ms", "1", "1m", "-1s", "1.5s", " 1s", "86401s", "86400001ms", "99999999999999999999s"}) {
    EXPECT_FALSE(parse_wait(bad, ms)) << bad;
  }
}

QueryStatus status_of(std::string_view query, std::string* culprit = nullptr, std::uint32_t max_keys = 3) {
  QueryParameters parameters;
  std::string_view name;
  const QueryStatus status = parse_query(query, {max_keys}, parameters, name);
  if (culprit != nullptr) *culprit = name;
  return status;
}

std::vector<std::string> keys_of(std::string_view query) {
  QueryParameters parameters;
  std::string_view culprit;
  EXPECT_EQ(parse_query(query, {}, parameters, culprit), QueryStatus::kOk);
  std::vector<std::string> all;
  KeyReader reader(parameters);
  for (std::string_view raw; reader.next(raw);) all.emplace_back(raw);
  EXPECT_EQ(all.size(), parameters.key_count);
  return all;
}

TEST(QueryParameters, AllAreRead) {
  QueryParameters p;
  std::string_view culprit;
  ASSERT_EQ(
      parse_query(
          "fields=a,b&numbers=string&minVersion=42&minGtid=0-1-42&wait=250ms&limit=10&order=-a&after=xyz"
          "&key=1,2&k%65y=%2C",
          {}, p, culprit),
      QueryStatus::kOk);
  EXPECT_TRUE(p.has_fields);
  EXPECT_EQ(p.fields, "a,b");
  EXPECT_EQ(p.numbers, NumberForm::kString);
  EXPECT_TRUE(p.has_min_version);
  EXPECT_EQ(p.min_version, 42u);
  EXPECT_EQ(p.min_gtid, "0-1-42");
  EXPECT_TRUE(p.has_wait);
  EXPECT_EQ(p.wait_ms, 250u);
  EXPECT_TRUE(p.has_limit);
  EXPECT_EQ(p.limit, 10u);
  EXPECT_EQ(p.order, "-a");
  EXPECT_EQ(p.after, "xyz");
  EXPECT_EQ(p.key_form, KeyForm::kKey);
  EXPECT_EQ(p.key_count, 2u);
  ASSERT_EQ(parse_query("", {}, p, culprit), QueryStatus::kOk);
  EXPECT_FALSE(p.has_fields);
  EXPECT_EQ(p.key_form, KeyForm::kNone);
  EXPECT_EQ(p.numbers, NumberForm::kDefault);
}

TEST(QueryParameters, KeysComeInTheAskedOrder) {
  using List = std::vector<std::string>;
  EXPECT_EQ(keys_of("key=b&wait=1s&key=a&key=&key"), List({"b", "a", "", ""}));
  EXPECT_EQ(keys_of("key=.&key=..&key=a,b"), List({".", "..", "a,b"}));
  EXPECT_EQ(keys_of("keys=3,1,%2C,"), List({"3", "1", "%2C", ""}));
  EXPECT_EQ(keys_of("wait=1s"), List());
}

TEST(QueryParameters, WhatIsWrongIsNamed) {
  std::string culprit;
  EXPECT_EQ(status_of("wait=1s&colour=red", &culprit), QueryStatus::kUnknown);
  EXPECT_EQ(culprit, "colour");
  EXPECT_EQ(status_of("limit[eq]=1", &culprit), QueryStatus::kUnknown);
  EXPECT_EQ(status_of("minversion=1"), QueryStatus::kUnknown);
  EXPECT_EQ(status_of("=1"), QueryStatus::kUnknown);
  EXPECT_EQ(status_of(std::string(100, 'a') + "%20=1"), QueryStatus::kUnknown);
  EXPECT_EQ(status_of("%zz=1"), QueryStatus::kBadEscape);
  for (const char* twice : {"fields=a", "numbers=number", "minVersion=1", "minGtid=a", "wait=1s", "limit=1",
                            "order=a", "after=a", "keys=1"}) {
    EXPECT_EQ(status_of(std::string(twice) + "&" + twice), QueryStatus::kRepeated) << twice;
  }
  for (const char* bad :
       {"fields=", "fields", "numbers=int", "numbers=", "minVersion=-1", "minVersion=", "minGtid=", "wait=5",
        "limit=x", "order=", "after=", "keys=", "keys", "minVersion=%zz"}) {
    EXPECT_EQ(status_of(bad), QueryStatus::kBadValue) << bad;
  }
  EXPECT_EQ(status_of("key=1&keys=2"), QueryStatus::kKeyAndKeys);
  EXPECT_EQ(status_of("keys=2&key=1"), QueryStatus::kKeyAndKeys);
  EXPECT_EQ(status_of("key=1&key=2&key=3"), QueryStatus::kOk);
  EXPECT_EQ(status_of("key=1&key=2&key=3&key=4"), QueryStatus::kTooManyKeys);
  EXPECT_EQ(status_of("keys=1,2,3"), QueryStatus::kOk);
  EXPECT_EQ(status_of("keys=1,2,3,4"), QueryStatus::kTooManyKeys);
}

}  // namespace
}  // namespace ringside::http
