#include "tests/support/mariadb_server.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <system_error>

#include "base/unique_fd.h"
#include "tests/support/child_process.h"

namespace ringside::testing {
namespace fs = std::filesystem;
namespace {

// The data directory depends on it: the same at its making and at every start.
constexpr const char* kLayoutSetting = "innodb-log-file-size=16M";

std::vector<std::string> install_command(const fs::path& data) {
  std::vector<std::string> command = {"mariadb-install-db", "--no-defaults", "--datadir=" + data.string(),
                                      "--auth-root-authentication-method=normal", "--skip-test-db",
                                      // A machine that cannot look its own name up is no reason to stop.
                                      "--force", std::string("--") + kLayoutSetting};
  if (::geteuid() == 0) command.emplace_back("--user=root");
  return command;
}

fs::path empty_data() {
  constexpr std::chrono::minutes kPatience{2};
  const fs::path made = fs::path(RINGSIDE_MARIADB_TEMPLATE);
  fs::create_directories(made.parent_path());
  const fs::path lock_path = made.string() + ".lock";
  const UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0) {
    throw std::system_error(errno, std::generic_category(), "locking " + lock_path.string());
  }
  if (fs::exists(made)) return made;
  const fs::path half_made = made.string() + ".new";
  const fs::path log = made.string() + ".log";
  fs::remove_all(half_made);
  fs::remove(log);
  int status = 0;
  const pid_t pid = spawn(install_command(half_made), log);
  if (!wait_for_child(pid, kPatience, status) || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw std::runtime_error("mariadb-install-db failed (package mariadb-server-core):\n" + tail_of(log, 20));
  }
  fs::rename(half_made, made);
  return made;
}

ServerKind kind() {
  ServerKind kind{"mariadbd", "mariadbd", "mariadbd", {}, empty_data()};
  kind.settings = {kLayoutSetting,
                   "innodb-buffer-pool-size=64M",
                   "performance-schema=OFF",
                   "character-set-server=utf8mb4",
                   "log-bin=binlog",
                   "server-id=1",
                   "binlog-format=ROW",
                   "binlog-row-image=FULL",
                   "binlog-row-metadata=FULL",
                   "gtid-strict-mode=ON",
                   "sync-binlog=1",
                   "innodb-flush-log-at-trx-commit=1"};
  if (::geteuid() == 0) kind.settings.emplace_back("user=root");
  return kind;
}

}  // namespace

MariadbServer::MariadbServer() : MariadbServer(Options{}) {}

MariadbServer::MariadbServer(Options options) : DatabaseServer(kind(), std::move(options)) {}

}  // namespace ringside::testing
