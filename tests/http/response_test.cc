#include "http/response.h"

#include <gtest/gtest.h>
#include <time.h>

#include <array>
#include <string>

namespace ringside::http {
namespace {

TEST(DateText, MatchesTheLibraryOverFourCenturies) {
  DateText date;
  EXPECT_EQ(date.text(), "Thu, 01 Jan 1970 00:00:00 GMT");
  date.refresh(784'111'777);
  EXPECT_EQ(date.text(), "Sun, 06 Nov 1994 08:49:37 GMT");
  for (std::uint64_t second = 0; second < 13'000'000'000;
       second += 86'399) {  // each day, at another time of it
    date.refresh(second);
    const auto t = static_cast<std::time_t>(second);
    std::tm parts{};
    ::gmtime_r(&t, &parts);
    std::array<char, 64> expected;
    const std::size_t size =
        std::strftime(expected.data(), expected.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    ASSERT_EQ(date.text(), std::string_view(expected.data(), size)) << second;
  }
}

TEST(DateText, StaysWithinItsForm) {
  DateText date;
  date.refresh(~std::uint64_t{0} - 1);
  EXPECT_EQ(date.text(), "Fri, 31 Dec 9999 23:59:59 GMT");
}

std::string head_text(const ResponseHead& head) {
  std::array<char, 1024> buffer;
  ByteSink sink(buffer);
  append_head(sink, head);
  return std::string(sink.view());
}

TEST(ResponseHead, HasWhatWasAskedFor) {
  ResponseHead head;
  head.date = "Sun, 06 Nov 1994 08:49:37 GMT";
  head.content_type = kJsonType;
  head.content_length = 0;
  head.version = 18446744073709551615u;
  head.etag = "\"x\"";
  head.more = "Allow: GET, HEAD\r\n";
  EXPECT_EQ(head_text(head),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n"
            "Content-Length: 0\r\nRingside-Version: 18446744073709551615\r\nETag: \"x\"\r\nAllow: GET, "
            "HEAD\r\n\r\n");
  ResponseHead bare;
  bare.status = 304;
  EXPECT_EQ(head_text(bare), "HTTP/1.1 304 Not Modified\r\n\r\n");
  bare.status = 503;
  bare.retry_after_s = 1;
  bare.keep_alive = false;
  EXPECT_EQ(head_text(bare),
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\n");
  ResponseHead old;
  old.is_http_1_0 = true;
  EXPECT_EQ(head_text(old), "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n");
}

TEST(Problem, IsAWholeAnswerWhoseLengthIsRight) {
  std::array<char, 1024> buffer;
  ByteSink sink(buffer);
  const Problem problem{404, "no-such-row", "There is no such row", "no row \"1\xff\" in products"};
  append_problem(sink, problem, ResponseHead{});
  const std::string body =
      "{\"type\":\"urn:ringside:problem:no-such-row\",\"title\":\"There is no such row\",\"status\":404,"
      "\"detail\":\"no row \\\"1\xef\xbf\xbd\\\" in products\"}";
  EXPECT_EQ(sink.view(),
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n\r\n" + body);
  ByteSink head_only(buffer);
  append_problem(head_only, problem, ResponseHead{}, true);
  EXPECT_TRUE(head_only.view().ends_with("Content-Length: " + std::to_string(body.size()) + "\r\n\r\n"));
}

TEST(ByteSink, WritesAllOrShowsNothing) {
  std::array<char, 4> buffer{'#', '#', '#', '#'};
  ByteSink sink(std::span<char>(buffer.data(), 3));
  sink.append("ab");
  EXPECT_EQ(sink.view(), "ab");
  sink.append("cd");
  EXPECT_TRUE(sink.overflowed());
  sink.append('e');
  sink.append("");
  EXPECT_EQ(sink.view(), "");
  EXPECT_EQ(sink.wanted(), 5u);
  EXPECT_EQ(buffer, (std::array<char, 4>{'a', 'b', '#', '#'}));
  ByteSink numbers(buffer);
  numbers.append_number(-12);
  numbers.append_number(7u);
  EXPECT_EQ(numbers.view(), "-127");
}

}  // namespace
}  // namespace ringside::http
