// Snapshots of a real server: every type's value, tables changed or refused meanwhile, limits, interruption.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "tests/support/both_servers.h"
#include "writer/source/gtid.h"
#include "writer/source/snapshot.h"

namespace ringside::writer {
namespace {

using testing::BothServers;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MariadbServer;
using Outcome = TableRead::Outcome;
using Rows = std::map<std::string, std::vector<std::string>>;  // by normalised key

class SourceSnapshot : public BothServers {
 protected:
  void open(SnapshotOptions options = {}) {
    auto snapshot = Snapshot::open(server().config("shop"), options);
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    snapshot_ = std::move(*snapshot);
  }

  const shm::Table& table(const std::string& name) {
    for (const shm::Table& candidate : snapshot_->tables()) {
      if (candidate.name == name) return candidate;
    }
    throw std::runtime_error("no table " + name);
  }

  // Reads a table; the outcome is the caller's to look at.
  TableRead read(const std::string& name, Rows& rows) {
    rows.clear();
    const std::size_t columns = table(name).shape.columns.size();
    auto read = snapshot_->read_table(table(name), [&rows, columns](shm::RowBuilder& row) -> Result<void> {
      std::vector<std::string>& values = rows[std::string(row.key())];
      for (std::size_t i = 0; i < columns; ++i) values.emplace_back(row.value(i));
      return {};
    });
    EXPECT_TRUE(read) << (read ? "" : read.error().message);
    return read ? *read : TableRead{Outcome::kRefused, "error", 0};
  }

  // A table of one column with the numbers from 1 to a power of two.
  void create_numbers(const std::string& name, unsigned power) {
    server().sql_all(
        {"CREATE TABLE " + name + " (id INT PRIMARY KEY)", "INSERT INTO " + name + " VALUES (1)"});
    for (unsigned i = 0; i < power; ++i) {
      server().sql("INSERT INTO " + name + " SELECT id + " + std::to_string(1u << i) + " FROM " + name);
    }
  }

  std::unique_ptr<Snapshot> snapshot_;
};
RINGSIDE_ON_BOTH_SERVERS(SourceSnapshot);

TEST_P(SourceSnapshot, BeforeTheFirstTransactionThePositionIsEmpty) {
  server().sql(is_mysql() ? "RESET BINARY LOGS AND GTIDS" : "RESET MASTER");
  open();
  EXPECT_EQ(snapshot_->position(), "");
  EXPECT_EQ(snapshot_->version(), Version{0});
}

TEST_P(SourceSnapshot, EveryTypeHasItsJsonForm) {
  server().sql(
      "CREATE TABLE t (id INT PRIMARY KEY, i1 TINYINT, u8 BIGINT UNSIGNED, i8 BIGINT, i3 MEDIUMINT, z INT(5) "
      "ZEROFILL,"
      " de DECIMAL(12,3), f FLOAT, d DOUBLE, bi BIT(12), b64 BIT(64), c CHAR(7), vc VARCHAR(20) CHARACTER "
      "SET latin1,"
      " bn BINARY(4), bl BLOB, da DATE, ti TIME(2), dt DATETIME(6), ts TIMESTAMP(3) NULL, y YEAR, e "
      "ENUM('a','it\"s'),"
      " s SET('x','y','z'), j JSON, v INT AS (id * 2) VIRTUAL, hidden INT INVISIBLE DEFAULT 9)");
  server().sql("SET time_zone='+03:00', sql_mode=''");
  server().sql(
      "INSERT INTO t VALUES (1, -128, 18446744073709551615, -9223372036854775808, -8388608, 42, -0.5, 0.1, "
      "1e100,"
      " b'101010101010', 0xffffffffffffffff, 'a  ', 'caf\xC3\xA9', 'ab', 0x00ff, '2026-01-08', "
      "'-838:59:58.99',"
      " '2026-01-08 10:00:00.123456', '2026-01-08 10:00:00.5', 2026, 'it\"s', 'x,z', '{\"a\": [1]}', "
      "DEFAULT)");
  server().sql(
      "INSERT INTO t VALUES (2, 127, 0, 9223372036854775807, 8388607, 0, 999999999.999, -1.5, 0, 0, 1, '', "
      "'', '', '',"
      " '0000-00-00', '00:00:00', '0000-00-00 00:00:00', 0, 0, 0, '', '\"\xF0\x9F\x98\x80\"', DEFAULT)");
  server().sql("INSERT INTO t (id, hidden) VALUES (3, NULL)");
  server().sql("SET time_zone=DEFAULT, sql_mode=DEFAULT");
  open();
  Rows rows;
  const TableRead done = read("t", rows);
  EXPECT_EQ(done.outcome, Outcome::kComplete) << done.reason;
  ASSERT_EQ(done.rows, 3u);
  ASSERT_EQ(rows.size(), 3u);
  auto row = rows.begin();
  EXPECT_THAT(row->second, ElementsAre("1", "-128", "18446744073709551615", "-9223372036854775808",
                                       "-8388608", "42", "-0.500", "0.1", "1e+100", "2730",
                                       "18446744073709551615", "\"a\"", "\"caf\xC3\xA9\"", "\"YWIAAA==\"",
                                       "\"AP8=\"", "\"2026-01-08\"", "\"-838:59:58.99\"",
                                       "\"2026-01-08T10:00:00.123456\"", "\"2026-01-08T07:00:00.500Z\"",
                                       "2026", "\"it\\\"s\"", "[\"x\",\"z\"]", "{\"a\": [1]}", "2", "9"));
  ++row;
  EXPECT_THAT(row->second,
              ElementsAre("2", "127", "0", "9223372036854775807", "8388607", "0", "999999999.999", "-1.5",
                          "0", "0", "1", "\"\"", "\"\"", "\"AAAAAA==\"", "\"\"", "\"0000-00-00\"",
                          "\"00:00:00.00\"", "\"0000-00-00T00:00:00.000000\"", "\"0000-00-00T00:00:00.000Z\"",
                          "0", "\"\"", "[]", "\"\xF0\x9F\x98\x80\"", "4", "9"));
  ++row;
  std::vector<std::string> nulls(25);
  nulls[0] = "3";
  nulls[23] = "6";
  EXPECT_EQ(row->second, nulls);
}

TEST_P(SourceSnapshot, SeesNothingOfLaterTransactionsAndSaysWhichItSees) {
  server().sql_all({"CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE b (id INT PRIMARY KEY)",
                    "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1), (2)"});
  const std::string before = position();
  open();
  EXPECT_EQ(snapshot_->position(), before);
  EXPECT_EQ(snapshot_->version(), Version{5});
  server().sql_all({"INSERT INTO a VALUES (5)", "DELETE FROM b"});
  Rows rows;
  EXPECT_EQ(read("a", rows).rows, 1u);
  server().sql("INSERT INTO a VALUES (6)");
  EXPECT_EQ(read("b", rows).rows, 2u);
  EXPECT_EQ(read("a", rows).rows, 1u);
}

TEST_P(SourceSnapshot, ATableChangedSinceIsSaidAndTheOthersGoOn) {
  server().sql_all(
      {"CREATE TABLE instant (id INT PRIMARY KEY)", "CREATE TABLE copied (id INT PRIMARY KEY, a INT)",
       "CREATE TABLE dropped (id INT PRIMARY KEY)", "CREATE TABLE emptied (id INT PRIMARY KEY)",
       "CREATE TABLE renamed (id INT PRIMARY KEY, a INT)", "CREATE TABLE kept (id INT PRIMARY KEY)"});
  for (const char* name : {"instant", "copied", "dropped", "emptied", "renamed", "kept"}) {
    server().sql(std::string("INSERT INTO ") + name + " (id) VALUES (1), (2)");
  }
  open();
  server().sql_all({"ALTER TABLE instant ADD COLUMN x INT",
                    "ALTER TABLE copied MODIFY a BIGINT, ALGORITHM=COPY", "DROP TABLE dropped",
                    "TRUNCATE TABLE emptied", "ALTER TABLE renamed RENAME COLUMN a TO b"});
  Rows rows;
  for (const char* name : {"instant", "copied", "dropped", "emptied", "renamed"}) {
    SCOPED_TRACE(name);
    const TableRead done = read(name, rows);
    EXPECT_EQ(done.outcome, Outcome::kChanged);
    EXPECT_NE(done.reason, "");
  }
  EXPECT_EQ(read("kept", rows).outcome, Outcome::kComplete);
  EXPECT_EQ(rows.size(), 2u);
}

TEST_P(SourceSnapshot, ATableThatWasReadIsFreeForAlterAgain) {
  server().sql_all({"CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"});
  open();
  Rows rows;
  EXPECT_EQ(read("t", rows).outcome, Outcome::kComplete);
  // Would time out if the snapshot still held the table's metadata lock.
  server().sql("SET SESSION lock_wait_timeout=5");
  EXPECT_NO_THROW(server().sql("ALTER TABLE t ADD COLUMN a INT"));
}

TEST_P(SourceSnapshot, ARowThatCannotBeExactRefusesItsTableOnly) {
  if (is_mysql()) GTEST_SKIP() << "a JSON value is always valid there";
  server().sql_all({"CREATE TABLE bad (id INT PRIMARY KEY, j JSON)", "CREATE TABLE good (id INT PRIMARY KEY)",
                    "SET SESSION check_constraint_checks=0",
                    "INSERT INTO bad VALUES (1, '{}'), (2, '{broken'), (3, '1')",
                    "SET SESSION check_constraint_checks=1", "INSERT INTO good VALUES (1)"});
  open();
  Rows rows;
  const TableRead bad = read("bad", rows);
  EXPECT_EQ(bad.outcome, Outcome::kRefused);
  EXPECT_THAT(bad.reason, HasSubstr("`j`"));
  EXPECT_EQ(read("good", rows).outcome, Outcome::kComplete);
  EXPECT_EQ(rows.size(), 1u);
}

TEST_P(SourceSnapshot, LongValuesAreWholeUpToTheLimit) {
  server().sql_all({"CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b LONGBLOB)",
                    "INSERT INTO t VALUES (1, 'short', NULL), (2, REPEAT('x', 3000000), REPEAT('y', 300)),"
                    " (3, '', REPEAT('z', 2000000)), (4, REPEAT('w', 1000), 'end')"});
  open();
  Rows rows;
  ASSERT_EQ(read("t", rows).outcome, Outcome::kComplete);
  ASSERT_EQ(rows.size(), 4u);
  auto row = rows.begin();
  EXPECT_EQ(row->second[1], "\"short\"");
  ++row;
  EXPECT_EQ(row->second[1], '"' + std::string(3'000'000, 'x') + '"');
  EXPECT_EQ(row->second[2].size(), 402u);
  ++row;
  EXPECT_EQ(row->second[1], "\"\"");
  EXPECT_EQ(row->second[2].size(), 2 + (2'000'000 + 2) / 3 * 4u);
  ++row;
  EXPECT_EQ(row->second[1], '"' + std::string(1000, 'w') + '"');
  EXPECT_EQ(row->second[2], "\"ZW5k\"");

  SnapshotOptions options;
  options.max_value_bytes = 1'000'000;
  open(options);
  const TableRead refused = read("t", rows);
  EXPECT_EQ(refused.outcome, Outcome::kRefused);
  EXPECT_THAT(refused.reason, HasSubstr("ring.max_record_size"));
}

TEST_P(SourceSnapshot, TheSinksErrorAndAnInterruptEndIt) {
  create_numbers("t", 17);
  open();
  auto read = snapshot_->read_table(table("t"), [](shm::RowBuilder&) -> Result<void> {
    return Error{ErrorKind::kLimit, "the ring is full"};
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, "the ring is full");

  open();
  std::uint64_t seen = 0;
  std::thread other;
  read = snapshot_->read_table(table("t"), [&](shm::RowBuilder&) -> Result<void> {
    if (++seen == 10) {
      other = std::thread([this] { snapshot_->interrupt(); });
      other.join();
    }
    return {};
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kUnavailable);
  EXPECT_FALSE(snapshot_->read_table(table("t"), [](shm::RowBuilder&) -> Result<void> { return {}; }));
}

TEST_P(SourceSnapshot, CompositeKeysFollowTheKeysOrder) {
  server().sql_all(
      {"CREATE TABLE t (a INT, b VARCHAR(10) COLLATE utf8mb4_bin, v INT, PRIMARY KEY (b, a))",
       "INSERT INTO t VALUES (2, 'x', 0), (1, 'y', 1), (3, 'x', 2), (-1, 'x', 3), (0, 'x ', 4)"});
  open();
  Rows rows;
  ASSERT_EQ(read("t", rows).outcome, Outcome::kComplete);
  std::vector<std::string> order;
  for (const auto& [key, values] : rows) order.push_back(values[1] + values[0]);
  EXPECT_THAT(order, ElementsAre("\"x\"-1", "\"x \"0", "\"x\"2", "\"x\"3", "\"y\"1"));
}

TEST_P(SourceSnapshot, AnOpenTransactionThatHasChangedATableIsWaitedForAndNamed) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB needs no lock";
  server().sql_all({"CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE b (id INT PRIMARY KEY)",
                    "CREATE TABLE refused (id INT)", "INSERT INTO b VALUES (1)"});
  auto writer = Connection::open(server().config("shop"), {});
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->execute("BEGIN"));
  ASSERT_TRUE((*writer)->execute("INSERT INTO shop.a VALUES (7)"));
  ASSERT_TRUE((*writer)->execute("INSERT INTO shop.refused VALUES (7)"));
  SnapshotOptions options;
  options.lock_attempts = 2;
  const auto refused = Snapshot::open(server().config("shop"), options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr("information_schema.INNODB_TRX"));
  // Whoever reads other tables only has not to wait.
  options.names = {"b"};
  open(options);
  Rows rows;
  EXPECT_EQ(read("b", rows).rows, 1u);
  // A transaction that ends meanwhile is waited for.
  std::thread other([&] {
    while (server().query_value(
               "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOCK TABLES%'") == "0") {
    }
    EXPECT_TRUE((*writer)->execute("COMMIT"));
  });
  auto snapshot = Snapshot::open(server().config("shop"), {});
  other.join();
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  snapshot_ = std::move(*snapshot);
  EXPECT_EQ(read("a", rows).rows, 1u);
  EXPECT_EQ(snapshot_->position(), position());
  EXPECT_GT(snapshot_->lock_time().count(), 0);
}

TEST_P(SourceSnapshot, AnInterruptEndsTheWaitForTheLock) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB needs no lock";
  server().sql("CREATE TABLE a (id INT PRIMARY KEY)");
  auto writer = Connection::open(server().config("shop"), {});
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->execute("BEGIN"));
  ASSERT_TRUE((*writer)->execute("INSERT INTO shop.a VALUES (7)"));
  Interrupter interrupter;
  std::thread other([&] {
    while (server().query_value(
               "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOCK TABLES%'") == "0") {
    }
    interrupter.interrupt();
  });
  SnapshotOptions options;
  options.lock_attempts = 1'000'000;
  options.connection.interrupter = &interrupter;
  const auto ended = Snapshot::open(server().config("shop"), options);
  other.join();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kUnavailable);
}

}  // namespace
}  // namespace ringside::writer
