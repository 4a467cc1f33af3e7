// Snapshots of a real server: every type's value, tables changed or refused meanwhile, limits, interruption.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "tests/support/mariadb_server.h"
#include "writer/source/gtid.h"
#include "writer/source/snapshot.h"

namespace ringside::writer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MariadbServer;
using Outcome = TableRead::Outcome;
using Rows = std::map<std::string, std::vector<std::string>>;  // by normalised key

class SourceSnapshot : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.sql("CREATE DATABASE shop CHARACTER SET utf8mb4");
    server_.sql("USE shop");
  }

  void open(SnapshotOptions options = {}) {
    auto snapshot = Snapshot::open(server_.config("shop"), options);
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

  MariadbServer server_;
  std::unique_ptr<Snapshot> snapshot_;
};

TEST_F(SourceSnapshot, BeforeTheFirstTransactionThePositionIsEmpty) {
  MariadbServer fresh;
  auto snapshot = Snapshot::open(fresh.config("mysql"), {});
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  EXPECT_EQ((*snapshot)->position(), "");
  EXPECT_EQ((*snapshot)->version(), Version{0});
}

TEST_F(SourceSnapshot, EveryTypeHasItsJsonForm) {
  server_.sql(
      "CREATE TABLE t (id INT PRIMARY KEY, i1 TINYINT, u8 BIGINT UNSIGNED, i8 BIGINT, i3 MEDIUMINT, z INT(5) "
      "ZEROFILL,"
      " de DECIMAL(12,3), f FLOAT, d DOUBLE, bi BIT(12), b64 BIT(64), c CHAR(7), vc VARCHAR(20) CHARACTER "
      "SET latin1,"
      " bn BINARY(4), bl BLOB, da DATE, ti TIME(2), dt DATETIME(6), ts TIMESTAMP(3) NULL, y YEAR, e "
      "ENUM('a','it\"s'),"
      " s SET('x','y','z'), j JSON, v INT AS (id * 2) VIRTUAL, hidden INT INVISIBLE DEFAULT 9)");
  server_.sql("SET time_zone='+03:00', sql_mode=''");
  server_.sql(
      "INSERT INTO t VALUES (1, -128, 18446744073709551615, -9223372036854775808, -8388608, 42, -0.5, 0.1, "
      "1e100,"
      " b'101010101010', 0xffffffffffffffff, 'a  ', 'caf\xC3\xA9', 'ab', 0x00ff, '2026-01-08', "
      "'-838:59:59.99',"
      " '2026-01-08 10:00:00.123456', '2026-01-08 10:00:00.5', 2026, 'it\"s', 'x,z', '{\"a\": [1]}', "
      "DEFAULT)");
  server_.sql(
      "INSERT INTO t VALUES (2, 127, 0, 9223372036854775807, 8388607, 0, 999999999.999, -1.5, 0, 0, 1, '', "
      "'', '', '',"
      " '0000-00-00', '00:00:00', '0000-00-00 00:00:00', 0, 0, 0, '', '\"\xF0\x9F\x98\x80\"', DEFAULT)");
  server_.sql("INSERT INTO t (id, hidden) VALUES (3, NULL)");
  server_.sql("SET time_zone='SYSTEM', sql_mode=DEFAULT");
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
                                       "\"AP8=\"", "\"2026-01-08\"", "\"-838:59:59.99\"",
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

TEST_F(SourceSnapshot, SeesNothingOfLaterTransactionsAndSaysWhichItSees) {
  server_.sql_all({"CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE b (id INT PRIMARY KEY)",
                   "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1), (2)"});
  const std::string position = server_.query_value("SELECT @@gtid_binlog_pos");
  open();
  EXPECT_EQ(snapshot_->position(), position);
  EXPECT_EQ(snapshot_->version(), parse_mariadb_gtid(position)->version());
  server_.sql_all({"INSERT INTO a VALUES (5)", "DELETE FROM b"});
  Rows rows;
  EXPECT_EQ(read("a", rows).rows, 1u);
  server_.sql("INSERT INTO a VALUES (6)");
  EXPECT_EQ(read("b", rows).rows, 2u);
  EXPECT_EQ(read("a", rows).rows, 1u);
}

TEST_F(SourceSnapshot, ATableChangedSinceIsSaidAndTheOthersGoOn) {
  server_.sql_all(
      {"CREATE TABLE instant (id INT PRIMARY KEY)", "CREATE TABLE copied (id INT PRIMARY KEY, a INT)",
       "CREATE TABLE dropped (id INT PRIMARY KEY)", "CREATE TABLE emptied (id INT PRIMARY KEY)",
       "CREATE TABLE renamed (id INT PRIMARY KEY, a INT)", "CREATE TABLE kept (id INT PRIMARY KEY)"});
  for (const char* name : {"instant", "copied", "dropped", "emptied", "renamed", "kept"}) {
    server_.sql(std::string("INSERT INTO ") + name + " (id) VALUES (1), (2)");
  }
  open();
  server_.sql_all({"ALTER TABLE instant ADD COLUMN x INT",
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

TEST_F(SourceSnapshot, ATableThatWasReadIsFreeForAlterAgain) {
  server_.sql_all({"CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"});
  open();
  Rows rows;
  EXPECT_EQ(read("t", rows).outcome, Outcome::kComplete);
  // Would time out if the snapshot still held the table's metadata lock.
  server_.sql("SET SESSION lock_wait_timeout=5");
  EXPECT_NO_THROW(server_.sql("ALTER TABLE t ADD COLUMN a INT"));
}

TEST_F(SourceSnapshot, ARowThatCannotBeExactRefusesItsTableOnly) {
  server_.sql_all({"CREATE TABLE bad (id INT PRIMARY KEY, j JSON)", "CREATE TABLE good (id INT PRIMARY KEY)",
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

TEST_F(SourceSnapshot, LongValuesAreWholeUpToTheLimit) {
  server_.sql_all({"CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b LONGBLOB)",
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

TEST_F(SourceSnapshot, TheSinksErrorAndAnInterruptEndIt) {
  server_.sql_all({"CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1_to_100000"});
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

TEST_F(SourceSnapshot, CompositeKeysFollowTheKeysOrder) {
  server_.sql_all({"CREATE TABLE t (a INT, b VARCHAR(10) COLLATE utf8mb4_bin, v INT, PRIMARY KEY (b, a))",
                   "INSERT INTO t VALUES (2, 'x', 0), (1, 'y', 1), (3, 'x', 2), (-1, 'x', 3), (0, 'x ', 4)"});
  open();
  Rows rows;
  ASSERT_EQ(read("t", rows).outcome, Outcome::kComplete);
  std::vector<std::string> order;
  for (const auto& [key, values] : rows) order.push_back(values[1] + values[0]);
  EXPECT_THAT(order, ElementsAre("\"x\"-1", "\"x \"0", "\"x\"2", "\"x\"3", "\"y\"1"));
}

}  // namespace
}  // namespace ringside::writer
