// A row fetched by select_sql(), as the JSON object that a replica would send for it.
//
// Threads: pure functions.   Ownership: output goes to the caller's string.
// Errors: kUnsupported, naming column and reason, for a value that has no exact form.
#pragma once

#include <string>

#include "base/result.h"
#include "shm/schema.h"
#include "writer/commands/session.h"

namespace ringside::writer {

Result<void> append_row_json(const shm::Shape& shape, const Row& row, std::string& out);

}  // namespace ringside::writer
