// What information_schema says becomes tables, keys, and reasons: the pure part first, then a real server's
// answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/both_servers.h"
#include "writer/source/column_type.h"
#include "writer/source/schema.h"

namespace ringside::writer {
namespace {

using shm::ValueKind;
using testing::BothServers;
using ::testing::HasSubstr;

TEST(ColumnLabels, AreUnescaped) {
  EXPECT_THAT(*parse_labels("enum('a','it''s','x,y','q\\\\','nl\\n','cr\\r')"),
              ::testing::ElementsAre("a", "it's", "x,y", "q\\", "nl\n", "cr\r"));
  EXPECT_THAT(*parse_labels("set('a)b','')"), ::testing::ElementsAre("a)b", ""));
  EXPECT_EQ(parse_labels("enum('nul\\0')")->front(), std::string("nul\0", 4));
  for (const char* text :
       {"enum", "enum(", "enum()", "enum('a'", "enum('a',)", "enum('a\\x')", "enum('a'b')", "enum('a"}) {
    EXPECT_FALSE(parse_labels(text)) << text;
  }
}

TEST(ColumnType, RefusesALabelThatMayHaveLostACharacter) {
  ColumnDescription description;
  description.name = "e";
  description.data_type = "enum";
  description.column_type = "enum('b?')";
  description.charset = "utf8mb4";
  description.collation = "utf8mb4_general_ci";
  EXPECT_THAT(read_column(description, Flavour::kMariaDb).problem, HasSubstr("beyond U+FFFF"));
  description.charset = "latin1";
  EXPECT_EQ(read_column(description, Flavour::kMariaDb).problem, "");
}

std::vector<shm::Column> columns_for_expressions() {
  std::vector<shm::Column> columns(5);
  columns[0] = {
      .name = "a", .kind = ValueKind::kInteger, .sql_type = "int(11)", .collation = {}, .labels = {}};
  columns[1] = {.name = "u",
                .kind = ValueKind::kUnsigned,
                .sql_type = "int(10) unsigned",
                .collation = {},
                .labels = {}};
  columns[2] = {
      .name = "ts", .kind = ValueKind::kTimestamp, .sql_type = "timestamp", .collation = {}, .labels = {}};
  columns[3] = {
      .name = "v`x", .kind = ValueKind::kText, .sql_type = "varchar(10)", .collation = {}, .labels = {}};
  columns[4] = {.name = "c",
                .kind = ValueKind::kText,
                .sql_type = "char(3)",
                .collation = {},
                .width = 3,
                .labels = {}};
  return columns;
}

TEST(VirtualColumns, OnlyWhatFollowsFromTheRowIsAccepted) {
  const auto columns = columns_for_expressions();
  std::string why_not;
  for (const char* expression : {"`a` + 1", "`a` - 1", "`a` * `u` % 7", "concat(`v``x`,_utf8mb4'now(',`a`)",
                                 "coalesce(`v``x`,'it''s')", "case when `a` > 5 then 'x' else NULL end",
                                 "json_value(`v``x`,'$.a')", "cast(`a` as char charset utf8mb4)"}) {
    EXPECT_TRUE(is_session_independent(expression, columns, why_not)) << expression << ": " << why_not;
  }
  for (const char* expression :
       {"now()", "cast(`ts` as char)", "`u` - 1", "`a` / 3", "concat(`c`,'x')", "rand()", "@@sql_mode",
        "`missing` + 1", "date_format(`a`,'%W')", "'unfinished", "`a` + user()"}) {
    why_not.clear();
    EXPECT_FALSE(is_session_independent(expression, columns, why_not)) << expression;
    EXPECT_NE(why_not, "") << expression;
  }
}

std::map<std::string, shm::Table> by_name(Result<std::vector<shm::Table>> tables) {
  EXPECT_TRUE(tables) << (tables ? "" : tables.error().message);
  std::map<std::string, shm::Table> named;
  if (tables) {
    for (shm::Table& table : *tables) named.emplace(table.name, table);
  }
  return named;
}

class SourceSchema : public BothServers {
 protected:
  void SetUp() override {
    BothServers::SetUp();
    if (IsSkipped()) return;
    auto connection = Connection::open(server().config("shop"), {});
    ASSERT_TRUE(connection) << connection.error().message;
    connection_ = std::move(*connection);
  }

  std::map<std::string, shm::Table> read(const MysqlConfig& config) {
    return by_name(read_schema(*connection_, config));
  }
  std::map<std::string, shm::Table> read() { return read(server().config("shop")); }

  // Each statement creates one table; the reason why it is refused, or part of it; empty: it is not.
  using Cases = std::vector<std::pair<std::string, std::string>>;
  void expect_reasons(const Cases& cases) {
    for (const auto& [statement, reason] : cases) server().sql(statement);
    const auto tables = read();
    ASSERT_EQ(tables.size(), cases.size());
    for (const auto& [statement, reason] : cases) {
      SCOPED_TRACE(statement);
      const std::string name = statement.substr(13, statement.find(' ', 13) - 13);
      ASSERT_TRUE(tables.contains(name));
      const shm::Table& table = tables.at(name);
      if (reason.empty()) {
        EXPECT_EQ(table.reason, "");
        EXPECT_EQ(table.state, shm::TableState::kLoading);
      } else {
        EXPECT_THAT(table.reason, HasSubstr(reason));
        EXPECT_EQ(table.state, shm::TableState::kQuarantined);
      }
    }
  }

  std::unique_ptr<Connection> connection_;
};
RINGSIDE_ON_BOTH_SERVERS(SourceSchema);

struct Expected {
  ValueKind kind;
  std::string sql_type;
  std::uint32_t width = 0;
  int precision = 0;
  int scale = 0;
  std::string collation = {};
};

// MySQL shows no width where it says nothing, has a collation of its own for utf8mb4, and a type for JSON.
Expected as_mysql_says(Expected expected) {
  const bool is_integer = expected.kind == ValueKind::kInteger || expected.kind == ValueKind::kUnsigned;
  const std::size_t open = expected.sql_type.find('(');
  const bool keeps_width = expected.sql_type == "tinyint(1)" || expected.sql_type.ends_with("zerofill");
  if ((is_integer && !keeps_width) || expected.kind == ValueKind::kYear) {
    expected.sql_type.erase(open, expected.sql_type.find(')') + 1 - open);
  }
  if (expected.collation == "utf8mb4_general_ci") expected.collation = "utf8mb4_0900_ai_ci";
  if (expected.kind == ValueKind::kJson) expected = {.kind = ValueKind::kJson, .sql_type = "json"};
  return expected;
}

TEST_P(SourceSchema, EveryTypeIsRead) {
  server().sql(
      "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, i1 TINYINT, u1 TINYINT UNSIGNED, i2 SMALLINT, i3 "
      "MEDIUMINT,"
      " i4 INT, u4 INT UNSIGNED ZEROFILL, i8 BIGINT, b BOOL, de DECIMAL(12,3), dd DECIMAL(5), f FLOAT, d "
      "DOUBLE,"
      " bi BIT(12), c CHAR(7) COLLATE utf8mb4_bin, vc VARCHAR(20) CHARACTER SET latin1, t3 TEXT CHARACTER "
      "SET utf8mb3,"
      " ta VARCHAR(9) CHARACTER SET ascii, bn BINARY(4), vb VARBINARY(9), bl BLOB, da DATE, ti TIME(2), dt "
      "DATETIME(6),"
      " ts TIMESTAMP NULL, y YEAR, e ENUM('a','it''s'), s SET('x','y'), j JSON, lt LONGTEXT, n INT NOT "
      "NULL)");
  const auto tables = read();
  ASSERT_TRUE(tables.contains("t"));
  const shm::Table& table = tables.at("t");
  EXPECT_EQ(table.reason, "");
  EXPECT_EQ(table.state, shm::TableState::kLoading);
  EXPECT_EQ(table.key_name, "PRIMARY");
  ASSERT_EQ(table.key.size(), 1u);
  EXPECT_EQ(table.key[0].column, 0u);
  const std::vector<Expected> expected = {
      {ValueKind::kUnsigned, "bigint(20) unsigned", 8},
      {ValueKind::kInteger, "tinyint(4)", 1},
      {ValueKind::kUnsigned, "tinyint(3) unsigned", 1},
      {ValueKind::kInteger, "smallint(6)", 2},
      {ValueKind::kInteger, "mediumint(9)", 3},
      {ValueKind::kInteger, "int(11)", 4},
      {ValueKind::kUnsigned, "int(10) unsigned zerofill", 4},
      {ValueKind::kInteger, "bigint(20)", 8},
      {ValueKind::kInteger, "tinyint(1)", 1},
      {ValueKind::kDecimal, "decimal(12,3)", 0, 12, 3},
      {ValueKind::kDecimal, "decimal(5,0)", 0, 5, 0},
      {ValueKind::kFloat, "float"},
      {ValueKind::kDouble, "double"},
      {ValueKind::kBit, "bit(12)", 12},
      {ValueKind::kText, "char(7)", 7, 0, 0, "utf8mb4_bin"},
      {ValueKind::kText, "varchar(20)", 0, 0, 0, "latin1_swedish_ci"},
      {ValueKind::kText, "text", 0, 0, 0, "utf8mb3_general_ci"},
      {ValueKind::kText, "varchar(9)", 0, 0, 0, "ascii_general_ci"},
      {ValueKind::kBinary, "binary(4)", 4},
      {ValueKind::kBinary, "varbinary(9)"},
      {ValueKind::kBinary, "blob"},
      {ValueKind::kDate, "date"},
      {ValueKind::kTime, "time(2)", 0, 0, 2},
      {ValueKind::kDatetime, "datetime(6)", 0, 0, 6},
      {ValueKind::kTimestamp, "timestamp"},
      {ValueKind::kYear, "year(4)"},
      {ValueKind::kEnum, "enum('a','it''s')", 0, 0, 0, "utf8mb4_general_ci"},
      {ValueKind::kSet, "set('x','y')", 0, 0, 0, "utf8mb4_general_ci"},
      {ValueKind::kJson, "longtext", 0, 0, 0, "utf8mb4_bin"},
      {ValueKind::kText, "longtext", 0, 0, 0, "utf8mb4_general_ci"},
      {ValueKind::kInteger, "int(11)", 4},
  };
  ASSERT_EQ(table.shape.columns.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const shm::Column& column = table.shape.columns[i];
    SCOPED_TRACE(column.name);
    const Expected wanted = is_mysql() ? as_mysql_says(expected[i]) : expected[i];
    EXPECT_EQ(column.kind, wanted.kind);
    EXPECT_EQ(column.sql_type, wanted.sql_type);
    EXPECT_EQ(column.width, wanted.width);
    EXPECT_EQ(column.precision, wanted.precision);
    EXPECT_EQ(column.scale, wanted.scale);
    EXPECT_EQ(column.collation, wanted.collation);
    EXPECT_EQ(column.nullable, column.name != "id" && column.name != "n");
  }
  EXPECT_THAT(table.shape.columns[26].labels, ::testing::ElementsAre("a", "it's"));
  EXPECT_THAT(table.shape.columns[27].labels, ::testing::ElementsAre("x", "y"));
}

TEST_P(SourceSchema, ATableThatCannotBeExactIsQuarantinedWithItsReason) {
  Cases cases = {
      {"CREATE TABLE nokey (a INT)", "no PRIMARY or UNIQUE key"},
      {"CREATE TABLE nullkey (a INT, UNIQUE (a))", "allows NULL in `a`"},
      {"CREATE TABLE prefixkey (a VARCHAR(20) NOT NULL, PRIMARY KEY (a(5)))", "prefix of `a`"},
      {"CREATE TABLE floatkey (a FLOAT PRIMARY KEY)", "cannot be a key"},
      {"CREATE TABLE geo (id INT PRIMARY KEY, a POINT)", "type point"},
      {"CREATE TABLE greek (id INT PRIMARY KEY, a VARCHAR(5) CHARACTER SET greek)", "character set greek"},
      {"CREATE TABLE emoji (id INT PRIMARY KEY, a ENUM('\xF0\x9F\x98\x80'))", "beyond U+FFFF"},
      {"CREATE TABLE my (id INT PRIMARY KEY) ENGINE=MyISAM", "engine is MyISAM"},
      {"CREATE TABLE parent (id INT PRIMARY KEY)", ""},
      {"CREATE TABLE restricting (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id))", ""},
      {"CREATE TABLE kept (id INT PRIMARY KEY, a VARCHAR(40) AS (CONCAT(id, 'x')) STORED)", ""},
      {"CREATE TABLE purevirt (id INT PRIMARY KEY, a INT AS (id + 1) VIRTUAL)", ""},
      {"CREATE TABLE quotedvirt (id INT PRIMARY KEY, a VARCHAR(40) AS (CONCAT(id, 'it''s \\\\')) VIRTUAL)",
       ""},
      {"CREATE TABLE hidden (id INT PRIMARY KEY, a INT INVISIBLE DEFAULT 3)", ""},
      {"CREATE TABLE textkey (id VARCHAR(20) PRIMARY KEY)", ""},
      {"CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3", ""},
  };
  const std::string cascading =
      "CREATE TABLE cascading (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE "
      "CASCADE)";
  const std::string nulling =
      "CREATE TABLE nulling (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON UPDATE SET "
      "NULL)";
  const Cases mariadb = {
      {cascading, "ON DELETE CASCADE"},
      {nulling, "ON UPDATE SET NULL"},
      {"CREATE TABLE uu (id INT PRIMARY KEY, a UUID)", "type uuid"},
      {"CREATE TABLE ip (id INT PRIMARY KEY, a INET6)", "type inet6"},
      {"CREATE TABLE comp (id INT PRIMARY KEY, a VARCHAR(100) COMPRESSED)", "COMPRESSED"},
      {"CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING", "system-versioned"},
      {"CREATE TABLE longkey (id INT PRIMARY KEY, a BLOB, UNIQUE (a))", "hidden column"},
      {"CREATE TABLE virt (id INT PRIMARY KEY, a VARCHAR(40) AS (NOW()) VIRTUAL)", "session to session"},
  };
  const Cases mysql = {
      {cascading, ""},  // it logs what they do
      {nulling, ""},
      {"CREATE TABLE vec (id INT PRIMARY KEY, a VECTOR(3))", "type vector"},
      {"CREATE TABLE expression (id INT NOT NULL, UNIQUE ((id + 1)))", "is over an expression"},
      {"CREATE TABLE expressions (id INT PRIMARY KEY, a INT, UNIQUE ((a + 1)), KEY ((a * 2), id))", ""},
      {"CREATE TABLE virt (id INT PRIMARY KEY, t TIMESTAMP NULL, a VARCHAR(40) AS (CONCAT(t, 'x')) VIRTUAL)",
       "session to session"},
      {"CREATE TABLE documents (id INT PRIMARY KEY, a JSON, KEY ((CAST(a->'$.x' AS UNSIGNED ARRAY))))", ""},
  };
  const Cases& own = is_mysql() ? mysql : mariadb;
  cases.insert(cases.end(), own.begin(), own.end());
  expect_reasons(cases);
}

// The key that MySQL makes itself is in every row image, so it is the table's key, however sessions are told to see it.
TEST_P(SourceSchema, AGeneratedInvisiblePrimaryKeyServes) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB makes none";
  server().sql_all({"SET sql_generate_invisible_primary_key=ON", "CREATE TABLE t (a INT)",
                    "SET sql_generate_invisible_primary_key=DEFAULT",
                    "SET GLOBAL show_gipk_in_create_table_and_information_schema=OFF"});
  auto connection = Connection::open(server().config("shop"), {});
  server().sql("SET GLOBAL show_gipk_in_create_table_and_information_schema=DEFAULT");
  ASSERT_TRUE(connection) << connection.error().message;
  const auto table = read_table_schema(**connection, server().config("shop"), "t");
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->reason, "");
  ASSERT_EQ(table->shape.columns.size(), 2u);
  EXPECT_EQ(table->shape.columns[table->key.at(0).column].name, "my_row_id");
}

// MySQL logs what foreign keys do unless it is told to leave that to the engine.
TEST_P(SourceSchema, ForeignKeyActionsOfTheEngineAreNotLogged) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB has no other way";
  const auto engine = own_server({.settings = {"innodb-native-foreign-keys=ON"}});
  engine->sql_all({"CREATE DATABASE shop", "USE shop", "CREATE TABLE parent (id INT PRIMARY KEY)",
                   "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON "
                   "DELETE CASCADE)"});
  auto connection = Connection::open(engine->config("shop"), {});
  ASSERT_TRUE(connection) << connection.error().message;
  const auto tables = by_name(read_schema(**connection, engine->config("shop")));
  EXPECT_EQ(tables.at("parent").reason, "");
  EXPECT_THAT(tables.at("child").reason, HasSubstr("innodb_native_foreign_keys"));
}

TEST_P(SourceSchema, TheKeyIsChosenDeterministically) {
  server().sql_all({
      "CREATE TABLE two (a INT NOT NULL, b INT NOT NULL, c INT NOT NULL, UNIQUE zz (c), UNIQUE bb (b), "
      "UNIQUE aa (a, b))",
      "CREATE TABLE mixed (f FLOAT PRIMARY KEY, a INT NOT NULL, UNIQUE k (a))",
      "CREATE TABLE composite (a INT, b VARCHAR(10) COLLATE utf8mb4_bin, c INT, PRIMARY KEY (b, a))",
  });
  const auto tables = read();
  EXPECT_EQ(tables.at("two").key_name, "bb");
  EXPECT_EQ(tables.at("mixed").key_name, "k");
  const shm::Table& composite = tables.at("composite");
  ASSERT_EQ(composite.key.size(), 2u);
  EXPECT_EQ(composite.key[0].column, 1u);
  EXPECT_EQ(composite.key[1].column, 0u);
  EXPECT_TRUE(composite.key[0].pad_space);
}

TEST_P(SourceSchema, OnlyChosenBaseTablesAreRead) {
  server().sql_all({"CREATE TABLE orders (id INT PRIMARY KEY)", "CREATE TABLE tmp_a (id INT PRIMARY KEY)",
                    "CREATE VIEW shown AS SELECT 1", "CREATE TEMPORARY TABLE fleeting (id INT)",
                    "DROP DATABASE IF EXISTS other", "CREATE DATABASE other",
                    "CREATE TABLE other.elsewhere (id INT PRIMARY KEY)"});
  if (!is_mysql()) server().sql("CREATE SEQUENCE numbers");
  MysqlConfig config = server().config("shop");
  config.exclude = {"tmp_*"};
  const auto tables = read(config);
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_TRUE(tables.contains("orders"));
  EXPECT_TRUE(read_table_schema(*connection_, config, "tmp_a"));
  for (const char* name : {"shown", "numbers", "missing", "ORDERS", ""}) {
    const auto table = read_table_schema(*connection_, config, name);
    ASSERT_FALSE(table) << name;
    EXPECT_EQ(table.error().kind, ErrorKind::kNotFound);
  }
}

}  // namespace
}  // namespace ringside::writer
