// From information_schema's description of a column to shm::Column, or the reason why the column cannot be
// shown exactly. The server decides nothing here: these are pure functions, so that every type is tested
// without one.
//
// Threads: pure functions.   Ownership: values.
// Errors: a ColumnReading whose `problem` is not empty; a part of a sentence for people: "has type uuid,
// which …". Limits: an ENUM or SET has at most kMaxLabels labels, the servers' own limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/schema.h"
#include "writer/source/dialect.h"

namespace ringside::writer {

inline constexpr std::size_t kMaxLabels = 65'535;

// One row of information_schema.COLUMNS, and what other tables add to it.
struct ColumnDescription {
  std::string name;
  std::string data_type;    // "int"
  std::string column_type;  // "int(10) unsigned"
  std::string charset;      // empty when the column has none
  std::string collation;
  bool nullable = false;
  std::uint64_t character_length = 0;
  std::uint32_t numeric_precision = 0;
  std::uint32_t numeric_scale = 0;
  std::uint32_t datetime_precision = 0;
  std::string extra;            // "VIRTUAL GENERATED"
  std::string expression;       // of a generated column
  bool has_json_check = false;  // MariaDB's JSON: a LONGTEXT with CHECK (json_valid(`name`))
};

struct ColumnReading {
  shm::Column column;
  std::string problem;  // empty: the column is exact
};
ColumnReading read_column(const ColumnDescription& description, Flavour flavour);

// The labels of "enum('a','it''s')" or "set(…)", unescaped. nullopt when the text is not understood.
std::optional<std::vector<std::string>> parse_labels(std::string_view column_type);

// Can the value of a VIRTUAL column with this expression differ from one session to another (now(), a
// TIMESTAMP shown in the session's time zone, a CHAR padded by sql_mode)? Then the binlog has another value
// than our own session reads. True only for expressions made of operators and functions known to depend on
// nothing but the row; `why_not` names what was found otherwise. `columns`: those of the whole table.
bool is_session_independent(std::string_view expression, const std::vector<shm::Column>& columns,
                            std::string& why_not);

}  // namespace ringside::writer
