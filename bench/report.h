// What the programs print: one report for people, one JSON object for scripts (compare.py and others).
//
// Threads: pure functions.   Errors: none.
#pragma once

#include <string>
#include <vector>

#include "bench/load.h"
#include "bench/visible.h"

namespace ringside::bench {

std::string to_text(const LoadReport& report, const LoadOptions& options);
std::string to_json(const LoadReport& report, const LoadOptions& options);

std::string to_text(const std::vector<VisibleReport>& reports);
std::string to_json(const std::vector<VisibleReport>& reports);

// A JSON string, quotes included. Invalid UTF-8 is not looked for; control characters are escaped.
std::string json_string(std::string_view text);

}  // namespace ringside::bench
