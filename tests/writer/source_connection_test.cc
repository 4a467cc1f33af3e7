// Sessions: results, errors by kind and number, interruption, time-outs, TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "base/clock.h"
#include "tests/support/both_servers.h"
#include "tests/support/stalling_proxy.h"
#include "writer/source/binlog_stream.h"
#include "writer/source/connection.h"
#include "writer/source/source_clock.h"

namespace ringside::writer {
namespace {

using testing::BothServers;
using testing::DatabaseServer;
using ::testing::HasSubstr;
using testing::StallingProxy;

std::unique_ptr<Connection> open(const MysqlConfig& config, const ConnectionOptions& options = {}) {
  auto connection = Connection::open(config, options);
  if (!connection) {
    ADD_FAILURE() << connection.error().message;
    return nullptr;
  }
  return std::move(*connection);
}

class SourceConnection : public BothServers {};
RINGSIDE_ON_BOTH_SERVERS(SourceConnection);

TEST_P(SourceConnection, RowsHaveNullsBytesAndEmptyTexts) {
  auto connection = open(server().config("shop"));
  ASSERT_NE(connection, nullptr);
  const auto rows = connection->query("SELECT NULL, '', X'00ff00', 42 UNION ALL SELECT 1, 2, 3, 4");
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0], (SqlRow{std::nullopt, "", std::string("\0\xff\0", 3), "42"}));
  const auto none = connection->query_row("SELECT 1 FROM DUAL WHERE 1=0");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(connection->execute("DO 1"));
}

TEST_P(SourceConnection, TheSessionIsIndependentOfTheServersDefaults) {
  const std::string time_limit = is_mysql() ? "max_execution_time" : "max_statement_time";
  server().sql_all({"SET GLOBAL time_zone='+09:00'",
                    "SET GLOBAL sql_mode='ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH'",
                    "SET GLOBAL sql_select_limit=1", "SET GLOBAL " + time_limit + "=100"});
  auto connection = open(server().config("shop"));
  ASSERT_NE(connection, nullptr);
  const auto row = connection->query_row("SELECT @@time_zone, @@sql_mode, @@" + time_limit +
                                         "=0, @@character_set_results, @@autocommit");
  ASSERT_TRUE(row);
  EXPECT_EQ(*row, (SqlRow{"+00:00", "", "1", "utf8mb4", "1"}));
  EXPECT_EQ(connection->query("SELECT 1 UNION SELECT 2")->size(), 2u);
  ConnectionOptions raw;
  raw.raw_text = true;
  connection = open(server().config("shop"), raw);
  ASSERT_NE(connection, nullptr);
  EXPECT_EQ(*connection->query_row("SELECT _latin1 X'e9'"), (SqlRow{"\xe9"}));
  for (const std::string& name :
       {std::string("time_zone"), std::string("sql_mode"), std::string("sql_select_limit"), time_limit}) {
    server().sql("SET GLOBAL " + name + "=DEFAULT");
  }
}

TEST_P(SourceConnection, TheServersClockIsThisHosts) {
  auto connection = open(server().config("shop"));
  ASSERT_NE(connection, nullptr);
  const auto clock = measure_source_clock(*connection);
  ASSERT_TRUE(clock.has_value()) << clock.error().message;
  EXPECT_GT(clock->error_us, 0u);
  const auto off_by_us = [](const shm::SourceClock& measured) {
    return std::abs(measured.offset_us - wall_ahead_ns() / 1000);
  };
  // A moment goes by between the two looks at this host's clocks.
  EXPECT_LE(off_by_us(*clock), static_cast<std::int64_t>(clock->error_us) + 100'000);
  EXPECT_EQ(clock->commit_time_resolution_us, is_mysql() ? 1u : 1'000'000u)
      << "MariaDB's is in whole seconds";
  // A session whose clock is another shows as much.
  ASSERT_TRUE(connection->execute("SET TIMESTAMP = UNIX_TIMESTAMP() - 100"));
  const auto set = measure_source_clock(*connection);
  ASSERT_TRUE(set.has_value());
  EXPECT_LE(off_by_us(*set), static_cast<std::int64_t>(set->error_us) + 100'000) << "SYSDATE() is not NOW()";
}

TEST_P(SourceConnection, ErrorsSayNumberKindAndText) {
  auto connection = open(server().config("shop"));
  ASSERT_NE(connection, nullptr);
  const auto refused = connection->query("SELECT * FROM shop.missing");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(connection->last_error().number, 1146u);
  EXPECT_THAT(refused.error().message, HasSubstr("1146"));
  EXPECT_TRUE(connection->query("SELECT 1"));  // the session goes on
  server().kill();
  const auto lost = connection->query("SELECT 1");
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::kUnavailable);
  EXPECT_TRUE(connection->last_error().is_lost_connection());
  EXPECT_FALSE(connection->query("SELECT 1"));
  const auto gone = Connection::open(server().config("shop"), {});
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(gone.error().message, HasSubstr(server().socket()));
}

TEST_P(SourceConnection, InterruptEndsABlockingQuery) {
  auto connection = open(server().config("shop"));
  ASSERT_NE(connection, nullptr);
  // By the time another session sees the statement running, this thread is blocked in it.
  std::thread other([&] {
    while (server()
               .query("SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO='SELECT SLEEP(600)'")
               .empty()) {
    }
    connection->interrupt();
  });
  const auto ended = connection->query("SELECT SLEEP(600)");
  other.join();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(ended.error().message, HasSubstr("interrupted"));
}

TEST_P(SourceConnection, SilenceBeyondTheReadTimeOutEndsAQuery) {
  StallingProxy proxy(server().directory() / "proxy", server().socket());
  MysqlConfig config = server().config("shop");
  config.socket = proxy.path();
  ConnectionOptions options;
  options.read_timeout = std::chrono::milliseconds(1000);
  auto connection = open(config, options);
  ASSERT_NE(connection, nullptr);
  proxy.stall();
  const auto ended = connection->query("SELECT 1");
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kUnavailable);
}

// A certificate for 127.0.0.1, signed by itself.
bool make_certificate(const std::filesystem::path& directory) {
  const std::string command =
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext "
      "subjectAltName=IP:127.0.0.1 -keyout " +
      (directory / "key.pem").string() + " -out " + (directory / "cert.pem").string() + " 2>/dev/null";
  return std::system(command.c_str()) == 0;
}

class SourceTls : public ::testing::TestWithParam<testing::ServerChoice> {
 protected:
  void SetUp() override {
    if (is_mysql() && !testing::MysqlServer::is_there())
      GTEST_SKIP() << testing::MysqlServer::how_to_get_it();
    std::string path = "/tmp/ringside-tls-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    directory_ = path;
    ASSERT_TRUE(make_certificate(directory_)) << "package openssl";
    DatabaseServer::Options options;
    options.tcp = true;
    options.settings = {"ssl-cert=" + (directory_ / "cert.pem").string(),
                        "ssl-key=" + (directory_ / "key.pem").string()};
    server_ = testing::start_server(GetParam(), options);
    server_->sql_all({"CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v LONGTEXT)",
                      "CREATE USER remote@'%' IDENTIFIED BY 'pw'", "GRANT ALL ON *.* TO remote@'%'"});
    config_ = server_->config("shop");
    config_.socket.clear();
    config_.host = "127.0.0.1";
    config_.port = server_->port();
    config_.user = "remote";
    config_.password = Secret("pw");
    config_.tls = true;
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  bool is_mysql() const { return GetParam() == testing::ServerChoice::kMySql; }

  std::filesystem::path directory_;
  std::unique_ptr<DatabaseServer> server_;
  MysqlConfig config_;
};
RINGSIDE_ON_BOTH_SERVERS(SourceTls);

TEST_P(SourceTls, IsUsedVerifiedAndInsistedOn) {
  auto connection = open(config_);
  ASSERT_NE(connection, nullptr);
  EXPECT_TRUE(connection->is_encrypted());
  EXPECT_NE(connection->query_row("SHOW STATUS LIKE 'Ssl_cipher'")->at(1), "");
  config_.tls_ca = directory_ / "cert.pem";
  EXPECT_NE(open(config_), nullptr);
  // Another authority's certificate: refused.
  const std::filesystem::path other = directory_ / "other";
  std::filesystem::create_directory(other);
  ASSERT_TRUE(make_certificate(other));
  config_.tls_ca = other / "cert.pem";
  EXPECT_FALSE(Connection::open(config_, {}));
  // A server without TLS: refused.
  config_.tls_ca.clear();
  server_->restart({is_mysql() ? "tls-version=" : "skip-ssl"});
  EXPECT_FALSE(Connection::open(config_, {}));
  config_.tls = false;
  connection = open(config_);
  ASSERT_NE(connection, nullptr);
  EXPECT_FALSE(connection->is_encrypted());
}

TEST_P(SourceTls, TheStreamDeliversEverySizeOfEventWithoutWaitingForTheNext) {
  StreamOptions options;
  options.position = server_->query_value(is_mysql() ? "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')"
                                                     : "SELECT @@gtid_binlog_pos");
  options.server_id = 4242;
  auto opened = BinlogStream::open(config_, options);
  ASSERT_TRUE(opened) << opened.error().message;
  BinlogStream& stream = **opened;
  constexpr unsigned kXid = 16;
  const std::uint64_t deadline = monotonic_ns() + 60'000'000'000;
  int id = 0;
  for (const int size : {1, 100, 2000, 5000, 16'000, 17'000, 70'000, 1'000'000}) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      server_->sql("INSERT INTO shop.t VALUES (" + std::to_string(++id) + ", REPEAT('x', " +
                   std::to_string(size) + "))");
      bool has_ended = false;
      while (!has_ended) {
        const auto packet = stream.read_packet(deadline);
        ASSERT_TRUE(packet.outcome == BinlogStream::Outcome::kEvent ||
                    packet.outcome == BinlogStream::Outcome::kHeartbeat)
            << stream.error().message;
        has_ended = std::to_integer<unsigned>(packet.event[4]) == kXid;
      }
    }
  }
}

}  // namespace
}  // namespace ringside::writer
