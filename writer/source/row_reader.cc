#include "writer/source/row_reader.h"

#include <fmt/format.h>
#include <mariadb/mysql.h>

#include <vector>

#include "writer/charset.h"
#include "writer/source/dialect.h"
#include "writer/value_json.h"

namespace ringside::writer {
namespace {

using shm::ValueKind;

constexpr std::size_t kFirstBufferBytes = 256;

bool is_variable(ValueKind kind) {
  return kind == ValueKind::kDecimal || kind == ValueKind::kText || kind == ValueKind::kBinary ||
         kind == ValueKind::kJson;
}

// ENUM, SET and BIT are read as their numbers: their texts are ambiguous (an empty label) or bytes.
std::string select_expression(const shm::Column& column) {
  const std::string name = quote_name(column.name);
  const bool as_number =
      column.kind == ValueKind::kEnum || column.kind == ValueKind::kSet || column.kind == ValueKind::kBit;
  return as_number ? fmt::format("CAST({} AS UNSIGNED)", name) : name;
}

// One column's place in the statement's result.
struct Cell {
  ValueKind kind = ValueKind::kInteger;
  Charset charset = Charset::kUnsupported;
  std::uint32_t digits = 0;
  JsonLabels labels;

  union {
    std::int64_t integer;
    std::uint64_t unsigned_integer;
    float single;
    double real;
    MYSQL_TIME time;
  } fixed{};
  std::vector<char> bytes;
  unsigned long length = 0;
  my_bool is_null = 0;
  my_bool is_truncated = 0;

  std::string_view text() const { return {bytes.data(), length}; }
};

void bind_fixed(MYSQL_BIND& bind, Cell& cell, enum_field_types type) {
  bind.buffer_type = type;
  bind.buffer = &cell.fixed;
  bind.buffer_length = sizeof cell.fixed;
}

void bind_cell(MYSQL_BIND& bind, Cell& cell) {
  bind = MYSQL_BIND{};
  bind.length = &cell.length;
  bind.is_null = &cell.is_null;
  bind.error = &cell.is_truncated;
  switch (cell.kind) {
    case ValueKind::kInteger:
      bind_fixed(bind, cell, MYSQL_TYPE_LONGLONG);
      break;
    case ValueKind::kUnsigned:
    case ValueKind::kYear:
    case ValueKind::kEnum:
    case ValueKind::kSet:
    case ValueKind::kBit:
      bind_fixed(bind, cell, MYSQL_TYPE_LONGLONG);
      bind.is_unsigned = 1;
      break;
    case ValueKind::kFloat:
      bind_fixed(bind, cell, MYSQL_TYPE_FLOAT);
      break;
    case ValueKind::kDouble:
      bind_fixed(bind, cell, MYSQL_TYPE_DOUBLE);
      break;
    case ValueKind::kDate:
      bind_fixed(bind, cell, MYSQL_TYPE_DATE);
      break;
    case ValueKind::kTime:
      bind_fixed(bind, cell, MYSQL_TYPE_TIME);
      break;
    case ValueKind::kDatetime:
      bind_fixed(bind, cell, MYSQL_TYPE_DATETIME);
      break;
    case ValueKind::kTimestamp:
      bind_fixed(bind, cell, MYSQL_TYPE_TIMESTAMP);
      break;
    case ValueKind::kDecimal:
    case ValueKind::kText:
    case ValueKind::kBinary:
    case ValueKind::kJson:
      bind.buffer_type = MYSQL_TYPE_BLOB;
      bind.buffer = cell.bytes.data();
      bind.buffer_length = cell.bytes.size();
      break;
  }
}

ValueStatus append_time_value(std::string& out, const Cell& cell) {
  const MYSQL_TIME& t = cell.fixed.time;
  const auto micros = static_cast<std::uint32_t>(t.second_part);
  switch (cell.kind) {
    case ValueKind::kDate:
      return append_date(out, t.year, t.month, t.day);
    case ValueKind::kTime:
      return append_time(out, {t.neg != 0, t.day * 24 + t.hour, t.minute, t.second, micros}, cell.digits);
    default:
      return append_datetime(out, {t.year, t.month, t.day, t.hour, t.minute, t.second, micros}, cell.digits,
                             cell.kind == ValueKind::kTimestamp);
  }
}

ValueStatus append_value(std::string& out, const Cell& cell) {
  switch (cell.kind) {
    case ValueKind::kInteger:
      append_integer(out, cell.fixed.integer);
      return ValueStatus::kOk;
    case ValueKind::kUnsigned:
      append_unsigned(out, cell.fixed.unsigned_integer);
      return ValueStatus::kOk;
    case ValueKind::kBit:
      append_bit(out, cell.fixed.unsigned_integer);
      return ValueStatus::kOk;
    case ValueKind::kYear:
      append_year(out, static_cast<std::uint32_t>(cell.fixed.unsigned_integer));
      return ValueStatus::kOk;
    case ValueKind::kDecimal:
      return append_decimal(out, cell.text());
    case ValueKind::kFloat:
      return append_float(out, cell.fixed.single);
    case ValueKind::kDouble:
      return append_double(out, cell.fixed.real);
    case ValueKind::kText:
      return append_text(out, cell.text(), cell.charset);
    case ValueKind::kBinary:
      append_binary(out, cell.text());
      return ValueStatus::kOk;
    case ValueKind::kJson:
      return append_json(out, cell.text());
    case ValueKind::kEnum:
      return append_enum(out, cell.fixed.unsigned_integer, cell.labels);
    case ValueKind::kSet:
      return append_set(out, cell.fixed.unsigned_integer, cell.labels);
    case ValueKind::kDate:
    case ValueKind::kTime:
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp:
      return append_time_value(out, cell);
  }
  return ValueStatus::kUnsupported;
}

}  // namespace

struct RowReader::Columns {
  std::unique_ptr<MYSQL_STMT, my_bool (*)(MYSQL_STMT*)> statement{nullptr, mysql_stmt_close};
  std::vector<Cell> cells;
  std::vector<MYSQL_BIND> binds;
};

RowReader::RowReader(Connection& connection, const shm::Table& table, std::size_t max_value_bytes)
    : connection_(connection),
      table_(table),
      max_value_bytes_(max_value_bytes),
      columns_(std::make_unique<Columns>()) {}

RowReader::~RowReader() = default;

Result<std::unique_ptr<RowReader>> RowReader::open(Connection& connection, std::string_view database,
                                                   const shm::Table& table, std::size_t max_value_bytes) {
  std::unique_ptr<RowReader> reader(new RowReader(connection, table, max_value_bytes));
  RINGSIDE_TRY(reader->start(database));
  return reader;
}

Result<void> RowReader::start(std::string_view database) {
  std::string sql = "SELECT ";
  columns_->cells.reserve(table_.shape.columns.size());
  for (const shm::Column& column : table_.shape.columns) {
    if (!columns_->cells.empty()) sql += ", ";
    sql += select_expression(column);
    Cell& cell = columns_->cells.emplace_back();
    cell.kind = column.kind;
    cell.charset = charset_from_collation(column.collation);
    cell.digits = column.scale;
    cell.labels = JsonLabels(column.labels);
    if (is_variable(column.kind)) cell.bytes.resize(kFirstBufferBytes);
  }
  sql += fmt::format(" FROM {}.{}", quote_name(database), quote_name(table_.name));

  columns_->statement.reset(mysql_stmt_init(connection_.handle()));
  MYSQL_STMT* const statement = columns_->statement.get();
  if (statement == nullptr) return connection_.take_error("preparing to read a table");
  if (mysql_stmt_prepare(statement, sql.data(), sql.size()) != 0) return statement_error(sql);
  columns_->binds.resize(columns_->cells.size());
  for (std::size_t i = 0; i < columns_->cells.size(); ++i) bind_cell(columns_->binds[i], columns_->cells[i]);
  if (mysql_stmt_bind_result(statement, columns_->binds.data()) != 0 || mysql_stmt_execute(statement) != 0) {
    return statement_error(sql);
  }
  return {};
}

Error RowReader::statement_error(std::string_view doing) {
  MYSQL_STMT* const statement = columns_->statement.get();
  // An error between two rows is left on the connection alone.
  if (mysql_stmt_errno(statement) == 0) return connection_.take_error(doing);
  return connection_.take_error(doing, mysql_stmt_errno(statement), mysql_stmt_sqlstate(statement),
                                mysql_stmt_error(statement));
}

Result<RowReader::Fetch> RowReader::next(shm::RowBuilder& row) {
  if (has_grown_) {
    // Not in the row that made them grow: some versions of the library (3.3.19) forget the lengths of the row at hand.
    has_grown_ = false;
    if (mysql_stmt_bind_result(columns_->statement.get(), columns_->binds.data()) != 0) {
      return statement_error(fmt::format("reading table {}", table_.name));
    }
  }
  const int status = mysql_stmt_fetch(columns_->statement.get());
  if (status == MYSQL_NO_DATA) return Fetch::kEnd;
  if (status != 0 && status != MYSQL_DATA_TRUNCATED) {
    return statement_error(fmt::format("reading the rows of table {}", table_.name));
  }
  if (status == MYSQL_DATA_TRUNCATED) {
    bool is_refused = false;
    RINGSIDE_TRY(fetch_rest_of_long_values(is_refused));
    if (is_refused) return Fetch::kRefused;
  }
  return encode(row) && make_key(row) ? Fetch::kRow : Fetch::kRefused;
}

// The row is still in the library's packet: values that did not fit are copied again into buffers that stay
// as large.
Result<void> RowReader::fetch_rest_of_long_values(bool& is_refused) {
  MYSQL_STMT* const statement = columns_->statement.get();
  for (std::size_t i = 0; i < columns_->cells.size(); ++i) {
    Cell& cell = columns_->cells[i];
    if (!is_variable(cell.kind) || cell.is_null != 0 || cell.length <= cell.bytes.size()) continue;
    if (cell.length > max_value_bytes_) {
      is_refused =
          !refuse(i, fmt::format("has {} bytes, more than ring.max_record_size allows", cell.length));
      return {};
    }
    cell.bytes.resize(cell.length + cell.length / 4);
    bind_cell(columns_->binds[i], cell);
    if (mysql_stmt_fetch_column(statement, &columns_->binds[i], static_cast<unsigned>(i), 0) != 0) {
      return statement_error(fmt::format("reading a long value of table {}", table_.name));
    }
  }
  has_grown_ = true;
  return {};
}

bool RowReader::encode(shm::RowBuilder& row) {
  row.begin();
  for (std::size_t i = 0; i < columns_->cells.size(); ++i) {
    const Cell& cell = columns_->cells[i];
    if (cell.is_null != 0) {
      row.add_null();
      continue;
    }
    const ValueStatus status = append_value(row.values(), cell);
    if (status != ValueStatus::kOk) return refuse(i, to_string(status));
    row.close_value();
  }
  return true;
}

bool RowReader::make_key(shm::RowBuilder& row) {
  key_.clear();
  for (std::size_t i = 0; i < table_.key.size(); ++i) {
    const shm::KeyColumn& part = table_.key[i];
    if (columns_->cells[part.column].is_null != 0) return refuse(part.column, "is NULL in the key");
    const shm::KeyStatus status = shm::append_key_from_json(
        table_.shape.columns[part.column], part, i + 1 == table_.key.size(), row.value(part.column), key_);
    if (status == shm::KeyStatus::kTooLong)
      return refuse(part.column, "makes a key of more bytes than a key may have");
    if (status != shm::KeyStatus::kOk) return refuse(part.column, "has a value that cannot be a key");
  }
  row.set_key(key_.bytes());
  return true;
}

// Always false, so that the caller can return it.
bool RowReader::refuse(std::size_t column, std::string_view what) {
  refusal_ = fmt::format("column `{}` of a row {}", table_.shape.columns[column].name, what);
  return false;
}

}  // namespace ringside::writer
