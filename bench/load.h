// The load generator: one thread, one io_uring, many keep-alive connections, against one server.
//
// Closed loop (the default): each connection keeps `pipeline` requests in flight and sends the next when one
// is answered. A slow answer then delays the requests behind it, so that the latencies leave out the waiting
// which independent clients would have seen. Open loop (`rate`): requests have intended times of their own, a
// fixed distance apart, and a latency counts from the intended time, whether a connection was free by then or
// not.
//
// A latency ends when the batch of completions that holds the response's last byte is reaped. The generator's
// own time for preparing a batch is inside: it errs towards too slow.
//
// Threads: run_load() uses the calling thread alone.   Ownership: closes all it opens.
// Errors: of start-up, of the ring, or when every connection has failed. Wrong answers are counted, not
// errors. Limits: kMaxConnections, kMaxPipeline. No allocation while measuring.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/histogram.h"
#include "bench/request_plan.h"

namespace ringside::bench {

inline constexpr unsigned kMaxConnections = 16384;
inline constexpr unsigned kMaxPipeline = 256;

struct LoadOptions {
  unsigned connections = 1;
  unsigned pipeline = 1;        // requests in flight on each connection, at most
  std::uint64_t warmup_ns = 0;  // answers before its end are not counted
  std::uint64_t measure_ns = 0;
  double rate = 0.0;               // requests a second, open loop; 0: closed loop
  bool spin = false;               // never sleep: the server then wakes nobody
  bool sequential = false;         // keys in turn; otherwise at random
  std::uint64_t seed = 1;          // of the random order
  std::size_t min_body_bytes = 0;  // a shorter body counts as an error
  std::vector<pid_t> server_pids;  // whose CPU time to measure
};

struct LoadReport {
  double seconds = 0.0;
  std::uint64_t requests = 0;  // answered within the window, errors among them
  std::uint64_t bytes = 0;     // of those answers, heads and bodies
  std::uint64_t wrong_status = 0;
  std::uint64_t short_bodies = 0;
  std::uint64_t failed_connections = 0;  // closed by the server, malformed answers; not opened again
  std::string first_error;               // of any of these, for people
  std::uint64_t server_cpu_ns = 0;
  std::uint64_t client_cpu_ns = 0;
  std::uint64_t overdue = 0;  // open loop: intended, and not sent when the window closed
  Histogram latency_ns;

  std::uint64_t errors() const { return wrong_status + short_bodies + failed_connections; }
  double requests_per_second() const { return seconds > 0 ? static_cast<double>(requests) / seconds : 0.0; }
};

Result<LoadReport> run_load(const RequestPlan& plan, const LoadOptions& options);

}  // namespace ringside::bench
