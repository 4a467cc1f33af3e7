// Normalised keys against the servers' own order: values of every kind with their place in ORDER BY.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shm/key.h"
#include "tests/writer/recording.h"

namespace ringside::writer {
namespace {

struct Placed {
  int place = 0;
  std::string json;
  std::string key;
};

int sign(int value) {
  return (value > 0) - (value < 0);
}

class KeyOrder : public ::testing::TestWithParam<const char*> {};

TEST_P(KeyOrder, IsTheServers) {
  const std::string path = std::string(RINGSIDE_FIXTURES) + "/" + GetParam();
  std::map<std::string, shm::Column> columns;
  for (const auto& line : testing::read_tsv(path + "/keys.columns.tsv")) {
    columns[line[0]] = testing::column_from_schema(line);
  }
  std::map<std::string, std::vector<Placed>> values;
  const auto buffer = std::make_unique<shm::KeyBuffer>();
  for (const auto& line : testing::read_tsv(path + "/keys.tsv")) {
    const shm::Column& column = columns.at(line[0]);
    buffer->clear();
    ASSERT_EQ(append_key_from_json(column, shm::make_key_column(0, column), true, line[2], *buffer),
              shm::KeyStatus::kOk)
        << line[0] << " " << line[2];
    values[line[0]].push_back({std::stoi(line[1]), line[2], std::string(as_text(buffer->bytes()))});
  }
  EXPECT_EQ(values.size(), 16u);
  for (const auto& [table, placed] : values) {
    const shm::KeyRule rule = shm::make_key_column(0, columns.at(table)).rule;
    EXPECT_EQ(rule, table == "latin1_bin" ? shm::KeyRule::kEqual : shm::KeyRule::kOrdered) << table;
    for (const Placed& a : placed) {
      for (const Placed& b : placed) {
        const int mine = sign(a.key.compare(b.key));
        const int theirs = sign(a.place - b.place);
        const bool agree = rule == shm::KeyRule::kOrdered ? mine == theirs : (mine == 0) == (theirs == 0);
        EXPECT_TRUE(agree) << table << ": " << a.json << " against " << b.json;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Servers, KeyOrder, ::testing::Values("mariadb", "mysql"));

}  // namespace
}  // namespace ringside::writer
