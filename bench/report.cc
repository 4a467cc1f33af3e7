#include "bench/report.h"

#include <fmt/format.h>

namespace ringside::bench {
namespace {

double us(std::uint64_t ns) {
  return static_cast<double>(ns) / 1000.0;
}

std::string quantiles_text(const Histogram& ns) {
  return fmt::format("p50 {:.1f}  p90 {:.1f}  p99 {:.1f}  p99.9 {:.1f}  max {:.1f} us", us(ns.quantile(0.5)),
                     us(ns.quantile(0.9)), us(ns.quantile(0.99)), us(ns.quantile(0.999)), us(ns.max()));
}

std::string quantiles_json(const Histogram& ns) {
  return fmt::format(
      R"({{"count":{},"mean":{:.3f},"min":{:.3f},"p50":{:.3f},"p90":{:.3f},"p99":{:.3f},"p999":{:.3f},"max":{:.3f}}})",
      ns.count(), ns.mean() / 1000.0, us(ns.min()), us(ns.quantile(0.5)), us(ns.quantile(0.9)),
      us(ns.quantile(0.99)), us(ns.quantile(0.999)), us(ns.max()));
}

// Per request, in microseconds; 0 when there was none.
double per_request_us(std::uint64_t ns, const LoadReport& report) {
  return report.requests == 0 ? 0.0 : us(ns) / static_cast<double>(report.requests);
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string to_text(const LoadReport& report, const LoadOptions& options) {
  std::string out;
  if (options.rate > 0) {
    out +=
        fmt::format("open loop at {:.0f} requests/s, latency from the intended time; {} overdue at the end\n",
                    options.rate, report.overdue);
  } else {
    out += "closed loop: a slow answer delays the next request, so the latencies leave that waiting out\n";
  }
  out += fmt::format("{} connections, pipeline {}, {:.2f} s{}\n", options.connections, options.pipeline,
                     report.seconds, options.spin ? ", spinning" : "");
  out += fmt::format(
      "{} requests, {:.0f} requests/s, {} bytes ({:.1f} a response)\n", report.requests,
      report.requests_per_second(), report.bytes,
      report.requests == 0 ? 0.0 : static_cast<double>(report.bytes) / static_cast<double>(report.requests));
  out += fmt::format("latency {}\n", quantiles_text(report.latency_ns));
  if (!options.server_pids.empty()) {
    out += fmt::format(
        "server CPU {:.3f} us a request ({:.0f} % of a core)\n", per_request_us(report.server_cpu_ns, report),
        report.seconds > 0 ? static_cast<double>(report.server_cpu_ns) / report.seconds / 1e7 : 0.0);
  }
  out += fmt::format("client CPU {:.3f} us a request\n", per_request_us(report.client_cpu_ns, report));
  out += fmt::format("errors {}: {} with another status, {} short bodies, {} failed connections",
                     report.errors(), report.wrong_status, report.short_bodies, report.failed_connections);
  if (!report.first_error.empty()) out += fmt::format("; the first: {}", report.first_error);
  return out + "\n";
}

std::string to_json(const LoadReport& report, const LoadOptions& options) {
  return fmt::format(
      R"({{"loop":"{}","rate":{:.3f},"connections":{},"pipeline":{},"spin":{},"seconds":{:.6f},"requests":{},)"
      R"("requests_per_second":{:.3f},"bytes":{},"errors":{},"wrong_status":{},"short_bodies":{},)"
      R"("failed_connections":{},"first_error":{},"overdue":{},"server_cpu_us_per_request":{:.6f},)"
      R"("client_cpu_us_per_request":{:.6f},"latency_us":{}}})"
      "\n",
      options.rate > 0 ? "open" : "closed", options.rate, options.connections, options.pipeline, options.spin,
      report.seconds, report.requests, report.requests_per_second(), report.bytes, report.errors(),
      report.wrong_status, report.short_bodies, report.failed_connections, json_string(report.first_error),
      report.overdue, per_request_us(report.server_cpu_ns, report),
      per_request_us(report.client_cpu_ns, report), quantiles_json(report.latency_ns));
}

std::string to_text(const std::vector<VisibleReport>& reports) {
  std::string out;
  for (const VisibleReport& report : reports) {
    out += fmt::format("{}: {} commits\n", report.name, report.visible_ns.count());
    out += fmt::format("  visible after COMMIT  {}\n", quantiles_text(report.visible_ns));
    out += fmt::format("  COMMIT itself         {}\n", quantiles_text(report.commit_ns));
    out +=
        fmt::format("  a read's round trip   {}  (the resolution)\n", quantiles_text(report.round_trip_ns));
    out += fmt::format("  new in the very first answer: {}\n", report.at_once);
  }
  return out;
}

std::string to_json(const std::vector<VisibleReport>& reports) {
  std::string out = "[";
  for (const VisibleReport& report : reports) {
    if (out.size() > 1) out += ",";
    out +=
        fmt::format(R"({{"name":{},"visible_us":{},"commit_us":{},"round_trip_us":{},"at_once":{}}})",
                    json_string(report.name), quantiles_json(report.visible_ns),
                    quantiles_json(report.commit_ns), quantiles_json(report.round_trip_ns), report.at_once);
  }
  return out + "]\n";
}

}  // namespace ringside::bench
