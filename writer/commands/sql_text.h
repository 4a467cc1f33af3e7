// The statements' texts. Names are always quoted, values always placeholders.
//
// Threads: pure functions.   Ownership: values.   Errors: none.
// Limits: the texts grow with the number of columns (shm::kMaxColumns).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "shm/schema.h"
#include "writer/commands/row_input.h"

namespace ringside::writer {

// Where a statement goes.
struct TableRef {
  std::string_view database;
  const shm::Table* table = nullptr;
};

// INSERT of these columns; all others get their defaults. Parameters: the values in order.
std::string insert_sql(TableRef ref, std::span<const ColumnValue> values);

// UPDATE of one row. `defaults`: columns that get their DEFAULT. Parameters: the values, then the key. With
// nothing to set, the first key column is set to itself: the row is found and locked all the same.
std::string update_sql(TableRef ref, std::span<const ColumnValue> values,
                       std::span<const std::uint32_t> defaults, std::span<const ColumnValue> key);

// Parameters: the key.
std::string delete_sql(TableRef ref, std::span<const ColumnValue> key);

// A locking read of all columns, in forms from which their JSON can be made exactly (row_json.h). Parameters:
// the key.
std::string select_sql(TableRef ref, std::span<const ColumnValue> key);

}  // namespace ringside::writer
