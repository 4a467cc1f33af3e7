// What a replica counts. Plain numbers, incremented on the hot path and read when somebody asks for /metrics.
//
// Threads: one.   Ownership: values.   Errors: none.   No allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/metrics_text.h"

namespace ringside::replica {

// What a request asked for: the label `route`.
enum class RouteKind : std::uint8_t {
  kRow,      // one row by its key
  kRows,     // rows by several keys
  kVersion,  // /version
  kStatus,
  kHealthz,
  kReadyz,
  kMetrics,
  kIndex,  // the page for people
  kOther,  // anything else, also what could not be parsed
};
inline constexpr std::size_t kRouteKinds = 9;
std::string_view to_string(RouteKind route);

// The statuses that a replica answers with; everything else counts as the last one.
inline constexpr std::array<std::uint16_t, 16> kStatuses = {200, 304, 400, 404, 405, 408, 409, 413,
                                                            414, 417, 431, 500, 501, 503, 505, 0};

class RequestCounts {
 public:
  void count(RouteKind route, std::uint16_t status) {
    ++counts_[static_cast<std::size_t>(route)][index_of(status)];
  }
  std::uint64_t of(RouteKind route, std::size_t status_index) const {
    return counts_[static_cast<std::size_t>(route)][status_index];
  }

 private:
  static std::size_t index_of(std::uint16_t status) {
    std::size_t i = 0;
    while (i + 1 < kStatuses.size() && kStatuses[i] != status) ++i;
    return i;
  }
  std::array<std::array<std::uint64_t, kStatuses.size()>, kRouteKinds> counts_{};
};

struct ReplicaMetrics {
  RequestCounts requests;
  http::Histogram request_duration;  // rows, row and version requests; waits included
  std::uint64_t waits = 0;           // requests that had to wait for a version
  std::uint64_t wait_timeouts = 0;
  std::uint64_t waiting = 0;      // now
  std::uint64_t connections = 0;  // open now
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  // over max_connections
  std::uint64_t idle_closed = 0;
  std::uint64_t head_timeouts = 0;
  std::uint64_t stalled_closed = 0;   // did not take their answers
  std::uint64_t discarded_turns = 0;  // answers thrown away because the ring had changed underneath
  std::uint64_t received_bytes = 0;
  std::uint64_t sent_bytes = 0;
};

}  // namespace ringside::replica
