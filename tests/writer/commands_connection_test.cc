// How both halves of the writer log in: capture by libmariadb, commands by Connector/C++, over every way there is, with the
// server's own default plugin for passwords and nothing of an earlier login in its cache.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/both_servers.h"
#include "writer/commands/session.h"
#include "writer/source/connection.h"

namespace ringside::writer {
namespace {

using testing::DatabaseServer;
using testing::MysqlServer;
using testing::ServerChoice;

constexpr const char* kPassword = "p\xC3\xA4ss' word";

class LogIn : public ::testing::TestWithParam<ServerChoice> {
 protected:
  void SetUp() override {
    if (is_mysql() && !MysqlServer::is_there()) GTEST_SKIP() << MysqlServer::how_to_get_it();
    server_ = testing::start_server(GetParam(), {.settings = {}, .tcp = true});
    server_->sql_all({"CREATE DATABASE shop", "CREATE USER remote@'%' IDENTIFIED BY 'p\xC3\xA4ss'' word'",
                      "GRANT ALL ON *.* TO remote@'%'"});
    by_socket_ = server_->config("shop");
    by_socket_.user = "remote";
    by_socket_.password = Secret(kPassword);
    by_tcp_ = by_socket_;
    by_tcp_.socket.clear();
    by_tcp_.host = "127.0.0.1";
    by_tcp_.port = server_->port();
  }

  bool is_mysql() const { return GetParam() == ServerChoice::kMySql; }
  // A server that knows no password's digest yet: MySQL then wants the password itself, over a way it deems safe.
  void forget_log_ins() { server_->sql("FLUSH PRIVILEGES"); }

  void expect_both(const MysqlConfig& config, bool is_encrypted) {
    forget_log_ins();
    const auto connection = Connection::open(config, {});
    ASSERT_TRUE(connection) << connection.error().message;
    EXPECT_EQ((*connection)->is_encrypted(), is_encrypted);
    forget_log_ins();
    Session session(config);
    const DatabaseStatus status = session.connect();
    EXPECT_FALSE(status) << status->message;
  }
  void expect_neither(const MysqlConfig& config) {
    forget_log_ins();
    const auto connection = Connection::open(config, {});
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().message.find(config.password.reveal()), std::string::npos);
    Session session(config);
    EXPECT_TRUE(session.connect());
  }

  std::unique_ptr<DatabaseServer> server_;
  MysqlConfig by_socket_;
  MysqlConfig by_tcp_;
};
RINGSIDE_ON_BOTH_SERVERS(LogIn);

TEST_P(LogIn, WorksOverEveryWayWithNothingInTheServersCache) {
  {
    SCOPED_TRACE("unix socket");
    expect_both(by_socket_, false);
  }
  {
    // The password goes encrypted by the key that the server sends.
    SCOPED_TRACE("TCP without TLS");
    expect_both(by_tcp_, false);
  }
  if (is_mysql()) {
    // The certificates that the server has made itself are signed by its own authority, and name no host.
    SCOPED_TRACE("TLS with the server's own certificate");
    MysqlConfig by_tls = by_tcp_;
    by_tls.tls = true;
    expect_both(by_tls, true);
    by_tls.tls_ca = server_->data_directory() / "ca.pem";
    expect_neither(by_tls);
  }
  by_socket_.password = Secret("not the word");
  expect_neither(by_socket_);
  by_tcp_.password = Secret("not the word");
  expect_neither(by_tcp_);
}

}  // namespace
}  // namespace ringside::writer
