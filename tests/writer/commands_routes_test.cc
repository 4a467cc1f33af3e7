#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "writer/commands/request_routes.h"

namespace ringside::writer {
namespace {

const ListenAddress kLoopback{"127.0.0.1", 7070, false};

http::Method to_method(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(http::Method::kOther); ++i) {
    if (to_string(static_cast<http::Method>(i)) == name) return static_cast<http::Method>(i);
  }
  return http::Method::kOther;
}

http::Request head(std::string_view method, std::string_view target) {
  http::Request made;
  made.method = to_method(method);
  const std::size_t mark = std::min(target.find('?'), target.size());
  made.path = target.substr(0, mark);
  made.query = target.substr(std::min(mark + 1, target.size()));
  made.host = "127.0.0.1:7070";
  made.content_type = "application/json";
  if (method == "POST" || method == "PUT" || method == "PATCH") made.content_length = 2;
  return made;
}
unsigned status(const http::Request& request, const AccessRules& rules = {kLoopback, {}}) {
  const auto found = find_route(request, rules);
  const auto* answer = std::get_if<Answer>(&found);
  return answer == nullptr ? 200 : answer->status;
}
Route route(const http::Request& request) {
  return std::get<Route>(find_route(request, {kLoopback, {}}));
}

TEST(Host, OnlyLoopbackAndTheListenersOwnName) {
  const ListenAddress named{"10.1.2.3", 7070, false};
  const ListenAddress any{"0.0.0.0", 7070, false};
  const std::tuple<ListenAddress, const char*, HostCheck> cases[] = {
      {kLoopback, "127.0.0.1", HostCheck::kOk},
      {kLoopback, "127.0.0.1:7070", HostCheck::kOk},
      {kLoopback, "localhost:9", HostCheck::kOk},
      {kLoopback, "LOCALHOST", HostCheck::kOk},
      {kLoopback, "[::1]:7070", HostCheck::kOk},
      {kLoopback, "evil.example", HostCheck::kForeign},
      {kLoopback, "localhost.evil.example", HostCheck::kForeign},
      {kLoopback, "127.0.0.1.evil.example", HostCheck::kForeign},
      {kLoopback, "10.1.2.3", HostCheck::kForeign},
      {named, "10.1.2.3:7070", HostCheck::kOk},
      {named, "10.1.2.4", HostCheck::kForeign},
      {any, "writer.example", HostCheck::kOk},
      {kLoopback, "", HostCheck::kBad},
      {kLoopback, ":80", HostCheck::kBad},
      {kLoopback, "a b", HostCheck::kBad},
      {kLoopback, "a@127.0.0.1", HostCheck::kBad},
      {kLoopback, "127.0.0.1:80:80", HostCheck::kBad},
      {kLoopback, "127.0.0.1:x", HostCheck::kBad},
      {kLoopback, "[::1", HostCheck::kBad},
      {kLoopback, "[::1]x", HostCheck::kBad},
      {kLoopback, "[]", HostCheck::kBad},
      {any, "a/b", HostCheck::kBad},
  };
  for (const auto& [listen, host, expected] : cases) EXPECT_EQ(check_host(listen, host), expected) << host;

  http::Request request = head("GET", "/status");
  request.host = "evil.example";
  EXPECT_EQ(status(request), 421u);
  request.host = {};
  EXPECT_EQ(status(request), 400u);
}

TEST(Token, ExactlyOneOfTheTokensOpens) {
  const std::vector<Secret> tokens{Secret("first-token-0123"), Secret("second-token-456")};
  EXPECT_TRUE(is_authorised(tokens, "Bearer first-token-0123"));
  EXPECT_TRUE(is_authorised(tokens, "bearer  second-token-456 "));
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer first-token-012", "Bearer first-token-01234",
                          "Bearer First-token-0123", "Basic first-token-0123", "first-token-0123"}) {
    EXPECT_FALSE(is_authorised(tokens, bad)) << bad;
  }
  EXPECT_FALSE(is_authorised(std::vector<Secret>{Secret("")}, "Bearer "));
}

TEST(Token, IsAskedForEverywhereButOnProbes) {
  const std::vector<Secret> tokens{Secret("first-token-0123")};
  const AccessRules rules{kLoopback, tokens};
  for (const char* path : {"/status", "/metrics", "/v1/a/1", "/nowhere"}) {
    http::Request request = head("GET", path);
    const auto found = find_route(request, rules);
    const auto& answer = std::get<Answer>(found);
    EXPECT_EQ(answer.status, 401u) << path;
    EXPECT_TRUE(answer.ask_for_token);
    request.authorization = "Bearer wrong";
    EXPECT_EQ(status(request, rules), 401u) << path;
  }
  EXPECT_EQ(status(head("GET", "/healthz"), rules), 200u);
  EXPECT_EQ(status(head("GET", "/readyz"), rules), 200u);
  http::Request request = head("GET", "/v1/a/1");
  request.authorization = "Bearer first-token-0123";
  EXPECT_EQ(status(request, rules), 200u);
}

TEST(Routes, MethodsAndPathsMeanOperations) {
  EXPECT_EQ(route(head("POST", "/v1/a")).operation, Operation::kInsert);
  EXPECT_EQ(route(head("GET", "/v1/a/1")).operation, Operation::kRead);
  EXPECT_EQ(route(head("PUT", "/v1/a/1")).operation, Operation::kPut);
  EXPECT_EQ(route(head("PATCH", "/v1/a/1")).operation, Operation::kPatch);
  EXPECT_EQ(route(head("DELETE", "/v1/a/1")).operation, Operation::kDelete);
  const Route encoded = route(head("GET", "/v1/a%2Fb/x%2Cy,2"));
  EXPECT_EQ(encoded.raw_table, "a%2Fb");
  EXPECT_EQ(encoded.raw_key, "x%2Cy,2");
  EXPECT_EQ(route(head("GET", "/v1/a?key=..")).raw_key, "..");
  EXPECT_EQ(route(head("GET", "/v1/a?key=a+b%2B")).raw_key, "a%20b%2B");
  EXPECT_EQ(route(head("DELETE", "/v1/a?key=")).operation, Operation::kDelete);
  EXPECT_EQ(route(head("GET", "/metrics?x=1")).kind, Route::Kind::kMetrics);
  EXPECT_EQ(route(head("HEAD", "/healthz")).kind, Route::Kind::kHealth);
}

TEST(Routes, WhatIsNotPossibleSaysSo) {
  const std::tuple<const char*, const char*, unsigned> cases[] = {
      {"GET", "/", 404},
      {"GET", "/v2/a/1", 404},
      {"GET", "/v1", 404},
      {"GET", "/v1/", 404},
      {"POST", "/v1//1", 404},
      {"GET", "/v1/a/1/2", 404},
      {"GET", "/v1/a/1/2/3", 404},
      {"GET", "/v1/a", 405},
      {"PUT", "/v1/a", 405},
      {"POST", "/v1/a/1", 405},
      {"HEAD", "/v1/a", 405},
      {"BREW", "/v1/a", 501},
      {"BREW", "/nowhere", 501},
      {"OPTIONS", "/nowhere", 404},
      {"POST", "/status", 405},
      {"GET", "/v1/a/", 400},
      {"GET", "/v1/a/..", 400},
      {"GET", "/v1/a/%2e%2E", 400},
      {"GET", "/v1/a/1?x=1", 400},
      {"GET", "/v1/a/1?key=1", 400},
      {"GET", "/v1/a?keys=1", 400},
      {"GET", "/v1/a?key=1&key=2", 400},
      {"GET", "/v1/a/1?minVersion=3", 400},
  };
  for (const auto& [method, target, expected] : cases) {
    EXPECT_EQ(status(head(method, target)), expected) << method << " " << target;
  }
}

TEST(Routes, OptionsTellsTheMethods) {
  const auto allow = [](std::string_view target) {
    const auto found = find_route(head("OPTIONS", target), {kLoopback, {}});
    const auto& answer = std::get<Answer>(found);
    EXPECT_EQ(answer.status, 204u) << target;
    return answer.allow;
  };
  EXPECT_EQ(allow("*"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  EXPECT_EQ(allow("/v1/a"), "POST, OPTIONS");
  EXPECT_EQ(allow("/v1/a/1"), "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
  EXPECT_EQ(allow("/v1/a?key=1"), "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
  EXPECT_EQ(allow("/metrics"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(route(head("HEAD", "/v1/a/1")).operation, Operation::kRead);
  http::Request with_body = head("OPTIONS", "*");
  with_body.content_length = 1;
  EXPECT_EQ(status(with_body), 413u);
}

TEST(Routes, OnlyJsonIsTaken) {
  for (const char* good :
       {"application/json", "Application/JSON ; charset=UTF-8", "application/json;charset=\"utf-8\""}) {
    EXPECT_TRUE(is_json(good)) << good;
  }
  for (const char* bad :
       {"", "text/plain", "application/json; charset=latin1", "application/jsonx", "application/problem+json",
        "multipart/form-data", "text/plain; application/json"}) {
    EXPECT_FALSE(is_json(bad)) << bad;
  }
  for (const char* method : {"POST", "PUT", "PATCH"}) {
    http::Request request = head(method, method == std::string_view("POST") ? "/v1/a" : "/v1/a/1");
    EXPECT_EQ(status(request), 200u);
    request.content_type = "text/plain";
    EXPECT_EQ(status(request), 415u);
    request.content_type = {};
    EXPECT_EQ(status(request), 415u);
  }
  http::Request request = head("DELETE", "/v1/a/1");
  request.content_type = {};
  EXPECT_EQ(status(request), 200u);
  request.content_length = 1;
  EXPECT_EQ(status(request), 413u);
  request = head("GET", "/status");
  request.is_chunked = true;
  EXPECT_EQ(status(request), 413u);
}

}  // namespace
}  // namespace ringside::writer
