// ringside-writer: commands to MySQL, binlog to ring. Wiring only.

#include <build_commit.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>

#include "base/config.h"
#include "base/log.h"
#include "base/program.h"
#include "shm/ring_writer.h"
#include "writer/capture/capture.h"
#include "writer/capture/capture_status.h"
#include "writer/capture/history.h"
#include "writer/capture/live_settings.h"
#include "writer/commands/command_service.h"
#include "writer/commands/http_server.h"

namespace ringside::writer {
namespace {

constexpr const char* kPurpose =
    R"(Keeps the ring in shared memory equal to a MySQL or MariaDB database, and takes
commands for that database over HTTP. One a ring; it may be stopped and started at any
time. Replicas (ringside-replica) answer queries from the ring.)";
constexpr const char* kMore =
    R"(The server's settings and privileges are checked first; what is wrong is named with
the SQL that mends it. RINGSIDE_MYSQL_PASSWORD is the password when the configuration
has none. SIGTERM, SIGINT: commands under way are finished, the ring stays. SIGHUP: the
file is read again, and limits of the ring that it changes count at once.

Exit codes: 0 ended as asked; 1 cannot go on, the last line of the log says why;
above 100 wrong command line.
Settings, metrics, runbook: docs/operating.md. Commands: docs/http.md.)";

// Waits for a signal to end, or for capture's end. SIGHUP: the file is read again.
void wait_for_end(const UniqueFd& signals, const UniqueFd& capture_ended, LiveSettings& settings,
                  Capture& capture) {
  for (;;) {
    pollfd fds[2] = {{signals.get(), POLLIN, 0}, {capture_ended.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno == EINTR) continue;
    if (fds[1].revents != 0) return;
    const int number = next_signal(signals);
    if (number == 0) continue;
    if (number != SIGHUP) return;
    if (const std::optional<RingConfig> changed = settings.reload()) capture.change_limits(*changed);
  }
}

Result<void> run(Config config) {
  LiveSettings settings(config);
  RINGSIDE_TRY(prepare_writer(config));
  RINGSIDE_ASSIGN(const UniqueFd signals, stop_and_reload_signals());
  ::signal(SIGPIPE, SIG_IGN);  // a client or a server that has gone is an error of the call, not the end
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
  wait_for_end(signals, capture_ended, settings, capture);
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
  using namespace ringside;
  CLI::App app(writer::kPurpose, "ringside-writer");
  app.footer(writer::kMore);
  return run_program(app, RINGSIDE_VERSION, argc, argv, writer::run);
}
