// The decoder against real servers: whole binlogs are replayed into a std::map and compared with what SELECT showed.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/writer/recording.h"
#include "writer/binlog/event.h"
#include "writer/binlog/payload.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"
#include "writer/sql_tokens.h"

namespace ringside::writer::binlog {
namespace {

using testing::Recording;

std::string line_of(const shm::RowBuilder& row) {
  std::string line;
  for (std::size_t i = 0; i < row.column_count(); ++i) {
    if (i != 0) line += '\t';
    line += row.value(i).empty() ? std::string_view("NULL") : row.value(i);
  }
  return line;
}

// Tables of which the binlog has two shapes: those whose shape is not the last are not compared.
class Replay {
 public:
  explicit Replay(const std::string& name) : recording_(name) {
    for (const Bytes event : recording_.events) {
      const Result<Event> decoded = decoder_.decode(event);
      if (!decoded) {
        ADD_FAILURE() << decoded.error().message;
        return;
      }
      take(*decoded);
    }
  }

  // The rows of a table now, as sorted lines.
  std::vector<std::string> rows(const std::string& table) const {
    const auto found = live_.find(table);
    return found == live_.end() ? std::vector<std::string>{}
                                : std::vector<std::string>(found->second.begin(), found->second.end());
  }
  std::vector<std::string> expected(const std::string& table) const {
    const auto found = recording_.rows.find(table);
    if (found == recording_.rows.end()) return {};
    std::vector<std::string> lines = found->second;
    std::sort(lines.begin(), lines.end());
    return lines;
  }
  std::set<std::string> tables() const {
    std::set<std::string> names;
    for (const auto& [name, rows] : recording_.rows) names.insert(name);
    return names;
  }

  std::map<std::string, int> types;
  std::vector<std::string> problems;     // why rows were not decoded
  std::vector<std::string> unsupported;  // events
  std::vector<std::string> statements;
  std::vector<std::string> gtids;
  std::vector<std::int64_t> gtid_times;  // MySQL: seconds from a transaction's begin to its commit
  std::size_t row_events = 0;

 private:
  void take(const Event& event) {
    types[event_type_name(event.header.type)]++;
    if (const auto* gtid = std::get_if<MysqlGtid>(&event.body)) {
      gtid_times.push_back(static_cast<std::int64_t>(gtid->commit_time_us / 1'000'000) -
                           std::int64_t{event.header.timestamp});
    }
    std::visit([this](const auto& body) { on(body); }, event.body);
  }

  template <class Body>
  void on(const Body&) {}
  void on(const TransactionPayload& body) {
    PayloadReader payload;
    if (const auto begun = payload.begin(body); !begun) ADD_FAILURE() << begun.error().message;
    while (true) {
      const auto bytes = payload.next();
      if (!bytes) ADD_FAILURE() << bytes.error().message;
      if (!bytes || !*bytes) return;
      const Result<Event> event = decoder_.decode_inner(**bytes);
      if (!event) {
        ADD_FAILURE() << event.error().message;
        return;
      }
      take(*event);
    }
  }
  void on(const Unsupported& body) { unsupported.emplace_back(body.reason); }
  void on(const Query& body) {
    statements.emplace_back(body.sql);
    switch (classify(body.sql, {body.schema, body.sql_mode, body.client_collation}).kind) {
      case StatementKind::kXaStart:
        is_in_xa_ = true;
        break;
      case StatementKind::kXaCommit:
        apply_prepared();
        break;
      case StatementKind::kXaRollback:
        prepared_.clear();
        break;
      default:
        break;
    }
    // An ALTER that copies keeps the rows; here it is always ADD COLUMN … FIRST with no default.
    if (body.sql.starts_with("ALTER TABLE pairs")) {
      std::multiset<std::string> altered;
      for (const std::string& line : live_["pairs"]) altered.insert("NULL\t" + line);
      live_["pairs"] = altered;
    }
  }
  void on(const XaPrepare& body) {
    if (body.is_one_phase) apply_prepared();
    is_in_xa_ = false;
  }
  void on(const MariadbGtid& body) {
    gtids.push_back(std::to_string(body.domain) + "-" + std::to_string(body.sequence));
    is_in_xa_ = body.is_xa_prepare();  // MariaDB writes no XA START
  }
  void on(const MysqlGtid& body) {
    gtids.push_back(std::string(body.tag) + ":" + std::to_string(body.number));
  }
  void on(const FormatDescription&) { maps_.clear(); }
  void on(const TableMapEvent& body) {
    const auto put = maps_.put(body);
    if (!put) problems.push_back(put.error().message);
  }
  void on(const RowsEvent& body) {
    const TableMap* map = maps_.find(body.table_id);
    if (map == nullptr) {
      problems.push_back("rows of an unknown table");
      return;
    }
    auto shape = recording_.shapes[map->table];
    if (map->table == "pairs" && map->columns.size() + 1 == shape.columns.size()) {
      shape.columns.erase(shape.columns.begin());  // before its ALTER
    }
    auto decoder = RowDecoder::make(shape, *map);
    if (!decoder) {
      problems.push_back(decoder.error().message);
      return;
    }
    if (const auto begun = decoder->begin(body); !begun) {
      problems.push_back(begun.error().message);
      return;
    }
    ++row_events;
    shm::RowBuilder before;
    shm::RowBuilder after;
    while (true) {
      const Result<bool> more = decoder->next(before, after);
      if (!more) {
        problems.push_back(more.error().message);
        return;
      }
      if (!*more) return;
      prepared_.push_back({body.operation, map->table, line_of(before), line_of(after)});
      if (!is_in_xa_) apply_prepared();
    }
  }

  struct Change {
    RowsOperation operation;
    std::string table;
    std::string before;
    std::string after;
  };

  void apply_prepared() {
    for (const Change& change : prepared_) apply(change);
    prepared_.clear();
  }

  void apply(const Change& change) {
    auto& rows = live_[change.table];
    if (change.operation != RowsOperation::kWrite) {
      const auto found = rows.find(change.before);
      if (found == rows.end()) {
        ADD_FAILURE() << change.table << " has no row to change: " << change.before;
        return;
      }
      rows.erase(found);
    }
    if (change.operation != RowsOperation::kDelete) rows.insert(change.after);
  }

  Recording recording_;
  EventDecoder decoder_;
  TableMaps maps_;
  std::map<std::string, std::multiset<std::string>> live_;
  std::vector<Change> prepared_;  // of an XA transaction that is not decided yet
  bool is_in_xa_ = false;
};

// Compares line by line, so that a failure names the row.
void expect_as_selected(const Replay& replay) {
  EXPECT_TRUE(replay.problems.empty()) << replay.problems.front();
  ASSERT_FALSE(replay.tables().empty());
  for (const std::string& table : replay.tables()) {
    const auto expected = replay.expected(table);
    const auto rows = replay.rows(table);
    ASSERT_EQ(rows.size(), expected.size()) << table;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto mine = testing::split(rows[i], '\t');
      const auto theirs = testing::split(expected[i], '\t');
      ASSERT_EQ(mine.size(), theirs.size()) << table;
      for (std::size_t j = 0; j < mine.size(); ++j) {
        EXPECT_EQ(mine[j], theirs[j]) << table << ", row " << mine[0] << ", column number " << j + 1;
      }
    }
  }
}

class Recorded : public ::testing::TestWithParam<const char*> {};

TEST_P(Recorded, RowsEqualWhatSelectShowed) {
  const Replay replay(GetParam());
  EXPECT_GT(replay.row_events, 5u);
  expect_as_selected(replay);
}

INSTANTIATE_TEST_SUITE_P(Mariadb, Recorded,
                         ::testing::Values("mariadb/types", "mariadb/texts", "mariadb/compressed",
                                           "mariadb/statements"));
INSTANTIATE_TEST_SUITE_P(Mysql, Recorded,
                         ::testing::Values("mysql/types", "mysql/texts", "mysql/statements", "mysql/json",
                                           "mysql/compressed", "mysql/columns"));

// A longer recording: tools/record_binlog.py --out DIR, then RINGSIDE_RECORDING=DIR/mysql/json.
TEST(RecordedElsewhere, RowsEqualWhatSelectShowed) {
  const char* const path = std::getenv("RINGSIDE_RECORDING");
  if (path == nullptr) GTEST_SKIP() << "RINGSIDE_RECORDING names no recording";
  const Replay replay(path);
  EXPECT_GT(replay.row_events, 10u);
  expect_as_selected(replay);
}

bool has_problem(const Replay& replay, std::string_view part) {
  return std::any_of(replay.problems.begin(), replay.problems.end(),
                     [&](const std::string& problem) { return problem.find(part) != std::string::npos; });
}

TEST(RecordedMariadb, CompressedEventsAreThere) {
  const Replay replay("mariadb/compressed");
  for (const char* type : {"QUERY_COMPRESSED", "WRITE_ROWS_COMPRESSED_V1", "UPDATE_ROWS_COMPRESSED_V1",
                           "DELETE_ROWS_COMPRESSED_V1"}) {
    EXPECT_EQ(replay.types.count(type), 1u) << type;
  }
  EXPECT_TRUE(std::any_of(replay.statements.begin(), replay.statements.end(),
                          [](const std::string& sql) { return sql.starts_with("CREATE TABLE `packed`"); }));
}

TEST(RecordedMariadb, EveryTransactionHasTheNextGtid) {
  const Replay replay("mariadb/statements");
  ASSERT_GT(replay.gtids.size(), 15u);
  for (std::size_t i = 0; i < replay.gtids.size(); ++i)
    EXPECT_EQ(replay.gtids[i], "0-" + std::to_string(i + 2));
}

TEST(RecordedMariadb, XaTransactionsSayWhatTheyAre) {
  const Recording recording("mariadb/statements");
  EventDecoder decoder;
  std::vector<std::string> seen;
  for (const Bytes bytes : recording.events) {
    const Result<Event> event = decoder.decode(bytes);
    ASSERT_TRUE(event.has_value()) << event.error().message;
    if (const auto* gtid = std::get_if<MariadbGtid>(&event->body)) {
      if (gtid->is_xa_prepare()) seen.push_back("gtid prepare " + std::string(gtid->xid_gtrid));
      if (gtid->is_xa_complete()) seen.push_back("gtid complete " + std::string(gtid->xid_gtrid));
    }
    if (const auto* prepare = std::get_if<XaPrepare>(&event->body)) {
      EXPECT_FALSE(prepare->is_one_phase);
      seen.push_back("prepare " + std::string(prepare->gtrid));
    }
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"gtid prepare x1", "prepare x1", "gtid complete x1",
                                            "gtid prepare x2", "prepare x2", "gtid complete x2"}));
}

TEST(RecordedMariadb, WhatCannotBeDecodedIsRefusedWithItsReason) {
  const Replay replay("mariadb/strange");
  EXPECT_TRUE(has_problem(replay, "column `g` is GEOMETRY"));
  EXPECT_TRUE(has_problem(
      replay, "row event of table `shop`.`partial`: the image leaves columns out: binlog_row_image"));
  EXPECT_TRUE(has_problem(replay, "column `t` is text in the collation number 7"));
  const std::string statement = "INSERT INTO by_statement VALUES (1)";
  EXPECT_EQ(std::count(replay.statements.begin(), replay.statements.end(), statement), 1);
  EXPECT_EQ(replay.rows("hidden"), (std::vector<std::string>{"1\t5\t2\t3"}));
}

TEST(RecordedMysql, WhatCannotBeDecodedIsRefusedWithItsReason) {
  const Replay replay("mysql/strange");
  EXPECT_TRUE(has_problem(replay, "column `g` is GEOMETRY"));
  EXPECT_TRUE(has_problem(replay, "column `v` is VECTOR"));
  EXPECT_TRUE(has_problem(
      replay, "row event of table `shop`.`partial`: the image leaves columns out: binlog_row_image"));
  EXPECT_TRUE(has_problem(replay, "column `t` is text in the collation number 7"));
  ASSERT_EQ(replay.unsupported.size(), 1u);
  EXPECT_NE(replay.unsupported[0].find("PARTIAL_UPDATE_ROWS"), std::string::npos);
  EXPECT_NE(replay.unsupported[0].find("binlog_row_value_options"), std::string::npos);
}

TEST(RecordedMysql, PartitionsAndTagsAreFollowed) {
  const Replay replay("mysql/strange");
  EXPECT_EQ(replay.rows("parted"), (std::vector<std::string>{"10\t\"packed\"", "5\t\"a\"", "6\t\"b\"",
                                                             "7\t\"c\"", "9\t\"tagged\""}));
  EXPECT_EQ(std::count(replay.gtids.begin(), replay.gtids.end(), "tagged:1"), 1);
}

TEST(RecordedMysql, EveryGtidSaysWhenItWasCommitted) {
  for (const char* name : {"mysql/strange", "mysql/statements"}) {
    const Replay replay(name);
    ASSERT_EQ(replay.gtid_times.size(), replay.gtids.size());
    for (const std::int64_t seconds : replay.gtid_times) {
      EXPECT_GE(seconds, 0) << name;
      EXPECT_LE(seconds, 60) << name;  // as recorded
    }
  }
}

TEST(RecordedMysql, EveryTransactionHasTheNextGtid) {
  const Replay replay("mysql/statements");
  ASSERT_GT(replay.gtids.size(), 15u);
  for (std::size_t i = 0; i < replay.gtids.size(); ++i)
    EXPECT_EQ(replay.gtids[i], ":" + std::to_string(i + 2));
}

// Each table map of the recording, decoded; the last one of a name stays.
std::map<std::string, TableMap> maps_of(const std::string& name) {
  const Recording recording(name);
  EventDecoder decoder;
  std::map<std::string, TableMap> maps;
  for (const Bytes bytes : recording.events) {
    const Result<Event> event = decoder.decode(bytes);
    const auto* body = event ? std::get_if<TableMapEvent>(&event->body) : nullptr;
    if (body == nullptr) continue;
    auto map = parse_table_map(*body);
    EXPECT_TRUE(map.has_value()) << map.error().message;
    if (map) maps.insert_or_assign(map->table, *map);
  }
  return maps;
}

TEST(RecordedTableMaps, CharacterSetsBelongToTheirColumnsInSpiteOfGeometry) {
  for (const char* name : {"mariadb/strange", "mysql/strange"}) {
    auto maps = maps_of(name);
    const TableMap& shapes = maps["shapes"];
    ASSERT_EQ(shapes.columns.size(), 4u) << name;
    EXPECT_EQ(shapes.columns[1].type, ColumnType::kGeometry);
    EXPECT_EQ(shapes.columns[3].collation_id, 8u) << name;  // latin1_swedish_ci
  }
  EXPECT_EQ(maps_of("mysql/strange")["vectors"].columns[2].collation_id, 8u);
  EXPECT_EQ(charset_from_collation_id(maps_of("mysql/strange")["documents"].columns[2].collation_id),
            Charset::kUtf8mb4);
}

TEST(RecordedTableMaps, TellPrimaryKeysAndVisibility) {
  for (const std::string server : {"mariadb", "mysql"}) {
    auto maps = maps_of(server + "/statements");
    const TableMap& pairs = maps["pairs"];
    ASSERT_EQ(pairs.primary_key.size(), 2u) << server;
    EXPECT_EQ(pairs.columns[pairs.primary_key[0].column].name, "a");
    EXPECT_EQ(pairs.columns[pairs.primary_key[1].column].name, "b");
    EXPECT_EQ(pairs.primary_key[0].prefix_characters, 0u);
    const TableMap& prefixed = maps["prefixed"];
    ASSERT_EQ(prefixed.primary_key.size(), 1u) << server;
    EXPECT_EQ(prefixed.primary_key[0].prefix_characters, 10u) << server;
  }
  auto hidden = maps_of("mysql/strange")["hidden"];
  ASSERT_EQ(hidden.columns.size(), 4u);
  EXPECT_TRUE(hidden.columns[0].is_visible);
  EXPECT_FALSE(hidden.columns[1].is_visible);
}

// The shape and the map of one table that agree, to be changed in one thing each.
class Mismatch : public ::testing::Test {
 protected:
  void SetUp() override {
    const Recording recording("mariadb/types");
    shape_ = recording.shapes.at("every");
    map_ = maps_of("mariadb/types").at("every");
    std::string why_not;
    ASSERT_TRUE(matches(shape_, map_, why_not)) << why_not;
  }
  shm::Column& column(std::string_view name) {
    const auto found = std::find_if(shape_.columns.begin(), shape_.columns.end(),
                                    [&](const shm::Column& each) { return each.name == name; });
    EXPECT_NE(found, shape_.columns.end()) << name;
    return *found;
  }
  // What matches() says against.
  std::string why_not() const {
    std::string why;
    EXPECT_FALSE(matches(shape_, map_, why));
    EXPECT_FALSE(RowDecoder::make(shape_, map_).has_value());
    return why;
  }

  shm::Shape shape_;
  TableMap map_;
};

TEST_F(Mismatch, OfAName) {
  column("c_int").name = "c_integer";
  EXPECT_EQ(why_not(),
            "column `c_integer` of `shop`.`every` differs in its name: c_integer in the catalogue, c_int in "
            "the binlog");
}
TEST_F(Mismatch, OfSignedness) {
  column("c_int").kind = shm::ValueKind::kUnsigned;
  EXPECT_NE(why_not().find("differs in its kind: unsigned in the catalogue, integer"), std::string::npos);
}
TEST_F(Mismatch, OfAnIntegersWidth) {
  column("c_int").width = 8;
  EXPECT_NE(why_not().find("differs in its width"), std::string::npos);
}
TEST_F(Mismatch, OfADecimalsDigits) {
  column("c_dec_18_9").scale = 8;
  EXPECT_NE(why_not().find("differs in its scale: 8 in the catalogue, 9 in the binlog"), std::string::npos);
}
TEST_F(Mismatch, OfFractionDigits) {
  column("c_time3").scale = 4;
  EXPECT_NE(why_not().find("column `c_time3` of `shop`.`every` differs in its scale"), std::string::npos);
}
TEST_F(Mismatch, OfNullability) {
  column("c_int").nullable = false;
  EXPECT_NE(why_not().find("differs in its nullability: NOT NULL in the catalogue, NULL in the binlog"),
            std::string::npos);
}
TEST_F(Mismatch, OfLabels) {
  column("c_enum").labels[2] = "tea";
  EXPECT_NE(why_not().find("differs in its list of labels"), std::string::npos);
}
TEST_F(Mismatch, OfTheCharacterSet) {
  column("c_enum").collation = "latin1_swedish_ci";
  EXPECT_NE(why_not().find("differs in its character set: latin1_swedish_ci in the catalogue, utf8mb4"),
            std::string::npos);
}
TEST_F(Mismatch, OfALength) {
  column("c_varbinary").sql_type = "varbinary(21)";
  EXPECT_NE(why_not().find("differs in its length: varbinary(21) in the catalogue, 20 bytes in the binlog"),
            std::string::npos);
  column("c_varbinary").sql_type = "varbinary(20)";
  column("c_blob").sql_type = "mediumblob";
  EXPECT_NE(why_not().find("column `c_blob` of `shop`.`every` differs in its length"), std::string::npos);
}
TEST_F(Mismatch, OfTheNumberOfColumns) {
  shape_.columns.pop_back();
  EXPECT_NE(why_not().find("columns in the binlog and"), std::string::npos);
}
TEST_F(Mismatch, WithoutFullMetadata) {
  map_.has_full_metadata = false;
  EXPECT_NE(why_not().find("SET GLOBAL binlog_row_metadata=FULL"), std::string::npos);
}

TEST(TableMaps, AMapOfTheSameBytesIsNotNew) {
  const Recording recording("mariadb/types");
  EventDecoder decoder;
  TableMaps maps;
  int is_new = 0;
  int is_known = 0;
  for (const Bytes bytes : recording.events) {
    const Result<Event> event = decoder.decode(bytes);
    ASSERT_TRUE(event.has_value());
    const auto* body = std::get_if<TableMapEvent>(&event->body);
    if (body == nullptr) continue;
    const auto put = maps.put(*body);
    ASSERT_TRUE(put.has_value());
    ((*put)->is_new ? is_new : is_known)++;
    EXPECT_EQ(maps.find(body->table_id), &(*put)->map);
  }
  EXPECT_EQ(is_new, 2);
  EXPECT_GT(is_known, 20);
  maps.clear();
  EXPECT_EQ(maps.find(18), nullptr);
}

TEST(TableMaps, ForgetsTheOldestIdsOnly) {
  std::string body("\x01s\x00\x01t\x00\x01\x03\x00\x00", 10);
  TableMaps maps;
  TableMapEvent event;
  event.body = as_bytes(body);
  for (event.table_id = 1; event.table_id <= 3 * TableMaps::kMaxTableMaps; ++event.table_id) {
    ASSERT_TRUE(maps.put(event).has_value());
    ASSERT_NE(maps.find(event.table_id), nullptr);
    if (event.table_id > 1) {
      ASSERT_NE(maps.find(event.table_id - 1), nullptr);
    }
  }
  EXPECT_EQ(maps.find(1), nullptr);
}

// Damage at any byte of any event is found by the checksum, and never taken for another event.
TEST(RecordedEvents, DamageIsFound) {
  const Recording recording("mariadb/strange");
  EventDecoder decoder;
  for (const Bytes bytes : recording.events) {
    const Result<Event> whole = decoder.decode(bytes);
    ASSERT_TRUE(whole.has_value()) << whole.error().message;
    if (whole->header.type == 4) continue;  // ROTATE: its checksum is looked for, not demanded
    std::string damaged(as_text(bytes));
    const std::size_t last =
        std::holds_alternative<FormatDescription>(whole->body) ? damaged.size() - 5 : damaged.size();
    for (std::size_t i = 0; i < last; i += 7) {
      if (i == 17) continue;  // the in-use flag of a format description is not covered
      damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
      EventDecoder copy;
      ASSERT_TRUE(copy.decode(recording.events.front()).has_value());
      EXPECT_FALSE(copy.decode(as_bytes(damaged)).has_value())
          << event_type_name(whole->header.type) << " at " << i;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    }
  }
}

TEST(RecordedEvents, AShorterEventIsRefused) {
  for (const char* name : {"mariadb/statements", "mysql/statements"}) {  // without checksums
    const Recording recording(name);
    EventDecoder decoder;
    for (const Bytes bytes : recording.events) {
      std::string shorter(as_text(bytes));
      shorter.pop_back();
      EXPECT_FALSE(decoder.decode(as_bytes(shorter)).has_value());
      ASSERT_TRUE(decoder.decode(bytes).has_value());
      EXPECT_FALSE(decoder.has_checksums());
    }
  }
}

}  // namespace
}  // namespace ringside::writer::binlog
