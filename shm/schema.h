// What the ring's records describe: tables, column lists, keys. Plain data, as the writer learnt it from the
// server; the catalogue (catalogue.h) carries it to the replicas.
//
// A TableId names one incarnation of a table's contents, a ShapeId one column list. Both are given by the
// writer and never reused within an epoch.
//
// Threads: values.   Ownership: owns all it holds.   Errors: none here; catalogue.h validates what it reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace ringside::shm {

// How a column's value is written as JSON and how a key's text is read. The comment gives the JSON form.
enum class ValueKind : std::uint8_t {
  kInteger,    // TINYINT … BIGINT, signed: -12
  kUnsigned,   // the same, unsigned: 12
  kDecimal,    // DECIMAL: exactly the server's digits, 12.50
  kFloat,      // shortest text that reads back to the same 4 bytes
  kDouble,     // shortest text that reads back to the same 8 bytes
  kText,       // CHAR, VARCHAR, TEXT: "UTF-8"
  kBinary,     // BINARY, VARBINARY, BLOB: "base64" with padding (RFC 4648, section 4)
  kDate,       // "2026-01-08"
  kTime,       // "-838:59:59.5": as the server prints it
  kDatetime,   // "2026-01-08T10:00:00.123": as many fraction digits as declared
  kTimestamp,  // "2026-01-08T10:00:00.123Z"; the zero timestamp is "0000-00-00T00:00:00Z"
  kYear,       // 2026
  kEnum,       // "label"; the empty label for value 0
  kSet,        // ["label","label"] in the order of declaration
  kBit,        // an unsigned number
  kJson,       // the document, verbatim
};

// The name used in the catalogue and in /status; "integer", "text", … Never empty.
std::string_view to_string(ValueKind kind);
// The reverse. False when `name` is none of them.
bool from_string(std::string_view name, ValueKind& kind);

struct Column {
  std::string name;
  ValueKind kind = ValueKind::kInteger;
  std::string sql_type;   // as information_schema.COLUMN_TYPE has it: "bigint(20) unsigned"
  std::string collation;  // as the server names it; empty when the column has none
  bool nullable = false;
  std::uint32_t width = 0;          // integers: bytes (1, 2, 3, 4, 8); BIT: bits; CHAR/BINARY(n): n; else 0
  std::uint8_t precision = 0;       // DECIMAL: digits in all
  std::uint8_t scale = 0;           // DECIMAL: digits behind the point; times: fraction digits
  std::vector<std::string> labels;  // ENUM and SET, in UTF-8, in order

  friend bool operator==(const Column&, const Column&) = default;
};

struct Shape {
  ShapeId id;
  std::vector<Column> columns;

  friend bool operator==(const Shape&, const Shape&) = default;
};

// How a key column compares. The normalised key (key.h) is made accordingly.
enum class KeyRule : std::uint8_t {
  kOrdered,  // normalised bytes have the server's equality and the server's order under memcmp
  kEqual,    // the server's equality, but not its order (e.g. latin1_bin)
  kExact,    // bytes of the UTF-8 text: finer than the server's equality. Said in /status.
};
std::string_view to_string(KeyRule rule);
bool from_string(std::string_view name, KeyRule& rule);

struct KeyColumn {
  std::uint32_t column = 0;  // index into Shape::columns
  KeyRule rule = KeyRule::kOrdered;
  bool pad_space = false;  // trailing spaces do not count (PAD SPACE collations), texts only

  friend bool operator==(const KeyColumn&, const KeyColumn&) = default;
};

enum class TableState : std::uint8_t {
  kLoading,      // rows are being appended; not to be served yet
  kLive,         // served
  kQuarantined,  // refused; `reason` says why
};
std::string_view to_string(TableState state);
bool from_string(std::string_view name, TableState& state);

// One incarnation of one table.
struct Table {
  TableId id;
  std::string name;
  TableState state = TableState::kLoading;
  std::string reason;    // why it is quarantined, for people; else empty
  std::string key_name;  // "PRIMARY", or the unique key that serves; empty when quarantined for having none
  std::vector<KeyColumn> key;  // in the key's order
  Shape shape;                 // the column list of this incarnation

  friend bool operator==(const Table&, const Table&) = default;
};

}  // namespace ringside::shm
