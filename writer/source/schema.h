// The tables of the configured database as shm::Table: columns, the key that serves, or the reason why a
// table is quarantined. Read from information_schema; the stream's table maps are checked against it
// elsewhere.
//
// A table is quarantined (state and reason set, the columns as far as they are understood) when it has no
// usable key, a column that cannot be shown exactly, an engine without consistent snapshots, row images with
// more than its columns (system versioning, a UNIQUE key over a long column), or rows that the server changes
// without logging it (the child of a cascading foreign key on MariaDB). Views, sequences and temporary tables
// are not tables here.
//
// The key that serves: PRIMARY; else the UNIQUE key with the fewest columns, then the first by name, of those
// with NOT NULL columns only and no prefix.
//
// Threads: as the Connection.   Ownership: values.
// Errors: as Connection::query.   Limits: kMaxTables; a table has at most shm::kMaxColumns columns.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/result.h"
#include "shm/schema.h"
#include "writer/source/connection.h"

namespace ringside::writer {

inline constexpr std::size_t kMaxTables = 10'000;

// All chosen tables (config.tables, config.exclude) in order of their names; ids are left 0. The connection
// may have raw_text or not. A quarantined table's `state` says so; all others are kLoading.
Result<std::vector<shm::Table>> read_schema(Connection& connection, const MysqlConfig& config);

// One table, whether chosen or not. kNotFound when there is none of this name, or it is no table.
Result<shm::Table> read_table_schema(Connection& connection, const MysqlConfig& config,
                                     std::string_view name);

}  // namespace ringside::writer
