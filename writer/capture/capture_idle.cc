// The part of Capture that asks the source beside the stream: one that seems to be idle, whether it still is the one that
// the ring follows; and how its clock stands to ours, when ours was set.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "writer/capture/capture.h"
#include "writer/capture/resume_point.h"
#include "writer/source/source_clock.h"

namespace ringside::writer {
namespace {

constexpr std::uint64_t kLookNs = 1'000'000'000;
constexpr std::uint64_t kLookAgainNs = 10'000'000'000;  // after one that failed
// A commit is counted a moment after, or before, the stream has shown it.
constexpr std::uint64_t kDifferenceNs = 5'000'000'000;
// Less than anybody would notice.
constexpr std::int64_t kClockStepNs = 10'000'000;
constexpr int kClockLooks = 3;

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
  RINGSIDE_TRY(open_look_connection());
  RINGSIDE_ASSIGN(const SqlRow row, look_connection_->query_row("SELECT @@GLOBAL.gtid_executed"));
  return compare_with_mysql(publisher_->executed(), row[0].value_or(""), {});
}

Result<void> Capture::open_look_connection() {
  if (look_connection_) return {};
  ConnectionOptions options;
  options.read_timeout = config_.writer.watchdog;  // nothing is followed while the answer is awaited
  options.connect_timeout = config_.writer.watchdog;
  options.interrupter = &interrupter_;
  RINGSIDE_ASSIGN(look_connection_, Connection::open(config_.mysql, options));
  return {};
}

// The time of day of this host was set, and with it the source's if that is here as well (or the host slept): commit
// times stand otherwise to the monotonic clock than they did.
void Capture::look_at_clock() {
  std::int64_t step_ns = 0;
  // A busy machine may leave this thread alone between the two clocks; what was set is so at every look.
  for (int look = 0; look < kClockLooks; ++look) {
    step_ns = wall_ahead_ns() - wall_ahead_ns_;
    if (std::abs(step_ns) < kClockStepNs) return;
  }
  if (alive_ns_ < next_clock_look_ns_) return;
  const Result<shm::SourceClock> clock = ask_source_clock();
  look_connection_.reset();
  if (!clock) {
    log_warning("this host's clock was set, and the source cannot be asked for its own",
                {{"reason", clock.error().message}});
    next_clock_look_ns_ = alive_ns_ + kLookAgainNs;
    return;
  }
  log_info("this host's clock was set: the source's was measured again", {{"by_ms", step_ns / 1'000'000}});
  wall_ahead_ns_ += step_ns;
  source_clock_ = *clock;
  publisher_->ring().set_source_clock(source_clock_);
}

// A transaction has come to its end: what does it say of what the source has besides? Transactions that look old though nothing waits behind
// them may be those of a source whose clock was set.
void Capture::note_current() {
  const bool is_last = !stream_->data_is_waiting();
  const std::uint64_t commit_us = applier_->source_time_us();
  const std::uint64_t as_of = current_as_of(source_clock_, commit_us, alive_ns_, is_last);
  current_ns_ = std::max(current_ns_, as_of);
  if (!is_last || current_ns_ + kLookAgainNs > alive_ns_ || alive_ns_ < next_clock_look_ns_) return;
  next_clock_look_ns_ = alive_ns_ + kLookAgainNs;
  const Result<shm::SourceClock> clock = ask_source_clock();
  look_connection_.reset();
  if (!clock) return;  // the next look may be luckier; that the data are old is what shows
  source_clock_ = *clock;
  publisher_->ring().set_source_clock(source_clock_);
}

Result<shm::SourceClock> Capture::ask_source_clock() {
  RINGSIDE_TRY(open_look_connection());
  return measure_source_clock(*look_connection_);
}

}  // namespace ringside::writer
