// CommandService: the session pool with what runs on it: commands, and the pruning of their marker rows.
//
// Threads: submit() and prune(): the HTTP thread; `done` is called on a pool thread. The rest: any.
// Ownership: owns the pool. `tracker` must outlive it.
// Errors: submit() says false when the queue is full; all else is in Finished.
// Limits: writer.sessions, writer.queue.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

#include "base/config.h"
#include "http/metrics_text.h"
#include "writer/commands/command_runner.h"
#include "writer/commands/session_pool.h"

namespace ringside::writer {

class CommandService {
 public:
  using Done = std::function<void(Finished)>;

  CommandService(const MysqlConfig& mysql, const WriterConfig& config, CommandTracker& tracker);

  // `done` is called exactly once when this returned true, and never else.
  [[nodiscard]] bool submit(Command command, Done done);
  // Deletes markers that are older than writer.commands_retention, in the background; one pruning at a time.
  void prune();
  // Ends what is queued and the threads. After it nothing calls back any more.
  void stop() { pool_.stop(); }

  // At least one session is connected.
  bool is_connected() const { return pool_.connected() > 0; }
  void append_metrics(http::MetricsText& metrics) const;
  // "sessions":8,"connected":8,…
  void append_status(std::string& out) const;

 private:
  CommandTracker& tracker_;
  const std::chrono::milliseconds retention_;
  CommandRunner runner_;
  // Set by prune(), cleared by its job: one pruning at a time. Nothing else is published by it: relaxed suffices.
  std::atomic<bool> is_pruning_{false};
  std::atomic<std::uint64_t> pruned_{0};  // a counter: relaxed
  SessionPool pool_;                      // last: its threads use all of the above
};

}  // namespace ringside::writer
