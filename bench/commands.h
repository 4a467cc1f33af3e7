// Commands against the same statements without a writer in between: what the writer's command path costs.
//
//   http       one row's PATCH over a keep-alive connection a client; the answer has the command's version
//   connector  UPDATE and COMMIT by Connector/C++, a session a client, prepared as the writer prepares
//   marker     the same with the marker row that each command's transaction also writes
//
// All in a closed loop, each client a thread with rows of its own, so that no two wait for each other's locks.
// The writer captures what the other two commit as well: its processor time under `marker` is capture's, and what it
// takes more under `http` is the command's.
//
// Threads: run_commands() starts one for each client and waits for them.   Ownership: closes all it opens.
// Errors: the database or the writer is not there; any statement that fails, any answer but 200.
// Limits: an integer key 1 … rows, one integer column.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bench/histogram.h"
#include "bench/visible.h"

namespace ringside::bench {

enum class CommandWay : std::uint8_t { kHttp, kConnector, kMarker };
Result<CommandWay> parse_command_way(std::string_view text);
std::string_view to_string(CommandWay way);

struct CommandsOptions {
  CommandWay way = CommandWay::kHttp;
  MysqlAddress mysql;                         // for the ways without the writer
  std::string url = "http://127.0.0.1:7070";  // the writer's
  std::string table;
  std::string key_column = "id";
  std::string column;
  std::uint64_t rows = 3200;  // keys 1 … rows; client i has those with key % clients == i
  unsigned clients = 1;
  std::uint64_t warmup_ns = 500'000'000;
  std::uint64_t measure_ns = 3'000'000'000;
  pid_t writer_pid = 0;  // its processor time is measured; 0: not
};

struct CommandsReport {
  Histogram latency_ns;
  double seconds = 0;
  double own_cpu_us = 0;     // of this process, a command
  double writer_cpu_us = 0;  // of the writer, a command
};

Result<CommandsReport> run_commands(const CommandsOptions& options);
// One JSON object, with a line end.
std::string to_json(const CommandsReport& report, const CommandsOptions& options);

}  // namespace ringside::bench
