#include "tests/support/database_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <mariadb/mysql.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "base/unique_fd.h"
#include "tests/support/child_process.h"

namespace ringside::testing {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::seconds kPatience{120};

[[noreturn]] void fail_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

fs::path make_directory(const std::string& name) {
  std::string path = "/tmp/ringside-" + name + "-XXXXXX";
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

struct DatabaseServer::Session {
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

DatabaseServer::DatabaseServer(ServerKind kind, Options options)
    : kind_(std::move(kind)), directory_(make_directory(kind_.name)), options_(std::move(options)) {
  socket_ = directory_ / "s";
  try {
    fs::copy(kind_.empty_data, data_directory(), fs::copy_options::recursive);
    start();
  } catch (const std::exception&) {
    if (pid_ > 0) kill();
    fs::remove_all(directory_);
    throw;
  }
}

// Nothing of it is kept, so it need not end in order: MySQL takes seconds for that, ten while a stream is read.
DatabaseServer::~DatabaseServer() {
  try {
    kill();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  std::error_code ignored;  // files left in /tmp are no reason to end a test
  fs::remove_all(directory_, ignored);
}

void DatabaseServer::write_option_file() {
  std::ofstream out(directory_ / "my.cnf", std::ios::trunc);
  out << "[" << kind_.option_group << "]\n"
      << "datadir=" << data_directory().string() << "\nsocket=" << socket_ << "\n"
      << "pid-file=" << (directory_ / "pid").string() << "\nlog-error=" << (directory_ / "log").string()
      << "\n"
      << "tmpdir=" << directory_.string() << "\n";
  if (options_.tcp) {
    out << "bind-address=127.0.0.1\nport=" << port_ << "\n";
  } else {
    out << "skip-networking\n";
  }
  for (const std::string& setting : kind_.settings) out << setting << "\n";
  for (const std::string& setting : options_.settings) out << setting << "\n";
  out.flush();
  if (!out) throw std::runtime_error("cannot write the option file in " + directory_.string());
}

void DatabaseServer::start() {
  if (options_.tcp && port_ == 0) port_ = free_loopback_port();
  write_option_file();
  pid_ = spawn({kind_.program, "--defaults-file=" + (directory_ / "my.cnf").string()}, directory_ / "log");
  wait_until_ready();
}

void DatabaseServer::wait_until_ready() {
  constexpr std::chrono::milliseconds kStep{5};
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    session_ = std::make_unique<Session>(socket_);
    if (session_->is_open) return;
    session_.reset();
    int status = 0;
    if (wait_for_child(pid_, kStep, status)) {
      pid_ = -1;
      throw std::runtime_error(kind_.name + " ended while starting:\n" + log_tail());
    }
    if (std::chrono::steady_clock::now() > give_up) {
      throw std::runtime_error(kind_.name + " is not ready after two minutes:\n" + log_tail());
    }
  }
}

void DatabaseServer::wait_for_exit() {
  session_.reset();
  int status = 0;
  if (!wait_for_child(pid_, kPatience, status)) {
    throw std::runtime_error(kind_.name + " does not stop:\n" + log_tail());
  }
  pid_ = -1;
}

void DatabaseServer::stop() {
  if (pid_ < 0) return;
  session_.reset();
  ::kill(pid_, SIGTERM);
  ::kill(pid_, SIGCONT);  // it may be frozen
  wait_for_exit();
}

void DatabaseServer::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  wait_for_exit();
}

void DatabaseServer::freeze() {
  ::kill(pid_, SIGSTOP);
}
void DatabaseServer::thaw() {
  ::kill(pid_, SIGCONT);
}

void DatabaseServer::restart() {
  stop();
  start();
}

void DatabaseServer::restart(std::vector<std::string> settings) {
  options_.settings = std::move(settings);
  restart();
}

MysqlConfig DatabaseServer::config(std::string database) const {
  MysqlConfig config;
  config.socket = socket_;
  config.user = "root";
  config.database = std::move(database);
  return config;
}

DatabaseServer::Session& DatabaseServer::session() {
  if (session_ == nullptr || !session_->is_open) throw std::runtime_error("the server is not running");
  return *session_;
}

void DatabaseServer::sql_all(const std::vector<std::string>& statements) {
  for (const std::string& statement : statements) session().run(statement);
}

void DatabaseServer::sql(std::string_view statement) {
  session().run(statement);
}

std::vector<std::vector<std::string>> DatabaseServer::query(std::string_view statement) {
  return session().run(statement);
}

std::string DatabaseServer::query_value(std::string_view statement) {
  const auto rows = query(statement);
  if (rows.empty() || rows.front().empty()) throw std::runtime_error(fmt::format("no row: {}", statement));
  return rows.front().front();
}

void DatabaseServer::purge_binlogs() {
  sql("FLUSH BINARY LOGS");
  const std::string newest = query("SHOW BINARY LOGS").back().front();
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  do {
    sql("PURGE BINARY LOGS TO '" + newest + "'");
    if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("the binlog cannot be purged");
  } while (query("SHOW BINARY LOGS").size() > 1);
}

std::string DatabaseServer::log_tail() const {
  return tail_of(directory_ / "log", 30);
}

}  // namespace ringside::testing
