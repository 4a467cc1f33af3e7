#include "http/request_parser.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

namespace ringside::http {
namespace {

constexpr std::size_t kLimit = 8192;

struct Outcome {
  ParseStatus status = ParseStatus::kNeedMore;
  unsigned code = 0;
  std::string reason;
  std::size_t looked_at = 0;  // the prefix that decided
  Request request;
};

Outcome finish(RequestParser& parser, ParseStatus status, const Request& request, std::size_t looked_at) {
  Outcome outcome;
  outcome.status = status;
  outcome.request = request;
  outcome.looked_at = looked_at;
  if (status == ParseStatus::kFailed) {
    outcome.code = parser.failure().status;
    outcome.reason = parser.failure().reason;
  }
  return outcome;
}

Outcome parse_whole(std::string_view text, std::size_t limit = kLimit) {
  RequestParser parser;
  Request request;
  const ParseStatus status = parser.parse(text, limit, request);
  return finish(parser, status, request, text.size());
}

// Byte by byte, each prefix in memory of its own, so that a view or pointer kept over a call would be found.
Outcome parse_bytewise(std::string_view text, std::vector<std::string>& prefixes,
                       std::size_t limit = kLimit) {
  RequestParser parser;
  Request request;
  prefixes.reserve(text.size());
  for (std::size_t size = 1; size <= text.size(); ++size) {
    prefixes.emplace_back(text.substr(0, size));
    const ParseStatus status = parser.parse(prefixes.back(), limit, request);
    if (status != ParseStatus::kNeedMore) return finish(parser, status, request, size);
  }
  return finish(parser, ParseStatus::kNeedMore, request, text.size());
}

void expect_same(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.status, b.status);
  EXPECT_EQ(a.code, b.code);
  EXPECT_EQ(a.reason, b.reason);
  if (a.status != ParseStatus::kComplete) return;
  const Request& x = a.request;
  const Request& y = b.request;
  EXPECT_EQ(x.method, y.method);
  EXPECT_EQ(x.minor_version, y.minor_version);
  EXPECT_EQ(x.keep_alive, y.keep_alive);
  EXPECT_EQ(x.is_chunked, y.is_chunked);
  EXPECT_EQ(x.expects_continue, y.expects_continue);
  EXPECT_EQ(x.content_length, y.content_length);
  EXPECT_EQ(x.head_bytes, y.head_bytes);
  EXPECT_EQ(x.path, y.path);
  EXPECT_EQ(x.query, y.query);
  EXPECT_EQ(x.host, y.host);
  EXPECT_EQ(x.if_none_match, y.if_none_match);
  EXPECT_EQ(x.accept, y.accept);
  EXPECT_EQ(x.min_version, y.min_version);
  EXPECT_EQ(x.min_gtid, y.min_gtid);
}

// Whole and byte by byte; the views of the returned outcome point into `text`.
Outcome parse(std::string_view text, std::size_t limit = kLimit) {
  const Outcome whole = parse_whole(text, limit);
  std::vector<std::string> prefixes;
  expect_same(whole, parse_bytewise(text, prefixes, limit));
  return whole;
}

// The status a head is refused with; 0 when it is accepted, 1 when more is awaited.
unsigned code_of(std::string_view text, std::size_t limit = kLimit) {
  const Outcome outcome = parse(text, limit);
  if (outcome.status == ParseStatus::kComplete) return 0;
  if (outcome.status == ParseStatus::kNeedMore) return 1;
  EXPECT_FALSE(outcome.reason.empty());
  return outcome.code;
}
unsigned code_of_fields(const std::string& fields) {
  return code_of("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n");
}
unsigned code_of_target(const std::string& target) {
  return code_of("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST(RequestParser, ReadsAllItKnows) {
  const std::string text =
      "GET /v1/products/a%2Cb?fields=name,price&wait=1s HTTP/1.1\r\n"
      "hOsT: shop.example:8080\r\n"
      "User-Agent: t\xc3\xa9st/1.0 (\tx)\r\n"
      "If-None-Match: \"abc\", W/\"def\"\r\n"
      "Accept:application/json\r\n"
      "Ringside-Min-Version:\t 42 \t\r\n"
      "RINGSIDE-MIN-GTID: 0-1-42\r\n"
      "Connection: upgrade , , Keep-Alive\r\n"
      "Content-Length: 0\r\n"
      "Empty:\r\n"
      "\r\nrest";
  const Outcome outcome = parse(text);
  ASSERT_EQ(outcome.status, ParseStatus::kComplete);
  const Request& request = outcome.request;
  EXPECT_EQ(request.method, Method::kGet);
  EXPECT_EQ(request.minor_version, 1);
  EXPECT_EQ(request.path, "/v1/products/a%2Cb");
  EXPECT_EQ(request.query, "fields=name,price&wait=1s");
  EXPECT_EQ(request.host, "shop.example:8080");
  EXPECT_EQ(request.if_none_match, "\"abc\", W/\"def\"");
  EXPECT_EQ(request.accept, "application/json");
  EXPECT_EQ(request.min_version, "42");
  EXPECT_EQ(request.min_gtid, "0-1-42");
  EXPECT_TRUE(request.keep_alive);
  EXPECT_FALSE(request.has_body());
  EXPECT_EQ(request.head_bytes, text.size() - 4);
}

TEST(RequestParser, EveryStrictPrefixOfARequestNeedsMore) {
  const std::string text =
      "\r\nHEAD http://a/b?c HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nX: y\r\n\r\n";
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(parse_whole(std::string_view(text).substr(0, size)).status, ParseStatus::kNeedMore) << size;
  }
  EXPECT_EQ(parse_whole(text).status, ParseStatus::kComplete);
}

TEST(RequestParser, MethodsAreTokensAndCaseCounts) {
  const auto method_of = [](const std::string& name) {
    const Outcome outcome = parse(name + " / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(outcome.status, ParseStatus::kComplete) << name;
    return outcome.request.method;
  };
  EXPECT_EQ(method_of("GET"), Method::kGet);
  EXPECT_EQ(method_of("HEAD"), Method::kHead);
  EXPECT_EQ(method_of("OPTIONS"), Method::kOptions);
  EXPECT_EQ(method_of("POST"), Method::kPost);
  EXPECT_EQ(method_of("PUT"), Method::kPut);
  EXPECT_EQ(method_of("PATCH"), Method::kPatch);
  EXPECT_EQ(method_of("DELETE"), Method::kDelete);
  EXPECT_EQ(method_of("get"), Method::kOther);
  EXPECT_EQ(method_of("GETS"), Method::kOther);
  EXPECT_EQ(method_of("M-SEARCH"), Method::kOther);
  EXPECT_EQ(code_of("G(T / HTTP/1.1\r\n"), 400u);
  EXPECT_EQ(code_of(" / HTTP/1.1\r\n"), 400u);
  EXPECT_EQ(code_of("\x16\x03\x01\x02"), 400u);  // TLS spoken to a plain port is refused at its first byte
}

TEST(RequestParser, RequestLineHasOneFormOnly) {
  EXPECT_EQ(code_of("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.1\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / http/1.1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.10\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/11\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.x\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / XTTP/1.1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505u);
  EXPECT_EQ(code_of("GET / HTTP/0.9\r\n\r\n"), 505u);
  EXPECT_EQ(code_of("GET /\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 0u);
}

TEST(RequestParser, TargetForms) {
  EXPECT_EQ(code_of_target("/"), 0u);
  EXPECT_EQ(code_of_target("//"), 0u);
  EXPECT_EQ(code_of_target("/?"), 0u);
  EXPECT_EQ(code_of_target("/a?b?c/d[x]=%20"), 0u);
  EXPECT_EQ(code_of_target("*"), 400u);
  EXPECT_EQ(code_of_target("a"), 400u);
  EXPECT_EQ(code_of_target("?a"), 400u);
  EXPECT_EQ(code_of_target("a:80"), 400u);
  EXPECT_EQ(code_of_target("ftp://a/"), 400u);
  for (const char* bad : {"/#", "/a\"", "/<", "/>", "/\\", "/^", "/`", "/{", "/|", "/}", "/\x7f", "/\x01",
                          "/\xc3\xa9", "/\t"}) {
    EXPECT_EQ(code_of_target(bad), 400u) << bad;
    EXPECT_EQ(code_of_target(std::string("/?") + bad), 400u) << bad;
  }
  EXPECT_EQ(code_of(std::string_view("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 29)), 400u);
  for (const char* bad : {"/%", "/%4", "/%4g", "/%g4", "/%%41", "/a%", "/%41%4"}) {
    EXPECT_EQ(code_of_target(bad), 400u) << bad;
    EXPECT_EQ(code_of_target(std::string("/?") + bad), 400u) << bad;
  }
  EXPECT_EQ(code_of_target("/%41%zZ?%41"), 400u);
  EXPECT_EQ(code_of_target("/%00%fF?%aB=%Cd"), 0u)
      << "which bytes a name may have is not the grammar's business";
  EXPECT_EQ(code_of("CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n"), 501u);
  EXPECT_EQ(code_of("CONNECT [::1]:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n"), 501u);
  for (const char* bad : {"shop", "shop:", ":80", "/", "shop:80/", "http://shop:80/", "*", "shop:80?"}) {
    EXPECT_EQ(code_of(std::string("CONNECT ") + bad + " HTTP/1.1\r\nHost: a\r\n\r\n"), 400u) << bad;
  }
  EXPECT_EQ(code_of("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 0u);
  EXPECT_EQ(code_of("OPTIONS *? HTTP/1.1\r\nHost: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400u);
}

TEST(RequestParser, AbsoluteFormNamesTheHostThatCounts) {
  const Outcome full = parse("GET HTTP://shop:80/a/b?c=d HTTP/1.1\r\nHost: other\r\n\r\n");
  ASSERT_EQ(full.status, ParseStatus::kComplete);
  EXPECT_EQ(full.request.host, "shop:80");
  EXPECT_EQ(full.request.path, "/a/b");
  EXPECT_EQ(full.request.query, "c=d");
  const Outcome bare = parse("GET https://[::1]:8?q HTTP/1.1\r\nHost:\r\n\r\n");
  ASSERT_EQ(bare.status, ParseStatus::kComplete);
  EXPECT_EQ(bare.request.host, "[::1]:8");
  EXPECT_EQ(bare.request.path, "/");
  EXPECT_EQ(bare.request.query, "q");
  EXPECT_EQ(code_of_target("http://"), 400u);
  EXPECT_EQ(code_of_target("http:///a"), 400u);
  EXPECT_EQ(code_of_target("http://user@a/"), 400u);
  EXPECT_EQ(code_of("GET http://a/ HTTP/1.1\r\n\r\n"), 400u);
}

TEST(RequestParser, HostMustBeThereOnceAndValid) {
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.0\r\n\r\n"), 0u);
  EXPECT_EQ(code_of_fields("Host: a\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Host: b\r\n"), 400u);
  const auto code_of_host = [](const std::string& host) {
    return code_of("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
  };
  for (const char* good :
       {"", "a", "a.b-c_d", "127.0.0.1:80", "[::1]", "[fe80::1]:8080", "a:", "a%20b", "%61"}) {
    EXPECT_EQ(code_of_host(good), 0u) << good;
  }
  for (const char* bad : {"a b", "a/b", "a@b", ":80", "a:b", "a:80:80", "a:123456", "[", "[]", "[::1",
                          "[::1]a", "a]", "[[::1]]", "a?b", "a#b", "\xc3\xa9", "a%", "a%2", "a%zz"}) {
    EXPECT_EQ(code_of_host(bad), 400u) << bad;
  }
}

TEST(RequestParser, HeaderLinesAreStrict) {
  EXPECT_EQ(code_of_fields("A: b\n"), 400u);
  EXPECT_EQ(code_of_fields("A: b\rC: d\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A: b\r\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A : b\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A b: c\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A: b\r\n c\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A: b\r\n\tc\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A\r\n"), 400u);
  EXPECT_EQ(code_of_fields(": b\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A(: b\r\n"), 400u);
  EXPECT_EQ(code_of_fields("\xc3\xa9: b\r\n"), 400u);
  EXPECT_EQ(code_of_fields(std::string("A: b\0c\r\n", 8)), 400u);
  EXPECT_EQ(code_of_fields("A: b\x01\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A: a value longer than sixteen bytes \x7f and more\r\n"), 400u);
  EXPECT_EQ(code_of_fields("A: a value longer than\tsixteen bytes \xff and more\r\n"), 0u);
  EXPECT_EQ(code_of_fields("A:b\r\nA: c\r\n"), 0u);
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\nHost: a\r\n\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\nHost: a\r\n\rX"), 400u);
}

TEST(RequestParser, BodiesAreAnnouncedUnambiguouslyOrNotAtAll) {
  const Outcome with_length = parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\nGET /");
  ASSERT_EQ(with_length.status, ParseStatus::kComplete);
  EXPECT_TRUE(with_length.request.has_body());
  EXPECT_EQ(with_length.request.content_length, 17u);
  const Outcome chunked = parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
  ASSERT_EQ(chunked.status, ParseStatus::kComplete);
  EXPECT_TRUE(chunked.request.is_chunked);
  EXPECT_TRUE(chunked.request.has_body());
  EXPECT_EQ(code_of_fields("Content-Length: 5\r\nContent-Length: 5\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Content-Length: 5\r\nContent-Length: 6\r\n"), 400u);
  for (const char* bad :
       {"", "5, 5", "+5", "-5", "0x5", "5 5", "5a", "1e3", "9999999999999999999", "18446744073709551621"}) {
    EXPECT_EQ(code_of_fields(std::string("Content-Length: ") + bad + "\r\n"), 400u) << bad;
  }
  EXPECT_EQ(code_of_fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400u);
  // RFC 9112 6.3: where chunked is not the last coding, nobody knows the body's end; 6.1: else the coding is unknown.
  for (const char* endless : {"gzip", "identity", "chunked, gzip", "xchunked", "chunked;q=1", "\"chunked\"",
                              "chunked gzip", "chunked\r\nTransfer-Encoding: gzip"}) {
    EXPECT_EQ(code_of_fields(std::string("Transfer-Encoding: ") + endless + "\r\n"), 400u) << endless;
  }
  for (const char* unknown :
       {"gzip, chunked", "gzip\r\nTransfer-Encoding: chunked", "a;b=c,CHUNKED", "identity, chunked"}) {
    EXPECT_EQ(code_of_fields(std::string("Transfer-Encoding: ") + unknown + "\r\n"), 501u) << unknown;
  }
  for (const char* hidden : {", chunked", "chunked,", "chunked, ,", ","}) {
    EXPECT_EQ(code_of_fields(std::string("Transfer-Encoding: ") + hidden + "\r\n"), 400u) << hidden;
  }
  EXPECT_EQ(code_of_fields("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Content-Length: 5\r\nTransfer-Encoding: gzip\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Transfer-Encoding: \x0b"
                           "chunked\r\n"),
            400u);
  EXPECT_EQ(code_of_fields("Transfer-Encoding:\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Transfer-Encoding: chunked, chunked\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400u);
  EXPECT_EQ(code_of("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400u);
}

TEST(RequestParser, KeepAliveByVersionAndConnection) {
  const auto keeps = [](const std::string& version, const std::string& fields) {
    const Outcome outcome = parse("GET / HTTP/" + version + "\r\nHost: a\r\n" + fields + "\r\n");
    EXPECT_EQ(outcome.status, ParseStatus::kComplete);
    return outcome.request.keep_alive;
  };
  EXPECT_TRUE(keeps("1.1", ""));
  EXPECT_FALSE(keeps("1.1", "Connection: close\r\n"));
  EXPECT_FALSE(keeps("1.1", "Connection: foo,CLOSE\r\n"));
  EXPECT_FALSE(keeps("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
  EXPECT_TRUE(keeps("1.1", "Connection: closed\r\n"));
  EXPECT_FALSE(keeps("1.0", ""));
  EXPECT_TRUE(keeps("1.0", "Connection: Keep-Alive\r\n"));
  EXPECT_FALSE(keeps("1.0", "Connection: keep-alive, close\r\n"));
}

TEST(RequestParser, ExpectationsAndRepeatedFields) {
  EXPECT_TRUE(parse("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n").request.expects_continue);
  EXPECT_TRUE(parse("GET / HTTP/1.1\r\nHost: a\r\nExpect: , 100-continue\r\n\r\n").request.expects_continue);
  EXPECT_EQ(code_of_fields("Expect: tea\r\n"), 417u);
  EXPECT_EQ(code_of_fields("Expect: 100-continue, tea\r\n"), 417u);
  EXPECT_EQ(code_of_fields("Expect: 100-continue;q=1\r\n"), 417u);
  EXPECT_EQ(code_of_fields("Expect:\r\n"), 0u);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").request.expects_continue);
  EXPECT_EQ(code_of("GET / HTTP/1.0\r\nExpect: tea\r\n\r\n"), 0u) << "RFC 9110 10.1.1";
  EXPECT_EQ(code_of_fields("Ringside-Min-Version: 1\r\nRingside-Min-Version: 2\r\n"), 400u);
  EXPECT_EQ(code_of_fields("Ringside-Min-Gtid: 1\r\nRingside-Min-Gtid: 2\r\n"), 400u);
  const Outcome repeated =
      parse("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n\r\n");
  ASSERT_EQ(repeated.status, ParseStatus::kComplete);
  EXPECT_EQ(repeated.request.if_none_match, "");
  const Outcome once = parse(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-TYPE: application/json\r\nAUTHORIZATION: Bearer x\r\n\r\n");
  ASSERT_EQ(once.status, ParseStatus::kComplete);
  EXPECT_EQ(once.request.content_type, "application/json");
  EXPECT_EQ(once.request.authorization, "Bearer x");
  for (int count = 2; count <= 3; ++count) {
    std::string text = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (int i = 0; i < count; ++i) text += "Content-Type: a/b\r\nAuthorization: c\r\nIf-None-Match: d\r\n";
    const std::string whole = text + "\r\n";
    const Outcome several = parse(whole);
    ASSERT_EQ(several.status, ParseStatus::kComplete);
    EXPECT_EQ(several.request.content_type, "");
    EXPECT_EQ(several.request.authorization, "");
    EXPECT_EQ(several.request.if_none_match, "");
  }
}

TEST(RequestParser, SomeEmptyLinesMayStandBefore) {
  std::string lines;
  for (unsigned i = 0; i < kMaxLeadingEmptyLines; ++i) lines += "\r\n";
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const Outcome outcome = parse(lines + request);
  ASSERT_EQ(outcome.status, ParseStatus::kComplete);
  EXPECT_EQ(outcome.request.head_bytes, lines.size() + request.size());
  EXPECT_EQ(code_of(lines + "\r\n" + request), 400u);
  EXPECT_EQ(code_of("\n" + request), 400u);
  EXPECT_EQ(code_of("\rG"), 400u);
}

TEST(RequestParser, LimitsAreExact) {
  const std::string request = "GET /abc HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
  EXPECT_EQ(code_of(request, request.size()), 0u);
  EXPECT_EQ(code_of(request + "more", request.size()), 0u);
  EXPECT_EQ(code_of(request, request.size() - 1), 431u);
  EXPECT_EQ(code_of(request, 8), 414u);
  EXPECT_EQ(code_of("GET /" + std::string(kLimit, 'a')), 414u);
  EXPECT_EQ(code_of("GET /?" + std::string(kLimit, 'a')), 414u);
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\nA: " + std::string(kLimit, 'a')), 431u);
  std::string fields;
  for (unsigned i = 1; i < kMaxFields; ++i) fields += "X: y\r\n";
  EXPECT_EQ(code_of_fields(fields), 0u);
  EXPECT_EQ(code_of_fields(fields + "X: y\r\n"), 431u);
}

TEST(RequestParser, PipelinedRequestsComeOneByOne) {
  const std::string first = "GET /1 HTTP/1.1\r\nHost: a\r\nRingside-Min-Version: 7\r\n\r\n";
  const std::string second = "HEAD /2 HTTP/1.0\r\n\r\n";
  const std::string text = first + second;
  RequestParser parser;
  Request request;
  EXPECT_TRUE(parser.is_idle());
  ASSERT_EQ(parser.parse(text, kLimit, request), ParseStatus::kComplete);
  EXPECT_EQ(request.head_bytes, first.size());
  EXPECT_EQ(request.min_version, "7");
  EXPECT_TRUE(parser.is_idle());
  ASSERT_EQ(parser.parse(std::string_view(text).substr(first.size()), kLimit, request),
            ParseStatus::kComplete);
  EXPECT_EQ(request.method, Method::kHead);
  EXPECT_EQ(request.path, "/2");
  EXPECT_EQ(request.host, "");
  EXPECT_EQ(request.min_version, "");
}

TEST(RequestParser, StaysFailedUntilReset) {
  RequestParser parser;
  Request request;
  EXPECT_EQ(parser.parse("\x01", kLimit, request), ParseStatus::kFailed);
  EXPECT_EQ(parser.parse("GET / HTTP/1.0\r\n\r\n", kLimit, request), ParseStatus::kFailed);
  EXPECT_EQ(parser.failure().status, 400);
  parser.reset();
  EXPECT_EQ(parser.parse("GET", kLimit, request), ParseStatus::kNeedMore);
  EXPECT_FALSE(parser.is_idle());
}

// All 256 values at each place of a request that has every kind of part: whole and byte by byte agree (inside
// parse()), and no byte can make a request end before its empty line.
TEST(RequestParser, AnyByteAnywhereGivesOneOutcome) {
  const std::string text =
      "GET /a%20b?c=d HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n";
  unsigned accepted = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      std::string changed = text;
      changed[at] = static_cast<char>(value);
      const Outcome outcome = parse(changed);
      if (outcome.status != ParseStatus::kComplete) continue;
      ++accepted;
      ASSERT_EQ(outcome.request.head_bytes, text.size()) << at << " " << value;
    }
  }
  EXPECT_GT(accepted, text.size());
}

}  // namespace
}  // namespace ringside::http
