// The table map: which table a table id means, and everything the binlog tells of its columns.
//
// What comes with binlog_row_metadata=FULL is decoded wholly: signedness, names, character sets, labels, primary key,
// visibility. Not in a table map: defaults, generated columns, secondary indexes, foreign keys, and whether a
// BINARY(16) is MariaDB's UUID or INET6; those come from information_schema. So the writer takes its shapes from
// there, and asks matches() at every new table map whether the two still agree: a DDL that was missed shows here.
//
// Threads: values; a TableMaps belongs to one thread.   Ownership: owns all it holds.
// Errors: Result with kCorrupt for bytes that contradict themselves, kUnsupported for types and metadata that are
// not known.   Limits: shm::kMaxColumns columns; TableMaps keeps kMaxTableMaps ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "shm/schema.h"
#include "writer/binlog/event.h"

namespace ringside::writer::binlog {

// Column types by their number on the wire.
enum class ColumnType : std::uint8_t {
  kTiny = 1,
  kShort = 2,
  kLong = 3,
  kFloat = 4,
  kDouble = 5,
  kNull = 6,
  kOldTimestamp = 7,  // 7, 11 and 12: tables made by servers before 5.6, or with mysql56_temporal_format=OFF
  kLongLong = 8,
  kInt24 = 9,
  kDate = 10,
  kOldTime = 11,
  kOldDatetime = 12,
  kYear = 13,
  kVarchar = 15,
  kBit = 16,
  kTimestamp = 17,
  kDatetime = 18,
  kTime = 19,
  kCompressedBlob = 140,  // MariaDB's COMPRESSED attribute, TEXT as well
  kCompressedVarchar = 141,
  kVector = 242,
  kJson = 245,  // MySQL's; MariaDB's JSON is a BLOB
  kDecimal = 246,
  kEnum = 247,
  kSet = 248,
  kBlob = 252,  // TEXT as well
  kString = 254,
  kGeometry = 255,
};

// How long a value of an integer type is; 0 for all other types.
constexpr std::uint32_t integer_bytes(ColumnType type) {
  switch (type) {
    case ColumnType::kTiny:
      return 1;
    case ColumnType::kShort:
      return 2;
    case ColumnType::kInt24:
      return 3;
    case ColumnType::kLong:
      return 4;
    case ColumnType::kLongLong:
      return 8;
    default:
      return 0;
  }
}

struct MapColumn {
  std::string name;
  ColumnType type = ColumnType::kNull;
  // kVarchar, kString: longest value in bytes. kBlob, kJson, kGeometry: bytes of the length. kBit: bits.
  // kDecimal: precision << 8 | scale. kEnum, kSet: bytes of the value. Times: fraction digits.
  std::uint32_t metadata = 0;
  bool is_unsigned = false;
  bool is_nullable = false;
  bool is_visible = true;
  std::uint32_t collation_id = 0;   // texts, binaries, ENUM and SET; 0: the map does not say
  std::vector<std::string> labels;  // ENUM and SET, in the bytes of their character set
};

struct PrimaryKeyPart {
  std::uint64_t column = 0;
  std::uint64_t prefix_characters = 0;  // 0: the whole column
};

struct TableMap {
  std::uint64_t table_id = 0;
  std::uint16_t flags = 0;
  Flavour flavour = Flavour::kMysql;
  std::string schema;
  std::string table;
  std::vector<MapColumn> columns;
  std::vector<PrimaryKeyPart> primary_key;
  bool has_full_metadata = false;  // names are there; without them nothing can be checked
};

Result<TableMap> parse_table_map(const TableMapEvent& event);

// What the map tells of a column, in the catalogue's terms. `collation` and `sql_type` stay empty: the map has only
// the collation's number. kUnsupported, with the type's name, for what cannot be decoded exactly.
Result<shm::Column> column_from_map(const MapColumn& column);

// True when `shape`, as information_schema showed it, describes the rows that come under `map`. Otherwise `why_not`
// is a sentence for people: the column, and the two things that differ.
bool matches(const shm::Shape& shape, const TableMap& map, std::string& why_not);

// The maps in force. A map whose bytes have not changed is not parsed again.
class TableMaps {
 public:
  // Table ids are given anew by every DDL; those not seen for so many others are forgotten.
  static constexpr std::size_t kMaxTableMaps = 4096;

  struct Entry {
    TableMap map;
    bool is_new = false;  // since this put(): the caller must look for its shape again
  };

  // The map that this event announces; valid until clear() or until kMaxTableMaps others have been put.
  Result<const Entry*> put(const TableMapEvent& event);
  // Null when no map of that id is in force.
  const TableMap* find(std::uint64_t table_id) const;
  // At every FORMAT_DESCRIPTION: a server that has started again gives the ids anew.
  void clear();

 private:
  struct Kept {
    std::string bytes;
    Entry entry;
  };
  using Generation = std::unordered_map<std::uint64_t, std::unique_ptr<Kept>>;

  // The young one becomes the old one when it is full, so that a map put just before is never the one to go.
  Generation young_;
  Generation old_;
};

}  // namespace ringside::writer::binlog
