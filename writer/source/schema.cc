#include "writer/source/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "shm/key.h"
#include "shm/record.h"
#include "writer/source/column_type.h"
#include "writer/source/dialect.h"

namespace ringside::writer {
namespace {

struct KeyDescription {
  std::string name;
  bool is_hash = false;
  // Names in the key's order; a part over a prefix or an expression has a problem instead.
  std::vector<std::string> columns;
  std::string problem;
};

// What information_schema says of one table.
struct TableDescription {
  std::string type;    // "BASE TABLE", "SYSTEM VERSIONED"
  std::string engine;  // "InnoDB"
  std::vector<ColumnDescription> columns;
  std::vector<KeyDescription> unique_keys;
  std::string cascade;  // the first foreign key whose action the server does not log
};
using Descriptions = std::map<std::string, TableDescription, std::less<>>;

std::string text_of(const std::optional<std::string>& value) {
  return value.value_or(std::string());
}

template <class T>
T number_of(const std::optional<std::string>& value) {
  T number{};
  if (value) std::from_chars(value->data(), value->data() + value->size(), number);
  return number;
}

// MySQL shows an expression as the inside of a string literal: concat(`a`,_utf8mb4\'x\').
std::string without_escapes(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain.push_back(text[i]);
  }
  return plain;
}

// Reads every part of the description with one query each, of the whole database or of one table.
class Reader {
 public:
  Reader(Connection& connection, const MysqlConfig& config, std::string_view table)
      : connection_(connection), database_(quote_text(config.database)), table_(table) {}

  Result<Descriptions> read() {
    RINGSIDE_TRY(read_tables());
    RINGSIDE_TRY(read_columns());
    RINGSIDE_TRY(read_keys());
    if (is_mariadb()) RINGSIDE_TRY(read_json_checks());
    RINGSIDE_ASSIGN(const bool logs_cascades, server_logs_cascades());
    if (!logs_cascades) RINGSIDE_TRY(read_cascades());
    return std::move(tables_);
  }

 private:
  bool is_mariadb() const { return connection_.server().flavour == Flavour::kMariaDb; }
  std::string where(std::string_view schema_column) const {
    std::string text = fmt::format(" WHERE {}={}", schema_column, database_);
    if (!table_.empty()) text += fmt::format(" AND TABLE_NAME={}", quote_text(table_));
    return text;
  }
  // Comparisons of information_schema ignore case; we don't.
  TableDescription* find(const std::optional<std::string>& name) {
    const auto found = tables_.find(text_of(name));
    return found == tables_.end() ? nullptr : &found->second;
  }

  Result<void> read_tables();
  Result<void> read_columns();
  Result<void> read_keys();
  Result<void> read_json_checks();
  Result<bool> server_logs_cascades();
  Result<void> read_cascades();

  Connection& connection_;
  std::string database_;
  std::string_view table_;
  Descriptions tables_;
};

Result<void> Reader::read_tables() {
  RINGSIDE_ASSIGN(
      const auto rows,
      connection_.query("SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES" +
                        where("TABLE_SCHEMA") + " AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')"));
  if (rows.size() > kMaxTables) {
    return Error{ErrorKind::kLimit,
                 fmt::format("the database has {} tables, more than {}: choose by mysql.tables", rows.size(),
                             kMaxTables)};
  }
  for (const SqlRow& row : rows) {
    if (!table_.empty() && text_of(row[0]) != table_) continue;
    TableDescription& table = tables_[text_of(row[0])];
    table.type = text_of(row[1]);
    table.engine = text_of(row[2]);
  }
  return {};
}

Result<void> Reader::read_columns() {
  RINGSIDE_ASSIGN(
      const auto rows,
      connection_.query(
          "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME,"
          " IS_NULLABLE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE,"
          " DATETIME_PRECISION, EXTRA, GENERATION_EXPRESSION FROM information_schema.COLUMNS" +
          where("TABLE_SCHEMA") + " ORDER BY TABLE_NAME, ORDINAL_POSITION"));
  for (const SqlRow& row : rows) {
    TableDescription* const table = find(row[0]);
    if (table == nullptr) continue;
    ColumnDescription& column = table->columns.emplace_back();
    column.name = text_of(row[1]);
    column.data_type = text_of(row[2]);
    column.column_type = text_of(row[3]);
    column.charset = text_of(row[4]);
    column.collation = text_of(row[5]);
    column.nullable = text_of(row[6]) == "YES";
    column.character_length = number_of<std::uint64_t>(row[7]);
    column.numeric_precision = number_of<std::uint32_t>(row[8]);
    column.numeric_scale = number_of<std::uint32_t>(row[9]);
    column.datetime_precision = number_of<std::uint32_t>(row[10]);
    column.extra = text_of(row[11]);
    column.expression = is_mariadb() ? text_of(row[12]) : without_escapes(text_of(row[12]));
  }
  return {};
}

Result<void> Reader::read_keys() {
  RINGSIDE_ASSIGN(
      const auto rows,
      connection_.query("SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE, INDEX_TYPE FROM"
                        " information_schema.STATISTICS" +
                        where("TABLE_SCHEMA") +
                        " AND NON_UNIQUE=0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"));
  for (const SqlRow& row : rows) {
    TableDescription* const table = find(row[0]);
    if (table == nullptr) continue;
    const std::string name = text_of(row[1]);
    std::vector<KeyDescription>& keys = table->unique_keys;
    if (keys.empty() || keys.back().name != name) keys.emplace_back().name = name;
    KeyDescription& key = keys.back();
    key.columns.push_back(text_of(row[2]));
    key.is_hash = key.is_hash || text_of(row[5]) == "HASH";
    if (!row[2]) key.problem = "is over an expression";
    if (row[3]) key.problem = fmt::format("is over a prefix of `{}`", key.columns.back());
    if (text_of(row[4]) == "YES") key.problem = fmt::format("allows NULL in `{}`", key.columns.back());
  }
  return {};
}

Result<void> Reader::read_json_checks() {
  // A column declared JSON is a LONGTEXT with this check, under the column's own name.
  RINGSIDE_ASSIGN(const auto rows,
                  connection_.query(
                      "SELECT TABLE_NAME, CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS" +
                      where("CONSTRAINT_SCHEMA") +
                      " AND LEVEL='Column' AND CHECK_CLAUSE=CONCAT('json_valid(`', CONSTRAINT_NAME, '`)')"));
  for (const SqlRow& row : rows) {
    TableDescription* const table = find(row[0]);
    if (table == nullptr) continue;
    for (ColumnDescription& column : table->columns) {
      if (column.name == text_of(row[1])) column.has_json_check = true;
    }
  }
  return {};
}

// MySQL from 9.6 on acts on foreign keys above the engine, where the binlog is written, unless it is told not to.
Result<bool> Reader::server_logs_cascades() {
  if (is_mariadb()) return false;
  RINGSIDE_ASSIGN(const auto rows,
                  connection_.query("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'"));
  return !rows.empty() && rows.front()[1] == "OFF";
}

Result<void> Reader::read_cascades() {
  RINGSIDE_ASSIGN(
      const auto rows,
      connection_.query(
          "SELECT TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE, REFERENCED_TABLE_NAME FROM"
          " information_schema.REFERENTIAL_CONSTRAINTS" +
          where("CONSTRAINT_SCHEMA") +
          " AND (DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT',"
          " 'NO ACTION')) ORDER BY TABLE_NAME, CONSTRAINT_NAME"));
  for (const SqlRow& row : rows) {
    TableDescription* const table = find(row[0]);
    if (table == nullptr || !table->cascade.empty()) continue;
    table->cascade = fmt::format(
        "its foreign key `{}` to `{}` is ON DELETE {} ON UPDATE {}, and {} what that changes: make "
        "it RESTRICT, or leave the table out by mysql.exclude",
        text_of(row[1]), text_of(row[4]), text_of(row[2]), text_of(row[3]),
        is_mariadb()
            ? "MariaDB does not log"
            : "this server does not log (MySQL from 9.6 on does, with innodb_native_foreign_keys = OFF)");
  }
  return {};
}

// A VIRTUAL column is computed when it is read: by our session for the snapshot, by the changing one for the
// stream.
std::string virtual_column_problem(const ColumnDescription& description,
                                   const std::vector<shm::Column>& columns) {
  if (description.extra.find("VIRTUAL GENERATED") == std::string::npos) return {};
  std::string why_not;
  if (is_session_independent(description.expression, columns, why_not)) return {};
  return fmt::format(
      "is VIRTUAL and its expression has {}, which may differ from session to session: declare it STORED "
      "(PERSISTENT), "
      "or leave the table out by mysql.exclude",
      why_not);
}

std::string read_columns_of(const TableDescription& description, Flavour flavour,
                            std::vector<shm::Column>& columns) {
  std::string problem;
  for (const ColumnDescription& column : description.columns) {
    ColumnReading reading = read_column(column, flavour);
    if (problem.empty() && !reading.problem.empty()) {
      problem = fmt::format("column `{}` {}", column.name, reading.problem);
    }
    columns.push_back(std::move(reading.column));
  }
  for (const ColumnDescription& column : description.columns) {
    if (!problem.empty()) break;
    const std::string virtual_problem = virtual_column_problem(column, columns);
    if (!virtual_problem.empty()) problem = fmt::format("column `{}` {}", column.name, virtual_problem);
  }
  return problem;
}

// Fills the key's columns; the returned problem is empty when it serves.
std::string try_key(const KeyDescription& key, const std::vector<shm::Column>& columns, shm::Table& table) {
  if (!key.problem.empty()) return key.problem;
  table.key.clear();
  for (const std::string& name : key.columns) {
    const auto found = std::find_if(columns.begin(), columns.end(),
                                    [&name](const shm::Column& c) { return c.name == name; });
    if (found == columns.end()) return fmt::format("names the unknown column `{}`", name);
    if (!shm::can_be_key(*found)) {
      return fmt::format("is over `{}` of type {}, which cannot be a key here", name, found->sql_type);
    }
    table.key.push_back(shm::make_key_column(static_cast<std::uint32_t>(found - columns.begin()), *found));
  }
  table.key_name = key.name;
  return {};
}

std::string choose_key(std::vector<KeyDescription> keys, shm::Table& table) {
  const auto rank = [](const KeyDescription& key) {
    return std::make_tuple(key.name != "PRIMARY", key.columns.size(), std::string_view(key.name));
  };
  std::sort(keys.begin(), keys.end(),
            [&rank](const KeyDescription& a, const KeyDescription& b) { return rank(a) < rank(b); });
  std::string first_problem;
  for (const KeyDescription& key : keys) {
    const std::string problem = try_key(key, table.shape.columns, table);
    if (problem.empty()) return {};
    if (first_problem.empty()) first_problem = fmt::format("its key {} {}", key.name, problem);
  }
  table.key.clear();
  if (keys.empty()) return "it has no PRIMARY or UNIQUE key: add one to have its rows served";
  return first_problem + "; add a PRIMARY or UNIQUE key over NOT NULL columns to have its rows served";
}

std::string table_problem(const TableDescription& description, Flavour flavour) {
  if (description.type != "BASE TABLE") {
    return "it is system-versioned: its row images hold history rows as well, which this version does not "
           "read";
  }
  if (description.engine != "InnoDB") {
    return fmt::format(
        "its engine is {}, of which no consistent snapshot can be taken: ALTER TABLE … ENGINE=InnoDB",
        description.engine);
  }
  if (flavour == Flavour::kMariaDb) {
    for (const KeyDescription& key : description.unique_keys) {
      if (!key.is_hash) continue;
      return fmt::format(
          "its UNIQUE key {} is over a long column, for which the server keeps a hidden column in every "
          "row image: make it a key over a prefix, or over a shorter column",
          key.name);
    }
  }
  if (description.columns.empty()) return "its columns are not visible to this user: GRANT SELECT on it";
  if (description.columns.size() > shm::kMaxColumns) return "it has more columns than a record holds";
  return description.cascade;
}

shm::Table make_table(std::string_view name, const TableDescription& description, Flavour flavour) {
  shm::Table table;
  table.name = name;
  const std::string column_problem = read_columns_of(description, flavour, table.shape.columns);
  const std::string key_problem = choose_key(description.unique_keys, table);
  table.reason = table_problem(description, flavour);
  if (table.reason.empty()) table.reason = column_problem;
  if (table.reason.empty()) table.reason = key_problem;
  if (!table.reason.empty()) table.state = shm::TableState::kQuarantined;
  return table;
}

}  // namespace

Result<std::vector<shm::Table>> read_schema(Connection& connection, const MysqlConfig& config) {
  RINGSIDE_ASSIGN(const Descriptions descriptions, Reader(connection, config, {}).read());
  std::vector<shm::Table> tables;
  for (const auto& [name, description] : descriptions) {
    if (config.is_chosen(name)) tables.push_back(make_table(name, description, connection.server().flavour));
  }
  return tables;
}

Result<shm::Table> read_table_schema(Connection& connection, const MysqlConfig& config,
                                     std::string_view name) {
  RINGSIDE_ASSIGN(const Descriptions descriptions, Reader(connection, config, name).read());
  const auto found = descriptions.find(name);
  if (found == descriptions.end()) {
    return Error{ErrorKind::kNotFound, fmt::format("the database {} has no table {}", config.database, name)};
  }
  return make_table(name, found->second, connection.server().flavour);
}

}  // namespace ringside::writer
