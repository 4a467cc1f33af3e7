// The part of Capture that asks a source which seems to be idle whether it still is the one that the ring follows.
#include <fmt/format.h>

#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "writer/capture/capture.h"
#include "writer/capture/resume_point.h"

namespace ringside::writer {
namespace {

constexpr std::uint64_t kLookNs = 1'000'000'000;
constexpr std::uint64_t kLookAgainNs = 10'000'000'000;  // after one that failed
// A commit is counted a moment after, or before, the stream has shown it.
constexpr std::uint64_t kDifferenceNs = 5'000'000'000;

}  // namespace

// MySQL's dump goes on with a binlog file that RESET BINARY LOGS AND GTIDS has removed: its heartbeats say that it lives,
// and what is committed from then on is never shown. What tells is the executed set, beside the stream. Without an answer
// nothing is concluded: the stream itself is well.
Result<Capture::Next> Capture::look_while_idle() {
  const std::uint64_t now = monotonic_ns();
  const bool is_due = stream_->server().flavour == Flavour::kMySql && now >= next_look_ns_;
  if (!is_due || applier_->is_inside_transaction() || applier_->has_put_off()) return Next::kGoOn;
  next_look_ns_ = now + kLookNs;
  const Result<MysqlDifference> difference = ask_idle_source();
  if (!difference) {
    log_warning(
        "the source cannot be asked whether it still has the ring's history; it is followed all the same",
        {{"reason", difference.error().message}});
    look_connection_.reset();
    next_look_ns_ = now + kLookAgainNs;
    return Next::kGoOn;
  }
  // While the dump looks for where we were, it is idle to us and behind rightly.
  const bool has_begun = !applier_->is_expecting() && applier_->counters().transactions > stream_began_at_;
  const bool is_behind = has_begun && !difference->missing.empty();
  const std::uint64_t events = applier_->counters().events;
  if ((difference->lost.empty() && !is_behind) || events != differs_at_) {
    differs_at_ = events;
    differs_since_ns_ = now;
    return Next::kGoOn;
  }
  if (now - differs_since_ns_ < kDifferenceNs) return Next::kGoOn;
  if (difference->lost.empty()) return Error{ErrorKind::kUnavailable, difference->missing};
  start_over(difference->lost, true);
  return Next::kReconnect;
}

Result<MysqlDifference> Capture::ask_idle_source() {
  if (!look_connection_) {
    ConnectionOptions options;
    options.read_timeout = config_.writer.watchdog;  // nothing is followed while the answer is awaited
    options.connect_timeout = config_.writer.watchdog;
    options.interrupter = &interrupter_;
    RINGSIDE_ASSIGN(look_connection_, Connection::open(config_.mysql, options));
  }
  RINGSIDE_ASSIGN(const SqlRow row, look_connection_->query_row("SELECT @@GLOBAL.gtid_executed"));
  return compare_with_mysql(publisher_->executed(), row[0].value_or(""), {});
}

}  // namespace ringside::writer
