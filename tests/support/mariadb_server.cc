#include "tests/support/mariadb_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <mariadb/mysql.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "base/unique_fd.h"

namespace ringside::testing {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::seconds kPatience{60};

[[noreturn]] void fail_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// Starts a program with its output appended to a file. The child dies with this process, whatever ends it.
pid_t spawn(const std::vector<std::string>& command, const fs::path& log) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);
  const UniqueFd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!out) fail_errno("opening " + log.string());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail_errno("fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::setpgid(0, 0);  // Ctrl-C is for the test, which stops its server in order
    ::dup2(out.get(), STDOUT_FILENO);
    ::dup2(out.get(), STDERR_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  return pid;
}

// True when the child has ended within the time; `status` is then waitpid's.
bool wait_for_child(pid_t pid, std::chrono::milliseconds patience, int& status) {
  const UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) fail_errno("pidfd_open");
  pollfd waited{fd.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&waited, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) return false;
  return ::waitpid(pid, &status, 0) == pid;
}

std::string tail_of(const fs::path& file, std::size_t lines) {
  std::ifstream in(file);
  std::deque<std::string> last;
  for (std::string line; std::getline(in, line);) {
    last.push_back(line);
    if (last.size() > lines) last.pop_front();
  }
  std::string text;
  for (const std::string& line : last) text.append(line).push_back('\n');
  return text;
}

// Settings of which the data directory itself depends; the same at its making and at every start.
const std::vector<std::string>& layout_settings() {
  static const std::vector<std::string> settings = {"innodb-log-file-size=16M"};
  return settings;
}

// The empty data directory, made by the first test of a build that needs it.
fs::path template_directory() {
  const fs::path made = fs::path(RINGSIDE_MARIADB_TEMPLATE);
  fs::create_directories(made.parent_path());
  const fs::path lock_path = made.string() + ".lock";
  const UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0) fail_errno("locking " + lock_path.string());
  if (fs::exists(made)) return made;
  const fs::path half_made = made.string() + ".new";
  const fs::path log = made.string() + ".log";
  fs::remove_all(half_made);
  fs::remove(log);
  std::vector<std::string> command = {"mariadb-install-db", "--no-defaults",
                                      "--datadir=" + half_made.string(),
                                      "--auth-root-authentication-method=normal", "--skip-test-db",
                                      // A machine that cannot look its own name up is no reason to stop.
                                      "--force"};
  if (::geteuid() == 0) command.emplace_back("--user=root");
  for (const std::string& setting : layout_settings()) command.push_back("--" + setting);
  int status = 0;
  const pid_t pid = spawn(command, log);
  if (!wait_for_child(pid, kPatience, status) || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw std::runtime_error("mariadb-install-db failed (package mariadb-server-core):\n" + tail_of(log, 20));
  }
  fs::rename(half_made, made);
  return made;
}

fs::path make_directory() {
  std::string path = "/tmp/ringside-mariadb-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) fail_errno("mkdtemp");
  return path;
}

std::uint16_t free_loopback_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (!fd || ::bind(fd.get(), generic, size) != 0 || ::getsockname(fd.get(), generic, &size) != 0) {
    fail_errno("looking for a free port");
  }
  return ntohs(address.sin_port);
}

}  // namespace

struct MariadbServer::Session {
  explicit Session(const std::string& socket) : mysql(mysql_init(nullptr)) {
    const unsigned protocol = MYSQL_PROTOCOL_SOCKET;
    mysql_optionsv(mysql, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_optionsv(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    is_open = mysql_real_connect(mysql, nullptr, "root", "", nullptr, 0, socket.c_str(), 0) != nullptr;
  }
  ~Session() { mysql_close(mysql); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  std::vector<std::vector<std::string>> run(std::string_view statement) {
    if (mysql_real_query(mysql, statement.data(), statement.size()) != 0) {
      throw std::runtime_error(
          fmt::format("{}: {} ({})", statement.substr(0, 300), mysql_error(mysql), mysql_errno(mysql)));
    }
    std::vector<std::vector<std::string>> rows;
    MYSQL_RES* const result = mysql_store_result(mysql);
    if (result == nullptr) return rows;
    const unsigned width = mysql_num_fields(result);
    while (const MYSQL_ROW row = mysql_fetch_row(result)) {
      const unsigned long* const lengths = mysql_fetch_lengths(result);
      std::vector<std::string>& out = rows.emplace_back();
      for (unsigned i = 0; i < width; ++i) {
        out.push_back(row[i] == nullptr ? std::string("NULL") : std::string(row[i], lengths[i]));
      }
    }
    mysql_free_result(result);
    return rows;
  }

  MYSQL* mysql;
  bool is_open = false;
};

MariadbServer::MariadbServer() : MariadbServer(Options{}) {}

MariadbServer::MariadbServer(Options options) : directory_(make_directory()), options_(std::move(options)) {
  socket_ = directory_ / "s";
  try {
    fs::copy(template_directory(), data_directory(), fs::copy_options::recursive);
    start();
  } catch (const std::exception&) {
    if (pid_ > 0) kill();
    fs::remove_all(directory_);
    throw;
  }
}

MariadbServer::~MariadbServer() {
  try {
    stop();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }
  std::error_code ignored;  // files left in /tmp are no reason to end a test
  fs::remove_all(directory_, ignored);
}

void MariadbServer::write_option_file() {
  std::ofstream out(directory_ / "my.cnf", std::ios::trunc);
  out << "[mariadbd]\n"
      << "datadir=" << data_directory().string() << "\nsocket=" << socket_ << "\n"
      << "pid-file=" << (directory_ / "pid").string() << "\nlog-error=" << (directory_ / "log").string()
      << "\n"
      << "tmpdir=" << directory_.string() << "\n";
  if (::geteuid() == 0) out << "user=root\n";
  if (options_.tcp) {
    out << "bind-address=127.0.0.1\nport=" << port_ << "\n";
  } else {
    out << "skip-networking\n";
  }
  for (const std::string& setting : layout_settings()) out << setting << "\n";
  out << "innodb-buffer-pool-size=64M\nperformance-schema=OFF\ncharacter-set-server=utf8mb4\n"
         "log-bin=binlog\nserver-id=1\nbinlog-format=ROW\nbinlog-row-image=FULL\nbinlog-row-metadata=FULL\n"
         "gtid-strict-mode=ON\nsync-binlog=1\ninnodb-flush-log-at-trx-commit=1\n";
  for (const std::string& setting : options_.settings) out << setting << "\n";
  out.flush();
  if (!out) throw std::runtime_error("cannot write the option file in " + directory_.string());
}

void MariadbServer::start() {
  if (options_.tcp && port_ == 0) port_ = free_loopback_port();
  write_option_file();
  pid_ = spawn({"mariadbd", "--defaults-file=" + (directory_ / "my.cnf").string()}, directory_ / "log");
  wait_until_ready();
}

void MariadbServer::wait_until_ready() {
  constexpr std::chrono::milliseconds kStep{5};
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    session_ = std::make_unique<Session>(socket_);
    if (session_->is_open) return;
    session_.reset();
    int status = 0;
    if (wait_for_child(pid_, kStep, status)) {
      pid_ = -1;
      throw std::runtime_error("mariadbd ended while starting:\n" + log_tail());
    }
    if (std::chrono::steady_clock::now() > give_up) {
      throw std::runtime_error("mariadbd is not ready after a minute:\n" + log_tail());
    }
  }
}

void MariadbServer::wait_for_exit() {
  session_.reset();
  int status = 0;
  if (!wait_for_child(pid_, kPatience, status)) {
    throw std::runtime_error("mariadbd does not stop:\n" + log_tail());
  }
  pid_ = -1;
}

void MariadbServer::stop() {
  if (pid_ < 0) return;
  session_.reset();
  ::kill(pid_, SIGTERM);
  ::kill(pid_, SIGCONT);  // it may be frozen
  wait_for_exit();
}

void MariadbServer::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  wait_for_exit();
}

void MariadbServer::freeze() {
  ::kill(pid_, SIGSTOP);
}
void MariadbServer::thaw() {
  ::kill(pid_, SIGCONT);
}

void MariadbServer::restart() {
  stop();
  start();
}

void MariadbServer::restart(std::vector<std::string> settings) {
  options_.settings = std::move(settings);
  restart();
}

MysqlConfig MariadbServer::config(std::string database) const {
  MysqlConfig config;
  config.socket = socket_;
  config.user = "root";
  config.database = std::move(database);
  return config;
}

MariadbServer::Session& MariadbServer::session() {
  if (session_ == nullptr || !session_->is_open) throw std::runtime_error("the server is not running");
  return *session_;
}

void MariadbServer::sql_all(const std::vector<std::string>& statements) {
  for (const std::string& statement : statements) session().run(statement);
}

void MariadbServer::sql(std::string_view statement) {
  session().run(statement);
}

std::vector<std::vector<std::string>> MariadbServer::query(std::string_view statement) {
  return session().run(statement);
}

std::string MariadbServer::query_value(std::string_view statement) {
  const auto rows = query(statement);
  if (rows.empty() || rows.front().empty()) throw std::runtime_error(fmt::format("no row: {}", statement));
  return rows.front().front();
}

void MariadbServer::purge_binlogs() {
  sql("FLUSH BINARY LOGS");
  const std::string newest = query("SHOW BINARY LOGS").back().front();
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  do {
    sql("PURGE BINARY LOGS TO '" + newest + "'");
    if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("the binlog cannot be purged");
  } while (query("SHOW BINARY LOGS").size() > 1);
}

std::string MariadbServer::log_tail() const {
  return tail_of(directory_ / "log", 30);
}

}  // namespace ringside::testing
