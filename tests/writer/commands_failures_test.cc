// Commands under locks, killed sessions, lost connections and a server that goes away.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/writer/commands_fixture.h"

namespace ringside::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class CommandFailures : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<MariadbServer>();
    server_->sql_all({
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
        "CREATE TABLE shop.left_side (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
        "CREATE TABLE shop.right_side (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
        "CREATE TABLE shop.counters (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0)",
        "INSERT INTO shop.counters (id) VALUES (1), (2)",
        // Two directions over the same two rows: deadlocks.
        "CREATE TRIGGER shop.left_counts AFTER UPDATE ON shop.left_side FOR EACH ROW BEGIN UPDATE "
        "shop.counters SET n = "
        "n + 1 WHERE id = 1; UPDATE shop.counters SET n = n + 1 WHERE id = 2; END",
        "CREATE TRIGGER shop.right_counts AFTER UPDATE ON shop.right_side FOR EACH ROW BEGIN UPDATE "
        "shop.counters SET n "
        "= n + 1 WHERE id = 2; UPDATE shop.counters SET n = n + 1 WHERE id = 1; END",
    });
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    server_->sql_all({"DELETE FROM shop.t", "INSERT INTO shop.t VALUES (1, 0), (2, 0)"});
  }

  // Another session's transaction that holds row 1 of t until it goes.
  class Holder {
   public:
    explicit Holder(const std::string& change = "UPDATE shop.t SET v = 100 WHERE id = 1")
        : session_(config()) {
      check(session_.connect());
      check(session_.run(change));
    }
    ~Holder() { session_.rollback(); }
    void commit() { check(session_.commit()); }

   private:
    static MysqlConfig config() { return server_->config("shop"); }
    static void check(const writer::DatabaseStatus& status) {
      if (status) throw std::runtime_error(status->message);
    }
    writer::Session session_;
  };

  // The id of the connection whose statement is waiting; polls until there is one.
  static std::string waiting_connection(std::string_view statement) {
    for (;;) {
      const auto rows = server_->query(fmt::format(
          "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '{}%' AND COMMAND = 'Execute' AND "
          "TIME_MS > 1",
          statement));
      if (!rows.empty()) return rows[0][0];
    }
  }
  static std::string value(int id = 1) {
    return server_->query_value(fmt::format("SELECT v FROM shop.t WHERE id = {}", id));
  }

  static std::unique_ptr<MariadbServer> server_;
};
std::unique_ptr<MariadbServer> CommandFailures::server_;

TEST_F(CommandFailures, ALockedRowIsWaitedForThenRefused) {
  CommandSide side(server_->config("shop"));
  {
    const Holder holder;
    const HttpAnswer answer = side.request("PATCH", "/v1/t/1", R"({"v":1})");
    EXPECT_EQ(answer.status, 503u) << answer.body;
    EXPECT_THAT(answer.body, HasSubstr("row-locked"));
    EXPECT_THAT(answer.body, HasSubstr(R"("mysql_error":1205)"));
    EXPECT_EQ(answer.headers.at("retry-after"), "1");
  }
  EXPECT_EQ(side.request("PATCH", "/v1/t/1", R"({"v":1})").status, 200u);
}

TEST_F(CommandFailures, TheFreshReadWaitsForTheTransactionBeforeIt) {
  CommandSide side(server_->config("shop"));
  Holder holder;
  auto answer = std::async(std::launch::async, [&] { return side.request("GET", "/v1/t/1"); });
  waiting_connection("SELECT `id`");
  holder.commit();
  EXPECT_EQ(answer.get().body, R"({"id":1,"v":100})");
}

TEST_F(CommandFailures, SessionsKilledWhileIdleAreReplaced) {
  CommandSide side(server_->config("shop"));
  EXPECT_EQ(side.request("PATCH", "/v1/t/1", R"({"v":1})").status, 200u);
  const std::string own = server_->query_value("SELECT CONNECTION_ID()");
  const auto rows = server_->query("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = 'shop'");
  ASSERT_FALSE(rows.empty());
  for (const auto& row : rows) {
    if (row[0] != own) server_->sql("KILL CONNECTION " + row[0]);
  }
  for (int i = 0; i < 8; ++i) {
    const HttpAnswer answer = side.request("PATCH", "/v1/t/1", fmt::format(R"({{"v":{}}})", i + 2));
    EXPECT_EQ(answer.status, 200u) << answer.body;
  }
  EXPECT_EQ(value(), "9");
}

TEST_F(CommandFailures, ASessionKilledWithinItsStatementTriesAgain) {
  CommandSide side(server_->config("shop"));
  server_->sql("DELETE FROM ringside.commands");
  for (const char* kill : {"KILL CONNECTION ", "KILL QUERY "}) {
    auto holder = std::make_unique<Holder>();
    auto answer =
        std::async(std::launch::async, [&] { return side.request("PATCH", "/v1/t/1", R"({"v":7})"); });
    server_->sql(kill + waiting_connection("UPDATE `shop`.`t`"));
    holder.reset();
    EXPECT_EQ(answer.get().status, 200u) << kill;
    EXPECT_EQ(value(), "7");
    EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM ringside.commands"), "1")
        << "one transaction, one marker";
    server_->sql_all({"DELETE FROM ringside.commands", "UPDATE shop.t SET v = 0"});
  }
}

TEST_F(CommandFailures, ASessionKilledAgainAndAgainIsUnavailable) {
  CommandSide side(server_->config("shop"));
  const Holder holder;
  auto answer =
      std::async(std::launch::async, [&] { return side.request("PATCH", "/v1/t/1", R"({"v":7})"); });
  std::set<std::string> killed;
  while (killed.size() < 3) {
    const std::string id = waiting_connection("UPDATE `shop`.`t`");
    if (killed.insert(id).second) server_->sql("KILL CONNECTION " + id);
  }
  const HttpAnswer refused = answer.get();
  EXPECT_EQ(refused.status, 503u) << refused.body;
  EXPECT_THAT(refused.body, HasSubstr("nothing was changed"));
}

// --- the connection lost in COMMIT

class CommandCommits : public CommandFailures {
 protected:
  void SetUp() override {
    CommandFailures::SetUp();
    server_->sql("CREATE DATABASE IF NOT EXISTS ringside");
    proxy_ =
        std::make_unique<CommitProxy>((server_->directory() / "commit.sock").string(), server_->socket());
    MysqlConfig config = server_->config("shop");
    config.socket = proxy_->path();
    side_ = std::make_unique<CommandSide>(config, [](WriterConfig& tuned) { tuned.sessions = 1; });
  }
  void TearDown() override {
    side_.reset();
    proxy_.reset();
  }
  std::unique_ptr<CommitProxy> proxy_;
  std::unique_ptr<CommandSide> side_;
};

TEST_F(CommandCommits, LostBeforeTheServerSawItChangedNothing) {
  proxy_->cut_next_commit(CommitProxy::Cut::kBeforeCommit);
  const HttpAnswer answer = side_->request("PATCH", "/v1/t/1", R"({"v":5})");
  EXPECT_EQ(answer.status, 503u) << answer.body;
  EXPECT_THAT(answer.body, HasSubstr("rolled back"));
  EXPECT_EQ(proxy_->cuts(), 1);
  EXPECT_EQ(value(), "0");
  EXPECT_EQ(side_->request("PATCH", "/v1/t/1", R"({"v":6})").status, 200u);
}

TEST_F(CommandCommits, LostAfterTheServerCommittedIsASuccess) {
  server_->sql("DELETE FROM ringside.commands");
  proxy_->cut_next_commit(CommitProxy::Cut::kAfterCommit);
  const HttpAnswer answer = side_->request("POST", "/v1/t", R"({"id":3,"v":5})");
  EXPECT_EQ(answer.status, 201u) << answer.body;
  EXPECT_THAT(answer.body, HasSubstr(R"("key":3)"));
  EXPECT_EQ(proxy_->cuts(), 1);
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM ringside.commands"), "1");
  EXPECT_EQ(value(3), "5");
}

TEST_F(CommandCommits, UnknownWhenNeitherServerNorStreamCanTell) {
  proxy_->cut_next_commit(CommitProxy::Cut::kAfterCommit, true);
  const HttpAnswer answer = side_->request("PATCH", "/v1/t/1", R"({"v":5})");
  EXPECT_EQ(answer.status, 504u) << answer.body;
  EXPECT_THAT(answer.body, HasSubstr("outcome-unknown"));
  // The statement in the answer tells.
  const std::string id =
      server_->query_value("SELECT LOWER(HEX(id)) FROM ringside.commands ORDER BY created DESC LIMIT 1");
  EXPECT_THAT(answer.body, HasSubstr("UNHEX('" + id + "')"));
  const HttpAnswer down = side_->request("PATCH", "/v1/t/1", R"({"v":6})");
  EXPECT_EQ(down.status, 503u) << down.body;
  EXPECT_THAT(down.body, HasSubstr("database-unavailable"));
  EXPECT_EQ(value(), "5");
  proxy_->heal();
}

TEST_F(CommandCommits, TheStreamSettlesItWhenTheServerCannotBeReached) {
  server_->sql("DELETE FROM ringside.commands");
  proxy_->cut_next_commit(CommitProxy::Cut::kAfterCommit, true);
  auto answer =
      std::async(std::launch::async, [&] { return side_->request("PATCH", "/v1/t/1", R"({"v":5})"); });
  std::vector<std::vector<std::string>> rows;
  while (rows.empty()) rows = server_->query("SELECT id FROM ringside.commands");
  side_->tracker.committed(as_bytes(rows[0][0]), Version(77), "0-1-77");
  const HttpAnswer settled = answer.get();
  EXPECT_EQ(settled.status, 200u) << settled.body;
  EXPECT_THAT(settled.body, HasSubstr(R"("version":77,"gtid":"0-1-77")"));
  proxy_->heal();
}

// --- the version

TEST_F(CommandFailures, AnAnswerWaitsForItsMarker) {
  CommandSide side(server_->config("shop"), [](WriterConfig& config) { config.version_wait = 60s; });
  server_->sql("DELETE FROM ringside.commands");
  side.tracker.set_stream_state(writer::StreamState::kFollowing);
  auto answer =
      std::async(std::launch::async, [&] { return side.request("PATCH", "/v1/t/1", R"({"v":5})"); });
  std::vector<std::vector<std::string>> rows;
  while (rows.empty()) rows = server_->query("SELECT id FROM ringside.commands");
  side.tracker.committed(as_bytes(rows[0][0]), Version(42), "0-1-42");
  EXPECT_EQ(answer.get().body, R"({"success":true,"version":42,"gtid":"0-1-42","key":1})");
  EXPECT_EQ(side.tracker.waiting(), 0u);
}

TEST_F(CommandFailures, ALateStreamIsNotWaitedForBeyondTheLimit) {
  CommandSide side(server_->config("shop"), [](WriterConfig& config) { config.version_wait = 20ms; });
  side.tracker.set_stream_state(writer::StreamState::kFollowing);
  EXPECT_EQ(side.request("PATCH", "/v1/t/1", R"({"v":5})").body,
            R"({"success":true,"version":null,"gtid":null,"stream":"late","key":1})");
  EXPECT_EQ(side.tracker.waiting(), 0u);
  side.tracker.set_stream_state(writer::StreamState::kStopped);
  EXPECT_THAT(side.request("PATCH", "/v1/t/1", R"({"v":5})").body, HasSubstr(R"("stream":"stopped")"));
}

// --- many at once

TEST_F(CommandFailures, SixteenClientsLoseAndDoubleNothing) {
  constexpr int kClients = 16;
  constexpr int kCommands = 40;
  server_->sql_all({"DELETE FROM ringside.commands", "UPDATE shop.counters SET n = 0",
                    "DELETE FROM shop.left_side", "DELETE FROM shop.right_side",
                    "INSERT INTO shop.left_side SELECT seq, 0 FROM shop.seq_1_to_16",
                    "INSERT INTO shop.right_side SELECT seq, 0 FROM shop.seq_1_to_16"});
  CommandSide side(server_->config("shop"), [](WriterConfig& config) { config.sessions = 8; });
  std::atomic<int> done{0};
  std::atomic<int> unavailable{0};
  std::atomic<int> other{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      HttpClient client = side.client();
      for (int i = 1; i <= kCommands; ++i) {
        const std::string target =
            fmt::format("/v1/{}/{}", (c + i) % 2 == 0 ? "left_side" : "right_side", c + 1);
        const unsigned status = client.request("PATCH", target, fmt::format(R"({{"v":{}}})", i)).status;
        (status == 200 ? done : status == 503 ? unavailable : other)++;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(other.load(), 0);
  EXPECT_EQ(done.load() + unavailable.load(), kClients * kCommands);
  const std::string expected = std::to_string(done.load());
  EXPECT_EQ(server_->query_value("SELECT n FROM shop.counters WHERE id = 1"), expected);
  EXPECT_EQ(server_->query_value("SELECT n FROM shop.counters WHERE id = 2"), expected);
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM ringside.commands"), expected);
  EXPECT_GT(
      std::stoi(server_->query_value("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE "
                                     "VARIABLE_NAME = 'Innodb_deadlocks'")),
      0)
      << "this test is made to meet deadlocks";
}

TEST_F(CommandFailures, ConcurrentPutsOfOneKeyCreateItOnce) {
  CommandSide side(server_->config("shop"), [](WriterConfig& config) { config.sessions = 8; });
  for (int round = 10; round < 30; ++round) {
    std::atomic<int> created{0};
    std::atomic<int> overwritten{0};
    std::vector<std::thread> clients;
    for (int c = 0; c < 8; ++c) {
      clients.emplace_back([&, c] {
        const HttpAnswer answer =
            side.request("PUT", fmt::format("/v1/t/{}", round), fmt::format(R"({{"v":{}}})", c));
        EXPECT_TRUE(answer.status == 200 || answer.status == 201) << answer.body;
        (answer.status == 201 ? created : overwritten)++;
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(created.load(), 1);
    EXPECT_EQ(overwritten.load(), 7);
  }
}

TEST_F(CommandFailures, AFullQueueRefusesAtOnce) {
  CommandSide side(server_->config("shop"), [](WriterConfig& config) {
    config.sessions = 1;
    config.queue = 1;
  });
  auto holder = std::make_unique<Holder>();
  auto first = std::async(std::launch::async, [&] { return side.request("PATCH", "/v1/t/1", R"({"v":1})"); });
  waiting_connection("UPDATE `shop`.`t`");
  auto second =
      std::async(std::launch::async, [&] { return side.request("PATCH", "/v1/t/2", R"({"v":2})"); });
  while (side.request("GET", "/status").body.find(R"("queued":1)") == std::string::npos) {
  }
  const HttpAnswer third = side.request("PATCH", "/v1/t/2", R"({"v":3})");
  EXPECT_EQ(third.status, 503u) << third.body;
  EXPECT_THAT(third.body, HasSubstr("busy"));
  EXPECT_EQ(third.headers.at("retry-after"), "1");
  holder.reset();
  EXPECT_EQ(first.get().status, 200u);
  EXPECT_EQ(second.get().status, 200u);
  EXPECT_EQ(value(2), "2");
}

TEST_F(CommandFailures, AClientThatHangsUpLeavesItsCommandWhole) {
  server_->sql("DELETE FROM ringside.commands");
  CommandSide side(server_->config("shop"));
  auto holder = std::make_unique<Holder>();
  HttpClient client = side.client();
  client.send(
      "PATCH /v1/t/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "7\r\n\r\n"
      R"({"v":8})");
  waiting_connection("UPDATE `shop`.`t`");
  client.hang_up();
  holder.reset();
  while (server_->query_value("SELECT COUNT(*) FROM ringside.commands") == "0") {
  }
  EXPECT_EQ(value(), "8");
  EXPECT_EQ(side.request("GET", "/v1/t/1").body, R"({"id":1,"v":8})") << "the server goes on";
}

TEST_F(CommandFailures, StoppingAnswersWhatIsUnderWay) {
  auto side = std::make_unique<CommandSide>(server_->config("shop"));
  auto holder = std::make_unique<Holder>();
  HttpClient idle = side->client();
  HttpClient busy = side->client();
  EXPECT_EQ(idle.request("GET", "/healthz").status, 200u);
  auto answer =
      std::async(std::launch::async, [&] { return busy.request("PATCH", "/v1/t/1", R"({"v":9})"); });
  waiting_connection("UPDATE `shop`.`t`");
  std::thread stopper([&] { side->http->stop(); });
  EXPECT_TRUE(idle.is_closed());
  holder.reset();
  const HttpAnswer last = answer.get();
  EXPECT_EQ(last.status, 200u) << last.body;
  EXPECT_EQ(last.headers.at("connection"), "close");
  stopper.join();
  EXPECT_TRUE(busy.is_closed());
  EXPECT_THROW(side->client(), std::runtime_error);
  EXPECT_EQ(value(), "9");
}

TEST_F(CommandFailures, StoppingIsBounded) {
  writer::HttpLimits limits;
  limits.drain = 10ms;
  CommandSide side(server_->config("shop"), {}, limits);
  auto holder = std::make_unique<Holder>();
  HttpClient client = side.client();
  client.send("DELETE /v1/t/1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  waiting_connection("DELETE FROM `shop`.`t`");
  std::thread stopper([&] { side.http->stop(); });
  EXPECT_TRUE(client.is_closed()) << "the connection is given up, the command is not";
  holder.reset();
  stopper.join();
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.t WHERE id = 1"), "0");
}

TEST_F(CommandFailures, AServerThatIsDownIsSaidAndComesBack) {
  MariadbServer server;
  server.sql_all({"CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)"});
  CommandSide side(server.config("shop"));
  EXPECT_EQ(side.request("POST", "/v1/t", R"({"id":1})").status, 201u);
  EXPECT_EQ(side.request("GET", "/readyz").status, 200u);
  server.kill();
  const HttpAnswer down = side.request("POST", "/v1/t", R"({"id":2})");
  EXPECT_EQ(down.status, 503u) << down.body;
  EXPECT_THAT(down.body, HasSubstr("database-unavailable"));
  EXPECT_EQ(down.headers.at("retry-after"), "1");
  EXPECT_EQ(side.request("GET", "/healthz").status, 200u);
  server.start();
  HttpAnswer back;
  do {
    back = side.request("PUT", "/v1/t/2", R"({"v":2})");
  } while (back.status == 503);
  EXPECT_EQ(back.status, 201u) << back.body;
  while (side.request("GET", "/readyz").status != 200) {
  }
}

}  // namespace
}  // namespace ringside::testing
