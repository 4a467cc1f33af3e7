// The start-up checks: may this server, with these settings and this user, be captured exactly?
//
// All problems are found at once, each with the setting, its value, why it matters, and what mends it: SQL to be run by
// an administrator, and the option-file line that keeps it after a restart. An error forbids the start, a warning is
// logged.
//
// Threads: as the Connection.   Ownership: values.
// Errors: a failed Result means that the server could not be asked.   Limits: none of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/result.h"
#include "writer/source/connection.h"

namespace ringside::writer {

enum class Severity : std::uint8_t { kError, kWarning };

struct Problem {
  Severity severity = Severity::kError;
  std::string setting;                   // "binlog_format", "privilege SELECT on `shop`", "database shop"
  std::string value;                     // "MIXED", "missing"
  std::string why;                       // a sentence
  std::vector<std::string> mend_sql;     // statements; empty when SQL alone cannot
  std::vector<std::string> mend_option;  // lines of the server's option file, section [mariadbd] or [mysqld]
};

struct CheckOptions {
  bool commands =
      true;  // the writer also executes commands: needs more privileges and a server that takes writes
};

Result<std::vector<Problem>> check_source(Connection& connection, const MysqlConfig& config,
                                          const CheckOptions& options = {});

// May the writer start? True when there are warnings only.
bool may_start(const std::vector<Problem>& problems);
// For people: one paragraph a problem.
std::string describe(const std::vector<Problem>& problems);

}  // namespace ringside::writer
