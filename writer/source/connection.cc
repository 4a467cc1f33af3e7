#include "writer/source/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <mariadb/errmsg.h>
#include <mariadb/mysql.h>
#include <mariadb/mysqld_error.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <mutex>

namespace ringside::writer {
namespace {

// Large enough for the largest row and the largest event (both servers: 1 GiB).
constexpr std::size_t kMaxPacketBytes = std::size_t{1} << 30;

unsigned whole_seconds(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  return seconds < 1 ? 1u : static_cast<unsigned>(seconds);
}

// The library's start-up is not safe from several threads at once.
bool library_is_ready() {
  static const bool ready = mysql_library_init(0, nullptr, nullptr) == 0;
  return ready;
}

std::string describe_endpoint(const MysqlConfig& config) {
  if (config.host.empty()) return fmt::format("socket {}", config.socket);
  return fmt::format("{}:{}", config.host, config.port);
}

void set_options(MYSQL* mysql, const MysqlConfig& config, const ConnectionOptions& options) {
  const unsigned connect_s = whole_seconds(options.connect_timeout);
  const unsigned read_s = whole_seconds(options.read_timeout);
  const unsigned write_s = whole_seconds(options.write_timeout);
  const unsigned protocol = config.host.empty() ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
  const unsigned no = 0;
  const std::size_t max_packet = kMaxPacketBytes;
  mysql_optionsv(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
  mysql_optionsv(mysql, MYSQL_OPT_READ_TIMEOUT, &read_s);
  mysql_optionsv(mysql, MYSQL_OPT_WRITE_TIMEOUT, &write_s);
  mysql_optionsv(mysql, MYSQL_OPT_PROTOCOL, &protocol);
  mysql_optionsv(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &max_packet);
  // A hostile server could otherwise ask for any file of this host.
  mysql_optionsv(mysql, MYSQL_OPT_LOCAL_INFILE, &no);
  mysql_optionsv(mysql, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "ringside-writer");
  if (config.tls && !config.host.empty()) {
    const my_bool yes = 1;
    mysql_optionsv(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
    if (!config.tls_ca.empty()) {
      mysql_optionsv(mysql, MYSQL_OPT_SSL_CA, config.tls_ca.c_str());
      mysql_optionsv(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    }
  }
}

// Of the library's own errors all, of the server's those that say "not now" and not "never".
bool is_passing(unsigned number) {
  switch (number) {
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case ER_USER_LIMIT_REACHED:
    case ER_HOST_IS_BLOCKED:  // after many broken connections, until FLUSH HOSTS
    case ER_OUTOFMEMORY:
    case ER_OUT_OF_RESOURCES:
    case ER_CANT_CREATE_THREAD:
    case ER_DISK_FULL:
    case ER_HANDSHAKE_ERROR:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_ABORTING_CONNECTION:
    case ER_NEW_ABORTING_CONNECTION:
    case ER_SERVER_SHUTDOWN:
    case ER_QUERY_INTERRUPTED:
    case ER_CONNECTION_KILLED:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_LOCK_DEADLOCK:
      return true;
    default:
      return number >= CR_MIN_ERROR && number <= CR_MAX_ERROR;
  }
}

}  // namespace

bool SqlError::is_lost_connection() const {
  return number == CR_SERVER_GONE_ERROR || number == CR_SERVER_LOST || number == CR_SERVER_LOST_EXTENDED ||
         number == CR_CONNECTION_ERROR || number == CR_CONN_HOST_ERROR;
}

void Interrupter::interrupt() {
  const std::lock_guard lock(mutex_);
  is_interrupted_ = true;
  for (Connection* connection : connections_) connection->interrupt();
}

void Interrupter::add(Connection& connection) {
  const std::lock_guard lock(mutex_);
  connections_.insert(&connection);
  if (is_interrupted_) connection.interrupt();
}

void Interrupter::remove(Connection& connection) {
  const std::lock_guard lock(mutex_);
  connections_.erase(&connection);
}

void Connection::Close::operator()(st_mysql* mysql) const {
  mysql_close(mysql);
}

// An unread result would otherwise be drained to its end, however long: closing must not wait for the server.
Connection::~Connection() {
  if (interrupter_ != nullptr) interrupter_->remove(*this);
  if (mysql_ != nullptr && mysql_->status != MYSQL_STATUS_READY) interrupt();
}

Result<std::unique_ptr<Connection>> Connection::open(const MysqlConfig& config,
                                                     const ConnectionOptions& options) {
  std::unique_ptr<Connection> connection(new Connection);
  RINGSIDE_TRY(connection->connect(config, options));
  for (const std::string& statement : session_statements(connection->server_, options.raw_text)) {
    RINGSIDE_TRY(connection->execute(statement));
  }
  return connection;
}

Result<void> Connection::connect(const MysqlConfig& config, const ConnectionOptions& options) {
  endpoint_ = describe_endpoint(config);
  if (!library_is_ready())
    return Error{ErrorKind::kUnavailable, "libmariadb cannot be started: out of memory"};
  mysql_.reset(mysql_init(nullptr));
  if (mysql_ == nullptr) return Error{ErrorKind::kUnavailable, "libmariadb: out of memory"};
  set_options(mysql_.get(), config, options);
  const bool by_socket = config.host.empty();
  if (mysql_real_connect(mysql_.get(), by_socket ? nullptr : config.host.c_str(), config.user.c_str(),
                         config.password.reveal().c_str(), nullptr, by_socket ? 0 : config.port,
                         by_socket ? config.socket.c_str() : nullptr, 0) == nullptr) {
    return take_error(
        fmt::format("connecting to the database server at {} as user '{}'", endpoint_, config.user));
  }
  socket_.reset(::fcntl(mysql_get_socket(mysql_.get()), F_DUPFD_CLOEXEC, 0));
  if (!socket_) {
    return Error{ErrorKind::kIo, fmt::format("the database connection's socket cannot be duplicated: {}",
                                             std::strerror(errno))};
  }
  if (options.interrupter != nullptr) {
    interrupter_ = options.interrupter;
    interrupter_->add(*this);
  }
  RINGSIDE_TRY(check_encryption(config));
  RINGSIDE_ASSIGN(server_, parse_server_version(mysql_get_server_info(mysql_.get())));
  return {};
}

Result<void> Connection::check_encryption(const MysqlConfig& config) {
  encrypted_ = mysql_get_ssl_cipher(mysql_.get()) != nullptr;
  if (!config.tls || config.host.empty() || encrypted_) return {};
  return Error{
      ErrorKind::kInvalid,
      fmt::format("the connection to {} is not encrypted although mysql.tls is true: enable TLS on the "
                  "server (ssl_cert, ssl_key), or set mysql.tls = false",
                  endpoint_)};
}

Result<std::vector<SqlRow>> Connection::query(std::string_view sql) {
  std::vector<SqlRow> rows;
  if (mysql_real_query(mysql_.get(), sql.data(), sql.size()) != 0) return take_error(sql);
  const std::unique_ptr<MYSQL_RES, void (*)(MYSQL_RES*)> result(mysql_store_result(mysql_.get()),
                                                                mysql_free_result);
  if (result == nullptr) {
    if (mysql_field_count(mysql_.get()) != 0) return take_error(sql);
    return rows;
  }
  if (mysql_num_rows(result.get()) > kMaxStoredRows) {
    return Error{ErrorKind::kLimit, fmt::format("'{}' has more than {} rows", sql, kMaxStoredRows)};
  }
  const unsigned width = mysql_num_fields(result.get());
  rows.reserve(mysql_num_rows(result.get()));
  while (const MYSQL_ROW row = mysql_fetch_row(result.get())) {
    const unsigned long* const lengths = mysql_fetch_lengths(result.get());
    SqlRow& out = rows.emplace_back(width);
    for (unsigned i = 0; i < width; ++i) {
      if (row[i] != nullptr) out[i].emplace(row[i], lengths[i]);
    }
  }
  return rows;
}

Result<SqlRow> Connection::query_row(std::string_view sql) {
  RINGSIDE_ASSIGN(std::vector<SqlRow> rows, query(sql));
  if (rows.empty()) return Error{ErrorKind::kNotFound, fmt::format("'{}' has no row", sql)};
  return std::move(rows.front());
}

Result<void> Connection::execute(std::string_view sql) {
  RINGSIDE_TRY(query(sql));
  return {};
}

void Connection::interrupt() {
  interrupted_.store(true, std::memory_order_relaxed);
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
}

Error Connection::take_error(std::string_view doing) {
  return take_error(doing, mysql_errno(mysql_.get()), mysql_sqlstate(mysql_.get()),
                    mysql_error(mysql_.get()));
}

Error Connection::take_error(std::string_view doing, unsigned number, std::string_view sqlstate,
                             std::string_view text) {
  constexpr std::size_t kShownStatement = 200;
  last_error_ = {number, std::string(sqlstate), std::string(text)};
  const std::string_view shown = doing.substr(0, kShownStatement);
  if (is_interrupted()) {
    return {ErrorKind::kUnavailable, fmt::format("{}: interrupted", shown)};
  }
  return {is_passing(number) ? ErrorKind::kUnavailable : ErrorKind::kInvalid,
          fmt::format("{}: {} ({}, SQLSTATE {})", shown, text, number, sqlstate)};
}

}  // namespace ringside::writer
