// The start-up checks: each wrong setting is found with the others, and what they say mends it, does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/both_servers.h"
#include "writer/source/checks.h"
#include "writer/source/grants.h"

namespace ringside::writer {
namespace {

using testing::BothServers;
using ::testing::Contains;
using testing::DatabaseServer;
using ::testing::HasSubstr;
using testing::MariadbServer;

std::vector<Problem> check(const MysqlConfig& config) {
  auto connection = Connection::open(config, {});
  EXPECT_TRUE(connection) << (connection ? "" : connection.error().message);
  if (!connection) return {};
  auto problems = check_source(**connection, config);
  EXPECT_TRUE(problems) << (problems ? "" : problems.error().message);
  return problems ? *problems : std::vector<Problem>{};
}

std::vector<std::string> settings_of(const std::vector<Problem>& problems) {
  std::vector<std::string> settings;
  for (const Problem& problem : problems) settings.push_back(problem.setting);
  return settings;
}

void run_all_mending_sql(DatabaseServer& server, const std::vector<Problem>& problems) {
  for (const Problem& problem : problems) server.sql_all(problem.mend_sql);
}

TEST(Grants, AreReadByLevel) {
  const Grants grants({"GRANT SELECT, INSERT (a, b), REPLICATION SLAVE ON *.* TO `u`@`%`",
                       "GRANT UPDATE ON `shop\\_1`.* TO `u`@`%`", "GRANT DELETE ON `my%`.* TO `u`@`%`",
                       "GRANT DROP ON `shop`.`t` TO `u`@`%`", "GRANT `role` TO `u`@`%`",
                       "GRANT PROXY ON ``@`%` TO `u`@`%`", "GRANT ALL PRIVILEGES ON `a``b`.* TO `u`@`%`"});
  EXPECT_TRUE(grants.has_global("REPLICATION SLAVE"));
  EXPECT_TRUE(grants.has_on_database("SELECT", "anything"));
  EXPECT_FALSE(grants.has_on_database("INSERT", "anything"));
  EXPECT_TRUE(grants.has_on_database("UPDATE", "shop_1"));
  EXPECT_FALSE(grants.has_on_database("UPDATE", "shopx1"));
  EXPECT_TRUE(grants.has_on_database("DELETE", "mystore"));
  EXPECT_FALSE(grants.has_on_database("DROP", "shop"));
  EXPECT_TRUE(grants.has_on_database("CREATE", "a`b"));
  EXPECT_FALSE(grants.has_global("CREATE"));
}

TEST(Grants, WhatIsRevokedForOneDatabaseIsNotGrantedThere) {
  const Grants grants({"GRANT SELECT, INSERT ON *.* TO `u`@`%`", "GRANT DELETE ON `shop`.* TO `u`@`%`",
                       "REVOKE SELECT, DELETE ON `shop`.* FROM `u`@`%`"});
  EXPECT_TRUE(grants.has_on_database("SELECT", "other"));
  EXPECT_FALSE(grants.has_on_database("SELECT", "shop"));
  EXPECT_TRUE(grants.has_on_database("INSERT", "shop"));
  EXPECT_TRUE(grants.has_on_database("DELETE", "shop")) << "what is granted on the database itself stays";
}

TEST(Grants, PatternsMatchAsTheServersDo) {
  EXPECT_TRUE(matches_grant_pattern("shop", "shop"));
  EXPECT_FALSE(matches_grant_pattern("shop", "shops"));
  EXPECT_TRUE(matches_grant_pattern("s%p", "shop"));
  EXPECT_TRUE(matches_grant_pattern("%", ""));
  EXPECT_TRUE(matches_grant_pattern("%o%", "shop"));
  EXPECT_FALSE(matches_grant_pattern("%x%", "shop"));
  EXPECT_TRUE(matches_grant_pattern("sh_p", "shop"));
  EXPECT_FALSE(matches_grant_pattern("sh\\_p", "shop"));
  EXPECT_TRUE(matches_grant_pattern("a\\%b", "a%b"));
}

class SourceChecks : public BothServers {};
RINGSIDE_ON_BOTH_SERVERS(SourceChecks);

TEST_P(SourceChecks, AServerSetUpForCaptureHasNoProblem) {
  const auto problems = check(server().config("shop"));
  EXPECT_TRUE(problems.empty()) << describe(problems);
  EXPECT_TRUE(may_start(problems));
}

// Of each server, all that a SET GLOBAL can get wrong, at once.
TEST_P(SourceChecks, AllWrongSettingsAreFoundAtOnceAndTheSqlMendsThem) {
  using Settings = std::vector<std::pair<std::string, std::string>>;
  Settings wrong = {{"binlog_row_image", "MINIMAL"},
                    {"sync_binlog", "0"},
                    {"innodb_flush_log_at_trx_commit", "2"},
                    {"binlog_format", "MIXED"},
                    {"read_only", "ON"}};
  const Settings mariadb = {{"binlog_row_metadata", "NO_LOG"}, {"gtid_strict_mode", "OFF"}};
  const Settings mysql = {{"binlog_row_metadata", "MINIMAL"},
                          {"binlog_row_value_options", "'PARTIAL_JSON'"},
                          {"gtid_mode", "ON_PERMISSIVE"},
                          {"gtid_mode", "OFF_PERMISSIVE"},
                          {"gtid_mode", "OFF"},
                          {"enforce_gtid_consistency", "OFF"},
                          {"binlog_order_commits", "OFF"},
                          {"replica_preserve_commit_order", "OFF"}};
  const Settings& own = is_mysql() ? mysql : mariadb;
  wrong.insert(wrong.end(), own.begin(), own.end());
  server().sql("DROP DATABASE shop");
  std::set<std::string> expected = {"database shop"};
  for (const auto& [name, value] : wrong) {
    server().sql("SET GLOBAL " + name + "=" + value);
    expected.insert(name);
  }
  const auto problems = check(server().config("shop"));
  const auto settings = settings_of(problems);
  EXPECT_EQ(std::set<std::string>(settings.begin(), settings.end()), expected) << describe(problems);
  EXPECT_EQ(settings.size(), expected.size());
  EXPECT_FALSE(may_start(problems));
  EXPECT_THAT(describe(problems), HasSubstr("binlog_format is MIXED"));
  EXPECT_THAT(describe(problems), HasSubstr("SET GLOBAL binlog_format = 'ROW'"));
  run_all_mending_sql(server(), problems);
  const auto mended = check(server().config("shop"));
  EXPECT_TRUE(mended.empty()) << describe(mended);
}

TEST_P(SourceChecks, WarningsAloneDoNotForbidTheStart) {
  server().sql("SET GLOBAL sync_binlog=0");
  const auto problems = check(server().config("shop"));
  server().sql("SET GLOBAL sync_binlog=1");
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"sync_binlog"});
  EXPECT_TRUE(may_start(problems));
}

TEST_P(SourceChecks, ABinlogThatIsOffIsMendedByTheOptionFile) {
  const auto own = own_server({.settings = {"skip-log-bin"}});
  own->sql("CREATE DATABASE shop");
  const auto problems = check(own->config("shop"));
  std::vector<std::string> lines;
  for (const Problem& problem : problems) {
    EXPECT_TRUE(problem.mend_sql.empty());
    lines.insert(lines.end(), problem.mend_option.begin(), problem.mend_option.end());
  }
  EXPECT_THAT(settings_of(problems), Contains("log_bin")) << describe(problems);
  own->restart(lines);
  const auto mended = check(own->config("shop"));
  EXPECT_TRUE(mended.empty()) << describe(mended);
}

TEST(SourceChecksOfMariadb, ASecondDomainIsFoundAndDropped) {
  MariadbServer server;
  server.sql_all({"CREATE DATABASE shop", "SET SESSION gtid_domain_id=7",
                  "CREATE TABLE shop.t (id INT PRIMARY KEY)", "SET SESSION gtid_domain_id=0"});
  const auto problems = check(server.config("shop"));
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"gtid_binlog_state"}) << describe(problems);
  server.purge_binlogs();  // waits until the engine lets the older files go
  run_all_mending_sql(server, problems);
  const auto mended = check(server.config("shop"));
  EXPECT_TRUE(mended.empty()) << describe(mended);
}

TEST(SourceChecksOfMariadb, ADomainOtherThanTheBinlogsIsFound) {
  MariadbServer server;
  server.sql_all({"CREATE DATABASE shop", "SET GLOBAL gtid_domain_id=3"});
  const auto problems = check(server.config("shop"));
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"gtid_domain_id"}) << describe(problems);
  run_all_mending_sql(server, problems);
  EXPECT_TRUE(check(server.config("shop")).empty());
}

TEST_P(SourceChecks, EveryMissingPrivilegeIsNamedAndTheGrantsMendIt) {
  server().sql_all({"DROP USER IF EXISTS reader@localhost", "CREATE TABLE shop.t (id INT PRIMARY KEY)",
                    "CREATE USER reader@localhost IDENTIFIED BY 'secret'",
                    "GRANT SELECT ON shop.t TO reader@localhost"});
  MysqlConfig config = server().config("shop");
  config.user = "reader";
  config.password = Secret("secret");
  const auto problems = check(config);
  std::set<std::string> expected = {
      is_mysql() ? "privilege REPLICATION CLIENT on *.*" : "privilege BINLOG MONITOR on *.*",
      "privilege REPLICATION SLAVE on *.*"};
  if (is_mysql()) expected.insert("privilege LOCK TABLES on `shop`.*");
  for (const char* name : {"SELECT", "INSERT", "UPDATE", "DELETE"}) {
    expected.insert(std::string("privilege ") + name + " on `shop`.*");
    expected.insert(std::string("privilege ") + name + " on `ringside`.*");
  }
  expected.insert("privilege CREATE on `ringside`.*");
  const auto settings = settings_of(problems);
  EXPECT_EQ(std::set<std::string>(settings.begin(), settings.end()), expected) << describe(problems);
  EXPECT_EQ(describe(problems).find("secret"), std::string::npos);
  run_all_mending_sql(server(), problems);
  const auto mended = check(config);
  EXPECT_TRUE(mended.empty()) << describe(mended);
}

TEST_P(SourceChecks, PrivilegesThroughADefaultRoleCount) {
  server().sql_all({"DROP USER IF EXISTS reader@localhost", "DROP ROLE IF EXISTS capture",
                    "CREATE ROLE capture",
                    is_mysql() ? "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO capture"
                               : "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO capture",
                    "GRANT ALL ON shop.* TO capture", "GRANT ALL ON ringside.* TO capture",
                    "CREATE USER reader@localhost", "GRANT capture TO reader@localhost"});
  MysqlConfig config = server().config("shop");
  config.user = "reader";
  EXPECT_FALSE(may_start(check(config)));
  server().sql(is_mysql() ? "SET DEFAULT ROLE capture TO reader@localhost"
                          : "SET DEFAULT ROLE capture FOR reader@localhost");
  const auto problems = check(config);
  EXPECT_TRUE(problems.empty()) << describe(problems);
}

TEST_P(SourceChecks, ABinlogFilterThatHidesTheDatabaseIsFound) {
  const auto own = own_server({.settings = {"binlog-ignore-db=shop", "binlog-do-db=other"}});
  own->sql("CREATE DATABASE shop");
  EXPECT_EQ(settings_of(check(own->config("shop"))),
            (std::vector<std::string>{"binlog_do_db", "binlog_do_db", "binlog_ignore_db"}));
  own->restart({"binlog-do-db=shop", "binlog-do-db=ringside"});
  EXPECT_TRUE(check(own->config("shop")).empty());
}

TEST_P(SourceChecks, APartialRevokeIsAMissingPrivilege) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB has none";
  server().sql_all({"SET GLOBAL partial_revokes=ON", "DROP USER IF EXISTS revoked@localhost",
                    "CREATE USER revoked@localhost", "GRANT ALL ON *.* TO revoked@localhost",
                    "REVOKE LOCK TABLES ON shop.* FROM revoked@localhost"});
  MysqlConfig config = server().config("shop");
  config.user = "revoked";
  const auto problems = check(config);
  EXPECT_EQ(settings_of(problems), std::vector<std::string>{"privilege LOCK TABLES on `shop`.*"});
  run_all_mending_sql(server(), problems);
  const auto mended = check(config);
  EXPECT_TRUE(mended.empty()) << describe(mended);
  server().sql_all({"DROP USER revoked@localhost", "SET GLOBAL partial_revokes=OFF"});
}

TEST_P(SourceChecks, AGroupOfSeveralPrimariesIsFound) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB has Galera";
  server().sql_all({"INSTALL PLUGIN group_replication SONAME 'group_replication.so'",
                    "SET GLOBAL group_replication_single_primary_mode=OFF"});
  const auto problems = check(server().config("shop"));
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"group_replication_single_primary_mode"})
      << describe(problems);
  EXPECT_FALSE(may_start(problems));
  server().sql("SET GLOBAL group_replication_single_primary_mode=ON");
  EXPECT_TRUE(check(server().config("shop")).empty());
  server().sql("UNINSTALL PLUGIN group_replication");
}

}  // namespace
}  // namespace ringside::writer
