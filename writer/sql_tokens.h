// What a statement in the binlog is, and which tables it may touch. A tokenizer and the first few words: no parser.
//
// Row events say what happened to rows; statement text is left for transaction borders, DDL, and DML that some
// session wrote in statement form. The writer needs two things of it: what kind it is, and which mirrored tables
// have to be looked at again. Names are listed generously: a column or an index that is called like a table costs a
// reload that was not needed, a table that is missed would be served wrong.
//
// Comments are passed over; the inside of /*! … */ and /*M! … */ counts as text, whatever version it names.
//
// Threads: pure functions.   Ownership: a Statement owns its names, in UTF-8 and in the case that was written.
// Errors: kUnknown for text that does not end where it should, or whose bytes cannot be told apart into characters;
// the caller treats it as a change of everything.   Limits: kMaxNames names; more is kUnknown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ringside::writer {

inline constexpr std::size_t kMaxNames = 100'000;

enum class StatementKind : std::uint8_t {
  kBegin,
  kCommit,
  kRollback,
  kSavepoint,            // SAVEPOINT and RELEASE SAVEPOINT
  kRollbackToSavepoint,  // rows that came before it in this transaction are undone
  kXaStart,
  kXaEnd,
  kXaPrepare,
  kXaCommit,
  kXaRollback,
  kTableDdl,  // CREATE, ALTER, DROP, RENAME, TRUNCATE TABLE; CREATE and DROP INDEX. `tables`: all that may be meant
  kDatabaseDdl,  // of a whole database: `tables` has the schemas, with empty table names
  kHarmless,  // changes no stored row and no column list: views, users, routines, temporary tables, FLUSH, …
  kDml,       // rows changed in statement form: what they are now cannot be known from the stream
  kUnknown,
};
// "table DDL"; for messages.
std::string_view to_string(StatementKind kind);

struct TableName {
  std::string schema;
  std::string table;

  friend bool operator==(const TableName&, const TableName&) = default;
  friend auto operator<=>(const TableName&, const TableName&) = default;
};

struct Statement {
  StatementKind kind = StatementKind::kUnknown;
  std::vector<TableName> tables;  // kTableDdl, kDatabaseDdl and kDml; sorted, each once
};

// What the event says of its text (binlog::Query).
struct StatementContext {
  std::string_view default_schema;
  std::uint64_t sql_mode = 0;          // for ANSI_QUOTES and NO_BACKSLASH_ESCAPES
  std::uint32_t client_collation = 0;  // 0: UTF-8
};

Statement classify(std::string_view sql, const StatementContext& context);

}  // namespace ringside::writer
