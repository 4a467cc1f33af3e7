#include "writer/capture/capture_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>

#include "base/clock.h"
#include "base/process_usage.h"
#include "http/json_text.h"

namespace ringside::writer {
namespace {

using shm::CaptureState;

constexpr std::array kStates = {
    CaptureState::kStarting, CaptureState::kStreaming, CaptureState::kReconnecting, CaptureState::kFull,
    CaptureState::kFailed,   CaptureState::kStopped,   CaptureState::kReplacing};

constexpr std::array kFullCauses = {FullCause::kReaders, FullCause::kMaxSize, FullCause::kReserve,
                                    FullCause::kSpace};

// Those that end a stream; the one that a server's shutdown ends is named by itself.
constexpr std::array kFailures = {StreamFailure::kLostConnection, StreamFailure::kHalfDead,
                                  StreamFailure::kInterrupted,    StreamFailure::kReplacedId,
                                  StreamFailure::kPurged,         StreamFailure::kDiverged,
                                  StreamFailure::kPrivilege,      StreamFailure::kOther};

double age_seconds(std::uint64_t then_ns) {
  const std::uint64_t now = monotonic_ns();
  return then_ns == 0 || then_ns > now ? 0.0 : static_cast<double>(now - then_ns) / 1e9;
}

double clock_offset_seconds(const shm::SourceClock& clock) {
  if (clock.error_us == 0) return 0;
  return static_cast<double>(clock.offset_us - wall_ahead_ns() / 1000) / 1e6;
}

}  // namespace

std::string_view to_string(CaptureState state) {
  switch (state) {
    case CaptureState::kStarting:
      return "starting";
    case CaptureState::kStreaming:
      return "streaming";
    case CaptureState::kReconnecting:
      return "reconnecting";
    case CaptureState::kFull:
      return "full";
    case CaptureState::kFailed:
      return "failed";
    case CaptureState::kStopped:
      return "stopped";
    case CaptureState::kReplacing:
      return "replacing";
  }
  return "unknown";
}

std::string_view to_string(FullCause cause) {
  switch (cause) {
    case FullCause::kNone:
      return "";
    case FullCause::kReaders:
      return "readers";
    case FullCause::kMaxSize:
      return "max_size";
    case FullCause::kReserve:
      return "transaction_reserve";
    case FullCause::kSpace:
      return "space";
  }
  return "unknown";
}

WriterStatus::Verdict CaptureStatusPage::health() const {
  const CaptureStatus status = capture_.status();
  if (status.state == CaptureState::kFailed) return {false, status.reason};
  return {};
}

WriterStatus::Verdict CaptureStatusPage::readiness() const {
  const CaptureStatus status = capture_.status();
  if (status.state == CaptureState::kStreaming) return {};
  return {false, fmt::format("capture is {}{}{}", to_string(status.state), status.reason.empty() ? "" : ": ",
                             status.reason)};
}

void CaptureStatusPage::append_status_members(std::string& out) const {
  const CaptureStatus status = capture_.status();
  auto text = [&out](std::string_view value) { http::append_json_string_lossy(value, out); };
  auto to = std::back_inserter(out);
  fmt::format_to(to, ",\"capture\":{{\"state\":\"{}\",\"reason\":", to_string(status.state));
  text(status.reason);
  fmt::format_to(to, ",\"full\":\"{}\"", to_string(status.full));
  fmt::format_to(to, ",\"version\":{},\"gtid\":", status.version.value());
  text(status.gtid);
  fmt::format_to(to,
                 ",\"lag_transactions\":{},\"source_silent_seconds\":{:.3f},\"events\":{},\"transactions\":{}"
                 ",\"rows\":{},"
                 "\"snapshots\":{},\"snapshot_rows\":{},\"snapshot_seconds\":{:.6f},\"table_loads\":{}}}",
                 status.newest_seen.value() - std::min(status.newest_seen.value(), status.version.value()),
                 age_seconds(status.source_alive_ns), status.counters.events, status.counters.transactions,
                 status.counters.rows, status.snapshots, status.snapshot_rows,
                 static_cast<double>(status.snapshot_ns) / 1e9, status.table_loads);
  fmt::format_to(to,
                 ",\"ring\":{{\"epoch\":\"{:016x}\",\"used_bytes\":{},\"live_bytes\":{},\"pending_bytes\":{},"
                 "\"limit_bytes\":{},\"chunk_bytes\":{},\"readers\":[",
                 status.epoch.value(), status.ring.used_bytes, status.ring.live_bytes,
                 status.ring.pending_bytes, status.ring.limit_bytes, status.ring.chunk_bytes);
  for (std::size_t i = 0; i < status.readers.size(); ++i) {
    const shm::ReaderStatus& reader = status.readers[i];
    fmt::format_to(to, "{}{{\"slot\":{},\"pid\":{},\"reclaim_position\":{},\"asleep\":{}}}", i > 0 ? "," : "",
                   reader.slot, reader.pid, reader.reclaim_position.value(), reader.asleep);
  }
  fmt::format_to(
      to,
      "]}},\"compaction\":{{\"captured_bytes\":{},\"relocated_bytes\":{},\"tombstones_carried\":{},"
      "\"segments_freed\":{},\"chunks_given_back\":{},\"longest_step_seconds\":{:.6f}}},\"tables\":[",
      status.compaction.captured_bytes, status.compaction.relocated_bytes,
      status.compaction.tombstones_carried, status.ring.segments_freed, status.ring.chunks_given_back,
      static_cast<double>(status.compaction.longest_step_ns) / 1e9);
  bool first = true;
  for (const shm::TableUsage& table : status.tables) {
    out += first ? "{\"name\":" : ",{\"name\":";
    first = false;
    text(table.name);
    fmt::format_to(to, ",\"state\":\"live\",\"rows\":{},\"bytes\":{},\"index_bytes\":{}}}", table.rows,
                   table.bytes, table.index_bytes);
  }
  for (const auto& [name, reason] : status.quarantined) {
    out += first ? "{\"name\":" : ",{\"name\":";
    first = false;
    text(name);
    out += ",\"state\":\"quarantined\",\"reason\":";
    text(reason);
    out += "}";
  }
  out += "]";
}

namespace {

template <class Value>
void counter(http::MetricsText& metrics, std::string_view name, std::string_view help, Value value) {
  metrics.counter(name, help);
  metrics.sample({}, value);
}
template <class Value>
void gauge(http::MetricsText& metrics, std::string_view name, std::string_view help, Value value) {
  metrics.gauge(name, help);
  metrics.sample({}, value);
}
double seconds(std::uint64_t us) {
  return static_cast<double>(us) / 1e6;
}

void source_metrics(http::MetricsText& metrics, const CaptureStatus& status) {
  metrics.gauge("ringside_writer_capture_state", "1 for the state that capture is in, 0 for the others.");
  for (const CaptureState state : kStates) {
    metrics.sample({{"state", to_string(state)}}, static_cast<unsigned>(state == status.state));
  }
  gauge(metrics, "ringside_writer_version", "Newest version in the ring.", status.version.value());
  gauge(metrics, "ringside_writer_lag_transactions",
        "Versions that the source has begun to send beyond the ring's.",
        status.newest_seen.value() - std::min(status.newest_seen.value(), status.version.value()));
  gauge(metrics, "ringside_writer_lag_seconds",
        "Time since the ring was last known to hold everything that the source had; its heartbeats renew it.",
        status.current_as_of_ns == 0 ? std::numeric_limits<double>::quiet_NaN()
                                     : age_seconds(status.current_as_of_ns));
  gauge(metrics, "ringside_writer_source_silent_seconds", "Time since the source's last event or heartbeat.",
        age_seconds(status.source_alive_ns));
  gauge(metrics, "ringside_writer_source_clock_offset_seconds",
        "The source's clock less this host's, by the last measurement and this host's clock now.",
        clock_offset_seconds(status.source_clock));
  gauge(metrics, "ringside_writer_source_clock_error_seconds",
        "The offset is right to within this (0: it was not measured).",
        seconds(status.source_clock.error_us));
  gauge(metrics, "ringside_writer_commit_time_resolution_seconds",
        "How fine the source's commit times are (0: not known yet).",
        seconds(status.source_clock.commit_time_resolution_us));
  const auto& counters = status.counters;
  counter(metrics, "ringside_writer_capture_events_total", "Binlog events received.", counters.events);
  counter(metrics, "ringside_writer_capture_transactions_total", "Transactions received.",
          counters.transactions);
  counter(metrics, "ringside_writer_capture_rows_total", "Row changes taken into the ring.", counters.rows);
  counter(metrics, "ringside_writer_quarantines_total",
          "Tables refused because of what the stream brought; some were loaded again since.",
          counters.quarantines);
  metrics.counter("ringside_writer_reconnects_total", "Streams from the source that ended, by reason.");
  for (const StreamFailure failure : kFailures) {
    if (!status.reconnects.contains(std::string(to_string(failure)))) {
      metrics.sample({{"reason", to_string(failure)}}, 0u);
    }
  }
  for (const auto& [reason, count] : status.reconnects) metrics.sample({{"reason", reason}}, count);
  counter(metrics, "ringside_writer_capture_failures_total",
          "Attempts to connect, load or follow that ended in an error; each is tried again.",
          status.attempts_failed);
  counter(metrics, "ringside_writer_snapshots_total", "Whole snapshots taken, each into a new epoch.",
          status.snapshots);
  counter(metrics, "ringside_writer_table_loads_total",
          "Tables loaded again because their definition changed.", status.table_loads);
  counter(metrics, "ringside_writer_spilled_bytes_total",
          "Bytes of transactions that went through a spill file.", status.spilled_bytes);
}

void ring_metrics(http::MetricsText& metrics, const CaptureStatus& status) {
  gauge(metrics, "ringside_writer_ring_live_bytes", "Bytes of what a joining replica must find.",
        status.ring.live_bytes);
  gauge(metrics, "ringside_writer_ring_used_bytes", "Bytes of the segments in use.", status.ring.used_bytes);
  gauge(metrics, "ringside_writer_ring_pending_bytes", "Of them, compacted and waiting for readers to pass.",
        status.ring.pending_bytes);
  gauge(metrics, "ringside_writer_ring_allocated_bytes", "Shared memory that the ring's chunks take.",
        status.ring.chunk_bytes);
  gauge(metrics, "ringside_writer_ring_limit_bytes", "ring.max_size.", status.ring.limit_bytes);
  metrics.gauge("ringside_writer_ring_full",
                "1 for the reason why capture waits for room, 0 for the others.");
  for (const FullCause cause : kFullCauses) {
    metrics.sample({{"reason", to_string(cause)}}, static_cast<unsigned>(cause == status.full));
  }
  counter(metrics, "ringside_writer_ring_full_total", "Times that the stream had to pause for want of room.",
          status.full_episodes);
  gauge(metrics, "ringside_writer_ring_segments", "Segments in use.", status.ring.segments);
  gauge(metrics, "ringside_writer_ring_chunks", "Files that hold the ring's segments.", status.ring.chunks);
  gauge(metrics, "ringside_writer_ring_position_bytes",
        "Where the log ends: bytes appended since the epoch began.", status.ring.committed.value());
  gauge(metrics, "ringside_writer_ring_readers", "Replicas that follow the ring.", status.readers.size());
  counter(metrics, "ringside_writer_corruptions_total",
          "Times that the ring in force was found not to be what was written; each led to a new epoch.",
          status.corruptions);
  counter(metrics, "ringside_writer_scrubbed_bytes_total",
          "Bytes of the ring in force that were verified again in the background.", status.scrubbed.bytes);
  counter(metrics, "ringside_writer_scrub_rounds_total", "Times that all of it was.", status.scrubbed.rounds);
  counter(metrics, "ringside_writer_corruption_reports_total",
          "Corruption that replicas reported; the writer looks for itself.", status.scrubbed.reports);
  counter(metrics, "ringside_writer_readers_evicted_total",
          "Readers cut off for holding the ring back without progress.", status.readers_evicted);
  metrics.gauge("ringside_writer_reader_position_bytes",
                "Where a reader is in the log: it needs nothing before (0 while it joins).");
  for (const shm::ReaderStatus& reader : status.readers) {
    metrics.sample({{"reader", std::to_string(reader.slot)}}, reader.reclaim_position.value());
  }
  metrics.gauge("ringside_writer_reader_lag_bytes",
                "What a reader holds back: the log's end less its position.");
  for (const shm::ReaderStatus& reader : status.readers) {
    const std::uint64_t end = status.ring.committed.value();
    metrics.sample({{"reader", std::to_string(reader.slot)}},
                   end - std::min(end, reader.reclaim_position.value()));
  }
}

void compaction_metrics(http::MetricsText& metrics, const CaptureStatus& status) {
  const shm::CompactionCounters& compaction = status.compaction;
  counter(metrics, "ringside_writer_captured_bytes_total",
          "Bytes of transactions and loads, as appended to the ring.", compaction.captured_bytes);
  counter(metrics, "ringside_writer_compaction_relocated_bytes_total",
          "Bytes that compaction appended again.", compaction.relocated_bytes);
  counter(metrics, "ringside_writer_compaction_scanned_bytes_total", "Bytes that compaction looked at.",
          compaction.scanned_bytes);
  counter(metrics, "ringside_writer_compaction_tombstones_carried_total",
          "Deletions appended again because older copies of their rows were still there.",
          compaction.tombstones_carried);
  counter(metrics, "ringside_writer_compaction_steps_total", "Steps of compaction.", compaction.steps);
  counter(metrics, "ringside_writer_compaction_cpu_seconds_total",
          "Processor time of the capture thread that they took.",
          static_cast<double>(compaction.cpu_ns) / 1e9);
  gauge(metrics, "ringside_writer_compaction_longest_step_seconds",
        "The longest of them: for so long capture did nothing else.",
        static_cast<double>(compaction.longest_step_ns) / 1e9);
  counter(metrics, "ringside_writer_ring_segments_freed_total", "Segments that compaction has freed.",
          status.ring.segments_freed);
  counter(metrics, "ringside_writer_ring_chunks_given_back_total",
          "Times that a chunk's memory was given back.", status.ring.chunks_given_back);
}

void table_metrics(http::MetricsText& metrics, const CaptureStatus& status) {
  metrics.gauge("ringside_writer_table_rows", "Live rows of a table in the ring.");
  for (const shm::TableUsage& table : status.tables) metrics.sample({{"table", table.name}}, table.rows);
  metrics.gauge("ringside_writer_table_bytes", "Bytes of a table's live rows in the ring.");
  for (const shm::TableUsage& table : status.tables) metrics.sample({{"table", table.name}}, table.bytes);
  metrics.gauge("ringside_writer_table_index_bytes", "Memory of the writer's index over a table.");
  for (const shm::TableUsage& table : status.tables) {
    metrics.sample({{"table", table.name}}, table.index_bytes);
  }
  metrics.gauge("ringside_writer_table_quarantined", "1 for a table that is not served, with the reason.");
  for (const auto& [name, reason] : status.quarantined) {
    metrics.sample({{"table", name}, {"reason", http::label_text(reason)}}, 1u);
  }
}

}  // namespace

void CaptureStatusPage::append_metrics(http::MetricsText& metrics) const {
  const CaptureStatus status = capture_.status();
  http::append_build_info(metrics, identity_.build);
  metrics.gauge("ringside_writer_info", "1, labelled with what is served.");
  metrics.sample({{"ring", identity_.ring}, {"database", identity_.database}}, 1u);
  http::append_process_metrics(metrics, read_process_usage());
  source_metrics(metrics, status);
  ring_metrics(metrics, status);
  compaction_metrics(metrics, status);
  table_metrics(metrics, status);
}

}  // namespace ringside::writer
