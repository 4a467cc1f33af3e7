#include "writer/source/column_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "writer/charset.h"

namespace ringside::writer {
namespace {

using shm::ValueKind;

struct TypeEntry {
  std::string_view data_type;
  ValueKind kind;
  std::uint32_t width;  // integers: bytes
};
constexpr std::array kTypes = {
    TypeEntry{"tinyint", ValueKind::kInteger, 1},
    TypeEntry{"smallint", ValueKind::kInteger, 2},
    TypeEntry{"mediumint", ValueKind::kInteger, 3},
    TypeEntry{"int", ValueKind::kInteger, 4},
    TypeEntry{"bigint", ValueKind::kInteger, 8},
    TypeEntry{"decimal", ValueKind::kDecimal, 0},
    TypeEntry{"float", ValueKind::kFloat, 0},
    TypeEntry{"double", ValueKind::kDouble, 0},
    TypeEntry{"bit", ValueKind::kBit, 0},
    TypeEntry{"char", ValueKind::kText, 0},
    TypeEntry{"varchar", ValueKind::kText, 0},
    TypeEntry{"tinytext", ValueKind::kText, 0},
    TypeEntry{"text", ValueKind::kText, 0},
    TypeEntry{"mediumtext", ValueKind::kText, 0},
    TypeEntry{"longtext", ValueKind::kText, 0},
    TypeEntry{"binary", ValueKind::kBinary, 0},
    TypeEntry{"varbinary", ValueKind::kBinary, 0},
    TypeEntry{"tinyblob", ValueKind::kBinary, 0},
    TypeEntry{"blob", ValueKind::kBinary, 0},
    TypeEntry{"mediumblob", ValueKind::kBinary, 0},
    TypeEntry{"longblob", ValueKind::kBinary, 0},
    TypeEntry{"date", ValueKind::kDate, 0},
    TypeEntry{"time", ValueKind::kTime, 0},
    TypeEntry{"datetime", ValueKind::kDatetime, 0},
    TypeEntry{"timestamp", ValueKind::kTimestamp, 0},
    TypeEntry{"year", ValueKind::kYear, 0},
    TypeEntry{"enum", ValueKind::kEnum, 0},
    TypeEntry{"set", ValueKind::kSet, 0},
    TypeEntry{"json", ValueKind::kJson, 0},  // MySQL's; MariaDB's is a longtext
};

const TypeEntry* find_type(std::string_view data_type) {
  const auto* const found = std::find_if(kTypes.begin(), kTypes.end(), [data_type](const TypeEntry& entry) {
    return entry.data_type == data_type;
  });
  return found == kTypes.end() ? nullptr : found;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Fills the labels; false leaves a problem.
bool read_labels(const ColumnDescription& description, ColumnReading& reading) {
  auto labels = parse_labels(description.column_type);
  if (!labels) {
    reading.problem = fmt::format("has labels that are not understood: {}", description.column_type);
    return false;
  }
  // information_schema speaks utf8mb3: a character beyond U+FFFF arrives as a question mark, and cannot be
  // told from a real one.
  const bool is_lossy = charset_from_name(description.charset) == Charset::kUtf8mb4;
  for (const std::string& label : *labels) {
    if (is_lossy && contains(label, "?")) {
      reading.problem = fmt::format(
          "has the label '{}', which may have lost a character beyond U+FFFF on the way (information_schema "
          "shows it "
          "as '?'): rename the label, or give the column the character set utf8mb3",
          label);
      return false;
    }
  }
  reading.column.labels = std::move(*labels);
  return true;
}

void set_measures(const ColumnDescription& description, shm::Column& column) {
  switch (column.kind) {
    case ValueKind::kInteger:
      if (contains(description.column_type, " unsigned")) column.kind = ValueKind::kUnsigned;
      break;
    case ValueKind::kDecimal:
      column.precision = static_cast<std::uint8_t>(description.numeric_precision);
      column.scale = static_cast<std::uint8_t>(description.numeric_scale);
      break;
    case ValueKind::kBit:
      column.width = description.numeric_precision;
      break;
    case ValueKind::kText:
    case ValueKind::kBinary:
      if (description.data_type == "char" || description.data_type == "binary") {
        column.width = static_cast<std::uint32_t>(description.character_length);
      }
      break;
    case ValueKind::kTime:
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp:
      column.scale = static_cast<std::uint8_t>(description.datetime_precision);
      break;
    default:
      break;
  }
}

}  // namespace

ColumnReading read_column(const ColumnDescription& description, Flavour flavour) {
  ColumnReading reading;
  shm::Column& column = reading.column;
  column.name = description.name;
  column.sql_type = description.column_type;
  column.collation = description.collation;
  column.nullable = description.nullable;
  const TypeEntry* const type = find_type(description.data_type);
  if (type == nullptr) {
    reading.problem = fmt::format("has type {}, which this version does not read", description.data_type);
    return reading;
  }
  column.kind = type->kind;
  column.width = type->width;
  set_measures(description, column);
  const bool has_text =
      column.kind == ValueKind::kText || column.kind == ValueKind::kEnum || column.kind == ValueKind::kSet;
  if (has_text && charset_from_name(description.charset) == Charset::kUnsupported) {
    reading.problem =
        fmt::format("has character set {}: this version reads utf8mb4, utf8mb3, latin1, ascii and binary",
                    description.charset);
    return reading;
  }
  if (column.kind == ValueKind::kEnum || column.kind == ValueKind::kSet) {
    read_labels(description, reading);
    return reading;
  }
  if (contains(description.column_type, "COMPRESSED")) {
    reading.problem = "is COMPRESSED, which this version does not read";
    return reading;
  }
  if (flavour == Flavour::kMariaDb && column.kind == ValueKind::kText && description.has_json_check &&
      charset_from_name(description.charset) == Charset::kUtf8mb4) {
    column.kind = ValueKind::kJson;
  }
  return reading;
}

std::optional<std::vector<std::string>> parse_labels(std::string_view column_type) {
  const std::size_t open = column_type.find('(');
  if (open == std::string_view::npos) return std::nullopt;
  std::string_view rest = column_type.substr(open + 1);
  std::vector<std::string> labels;
  while (labels.size() < kMaxLabels) {
    if (rest.empty() || rest.front() != '\'') return std::nullopt;
    rest.remove_prefix(1);
    std::string& label = labels.emplace_back();
    while (true) {
      if (rest.empty()) return std::nullopt;
      const char c = rest.front();
      rest.remove_prefix(1);
      const char next = rest.empty() ? '\0' : rest.front();
      if (c == '\'' && next != '\'') break;
      if (c == '\'') {
        label.push_back('\'');
        rest.remove_prefix(1);
      } else if (c == '\\') {
        constexpr std::string_view kLetters = "\\0nr'";
        constexpr std::string_view kMeant("\\\0\n\r'", 5);
        const std::size_t which = rest.empty() ? std::string_view::npos : kLetters.find(next);
        if (which == std::string_view::npos) return std::nullopt;
        label.push_back(kMeant[which]);
        rest.remove_prefix(1);
      } else {
        label.push_back(c);
      }
    }
    if (rest.starts_with(")")) return labels;
    if (!rest.starts_with(",")) return std::nullopt;
    rest.remove_prefix(1);
  }
  return std::nullopt;
}

}  // namespace ringside::writer
