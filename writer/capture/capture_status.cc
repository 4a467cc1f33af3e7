#include "writer/capture/capture_status.h"

#include <fmt/format.h>

#include <iterator>

#include "base/clock.h"
#include "http/json_text.h"

namespace ringside::writer {
namespace {

using shm::CaptureState;

constexpr std::array kStates = {
    CaptureState::kStarting, CaptureState::kStreaming, CaptureState::kReconnecting, CaptureState::kFull,
    CaptureState::kFailed,   CaptureState::kStopped,   CaptureState::kReplacing};

double age_seconds(std::uint64_t then_ns) {
  const std::uint64_t now = monotonic_ns();
  return then_ns == 0 || then_ns > now ? 0.0 : static_cast<double>(now - then_ns) / 1e9;
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
                 ",\"ring\":{{\"epoch\":\"{:016x}\",\"used_bytes\":{},\"limit_bytes\":{},\"chunk_bytes\":{},"
                 "\"readers\":[",
                 status.epoch.value(), status.ring.used_bytes, status.ring.limit_bytes,
                 status.ring.chunk_bytes);
  for (std::size_t i = 0; i < status.readers.size(); ++i) {
    const shm::ReaderStatus& reader = status.readers[i];
    fmt::format_to(to, "{}{{\"slot\":{},\"pid\":{},\"reclaim_position\":{},\"asleep\":{}}}", i > 0 ? "," : "",
                   reader.slot, reader.pid, reader.reclaim_position.value(), reader.asleep);
  }
  out += "]},\"tables\":[";
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

void CaptureStatusPage::append_metrics(http::MetricsText& metrics) const {
  const CaptureStatus status = capture_.status();
  metrics.gauge("ringside_writer_capture_state", "1 for the state that capture is in, 0 for the others.");
  for (const CaptureState state : kStates) {
    metrics.sample({{"state", to_string(state)}}, static_cast<unsigned>(state == status.state));
  }
  metrics.gauge("ringside_writer_version", "Newest version in the ring.");
  metrics.sample({}, status.version.value());
  metrics.gauge("ringside_writer_lag_transactions",
                "Versions that the source has begun to send beyond the ring's.");
  metrics.sample({},
                 status.newest_seen.value() - std::min(status.newest_seen.value(), status.version.value()));
  metrics.gauge("ringside_writer_source_silent_seconds", "Time since the source's last event or heartbeat.");
  metrics.sample({}, age_seconds(status.source_alive_ns));
  metrics.counter("ringside_writer_capture_events_total", "Binlog events received.");
  metrics.sample({}, status.counters.events);
  metrics.counter("ringside_writer_capture_transactions_total", "Transactions received.");
  metrics.sample({}, status.counters.transactions);
  metrics.counter("ringside_writer_capture_rows_total", "Row changes taken into the ring.");
  metrics.sample({}, status.counters.rows);
  metrics.counter("ringside_writer_reconnects_total", "Connections to the source that ended, by reason.");
  for (const auto& [reason, count] : status.reconnects) metrics.sample({{"reason", reason}}, count);
  metrics.counter("ringside_writer_snapshots_total", "Whole snapshots taken, each into a new epoch.");
  metrics.sample({}, status.snapshots);
  metrics.counter("ringside_writer_table_loads_total",
                  "Tables loaded again because their definition changed.");
  metrics.sample({}, status.table_loads);
  metrics.counter("ringside_writer_spilled_bytes_total",
                  "Bytes of transactions that went through a spill file.");
  metrics.sample({}, status.spilled_bytes);
  metrics.gauge("ringside_writer_ring_used_bytes", "Bytes of ring slots in use.");
  metrics.sample({}, status.ring.used_bytes);
  metrics.gauge("ringside_writer_ring_limit_bytes", "ring.max_size.");
  metrics.sample({}, status.ring.limit_bytes);
  metrics.gauge("ringside_writer_ring_readers", "Replicas that follow the ring.");
  metrics.sample({}, status.readers.size());
  metrics.counter("ringside_writer_readers_evicted_total",
                  "Readers cut off for holding the ring back without progress.");
  metrics.sample({}, status.readers_evicted);
  metrics.gauge("ringside_writer_table_rows", "Live rows of a table in the ring.");
  for (const shm::TableUsage& table : status.tables) metrics.sample({{"table", table.name}}, table.rows);
  metrics.gauge("ringside_writer_table_bytes", "Bytes of a table's live rows in the ring.");
  for (const shm::TableUsage& table : status.tables) metrics.sample({{"table", table.name}}, table.bytes);
  metrics.gauge("ringside_writer_table_index_bytes", "Memory of the writer's index over a table.");
  for (const shm::TableUsage& table : status.tables)
    metrics.sample({{"table", table.name}}, table.index_bytes);
  metrics.gauge("ringside_writer_table_quarantined", "1 for a table that is not served, with the reason.");
  for (const auto& [name, reason] : status.quarantined) {
    metrics.sample({{"table", name}, {"reason", reason}}, 1u);
  }
}

}  // namespace ringside::writer
