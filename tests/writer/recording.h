// A recorded binlog with what the server showed at its end (tools/record_binlog.py makes them).
//
// Errors: a file that is missing or out of form ends the test (ADD_FAILURE and an empty result).
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "shm/schema.h"
#include "writer/binlog/event.h"

namespace ringside::writer::testing {

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) ADD_FAILURE() << "cannot read " << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = line.find(separator, begin);
    parts.push_back(line.substr(begin, end - begin));
    if (end == std::string::npos) return parts;
    begin = end + 1;
  }
}

inline std::vector<std::vector<std::string>> read_tsv(const std::string& path) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) rows.push_back(split(line, '\t'));
  return rows;
}

// The labels of "enum('a','b''c')". Commas are in no label of the recordings.
inline std::vector<std::string> labels_of(const std::string& sql_type) {
  std::vector<std::string> labels;
  const std::size_t open = sql_type.find('(');
  for (const std::string& part : split(sql_type.substr(open + 1, sql_type.rfind(')') - open - 1), ',')) {
    labels.push_back(part.substr(1, part.size() - 2));
  }
  return labels;
}

// A catalogue's column out of a line of information_schema (the order is tools/record_binlog.py's).
inline shm::Column column_from_schema(const std::vector<std::string>& line) {
  using shm::ValueKind;
  static const std::map<std::string, std::pair<ValueKind, std::uint32_t>> kTypes{
      {"tinyint", {ValueKind::kInteger, 1}},   {"smallint", {ValueKind::kInteger, 2}},
      {"mediumint", {ValueKind::kInteger, 3}}, {"int", {ValueKind::kInteger, 4}},
      {"bigint", {ValueKind::kInteger, 8}},    {"decimal", {ValueKind::kDecimal, 0}},
      {"float", {ValueKind::kFloat, 0}},       {"double", {ValueKind::kDouble, 0}},
      {"char", {ValueKind::kText, 0}},         {"varchar", {ValueKind::kText, 0}},
      {"tinytext", {ValueKind::kText, 0}},     {"text", {ValueKind::kText, 0}},
      {"mediumtext", {ValueKind::kText, 0}},   {"longtext", {ValueKind::kText, 0}},
      {"binary", {ValueKind::kBinary, 0}},     {"varbinary", {ValueKind::kBinary, 0}},
      {"tinyblob", {ValueKind::kBinary, 0}},   {"blob", {ValueKind::kBinary, 0}},
      {"mediumblob", {ValueKind::kBinary, 0}}, {"longblob", {ValueKind::kBinary, 0}},
      {"date", {ValueKind::kDate, 0}},         {"time", {ValueKind::kTime, 0}},
      {"datetime", {ValueKind::kDatetime, 0}}, {"timestamp", {ValueKind::kTimestamp, 0}},
      {"year", {ValueKind::kYear, 0}},         {"enum", {ValueKind::kEnum, 0}},
      {"set", {ValueKind::kSet, 0}},           {"bit", {ValueKind::kBit, 0}},
      {"json", {ValueKind::kJson, 0}},         {"uuid", {ValueKind::kBinary, 0}},
      {"inet6", {ValueKind::kBinary, 0}},      {"inet4", {ValueKind::kBinary, 0}}};
  const auto number = [&](std::size_t i) {
    return static_cast<std::uint32_t>(std::stoull(line[i]) & 0xffffffff);
  };
  shm::Column column;
  column.name = line[1];
  column.sql_type = line[3];
  column.collation = line[4];
  column.nullable = line[5] == "YES";
  const auto found = kTypes.find(line[2]);
  if (found == kTypes.end()) return column;
  column.kind = found->second.first;
  column.width = found->second.second;
  if (column.kind == ValueKind::kInteger && line[3].find("unsigned") != std::string::npos) {
    column.kind = ValueKind::kUnsigned;
  }
  if (column.kind == ValueKind::kDecimal) {
    column.precision = static_cast<std::uint8_t>(number(6));
    column.scale = static_cast<std::uint8_t>(number(7));
  }
  if (column.kind == ValueKind::kBit) column.width = number(6);
  if (line[2] == "time" || line[2] == "datetime" || line[2] == "timestamp") {
    column.scale = static_cast<std::uint8_t>(number(8));
  }
  if (line[2] == "char" || line[2] == "binary") column.width = number(9);
  if (column.kind == ValueKind::kEnum || column.kind == ValueKind::kSet) column.labels = labels_of(line[3]);
  return column;
}

struct Recording {
  std::string bytes;
  std::vector<Bytes> events;
  std::map<std::string, shm::Shape> shapes;  // by table
  std::map<std::string, std::vector<std::string>>
      rows;  // by table: lines of JSON texts with tabs between, sorted

  explicit Recording(const std::string& name) {
    const std::string path = name.starts_with('/') ? name : std::string(RINGSIDE_FIXTURES) + "/" + name;
    bytes = read_file(path + ".binlog");
    if (!bytes.starts_with("\xfe"
                           "bin")) {
      ADD_FAILURE() << path << " is no binlog";
      return;
    }
    Bytes rest = as_bytes(bytes).subspan(4);
    while (!rest.empty()) {
      const auto header = binlog::read_event_header(rest);
      if (!header || header->size > rest.size() || header->size < binlog::kEventHeaderBytes) {
        ADD_FAILURE() << path << " is cut short";
        return;
      }
      events.push_back(rest.first(header->size));
      rest = rest.subspan(header->size);
    }
    for (const auto& line : read_tsv(path + ".columns.tsv")) {
      shapes[line[0]].columns.push_back(column_from_schema(line));
    }
    for (const auto& line : split(read_file(path + ".rows.tsv"), '\n')) {
      const std::size_t tab = line.find('\t');
      if (tab != std::string::npos) rows[line.substr(0, tab)].push_back(line.substr(tab + 1));
    }
  }
};

}  // namespace ringside::writer::testing
