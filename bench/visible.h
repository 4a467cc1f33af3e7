// Commit-to-visible latency: how long after COMMIT has returned a replica answers with the new value.
//
// For each commit: UPDATE one row, read the clock, COMMIT, read it again, then ask the replica for the row on
// a keep-alive connection, again and again, until the answer holds the new value. The figure ends when that
// answer is received, so that it holds one whole round trip and at most one more: the resolution, reported as
// `round_trip_ns`. A binlog event can overtake COMMIT's return; then the very first answer is new, and is
// counted in `at_once`.
//
// With several replicas the commits go round: an interleaved comparison, e.g. of busy polling off and on.
//
// Threads: run_visible() uses the calling thread alone.   Ownership: closes all it opens.
// Errors: the database or a replica is not there, or a value did not show within `give_up_ns`.
// Limits: integer columns; keys that need no percent-encoding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/histogram.h"
#include "bench/request_plan.h"

namespace ringside::bench {

struct MysqlAddress {
  std::string socket;  // not empty: this, and not host and port
  std::string host = "127.0.0.1";
  unsigned port = 3306;
  std::string user;
  std::string password;
  std::string database;
};

struct VisibleOptions {
  MysqlAddress mysql;
  std::string table;
  std::string key_column;
  std::string column;  // an integer column; its values are put back at the end
  std::uint64_t commits = 2000;
  std::uint64_t warmup = 100;             // commits that are not counted
  std::uint64_t first_value = 1'000'000;  // commit i writes first_value + i
  unsigned rows = 64;                     // how many rows are updated in turn, spread over the keys
  bool spin = true;                       // the reader spins for its answer; else it sleeps
  std::uint64_t pause_ns = 0;             // between commits
  std::uint64_t give_up_ns = 5'000'000'000;
};

struct VisibleReport {
  std::string name;
  Histogram visible_ns;     // COMMIT's return to the first answer with the new value
  Histogram commit_ns;      // COMMIT itself
  Histogram round_trip_ns;  // a read of the same row while nothing happens
  std::uint64_t at_once = 0;
};

struct NamedReplica {
  std::string name;
  RequestPlan plan;
};

// One report for each replica. `keys` are the ones that the plans were made with.
Result<std::vector<VisibleReport>> run_visible(const std::vector<NamedReplica>& replicas, const KeySet& keys,
                                               const VisibleOptions& options);

// True when the JSON object `body` has the member "column" with the integer `value`. Exposed for its test.
bool has_member(std::string_view body, std::string_view column, std::string_view value);

}  // namespace ringside::bench
