// The command side's counters.
//
// Threads: the HTTP thread alone.   Ownership: owns its series.   Errors: none.
// Limits: kMaxTableSeries tables; those beyond share the label "(other)".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include "http/metrics_text.h"
#include "writer/commands/command_runner.h"

namespace ringside::writer {

inline constexpr std::size_t kMaxTableSeries = 1000;

enum class CommandResult : std::uint8_t {
  kOk,
  kVersionLate,  // committed, and the stream was late
  kRefused,      // 4xx
  kUnavailable,  // 503
  kUnknown,      // the outcome stayed unknown
  kFailed,       // any other 5xx
};
std::string_view to_string(CommandResult result);
// Of an answer that is no success.
CommandResult result_of(const Answer& answer);

class CommandMetrics {
 public:
  void command(std::string_view table, Operation operation, CommandResult result, std::uint64_t duration_ns);
  // Refused before it was a command: no such path, no token, no table, …
  void refused(unsigned status) { ++refused_[status]; }

  void append_to(http::MetricsText& metrics) const;

 private:
  using Series = std::tuple<std::string, Operation, CommandResult>;

  std::map<Series, std::uint64_t> commands_;
  std::set<std::string> tables_;
  std::array<http::Histogram, 5> durations_;  // by operation
  std::map<unsigned, std::uint64_t> refused_;
};

}  // namespace ringside::writer
