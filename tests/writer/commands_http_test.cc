// The writer's HTTP side as a client meets it: access, limits, connections, pages.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>

#include "tests/writer/commands_fixture.h"

namespace ringside::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class CommandHttp : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<MariadbServer>();
    server_->sql_all({"CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)",
                      "CREATE TABLE shop.odd (`k` VARCHAR(10) COLLATE utf8mb4_bin PRIMARY KEY)"});
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override { server_->sql_all({"DELETE FROM shop.t", "DELETE FROM shop.odd"}); }

  static std::unique_ptr<MariadbServer> server_;
};
std::unique_ptr<MariadbServer> CommandHttp::server_;

TEST_F(CommandHttp, KeepsConnectionsAndAnswersPipelinedRequestsInOrder) {
  CommandSide side(server_->config("shop"));
  HttpClient client = side.client();
  std::string pipelined;
  for (int i = 1; i <= 20; ++i) {
    const std::string body = fmt::format(R"({{"v":{}}})", i);
    pipelined += fmt::format(
        "PUT /v1/t/{} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n{}GET /v1/t/{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        i, body.size(), body, i);
  }
  client.send(pipelined);
  for (int i = 1; i <= 20; ++i) {
    EXPECT_EQ(client.receive().status, 201u);
    EXPECT_EQ(client.receive().body, fmt::format(R"({{"id":{},"v":{}}})", i, i));
  }
  const HttpAnswer last = client.request("GET", "/v1/t/1", {}, "Connection: close\r\n");
  EXPECT_EQ(last.headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed());
}

TEST_F(CommandHttp, TakesChunkedBodiesAndExpectations) {
  CommandSide side(server_->config("shop"));
  HttpClient client = side.client();
  client.send(
      "POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"id\r\n5\r\n\":1 }\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive().status, 201u);
  client.send(
      "POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 8\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100u);
  client.send(R"({"id":2})");
  EXPECT_EQ(client.receive().status, 201u);
  client.send(
      "POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 415u) << "refused before the body is asked for";
  EXPECT_TRUE(client.is_closed());
}

TEST_F(CommandHttp, OddKeysGoIntoTheQuery) {
  CommandSide side(server_->config("shop"));
  for (const char* key : {"", "..", ".", "a+b%2B"}) {
    const std::string target = fmt::format("/v1/odd?key={}", key);
    EXPECT_EQ(side.request("PUT", target, "{}").status, 201u) << key;
    EXPECT_EQ(side.request("GET", target).status, 200u) << key;
  }
  EXPECT_EQ(server_->query_value("SELECT GROUP_CONCAT(k ORDER BY k SEPARATOR '|') FROM shop.odd"),
            "|.|..|a b+");
}

TEST_F(CommandHttp, RefusesWithAReasonAndClosesWhereItMust) {
  CommandSide side(server_->config("shop"), [](WriterConfig& config) { config.body_limit_bytes = 1024; });
  const std::string big(2000, 'x');
  const std::tuple<std::string, unsigned, bool> cases[] = {
      {"GET /v1/t/1 HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, false},
      {"GET /v1/t/1 HTTP/1.1\r\nHost:\r\n\r\n", 400, false},
      {"GET /v1/t/1 HTTP/1.1\r\n\r\n", 400, true},
      {"GET /v1/t/1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, true},
      {"GET http://evil.example/v1/t/1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 421, false},
      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nGET ", 413, true},
      {"BREW /v1/t HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, false},
      {"PUT /v1/t HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, false},
      {"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, false},
      {"nonsense\r\n\r\n", 400, true},
      {"GET /v1/t/1 HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, true},
      {"GET /v1/t/1 HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(9000, 'x') + "\r\n\r\n", 431, true},
      {"POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
       "2000\r\n\r\n" +
           big,
       413, true},
      {"POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
       "chunked\r\n\r\n"
       "7d0\r\n" +
           big + "\r\n0\r\n\r\n",
       413, true},
      {"POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
       "Transfer-Encoding: chunked\r\n\r\n{}",
       400, true},
      {"POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n{\"id\":1}", 415, true},
  };
  for (const auto& [bytes, status, closes] : cases) {
    HttpClient client = side.client();
    client.send(bytes);
    const HttpAnswer answer = client.receive();
    EXPECT_EQ(answer.status, status) << bytes.substr(0, 80) << answer.body;
    EXPECT_EQ(answer.headers.at("content-type"), "application/problem+json");
    EXPECT_EQ(answer.headers.contains("connection"), closes) << bytes.substr(0, 80);
    if (closes) {
      EXPECT_TRUE(client.is_closed());
    } else {
      EXPECT_EQ(client.request("GET", "/healthz").status, 200u) << "the connection goes on";
    }
  }
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.t"), "0");
}

TEST_F(CommandHttp, ATokenIsAskedFor) {
  CommandSide side(server_->config("shop"),
                   [](WriterConfig& config) { config.tokens.emplace_back("0123456789abcdef"); });
  const HttpAnswer without = side.request("PUT", "/v1/t/1", R"({"v":1})");
  EXPECT_EQ(without.status, 401u);
  EXPECT_EQ(without.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(side.request("PUT", "/v1/t/1", R"({"v":1})", "Authorization: Bearer 0123456789abcdeF\r\n").status,
            401u);
  EXPECT_EQ(side.request("PUT", "/v1/t/1", R"({"v":1})", "Authorization: Bearer 0123456789abcdef\r\n").status,
            201u);
  EXPECT_EQ(side.request("GET", "/metrics").status, 401u);
  EXPECT_EQ(side.request("GET", "/readyz").status, 200u);
}

TEST_F(CommandHttp, OneConnectionTooManyIsToldSo) {
  writer::HttpLimits limits;
  limits.connections = 2;
  CommandSide side(server_->config("shop"), {}, limits);
  HttpClient first = side.client();
  HttpClient second = side.client();
  EXPECT_EQ(first.request("GET", "/healthz").status, 200u);
  EXPECT_EQ(second.request("GET", "/healthz").status, 200u);
  HttpClient third = side.client();
  const HttpAnswer refused = third.receive();
  EXPECT_EQ(refused.status, 503u);
  EXPECT_THAT(refused.body, HasSubstr("too-many-connections"));
  EXPECT_TRUE(third.is_closed());
  EXPECT_EQ(first.request("GET", "/healthz").status, 200u);
}

TEST_F(CommandHttp, SlowAndSilentClientsAreLetGo) {
  writer::HttpLimits limits;
  limits.idle = 20ms;
  limits.head = 20ms;
  limits.body = 20ms;
  CommandSide side(server_->config("shop"), {}, limits);
  HttpClient silent = side.client();
  EXPECT_TRUE(silent.is_closed());
  HttpClient slow_head = side.client();
  slow_head.send("GET /healthz HTT");
  EXPECT_EQ(slow_head.receive().status, 408u);
  EXPECT_TRUE(slow_head.is_closed());
  HttpClient slow_body = side.client();
  slow_body.send(
      "POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "8\r\n\r\n{");
  EXPECT_EQ(slow_body.receive().status, 408u);
  EXPECT_TRUE(slow_body.is_closed());
  EXPECT_EQ(side.request("GET", "/healthz").status, 200u);
}

// However slowly bytes come, it is the whole that has a limit: a client that sends one byte now and then is no exception.
TEST_F(CommandHttp, AByteNowAndThenDoesNotKeepARequestAlive) {
  writer::HttpLimits limits;
  limits.head = 50ms;
  limits.body = 50ms;
  CommandSide side(server_->config("shop"), {}, limits);
  for (const std::string& begun :
       {std::string("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "),
        std::string(
            "POST /v1/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            "1000000\r\n\r\n")}) {
    HttpClient client = side.client();
    client.send(begun);
    while (!client.has_bytes(1ms)) client.send("x");
    EXPECT_EQ(client.receive().status, 408u);
  }
}

TEST_F(CommandHttp, BodiesUnderWayHaveALimitTogether) {
  writer::HttpLimits limits;
  limits.bodies_bytes = 4096;
  CommandSide side(
      server_->config("shop"), [](WriterConfig& config) { config.body_limit_bytes = 2048; }, limits);
  const std::string head =
      "PUT /v1/t/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "2000\r\n\r\n";
  HttpClient first = side.client();
  HttpClient second = side.client();
  for (HttpClient* client : {&first, &second}) client->send(head + "{" + std::string(1998, ' '));
  while (side.request("GET", "/status").body.find("\"body_bytes\":3998}") == std::string::npos) {
  }
  HttpClient third = side.client();
  third.send(head + std::string(1999, ' '));
  const HttpAnswer refused = third.receive();
  EXPECT_TRUE(third.is_closed());
  EXPECT_EQ(refused.status, 503u);
  EXPECT_THAT(refused.body, HasSubstr("busy"));
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(side.request("GET", "/healthz").status, 200u) << "what needs no body is answered";
  for (HttpClient* client : {&first, &second}) {
    client->send("}");
    EXPECT_NE(client->receive().status, 503u) << "who has room keeps it";
  }
  EXPECT_EQ(side.request("PUT", "/v1/t/2", "{\"v\":1" + std::string(1900, ' ') + "}").status, 201u)
      << "and it is given back";
}

TEST_F(CommandHttp, AClientThatHasFinishedSendingIsAnswered) {
  CommandSide side(server_->config("shop"));
  HttpClient client = side.client();
  client.send(
      "PUT /v1/t/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n"
      "{\"v\":1}GET /v1/t/1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea");
  client.finish_sending();
  EXPECT_EQ(client.receive().status, 201u);
  EXPECT_EQ(client.receive().body, R"({"id":1,"v":1})");
  EXPECT_TRUE(client.is_closed()) << "half a request is none";
}

TEST_F(CommandHttp, SpeaksHttp10AndHeadAndOptions) {
  CommandSide side(server_->config("shop"));
  EXPECT_EQ(side.request("PUT", "/v1/t/1", R"({"v":1})").status, 201u);
  HttpClient old = side.client();
  old.send("GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: Keep-Alive\r\n\r\n");
  EXPECT_EQ(old.receive().headers.at("connection"), "keep-alive");
  old.send("GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(old.receive().headers.at("connection"), "close");
  EXPECT_TRUE(old.is_closed());
  HttpClient client = side.client();
  const HttpAnswer head = client.request("HEAD", "/v1/t/1");
  EXPECT_EQ(head.status, 200u);
  EXPECT_EQ(head.headers.at("content-length"), "14");
  client.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const HttpAnswer options = client.receive(true);
  EXPECT_EQ(options.status, 204u);
  EXPECT_EQ(options.headers.at("allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  EXPECT_FALSE(options.headers.contains("content-length"));
  EXPECT_EQ(client.request("GET", "/v1/t/1").body, R"({"id":1,"v":1})") << "the connection goes on";
}

TEST_F(CommandHttp, PagesTellWhatIsGoingOn) {
  CommandSide side(server_->config("shop"));
  EXPECT_EQ(side.request("PUT", "/v1/t/1", R"({"v":1})").status, 201u);
  EXPECT_EQ(side.request("PATCH", "/v1/t/9", R"({"v":1})").status, 404u);
  EXPECT_EQ(side.request("GET", "/nowhere").status, 404u);
  const HttpAnswer metrics = side.request("GET", "/metrics");
  EXPECT_EQ(metrics.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line :
       {"ringside_writer_commands_total{table=\"t\",operation=\"put\",result=\"version_late\"} 1\n",
        "ringside_writer_commands_total{table=\"t\",operation=\"patch\",result=\"refused\"} 1\n",
        "ringside_writer_requests_refused_total{status=\"404\"} 1\n",
        "ringside_writer_command_duration_seconds_count{operation=\"put\"} 1\n",
        "ringside_writer_sessions{state=\"configured\"} 4\n", "ringside_writer_commands_queued 0\n",
        "ringside_testing 1\n"}) {
    EXPECT_THAT(metrics.body, HasSubstr(line));
  }
  const std::string status = side.request("GET", "/status").body;
  EXPECT_THAT(status, HasSubstr(R"({"commands":{"sessions":4,)"));
  EXPECT_THAT(status, HasSubstr(R"("capture":{"state":"testing"}})"));
  EXPECT_EQ(side.request("GET", "/readyz").status, 200u);
  const HttpAnswer head = side.request("HEAD", "/readyz");
  EXPECT_EQ(head.status, 200u);
  EXPECT_EQ(head.headers.at("content-length"), "11");
  side.status.ready = {false, "reading the snapshot"};
  const HttpAnswer not_ready = side.request("GET", "/readyz");
  EXPECT_EQ(not_ready.status, 503u);
  EXPECT_THAT(not_ready.body, HasSubstr("reading the snapshot"));
}

TEST_F(CommandHttp, CommandsBeforeTheSchemaIsKnownAreToldToComeAgain) {
  CommandSide side(server_->config("shop"));
  side.schema.set(nullptr);
  const HttpAnswer answer = side.request("PUT", "/v1/t/1", R"({"v":1})");
  EXPECT_EQ(answer.status, 503u);
  EXPECT_THAT(answer.body, HasSubstr("starting"));
}

TEST_F(CommandHttp, APortInUseIsAnErrorThatNamesTheSetting) {
  CommandSide side(server_->config("shop"));
  WriterConfig config;
  config.listen = {"127.0.0.1", side.port(), false};
  auto second = writer::HttpServer::start(config, {*side.service, side.schema, side.tracker, side.status});
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("writer.listen"));
}

}  // namespace
}  // namespace ringside::testing
