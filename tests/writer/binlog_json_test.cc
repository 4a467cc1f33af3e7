// MySQL's binary JSON: what a server never writes. What it does write is in the recording mysql/json.

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <string>
#include <string_view>

#include "writer/binlog/json_binary.h"
#include "writer/value_json.h"

namespace ringside::writer::binlog {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

std::string le(std::uint64_t value, std::size_t width) {
  std::string bytes;
  for (std::size_t i = 0; i < width; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

// An exact copy, so that AddressSanitizer sees a read behind it.
ValueStatus status_of(std::string_view document, std::string* text = nullptr) {
  const std::unique_ptr<char[]> copy(new char[document.size()]);
  document.copy(copy.get(), document.size());
  std::string out;
  const ValueStatus status = append_json_binary(out, as_bytes({copy.get(), document.size()}));
  if (status == ValueStatus::kOk) {
    std::string again;
    EXPECT_EQ(append_json(again, out), ValueStatus::kOk) << out;
  }
  if (text != nullptr) *text = out;
  return status;
}

std::string text_of(std::string_view document) {
  std::string text;
  EXPECT_EQ(status_of(document, &text), ValueStatus::kOk);
  return text;
}

// {"a": 1, "bc": ["x", 2.5]} in the form that `is_large` says.
std::string sample(bool is_large) {
  const std::size_t w = is_large ? 4 : 2;
  const std::string type = is_large ? "\x01" : std::string(1, '\0');
  const std::string element_x = "\x01x";
  const std::string element_real = le(std::bit_cast<std::uint64_t>(2.5), 8);
  const std::size_t array_head = 2 * w + 2 * (1 + w);
  const std::string array = le(2, w) + le(array_head + 10, w) + "\x0c" + le(array_head, w) + "\x0b" +
                            le(array_head + 2, w) + element_x + element_real;
  const std::size_t head = 2 * w + 2 * (w + 2) + 2 * (1 + w);
  const std::string array_type = is_large ? "\x03" : "\x02";
  return type + le(2, w) + le(head + 3 + array.size(), w) + le(head, w) + le(1, 2) + le(head + 1, w) +
         le(2, 2) + "\x05" + le(1, w) + array_type + le(head + 3, w) + "abc" + array;
}

TEST(JsonBinary, BothFormsGiveOneText) {
  EXPECT_EQ(text_of(sample(false)), R"({"a": 1, "bc": ["x", 2.5]})");
  EXPECT_EQ(text_of(sample(true)), R"({"a": 1, "bc": ["x", 2.5]})");
}

TEST(JsonBinary, NothingIsNull) {
  EXPECT_EQ(text_of(""), "null");
}

TEST(JsonBinary, EveryTruncationIsRefused) {
  for (const bool is_large : {false, true}) {
    const std::string whole = sample(is_large);
    for (std::size_t size = 1; size < whole.size(); ++size) {
      EXPECT_EQ(status_of(std::string_view(whole).substr(0, size)), ValueStatus::kMalformed) << size;
    }
  }
}

// Nothing may crash, and what is taken must be JSON (status_of looks).
TEST(JsonBinary, AnyByteMayBeAnything) {
  for (const bool is_large : {false, true}) {
    std::string bytes = sample(is_large);
    std::size_t refused = 0;
    for (char& byte : bytes) {
      const char was = byte;
      for (int value = 0; value < 256; ++value) {
        byte = static_cast<char>(value);
        refused += status_of(bytes) == ValueStatus::kOk ? 0 : 1;
      }
      byte = was;
    }
    EXPECT_GT(refused, 10 * bytes.size());
  }
}

// A document of some 1,200 bytes whose every array names the next one twenty times: a text of 20^20 elements, if it were
// believed.
TEST(JsonBinary, PartsThatAreSharedAreRefused) {
  constexpr std::size_t kEntries = 20;
  constexpr std::size_t kLevels = 20;
  constexpr std::size_t kHead = 4 + 3 * kEntries;
  std::string arrays;
  for (std::size_t level = kLevels; level-- > 0;) {
    const std::size_t below = arrays.size();
    std::string array = le(level + 1 == kLevels ? 0 : kEntries, 2) + le(kHead + below, 2);
    for (std::size_t i = 0; i < kEntries; ++i) array += "\x02" + le(kHead, 2);
    arrays = array + arrays;
  }
  EXPECT_EQ(status_of("\x02" + arrays), ValueStatus::kMalformed);
}

TEST(JsonBinary, DeeperThanTheServerAllowsIsRefused) {
  for (const std::size_t depth : {kMaxJsonBinaryDepth, kMaxJsonBinaryDepth + 1}) {
    std::string inner;
    for (std::size_t i = 0; i < depth; ++i) {
      inner = inner.empty() ? le(0, 2) + le(4, 2)
                            : le(1, 2) + le(7 + inner.size(), 2) + "\x02" + le(7, 2) + inner;
    }
    EXPECT_EQ(status_of("\x02" + inner),
              depth > kMaxJsonBinaryDepth ? ValueStatus::kMalformed : ValueStatus::kOk);
  }
}

TEST(JsonBinary, ScalarsOutsideTheirRangeAreRefused) {
  EXPECT_EQ(status_of("\x04\x03"), ValueStatus::kMalformed);                         // no such literal
  EXPECT_EQ(status_of("\x0d\x01"), ValueStatus::kMalformed);                         // no such type
  EXPECT_EQ(status_of("\x0b" + le(0x7ff0000000000000, 8)), ValueStatus::kBadFloat);  // infinity
  EXPECT_EQ(status_of("\x0c\x02\xc3\x28"), ValueStatus::kBadText);                   // no UTF-8
  EXPECT_EQ(status_of("\x0c\xff\xff\xff\xff\xff\x01"), ValueStatus::kMalformed);     // a length of six bytes
  EXPECT_EQ(status_of("\x0c\x80"), ValueStatus::kMalformed);                         // a length cut short
  EXPECT_EQ(status_of("\x0f\xf6\x03\x03\x04\x80"), ValueStatus::kMalformed);         // DECIMAL(3,4)
  EXPECT_EQ(status_of("\x0f\xf6\x03\x02\x00\xe4"sv), ValueStatus::kMalformed);       // no digits
  EXPECT_EQ(status_of("\x0f\xf6\x03\x00\x00\x80"sv), ValueStatus::kMalformed);       // precision 0
  EXPECT_EQ(status_of("\x0f\x0b\x07"s + std::string(7, '\0')),
            ValueStatus::kMalformed);  // TIME of seven bytes
  EXPECT_EQ(status_of("\x0f\x0c\x08" + le(~std::uint64_t{0}, 8)),
            ValueStatus::kMalformed);  // a negative DATETIME
  EXPECT_EQ(status_of("\x0f\x0c\x08" + le(0x7fffffffffffffff, 8)), ValueStatus::kMalformed);
  EXPECT_EQ(status_of("\x0f\x0b\x08" + le(0x8000000000000000, 8)), ValueStatus::kMalformed);
  EXPECT_EQ(status_of("\x0f\x0a\x08" + le(std::uint64_t{5} << 12 << 24, 8)),
            ValueStatus::kMalformed);  // a DATE's hour
}

TEST(JsonBinary, OpaqueValuesHaveTheServersText) {
  EXPECT_EQ(text_of("\x0f\xf6\x04\x03\x02\x81\x32"sv), "1.50");
  EXPECT_EQ(text_of("\x0f\x0b\x08" + le(0 - (std::uint64_t{1} << 24), 8)), "\"-00:00:01.000000\"");
  EXPECT_EQ(text_of("\x0f\x0a\x08" + le(0, 8)), "\"0000-00-00\"");
  EXPECT_EQ(text_of("\x0f\x0c\x08" + le(0, 8)), "\"0000-00-00 00:00:00.000000\"");
  EXPECT_EQ(text_of("\x0f\xfc\x02\x00\xff"sv), "\"base64:type252:AP8=\"");
  EXPECT_EQ(text_of("\x0f\xfc" + le(57, 1) + std::string(57, '\0')),
            "\"base64:type252:" + std::string(76, 'A') + "\"");
  EXPECT_EQ(text_of("\x0f\xfc" + le(58, 1) + std::string(58, '\0')),
            "\"base64:type252:" + std::string(76, 'A') + "\\nAA==\"");
}

TEST(JsonBinary, DoublesHaveTheServersForm) {
  const auto text = [](double value) { return text_of("\x0b" + le(std::bit_cast<std::uint64_t>(value), 8)); };
  EXPECT_EQ(text(1), "1.0");
  EXPECT_EQ(text(-0.0), "-0.0");
  EXPECT_EQ(text(1e14), "100000000000000.0");
  EXPECT_EQ(text(1e15), "1e15");
  EXPECT_EQ(text(1e100), "1e100");
  EXPECT_EQ(text(1e-15), "0.000000000000001");
  EXPECT_EQ(text(1e-16), "1e-16");
  EXPECT_EQ(text(-1029552582964784.2), "-1029552582964784.2");  // digits behind the point: no exponent
  EXPECT_EQ(text(1234567890123456.0), "1.234567890123456e15");
  EXPECT_EQ(text(5e-324), "5e-324");
  EXPECT_EQ(text(-2.2250738585072014e-308), "-2.2250738585072014e-308");
}

}  // namespace
}  // namespace ringside::writer::binlog
