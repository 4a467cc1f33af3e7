#include "writer/commands/command_metrics.h"

namespace ringside::writer {

std::string_view to_string(CommandResult result) {
  switch (result) {
    case CommandResult::kOk:
      return "ok";
    case CommandResult::kVersionLate:
      return "version_late";
    case CommandResult::kRefused:
      return "refused";
    case CommandResult::kUnavailable:
      return "unavailable";
    case CommandResult::kUnknown:
      return "unknown";
    case CommandResult::kFailed:
      return "failed";
  }
  return "failed";
}

CommandResult result_of(const Answer& answer) {
  if (answer.status < 400) return CommandResult::kOk;
  if (answer.status < 500) return CommandResult::kRefused;
  if (answer.status == 503) return CommandResult::kUnavailable;
  return answer.status == 504 ? CommandResult::kUnknown : CommandResult::kFailed;
}

void CommandMetrics::command(std::string_view table, Operation operation, CommandResult result,
                             std::uint64_t duration_ns) {
  std::string name(table);
  if (!tables_.contains(name)) {
    if (tables_.size() < kMaxTableSeries) {
      tables_.insert(name);
    } else {
      name = "(other)";
    }
  }
  ++commands_[{std::move(name), operation, result}];
  durations_[static_cast<std::size_t>(operation)].record(duration_ns);
}

void CommandMetrics::append_to(http::MetricsText& metrics) const {
  metrics.counter("ringside_writer_commands_total", "Commands answered, by table, operation and result.");
  for (const auto& [series, count] : commands_) {
    const auto& [table, operation, result] = series;
    metrics.sample({{"table", table}, {"operation", to_string(operation)}, {"result", to_string(result)}},
                   count);
  }
  metrics.histogram("ringside_writer_command_duration_seconds",
                    "From a command's whole request to its answer, the wait for its version included.");
  for (std::size_t i = 0; i < durations_.size(); ++i) {
    metrics.sample({{"operation", to_string(static_cast<Operation>(i))}}, durations_[i]);
  }
  metrics.counter("ringside_writer_requests_refused_total", "Requests refused before they were a command.");
  for (const auto& [status, count] : refused_) {
    metrics.sample({{"status", std::to_string(status)}}, count);
  }
}

}  // namespace ringside::writer
