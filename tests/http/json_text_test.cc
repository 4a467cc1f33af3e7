#include "http/json_text.h"

#include <gtest/gtest.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace ringside::http {
namespace {

std::string json(std::string_view text) {
  std::string out = "x";
  return append_json_string(text, out) ? out.substr(1) : "(refused)" + out;
}

TEST(JsonString, EscapesWhatMustBeAndNothingElse) {
  EXPECT_EQ(json(""), "\"\"");
  EXPECT_EQ(json("a\"b\\c/d\x7f"), "\"a\\\"b\\\\c/d\x7f\"");
  EXPECT_EQ(json("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
  EXPECT_EQ(json(std::string_view("\0\x01\x1f\x20", 4)), "\"\\u0000\\u0001\\u001f \"");
  EXPECT_EQ(json("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

TEST(JsonString, RefusesWhatIsNotUtf8AndAppendsNothing) {
  for (const char* bad : {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_EQ(json(bad), "(refused)x") << bad;
  }
}

TEST(JsonString, EverySpecialByteIsFoundAtEveryPlace) {
  for (std::size_t size = 1; size <= 40; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      std::string text(size, 'a');
      text[at] = '"';
      std::string expected = "\"" + text + "\"";
      expected.replace(at + 1, 1, "\\\"");
      ASSERT_EQ(json(text), expected);
      text[at] = '\x1f';
      expected = "\"" + text + "\"";
      expected.replace(at + 1, 1, "\\u001f");
      ASSERT_EQ(json(text), expected);
    }
  }
}

TEST(JsonString, SinkAndStringAgreeAndTheSinkNeverWritesBeyond) {
  const std::string text = "a longer text with \"quotes\", \n and \xe2\x82\xac signs";
  const std::string expected = json(text);
  for (std::size_t capacity = 0; capacity <= expected.size(); ++capacity) {
    std::vector<char> buffer(capacity + 1, '#');
    ByteSink sink(std::span<char>(buffer.data(), capacity));
    ASSERT_TRUE(append_json_string(text, sink));
    EXPECT_EQ(sink.wanted(), expected.size());
    EXPECT_EQ(sink.overflowed(), capacity < expected.size());
    EXPECT_EQ(sink.view(), capacity < expected.size() ? "" : expected);
    EXPECT_EQ(buffer.back(), '#');
  }
}

TEST(JsonString, LossyFormShowsAnyBytes) {
  const auto lossy = [](std::string_view bytes) {
    std::string out;
    append_json_string_lossy(bytes, out);
    return out;
  };
  EXPECT_EQ(lossy("a\"\xc3\xa9"), "\"a\\\"\xc3\xa9\"");
  EXPECT_EQ(lossy("\xff"
                  "a\xc3"),
            "\"\xef\xbf\xbd"
            "a\xef\xbf\xbd\"");
  EXPECT_EQ(lossy(""), "\"\"");
}

template <class Real>
void expect_round_trip(Real value, bool (*append)(Real, std::string&)) {
  std::string text;
  ASSERT_TRUE(append(value, text));
  Real back = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), back);
  ASSERT_EQ(error, std::errc()) << text;
  ASSERT_EQ(end, text.data() + text.size());
  ASSERT_EQ(std::memcmp(&value, &back, sizeof value), 0) << text;
  // JSON's grammar: a digit at both ends of the integer part, no leading zero, no '+' at the front.
  const std::string_view digits = std::string_view(text).substr(text[0] == '-' ? 1 : 0);
  ASSERT_TRUE(digits[0] >= '0' && digits[0] <= '9') << text;
  ASSERT_FALSE(digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9') << text;
  ASSERT_NE(digits.back(), '.') << text;
}

TEST(JsonReal, IsTheShortestThatReadsBack) {
  const auto text = [](double value) {
    std::string out;
    EXPECT_TRUE(append_json_double(value, out));
    return out;
  };
  EXPECT_EQ(text(0.1), "0.1");
  EXPECT_EQ(text(-0.0), "-0");
  EXPECT_EQ(text(1e22), "1e+22");
  std::string single;
  EXPECT_TRUE(append_json_float(0.1f, single));
  EXPECT_EQ(single, "0.1");
  std::mt19937_64 random(20260108);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t bits = random();
    double wide = 0;
    std::memcpy(&wide, &bits, sizeof wide);
    if (std::isfinite(wide)) expect_round_trip(wide, append_json_double);
    const auto half = static_cast<std::uint32_t>(bits);
    float narrow = 0;
    std::memcpy(&narrow, &half, sizeof narrow);
    if (std::isfinite(narrow)) expect_round_trip(narrow, append_json_float);
  }
}

TEST(JsonReal, RefusesWhatJsonLacks) {
  std::string out;
  EXPECT_FALSE(append_json_double(std::numeric_limits<double>::infinity(), out));
  EXPECT_FALSE(append_json_double(std::nan(""), out));
  EXPECT_FALSE(append_json_float(-std::numeric_limits<float>::infinity(), out));
  EXPECT_EQ(out, "");
}

std::string base64(std::string_view text) {
  std::string out;
  append_base64(as_bytes(text), out);
  return out;
}
std::string base64url(std::string_view text) {
  std::string out;
  append_base64url(as_bytes(text), out);
  return out;
}

TEST(Base64, MatchesTheVectorsOfRfc4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xfb\xff"), "+/8=");
  EXPECT_EQ(base64url("\xfb\xff"), "-_8");
  EXPECT_EQ(base64url("f"), "Zg");
}

TEST(Base64Url, RoundTripsAndRefusesEverySecondForm) {
  std::array<std::byte, 64> buffer;
  std::size_t size = 0;
  std::mt19937_64 random(1);
  for (std::size_t length = 0; length <= buffer.size(); ++length) {
    std::string bytes(length, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    ASSERT_TRUE(decode_base64url(base64url(bytes), buffer, size));
    ASSERT_EQ(as_text(Bytes(buffer).first(size)), bytes);
    std::array<char, 128> text;
    ByteSink sink(text);
    append_base64url(as_bytes(bytes), sink);
    ASSERT_EQ(sink.view(), base64url(bytes));
  }
  for (const char* bad : {"Zg==", "Z", "Zh", "Zm9", "Zm8=", "Zg+", "Z/8", "Zm9v\n", "Zm9vZ", " Zg"}) {
    EXPECT_FALSE(decode_base64url(bad, buffer, size)) << bad;
  }
  EXPECT_FALSE(decode_base64url("Zm9v", std::span<std::byte>(buffer).first(2), size));
  EXPECT_TRUE(decode_base64url("Zm9v", std::span<std::byte>(buffer).first(3), size));
}

}  // namespace
}  // namespace ringside::http
