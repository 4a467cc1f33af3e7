// BothServers: a fixture whose tests run on MariaDB and on MySQL.
//
//   class Foo : public testing::BothServers {};
//   TEST_P(Foo, DoesThis) { server().sql("…"); }
//   RINGSIDE_ON_BOTH_SERVERS(Foo);
//
// All tests of a suite share one server. Each finds an empty database `shop` (the session's own), and a binlog that begins
// with its creation. What a test changes globally it puts back; a server that was stopped is started again. A test that
// needs settings of its own asks for own_server().
//
// Threads: one.   Ownership: the suite owns the shared server.   Errors: as DatabaseServer; a skip that says so where there
// is no MySQL.   Limits: none of its own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/support/mariadb_server.h"
#include "tests/support/mysql_server.h"

namespace ringside::testing {

enum class ServerChoice { kMariaDb, kMySql };

inline std::unique_ptr<DatabaseServer> start_server(ServerChoice choice,
                                                    DatabaseServer::Options options = {}) {
  if (choice == ServerChoice::kMariaDb) return std::make_unique<MariadbServer>(std::move(options));
  return std::make_unique<MysqlServer>(std::move(options));
}

class BothServers : public ::testing::TestWithParam<ServerChoice> {
 public:
  static void TearDownTestSuite() { shared_.reset(); }

 protected:
  void SetUp() override {
    if (is_mysql() && !MysqlServer::is_there()) GTEST_SKIP() << MysqlServer::how_to_get_it();
    if (shared_ == nullptr) shared_ = start_server(GetParam());
    if (shared_->pid() < 0) shared_->start();
    shared_->sql("DROP DATABASE IF EXISTS shop");
    shared_->sql(is_mysql() ? "RESET BINARY LOGS AND GTIDS" : "RESET MASTER");
    shared_->sql("CREATE DATABASE shop CHARACTER SET utf8mb4");
    shared_->sql("USE shop");
  }

  bool is_mysql() const { return GetParam() == ServerChoice::kMySql; }
  DatabaseServer& server() { return *shared_; }
  std::unique_ptr<DatabaseServer> own_server(DatabaseServer::Options options = {}) {
    return start_server(GetParam(), std::move(options));
  }
  // The position behind all that is committed, as the stream takes it.
  std::string position() {
    return server().query_value(is_mysql() ? "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')"
                                           : "SELECT @@gtid_binlog_pos");
  }
  // The position behind the first transactions of this test.
  std::string position_after(std::uint64_t transactions) {
    if (transactions == 0) return {};
    if (!is_mysql()) return "0-1-" + std::to_string(transactions);
    return server().query_value("SELECT @@server_uuid") + ":1-" + std::to_string(transactions);
  }

 private:
  static inline std::unique_ptr<DatabaseServer> shared_;
};

}  // namespace ringside::testing

// One suite each, so that they need not live at the same time.
#define RINGSIDE_ON_BOTH_SERVERS(Fixture)                                                   \
  INSTANTIATE_TEST_SUITE_P(MariaDb, Fixture,                                                \
                           ::testing::Values(::ringside::testing::ServerChoice::kMariaDb)); \
  INSTANTIATE_TEST_SUITE_P(MySql, Fixture, ::testing::Values(::ringside::testing::ServerChoice::kMySql))
