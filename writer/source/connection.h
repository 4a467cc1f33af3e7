// Connection: one session with the database server, over libmariadb.
//
// Made ready by open(): UTC, an empty sql_mode, UTF-8 or raw results (dialect.h), time-outs on connecting,
// reading and writing, TLS as configured and verified to be there. A lost connection stays lost: there is no
// silent reconnect that would lose the session's settings; the owner opens another one. The password reaches
// the library only.
//
// Threads: one at a time, except interrupt() and is_interrupted(), which any thread may call while the object
// lives. Ownership: owns the session; views into results are invalid after the next call. Errors:
// kUnavailable when the server cannot be reached, is gone, or interrupt() was called; kInvalid when it
// refuses
//   a statement or the credentials. The text has the server's number and words; last_error() has the number
//   to decide by.
// Limits: a stored result has at most kMaxStoredRows rows; time-outs have a granularity of one second.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "writer/source/dialect.h"

struct st_mysql;  // libmariadb's MYSQL

namespace ringside::writer {

inline constexpr std::size_t kMaxStoredRows = 4'000'000;

class Connection;

// Ends whatever connections are blocked in, wherever they were opened: for an owner that must be able to stop at any
// moment. Given to each by its options; a connection takes itself out when it goes.
//
// Threads: any. Must outlive its connections.
class Interrupter {
 public:
  // Interrupts all of them, and every later one as soon as it is connected.
  void interrupt();

 private:
  friend class Connection;
  void add(Connection& connection);
  void remove(Connection& connection);

  std::mutex mutex_;
  std::set<Connection*> connections_;  // under mutex_
  bool is_interrupted_ = false;        // under mutex_
};

struct ConnectionOptions {
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds read_timeout{60'000};  // of silence while an answer is awaited
  std::chrono::milliseconds write_timeout{30'000};
  bool raw_text = false;  // results in each column's own bytes
  Interrupter* interrupter = nullptr;
};

// What the server, or the library in its place, said. Numbers from 2000 to 2999 are the library's.
struct SqlError {
  unsigned number = 0;
  std::string sqlstate;
  std::string text;

  bool is_lost_connection() const;
};

using SqlRow = std::vector<std::optional<std::string>>;

class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const MysqlConfig& config,
                                                  const ConnectionOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const ServerVersion& server() const { return server_; }

  // Blocks until the whole answer is there, at most the read time-out for each silence.
  Result<std::vector<SqlRow>> query(std::string_view sql);
  // One row is expected: kNotFound when there is none.
  Result<SqlRow> query_row(std::string_view sql);
  // A statement without rows, or whose rows are of no interest.
  Result<void> execute(std::string_view sql);

  // Ends a blocking call in the owner's thread at once, and every later one. Async-signal-safe; may be called
  // twice.
  void interrupt();
  bool is_interrupted() const { return interrupted_.load(std::memory_order_relaxed); }

  // Of the last call that failed.
  const SqlError& last_error() const { return last_error_; }
  // Takes the library's error as last_error() and makes an Error of it; `doing` says what was attempted.
  Error take_error(std::string_view doing);
  // The same for an error reported elsewhere (a prepared statement's).
  Error take_error(std::string_view doing, unsigned number, std::string_view sqlstate, std::string_view text);

  // For the other files of this folder: the library's handle and the socket (for poll; valid while this
  // lives, also after the library has closed its own).
  st_mysql* handle() { return mysql_.get(); }
  int socket_fd() const { return socket_.get(); }
  bool is_encrypted() const { return encrypted_; }
  // "socket /run/mysqld/mysqld.sock" or "db.example:3306", for messages.
  const std::string& endpoint() const { return endpoint_; }

 private:
  struct Close {
    void operator()(st_mysql* mysql) const;
  };

  Connection() = default;
  Result<void> connect(const MysqlConfig& config, const ConnectionOptions& options);
  Result<void> check_encryption(const MysqlConfig& config);

  std::unique_ptr<st_mysql, Close> mysql_;
  // A duplicate of the library's socket: shutdown() and poll() on it meet this session and no other, even if
  // the library has closed its own and the number serves another file.
  UniqueFd socket_;
  ServerVersion server_;
  SqlError last_error_;
  std::string endpoint_;
  bool encrypted_ = false;
  // Set by any thread, read by the owner; orders nothing: the shutdown of the socket is what wakes.
  std::atomic<bool> interrupted_{false};
  Interrupter* interrupter_ = nullptr;  // that has this connection in its set
};

}  // namespace ringside::writer
