#include "writer/source/snapshot.h"

#include <fmt/format.h>
#include <mariadb/mysqld_error.h>

#include "base/clock.h"
#include "base/log.h"
#include "writer/source/dialect.h"
#include "writer/source/gtid.h"
#include "writer/source/row_reader.h"
#include "writer/source/schema.h"

namespace ringside::writer {
namespace {

// The server's ways to say that the table is no longer the one it was when the snapshot was opened.
bool says_table_changed(unsigned number) {
  switch (number) {
    case ER_TABLE_DEF_CHANGED:
    case ER_NO_SUCH_TABLE:
    case ER_NO_SUCH_TABLE_IN_ENGINE:
    case ER_BAD_FIELD_ERROR:
      return true;
    default:
      return false;
  }
}

}  // namespace

Snapshot::Snapshot(std::unique_ptr<Connection> connection, const MysqlConfig& config,
                   const SnapshotOptions& options)
    : connection_(std::move(connection)), config_(config), options_(options) {}

Result<std::unique_ptr<Snapshot>> Snapshot::open(const MysqlConfig& config, const SnapshotOptions& options) {
  ConnectionOptions session = options.connection;
  session.raw_text = true;  // one converter, ours, for snapshot and stream
  RINGSIDE_ASSIGN(auto connection, Connection::open(config, session));
  std::unique_ptr<Snapshot> snapshot(new Snapshot(std::move(connection), config, options));
  RINGSIDE_TRY(snapshot->stay_out_of_the_binlog());
  if (snapshot->is_mysql()) RINGSIDE_TRY(snapshot->open_second_session());
  for (unsigned attempt = 0; attempt < options.attempts; ++attempt) {
    RINGSIDE_ASSIGN(const std::vector<shm::Table> before, read_schema(snapshot->schema_session(), config));
    RINGSIDE_ASSIGN(const bool is_open, snapshot->open_read_view(before));
    if (!is_open) continue;
    RINGSIDE_ASSIGN(snapshot->tables_, read_schema(snapshot->schema_session(), config));
    if (snapshot->tables_ == before) return snapshot;
    RINGSIDE_TRY(snapshot->connection_->execute("ROLLBACK"));
  }
  return Error{
      ErrorKind::kBusy,
      fmt::format(
          "the tables of {} were changed during each of {} attempts to open a snapshot: try again when "
          "no ALTER TABLE runs, or leave the changing tables out by mysql.exclude",
          config.database, options.attempts)};
}

void Snapshot::interrupt() {
  connection_->interrupt();
  if (second_) second_->interrupt();
}

Result<void> Snapshot::open_second_session() {
  RINGSIDE_ASSIGN(second_, Connection::open(config_, options_.connection));
  return second_->execute("SET SESSION lock_wait_timeout=1");
}

// Nothing is written here; but only savepoints that are not logged let metadata locks go. Being refused is no
// harm.
Result<void> Snapshot::stay_out_of_the_binlog() {
  auto set = connection_->execute("SET SESSION sql_log_bin=0");
  if (set || connection_->last_error().number == ER_SPECIFIC_ACCESS_DENIED_ERROR) return {};
  return set;
}

Result<bool> Snapshot::open_read_view(const std::vector<shm::Table>& tables) {
  if (!is_mysql()) {
    RINGSIDE_TRY(begin());
    RINGSIDE_TRY(read_mariadb_position());
    return true;
  }
  RINGSIDE_ASSIGN(const Lock held, lock(tables));
  if (held == Lock::kTableIsGone) return false;
  const std::uint64_t locked_ns = monotonic_ns();
  RINGSIDE_TRY(begin());
  RINGSIDE_TRY(read_mysql_position());
  RINGSIDE_TRY(second_->execute("UNLOCK TABLES"));
  lock_time_ = std::chrono::nanoseconds(monotonic_ns() - locked_ns);
  log_info("locked the tables for a moment to open a snapshot", {{"lock_us", lock_time_.count() / 1000}});
  return true;
}

Result<void> Snapshot::begin() {
  for (const std::string& statement : snapshot_statements(connection_->server())) {
    RINGSIDE_TRY(connection_->execute(statement));
  }
  return {};
}

Result<Snapshot::Lock> Snapshot::lock(const std::vector<shm::Table>& tables) {
  std::string list;
  for (const shm::Table& table : tables) {
    if (table.state == shm::TableState::kQuarantined) continue;  // never read
    if (!options_.names.empty() && !options_.names.contains(table.name)) continue;
    list += fmt::format("{}{}.{} READ", list.empty() ? "" : ", ", quote_name(config_.database),
                        quote_name(table.name));
  }
  if (list.empty()) return Lock::kHeld;  // nothing will be read: any position fits
  for (unsigned attempt = 1;; ++attempt) {
    auto locked = second_->execute("LOCK TABLES " + list);
    if (locked) return Lock::kHeld;
    const unsigned number = second_->last_error().number;
    if (number == ER_NO_SUCH_TABLE) return Lock::kTableIsGone;
    if (number != ER_LOCK_WAIT_TIMEOUT) return std::move(locked).error();
    if (attempt >= options_.lock_attempts) break;
    // Those who waited behind us go first. The server waits and not we, so that an interrupt ends it.
    RINGSIDE_TRY(second_->execute("DO SLEEP(1)"));
  }
  return Error{ErrorKind::kBusy, fmt::format("the tables of {} could not be locked against changes for the "
                                             "moment in which a snapshot is opened: "
                                             "LOCK TABLES … READ waited {} times for a second. A transaction "
                                             "that has changed one of them has been "
                                             "open for longer: see SELECT trx_mysql_thread_id, trx_started "
                                             "FROM information_schema.INNODB_TRX ORDER "
                                             "BY trx_started (and XA RECOVER), and end it",
                                             config_.database, options_.lock_attempts)};
}

// Everything that is in it was committed before the view was opened; and of the locked tables, nothing else was.
Result<void> Snapshot::read_mysql_position() {
  RINGSIDE_ASSIGN(const SqlRow row, second_->query_row("SELECT @@GLOBAL.gtid_executed"));
  RINGSIDE_ASSIGN(const MysqlGtidSet executed, MysqlGtidSet::parse(row[0].value_or("")));
  position_ = executed.to_string();
  version_ = executed.version();
  return {};
}

Result<void> Snapshot::read_mariadb_position() {
  RINGSIDE_ASSIGN(const auto status, connection_->query("SHOW STATUS LIKE 'binlog_snapshot_%'"));
  std::string file;
  std::string offset;
  for (const SqlRow& row : status) {
    if (row[0] == "Binlog_snapshot_file") file = row[1].value_or("");
    if (row[0] == "Binlog_snapshot_position") offset = row[1].value_or("");
  }
  if (file.empty() || offset.find_first_not_of("0123456789") != std::string::npos) {
    return Error{ErrorKind::kInvalid, "the server has no binlog position for a snapshot: is log_bin on?"};
  }
  RINGSIDE_ASSIGN(const SqlRow row, connection_->query_row(fmt::format("SELECT BINLOG_GTID_POS({}, {})",
                                                                       quote_text(file), offset)));
  if (!row[0]) {
    return Error{ErrorKind::kUnavailable,
                 fmt::format("the binlog file {} was purged while the snapshot was opened: try again", file)};
  }
  RINGSIDE_ASSIGN(const std::vector<MariaDbGtid> gtids, parse_mariadb_gtid_list(*row[0]));
  if (gtids.size() > 1) {
    return Error{
        ErrorKind::kUnsupported,
        fmt::format("the snapshot's position {} has several replication domains: a version needs exactly one",
                    *row[0])};
  }
  position_ = *row[0];
  version_ = gtids.empty() ? Version{} : gtids.front().version();
  return {};
}

Result<TableRead> Snapshot::read_table(const shm::Table& table, const RowSink& sink) {
  RINGSIDE_TRY(connection_->execute("SAVEPOINT ringside_table"));
  auto read = read_rows(table, sink);
  if (!read) {
    const bool is_over =
        connection_->is_interrupted() || !says_table_changed(connection_->last_error().number);
    if (is_over) return std::move(read).error();
    read = TableRead{TableRead::Outcome::kChanged, std::move(read).error().message, 0};
  } else if (read->outcome == TableRead::Outcome::kComplete) {
    RINGSIDE_ASSIGN(const bool unchanged, is_unchanged(table));
    if (!unchanged) {
      read->outcome = TableRead::Outcome::kChanged;
      read->reason = "the table's definition changed after the snapshot was opened";
    }
  }
  RINGSIDE_TRY(connection_->execute("ROLLBACK TO SAVEPOINT ringside_table"));
  return read;
}

Result<TableRead> Snapshot::read_rows(const shm::Table& table, const RowSink& sink) {
  TableRead read;
  RINGSIDE_ASSIGN(const auto reader,
                  RowReader::open(*connection_, config_.database, table, options_.max_value_bytes));
  while (true) {
    RINGSIDE_ASSIGN(const RowReader::Fetch fetch, reader->next(row_));
    if (fetch == RowReader::Fetch::kEnd) return read;
    if (fetch == RowReader::Fetch::kRefused) {
      read.outcome = TableRead::Outcome::kRefused;
      read.reason = reader->refusal();
      return read;
    }
    ++read.rows;
    auto taken = sink(row_);
    if (!taken) {
      // Closing the statement would read all rows that are left.
      connection_->interrupt();
      return std::move(taken).error();
    }
  }
}

Result<bool> Snapshot::is_unchanged(const shm::Table& table) {
  auto now = read_table_schema(schema_session(), config_, table.name);
  if (!now) {
    if (now.error().kind == ErrorKind::kNotFound) return false;
    return std::move(now).error();
  }
  return now->shape.columns == table.shape.columns && now->key == table.key &&
         now->key_name == table.key_name && now->state != shm::TableState::kQuarantined;
}

}  // namespace ringside::writer
