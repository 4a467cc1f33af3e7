#include "bench/commands.h"

#include <cppconn/connection.h>
#include <cppconn/driver.h>
#include <cppconn/exception.h>
#include <cppconn/prepared_statement.h>
#include <cppconn/statement.h>
#include <fmt/format.h>
#include <mysql_driver.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "bench/errno_text.h"
#include "bench/process_cpu.h"
#include "bench/request_plan.h"
#include "bench/response_reader.h"

namespace ringside::bench {
namespace {

// One client's way to change a row.
class Worker {
 public:
  virtual ~Worker() = default;
  virtual Result<void> change(std::uint64_t key, std::uint64_t value) = 0;
};

class HttpWorker final : public Worker {
 public:
  static Result<std::unique_ptr<Worker>> open(const CommandsOptions& options) {
    RINGSIDE_ASSIGN(const Url url, parse_url(options.url + "/"));
    Endpoint endpoint;
    endpoint.tcp = url.address;
    RINGSIDE_ASSIGN(const int fd, endpoint.connect());
    return std::unique_ptr<Worker>(new HttpWorker(fd, url.authority, options));
  }

  Result<void> change(std::uint64_t key, std::uint64_t value) override {
    const std::string body = fmt::format(R"({{"{}":{}}})", options_.column, value);
    const std::string request = fmt::format(
        "PATCH /v1/{}/{} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: "
        "{}\r\n\r\n{}",
        options_.table, key, authority_, body.size(), body);
    if (::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      return Error{ErrorKind::kIo, "sending to the writer: " + errno_text(errno)};
    }
    for (;;) {
      const ssize_t size = ::recv(fd_.get(), bytes_.data(), bytes_.size(), 0);
      if (size <= 0) return Error{ErrorKind::kUnavailable, "the writer has closed the connection"};
      std::string_view input(bytes_.data(), static_cast<std::size_t>(size));
      Response response;
      const ReadStep step = reader_.next(input, response);
      if (step == ReadStep::kNeedMore) continue;
      if (step == ReadStep::kResponse && response.status == 200) return {};
      return Error{ErrorKind::kUnavailable,
                   fmt::format("the writer answered {}: {}", response.status,
                               std::string_view(bytes_.data(), static_cast<std::size_t>(size)))};
    }
  }

 private:
  HttpWorker(int fd, std::string authority, const CommandsOptions& options)
      : fd_(fd), authority_(std::move(authority)), options_(options) {}

  UniqueFd fd_;
  std::string authority_;
  const CommandsOptions& options_;
  ResponseReader reader_;
  std::array<char, 8192> bytes_;
};

class ConnectorWorker final : public Worker {
 public:
  explicit ConnectorWorker(const CommandsOptions& options) : marks_(options.way == CommandWay::kMarker) {
    const MysqlAddress& to = options.mysql;
    sql::ConnectOptionsMap map;
    map["hostName"] = sql::SQLString(to.socket.empty() ? "tcp://" + to.host : "unix://" + to.socket);
    if (to.socket.empty()) map["port"] = static_cast<int>(to.port);
    map["userName"] = sql::SQLString(to.user);
    map["password"] = sql::SQLString(to.password);
    map["schema"] = sql::SQLString(to.database);
    connection_.reset(sql::mysql::get_driver_instance()->connect(map));
    run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    run("SET SESSION autocommit = 0");
    update_.reset(connection_->prepareStatement(fmt::format(
        "UPDATE `{}` SET `{}` = ? WHERE `{}` = ?", options.table, options.column, options.key_column)));
    mark_.reset(connection_->prepareStatement("INSERT INTO `ringside`.`commands` (`id`) VALUES (UNHEX(?))"));
  }

  Result<void> change(std::uint64_t key, std::uint64_t value) override {
    try {
      update_->setUInt64(1, value);
      update_->setUInt64(2, key);
      if (update_->executeUpdate() != 1)
        return Error{ErrorKind::kNotFound, fmt::format("row {} was not changed", key)};
      if (marks_) {
        mark_->setString(1, fmt::format("{:016x}{:016x}", random_(), random_()));
        mark_->executeUpdate();
      }
      run("COMMIT");
      return {};
    } catch (const sql::SQLException& error) {
      return Error{ErrorKind::kUnavailable, error.what()};
    }
  }

 private:
  void run(const char* text) {
    const std::unique_ptr<sql::Statement> statement(connection_->createStatement());
    statement->execute(text);
  }

  std::unique_ptr<sql::Connection> connection_;  // outlives its statements
  std::unique_ptr<sql::PreparedStatement> update_;
  std::unique_ptr<sql::PreparedStatement> mark_;
  std::mt19937_64 random_{std::random_device{}()};
  bool marks_;
};

Result<std::unique_ptr<Worker>> open_worker(const CommandsOptions& options) {
  if (options.way == CommandWay::kHttp) return HttpWorker::open(options);
  try {
    return std::unique_ptr<Worker>(new ConnectorWorker(options));
  } catch (const sql::SQLException& error) {
    return Error{ErrorKind::kUnavailable, fmt::format("connecting to the database: {}", error.what())};
  }
}

// What the clients share. `phase` starts and ends the measuring for all at once.
struct Run {
  enum Phase : int { kWarmingUp, kMeasuring, kEnded };
  std::atomic<int> phase{kWarmingUp};  // nothing else is published by it: relaxed
  std::atomic<unsigned> ready{0};      // likewise
  std::mutex mutex;
  Histogram latency_ns;        // under mutex
  std::optional<Error> error;  // under mutex; the first one

  void fail(Error what) {
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(what);
    phase.store(kEnded, std::memory_order_relaxed);
  }
};

void work(const CommandsOptions& options, unsigned client, Run& run) {
  auto worker = open_worker(options);
  run.ready.fetch_add(1, std::memory_order_relaxed);
  if (!worker) return run.fail(worker.error());
  Histogram latency_ns;
  // Values that differ from run to run: a row that is set to what it has is not written.
  std::uint64_t value = std::random_device{}() % 1'000'000'000;
  const std::uint64_t own_rows = options.rows / options.clients;
  for (std::uint64_t i = 0;; ++i) {
    const int before = run.phase.load(std::memory_order_relaxed);
    if (before == Run::kEnded) break;
    const std::uint64_t start_ns = monotonic_ns();
    const auto done = (*worker)->change(1 + client + i % own_rows * options.clients, ++value);
    if (!done) return run.fail(done.error());
    if (before == Run::kMeasuring && run.phase.load(std::memory_order_relaxed) == Run::kMeasuring)
      latency_ns.record(monotonic_ns() - start_ns);
  }
  const std::lock_guard lock(run.mutex);
  run.latency_ns.merge(latency_ns);
}

struct CpuTimes {
  std::uint64_t at_ns = 0;
  std::uint64_t own_ns = 0;
  std::uint64_t writer_ns = 0;
};

Result<CpuTimes> read_times(pid_t writer) {
  CpuTimes out;
  RINGSIDE_ASSIGN(out.own_ns, process_cpu_ns(::getpid()));
  if (writer != 0) {
    RINGSIDE_ASSIGN(out.writer_ns, process_cpu_ns(writer));
  }
  out.at_ns = monotonic_ns();
  return out;
}

Result<CommandsReport> measure(const CommandsOptions& options, Run& run) {
  // Connecting is not measured: however long it takes.
  while (run.ready.load(std::memory_order_relaxed) < options.clients)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::nanoseconds(options.warmup_ns));
  RINGSIDE_ASSIGN(const CpuTimes before, read_times(options.writer_pid));
  int expected = Run::kWarmingUp;
  run.phase.compare_exchange_strong(expected, Run::kMeasuring, std::memory_order_relaxed);
  std::this_thread::sleep_for(std::chrono::nanoseconds(options.measure_ns));
  RINGSIDE_ASSIGN(const CpuTimes after, read_times(options.writer_pid));
  run.phase.store(Run::kEnded, std::memory_order_relaxed);
  CommandsReport report;
  report.seconds = static_cast<double>(after.at_ns - before.at_ns) / 1e9;
  report.own_cpu_us = static_cast<double>(after.own_ns - before.own_ns) / 1e3;
  report.writer_cpu_us = static_cast<double>(after.writer_ns - before.writer_ns) / 1e3;
  return report;
}

}  // namespace

Result<CommandWay> parse_command_way(std::string_view text) {
  for (const CommandWay way : {CommandWay::kHttp, CommandWay::kConnector, CommandWay::kMarker}) {
    if (to_string(way) == text) return way;
  }
  return Error{ErrorKind::kInvalid, fmt::format("'{}' is no way: http, connector or marker", text)};
}

std::string_view to_string(CommandWay way) {
  switch (way) {
    case CommandWay::kHttp:
      return "http";
    case CommandWay::kConnector:
      return "connector";
    case CommandWay::kMarker:
      break;
  }
  return "marker";
}

Result<CommandsReport> run_commands(const CommandsOptions& options) {
  if (options.clients == 0 || options.rows < options.clients)
    return Error{ErrorKind::kInvalid, "at least one client, and a row for each"};
  sql::mysql::get_driver_instance();  // once, before there are threads
  Run run;
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < options.clients; ++i)
    clients.emplace_back([&, i] {
      sql::mysql::get_driver_instance()->threadInit();
      work(options, i, run);
      sql::mysql::get_driver_instance()->threadEnd();
    });
  auto report = measure(options, run);
  run.phase.store(Run::kEnded, std::memory_order_relaxed);
  for (std::thread& client : clients) client.join();
  if (run.error) return *run.error;
  if (!report) return report;
  if (run.latency_ns.count() == 0)
    return Error{ErrorKind::kUnavailable, "not one command ended within the measuring"};
  const auto count = static_cast<double>(run.latency_ns.count());
  report->latency_ns = run.latency_ns;
  report->own_cpu_us /= count;
  report->writer_cpu_us /= count;
  return report;
}

std::string to_json(const CommandsReport& report, const CommandsOptions& options) {
  const Histogram& latency = report.latency_ns;
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  return fmt::format(
      "{{\"way\":\"{}\",\"clients\":{},\"commands\":{},\"seconds\":{:.3f},\"commands_per_second\":{:.1f},"
      "\"p50_us\":{:.1f},\"p99_us\":{:.1f},\"mean_us\":{:.1f},\"max_us\":{:.1f},\"own_cpu_us\":{:.2f},"
      "\"writer_cpu_us\":{:.2f}}}\n",
      to_string(options.way), options.clients, latency.count(), report.seconds,
      static_cast<double>(latency.count()) / report.seconds, us(latency.quantile(0.5)),
      us(latency.quantile(0.99)), latency.mean() / 1e3, us(latency.max()), report.own_cpu_us,
      report.writer_cpu_us);
}

}  // namespace ringside::bench
