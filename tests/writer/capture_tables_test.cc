// Capture and the tables of a real server: DDL of every kind, what is not served and why, XA, trouble with one table.
#include <filesystem>

#include "tests/writer/capture_fixture.h"

namespace ringside::writer {
namespace {

using ::testing::AnyOf;
using testing::CaptureFixture;
using testing::CaptureMirror;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using testing::OtherSession;

class CaptureTables : public CaptureFixture {
 protected:
  void SetUp() override {
    CaptureFixture::SetUp();
    if (IsSkipped()) return;
    server_->sql_all({"CREATE TABLE a (id INT PRIMARY KEY, v INT)",
                      "CREATE TABLE b (id INT PRIMARY KEY, v INT)", "INSERT INTO a VALUES (1, 10), (2, 20)",
                      "INSERT INTO b VALUES (1, 1)"});
  }
  void expect_dropped(const std::string& table) {
    EXPECT_TRUE(until([&] {
      return mirror_.table(table) == nullptr && !mirror_.quarantined.contains(table);
    })) << table;
  }
  // Refused with this in the reason, while b is served.
  void expect_refused(const std::string& table, const std::string& reason) {
    EXPECT_TRUE(until([&] {
      const auto found = mirror_.quarantined.find(table);
      return found != mirror_.quarantined.end() && found->second.find(reason) != std::string::npos;
    })) << table
        << ": " << ::testing::PrintToString(mirror_.quarantined);
    EXPECT_NE(mirror_.table("b"), nullptr);
  }
};

TEST_P(CaptureTables, DdlOfEveryKindReloadsItsTableWhileOthersAreServed) {
  start_and_load();
  mirror_.on_commit = [](const CaptureMirror& mirror) {
    EXPECT_NE(mirror.table("b"), nullptr) << "at version " << mirror.version;
  };
  const std::vector<std::pair<std::string, std::string>> statements = {
      {"ALTER TABLE a ADD COLUMN w INT DEFAULT 5, ALGORITHM=INSTANT", "id, v, w"},
      {"ALTER TABLE a DROP COLUMN w, ALGORITHM=COPY", "id, v"},
      {"ALTER TABLE a MODIFY v BIGINT", "id, v"},
      {"ALTER TABLE a CHANGE v value BIGINT FIRST", "value, id"},
      {"ALTER TABLE a RENAME COLUMN value TO v", "v, id"},
      {"ALTER TABLE a ADD UNIQUE KEY u (v)", "v, id"},
      {"CREATE INDEX i ON a (v, id)", "v, id"},
      {"DROP INDEX i ON a", "v, id"},
      {"ALTER TABLE a DROP PRIMARY KEY, ADD PRIMARY KEY (id, v)", "v, id"},
      {"ALTER TABLE a DROP INDEX u", "v, id"},
      {"ALTER TABLE a PARTITION BY HASH (id) PARTITIONS 3", "v, id"},
      {"ALTER TABLE a REMOVE PARTITIONING", "v, id"},
      {is_mysql() ? "DROP TABLE a; CREATE TABLE a (id INT PRIMARY KEY, v INT) SELECT 7 AS id, 8 AS v"
                  : "CREATE OR REPLACE TABLE a (id INT PRIMARY KEY, v INT) SELECT 7 AS id, 8 AS v",
       "id, v"},
      {"TRUNCATE TABLE a", "id, v"},
  };
  int id = 100;
  for (const auto& [sql, columns] : statements) {
    for (std::size_t at = 0; at < sql.size();) {  // several statements have "; " between them
      const std::size_t end = std::min(sql.find("; ", at), sql.size());
      server_->sql(sql.substr(at, end - at));
      at = end + 2;
    }
    const std::string second = columns.find("value") == std::string::npos ? "v" : "value";
    server_->sql_all(
        {"INSERT INTO a (id, " + second + ") VALUES (" + std::to_string(id) + ", " + std::to_string(id) + ")",
         "UPDATE b SET v = " + std::to_string(id)});
    ++id;
    expect_equal("a", "SELECT CONCAT_WS('\t', " + columns + ")");
  }
  server_->sql("DROP TABLE a");
  expect_dropped("a");
  server_->sql_all({"CREATE TABLE a (k INT PRIMARY KEY)", "INSERT INTO a VALUES (3)"});
  expect_equal("a", "SELECT k");
  server_->sql_all({"CREATE TABLE c (id INT PRIMARY KEY, v INT)", "INSERT INTO c VALUES (1, 1)",
                    "RENAME TABLE a TO d, c TO a"});
  expect_equal("a", "SELECT CONCAT_WS('\t', id, v)");
  expect_equal("d", "SELECT k");
  expect_dropped("c");
  expect_equal_pairs("b");
  EXPECT_EQ(status().snapshots, 1u);
  EXPECT_TRUE(mirror_.quarantined.empty());
}

// What a statement and its rows do in one transaction, before and after a load can begin.
TEST_P(CaptureTables, TablesMadeAndChangedInARowAreExactInTheEnd) {
  start_and_load();
  for (int i = 1; i <= 20; ++i) {
    server_->sql_all({"CREATE TABLE t" + std::to_string(i % 3) +
                          " (id INT PRIMARY KEY, v INT) SELECT seq AS id, " + std::to_string(i) +
                          " AS v FROM " + sequence(5),
                      "UPDATE t" + std::to_string(i % 3) + " SET v = v + 1 WHERE id = 3",
                      "ALTER TABLE t" + std::to_string(i % 3) + " FORCE",
                      "DELETE FROM t" + std::to_string(i % 3) + " WHERE id = 1",
                      "INSERT INTO a VALUES (" + std::to_string(100 + i) + ", 0)"});
    if (i < 18) server_->sql("DROP TABLE t" + std::to_string(i % 3));
  }
  for (const char* table : {"t0", "t1", "t2", "a", "b"}) expect_equal_pairs(table);
  EXPECT_EQ(status().snapshots, 1u);
}

// Loads go on while the tables are written and altered from elsewhere.
TEST_P(CaptureTables, ReloadsUnderConcurrentWritersAreExact) {
  server_->sql("INSERT INTO a SELECT seq + 10, 0 FROM " + sequence(500));
  start_and_load();
  std::atomic<bool> ends{false};
  std::thread writer([&] {
    OtherSession session(server_->config("shop"));
    for (int i = 0; !ends.load(std::memory_order_relaxed); ++i) {
      session.run("UPDATE a SET v = v + 1 WHERE id = " + std::to_string(11 + i % 500));
      session.run("INSERT INTO b VALUES (" + std::to_string(1000 + i) + ", 0)");
    }
  });
  for (int i = 0; i < 10; ++i) {
    server_->sql(i % 2 == 0 ? "ALTER TABLE a ADD COLUMN w INT DEFAULT 1" : "ALTER TABLE a DROP COLUMN w");
    const std::uint64_t loads = static_cast<std::uint64_t>(i) + 1;
    EXPECT_TRUE(until_status([&](const CaptureStatus& s) { return s.table_loads >= loads; }));
  }
  ends.store(true);
  writer.join();
  expect_equal_version();
  expect_equal_pairs("a");
  expect_equal_pairs("b");
}

TEST_P(CaptureTables, StatementsInAnyDisguiseAreFollowed) {
  start_and_load();
  server_->sql(is_mysql() ? "/* a */ TRUNCATE /*!50000 TABLE */ `shop` . `a`"
                          : "SET STATEMENT lock_wait_timeout = 9 FOR TRUNCATE TABLE `shop` . `a`");
  expect_equal_pairs("a");
  server_->sql_all({"SET binlog_format = STATEMENT", "INSERT INTO a VALUES (5, 50)", "UPDATE b SET v = 77",
                    "SET binlog_format = ROW"});
  expect_equal_pairs("a");
  expect_equal_pairs("b");
  server_->sql_all(
      {"SET binlog_row_image = MINIMAL", "UPDATE a SET v = 51 WHERE id = 5", "SET binlog_row_image = FULL"});
  expect_equal_pairs("a");
  server_->sql_all({"BEGIN", "INSERT INTO a VALUES (6, 60)", "SAVEPOINT s", "INSERT INTO a VALUES (7, 70)",
                    "ROLLBACK TO SAVEPOINT s", "INSERT INTO a VALUES (8, 80)", "COMMIT"});
  expect_equal_pairs("a");
  server_->sql("CREATE TEMPORARY TABLE b (x INT)");
  server_->sql_all({"INSERT INTO b VALUES (1)", "DROP TEMPORARY TABLE b"});
  expect_equal_version();
  expect_equal_pairs("b");
  EXPECT_EQ(status().snapshots, 1u);
}

TEST_P(CaptureTables, WhatCannotBeExactIsRefusedWithItsReason) {
  server_->sql_all(
      {"CREATE TABLE parent (id INT PRIMARY KEY)",
       "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE "
       "CASCADE)",
       "CREATE TABLE keyless (v INT)",
       is_mysql() ? "CREATE TABLE strange (id INT PRIMARY KEY, u GEOMETRY)"
                  : "CREATE TABLE strange (id INT PRIMARY KEY, u UUID)"});
  start_and_load();
  // MySQL logs what a foreign key does like any other change.
  if (!is_mysql()) expect_refused("child", "foreign key");
  expect_refused("keyless", "key");
  expect_refused("strange", is_mysql() ? "geometry" : "uuid");
  server_->sql_all(
      {"INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1, 1)", "INSERT INTO keyless VALUES (1)"});
  expect_equal("parent", "SELECT id");
  // What is mended is served.
  server_->sql("ALTER TABLE keyless ADD PRIMARY KEY (v)");
  expect_equal("keyless", "SELECT v");
  if (is_mysql()) {
    server_->sql("DELETE FROM parent");
    expect_equal_version();
    return expect_equal("child", "SELECT CONCAT_WS('\t', id, p)");
  }
  server_->sql(
      "ALTER TABLE a ADD FOREIGN KEY (v) REFERENCES parent (id) ON UPDATE CASCADE, DROP COLUMN v, ADD v INT");
  server_->sql_all({"UPDATE a SET v = NULL",
                    "ALTER TABLE a ADD FOREIGN KEY (v) REFERENCES parent (id) ON UPDATE CASCADE"});
  expect_refused("a", "foreign key");
}

TEST_P(CaptureTables, ARowLargerThanARecordRefusesItsTableOnly) {
  server_->sql_all({"CREATE TABLE big (id INT PRIMARY KEY, t LONGTEXT)",
                    "INSERT INTO big VALUES (1, REPEAT('x', 200000)), (2, 'small')"});
  config_.ring.max_record_size_bytes = 64 * 1024;
  start_and_load();
  expect_refused("big", "ring.max_record_size");
  expect_equal_pairs("a");
  server_->sql_all(
      {"CREATE TABLE large (id INT PRIMARY KEY, t LONGTEXT)", "INSERT INTO large VALUES (2, 'small')"});
  expect_equal("large", "SELECT CONCAT(id, '\t\"', t, '\"')");
  server_->sql("INSERT INTO large VALUES (1, REPEAT('\\\\', 50000))");
  expect_refused("large", "ring.max_record_size");
  server_->sql("INSERT INTO b VALUES (2, 2)");
  expect_equal_pairs("b");
}

// A table that the server cannot read must not keep the others from being loaded.
TEST_P(CaptureTables, ATableThatCannotBeReadIsRefusedAndTheOthersLoaded) {
  server_->sql("ALTER TABLE a DISCARD TABLESPACE");
  start_and_load();
  EXPECT_TRUE(until([&] { return mirror_.quarantined.contains("a"); }));
  expect_equal_pairs("b");
  server_->sql("DROP TABLE a");
  expect_dropped("a");
  server_->sql_all({"CREATE TABLE c (id INT PRIMARY KEY, v INT)", "INSERT INTO c VALUES (1, 1)",
                    "ALTER TABLE c DISCARD TABLESPACE", "INSERT INTO b VALUES (2, 2)"});
  EXPECT_TRUE(until([&] { return mirror_.quarantined.contains("c"); }));
  expect_equal_pairs("b");
  EXPECT_EQ(status().snapshots, 1u);
}

TEST_P(CaptureTables, ADroppedDatabaseIsEmptyAndComesBack) {
  start_and_load();
  server_->sql("DROP DATABASE shop");
  expect_dropped("a");
  expect_dropped("b");
  server_->sql_all({"CREATE DATABASE shop", "USE shop", "CREATE TABLE a (id INT PRIMARY KEY, v INT)",
                    "INSERT INTO a VALUES (1, 1)"});
  expect_equal_pairs("a");
}

TEST_P(CaptureTables, XaTransactionsCountWhenTheyAreDecided) {
  start_and_load();
  server_->sql_all({"XA START 'x1'", "INSERT INTO a VALUES (3, 30)", "XA END 'x1'", "XA PREPARE 'x1'"});
  expect_refused("a", "XA");
  server_->sql("XA COMMIT 'x1'");
  expect_equal_pairs("a");
  server_->sql_all({"XA START 'x2'", "INSERT INTO a VALUES (4, 40)", "XA END 'x2'", "XA PREPARE 'x2'",
                    "XA ROLLBACK 'x2'"});
  expect_equal_version();
  expect_equal_pairs("a");
  server_->sql_all(
      {"XA START 'x3'", "INSERT INTO a VALUES (5, 50)", "XA END 'x3'", "XA COMMIT 'x3' ONE PHASE"});
  expect_equal_pairs("a");
}

TEST_P(CaptureTables, XaTransactionsOutliveTheWriter) {
  start_and_load();
  server_->sql_all({"XA START 'x1'", "INSERT INTO a VALUES (3, 30)", "XA END 'x1'", "XA PREPARE 'x1'"});
  expect_refused("a", "XA");
  ASSERT_TRUE(stop());
  start();
  if (is_mysql()) {
    // It holds its tables' locks, so they cannot be loaded before it is decided. All others go on.
    server_->sql("INSERT INTO b VALUES (5, 5)");
    expect_equal_pairs("b");
    EXPECT_TRUE(mirror_.quarantined.contains("a"));
  } else {
    EXPECT_TRUE(until([&] { return mirror_.lines("a").size() == 2 && mirror_.table("a") != nullptr; }));
  }
  server_->sql("XA COMMIT 'x1'");
  expect_equal_version();
  expect_equal_pairs("a");
  expect_equal_pairs("b");
  EXPECT_EQ(status().snapshots, 0u);
}

TEST_P(CaptureTables, CommandsMarkersAreReported) {
  start_and_load();
  const CommandId id = make_command_id();
  std::string hex;
  for (const std::byte byte : id) hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  server_->sql_all({"BEGIN", "INSERT INTO b VALUES (9, 9)",
                    "INSERT INTO ringside.commands (id) VALUES (x'" + hex + "')", "COMMIT"});
  const auto seen = tracker_->wait_for(id, std::chrono::seconds(60));
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->version.value(), source_version());
  if (!is_mysql()) {
    EXPECT_EQ(seen->gtid, source_position());
    return;
  }
  // Its own, and the newest one.
  const std::string uuid = server_->query_value("SELECT @@server_uuid");
  EXPECT_EQ(seen->gtid, uuid + ":" + std::to_string(source_version()));
}

TEST_P(CaptureTables, AnotherDatabasesTransactionsMoveTheVersion) {
  start_and_load();
  server_->sql_all({"CREATE DATABASE other", "CREATE TABLE other.t (id INT PRIMARY KEY)"});
  for (int i = 0; i < 50; ++i) server_->sql("INSERT INTO other.t VALUES (" + std::to_string(i) + ")");
  expect_equal_version();
  EXPECT_EQ(status().table_loads, 0u);
}

RINGSIDE_ON_BOTH_SERVERS(CaptureTables);

}  // namespace
}  // namespace ringside::writer
