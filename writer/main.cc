// ringside-writer: commands to MySQL, binlog to ring. Wiring only.

#include <build_commit.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <exception>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>

#include "base/config.h"
#include "base/log.h"
#include "shm/ring_writer.h"
#include "writer/capture/capture.h"
#include "writer/capture/capture_status.h"
#include "writer/capture/history.h"
#include "writer/commands/command_service.h"
#include "writer/commands/http_server.h"

namespace ringside::writer {
namespace {

constexpr const char* kPurpose =
    R"(Keeps the ring in shared memory equal to a MariaDB database, and takes commands for
that database over HTTP. One a ring; it may be stopped and started at any time.
Replicas (ringside-replica) answer queries from the ring.)";
constexpr const char* kMore =
    R"(The server's settings and privileges are checked first; what is wrong is named with
the SQL that mends it. RINGSIDE_MYSQL_PASSWORD is the password when the configuration
has none. SIGTERM, SIGINT: commands under way are finished, the ring stays.

Exit codes: 0 ended as asked; 1 cannot go on, the last line of the log says why;
2 log format or level unknown; above 100 wrong command line.
Settings, metrics, runbook: docs/operating.md. Commands: docs/http.md.)";

struct Arguments {
  std::string config;
  std::string log_format = "text";
  std::string log_level = "info";
};

// Blocks SIGTERM and SIGINT in this thread and all it starts, and returns a descriptor that reads them.
UniqueFd block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC));
}

// Waits for a signal, or for capture's end.
void wait_for_end(int signals, int capture_ended) {
  pollfd fds[2] = {{signals, POLLIN, 0}, {capture_ended, POLLIN, 0}};
  while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
}

Result<void> run(const Arguments& arguments) {
  RINGSIDE_ASSIGN(Config config, load_config(arguments.config));
  RINGSIDE_TRY(prepare_writer(config));
  const UniqueFd signals = block_signals();
  const UniqueFd capture_ended(::eventfd(0, EFD_CLOEXEC));

  shm::RingOptions ring;
  ring.directory = config.ring.directory;
  ring.name = config.ring.name;
  // A ring.directory that is not there yet is waited for, like the database: capture says so on /readyz.
  Result<UniqueFd> ring_lock = shm::lock_ring(ring);
  if (!ring_lock && ring_lock.error().kind != ErrorKind::kNotFound) return ring_lock.error();

  CommandTracker tracker;
  SchemaView schema;
  Capture::Dependencies dependencies{
      &tracker, &schema, [&config](const std::string& lost) { return source_history(config.mysql, lost); }};
  Capture capture(config, ring_lock ? std::move(*ring_lock) : UniqueFd(), std::move(dependencies));
  const CaptureStatusPage status(
      capture,
      {{"ringside-writer", RINGSIDE_VERSION, RINGSIDE_COMMIT}, config.ring.name, config.mysql.database});
  CommandService service(config.mysql, config.writer, tracker);
  RINGSIDE_ASSIGN(const std::unique_ptr<HttpServer> server,
                  HttpServer::start(config.writer, {service, schema, tracker, status}));
  log_info("writer listens", {{"port", server->port()}, {"ring", ring.directory + "/" + ring.name}});

  Result<void> outcome;
  std::thread thread([&] {
    outcome = capture.run();
    const std::uint64_t one = 1;
    RINGSIDE_ASSERT(::write(capture_ended.get(), &one, sizeof one) == sizeof one);
  });
  wait_for_end(signals.get(), capture_ended.get());
  log_info("writer stops");
  server->stop();  // commands under way are finished first: they still need the stream for their version
  capture.stop();
  thread.join();
  service.stop();
  return outcome;
}

}  // namespace
}  // namespace ringside::writer

int main(int argc, char** argv) {
  ringside::writer::Arguments arguments;
  CLI::App app{ringside::writer::kPurpose};
  app.name("ringside-writer");
  app.footer(ringside::writer::kMore);
  app.set_version_flag("--version", "ringside-writer " RINGSIDE_VERSION);
  app.add_option("--config", arguments.config, "The configuration file (TOML)")
      ->required()
      ->type_name("FILE");
  app.add_option("--log-format", arguments.log_format, "Of standard error: text or json")
      ->capture_default_str()
      ->type_name("FORMAT");
  app.add_option("--log-level", arguments.log_level,
                 "The least that is logged: debug, info, warning or error")
      ->capture_default_str()
      ->type_name("LEVEL");
  CLI11_PARSE(app, argc, argv);

  const auto format = ringside::parse_log_format(arguments.log_format);
  const auto level = ringside::parse_log_level(arguments.log_level);
  if (!format || !level) {
    fmt::print(stderr, "ringside-writer: {}\n", !format ? format.error().message : level.error().message);
    return 2;
  }
  ringside::init_logging(*format, *level);
  try {
    const ringside::Result<void> ended = ringside::writer::run(arguments);
    if (ended) return 0;
    ringside::log_error("writer cannot go on", {{"reason", ended.error().message}});
  } catch (const std::exception& e) {
    ringside::log_error("writer cannot go on", {{"reason", e.what()}});
  }
  return 1;
}
