#include "writer/binlog/table_map.h"

#include <utility>

#include "shm/record.h"
#include "writer/binlog/wire.h"

namespace ringside::writer::binlog {
namespace {

// The optional metadata: type, length-encoded size, value; in any order.
enum Metadata : std::uint8_t {
  kSignedness = 1,
  kDefaultCharset = 2,
  kColumnCharset = 3,
  kColumnName = 4,
  kSetLabels = 5,
  kEnumLabels = 6,
  kGeometryType = 7,
  kSimplePrimaryKey = 8,
  kPrimaryKeyWithPrefix = 9,
  kEnumAndSetDefaultCharset = 10,
  kEnumAndSetColumnCharset = 11,
  kVisibility = 12,
  kVectorDimensions = 13,
};

bool is_number(ColumnType type) {
  return integer_bytes(type) != 0 || type == ColumnType::kDecimal || type == ColumnType::kFloat ||
         type == ColumnType::kDouble || type == ColumnType::kYear;
}

// The columns that the character set lists count. MariaDB counts GEOMETRY among them, MySQL does not.
bool is_character(ColumnType type, Flavour flavour) {
  switch (type) {
    case ColumnType::kString:
    case ColumnType::kVarchar:
    case ColumnType::kBlob:
    case ColumnType::kCompressedBlob:
    case ColumnType::kCompressedVarchar:
    case ColumnType::kVector:
      return true;
    case ColumnType::kGeometry:
      return flavour == Flavour::kMariadb;
    default:
      return false;
  }
}

bool is_enum_or_set(ColumnType type) {
  return type == ColumnType::kEnum || type == ColumnType::kSet;
}

// The two bytes of STRING hold its real type too: ENUM and SET travel as STRING, and a CHAR longer than 255 bytes
// hides two bits of its length, inverted, in the type byte.
void resolve_string(std::uint8_t real_type, std::uint8_t size, MapColumn& column) {
  if ((real_type & 0x30) != 0x30) {
    column.type = static_cast<ColumnType>(real_type | 0x30);
    column.metadata = size | static_cast<std::uint32_t>((real_type & 0x30) ^ 0x30) << 4;
  } else {
    column.type = static_cast<ColumnType>(real_type);
    column.metadata = size;
  }
}

// Reads one column's metadata. False for a type whose metadata has an unknown size.
bool read_type_metadata(ByteReader& reader, std::uint8_t type, MapColumn& column) {
  column.type = static_cast<ColumnType>(type);
  switch (column.type) {
    case ColumnType::kTiny:
    case ColumnType::kShort:
    case ColumnType::kLong:
    case ColumnType::kNull:
    case ColumnType::kOldTimestamp:
    case ColumnType::kLongLong:
    case ColumnType::kInt24:
    case ColumnType::kDate:
    case ColumnType::kOldTime:
    case ColumnType::kOldDatetime:
    case ColumnType::kYear:
      return true;
    case ColumnType::kFloat:
    case ColumnType::kDouble:
    case ColumnType::kTimestamp:
    case ColumnType::kDatetime:
    case ColumnType::kTime:
    case ColumnType::kCompressedBlob:
    case ColumnType::kVector:
    case ColumnType::kJson:
    case ColumnType::kBlob:
    case ColumnType::kGeometry:
      column.metadata = reader.u8();
      return true;
    case ColumnType::kVarchar:
    case ColumnType::kCompressedVarchar:
      column.metadata = reader.u16();
      return true;
    case ColumnType::kBit: {
      const std::uint32_t bits = reader.u8();
      column.metadata = bits + 8u * reader.u8();
      return true;
    }
    case ColumnType::kDecimal:
      column.metadata = static_cast<std::uint32_t>(reader.uint_be(2));
      return true;
    case ColumnType::kEnum:
    case ColumnType::kSet:
    case ColumnType::kString: {
      const std::uint8_t real_type = reader.u8();
      resolve_string(real_type, reader.u8(), column);
      return column.type == ColumnType::kString || is_enum_or_set(column.type);
    }
  }
  return false;
}

bool bit_at(Bytes bitmap, std::size_t index) {  // least significant bit first
  return (std::to_integer<unsigned>(bitmap[index / 8]) >> (index % 8) & 1u) != 0;
}
bool bit_from_top(Bytes bitmap, std::size_t index) {
  return (std::to_integer<unsigned>(bitmap[index / 8]) >> (7 - index % 8) & 1u) != 0;
}

// Reads the optional metadata into the columns. Each function is false for a value that contradicts the columns.
class MetadataReader {
 public:
  explicit MetadataReader(TableMap& map) : map_(map) {}

  bool read(std::uint8_t type, Bytes value) {
    ByteReader reader(value);
    switch (type) {
      case kSignedness:
        return signedness(value);
      case kDefaultCharset:
        return default_charset(reader, [this](ColumnType t) { return counts(t); });
      case kColumnCharset:
        return column_charsets(reader, [this](ColumnType t) { return counts(t); });
      case kEnumAndSetDefaultCharset:
        return default_charset(reader, is_enum_or_set);
      case kEnumAndSetColumnCharset:
        return column_charsets(reader, is_enum_or_set);
      case kColumnName:
        return names(reader);
      case kSetLabels:
        return labels(reader, ColumnType::kSet);
      case kEnumLabels:
        return labels(reader, ColumnType::kEnum);
      case kSimplePrimaryKey:
        return primary_key(reader, false);
      case kPrimaryKeyWithPrefix:
        return primary_key(reader, true);
      case kVisibility:
        return visibility(value);
      default:
        return true;  // GEOMETRY's and VECTOR's details, and what later servers may add
    }
  }

 private:
  bool counts(ColumnType type) const { return is_character(type, map_.flavour); }

  bool signedness(Bytes bitmap) {
    std::size_t index = 0;
    for (MapColumn& column : map_.columns) {
      if (!is_number(column.type)) continue;
      if (index / 8 >= bitmap.size()) return false;
      column.is_unsigned = bit_from_top(bitmap, index++);
    }
    return true;
  }

  template <class Counts>
  bool default_charset(ByteReader& reader, Counts is_counted) {
    std::uint64_t collation = 0;
    if (!read_lenenc(reader, collation)) return false;
    std::vector<MapColumn*> counted;
    for (MapColumn& column : map_.columns) {
      if (!is_counted(column.type)) continue;
      column.collation_id = static_cast<std::uint32_t>(collation);
      counted.push_back(&column);
    }
    while (!reader.empty()) {
      std::uint64_t index = 0;
      if (!read_lenenc(reader, index) || !read_lenenc(reader, collation) || index >= counted.size())
        return false;
      counted[static_cast<std::size_t>(index)]->collation_id = static_cast<std::uint32_t>(collation);
    }
    return true;
  }

  template <class Counts>
  bool column_charsets(ByteReader& reader, Counts is_counted) {
    for (MapColumn& column : map_.columns) {
      if (!is_counted(column.type)) continue;
      std::uint64_t collation = 0;
      if (!read_lenenc(reader, collation)) return false;
      column.collation_id = static_cast<std::uint32_t>(collation);
    }
    return reader.empty();
  }

  bool names(ByteReader& reader) {
    for (MapColumn& column : map_.columns) {
      if (!text(reader, column.name)) return false;
    }
    map_.has_full_metadata = true;
    return reader.empty();
  }

  bool labels(ByteReader& reader, ColumnType type) {
    for (MapColumn& column : map_.columns) {
      if (column.type != type) continue;
      std::uint64_t count = 0;
      if (!read_lenenc(reader, count) || count > reader.remaining()) return false;
      column.labels.clear();
      for (std::uint64_t i = 0; i < count; ++i) {
        if (!text(reader, column.labels.emplace_back())) return false;
      }
    }
    return reader.empty();
  }

  bool primary_key(ByteReader& reader, bool has_prefixes) {
    map_.primary_key.clear();
    while (!reader.empty()) {
      PrimaryKeyPart part;
      if (!read_lenenc(reader, part.column) || part.column >= map_.columns.size()) return false;
      if (has_prefixes && !read_lenenc(reader, part.prefix_characters)) return false;
      map_.primary_key.push_back(part);
    }
    return true;
  }

  bool visibility(Bytes bitmap) {
    if (bitmap.size() < (map_.columns.size() + 7) / 8) return false;
    for (std::size_t i = 0; i < map_.columns.size(); ++i)
      map_.columns[i].is_visible = bit_from_top(bitmap, i);
    return true;
  }

  static bool text(ByteReader& reader, std::string& out) {
    std::uint64_t size = 0;
    if (!read_lenenc(reader, size) || size > reader.remaining()) return false;
    out = reader.text(static_cast<std::size_t>(size));
    return true;
  }

  TableMap& map_;
};

Error corrupt(const TableMap& map, std::string_view what) {
  return {ErrorKind::kCorrupt, "table map of `" + map.schema + "`.`" + map.table + "`: " + std::string(what) +
                                   " contradicts the rest of it"};
}

// Schema and table: a length byte, the text, a 0.
bool read_name(ByteReader& reader, std::string& name) {
  const std::size_t size = reader.u8();
  name = reader.text(size);
  return reader.u8() == 0 && reader.ok();
}

Result<void> read_columns(ByteReader& reader, TableMap& map) {
  std::uint64_t count = 0;
  if (!read_lenenc(reader, count)) return corrupt(map, "its number of columns");
  if (count > shm::kMaxColumns) {
    return Error{ErrorKind::kLimit, "table `" + map.schema + "`.`" + map.table + "` has " +
                                        std::to_string(count) + " columns; at most " +
                                        std::to_string(shm::kMaxColumns) + " are served"};
  }
  const Bytes types = reader.take(static_cast<std::size_t>(count));
  std::uint64_t metadata_bytes = 0;
  if (!reader.ok() || !read_lenenc(reader, metadata_bytes) || metadata_bytes > reader.remaining()) {
    return corrupt(map, "the size of its column metadata");
  }
  ByteReader metadata(reader.take(static_cast<std::size_t>(metadata_bytes)));
  map.columns.resize(types.size());
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto type = std::to_integer<std::uint8_t>(types[i]);
    if (!read_type_metadata(metadata, type, map.columns[i])) {
      return Error{ErrorKind::kUnsupported, "table `" + map.schema + "`.`" + map.table + "`, column number " +
                                                std::to_string(i + 1) + ": its type " + std::to_string(type) +
                                                " is not known"};
    }
  }
  if (!metadata.ok() || !metadata.empty()) return corrupt(map, "its column metadata");
  const Bytes nullable = reader.take((types.size() + 7) / 8);
  if (!reader.ok()) return corrupt(map, "its bitmap of nullable columns");
  for (std::size_t i = 0; i < types.size(); ++i) map.columns[i].is_nullable = bit_at(nullable, i);
  return {};
}

}  // namespace

Result<TableMap> parse_table_map(const TableMapEvent& event) {
  TableMap map;
  map.table_id = event.table_id;
  map.flags = event.flags;
  map.flavour = event.flavour;
  ByteReader reader(event.body);
  if (!read_name(reader, map.schema) || !read_name(reader, map.table))
    return corrupt(map, "the size of its name");
  RINGSIDE_TRY(read_columns(reader, map));
  MetadataReader metadata(map);
  while (!reader.empty()) {
    const std::uint8_t type = reader.u8();
    std::uint64_t size = 0;
    if (!read_lenenc(reader, size) || size > reader.remaining() ||
        !metadata.read(type, reader.take(static_cast<std::size_t>(size)))) {
      return corrupt(map, "optional metadata of type " + std::to_string(type));
    }
  }
  return map;
}

// --- the maps in force -------------------------------------------------------------------------------------------

Result<const TableMaps::Entry*> TableMaps::put(const TableMapEvent& event) {
  const std::string_view bytes = as_text(event.body);
  for (Generation* generation : {&young_, &old_}) {
    const auto found = generation->find(event.table_id);
    if (found == generation->end() || found->second->bytes != bytes) continue;
    Kept& kept = *found->second;
    kept.entry.is_new = false;
    if (generation == &old_) {
      auto node = old_.extract(found);
      young_.erase(event.table_id);
      young_.insert(std::move(node));
    }
    return &kept.entry;
  }
  RINGSIDE_ASSIGN(TableMap map, parse_table_map(event));
  if (young_.size() >= kMaxTableMaps) {
    old_ = std::move(young_);
    young_.clear();
  }
  old_.erase(event.table_id);
  auto& kept = young_[event.table_id];
  kept = std::make_unique<Kept>(Kept{std::string(bytes), Entry{std::move(map), true}});
  return &kept->entry;
}

const TableMap* TableMaps::find(std::uint64_t table_id) const {
  for (const Generation* generation : {&young_, &old_}) {
    const auto found = generation->find(table_id);
    if (found != generation->end()) return &found->second->entry.map;
  }
  return nullptr;
}

void TableMaps::clear() {
  young_.clear();
  old_.clear();
}

}  // namespace ringside::writer::binlog
