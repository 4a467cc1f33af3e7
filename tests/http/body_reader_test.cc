#include "http/body_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace ringside::http {
namespace {

constexpr std::uint64_t kLimit = 1000;

struct Outcome {
  ParseStatus status = ParseStatus::kNeedMore;
  unsigned code = 0;
  std::string reason;
  std::string body;
  std::size_t left = 0;  // bytes behind the body
};

Request chunked() {
  Request request;
  request.is_chunked = true;
  return request;
}

Request of_length(std::uint64_t bytes) {
  Request request;
  request.content_length = bytes;
  return request;
}

// Hands the text over in pieces of `step` bytes, each in memory of its own.
Outcome read(const Request& request, std::string_view text, std::size_t step, std::uint64_t limit) {
  BodyReader reader;
  Outcome outcome;
  outcome.status = reader.begin(request, limit);
  std::size_t at = 0;
  while (outcome.status == ParseStatus::kNeedMore && at < text.size()) {
    const std::string part(text.substr(at, step));
    std::string_view input = part;
    while (outcome.status == ParseStatus::kNeedMore && !input.empty()) {
      const std::size_t before = input.size();
      std::string_view piece;
      outcome.status = reader.read(input, piece);
      outcome.body += piece;
      EXPECT_TRUE(input.size() < before || outcome.status == ParseStatus::kFailed) << "no progress";
    }
    at += part.size() - input.size();
  }
  outcome.left = text.size() - at;
  if (outcome.status == ParseStatus::kFailed) {
    outcome.code = reader.failure().status;
    outcome.reason = reader.failure().reason;
    EXPECT_FALSE(outcome.reason.empty());
    std::string_view more = "0\r\n\r\n";
    std::string_view piece;
    EXPECT_EQ(reader.read(more, piece), ParseStatus::kFailed) << "stays failed";
  }
  return outcome;
}

// Whole, byte by byte and by threes: the same.
Outcome read(const Request& request, std::string_view text, std::uint64_t limit = kLimit) {
  const Outcome whole = read(request, text, text.size() + 1, limit);
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}}) {
    const Outcome cut = read(request, text, step, limit);
    EXPECT_EQ(whole.status, cut.status) << text;
    EXPECT_EQ(whole.code, cut.code) << text;
    EXPECT_EQ(whole.reason, cut.reason) << text;
    EXPECT_EQ(whole.body, cut.body) << text;
    EXPECT_EQ(whole.left, cut.left) << text;
  }
  return whole;
}

unsigned code_of(std::string_view text, std::uint64_t limit = kLimit) {
  const Outcome outcome = read(chunked(), text, limit);
  if (outcome.status == ParseStatus::kNeedMore) return 1;
  return outcome.status == ParseStatus::kComplete ? 0 : outcome.code;
}

TEST(BodyReader, ALengthCountsBytesAndNoMore) {
  const Outcome outcome = read(of_length(5), "helloGET /");
  EXPECT_EQ(outcome.status, ParseStatus::kComplete);
  EXPECT_EQ(outcome.body, "hello");
  EXPECT_EQ(outcome.left, 5u);
  EXPECT_EQ(read(of_length(5), "hell").status, ParseStatus::kNeedMore);
  EXPECT_EQ(read(of_length(0), "GET /").status, ParseStatus::kComplete);
  EXPECT_EQ(read(of_length(kLimit), std::string(kLimit, 'x')).status, ParseStatus::kComplete);
  const Outcome large = read(of_length(kLimit + 1), "x");
  EXPECT_EQ(large.code, 413u);
  EXPECT_EQ(large.left, 1u) << "known before a byte of it has come";
}

TEST(BodyReader, ChunksAreJoined) {
  const Outcome outcome =
      read(chunked(), "3\r\nhel\r\n00000002\r\nlo\r\nA\r\n0\r\n\r\n6789a\r\n0\r\n\r\nGET /");
  EXPECT_EQ(outcome.status, ParseStatus::kComplete);
  EXPECT_EQ(outcome.body, "hello0\r\n\r\n6789a");
  EXPECT_EQ(outcome.left, 5u);
  EXPECT_EQ(read(chunked(), "0\r\n\r\n").body, "");
  EXPECT_EQ(code_of("000\r\n\r\n"), 0u);
  const std::string text = "1;a=b\r\nx\r\n0\r\nA: b\r\n\r\n";
  for (std::size_t size = 0; size < text.size(); ++size) EXPECT_EQ(code_of(text.substr(0, size)), 1u) << size;
}

TEST(BodyReader, SizesAreHexadecimalAndWithinTheLimit) {
  for (const char* bad :
       {"\r\n", " 1\r\nx", "-1\r\nx", "+1\r\nx", "0x1\r\nx", "1 \r\nx", "1\t\r\nx", "g\r\n", "1\nx",
        "1\r\r\nx", "1\rx", "1.0\r\nx", "1,\r\nx", "\"1\"\r\nx", "00000000000000001\r\nx",
        "10000000000000000\r\n", "1\x0b\r\nx", "1\x80\r\nx", ";a\r\nx"}) {
    EXPECT_EQ(code_of(bad), 400u) << bad;
  }
  EXPECT_EQ(code_of(std::string_view("1\0\r\nx", 5)), 400u);
  EXPECT_EQ(code_of("ffffffffffffffff\r\n"), 413u);
  EXPECT_EQ(code_of("8000000000000000\r\n"), 413u);
  EXPECT_EQ(code_of("0000000000000001\r\nx\r\n0\r\n\r\n"), 0u);
  EXPECT_EQ(code_of("4\r\nabcd\r\n5\r\nabcde\r\n0\r\n\r\n", 9), 0u);
  EXPECT_EQ(code_of("4\r\nabcd\r\n5\r\nabcde\r\n0\r\n\r\n", 8), 413u) << "the sum counts";
}

TEST(BodyReader, DataEndsWhereItsSizeSays) {
  EXPECT_EQ(code_of("3\r\nhell\r\n0\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("3\r\nhel\n0\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("3\r\nhel\rx"), 400u);
  EXPECT_EQ(code_of("3\r\nhel0\r\n\r\n"), 400u);
}

TEST(BodyReader, ExtensionsAreCheckedAndPassedOver) {
  for (const char* good : {"1;a", "1 ;a", "1;a=b", "1\t; a = b ;c", "1;a=\"\"",
                           "1;a=\"x y\\\"\\\\;=\xff\";b=c", "1;a;b;c=d ;e", "1;!#$%&'*+-.^_`|~9=z"}) {
    EXPECT_EQ(code_of(std::string(good) + "\r\nx\r\n0;last=1\r\n\r\n"), 0u) << good;
  }
  for (const char* bad :
       {"1;",      "1;;a",       "1;a=",        "1;a=;b",  "1;=b",         "1;a ",           "1;a=b ",
        "1;a=\"b", "1;a=\"b\"c", "1;a b",       "1;a=b c", "1;a=\"\x01\"", "1;a=\"\\\x01\"", "1;(",
        "1;a=(",   "1;a\n",      "1;a=\"b\n\"", "1;a=b\n", "1; a =b\x7f",  "1;\xc3\xa9",     "1;a=\"\\"}) {
    EXPECT_EQ(code_of(std::string(bad) + "\r\nx\r\n0\r\n\r\n"), 400u) << bad;
  }
  std::string many;
  for (int i = 0; i < 40; ++i) many += "1;" + std::string(101, 'e') + "\r\nx\r\n";
  EXPECT_EQ(code_of(many + "0\r\n\r\n"), 0u);
  EXPECT_EQ(code_of(many + "0;" + std::string(100, 'e') + "\r\n\r\n"), 400u)
      << "all chunks' together have a limit";
}

TEST(BodyReader, TrailersAreCheckedAndPassedOver) {
  for (const char* good : {"A: b\r\n", "A:\r\nB:\tc \r\n", "Content-Length: 7\r\n",
                           "Host: x\r\nTransfer-Encoding: y\r\n", "A: \xff\r\n"}) {
    EXPECT_EQ(code_of(std::string("0\r\n") + good + "\r\n"), 0u) << good;
  }
  for (const char* bad :
       {"A\r\n", "A : b\r\n", " A: b\r\n", "A: b\r\n c\r\n", "A: b\n", ": b\r\n", "A: \x01\r\n", "A: b\r\r\n",
        "A(: b\r\n", "\n", "\rx", "A: b\rC: d\r\n", "\xc3: b\r\n"}) {
    EXPECT_EQ(code_of(std::string("0\r\n") + bad + "\r\n"), 400u) << bad;
  }
  EXPECT_EQ(code_of(std::string_view("0\r\nA: \0\r\n\r\n", 11)), 400u);
  std::string fields;
  for (unsigned i = 0; i < kMaxFields; ++i) fields += "A: b\r\n";
  EXPECT_EQ(code_of("0\r\n" + fields + "\r\n"), 0u);
  EXPECT_EQ(code_of("0\r\n" + fields + "A: b\r\n\r\n"), 431u);
  EXPECT_EQ(code_of("0\r\nA: " + std::string(kMaxTrailerBytes - 5, 'x') + "\r\n\r\n"), 431u);
  EXPECT_EQ(code_of("0\r\nA: " + std::string(kMaxTrailerBytes - 6, 'x') + "\r\n\r\n"), 0u);
}

// All 256 values at each place: whole and cut agree (inside read()), and what is complete ended in an empty line.
TEST(BodyReader, AnyByteAnywhereGivesOneOutcome) {
  const std::string text = "2;a=\"b\\c\" ;d\r\nxy\r\n0\r\nE: f\r\n\r\n";
  unsigned accepted = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      std::string changed = text;
      changed[at] = static_cast<char>(value);
      const Outcome outcome = read(chunked(), changed, kLimit);
      if (outcome.status != ParseStatus::kComplete) continue;
      ++accepted;
      const std::string taken = changed.substr(0, changed.size() - outcome.left);
      ASSERT_TRUE(taken.ends_with("\r\n\r\n")) << at << " " << value;
    }
  }
  EXPECT_GT(accepted, text.size());
}

}  // namespace
}  // namespace ringside::http
