// Session: one MySQL session of the command pool, over Connector/C++.
//
// The one place that the connector's exceptions reach: every function returns a DatabaseStatus instead. A
// session is set up so that the server refuses what it would otherwise bend (strict mode), counts the rows
// that a statement found, not those it changed (so that an update without effect differs from a missing row),
// and never waits for a lock longer than a client would. Isolation is READ COMMITTED: the commands lock the
// rows they name, and gaps would only make neighbours deadlock. Autocommit is off: a transaction begins with
// the first statement.
//
// After a lost connection the session is disconnected, and its statements are gone; connect() makes a new
// one.
//
// Threads: one at a time: the pool's thread that owns it. initialise_driver() once, before any session's
// thread. Ownership: owns connection and statements. Errors: DatabaseStatus, with the server's or client
// library's number. Limits: kMaxStatements prepared statements (least recently used goes first); the
// time-outs below.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/config.h"
#include "writer/commands/sql_value.h"

namespace ringside::writer {

inline constexpr std::size_t kMaxStatements = 256;
inline constexpr std::chrono::seconds kConnectTimeout{3};
inline constexpr std::chrono::seconds kReadTimeout{30};  // silence of the server in the middle of a statement
inline constexpr std::chrono::seconds kLockWaitTimeout{2};  // for row and metadata locks

struct DatabaseError {
  int number = 0;         // the server's (1062) or the client library's (2013)
  std::string sql_state;  // "23000"
  std::string message;
};
using DatabaseStatus = std::optional<DatabaseError>;

// One cell of a result. FLOAT and DOUBLE come as `number`, so that no text conversion takes digits away.
struct Cell {
  bool is_null = false;
  std::string text;  // UTF-8, or a binary column's bytes
  double number = 0;
};
using Row = std::vector<Cell>;

// Loads the client library. Call once before threads start.
void initialise_driver();

class Session {
 public:
  explicit Session(MysqlConfig config);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Connects and sets up, unless connected. Blocks for kConnectTimeout at most per attempt.
  [[nodiscard]] DatabaseStatus connect();
  bool is_connected() const { return connection_ != nullptr; }
  void disconnect();

  // Runs a prepared statement; `found` is the number of rows inserted, found by an update, or deleted.
  // Precondition: connected (so for all below). An error that means the connection is gone disconnects.
  [[nodiscard]] DatabaseStatus execute(const std::string& sql, std::span<const SqlValue> values,
                                       std::uint64_t& found);
  // Runs a prepared SELECT and keeps its rows.
  [[nodiscard]] DatabaseStatus query(const std::string& sql, std::span<const SqlValue> values,
                                     std::vector<Row>& rows);
  // Runs a statement as text; for DDL. Never with anything of a client in it.
  [[nodiscard]] DatabaseStatus run(const std::string& sql);
  [[nodiscard]] DatabaseStatus commit();
  // Ends the transaction; disconnects when even that fails, so that the next transaction starts clean in any
  // case.
  void rollback();

  // Tells one server from another behind the same address; empty before the first connect().
  const std::string& server_identity() const { return server_identity_; }

 private:
  class Connection;  // the connector's types stay out of this header

  template <class F>
  DatabaseStatus guarded(F&& f);

  MysqlConfig config_;
  std::unique_ptr<Connection> connection_;
  std::string server_identity_;
};

}  // namespace ringside::writer
