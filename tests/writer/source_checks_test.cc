// The start-up checks: each wrong setting is found with the others, and what they say mends it, does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/mariadb_server.h"
#include "writer/source/checks.h"
#include "writer/source/grants.h"

namespace ringside::writer {
namespace {

using ::testing::Contains;
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

void run_all_mending_sql(MariadbServer& server, const std::vector<Problem>& problems) {
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

TEST(SourceChecks, AServerSetUpForCaptureHasNoProblem) {
  MariadbServer server;
  server.sql("CREATE DATABASE shop");
  const auto problems = check(server.config("shop"));
  EXPECT_TRUE(problems.empty()) << describe(problems);
  EXPECT_TRUE(may_start(problems));
}

TEST(SourceChecks, AllWrongSettingsAreFoundAtOnceAndTheSqlMendsThem) {
  MariadbServer server({.settings = {"binlog-format=MIXED", "binlog-row-image=MINIMAL",
                                     "binlog-row-metadata=NO_LOG", "gtid-strict-mode=OFF", "sync-binlog=0",
                                     "innodb-flush-log-at-trx-commit=2", "read-only=ON"}});
  const auto problems = check(server.config("shop"));
  const auto settings = settings_of(problems);
  for (const char* setting :
       {"binlog_format", "binlog_row_image", "binlog_row_metadata", "gtid_strict_mode", "sync_binlog",
        "innodb_flush_log_at_trx_commit", "read_only", "database shop"}) {
    EXPECT_THAT(settings, Contains(setting));
  }
  EXPECT_EQ(settings.size(), 8u) << describe(problems);
  EXPECT_FALSE(may_start(problems));
  EXPECT_THAT(describe(problems), HasSubstr("binlog_format is MIXED"));
  EXPECT_THAT(describe(problems), HasSubstr("SET GLOBAL binlog_format = 'ROW'"));
  run_all_mending_sql(server, problems);
  EXPECT_TRUE(check(server.config("shop")).empty());
}

TEST(SourceChecks, WarningsAloneDoNotForbidTheStart) {
  MariadbServer server({.settings = {"sync-binlog=0"}});
  server.sql("CREATE DATABASE shop");
  const auto problems = check(server.config("shop"));
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"sync_binlog"});
  EXPECT_TRUE(may_start(problems));
}

TEST(SourceChecks, ABinlogThatIsOffIsMendedByTheOptionFile) {
  MariadbServer server({.settings = {"skip-log-bin"}});
  server.sql("CREATE DATABASE shop");
  const auto problems = check(server.config("shop"));
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"log_bin"}) << describe(problems);
  EXPECT_TRUE(problems.front().mend_sql.empty());
  server.restart(problems.front().mend_option);
  EXPECT_TRUE(check(server.config("shop")).empty());
}

TEST(SourceChecks, ASecondDomainIsFoundAndDropped) {
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

TEST(SourceChecks, ADomainOtherThanTheBinlogsIsFound) {
  MariadbServer server;
  server.sql_all({"CREATE DATABASE shop", "SET GLOBAL gtid_domain_id=3"});
  const auto problems = check(server.config("shop"));
  ASSERT_EQ(settings_of(problems), std::vector<std::string>{"gtid_domain_id"}) << describe(problems);
  run_all_mending_sql(server, problems);
  EXPECT_TRUE(check(server.config("shop")).empty());
}

TEST(SourceChecks, EveryMissingPrivilegeIsNamedAndTheGrantsMendIt) {
  MariadbServer server;
  server.sql_all({"CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)",
                  "CREATE USER reader@localhost IDENTIFIED BY 'secret'",
                  "GRANT SELECT ON shop.t TO reader@localhost"});
  MysqlConfig config = server.config("shop");
  config.user = "reader";
  config.password = Secret("secret");
  const auto problems = check(config);
  const auto settings = settings_of(problems);
  EXPECT_THAT(settings, Contains("privilege REPLICATION SLAVE on *.*"));
  EXPECT_THAT(settings, Contains("privilege BINLOG MONITOR on *.*"));
  EXPECT_THAT(settings, Contains("privilege SELECT on `shop`.*"));
  EXPECT_THAT(settings, Contains("privilege INSERT on `shop`.*"));
  EXPECT_THAT(settings, Contains("privilege CREATE on `ringside`.*"));
  EXPECT_EQ(describe(problems).find("secret"), std::string::npos);
  run_all_mending_sql(server, problems);
  const auto mended = check(config);
  EXPECT_TRUE(mended.empty()) << describe(mended);
}

TEST(SourceChecks, PrivilegesThroughADefaultRoleCount) {
  MariadbServer server;
  server.sql_all({"CREATE DATABASE shop", "CREATE ROLE capture",
                  "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO capture",
                  "GRANT ALL ON shop.* TO capture", "GRANT ALL ON ringside.* TO capture",
                  "CREATE USER reader@localhost", "GRANT capture TO reader@localhost"});
  MysqlConfig config = server.config("shop");
  config.user = "reader";
  EXPECT_FALSE(may_start(check(config)));
  server.sql("SET DEFAULT ROLE capture FOR reader@localhost");
  const auto problems = check(config);
  EXPECT_TRUE(problems.empty()) << describe(problems);
}

TEST(SourceChecks, ABinlogFilterThatHidesTheDatabaseIsFound) {
  MariadbServer server({.settings = {"binlog-ignore-db=shop"}});
  server.sql("CREATE DATABASE shop");
  EXPECT_EQ(settings_of(check(server.config("shop"))), std::vector<std::string>{"binlog_ignore_db"});
  server.restart({"binlog-do-db=other"});
  EXPECT_EQ(settings_of(check(server.config("shop"))),
            (std::vector<std::string>{"binlog_do_db", "binlog_do_db"}));
  server.restart({"binlog-do-db=shop", "binlog-do-db=ringside"});
  EXPECT_TRUE(check(server.config("shop")).empty());
}

}  // namespace
}  // namespace ringside::writer
