// The commands on a real server: what each does to the rows, and what it says when it cannot.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tests/writer/commands_fixture.h"
#include "writer/commands/bookkeeping.h"

namespace ringside::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Commands : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<MariadbServer>();
    server_->sql_all({
        "CREATE DATABASE shop",
        "CREATE TABLE shop.plain (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) NOT NULL, "
        "code VARCHAR(20) UNIQUE, stock INT NOT NULL DEFAULT 7, price DECIMAL(10,2), note VARCHAR(10) "
        "DEFAULT 'none', "
        "twice INT AS (stock * 2) STORED, CHECK (stock >= 0))",
        "CREATE TABLE shop.deleted (id INT PRIMARY KEY)",
        "CREATE TRIGGER shop.on_delete AFTER DELETE ON shop.plain FOR EACH ROW INSERT INTO shop.deleted "
        "VALUES (OLD.id)",
        "CREATE TABLE shop.parent (id INT PRIMARY KEY)",
        "CREATE TABLE shop.child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES "
        "shop.parent (id))",
        "CREATE TABLE shop.pair (a VARCHAR(20) COLLATE utf8mb4_bin, b DECIMAL(10,2), v INT, PRIMARY KEY (a, "
        "b))",
        "CREATE TABLE shop.only_key (k VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY)",
        "CREATE TABLE shop.myisam (id INT PRIMARY KEY) ENGINE=MyISAM",
        "CREATE TABLE shop.latin (id INT PRIMARY KEY, t MEDIUMTEXT CHARACTER SET latin1)",
        "CREATE TABLE shop.keyless (id INT)",
        "CREATE TABLE shop.`odd``name, 1` (`a``b` INT PRIMARY KEY, `c d` INT)",
        "CREATE TABLE shop.guarded (id INT PRIMARY KEY)",
        "CREATE TRIGGER shop.guard BEFORE INSERT ON shop.guarded FOR EACH ROW SIGNAL SQLSTATE '45000' "
        "SET MESSAGE_TEXT = 'not on a Sunday'",
    });
    side_ = std::make_unique<CommandSide>(server_->config("shop"));
  }
  static void TearDownTestSuite() {
    side_.reset();
    server_.reset();
  }
  void SetUp() override {
    server_->sql_all({"DELETE FROM shop.plain", "DELETE FROM shop.deleted", "DELETE FROM shop.child",
                      "DELETE FROM shop.parent", "DELETE FROM shop.pair", "DELETE FROM shop.only_key",
                      "ALTER TABLE shop.plain AUTO_INCREMENT = 1", "DELETE FROM ringside.commands"});
  }

  static HttpAnswer request(std::string_view method, std::string_view target, std::string_view body = {}) {
    return side_->request(method, target, body);
  }
  static void expect_problem(const HttpAnswer& answer, unsigned status, std::string_view type) {
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_EQ(answer.headers.at("content-type"), "application/problem+json");
    EXPECT_THAT(answer.body, StartsWith(fmt::format(R"({{"type":"urn:ringside:problem:{}")", type)));
  }
  static void expect_success(const HttpAnswer& answer, unsigned status, std::string_view key) {
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_EQ(answer.headers.at("content-type"), "application/json");
    // No stream runs in this test.
    EXPECT_EQ(
        answer.body,
        fmt::format(R"({{"success":true,"version":null,"gtid":null,"stream":"starting","key":{}}})", key));
  }
  static std::string row(std::string_view target) {
    const HttpAnswer answer = request("GET", target);
    return answer.status == 200
               ? answer.body
               : fmt::format("{}", answer.status) + (answer.status == 404 ? "" : answer.body);
  }
  static std::string markers() { return server_->query_value("SELECT COUNT(*) FROM ringside.commands"); }

  static std::unique_ptr<MariadbServer> server_;
  static std::unique_ptr<CommandSide> side_;
};
std::unique_ptr<MariadbServer> Commands::server_;
std::unique_ptr<CommandSide> Commands::side_;

TEST_F(Commands, PostInsertsAndTellsTheKey) {
  const HttpAnswer numbered = request("POST", "/v1/plain", R"({"name":"a"})");
  expect_success(numbered, 201, "1");
  EXPECT_EQ(numbered.headers.at("location"), "/v1/plain/1");
  expect_success(request("POST", "/v1/plain", R"({"name":"b","id":null})"), 201, "2");
  expect_success(request("POST", "/v1/plain", R"({"name":"c","id":17})"), 201, "17");
  expect_success(request("POST", "/v1/plain", R"({"name":"zero","id":0})"), 201, "0");
  EXPECT_EQ(row("/v1/plain/1"),
            R"({"id":1,"name":"a","code":null,"stock":7,"price":null,"note":"none","twice":14})");
  EXPECT_EQ(row("/v1/plain/0"),
            R"({"id":0,"name":"zero","code":null,"stock":7,"price":null,"note":"none","twice":14})");
  const HttpAnswer composite = request("POST", "/v1/pair", R"({"a":"x,y/z","b":1.5})");
  expect_success(composite, 201, R"(["x,y/z",1.50])");
  EXPECT_EQ(composite.headers.at("location"), "/v1/pair/x%2Cy%2Fz,1.50");
  EXPECT_EQ(row(composite.headers.at("location")), R"({"a":"x,y/z","b":1.50,"v":null})");
  EXPECT_EQ(markers(), "5");
}

TEST_F(Commands, PutWritesTheWholeRow) {
  expect_success(request("PUT", "/v1/plain/5", R"({"name":"a","stock":1,"price":2.5,"note":"n"})"), 201, "5");
  EXPECT_EQ(row("/v1/plain/5"),
            R"({"id":5,"name":"a","code":null,"stock":1,"price":2.50,"note":"n","twice":2})");
  expect_success(request("PUT", "/v1/plain/5", R"({"id":5,"name":"b"})"), 200, "5");
  EXPECT_EQ(row("/v1/plain/5"),
            R"({"id":5,"name":"b","code":null,"stock":7,"price":null,"note":"none","twice":14})")
      << "absent columns get their defaults";
  expect_success(request("PUT", "/v1/plain/0", R"({"name":"zero"})"), 201, "0");
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.deleted"), "0")
      << "nothing may be deleted on the way";
  expect_success(request("PUT", "/v1/only_key/k", "{}"), 201, R"("k")");
  expect_success(request("PUT", "/v1/only_key/k", "{}"), 200, R"("k")");
  EXPECT_EQ(markers(), "5");
}

TEST_F(Commands, PutNeverTouchesAnotherRow) {
  expect_success(request("PUT", "/v1/plain/1", R"({"name":"a","code":"same"})"), 201, "1");
  expect_problem(request("PUT", "/v1/plain/2", R"({"name":"b","code":"same"})"), 409, "duplicate-key");
  EXPECT_EQ(row("/v1/plain/2"), "404");
  EXPECT_THAT(row("/v1/plain/1"), HasSubstr(R"("name":"a")"));
  EXPECT_EQ(markers(), "1") << "a refused command leaves no marker";
}

TEST_F(Commands, PutRefusesAnotherKeyAndMissingValues) {
  expect_problem(request("PUT", "/v1/plain/5", R"({"id":6,"name":"a"})"), 422, "bad-value");
  const HttpAnswer missing = request("PUT", "/v1/plain/5", R"({"stock":1})");
  expect_problem(missing, 422, "bad-value");
  EXPECT_THAT(missing.body, AllOf(HasSubstr("name"), HasSubstr(R"("mysql_error":1364)")));
  expect_problem(request("PUT", "/v1/plain/99999999999", R"({"name":"a"})"), 422, "bad-value");
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.plain"), "0");
}

TEST_F(Commands, PatchChangesTheGivenColumns) {
  server_->sql("INSERT INTO shop.plain (id, name, price) VALUES (1, 'a', 2.5)");
  expect_success(request("PATCH", "/v1/plain/1", R"({"stock":3})"), 200, "1");
  EXPECT_EQ(row("/v1/plain/1"),
            R"({"id":1,"name":"a","code":null,"stock":3,"price":2.50,"note":"none","twice":6})");
  expect_success(request("PATCH", "/v1/plain/1", R"({"stock":3})"), 200, "1");
  expect_success(request("PATCH", "/v1/plain/1", "{}"), 200, "1");
  EXPECT_EQ(markers(), "3") << "commands that change nothing have a version all the same";
  expect_success(request("PATCH", "/v1/plain/1", R"({"id":9})"), 200, "9");
  EXPECT_EQ(row("/v1/plain/1"), "404");
  expect_problem(request("PATCH", "/v1/plain/1", R"({"stock":3})"), 404, "missing-row");
  EXPECT_EQ(markers(), "4");
}

TEST_F(Commands, DeleteDeletes) {
  server_->sql("INSERT INTO shop.pair VALUES ('x,y', 1.50, 1), ('x', 1.50, 2)");
  expect_success(request("DELETE", "/v1/pair/x%2Cy,1.50"), 200, R"(["x,y",1.50])");
  expect_problem(request("DELETE", "/v1/pair/x%2Cy,1.50"), 404, "missing-row");
  expect_problem(request("DELETE", "/v1/pair/x,1.5"), 400, "bad-key");
  EXPECT_EQ(server_->query_value("SELECT GROUP_CONCAT(v) FROM shop.pair"), "2");
}

TEST_F(Commands, ForeignKeysAreConflicts) {
  expect_problem(request("POST", "/v1/child", R"({"id":1,"parent":9})"), 409, "foreign-key");
  expect_success(request("POST", "/v1/parent", R"({"id":9})"), 201, "9");
  expect_success(request("POST", "/v1/child", R"({"id":1,"parent":9})"), 201, "1");
  const HttpAnswer referenced = request("DELETE", "/v1/parent/9");
  expect_problem(referenced, 409, "foreign-key");
  EXPECT_THAT(referenced.body, HasSubstr(R"("mysql_error":1451)"));
}

TEST_F(Commands, ServersRefusalsAreBadValues) {
  expect_success(request("POST", "/v1/plain", R"({"name":"a","id":1})"), 201, "1");
  const std::tuple<const char*, const char*, unsigned, const char*> cases[] = {
      {"/v1/plain", R"({"name":"a","id":1})", 409, "1062"},
      {"/v1/plain", R"({})", 422, "1364"},
      {"/v1/plain", R"({"name":"123456789012345678901"})", 422, "1406"},
      {"/v1/plain", R"({"name":"a","stock":null})", 422, "1048"},
      {"/v1/plain", R"({"name":"a","stock":-1})", 422, "4025"},
      {"/v1/plain", R"({"name":"a","twice":1})", 422, "1906"},
      {"/v1/latin", R"({"id":1,"t":"Ā"})", 422, "1366"},
      {"/v1/guarded", R"({"id":1})", 422, "1644"},
  };
  for (const auto& [target, body, status, number] : cases) {
    const HttpAnswer answer = request("POST", target, body);
    expect_problem(answer, status, status == 409 ? "duplicate-key" : "bad-value");
    EXPECT_THAT(answer.body, HasSubstr(fmt::format(R"("mysql_error":{})", number))) << body;
  }
  EXPECT_EQ(markers(), "1");
}

TEST_F(Commands, WhatIsNotThereIsNamed) {
  expect_problem(request("POST", "/v1/nothing", "{}"), 404, "unknown-table");
  expect_problem(request("GET", "/v1/Plain/1"), 404, "unknown-table");
  expect_problem(request("GET", "/v1/plain/1"), 404, "missing-row");
  expect_problem(request("PATCH", "/v1/plain/1", R"({"colour":1})"), 422, "unknown-column");
  expect_problem(request("PATCH", "/v1/plain/01", "{}"), 400, "bad-key");
  expect_problem(request("PATCH", "/v1/plain/1", "{"), 400, "bad-request");
  const HttpAnswer keyless = request("POST", "/v1/keyless", R"({"id":1})");
  expect_problem(keyless, 503, "quarantined");
  const HttpAnswer myisam = request("POST", "/v1/myisam", R"({"id":1})");
  EXPECT_GE(myisam.status, 409u) << myisam.body;
  EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.myisam"), "0");
}

TEST_F(Commands, OddNamesAreOnlyNames) {
  const std::string target = "/v1/odd%60name%2C%201";
  expect_success(request("POST", target, R"({"a`b":1,"c d":2})"), 201, "1");
  expect_success(request("PUT", target + "/1", R"({"c d":3})"), 200, "1");
  EXPECT_EQ(row(target + "/1"), R"({"a`b":1,"c d":3})");
  expect_success(request("DELETE", target + "/1"), 200, "1");
}

TEST_F(Commands, LongTextKeepsItsCharacterSet) {
  // Beyond 256 KiB the connector sends a text in another way.
  std::string text;
  for (int i = 0; i < 150'000; ++i) text += "é€";
  const std::string body = R"({"t":")" + text + "\"}";
  CommandSide side(server_->config("shop"), [](WriterConfig& config) { config.body_limit_bytes = 2 * kMiB; });
  expect_success(side.request("PUT", "/v1/latin/1", body), 201, "1");
  EXPECT_EQ(server_->query_value("SELECT CHAR_LENGTH(t) FROM shop.latin"), "300000");
  EXPECT_EQ(server_->query_value("SELECT t = CONVERT(REPEAT('é€', 150000) USING latin1) FROM shop.latin"),
            "1");
  EXPECT_EQ(side.request("GET", "/v1/latin/1").body, R"({"id":1,"t":")" + text + "\"}");
  expect_success(side.request("PATCH", "/v1/latin/1", R"({"t":"é"})"), 200, "1");
  EXPECT_EQ(server_->query_value("SELECT HEX(t) FROM shop.latin"), "E9");
}

// What a replica prints can be put back, and the fresh read prints it the same way.
TEST_F(Commands, EveryTypeComesBackAsItWent) {
  server_->sql(
      "CREATE OR REPLACE TABLE shop.types (id INT PRIMARY KEY, t1 TINYINT, u1 TINYINT UNSIGNED, s2 SMALLINT, "
      "m3 "
      "MEDIUMINT, i8 BIGINT, u8 BIGINT UNSIGNED, d DECIMAL(65,30), d0 DECIMAL(5,0), f FLOAT, g DOUBLE, c "
      "CHAR(5), v "
      "VARCHAR(50), l VARCHAR(50) CHARACTER SET latin1, x TEXT, b4 BINARY(4), vb VARBINARY(10), bl BLOB, dt "
      "DATE, tm "
      "TIME(2), dtm DATETIME(3), ts TIMESTAMP(6) NULL, y YEAR, e ENUM('a','2','ö'), st SET('x','y','z'), b "
      "BIT(12), j "
      "JSON)");
  side_->read_schema();
  const std::string rows[] = {
      R"({"id":1,"t1":-128,"u1":255,"s2":-32768,"m3":8388607,"i8":-9223372036854775808,"u8":18446744073709551615,)"
      R"("d":-12345678901234567890123456789012345.123456789012345678901234567891,"d0":-7,"f":0.1,"g":0.1,)"
      R"("c":"a\"b","v":"é😀\n","l":"é€","x":"","b4":"AP8AAA==","vb":"AP8=","bl":"","dt":"2026-01-08",)"
      R"("tm":"-838:59:58.50","dtm":"2026-01-08T10:00:00.120","ts":"2026-01-08T10:00:00.000001Z","y":2026,"e":"2",)"
      R"("st":["x","z"],"b":4095,"j":{"a" : [1.50,null]}})",
      R"({"id":2,"t1":null,"u1":null,"s2":null,"m3":null,"i8":null,"u8":null,"d":null,"d0":null,"f":null,"g":null,)"
      R"("c":null,"v":null,"l":null,"x":null,"b4":null,"vb":null,"bl":null,"dt":null,"tm":null,"dtm":null,"ts":null,)"
      R"("y":null,"e":null,"st":null,"b":null,"j":null})",
      R"({"id":3,"t1":0,"u1":0,"s2":0,"m3":0,"i8":0,"u8":0,"d":0.000000000000000000000000000000,"d0":0,"f":3.4e+38,)"
      R"("g":1.7976931348623157e+308,"c":"","v":"","l":"","x":"x","b4":"AAAAAA==","vb":"","bl":"AA==",)"
      R"("dt":"0000-00-00","tm":"00:00:00.00","dtm":"0000-00-00T00:00:00.000","ts":"1970-01-01T00:00:01.000000Z","y":0,)"
      R"("e":"ö","st":[],"b":0,"j":"text"})",
  };
  for (const std::string& json : rows) {
    const std::string target = "/v1/types/" + json.substr(6, 1);
    EXPECT_EQ(request("PUT", target, json).status, 201u) << request("PUT", target, json).body;
    const std::string back = row(target);
    EXPECT_EQ(back, json);
    EXPECT_EQ(request("PUT", target, back).status, 200u);
    EXPECT_EQ(row(target), json);
  }
  EXPECT_EQ(server_->query_value(
                "SELECT CONCAT_WS(' ', d, u8, e+0, st+0, HEX(b4), HEX(l)) FROM shop.types WHERE id=1"),
            "-12345678901234567890123456789012345.123456789012345678901234567891 18446744073709551615 2 5 "
            "00FF0000 E980");
}

TEST_F(Commands, KeysOfEveryKindFindTheirRow) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"BIGINT UNSIGNED", "18446744073709551615", "18446744073709551615"},
      {"DECIMAL(65,30)", "12345678901234567890123456789012345.123456789012345678901234567891",
       "12345678901234567890123456789012345.123456789012345678901234567891"},
      {"VARCHAR(20) COLLATE utf8mb4_bin", "%C3%A9%2F%2C%20", R"("é/, ")"},
      {"VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin", "%E2%82%AC", R"("€")"},
      {"VARBINARY(20)", "AP8", R"("AP8=")"},
      {"BINARY(4)", "AP8AAA", R"("AP8AAA==")"},
      {"DATE", "2026-01-08", R"("2026-01-08")"},
      {"DATETIME(3)", "2026-01-08T10:00:00.120", R"("2026-01-08T10:00:00.120")"},
      {"TIMESTAMP(3)", "2026-01-08T10:00:00.120Z", R"("2026-01-08T10:00:00.120Z")"},
      {"TIME(1)", "-10:00:00.5", R"("-10:00:00.5")"},
      {"YEAR", "2026", "2026"},
      {"ENUM('a','2')", "2", R"("2")"},
      {"BIT(12)", "4095", "4095"},
  };
  for (const auto& [type, raw, json] : cases) {
    server_->sql(fmt::format("CREATE OR REPLACE TABLE shop.keyed (k {} PRIMARY KEY, v INT)", type));
    side_->read_schema();
    const std::string target = fmt::format("/v1/keyed/{}", raw);
    expect_success(request("PUT", target, R"({"v":1})"), 201, json);
    expect_success(request("PUT", target, R"({"v":2})"), 200, json);
    expect_success(request("PATCH", target, R"({"v":3})"), 200, json);
    EXPECT_EQ(row(target), fmt::format(R"({{"k":{},"v":3}})", json)) << type;
    EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.keyed"), "1") << type;
    expect_success(request("DELETE", target), 200, json);
    EXPECT_EQ(server_->query_value("SELECT COUNT(*) FROM shop.keyed"), "0") << type;
    const HttpAnswer posted = request("POST", "/v1/keyed", fmt::format(R"({{"k":{}}})", json));
    expect_success(posted, 201, json);
    EXPECT_EQ(posted.headers.at("location"), target) << type;
  }
}

TEST_F(Commands, AColumnThatIsGoneIsAMatterOfTime) {
  server_->sql("CREATE OR REPLACE TABLE shop.changing (id INT PRIMARY KEY, a INT)");
  side_->read_schema();
  server_->sql("ALTER TABLE shop.changing DROP COLUMN a");
  const HttpAnswer answer = request("POST", "/v1/changing", R"({"id":1,"a":1})");
  expect_problem(answer, 503, "schema-changed");
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  server_->sql("DROP TABLE shop.changing");
  expect_problem(request("DELETE", "/v1/changing/1"), 503, "schema-changed");
}

TEST_F(Commands, BookkeepingIsMadeOnceAndPruned) {
  writer::Session session(server_->config("shop"));
  const auto first = writer::ensure_schema(session);
  ASSERT_TRUE(first) << first.error().message;
  const std::string position = server_->query_value("SELECT @@GLOBAL.gtid_binlog_pos");
  const auto second = writer::ensure_schema(session);
  ASSERT_TRUE(second);
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(server_->query_value("SELECT @@GLOBAL.gtid_binlog_pos"), position) << "a restart writes nothing";

  for (int i = 0; i < 3; ++i) {
    server_->sql(fmt::format(
        "INSERT INTO ringside.commands (id, created) VALUES (UNHEX(MD5({})), NOW(6) - INTERVAL {} "
        "MINUTE)",
        i, i * 40 + 10));
  }
  std::uint64_t deleted = 0;
  ASSERT_FALSE(writer::prune_commands(session, std::chrono::hours(1), deleted));
  EXPECT_EQ(deleted, 1u);
  EXPECT_EQ(markers(), "2");
  bool found = false;
  const writer::CommandId id = writer::make_command_id();
  ASSERT_FALSE(writer::find_marker(session, id, found));
  EXPECT_FALSE(found);
  ASSERT_FALSE(writer::write_marker(session, id));
  ASSERT_FALSE(session.commit());
  ASSERT_FALSE(writer::find_marker(session, id, found));
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace ringside::testing
