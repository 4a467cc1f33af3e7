// The decoder against real servers: whole binlogs are replayed into a std::map and compared with what SELECT showed.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/writer/recording.h"
#include "writer/binlog/event.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"

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
      types[event_type_name(decoded->header.type)]++;
      std::visit([this](const auto& body) { on(body); }, decoded->body);
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
  std::size_t row_events = 0;

 private:
  template <class Body>
  void on(const Body&) {}
  void on(const Unsupported& body) { unsupported.emplace_back(body.reason); }
  void on(const Query& body) {
    statements.emplace_back(body.sql);
    // An ALTER that copies keeps the rows; here it is always ADD COLUMN … FIRST with no default.
    if (body.sql.starts_with("ALTER TABLE pairs")) {
      std::multiset<std::string> altered;
      for (const std::string& line : live_["pairs"]) altered.insert("NULL\t" + line);
      live_["pairs"] = altered;
    }
  }
  void on(const MariadbGtid& body) {
    gtids.push_back(std::to_string(body.domain) + "-" + std::to_string(body.sequence));
    is_xa_ = body.is_xa_prepare();
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
      apply(body.operation, map->table, line_of(before), line_of(after));
    }
  }

  void apply(RowsOperation operation, const std::string& table, const std::string& before,
             const std::string& after) {
    auto& rows = live_[table];
    if (operation != RowsOperation::kWrite) {
      const auto found = rows.find(before);
      if (found == rows.end()) {
        ADD_FAILURE() << table << " has no row to change: " << before;
        return;
      }
      rows.erase(found);
    }
    if (operation != RowsOperation::kDelete) rows.insert(after);
  }

  Recording recording_;
  EventDecoder decoder_;
  TableMaps maps_;
  std::map<std::string, std::multiset<std::string>> live_;
  bool is_xa_ = false;
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
  EXPECT_GT(replay.row_events, 10u);
  expect_as_selected(replay);
}

INSTANTIATE_TEST_SUITE_P(Mariadb, Recorded,
                         ::testing::Values("mariadb/types", "mariadb/texts", "mariadb/compressed"));
INSTANTIATE_TEST_SUITE_P(Mysql, Recorded, ::testing::Values("mysql/types", "mysql/texts"));

}  // namespace
}  // namespace ringside::writer::binlog
