// The load generator against the responder, both in this process, over loopback.
#include "bench/load.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "bench/process_cpu.h"
#include "bench/report.h"
#include "bench/responder.h"

namespace ringside::bench {
namespace {

// A responder on a thread of its own for as long as it lives.
class RunningResponder {
 public:
  explicit RunningResponder(std::size_t response_bytes, std::size_t receive_buffer_bytes = 4096) {
    ResponderOptions options;
    options.response_bytes = response_bytes;
    options.receive_buffer_bytes = receive_buffer_bytes;
    auto created = Responder::create(options);
    if (!created) throw std::runtime_error(created.error().message);
    responder_ = std::move(created).value();
    thread_ = std::thread([this] { result_ = responder_->run(); });
  }
  ~RunningResponder() {
    if (thread_.joinable()) stop();
  }
  std::uint64_t stop() {
    responder_->stop();
    thread_.join();
    EXPECT_TRUE(result_) << result_.error().message;
    return responder_->requests();
  }
  RequestPlan plan(const std::string& path = "/v1/products/{key}") const {
    return *RequestPlan::make(fmt::format("http://127.0.0.1:{}{}", responder_->port(), path), {},
                              *KeySet::parse("1..63000"), "");
  }

 private:
  std::unique_ptr<Responder> responder_;
  std::thread thread_;
  Result<void> result_;
};

LoadOptions short_run(unsigned connections, unsigned pipeline = 1) {
  LoadOptions options;
  options.connections = connections;
  options.pipeline = pipeline;
  options.measure_ns = 100'000'000;
  return options;
}

TEST(Load, CountsEveryAnswerOfTheResponder) {
  for (const unsigned connections : {1u, 16u, 300u}) {
    for (const unsigned pipeline : {1u, 7u}) {
      RunningResponder responder(333);
      const auto report = run_load(responder.plan(), short_run(connections, pipeline));
      ASSERT_TRUE(report) << report.error().message;
      const std::uint64_t served = responder.stop();
      EXPECT_GT(report->requests, 0u);
      EXPECT_EQ(report->errors(), 0u) << report->first_error;
      EXPECT_EQ(report->bytes, report->requests * 333);
      EXPECT_EQ(report->latency_ns.count(), report->requests);
      // Whatever was in flight when the window closed may have been served and not counted.
      EXPECT_GE(served, report->requests);
      EXPECT_LE(served, report->requests + std::uint64_t{connections} * pipeline);
    }
  }
}

TEST(Load, AnswersLargerThanTheSocketBuffersArriveWhole) {
  RunningResponder responder(1'000'000, 64);
  const auto report = run_load(responder.plan(), short_run(3, 4));
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->requests, 0u);
  EXPECT_EQ(report->errors(), 0u) << report->first_error;
  EXPECT_EQ(report->bytes, report->requests * 1'000'000);
}

TEST(Load, OpenLoopSendsAtTheRateAskedFor) {
  RunningResponder responder(200);
  LoadOptions options = short_run(8);
  options.rate = 2000;
  options.measure_ns = 200'000'000;
  const auto report = run_load(responder.plan(), options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->errors(), 0u) << report->first_error;
  // Never more than was intended, and what was not sent is owned up to.
  const double intended = 2000 * report->seconds;
  EXPECT_LE(static_cast<double>(report->requests), intended + 2);
  EXPECT_GE(static_cast<double>(report->requests + report->overdue + options.connections), intended - 2);
}

TEST(Load, ShortBodiesAreErrors) {
  RunningResponder responder(200);
  LoadOptions options = short_run(1);
  options.min_body_bytes = 10'000;
  const auto report = run_load(responder.plan(), options);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->short_bodies, report->requests);
  EXPECT_NE(report->first_error, "");
  EXPECT_NE(to_json(*report, options).find("\"short_bodies\":" + std::to_string(report->requests)),
            std::string::npos);
}

TEST(Load, ChargesTheServersProcessForItsCpu) {
  RunningResponder responder(200);
  LoadOptions options = short_run(4);
  options.server_pids = {::getpid()};
  const auto report = run_load(responder.plan(), options);
  ASSERT_TRUE(report);
  // Both ends are this process here: its clock has at least what the client's thread used.
  EXPECT_GT(report->server_cpu_ns, 0u);
  options.server_pids = {0x7fffffff};
  const auto missing = run_load(responder.plan(), options);
  EXPECT_FALSE(missing);
}

// A server that does with each connection what the test says, one after the other.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::string answer) {
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, text = std::move(answer)] {
      const UniqueFd client(::accept(listener_.get(), nullptr, nullptr));
      char request[1024];
      if (::recv(client.get(), request, sizeof request, 0) > 0) {
        EXPECT_EQ(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
      }
      ::shutdown(client.get(), SHUT_WR);
      while (::recv(client.get(), request, sizeof request, 0) > 0) {
      }
    });
  }
  ~ScriptedServer() { thread_.join(); }
  std::string url() const { return fmt::format("http://127.0.0.1:{}/", port_); }

 private:
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST(Load, TellsWhyTheLastConnectionFailed) {
  const struct {
    std::string_view answer;
    std::string_view why;
  } cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "within an answer"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no HTTP/1.1 response"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
       "nobody asked for"},
      {"", "closed a connection"},
  };
  for (const auto& one : cases) {
    const ScriptedServer server{std::string(one.answer)};
    const auto report =
        run_load(*RequestPlan::make(server.url(), {}, *KeySet::parse("1..1"), ""), short_run(1));
    ASSERT_FALSE(report) << one.answer;
    EXPECT_NE(report.error().message.find(one.why), std::string::npos) << report.error().message;
  }
}

TEST(Load, OtherStatusesAreCountedAndFailTheRun) {
  const ScriptedServer server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
  const auto report =
      run_load(*RequestPlan::make(server.url(), {}, *KeySet::parse("1..1"), ""), short_run(1));
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("status 503"), std::string::npos) << report.error().message;
}

TEST(Load, RefusesWhatIsBeyondItsLimits) {
  const RequestPlan plan = *RequestPlan::make("http://127.0.0.1:9/", {}, *KeySet::parse("1..1"), "");
  EXPECT_FALSE(run_load(plan, short_run(0)));
  EXPECT_FALSE(run_load(plan, short_run(kMaxConnections + 1)));
  EXPECT_FALSE(run_load(plan, short_run(1, kMaxPipeline + 1)));
}

}  // namespace
}  // namespace ringside::bench
