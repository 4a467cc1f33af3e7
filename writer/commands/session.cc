#include "writer/commands/session.h"

#include <cppconn/connection.h>
#include <cppconn/datatype.h>
#include <cppconn/driver.h>
#include <cppconn/exception.h>
#include <cppconn/prepared_statement.h>
#include <cppconn/resultset.h>
#include <cppconn/statement.h>
#include <fmt/format.h>
#include <mysql_driver.h>

#include <list>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "base/assert.h"
#include "writer/commands/database_errors.h"

namespace ringside::writer {
namespace {

sql::ConnectOptionsMap connect_options(const MysqlConfig& config) {
  sql::ConnectOptionsMap options;
  if (config.host.empty()) {
    options["hostName"] = sql::SQLString("unix://" + config.socket);
  } else {
    options["hostName"] = sql::SQLString("tcp://" + config.host);
    options["port"] = static_cast<int>(config.port);
  }
  options["userName"] = sql::SQLString(config.user);
  options["password"] = sql::SQLString(config.password.reveal());
  options["schema"] = sql::SQLString(config.database);
  options["OPT_CHARSET_NAME"] = sql::SQLString("utf8mb4");
  options["CLIENT_FOUND_ROWS"] = true;
  options["OPT_CONNECT_TIMEOUT"] = static_cast<int>(kConnectTimeout.count());
  options["OPT_READ_TIMEOUT"] = static_cast<int>(kReadTimeout.count());
  options["OPT_WRITE_TIMEOUT"] = static_cast<int>(kReadTimeout.count());
  if (config.tls) {
    options["sslEnforce"] = true;
    if (!config.tls_ca.empty()) {
      options["sslCA"] = sql::SQLString(config.tls_ca);
      options["sslVerify"] = true;
    }
  }
  return options;
}

// What is sent back must be acceptable: hence neither NO_ZERO_DATE (zero dates are printed as they are) nor
// the automatic number for 0 (a row of key 0 can be put).
constexpr const char* kSqlMode =
    "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_"
    "ON_ZERO";

}  // namespace

void initialise_driver() {
  static_cast<void>(sql::mysql::get_driver_instance());
}

class Session::Connection {
 public:
  explicit Connection(const MysqlConfig& config) {
    sql::ConnectOptionsMap options = connect_options(config);
    connection_.reset(sql::mysql::get_driver_instance()->connect(options));
  }

  void run(const std::string& text) {
    const std::unique_ptr<sql::Statement> statement(connection_->createStatement());
    statement->execute(text);
  }

  // The statement for this text, prepared at its first use. A parameter that is once sent as long data and once not
  // reaches the server wrongly when the statement is the same (measured: rows are not found), so each such pattern has
  // a statement of its own.
  sql::PreparedStatement& prepared(const std::string& sql, std::span<const SqlValue> values) {
    const std::string text = pattern(sql, values);
    if (const auto it = by_text_.find(text); it != by_text_.end()) {
      recent_.splice(recent_.begin(), recent_, it->second);
      return *it->second->second;
    }
    std::unique_ptr<sql::PreparedStatement> statement(connection_->prepareStatement(sql));
    recent_.emplace_front(text, std::move(statement));
    by_text_.emplace(text, recent_.begin());
    if (recent_.size() > kMaxStatements) {
      by_text_.erase(recent_.back().first);
      recent_.pop_back();
    }
    return *recent_.front().second;
  }
  // A failed statement may be bound to a table that has changed since: it is prepared anew at its next use.
  void forget(const std::string& sql, std::span<const SqlValue> values) {
    const auto it = by_text_.find(pattern(sql, values));
    if (it == by_text_.end()) return;
    recent_.erase(it->second);
    by_text_.erase(it);
  }

 private:
  static std::string pattern(const std::string& sql, std::span<const SqlValue> values) {
    std::string text = sql + '\0';
    for (const SqlValue& value : values) text += value.type == SqlValue::Type::kBytes ? 'b' : '-';
    return text;
  }

  using Statements = std::list<std::pair<std::string, std::unique_ptr<sql::PreparedStatement>>>;

  std::unique_ptr<sql::Connection> connection_;  // declared first: it outlives its statements
  Statements recent_;                            // most recently used first
  std::unordered_map<std::string, Statements::iterator> by_text_;
};

namespace {

// Binary values go as long data, which no character set touches; their streams live until the statement has
// run.
using Streams = std::list<std::istringstream>;

void bind(sql::PreparedStatement& statement, std::span<const SqlValue> values, Streams& streams) {
  unsigned index = 0;
  for (const SqlValue& value : values) {
    ++index;
    switch (value.type) {
      case SqlValue::Type::kNull:
        statement.setNull(index, sql::DataType::VARCHAR);
        break;
      case SqlValue::Type::kInt64:
        statement.setInt64(index, value.int64);
        break;
      case SqlValue::Type::kUInt64:
        statement.setUInt64(index, value.uint64);
        break;
      case SqlValue::Type::kText:
        statement.setString(index, value.bytes);
        break;
      case SqlValue::Type::kBytes:
        statement.setBlob(index, &streams.emplace_back(value.bytes));
        break;
    }
  }
}

Row read_row(sql::ResultSet& result, const std::vector<bool>& is_real) {
  Row row(is_real.size());
  for (std::size_t i = 0; i < row.size(); ++i) {
    const auto index = static_cast<std::uint32_t>(i + 1);
    row[i].is_null = result.isNull(index);
    if (row[i].is_null) continue;
    if (is_real[i]) {
      row[i].number = static_cast<double>(result.getDouble(index));
    } else {
      row[i].text = result.getString(index);
    }
  }
  return row;
}

std::vector<bool> real_columns(sql::ResultSet& result) {
  sql::ResultSetMetaData* metadata = result.getMetaData();
  std::vector<bool> is_real(metadata->getColumnCount());
  for (std::size_t i = 0; i < is_real.size(); ++i) {
    const int type = metadata->getColumnType(static_cast<unsigned>(i + 1));
    is_real[i] = type == sql::DataType::REAL || type == sql::DataType::DOUBLE;
  }
  return is_real;
}

}  // namespace

Session::Session(MysqlConfig config) : config_(std::move(config)) {}
Session::~Session() = default;

template <class F>
DatabaseStatus Session::guarded(F&& f) {
  try {
    std::forward<F>(f)();
    return std::nullopt;
  } catch (const sql::SQLException& e) {
    DatabaseError error{e.getErrorCode(), e.getSQLState(), e.what()};
    if (classify(error) == ErrorClass::kLost) disconnect();
    return error;
  }
}

DatabaseStatus Session::connect() {
  if (connection_ != nullptr) return std::nullopt;
  auto status = guarded([&] {
    auto fresh = std::make_unique<Connection>(config_);
    fresh->run(
        fmt::format("SET SESSION time_zone = '+00:00', sql_mode = '{}', innodb_lock_wait_timeout = {}, "
                    "lock_wait_timeout = {}, foreign_key_checks = 1, unique_checks = 1",
                    kSqlMode, kLockWaitTimeout.count(), kLockWaitTimeout.count()));
    fresh->run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    connection_ = std::move(fresh);
  });
  if (status) return status;

  std::vector<Row> rows;
  status = query("SELECT CONCAT_WS('|', @@hostname, @@server_id, @@datadir)", {}, rows);
  if (!status) server_identity_ = rows.at(0).at(0).text;
  if (!status && config_.tls) {
    // The connector ignores some settings silently: what counts is what the server says of this connection.
    status = query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", {}, rows);
    if (!status && (rows.empty() || rows[0].at(1).text.empty())) {
      status = DatabaseError{0, "08001", "the connection is not encrypted although mysql.tls is true"};
    }
  }
  if (!status) status = guarded([&] { connection_->run("SET SESSION autocommit = 0"); });
  if (status) disconnect();
  return status;
}

void Session::disconnect() {
  connection_.reset();
}

DatabaseStatus Session::execute(const std::string& sql, std::span<const SqlValue> values,
                                std::uint64_t& found) {
  RINGSIDE_ASSERT(connection_ != nullptr);
  found = 0;
  Streams streams;
  auto status = guarded([&] {
    sql::PreparedStatement& statement = connection_->prepared(sql, values);
    bind(statement, values, streams);
    const int count = statement.executeUpdate();
    found = count > 0 ? static_cast<std::uint64_t>(count) : 0;
  });
  if (status && connection_ != nullptr) connection_->forget(sql, values);
  return status;
}

DatabaseStatus Session::query(const std::string& sql, std::span<const SqlValue> values,
                              std::vector<Row>& rows) {
  RINGSIDE_ASSERT(connection_ != nullptr);
  rows.clear();
  Streams streams;
  auto status = guarded([&] {
    sql::PreparedStatement& statement = connection_->prepared(sql, values);
    bind(statement, values, streams);
    const std::unique_ptr<sql::ResultSet> result(statement.executeQuery());
    const std::vector<bool> is_real = real_columns(*result);
    while (result->next()) rows.push_back(read_row(*result, is_real));
  });
  if (status && connection_ != nullptr) connection_->forget(sql, values);
  return status;
}

DatabaseStatus Session::run(const std::string& sql) {
  RINGSIDE_ASSERT(connection_ != nullptr);
  return guarded([&] { connection_->run(sql); });
}

DatabaseStatus Session::commit() {
  RINGSIDE_ASSERT(connection_ != nullptr);
  // Not the connector's own commit(): it throws the result away, and a connection lost in COMMIT looks like a success.
  auto status = guarded([&] { connection_->run("COMMIT"); });
  if (status) disconnect();  // its state is not known any more
  return status;
}

void Session::rollback() {
  if (connection_ == nullptr) return;
  const auto status = guarded([&] { connection_->run("ROLLBACK"); });
  if (status) disconnect();
}

}  // namespace ringside::writer
