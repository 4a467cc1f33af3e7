// ringside-replica: serves the ring that a writer keeps on this host.
#include <build_commit.h>

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

#include "base/config.h"
#include "base/log.h"
#include "base/program.h"
#include "base/unique_fd.h"
#include "replica/server.h"
#include "shm/ring_files.h"

namespace ringside::replica {
namespace {

constexpr const char* kPurpose =
    R"(Answers HTTP/JSON queries from the ring that a ringside-writer keeps on this host.
Needs no database. Up to 64 share a ring and a port: one for each core that answers.)";
constexpr const char* kMore =
    R"(It listens while it can answer; the admin port (replica.admin_port + index, with
/status, /readyz, /metrics) is there from the beginning. SIGTERM, SIGINT: answers what
is in flight and ends; a second one ends it at once. To restart one without a refused
connection start its successor beside it with --take-over (deploy/restart_replica.py).

Exit codes: 0 ended as asked; 1 cannot go on, the last line of the log says why;
above 100 wrong command line.
Settings, metrics, runbook: docs/operating.md. Questions: docs/http.md.)";

struct Arguments {
  unsigned index = 0;
  bool takes_over = false;
};

Result<void> run(const Config& config, const Arguments& arguments) {
  RINGSIDE_TRY(shm::survive_missing_pages());
  RINGSIDE_ASSIGN(const UniqueFd signals, stop_signals());
  ServerOptions options;
  options.ring_directory = config.ring.directory;
  options.ring_name = config.ring.name;
  options.config = config.replica;
  options.commit = RINGSIDE_COMMIT;
  options.index = arguments.index;
  options.stop_fd = signals.get();
  options.handover_name = handover_name(options.ring_directory + "/" + options.ring_name, options.index);
  options.takes_over = arguments.takes_over;
  if (config.replica.admin_port != 0) {
    const unsigned port = config.replica.admin_port + arguments.index;
    if (port > 65535) {
      return Error{ErrorKind::kInvalid, "replica.admin_port plus --index is " + std::to_string(port) +
                                            ", beyond the last port: choose a lower admin_port"};
    }
    options.admin_port = static_cast<std::uint16_t>(port);
  }
  RINGSIDE_ASSIGN(const std::unique_ptr<Server> server, Server::create(options));
  log_info("replica starts", {{"ring", options.ring_directory + "/" + options.ring_name},
                              {"index", options.index},
                              {"admin_port", server->admin_port()}});
  return server->run();
}

}  // namespace
}  // namespace ringside::replica

int main(int argc, char** argv) {
  using namespace ringside;
  replica::Arguments arguments;
  CLI::App app(replica::kPurpose, "ringside-replica");
  app.footer(replica::kMore);
  app.add_option("--index", arguments.index,
                 "Which of the host's replicas this is: chooses the admin port and fills {index}")
      ->capture_default_str()
      ->check(CLI::Range(0u, 63u));
  app.add_flag(
      "--take-over", arguments.takes_over,
      "Join first, then get the listening sockets of the replica of this index that runs; that one ends");
  return run_program(app, std::string(replica::kProgramVersion), argc, argv,
                     [&](const Config& config) { return replica::run(config, arguments); });
}
