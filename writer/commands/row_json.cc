#include "writer/commands/row_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "writer/value_json.h"

namespace ringside::writer {
namespace {

using shm::Column;
using shm::ValueKind;

template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

// Takes a number off the front, up to `separator` or the end.
bool take(std::string_view& text, char separator, std::uint32_t& value) {
  const std::size_t end = std::min(text.find(separator), text.size());
  if (!parse_number(text.substr(0, end), value)) return false;
  text.remove_prefix(std::min(end + 1, text.size()));
  return true;
}

// "5" of two declared digits and "500000" both mean half a second; empty: none.
bool parse_micros(std::string_view fraction, std::uint32_t& micros) {
  micros = 0;
  if (fraction.empty()) return true;
  if (fraction.size() > 6 || !parse_number(fraction, micros)) return false;
  for (std::size_t i = fraction.size(); i < 6; ++i) micros *= 10;
  return true;
}

// "2026-01-08" or "2026-01-08 10:00:00.5", as the server prints them.
ValueStatus append_datetime_text(const Column& column, std::string_view text, std::string& out) {
  DateTimeValue value;
  if (!take(text, '-', value.year) || !take(text, '-', value.month) || !take(text, ' ', value.day)) {
    return ValueStatus::kMalformed;
  }
  if (column.kind == ValueKind::kDate) return append_date(out, value.year, value.month, value.day);
  if (!take(text, ':', value.hour) || !take(text, ':', value.minute) || !take(text, '.', value.second) ||
      !parse_micros(text, value.micros)) {
    return ValueStatus::kMalformed;
  }
  return append_datetime(out, value, column.scale, column.kind == ValueKind::kTimestamp);
}

ValueStatus append_time_text(const Column& column, std::string_view text, std::string& out) {
  TimeValue value;
  value.negative = text.starts_with('-');
  if (value.negative) text.remove_prefix(1);
  if (!take(text, ':', value.hours) || !take(text, ':', value.minute) || !take(text, '.', value.second) ||
      !parse_micros(text, value.micros)) {
    return ValueStatus::kMalformed;
  }
  return append_time(out, value, column.scale);
}

// ENUM, SET, BIT, YEAR and the integers: fetched as numbers.
ValueStatus append_whole(const Column& column, std::string_view text, std::string& out) {
  if (column.kind == ValueKind::kInteger) {
    std::int64_t number = 0;
    if (!parse_number(text, number)) return ValueStatus::kMalformed;
    append_integer(out, number);
    return ValueStatus::kOk;
  }
  std::uint64_t number = 0;
  if (!parse_number(text, number)) return ValueStatus::kMalformed;
  switch (column.kind) {
    case ValueKind::kEnum:
      return append_enum(out, number, JsonLabels(column.labels));
    case ValueKind::kSet:
      return append_set(out, number, JsonLabels(column.labels));
    case ValueKind::kBit:
      append_bit(out, number);
      return ValueStatus::kOk;
    case ValueKind::kYear:
      append_year(out, static_cast<std::uint32_t>(number));
      return ValueStatus::kOk;
    default:
      append_unsigned(out, number);
      return ValueStatus::kOk;
  }
}

ValueStatus append_cell(const Column& column, const Cell& cell, std::string& out) {
  switch (column.kind) {
    case ValueKind::kInteger:
    case ValueKind::kUnsigned:
    case ValueKind::kEnum:
    case ValueKind::kSet:
    case ValueKind::kBit:
    case ValueKind::kYear:
      return append_whole(column, cell.text, out);
    case ValueKind::kDecimal:
      return append_decimal(out, cell.text);
    case ValueKind::kFloat:
      return append_float(out, static_cast<float>(cell.number));
    case ValueKind::kDouble:
      return append_double(out, cell.number);
    case ValueKind::kText:
      return append_text(out, cell.text, Charset::kUtf8mb4);
    case ValueKind::kBinary:
      append_binary(out, cell.text);
      return ValueStatus::kOk;
    case ValueKind::kDate:
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp:
      return append_datetime_text(column, cell.text, out);
    case ValueKind::kTime:
      return append_time_text(column, cell.text, out);
    case ValueKind::kJson:
      return append_json(out, cell.text);
  }
  return ValueStatus::kUnsupported;
}

}  // namespace

Result<void> append_row_json(const shm::Shape& shape, const Row& row, std::string& out) {
  if (row.size() != shape.columns.size()) {
    return Error{ErrorKind::kUnsupported, fmt::format("the server sent {} columns, {} were asked for",
                                                      row.size(), shape.columns.size())};
  }
  char before = '{';
  for (std::size_t i = 0; i < row.size(); ++i) {
    const Column& column = shape.columns[i];
    out += before;
    before = ',';
    if (append_text(out, column.name, Charset::kUtf8mb4) != ValueStatus::kOk) {
      return Error{ErrorKind::kUnsupported, fmt::format("the name of column {} is not UTF-8", i + 1)};
    }
    out += ':';
    if (row[i].is_null) {
      out += "null";
      continue;
    }
    if (const ValueStatus status = append_cell(column, row[i], out); status != ValueStatus::kOk) {
      return Error{ErrorKind::kUnsupported, fmt::format("column '{}' {}", column.name, to_string(status))};
    }
  }
  out += '}';
  return {};
}

}  // namespace ringside::writer
