// Snapshot and stream say the same: while four sessions change tables of every type, snapshots are taken, the stream
// is applied from each one's GTID on, and the result must equal a last snapshot of the resting server, byte for byte.
// The user has no more privileges than the checks ask for.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/clock.h"
#include "shm/key.h"
#include "tests/support/both_servers.h"
#include "writer/binlog/event.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"
#include "writer/source/binlog_stream.h"
#include "writer/source/gtid.h"
#include "writer/source/snapshot.h"

namespace ringside::writer {
namespace {

using testing::DatabaseServer;
using testing::ServerChoice;
using Rows = std::map<std::string, std::vector<std::string>>;  // normalised key → JSON values
using Tables = std::map<std::string, Rows>;

constexpr unsigned kSeed = 20260109;
constexpr int kAccounts = 50;
constexpr int kBalance = 1000;

std::vector<std::string> values_of(const shm::RowBuilder& row, std::size_t columns) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < columns; ++i) values.emplace_back(row.value(i));
  return values;
}

std::string key_of(const shm::Table& table, const shm::RowBuilder& row) {
  shm::KeyBuffer key;
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    const shm::KeyColumn& part = table.key[i];
    EXPECT_EQ(shm::append_key_from_json(table.shape.columns[part.column], part, i + 1 == table.key.size(),
                                        row.value(part.column), key),
              shm::KeyStatus::kOk);
  }
  return std::string(as_text(key.bytes()));
}

struct Captured {
  std::string position;
  std::vector<shm::Table> schema;
  Tables tables;
};

Captured take_snapshot(const MysqlConfig& config) {
  Captured captured;
  auto snapshot = Snapshot::open(config, {});
  if (!snapshot) {
    ADD_FAILURE() << snapshot.error().message;
    return captured;
  }
  captured.position = (*snapshot)->position();
  captured.schema = (*snapshot)->tables();
  for (const shm::Table& table : captured.schema) {
    EXPECT_EQ(table.reason, "") << table.name;
    Rows& rows = captured.tables[table.name];
    auto read = (*snapshot)->read_table(table, [&](shm::RowBuilder& row) -> Result<void> {
      const bool is_new = rows.emplace(row.key(), values_of(row, table.shape.columns.size())).second;
      EXPECT_TRUE(is_new) << table.name << " has a key twice";
      return {};
    });
    EXPECT_TRUE(read) << (read ? "" : read.error().message);
    if (!read) return captured;
    EXPECT_EQ(read->outcome, TableRead::Outcome::kComplete) << table.name << ": " << read->reason;
  }
  return captured;
}

// Applies the stream to what a snapshot captured.
class Follower {
 public:
  explicit Follower(Captured& captured) : captured_(captured), executed_(known_before(captured.position)) {}

  // Reads on until the transaction of version `last` has ended.
  void follow(BinlogStream& stream, std::uint64_t last) {
    const std::uint64_t deadline = monotonic_ns() + 60'000'000'000;
    while (ended_ < last && !::testing::Test::HasFailure()) {
      const BinlogStream::Packet packet = stream.read_packet(deadline);
      if (packet.outcome == BinlogStream::Outcome::kHeartbeat) continue;
      ASSERT_EQ(packet.outcome, BinlogStream::Outcome::kEvent) << stream.error().message;
      auto event = decoder_.decode(packet.event);
      ASSERT_TRUE(event) << event.error().message;
      apply(*event);
    }
  }
  std::uint64_t transactions() const { return transactions_; }
  // What was done to a table: kinds of row changes.
  const std::set<binlog::RowsOperation>& changes(const std::string& table) { return changes_[table]; }

 private:
  void apply(const binlog::Event& event) {
    if (std::holds_alternative<binlog::FormatDescription>(event.body)) maps_.clear();
    if (const auto* gtid = std::get_if<binlog::MariadbGtid>(&event.body)) {
      EXPECT_GT(gtid->sequence, current_);
      current_ = gtid->sequence;
      ++transactions_;
      ASSERT_FALSE(gtid->is_standalone());  // no DDL in this test
    }
    if (const auto* gtid = std::get_if<binlog::MysqlGtid>(&event.body)) {
      MysqlGtidSet::Source source;
      std::memcpy(source.uuid.data(), gtid->uuid.data(), source.uuid.size());
      EXPECT_FALSE(executed_.contains(source, gtid->number)) << "a transaction that the snapshot has";
      executed_.add(source, {gtid->number, gtid->number + 1});
      current_ = executed_.count();
      ++transactions_;
    }
    if (std::holds_alternative<binlog::Xid>(event.body)) ended_ = current_;
    if (const auto* map = std::get_if<binlog::TableMapEvent>(&event.body)) {
      const auto put = maps_.put(*map);
      ASSERT_TRUE(put) << put.error().message;
    }
    if (const auto* rows = std::get_if<binlog::RowsEvent>(&event.body)) apply_rows(*rows);
  }

  void apply_rows(const binlog::RowsEvent& event) {
    const binlog::TableMap* const map = maps_.find(event.table_id);
    ASSERT_NE(map, nullptr);
    const shm::Table* table = nullptr;
    for (const shm::Table& candidate : captured_.schema) {
      if (candidate.name == map->table) table = &candidate;
    }
    ASSERT_NE(table, nullptr) << map->table;
    auto decoder = binlog::RowDecoder::make(table->shape, *map);
    ASSERT_TRUE(decoder) << decoder.error().message;
    auto begun = decoder->begin(event);
    ASSERT_TRUE(begun) << begun.error().message;
    Rows& rows = captured_.tables[table->name];
    while (true) {
      auto more = decoder->next(before_, after_);
      ASSERT_TRUE(more) << more.error().message;
      if (!*more) return;
      const std::size_t columns = table->shape.columns.size();
      changes_[table->name].insert(event.operation);
      if (event.operation != binlog::RowsOperation::kWrite) {
        const auto found = rows.find(key_of(*table, before_));
        ASSERT_NE(found, rows.end()) << table->name << ": a change of a row that is not there";
        EXPECT_EQ(found->second, values_of(before_, columns)) << table->name;
        rows.erase(found);
      }
      if (event.operation != binlog::RowsOperation::kDelete) {
        const bool is_new = rows.emplace(key_of(*table, after_), values_of(after_, columns)).second;
        ASSERT_TRUE(is_new) << table->name << ": a row that is there already";
      }
    }
  }

  static MysqlGtidSet known_before(const std::string& position) {
    const auto set = MysqlGtidSet::parse(position);
    return set ? *set : MysqlGtidSet();  // MariaDB's is none
  }

  Captured& captured_;
  MysqlGtidSet executed_;
  binlog::EventDecoder decoder_;
  binlog::TableMaps maps_;
  shm::RowBuilder before_;
  shm::RowBuilder after_;
  std::uint64_t current_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t transactions_ = 0;
  std::map<std::string, std::set<binlog::RowsOperation>> changes_;
};

constexpr const char* kCreateEveryType =
    "CREATE TABLE every (a INT, b VARCHAR(12) COLLATE utf8mb4_bin, i1 TINYINT, u1 TINYINT UNSIGNED, i3 "
    "MEDIUMINT,"
    " u3 MEDIUMINT UNSIGNED, u8 BIGINT UNSIGNED, de DECIMAL(20,6), dz DECIMAL(9,0), f FLOAT, d DOUBLE, bi "
    "BIT(17),"
    " c CHAR(9), cb CHAR(5) CHARACTER SET latin1 COLLATE latin1_bin, l VARCHAR(300) CHARACTER SET latin1, t3 "
    "TEXT"
    " CHARACTER SET utf8mb3, asc1 VARCHAR(9) CHARACTER SET ascii, bn BINARY(6), vb VARBINARY(400), bl BLOB, "
    "da DATE,"
    " t0 TIME, t6 TIME(6), dt0 DATETIME, dt3 DATETIME(3), ts0 TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL, y YEAR,"
    " e ENUM('red','gr\xC3\xBCn','it''s') CHARACTER SET latin1, s SET('x','y','z'), j JSON,"
    " st VARCHAR(30) AS (CONCAT(i1, '/', u1)) STORED, vi BIGINT AS (i3 * 2) VIRTUAL, inv INT INVISIBLE "
    "DEFAULT 5,"
    " PRIMARY KEY (b, a))";

// One value expression for each column that takes one, evaluated by the server.
constexpr const char* kRandomValues =
    "IF(RAND()<.1,NULL,FLOOR(RAND()*256)-128), IF(RAND()<.1,NULL,FLOOR(RAND()*256)),"
    " IF(RAND()<.1,NULL,FLOOR(RAND()*16777216)-8388608), FLOOR(RAND()*16777216),"
    " CAST(FLOOR(RAND()*4294967296) AS UNSIGNED)*4294967296+FLOOR(RAND()*4294967296), (RAND()-.5)*1e13,"
    " ROUND((RAND()-.5)*1e9), (RAND()-.5)*POW(10,FLOOR(RAND()*60)-30), "
    "(RAND()-.5)*POW(10,FLOOR(RAND()*400)-200),"
    " FLOOR(RAND()*131072), REPEAT(ELT(1+FLOOR(RAND()*4),'a',' "
    "','\xC3\xA9','\xF0\x9F\x98\x80'),FLOOR(RAND()*9)),"
    " ELT(1+FLOOR(RAND()*3),'','\xC3\xA9 ','\xE2\x82\xACx'), "
    "REPEAT(CHAR(33+FLOOR(RAND()*90)),FLOOR(RAND()*300)),"
    " IF(RAND()<.1,NULL,REPEAT('\xE6\x97\xA5\"\\\\\\n',FLOOR(RAND()*2000))), "
    "SUBSTR(HEX(RANDOM_BYTES(8)),1,FLOOR(RAND()*9)),"
    " UNHEX(CONCAT(HEX(FLOOR(RAND()*200)),'00')), REPEAT(RANDOM_BYTES(1),FLOOR(RAND()*400)),"
    " IF(RAND()<.1,NULL,REPEAT(RANDOM_BYTES(16),FLOOR(RAND()*300))),"
    " IF(RAND()<.1,'0000-00-00',DATE_ADD('1000-01-01',INTERVAL FLOOR(RAND()*3000000) DAY)),"
    " SEC_TO_TIME(FLOOR((RAND()-.5)*6040000)), SEC_TO_TIME(ROUND((RAND()-.5)*6040000,6)),"
    " FROM_UNIXTIME(FLOOR(RAND()*2e9)), IF(RAND()<.1,'2026-00-00',FROM_UNIXTIME(ROUND(RAND()*2e9,3))),"
    " IF(RAND()<.1,0,FROM_UNIXTIME(1+FLOOR(RAND()*2e9))), "
    "IF(RAND()<.1,NULL,FROM_UNIXTIME(1+ROUND(RAND()*2e9,6))),"
    " IF(RAND()<.1,0,1901+FLOOR(RAND()*255)), IF(RAND()<.1,NULL,FLOOR(RAND()*4)), FLOOR(RAND()*8),"
    " IF(RAND()<.1,NULL,JSON_OBJECT('k',RAND(),'t','\xF0\x9F\x98\x80'))";
constexpr const char* kRandomColumns =
    "a, b, i1, u1, i3, u3, u8, de, dz, f, d, bi, c, cb, l, t3, asc1, bn, vb, bl, da, t0, t6, dt0, dt3, ts0, "
    "ts6, y, e,"
    " s, j";

// One session's changes until it is told to stop; failed statements (duplicate keys, deadlocks) are part of the game.
void change_at_random(const MysqlConfig& config, bool is_mysql, unsigned seed,
                      const std::atomic<bool>& stops) {
  auto opened = Connection::open(config, {});
  ASSERT_TRUE(opened) << opened.error().message;
  Connection& session = **opened;
  ASSERT_TRUE(session.execute("USE shop"));
  std::mt19937 random(seed);
  const auto below = [&random](unsigned n) { return std::to_string(random() % n); };
  const auto attempt = [&session](const std::string& sql) { return session.execute(sql).has_value(); };
  while (!stops.load(std::memory_order_relaxed)) {
    const std::string key = "a=" + below(20) + " AND b='k" + below(9) + "'";
    const std::string row = "(" + below(20) + ",'k" + below(9) + "'," + kRandomValues + ")";
    ASSERT_TRUE(session.execute("BEGIN"));
    bool goes_well = true;
    switch (random() % (is_mysql ? 9 : 6)) {
      case 0:
        goes_well = attempt("INSERT INTO every (" + std::string(kRandomColumns) + ") VALUES " + row);
        break;
      case 1:
        goes_well = attempt("REPLACE INTO every (" + std::string(kRandomColumns) + ") VALUES " + row);
        break;
      case 2:
        goes_well = attempt("UPDATE every SET i1=" + below(100) + ", i3=RAND()*1000, t3=RAND() WHERE " + key);
        break;
      case 3:
        goes_well = attempt("UPDATE every SET a=a+1, b=CONCAT('k'," + below(9) + ") WHERE " + key);
        break;
      case 4:
        goes_well = attempt("DELETE FROM every WHERE a=" + below(20));
        break;
      case 6:  // the same key to the server, another one by its bytes
        goes_well = attempt("INSERT INTO words VALUES (ELT(" + below(4) +
                            "+1,'stra\xC3\x9F"
                            "e','STRASSE','\xC3\x84rger','arger'), RAND()*99) ON DUPLICATE KEY UPDATE "
                            "word=VALUES(word), n=n+1") &&
                    attempt("DELETE FROM words WHERE n > 95");
        break;
      case 7: {
        const std::string id = below(20);
        goes_well = random() % 2 == 0
                        ? attempt("INSERT INTO parents (id) VALUES (" + id + ")") &&
                              attempt("INSERT INTO children (p, v) VALUES (" + id + ",1),(" + id + ",2)")
                        : attempt("DELETE FROM parents WHERE id=" + id) &&
                              attempt("UPDATE parents SET id=id+20 WHERE id=" + below(20));
        break;
      }
      case 8: {
        const std::string name = random() % 2 == 0 ? "documents" : "parted";
        goes_well = attempt("INSERT INTO " + name + " VALUES (" + below(30) +
                            ", JSON_OBJECT('n', JSON_ARRAY(" + below(9) + "," + below(9) +
                            "), 'd', RAND(), 't', REPEAT('\xC3\xA9', RAND()*200))) ON DUPLICATE KEY UPDATE "
                            "j=JSON_SET(j, '$.n[0]', " +
                            below(9) + ", '$.more', NOW(6))") &&
                    attempt("UPDATE " + name + " SET id=id+30 WHERE id=" + below(30)) &&
                    attempt("DELETE FROM " + name + " WHERE id >= 50");
        break;
      }
      default: {
        const std::string amount = below(50);
        goes_well =
            attempt("UPDATE payers SET balance=balance-" + amount + " WHERE id=" + below(kAccounts)) &&
            attempt("UPDATE payees SET balance=balance+" + amount + " WHERE id=" + below(kAccounts));
      }
    }
    ASSERT_TRUE(session.execute(goes_well ? "COMMIT" : "ROLLBACK"));
  }
}

long total_balance(const Captured& captured) {
  long total = 0;
  for (const char* name : {"payers", "payees"}) {
    for (const auto& [key, values] : captured.tables.at(name)) total += std::stol(values.at(1));
  }
  return total;
}

// What MySQL has beyond these types: keys of its default collation, foreign keys that act in the binlog, keys that it makes
// itself, indexes over hidden columns, partitions.
const std::vector<std::string>& mysql_tables() {
  static const std::vector<std::string> statements = {
      "CREATE TABLE words (word VARCHAR(20) PRIMARY KEY, n INT)",
      "CREATE TABLE parents (id INT PRIMARY KEY, v INT AS (id * 2) VIRTUAL, KEY ((v + 1)), UNIQUE ((id + "
      "7)))",
      "SET sql_generate_invisible_primary_key=ON",
      "CREATE TABLE children (p INT, v INT, FOREIGN KEY (p) REFERENCES parents (id) ON DELETE CASCADE ON "
      "UPDATE SET NULL)",
      "SET sql_generate_invisible_primary_key=DEFAULT",
      "CREATE TABLE parted (id INT PRIMARY KEY, j JSON) PARTITION BY HASH (id) PARTITIONS 3",
      "CREATE TABLE documents (id INT PRIMARY KEY, j JSON, KEY ((CAST(j->'$.n' AS UNSIGNED ARRAY))))",
  };
  return statements;
}

// By its position.
std::uint64_t version_of(const std::string& position) {
  const auto set = MysqlGtidSet::parse(position);
  return set ? set->count() : parse_mariadb_gtid(position)->sequence;
}

class SourceExactness : public ::testing::TestWithParam<ServerChoice> {
 protected:
  void SetUp() override {
    if (is_mysql() && !testing::MysqlServer::is_there())
      GTEST_SKIP() << testing::MysqlServer::how_to_get_it();
    // Not durable, and so many more transactions in the same time.
    server_ = testing::start_server(
        GetParam(),
        {.settings = {"sync-binlog=0", "innodb-flush-log-at-trx-commit=0", "innodb-lock-wait-timeout=2"}});
    server_->sql_all({"CREATE DATABASE shop CHARACTER SET utf8mb4", "USE shop", kCreateEveryType});
    for (const std::string name : {"payers", "payees"}) {
      server_->sql("CREATE TABLE " + name + " (id INT PRIMARY KEY, balance INT NOT NULL)");
      std::string rows;
      for (int id = 0; id < kAccounts; ++id)
        rows += fmt::format("{}({}, {})", id == 0 ? "" : ",", id, kBalance);
      server_->sql("INSERT INTO " + name + " VALUES " + rows);
    }
    if (is_mysql()) server_->sql_all(mysql_tables());
    server_->sql_all({"CREATE USER capture@localhost", "GRANT REPLICATION SLAVE ON *.* TO capture@localhost",
                      is_mysql() ? "GRANT SELECT, LOCK TABLES ON shop.* TO capture@localhost"
                                 : "GRANT SELECT ON shop.* TO capture@localhost"});
  }
  bool is_mysql() const { return GetParam() == ServerChoice::kMySql; }
  std::uint64_t version() {
    return version_of(
        server_->query_value(is_mysql() ? "SELECT @@GLOBAL.gtid_executed" : "SELECT @@gtid_binlog_pos"));
  }

  std::unique_ptr<DatabaseServer> server_;
};
RINGSIDE_ON_BOTH_SERVERS(SourceExactness);

TEST_P(SourceExactness, AnySnapshotAndItsStreamEqualTheTruth) {
  SCOPED_TRACE(kSeed);
  MysqlConfig reader = server_->config("shop");
  reader.user = "capture";

  std::atomic<bool> stops{false};
  std::vector<std::thread> sessions;
  for (unsigned i = 0; i < 4; ++i) {
    sessions.emplace_back(
        [&, i] { change_at_random(server_->config("shop"), is_mysql(), kSeed + i, stops); });
  }
  std::vector<Captured> snapshots;
  for (int round = 0; round < 5; ++round) {
    // Some tens of transactions further each time, by the server's own count.
    const std::uint64_t before = version();
    while (version() < before + 100) {
    }
    snapshots.push_back(take_snapshot(reader));
  }
  stops.store(true, std::memory_order_relaxed);
  for (std::thread& session : sessions) session.join();

  const Captured truth = take_snapshot(reader);
  const std::uint64_t last = version_of(truth.position);
  ASSERT_GT(truth.tables.at("every").size(), 10u);
  ASSERT_EQ(total_balance(truth), 2L * kAccounts * kBalance);
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    SCOPED_TRACE("snapshot at " + snapshots[i].position);
    EXPECT_EQ(total_balance(snapshots[i]), 2L * kAccounts * kBalance);
    StreamOptions options;
    options.position = snapshots[i].position;
    options.server_id = 9000 + static_cast<std::uint32_t>(i);
    auto stream = BinlogStream::open(reader, options);
    ASSERT_TRUE(stream) << stream.error().message;
    Follower follower(snapshots[i]);
    follower.follow(**stream, last);
    if (i == 0) {
      for (const auto& [name, rows] : truth.tables) {
        const std::size_t kinds = name.starts_with("pay") ? 1 : 3;  // balances only change
        EXPECT_EQ(follower.changes(name).size(), kinds)
            << "the test must have made changes of every kind: " << name;
      }
    }
    EXPECT_EQ(follower.transactions(), last - version_of(snapshots[i].position));
    for (const auto& [name, rows] : truth.tables) EXPECT_EQ(snapshots[i].tables[name], rows) << name;
  }
}

}  // namespace
}  // namespace ringside::writer
