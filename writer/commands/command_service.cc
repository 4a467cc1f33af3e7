#include "writer/commands/command_service.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "writer/commands/bookkeeping.h"

namespace ringside::writer {

CommandService::CommandService(const MysqlConfig& mysql, const WriterConfig& config, CommandTracker& tracker)
    : tracker_(tracker),
      retention_(config.commands_retention),
      runner_(tracker, config.version_wait),
      pool_(mysql, config.sessions, config.queue) {}

bool CommandService::submit(Command command, Done done) {
  return pool_.submit([this, command = std::move(command), done = std::move(done)](PooledSession& session) {
    done(runner_.run(session, command));
  });
}

void CommandService::prune() {
  if (is_pruning_.exchange(true, std::memory_order_relaxed)) return;
  const bool queued = pool_.submit([this](PooledSession& session) {
    std::uint64_t deleted = 0;
    auto status = session.connect();
    if (!status) status = prune_commands(session.get(), retention_, deleted);
    if (status) {
      log_warning("old rows of `ringside`.`commands` could not be deleted; trying again later",
                  {{"mysql_error", status->number}, {"reason", status->message}});
    }
    pruned_.fetch_add(deleted, std::memory_order_relaxed);
    is_pruning_.store(false, std::memory_order_relaxed);
  });
  if (!queued) is_pruning_.store(false, std::memory_order_relaxed);
}

void CommandService::append_metrics(http::MetricsText& metrics) const {
  metrics.gauge("ringside_writer_sessions", "MySQL sessions for commands.");
  metrics.sample({{"state", "configured"}}, pool_.size());
  metrics.sample({{"state", "connected"}}, pool_.connected());
  metrics.sample({{"state", "busy"}}, pool_.busy());
  metrics.gauge("ringside_writer_commands_queued", "Commands that wait for a session.");
  metrics.sample({}, pool_.queued());
  metrics.gauge("ringside_writer_commands_awaiting_version", "Committed commands whose version is awaited.");
  metrics.sample({}, tracker_.waiting());
  metrics.counter("ringside_writer_command_markers_pruned_total",
                  "Old rows of `ringside`.`commands` deleted.");
  metrics.sample({}, pruned_.load(std::memory_order_relaxed));
}

void CommandService::append_status(std::string& out) const {
  fmt::format_to(std::back_inserter(out),
                 R"("sessions":{},"connected":{},"busy":{},"queued":{},"awaiting_version":{},"stream":"{}")",
                 pool_.size(), pool_.connected(), pool_.busy(), pool_.queued(), tracker_.waiting(),
                 to_string(tracker_.stream_state()));
}

}  // namespace ringside::writer
