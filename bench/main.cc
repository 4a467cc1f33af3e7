// ringside-bench: wiring of the subcommands. Each option's text is its documentation.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "bench/commands.h"
#include "bench/load.h"
#include "bench/process_cpu.h"
#include "bench/report.h"
#include "bench/request_plan.h"
#include "bench/responder.h"
#include "bench/ring_of_products.h"
#include "bench/visible.h"

namespace ringside::bench {
namespace {

constexpr int kFailed = 1;  // it ran, and something was wrong: errors in answers, a server that is not there

int report_error(const Error& error) {
  fmt::print(stderr, "ringside-bench: {}\n", error.message);
  return kFailed;
}

std::uint64_t to_ns(double seconds) {
  return static_cast<std::uint64_t>(seconds * 1e9);
}

// The signal handler's way to the responder; set before the handlers are.
const Responder* running_responder = nullptr;

struct ResponderCommand {
  ResponderOptions options;
  int core = -1;

  void add_to(CLI::App& app) {
    app.add_option("--port", options.port, "port on 127.0.0.1; 0: one that is free")->required();
    app.add_option("--bytes", options.response_bytes, "size of the whole response, head and body")
        ->required();
    app.add_option("--core", core, "run on this core");
    app.add_option("--receive-buffers", options.receive_buffers, "a power of two")->capture_default_str();
    app.add_option("--receive-buffer-bytes", options.receive_buffer_bytes, "")->capture_default_str();
  }

  int run() const {
    if (const auto placed = run_on_core(core); !placed) return report_error(placed.error());
    auto created = Responder::create(options);
    if (!created) return report_error(created.error());
    const std::unique_ptr<Responder> responder = std::move(created).value();
    running_responder = responder.get();
    struct sigaction action {};
    action.sa_handler = [](int) { running_responder->stop(); };
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    // Scripts wait for this line and take pid and port from it.
    fmt::print("{{\"pid\":{},\"port\":{},\"bytes\":{}}}\n", ::getpid(), responder->port(),
               options.response_bytes);
    std::fflush(stdout);
    if (const auto result = responder->run(); !result) return report_error(result.error());
    fmt::print("{{\"requests\":{}}}\n", responder->requests());
    return 0;
  }
};

struct LoadCommand {
  LoadOptions options;
  std::string url;
  std::string unix_socket;
  std::string keys = "1..1";
  std::vector<std::string> headers;
  std::vector<unsigned> connections{1};
  double seconds = 5.0;
  double warmup = 1.0;
  int core = -1;
  bool json = false;

  void add_to(CLI::App& app) {
    app.add_option("--url", url, "http://127.0.0.1:8080/v1/products/{key}; {key} is replaced by each key")
        ->required();
    app.add_option("--unix-socket", unix_socket, "connect to this socket in place of the URL's host");
    app.add_option("--keys", keys, "a range as 1..63000, or a file with one percent-encoded key a line")
        ->capture_default_str();
    app.add_option("--header", headers, "a further request header, \"Name: value\"; may be repeated");
    app.add_option("--connections", connections, "how many; with a comma-separated list one run for each")
        ->delimiter(',')
        ->capture_default_str();
    app.add_option("--pipeline", options.pipeline, "requests in flight on each connection")
        ->capture_default_str();
    app.add_option("--seconds", seconds, "of measuring")->capture_default_str();
    app.add_option("--warmup", warmup, "seconds before measuring")->capture_default_str();
    app.add_option("--rate", options.rate, "open loop: requests a second in all; 0: closed loop")
        ->capture_default_str();
    app.add_option("--core", core, "run on this core");
    app.add_option("--server-pid", options.server_pids, "measure this process's CPU time; may be repeated");
    app.add_option("--min-body", options.min_body_bytes, "count a shorter body as an error")
        ->capture_default_str();
    app.add_option("--seed", options.seed, "of the random order of keys")->capture_default_str();
    app.add_flag("--sequential", options.sequential, "keys in turn, not at random");
    app.add_flag("--spin", options.spin, "never sleep");
    app.add_flag("--json", json, "one JSON object a line for each run");
  }

  int run() {
    if (const auto placed = run_on_core(core); !placed) return report_error(placed.error());
    auto key_set = KeySet::parse(keys);
    if (!key_set) return report_error(key_set.error());
    auto plan = RequestPlan::make(url, headers, std::move(key_set).value(), unix_socket);
    if (!plan) return report_error(plan.error());
    options.warmup_ns = to_ns(warmup);
    options.measure_ns = to_ns(seconds);
    bool has_errors = false;
    for (const unsigned count : connections) {
      options.connections = count;
      const auto report = run_load(*plan, options);
      if (!report) return report_error(report.error());
      fmt::print("{}", json ? to_json(*report, options) : to_text(*report, options));
      std::fflush(stdout);
      has_errors |= report->errors() != 0;
    }
    return has_errors ? kFailed : 0;
  }
};

// This process's memory that is no file's: heap and stacks.
std::uint64_t read_anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("RssAnon:")) return std::strtoull(line.c_str() + 8, nullptr, 10) * 1024;
  }
  return 0;
}

// A ring with made-up rows and a writer that lives as long as the command: a replica can be measured, or profiled,
// without a database.
struct RingCommand {
  std::uint64_t rows = 63'000;
  std::uint64_t updates_per_second = 0;
  std::string table = "products";
  std::uint64_t buffer_bytes = std::uint64_t{64} << 20;

  void add_to(CLI::App& app) {
    app.add_option("--rows", rows, "of the table, ids 1 to this")->capture_default_str();
    app.add_option("--table", table, "products: about 390 bytes a row; stock: 64, in no order")
        ->check(CLI::IsMember({"products", "stock"}))
        ->capture_default_str();
    app.add_option("--updates", updates_per_second, "one-row transactions a second")->capture_default_str();
    app.add_option("--buffer", buffer_bytes, "writer.transaction_buffer, in bytes")->capture_default_str();
    app.footer(
        "SIGUSR1: one transaction changes every row: the lower half of the ids is updated; of the upper half "
        "two of four are "
        "updated, one deleted (or inserted again), one gets another key. A line of JSON says when it was "
        "published.");
  }

  int run() const {
    // Blocked, and asked for between updates: the ring is taken down in order.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &ends, nullptr);
    RingOfProducts ring(rows, table == "stock" ? RowKind::kStock : RowKind::kProduct, buffer_bytes);
    fmt::print("{{\"pid\":{},\"directory\":{},\"name\":\"bench\",\"rows\":{}}}\n", ::getpid(),
               json_string(ring.directory()), rows);
    std::fflush(stdout);
    const std::uint64_t pause_ns =
        updates_per_second == 0 ? kBeatNs : std::min(kBeatNs, 1'000'000'000 / updates_per_second);
    const std::uint64_t start_ns = monotonic_ns();
    for (std::uint64_t done = 0;;) {
      const std::uint64_t now_ns = monotonic_ns();
      ring.beat(now_ns);
      const std::uint64_t due = (now_ns - start_ns) / 1000 * updates_per_second / 1'000'000;
      for (; done < due; ++done) ring.update(done % rows + 1);
      const timespec pause{0, static_cast<long>(pause_ns)};
      const int signal = ::sigtimedwait(&ends, nullptr, &pause);
      if (signal == SIGUSR1) {
        change_all(ring);
      } else if (signal > 0) {
        return 0;
      }
    }
  }

  static void change_all(RingOfProducts& ring) {
    const std::uint64_t spilled_before = ring.publisher().spilled_bytes();
    const std::uint64_t before_ns = monotonic_ns();
    ring.collect_change_of_all();
    const std::uint64_t collected_ns = monotonic_ns();
    const std::uint64_t anonymous_bytes = read_anonymous_bytes();
    ring.commit();
    fmt::print(
        "{{\"version\":{},\"collect_s\":{:.3f},\"publish_s\":{:.3f},\"spilled_bytes\":{},\"anonymous_bytes\":"
        "{}}}\n",
        ring.publisher().last_commit().version.value(), static_cast<double>(collected_ns - before_ns) / 1e9,
        static_cast<double>(monotonic_ns() - collected_ns) / 1e9,
        ring.publisher().spilled_bytes() - spilled_before, anonymous_bytes);
    std::fflush(stdout);
  }

  static constexpr std::uint64_t kBeatNs = 100'000'000;
};

Result<std::string> read_password(const std::string& password_file) {
  if (password_file.empty()) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): no thread has been started, and none sets the environment.
    const char* from_environment = std::getenv("RINGSIDE_MYSQL_PASSWORD");
    return std::string(from_environment == nullptr ? "" : from_environment);
  }
  std::ifstream file(password_file);
  std::string line;
  if (!std::getline(file, line)) {
    return Error{ErrorKind::kInvalid,
                 fmt::format("--password-file {}: cannot read a line of it", password_file)};
  }
  return line;
}

struct VisibleCommand {
  VisibleOptions options;
  std::string password_file;
  std::string keys = "1..1000";
  std::vector<std::string> replicas;
  std::string reader = "spin";
  double pause_us = 0.0;
  int core = -1;
  bool json = false;

  void add_to(CLI::App& app) {
    app.add_option("--mysql-socket", options.mysql.socket, "unix socket of the database; else host and port");
    app.add_option("--mysql-host", options.mysql.host, "")->capture_default_str();
    app.add_option("--mysql-port", options.mysql.port, "")->capture_default_str();
    app.add_option("--user", options.mysql.user, "who may UPDATE the table")->required();
    app.add_option("--password-file", password_file,
                   "first line; or the environment's RINGSIDE_MYSQL_PASSWORD");
    app.add_option("--database", options.mysql.database, "")->required();
    app.add_option("--table", options.table, "")->capture_default_str()->required();
    app.add_option("--key-column", options.key_column, "")->capture_default_str()->required();
    app.add_option("--column", options.column, "an integer column; its values are put back at the end")
        ->required();
    app.add_option("--keys", keys, "the rows are chosen evenly from these")->capture_default_str();
    app.add_option("--rows", options.rows, "how many rows are updated in turn")->capture_default_str();
    app.add_option(
           "--replica", replicas,
           "name=http://127.0.0.1:8080/v1/products/{key}, or name=unix:/path,http://…; several are compared "
           "commit by commit")
        ->required();
    app.add_option("--commits", options.commits, "in all")->capture_default_str();
    app.add_option("--warmup", options.warmup, "commits before those")->capture_default_str();
    app.add_option("--first-value", options.first_value, "commit i writes this + i")->capture_default_str();
    app.add_option("--reader", reader, "spin or sleep for an answer")
        ->check(CLI::IsMember({"spin", "sleep"}))
        ->capture_default_str();
    app.add_option("--pause-us", pause_us, "between commits")->capture_default_str();
    app.add_option("--core", core, "run on this core");
    app.add_flag("--json", json, "JSON for scripts");
  }

  Result<NamedReplica> parse_replica(const std::string& text, const KeySet& key_set) const {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return Error{ErrorKind::kInvalid, fmt::format("--replica {}: name=URL is expected", text)};
    }
    std::string url = text.substr(equals + 1);
    std::string unix_socket;
    if (url.starts_with("unix:")) {
      const std::size_t comma = url.find(',');
      if (comma == std::string::npos) {
        return Error{ErrorKind::kInvalid,
                     fmt::format("--replica {}: name=unix:/path,http://… is expected", text)};
      }
      unix_socket = url.substr(5, comma - 5);
      url.erase(0, comma + 1);
    }
    RINGSIDE_ASSIGN(RequestPlan plan, RequestPlan::make(url, {}, key_set, unix_socket));
    return NamedReplica{text.substr(0, equals), std::move(plan)};
  }

  int run() {
    if (const auto placed = run_on_core(core); !placed) return report_error(placed.error());
    auto secret = read_password(password_file);
    if (!secret) return report_error(secret.error());
    options.mysql.password = std::move(secret).value();
    const auto key_set = KeySet::parse(keys);
    if (!key_set) return report_error(key_set.error());
    std::vector<NamedReplica> named;
    for (const std::string& text : replicas) {
      auto replica = parse_replica(text, *key_set);
      if (!replica) return report_error(replica.error());
      named.push_back(std::move(replica).value());
    }
    options.spin = reader == "spin";
    options.pause_ns = static_cast<std::uint64_t>(pause_us * 1000.0);
    const auto reports = run_visible(named, *key_set, options);
    if (!reports) return report_error(reports.error());
    fmt::print("{}", json ? to_json(*reports) : to_text(*reports));
    return 0;
  }
};

struct CommandsCommand {
  CommandsOptions options;
  std::string way = "http";
  std::string password_file;
  double seconds = 3.0;
  double warmup = 0.5;

  void add_to(CLI::App& app) {
    app.add_option("--way", way,
                   "http: by the writer; connector: without; marker: without, with the marker row")
        ->check(CLI::IsMember({"http", "connector", "marker"}))
        ->capture_default_str();
    app.add_option("--url", options.url, "the writer's")->capture_default_str();
    app.add_option("--mysql-socket", options.mysql.socket, "unix socket of the database; else host and port");
    app.add_option("--mysql-host", options.mysql.host, "")->capture_default_str();
    app.add_option("--mysql-port", options.mysql.port, "")->capture_default_str();
    app.add_option("--user", options.mysql.user, "who may UPDATE the table");
    app.add_option("--password-file", password_file,
                   "first line; or the environment's RINGSIDE_MYSQL_PASSWORD");
    app.add_option("--database", options.mysql.database, "");
    app.add_option("--table", options.table, "")->required();
    app.add_option("--key-column", options.key_column, "an integer key")->capture_default_str();
    app.add_option("--column", options.column, "an integer column; its values are lost")->required();
    app.add_option("--rows", options.rows, "of keys 1 to this")->capture_default_str();
    app.add_option("--clients", options.clients, "threads, each with a connection")->capture_default_str();
    app.add_option("--seconds", seconds, "of measuring")->capture_default_str();
    app.add_option("--warmup", warmup, "seconds before measuring")->capture_default_str();
    app.add_option("--writer-pid", options.writer_pid, "measure this process's CPU time");
  }

  int run() {
    const auto parsed = parse_command_way(way);
    if (!parsed) return report_error(parsed.error());
    options.way = *parsed;
    auto secret = read_password(password_file);
    if (!secret) return report_error(secret.error());
    options.mysql.password = std::move(secret).value();
    options.warmup_ns = to_ns(warmup);
    options.measure_ns = to_ns(seconds);
    const auto report = run_commands(options);
    if (!report) return report_error(report.error());
    fmt::print("{}", to_json(*report, options));
    return 0;
  }
};

int run(int argc, char** argv) {
  CLI::App app{
      "Measures Ringside: throughput, CPU time a request, latency. docs/performance.md has the method."};
  app.set_version_flag("--version", RINGSIDE_VERSION);
  app.require_subcommand(1);
  ResponderCommand responder;
  LoadCommand load;
  RingCommand ring;
  VisibleCommand visible;
  CommandsCommand commands;
  CLI::App* responder_app = app.add_subcommand("responder", "the yardstick: a bare io_uring HTTP responder");
  CLI::App* load_app = app.add_subcommand("load", "the load generator");
  CLI::App* ring_app =
      app.add_subcommand("ring", "a ring of made-up rows, to measure a replica without a database");
  CLI::App* visible_app = app.add_subcommand("visible", "commit-to-visible latency against a running system");
  CLI::App* commands_app =
      app.add_subcommand("commands", "commands by the writer, or the same statements by Connector/C++ alone");
  responder.add_to(*responder_app);
  load.add_to(*load_app);
  ring.add_to(*ring_app);
  visible.add_to(*visible_app);
  commands.add_to(*commands_app);
  CLI11_PARSE(app, argc, argv);
  if (responder_app->parsed()) return responder.run();
  if (load_app->parsed()) return load.run();
  if (ring_app->parsed()) return ring.run();
  if (commands_app->parsed()) return commands.run();
  return visible.run();
}

}  // namespace
}  // namespace ringside::bench

int main(int argc, char** argv) {
  try {
    return ringside::bench::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "ringside-bench: {}\n", error.what());
    return 1;
  }
}
