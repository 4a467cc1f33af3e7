#include "replica/pages.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/clock.h"
#include "base/process_usage.h"
#include "http/json_text.h"
#include "http/metrics_text.h"
#include "http/process_metrics.h"

namespace ringside::replica {
namespace {

std::string quoted(std::string_view text) {
  std::string out;
  http::append_json_string_lossy(text, out);
  return out;
}

std::string_view to_string(Follower::State state) {
  switch (state) {
    case Follower::State::kWaiting:
      return "waiting";
    case Follower::State::kJoining:
      return "joining";
    case Follower::State::kServing:
      break;
  }
  return "serving";
}

std::string_view to_string(shm::CaptureState state) {
  switch (state) {
    case shm::CaptureState::kStarting:
      return "starting";
    case shm::CaptureState::kStreaming:
      return "streaming";
    case shm::CaptureState::kReconnecting:
      return "reconnecting";
    case shm::CaptureState::kFull:
      return "full";
    case shm::CaptureState::kFailed:
      return "failed";
    case shm::CaptureState::kReplacing:
      return "replacing";
    case shm::CaptureState::kStopped:
      break;
  }
  return "stopped";
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::uint64_t behind(const shm::SourceState& source, Version visible) {
  return source.version.value() - std::min(source.version.value(), visible.value());
}

}  // namespace

ReplicaPages::ReplicaPages(const ReplicaConfig& config, std::string ring_name, unsigned index,
                           std::string commit, const Follower& follower, const ReplicaMetrics& metrics)
    : config_(config),
      ring_name_(std::move(ring_name)),
      index_(index),
      commit_(std::move(commit)),
      follower_(follower),
      metrics_(metrics),
      started_ns_(monotonic_ns()) {}

double ReplicaPages::staleness_seconds() const {
  const std::uint64_t as_of = follower_.current_as_of_ns();
  if (!follower_.is_serving() || as_of == 0) return std::numeric_limits<double>::quiet_NaN();
  const std::uint64_t now = monotonic_ns();
  return static_cast<double>(now - std::min(now, as_of)) / 1e9;
}

// Precondition: serving, and the source has given a sign of life.
bool ReplicaPages::is_too_old() const {
  const auto limit_ns = static_cast<std::uint64_t>(config_.max_staleness.count()) * 1'000'000;
  return monotonic_ns() > follower_.current_as_of_ns() + limit_ns;
}

std::string ReplicaPages::too_old_reason() const {
  const shm::SourceState source = follower_.reader().source();
  return fmt::format(
      "what it serves is {:.1f} s old (replica.max_staleness is {:.1f} s): capture is {}, the writer is {}, "
      "{} transactions are missing",
      staleness_seconds(), static_cast<double>(config_.max_staleness.count()) / 1e3,
      to_string(source.capture), follower_.reader().writer_is_alive() ? "alive" : "gone",
      behind(source, follower_.tables().visible_version()));
}

std::string ReplicaPages::unready_reason() const {
  if (is_draining_) return "it is draining";
  if (!follower_.is_serving()) return follower_.reason();
  if (follower_.current_as_of_ns() == 0) return "the source has given no sign of life yet";
  return is_too_old() ? too_old_reason() : std::string();
}

bool ReplicaPages::is_stale() const {
  if (!follower_.is_serving() || follower_.current_as_of_ns() == 0) return false;
  const shm::CaptureState capture = follower_.reader().source().capture;
  return capture == shm::CaptureState::kReplacing || capture == shm::CaptureState::kFailed || is_too_old();
}

std::string ReplicaPages::stale_reason() const {
  if (!is_stale()) return {};
  switch (follower_.reader().source().capture) {
    case shm::CaptureState::kReplacing:
      return "the source has another history than this ring: what is served is of the past until a new ring "
             "is "
             "loaded";
    case shm::CaptureState::kFailed:
      return "capture has ended with an error: the writer's log says what is to be done";
    default:
      return too_old_reason();
  }
}

std::optional<std::uint64_t> ReplicaPages::stale_seconds() const {
  if (!is_stale()) return {};
  return static_cast<std::uint64_t>(staleness_seconds());
}

Page ReplicaPages::page(RouteKind route) {
  switch (route) {
    case RouteKind::kHealthz:
      return {200, http::kJsonType, "{\"alive\":true}"};
    case RouteKind::kReadyz: {
      const std::string reason = unready_reason();
      if (reason.empty()) return {200, http::kJsonType, "{\"ready\":true}"};
      return {503, http::kJsonType, "{\"ready\":false,\"reason\":" + quoted(reason) + "}"};
    }
    case RouteKind::kStatus:
      return status();
    case RouteKind::kMetrics:
      return metrics();
    default:
      return index();
  }
}

Page ReplicaPages::status() const {
  return {200, http::kJsonType, status_json()};
}

namespace {

std::string key_json(const shm::Table& table) {
  std::string out = "[";
  for (const shm::KeyColumn& part : table.key) {
    if (out.size() > 1) out += ',';
    out += fmt::format("{{\"column\":{},\"compares\":{}}}", quoted(table.shape.columns[part.column].name),
                       quoted(shm::to_string(part.rule)));
  }
  return out + "]";
}

std::string columns_json(const shm::Table& table) {
  std::string out = "[";
  for (const shm::Column& column : table.shape.columns) {
    if (out.size() > 1) out += ',';
    out += fmt::format("{{\"name\":{},\"type\":{},\"json\":{},\"nullable\":{}}}", quoted(column.name),
                       quoted(column.sql_type), quoted(shm::to_string(column.kind)), column.nullable);
  }
  return out + "]";
}

std::string tables_json(const TableStore& store) {
  std::string out = "[";
  for (const auto& [name, route] : store.routes()) {
    if (out.size() > 1) out += ',';
    const std::string_view state = route.is_quarantined     ? "quarantined"
                                   : route.table != nullptr ? "live"
                                                            : "loading";
    out += fmt::format("{{\"name\":{},\"state\":\"{}\"", quoted(name), state);
    if (route.is_quarantined) out += ",\"reason\":" + quoted(route.reason);
    if (route.table != nullptr) {
      const ServedTable& table = *route.table;
      out += fmt::format(
          ",\"rows\":{},\"row_bytes\":{},\"index_bytes\":{},\"key_name\":{},\"key\":{},\"columns\":{}",
          table.row_count, table.row_bytes, table.index.memory_bytes(), quoted(table.description().key_name),
          key_json(table.description()), columns_json(table.description()));
    }
    out += '}';
  }
  return out + "]";
}

}  // namespace

std::string ReplicaPages::status_json() const {
  const std::string reason = unready_reason();
  const std::string stale = stale_reason();
  const FollowerCounters& joins = follower_.counters();
  std::string out = fmt::format(
      "{{\"program\":\"ringside-replica\",\"program_version\":{},\"pid\":{},\"index\":{},\"ring\":{},"
      "\"ready\":{},"
      "\"reason\":{},\"stale\":{},\"stale_reason\":{},\"state\":\"{}\",\"uptime_seconds\":{}",
      quoted(kProgramVersion), ::getpid(), index_, quoted(ring_name_), reason.empty(),
      reason.empty() ? "null" : quoted(reason), !stale.empty(), stale.empty() ? "null" : quoted(stale),
      to_string(follower_.state()), (monotonic_ns() - started_ns_) / 1'000'000'000);
  out += fmt::format(",\"joins\":{},\"evictions\":{},\"corruptions\":{},\"connections\":{},\"waiting\":{}",
                     joins.joins, joins.evictions, joins.corruptions, metrics_.connections, metrics_.waiting);
  if (follower_.is_serving()) {
    const TableStore& store = follower_.tables();
    const shm::SourceState source = follower_.reader().source();
    const double staleness = staleness_seconds();
    out += fmt::format(
        ",\"epoch\":\"{:016x}\",\"reader\":{},\"version\":{},\"gtid\":{},\"database\":{},\"history\":{}",
        follower_.reader().epoch().value(), follower_.reader().slot(), store.visible_version().value(),
        quoted(store.gtid()), quoted(store.database()), quoted(store.history()));
    out += fmt::format(
        ",\"source\":{{\"capture\":\"{}\",\"version\":{},\"writer_alive\":{},\"lag_transactions\":{},"
        "\"lag_seconds\":{}}}",
        to_string(source.capture), source.version.value(), follower_.reader().writer_is_alive(),
        behind(source, store.visible_version()), staleness >= 0 ? fmt::format("{:.3f}", staleness) : "null");
    out +=
        fmt::format(",\"ring_used_bytes\":{},\"ring_limit_bytes\":{}", source.used_bytes, source.limit_bytes);
    out += ",\"tables\":" + tables_json(store);
  } else {
    out += fmt::format(",\"joined_records\":{}", follower_.joined_records());
  }
  return out + "}\n";
}

namespace {

void request_metrics(http::MetricsText& text, const ReplicaMetrics& m) {
  text.counter("ringside_replica_requests_total", "Requests answered, by what was asked for and the status.");
  for (std::size_t r = 0; r < kRouteKinds; ++r) {
    const auto route = static_cast<RouteKind>(r);
    for (std::uint16_t s = RequestCounts::kFirstStatus; s <= RequestCounts::kLastStatus; ++s) {
      const std::uint64_t count = m.requests.of(route, s);
      // A series that begins with its first event has no rate for it: the usual answer is there from the start.
      if (count == 0 && s != RequestCounts::kFirstStatus) continue;
      text.sample({{"route", to_string(route)}, {"status", std::to_string(s)}}, count);
    }
  }
  text.histogram(
      "ringside_replica_request_duration_seconds",
      "From the turn of the event loop that had a request's whole head to the end of the turn that "
      "answered it, when the answer is handed to the kernel; waits for a version included.");
  for (std::size_t r = 0; r < kTimedRoutes; ++r) {
    const auto route = static_cast<RouteKind>(r);
    text.sample({{"route", to_string(route)}}, m.request_durations.of(route));
  }
  const auto counter = [&text](std::string_view name, std::string_view help, std::uint64_t value) {
    text.counter(name, help);
    text.sample({}, value);
  };
  const auto gauge = [&text](std::string_view name, std::string_view help, std::uint64_t value) {
    text.gauge(name, help);
    text.sample({}, value);
  };
  counter("ringside_replica_waits_total", "Requests that had to wait for a version.", m.waits);
  counter("ringside_replica_wait_timeouts_total", "Waits that ended before their version was there.",
          m.wait_timeouts);
  gauge("ringside_replica_waiting_requests", "Requests that wait for a version now.", m.waiting);
  gauge("ringside_replica_connections", "Open connections, of the admin port too.", m.connections);
  counter("ringside_replica_connections_accepted_total", "Connections accepted.", m.accepted);
  counter("ringside_replica_connections_refused_total", "Connections over replica.max_connections.",
          m.refused);
  text.counter(
      "ringside_replica_connections_timed_out_total",
      "Connections closed for being idle, for a head that did not arrive, or for answers not taken.");
  text.sample({{"cause", "idle"}}, m.idle_closed);
  text.sample({{"cause", "head"}}, m.head_timeouts);
  text.sample({{"cause", "stalled"}}, m.stalled_closed);
  counter("ringside_replica_received_bytes_total", "Bytes received from clients.", m.received_bytes);
  counter("ringside_replica_sent_bytes_total", "Bytes sent to clients.", m.sent_bytes);
  counter("ringside_replica_discarded_turns_total",
          "Turns of the event loop whose answers were thrown away because the ring had changed underneath.",
          m.discarded_turns);
}

void loop_metrics(http::MetricsText& text, const ReplicaMetrics& m, bool busy_poll) {
  text.histogram(
      "ringside_replica_turn_duration_seconds",
      "Time that turns of the event loop took in which there was something to do, without the kernel's "
      "part (sending, waiting).");
  text.sample({}, m.turn_duration);
  text.counter("ringside_replica_idle_turns_total",
               "Turns of the event loop that found nothing to do; with replica.busy_poll most of them.");
  text.sample({}, m.idle_turns);
  text.counter(
      "ringside_replica_loop_cpu_seconds_total",
      "Processor time of the event loop's thread, the kernel's part of its turns included, in seconds.");
  text.sample({}, static_cast<double>(thread_cpu_ns()) / 1e9);
  text.gauge("ringside_replica_busy_poll",
             "1 when replica.busy_poll lets the event loop spin instead of sleep.");
  text.sample({}, busy_poll ? 1u : 0u);
}

void source_metrics(http::MetricsText& text, const Follower& follower) {
  const TableStore& store = follower.tables();
  const shm::SourceState source = follower.reader().source();
  if (store.commit_time_us() != 0) {
    text.gauge("ringside_replica_commit_timestamp_seconds",
               "The source's clock at the commit of the applied version, in seconds since 1970.");
    text.sample({}, static_cast<double>(store.commit_time_us()) / 1e6);
  }
  text.gauge("ringside_replica_commit_time_resolution_seconds",
             "How fine the source's commit times are (0: not known yet).");
  text.sample({}, static_cast<double>(source.clock.commit_time_resolution_us) / 1e6);
  text.counter("ringside_replica_applied_transactions_total",
               "Transactions applied since the last join began.");
  text.sample({}, store.applied_transactions());
  text.gauge("ringside_replica_capture_state",
             "1 for the state that capture is in, as the writer last told it.");
  for (std::uint64_t i = 0; i <= static_cast<std::uint64_t>(shm::kLastCaptureState); ++i) {
    const auto state = static_cast<shm::CaptureState>(i);
    text.sample({{"state", to_string(state)}}, state == source.capture ? 1u : 0u);
  }
  text.gauge("ringside_replica_writer_alive", "1 while a writer holds the ring.");
  text.sample({}, follower.reader().writer_is_alive() ? 1u : 0u);
  text.gauge("ringside_replica_ring_used_bytes", "Bytes of the ring's segments in use.");
  text.sample({}, source.used_bytes);
  text.gauge("ringside_replica_ring_limit_bytes", "ring.max_size.");
  text.sample({}, source.limit_bytes);
}

void follower_metrics(http::MetricsText& text, const Follower& follower, double staleness, bool is_ready) {
  const FollowerCounters& joins = follower.counters();
  text.gauge("ringside_replica_ready", "1 when /readyz is green.");
  text.sample({}, std::uint64_t{is_ready ? 1u : 0u});
  text.gauge("ringside_replica_applied_version", "The version that answers are given from (0: none yet).");
  // The highest version ever shown is another one when a source that was restored has gone back.
  text.sample(
      {}, (follower.is_serving() ? follower.tables().visible_version() : follower.last_version()).value());
  text.counter("ringside_replica_joins_total", "Times that the ring was joined.");
  text.sample({}, joins.joins);
  text.gauge("ringside_replica_join_seconds", "How long the last join took.");
  text.sample({}, static_cast<double>(joins.join_ns) / 1e9);
  text.counter("ringside_replica_evictions_total",
               "Times that the writer cut this replica off for holding back the ring.");
  text.sample({}, joins.evictions);
  text.counter("ringside_replica_corruptions_total", "Times that the ring's bytes contradicted themselves.");
  text.sample({}, joins.corruptions);
  text.histogram(
      "ringside_replica_commit_to_visible_seconds",
      "From a transaction's commit, by the source's clock, to its being served here; too long by up to "
      "the commit times' resolution.");
  text.sample({}, follower.visibility().commit_to_visible());
  text.histogram("ringside_replica_received_to_visible_seconds",
                 "From the writer's receiving a transaction's end to its being served here.");
  text.sample({}, follower.visibility().received_to_visible());
  if (!follower.is_serving()) return;

  const TableStore& store = follower.tables();
  const shm::SourceState source = follower.reader().source();
  text.gauge("ringside_replica_lag_transactions",
             "Transactions that the writer has seen and this replica not applied.");
  text.sample({}, behind(source, store.visible_version()));
  text.gauge(
      "ringside_replica_lag_seconds",
      "Time since the source was last known to have nothing newer than what this replica serves. While the "
      "source is idle its heartbeats keep this small; it grows when the source, the writer or this replica "
      "is silent or late.");
  text.sample({}, staleness);
  source_metrics(text, follower);
}

template <class Value>
void table_family(http::MetricsText& text, const TableStore& store, std::string_view name,
                  std::string_view help, const Value& value) {
  text.gauge(name, help);
  for (const auto& [table_name, route] : store.routes()) {
    if (route.table != nullptr)
      text.sample({{"table", table_name}}, static_cast<std::uint64_t>(value(*route.table)));
  }
}

void table_metrics(http::MetricsText& text, const TableStore& store) {
  table_family(text, store, "ringside_replica_table_rows", "Live rows.",
               [](const ServedTable& table) { return table.row_count; });
  table_family(text, store, "ringside_replica_table_row_bytes",
               "Bytes of the live rows' records in the ring.",
               [](const ServedTable& table) { return table.row_bytes; });
  table_family(text, store, "ringside_replica_table_index_bytes", "Memory of this replica's index.",
               [](const ServedTable& table) { return table.index.memory_bytes(); });
  text.gauge("ringside_replica_table_quarantined", "1 for a table that is refused, with the reason.");
  for (const auto& [name, route] : store.routes()) {
    if (route.is_quarantined) text.sample({{"table", name}, {"reason", http::label_text(route.reason)}}, 1u);
  }
}

}  // namespace

Page ReplicaPages::metrics() const {
  Page page;
  page.content_type = http::kMetricsType;
  http::MetricsText text(page.body);
  http::append_build_info(text, {"ringside-replica", kProgramVersion, commit_});
  text.gauge("ringside_replica_info",
             "1, labelled with what is served and which of the host's replicas this is.");
  text.sample({{"ring", ring_name_}, {"index", std::to_string(index_)}}, 1u);
  http::append_process_metrics(text, read_process_usage());
  request_metrics(text, metrics_);
  text.gauge("ringside_replica_connections_limit",
             "replica.max_connections, or what the limit of open files leaves of it.");
  text.sample({}, config_.max_connections);
  loop_metrics(text, metrics_, config_.busy_poll);
  follower_metrics(text, follower_, staleness_seconds(), unready_reason().empty());
  if (follower_.is_serving()) table_metrics(text, follower_.tables());
  return page;
}

Page ReplicaPages::index() const {
  const std::string reason = unready_reason();
  Page page;
  page.content_type = "text/html; charset=utf-8";
  page.body = fmt::format(
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Ringside: {0}</title>"
      "<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}"
      "td,th{{text-align:left;padding:.2rem 1rem .2rem 0}}code{{background:#eee}}</style>"
      "<h1>Ringside: {0}</h1><p>Replica {1}: {2}.</p>",
      html_escaped(ring_name_), index_, reason.empty() ? "ready" : html_escaped("not ready: " + reason));
  if (follower_.is_serving()) {
    page.body +=
        fmt::format("<p>Version {}, GTID {}.</p><table><tr><th>Table<th>Rows<th>Key",
                    follower_.tables().visible_version().value(), html_escaped(follower_.tables().gtid()));
    for (const auto& [name, route] : follower_.tables().routes()) {
      page.body += "<tr><td><code>/v1/" + html_escaped(name) + "/{key}</code><td>";
      if (route.is_quarantined) {
        page.body += "<td>quarantined: " + html_escaped(route.reason);
      } else if (route.table == nullptr) {
        page.body += "<td>loading";
      } else {
        page.body += std::to_string(route.table->row_count) + "<td>";
        for (const shm::KeyColumn& part : route.table->description().key) {
          page.body += html_escaped(route.table->column(part.column).name) + " ";
        }
      }
    }
    page.body += "</table>";
  }
  page.body +=
      "<p><a href=\"/status\">/status</a> · <a href=\"/metrics\">/metrics</a> · <a "
      "href=\"/readyz\">/readyz</a> · "
      "<a href=\"/healthz\">/healthz</a></p></html>\n";
  return page;
}

}  // namespace ringside::replica
