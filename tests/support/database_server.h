// DatabaseServer: a private database server for one test, MariaDB or MySQL (mariadb_server.h, mysql_server.h).
//
// Its own data directory and unix socket under a new directory in /tmp, binlog settings as exact capture
// needs them, no TCP port unless asked. The empty data directory is made once and copied. Started by the
// constructor (which throws with the server's log when that fails), killed in the destructor, files removed.
//
// Threads: one.   Ownership: owns process and directory.   Errors: std::runtime_error with the log's tail.
// Limits: waits at most two minutes for the server to start or stop.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"

namespace ringside::testing {

// What the two servers differ in, as far as starting one is concerned.
struct ServerKind {
  std::string name;          // "mariadbd": for messages and file names
  std::string program;       // takes --defaults-file=… first
  std::string option_group;  // of the option file
  std::vector<std::string> settings;
  std::filesystem::path empty_data;  // to copy
};

class DatabaseServer {
 public:
  struct Options {
    // Lines of the option file after the defaults, winning over them: "binlog_format=MIXED", "skip-log-bin".
    std::vector<std::string> settings;
    bool tcp = false;  // also listen on a free loopback port
  };

  virtual ~DatabaseServer();
  DatabaseServer(const DatabaseServer&) = delete;
  DatabaseServer& operator=(const DatabaseServer&) = delete;

  virtual bool is_mysql() const = 0;

  // Ends the server cleanly and starts it again on the same data, with these settings instead.
  void restart(std::vector<std::string> settings);
  void restart();
  void stop();   // SIGTERM, and waits
  void kill();   // SIGKILL, and waits: a crash
  void start();  // after stop() or kill()
  // Stops and continues the whole process (SIGSTOP, SIGCONT): a server that hangs with its connections open.
  void freeze();
  void thaw();

  const std::string& socket() const { return socket_; }
  std::uint16_t port() const { return port_; }
  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path data_directory() const { return directory_ / "data"; }
  pid_t pid() const { return pid_; }
  // User root without a password, over the socket.
  MysqlConfig config(std::string database) const;

  // Runs the statements as root in one session (through the server's own client library); throws on the first
  // error.
  void sql_all(const std::vector<std::string>& statements);
  void sql(std::string_view statement);
  // The rows of a query, NULL as "NULL".
  std::vector<std::vector<std::string>> query(std::string_view statement);
  std::string query_value(std::string_view statement);

  // Leaves the newest binlog file only. The server keeps older ones until its engine has no use for them, so this
  // asks again until it is done.
  void purge_binlogs();

  std::string log_tail() const;

 protected:
  DatabaseServer(ServerKind kind, Options options);

 private:
  struct Session;

  void write_option_file();
  void wait_until_ready();
  void wait_for_exit();
  Session& session();

  ServerKind kind_;
  std::filesystem::path directory_;
  std::string socket_;
  Options options_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
  std::unique_ptr<Session> session_;
};

}  // namespace ringside::testing
