// The source's history: an id of its own in `ringside`.`history` (commands/bookkeeping.h), replaced when a history is lost,
// so that nobody takes a version of the one for a version of the other.
//
// Threads: any.   Ownership: none.   Errors: as ensure_schema().   Limits: blocks as long as a Session may.
#pragma once

#include <string>

#include "base/config.h"
#include "base/result.h"

namespace ringside::writer {

// The id as 32 hex digits; made, with the tables, when there is none. `lost`: the id of a history that was lost, to be
// replaced by a new one. When the source has another id already (another host's writer was first), that one stays.
Result<std::string> source_history(const MysqlConfig& mysql, const std::string& lost);

}  // namespace ringside::writer
