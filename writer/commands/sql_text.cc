#include "writer/commands/sql_text.h"

#include <fmt/format.h>

#include "writer/source/dialect.h"

namespace ringside::writer {
namespace {

using shm::Column;
using shm::ValueKind;

std::string table_name(TableRef ref) {
  return quote_name(ref.database) + '.' + quote_name(ref.table->name);
}

const Column& column_of(TableRef ref, std::uint32_t index) {
  return ref.table->shape.columns[index];
}

// Long texts reach the server as bytes without a character set; this names it. For short ones it changes
// nothing.
std::string_view value_placeholder(const Column& column) {
  return column.kind == ValueKind::kText || column.kind == ValueKind::kJson ? "CONVERT(? USING utf8mb4)"
                                                                            : "?";
}

// A DECIMAL compared with a text would be compared as floating point numbers.
std::string key_placeholder(const Column& column) {
  if (column.kind != ValueKind::kDecimal) return "?";
  return fmt::format("CAST(? AS DECIMAL({},{}))", column.precision, column.scale);
}

void append_where(TableRef ref, std::span<const ColumnValue> key, std::string& sql) {
  std::string_view before = " WHERE ";
  for (const ColumnValue& part : key) {
    const Column& column = column_of(ref, part.column);
    sql += before;
    sql += quote_name(column.name);
    sql += " = ";
    sql += key_placeholder(column);
    before = " AND ";
  }
}

// The form in which a column is fetched (row_json.h reads it).
std::string fetched(const Column& column) {
  const std::string name = quote_name(column.name);
  switch (column.kind) {
    case ValueKind::kDecimal:  // the connector cuts the longest ones short
    case ValueKind::kDate:
    case ValueKind::kTime:
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp:
      return fmt::format("CAST({} AS CHAR)", name);
    case ValueKind::kEnum:
    case ValueKind::kSet:
    case ValueKind::kBit:
    case ValueKind::kYear:
      return fmt::format("CAST({} AS UNSIGNED)", name);
    case ValueKind::kJson:  // MariaDB's is a text; of MySQL's the connector knows no results
      return column.sql_type == "json" ? fmt::format("CAST({} AS CHAR)", name) : name;
    default:
      return name;
  }
}

}  // namespace

std::string insert_sql(TableRef ref, std::span<const ColumnValue> values) {
  std::string sql = "INSERT INTO " + table_name(ref) + " (";
  std::string_view before;
  for (const ColumnValue& value : values) {
    sql += before;
    sql += quote_name(column_of(ref, value.column).name);
    before = ", ";
  }
  sql += ") VALUES (";
  before = "";
  for (const ColumnValue& value : values) {
    sql += before;
    sql += value_placeholder(column_of(ref, value.column));
    before = ", ";
  }
  sql += ')';
  return sql;
}

std::string update_sql(TableRef ref, std::span<const ColumnValue> values,
                       std::span<const std::uint32_t> defaults, std::span<const ColumnValue> key) {
  std::string sql = "UPDATE " + table_name(ref) + " SET ";
  std::string_view before;
  for (const ColumnValue& value : values) {
    const Column& column = column_of(ref, value.column);
    sql += before;
    sql += quote_name(column.name);
    sql += " = ";
    sql += value_placeholder(column);
    before = ", ";
  }
  for (const std::uint32_t index : defaults) {
    sql += before;
    sql += quote_name(column_of(ref, index).name);
    sql += " = DEFAULT";
    before = ", ";
  }
  if (values.empty() && defaults.empty()) {
    const std::string name = quote_name(column_of(ref, key.front().column).name);
    sql += name + " = " + name;
  }
  append_where(ref, key, sql);
  return sql;
}

std::string delete_sql(TableRef ref, std::span<const ColumnValue> key) {
  std::string sql = "DELETE FROM " + table_name(ref);
  append_where(ref, key, sql);
  return sql;
}

std::string select_sql(TableRef ref, std::span<const ColumnValue> key) {
  std::string sql = "SELECT ";
  std::string_view before;
  for (const Column& column : ref.table->shape.columns) {
    sql += before;
    sql += fetched(column);
    before = ", ";
  }
  sql += " FROM " + table_name(ref);
  append_where(ref, key, sql);
  sql += " LOCK IN SHARE MODE";  // understood by MariaDB and MySQL alike
  return sql;
}

}  // namespace ringside::writer
