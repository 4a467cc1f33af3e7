// The half of table_map.h that speaks the catalogue's terms: what a map tells of a column, and whether the two agree.
#include <string_view>
#include <utility>

#include "writer/binlog/table_map.h"
#include "writer/charset.h"

namespace ringside::writer::binlog {

namespace {

bool is_enum_or_set(ColumnType type) {
  return type == ColumnType::kEnum || type == ColumnType::kSet;
}

std::string_view type_name(ColumnType type) {
  switch (type) {
    case ColumnType::kNull:
      return "NULL";
    case ColumnType::kOldTimestamp:
      return "TIMESTAMP in the form of before MySQL 5.6";
    case ColumnType::kOldTime:
      return "TIME in the form of before MySQL 5.6";
    case ColumnType::kOldDatetime:
      return "DATETIME in the form of before MySQL 5.6";
    case ColumnType::kVector:
      return "VECTOR";
    case ColumnType::kGeometry:
      return "GEOMETRY";
    default:
      return "a type";
  }
}

Error unsupported(const MapColumn& column, std::string_view what) {
  return {ErrorKind::kUnsupported,
          "column `" + column.name + "` is " + std::string(what) + ", which is not decoded"};
}

Result<shm::Column> text_or_binary(const MapColumn& map, shm::Column column) {
  const Charset charset = charset_from_collation_id(map.collation_id);
  if (map.collation_id == 0) {
    return Error{ErrorKind::kUnsupported,
                 "column `" + map.name +
                     "`: the table map has no character set; binlog_row_metadata is not "
                     "FULL: SET GLOBAL binlog_row_metadata=FULL"};
  }
  if (charset == Charset::kUnsupported) {
    return unsupported(map, "text in the collation number " + std::to_string(map.collation_id));
  }
  column.kind = charset == Charset::kBinary ? shm::ValueKind::kBinary : shm::ValueKind::kText;
  if (map.type == ColumnType::kString) column.width = map.metadata / max_character_bytes(charset);
  return column;
}

Result<shm::Column> with_labels(const MapColumn& map, shm::Column column) {
  const Charset charset = charset_from_collation_id(map.collation_id);
  column.kind = map.type == ColumnType::kEnum ? shm::ValueKind::kEnum : shm::ValueKind::kSet;
  if (charset == Charset::kUnsupported) {
    return unsupported(map, "labelled in the collation number " + std::to_string(map.collation_id));
  }
  for (const std::string& label : map.labels) {
    std::string& text = column.labels.emplace_back();
    // Labels of an ENUM that is declared binary are bytes; only those that are UTF-8 can be shown as text.
    const Charset from = charset == Charset::kBinary ? Charset::kUtf8mb4 : charset;
    if (!append_utf8(text, label, from)) return unsupported(map, "labelled with bytes that are no text");
  }
  return column;
}

shm::Column number(shm::Column column, const MapColumn& map, std::uint32_t width) {
  column.kind = map.is_unsigned ? shm::ValueKind::kUnsigned : shm::ValueKind::kInteger;
  column.width = width;
  return column;
}

shm::Column time_of(shm::Column column, shm::ValueKind kind, std::uint32_t digits) {
  column.kind = kind;
  column.scale = static_cast<std::uint8_t>(digits);
  return column;
}

shm::Column plain(shm::Column column, shm::ValueKind kind, std::uint32_t width = 0) {
  column.kind = kind;
  column.width = width;
  return column;
}

}  // namespace

Result<shm::Column> column_from_map(const MapColumn& map) {
  using shm::ValueKind;
  shm::Column column;
  column.name = map.name;
  column.nullable = map.is_nullable;
  switch (map.type) {
    case ColumnType::kTiny:
    case ColumnType::kShort:
    case ColumnType::kInt24:
    case ColumnType::kLong:
    case ColumnType::kLongLong:
      return number(column, map, integer_bytes(map.type));
    case ColumnType::kFloat:
      return plain(column, ValueKind::kFloat);
    case ColumnType::kDouble:
      return plain(column, ValueKind::kDouble);
    case ColumnType::kDate:
      return plain(column, ValueKind::kDate);
    case ColumnType::kYear:
      return plain(column, ValueKind::kYear);
    case ColumnType::kBit:
      return plain(column, ValueKind::kBit, map.metadata);
    case ColumnType::kTime:
      return time_of(column, ValueKind::kTime, map.metadata);
    case ColumnType::kDatetime:
      return time_of(column, ValueKind::kDatetime, map.metadata);
    case ColumnType::kTimestamp:
      return time_of(column, ValueKind::kTimestamp, map.metadata);
    case ColumnType::kJson:
      return plain(column, ValueKind::kJson);
    case ColumnType::kDecimal:
      column.kind = ValueKind::kDecimal;
      column.precision = static_cast<std::uint8_t>(map.metadata >> 8);
      column.scale = static_cast<std::uint8_t>(map.metadata & 0xff);
      return column;
    case ColumnType::kString:
    case ColumnType::kVarchar:
    case ColumnType::kBlob:
    case ColumnType::kCompressedBlob:
    case ColumnType::kCompressedVarchar:
      return text_or_binary(map, std::move(column));
    case ColumnType::kEnum:
    case ColumnType::kSet:
      return with_labels(map, std::move(column));
    case ColumnType::kNull:
    case ColumnType::kOldTimestamp:
    case ColumnType::kOldTime:
    case ColumnType::kOldDatetime:
    case ColumnType::kVector:
    case ColumnType::kGeometry:
      break;
  }
  return unsupported(map, type_name(map.type));
}

namespace {

// "varchar(20)" → 20; 0 when there is no number.
std::uint64_t declared_length(std::string_view sql_type) {
  const std::size_t open = sql_type.find('(');
  std::uint64_t length = 0;
  if (open == std::string_view::npos) return 0;
  for (std::size_t i = open + 1;
       i < sql_type.size() && sql_type[i] >= '0' && sql_type[i] <= '9' && i < open + 8; ++i) {
    length = length * 10 + static_cast<std::uint64_t>(sql_type[i] - '0');
  }
  return length;
}

// The bytes of a BLOB's or TEXT's length; 0 when the type is none of them.
std::uint32_t length_bytes(std::string_view sql_type) {
  static constexpr std::pair<std::string_view, std::uint32_t> kNames[] = {
      {"tinyblob", 1},   {"tinytext", 1}, {"blob", 2},     {"text", 2}, {"mediumblob", 3},
      {"mediumtext", 3}, {"longblob", 4}, {"longtext", 4}, {"json", 4}};
  for (const auto& [name, bytes] : kNames) {
    if (sql_type.starts_with(name)) return bytes;
  }
  return 0;
}

struct Difference {
  std::string what;
  std::string catalogue;
  std::string map;
};

std::string number_text(std::uint64_t value) {
  return std::to_string(value);
}

// The declared length, where the catalogue's SQL type tells it.
bool lengths_agree(const shm::Column& column, const MapColumn& map, Charset charset, Difference& difference) {
  std::uint64_t expected = 0;
  std::uint64_t found = map.metadata;
  if (map.type == ColumnType::kVarchar || map.type == ColumnType::kCompressedVarchar) {
    expected = declared_length(column.sql_type) * max_character_bytes(charset);
    if (map.type == ColumnType::kCompressedVarchar && found > 0) --found;  // its header byte
  } else if (map.type == ColumnType::kBlob || map.type == ColumnType::kCompressedBlob) {
    expected = length_bytes(column.sql_type);
  }
  difference = {"length", column.sql_type, number_text(found) + " bytes"};
  return expected == 0 || expected == found;
}

// The first thing in which they differ. `told` is what the map tells.
bool columns_agree(const shm::Column& column, const MapColumn& map, const shm::Column& told,
                   Difference& difference) {
  const auto differs = [&](std::string_view what, std::string catalogue, std::string in_map) {
    difference = {std::string(what), std::move(catalogue), std::move(in_map)};
    return false;
  };
  const Charset charset = charset_from_collation_id(map.collation_id);
  // MariaDB's JSON is a LONGTEXT; that it is JSON stands in information_schema only.
  const bool is_document = column.kind == shm::ValueKind::kJson && told.kind == shm::ValueKind::kText &&
                           map.type == ColumnType::kBlob;
  if (column.name != told.name) return differs("name", column.name, told.name);
  if (column.kind != told.kind && !is_document) {
    return differs("kind", std::string(to_string(column.kind)), std::string(to_string(told.kind)));
  }
  if (column.nullable != told.nullable) {
    return differs("nullability", column.nullable ? "NULL" : "NOT NULL", told.nullable ? "NULL" : "NOT NULL");
  }
  if (column.width != told.width) return differs("width", number_text(column.width), number_text(told.width));
  if (column.precision != told.precision) {
    return differs("precision", number_text(column.precision), number_text(told.precision));
  }
  if (column.scale != told.scale) return differs("scale", number_text(column.scale), number_text(told.scale));
  const bool has_charset = told.kind == shm::ValueKind::kText || is_enum_or_set(map.type);
  if (has_charset && !(is_document && column.collation.empty()) &&
      charset_from_collation(column.collation) != charset) {
    return differs("character set", column.collation, std::string(to_string(charset)));
  }
  if (column.labels != told.labels) {
    return differs("list of labels", number_text(column.labels.size()) + " labels",
                   number_text(told.labels.size()) + " others");
  }
  return lengths_agree(column, map, charset, difference);
}

}  // namespace

bool matches(const shm::Shape& shape, const TableMap& map, std::string& why_not) {
  const std::string table = "`" + map.schema + "`.`" + map.table + "`";
  if (!map.has_full_metadata) {
    why_not = "the binlog names no columns of " + table +
              ": binlog_row_metadata is not FULL in some session: SET GLOBAL binlog_row_metadata=FULL";
    return false;
  }
  if (shape.columns.size() != map.columns.size()) {
    why_not = table + " has " + number_text(map.columns.size()) + " columns in the binlog and " +
              number_text(shape.columns.size()) + " in the catalogue";
    return false;
  }
  for (std::size_t i = 0; i < map.columns.size(); ++i) {
    const Result<shm::Column> told = column_from_map(map.columns[i]);
    if (!told) {
      why_not = table + ": " + told.error().message;
      return false;
    }
    Difference difference;
    if (!columns_agree(shape.columns[i], map.columns[i], *told, difference)) {
      why_not = "column `" + shape.columns[i].name + "` of " + table + " differs in its " + difference.what +
                ": " + difference.catalogue + " in the catalogue, " + difference.map + " in the binlog";
      return false;
    }
  }
  return true;
}

}  // namespace ringside::writer::binlog
