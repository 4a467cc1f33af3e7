#include "writer/source/snapshot.h"

#include <fmt/format.h>
#include <mariadb/mysqld_error.h>

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
  if (connection->server().flavour != Flavour::kMariaDb) {
    return Error{ErrorKind::kUnsupported, "this version takes snapshots of MariaDB only"};
  }
  std::unique_ptr<Snapshot> snapshot(new Snapshot(std::move(connection), config, options));
  RINGSIDE_TRY(snapshot->stay_out_of_the_binlog());
  for (unsigned attempt = 0; attempt < options.attempts; ++attempt) {
    RINGSIDE_ASSIGN(const std::vector<shm::Table> before, read_schema(*snapshot->connection_, config));
    RINGSIDE_TRY(snapshot->open_read_view());
    RINGSIDE_ASSIGN(snapshot->tables_, read_schema(*snapshot->connection_, config));
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

// Nothing is written here; but only savepoints that are not logged let metadata locks go. Being refused is no
// harm.
Result<void> Snapshot::stay_out_of_the_binlog() {
  auto set = connection_->execute("SET SESSION sql_log_bin=0");
  if (set || connection_->last_error().number == ER_SPECIFIC_ACCESS_DENIED_ERROR) return {};
  return set;
}

Result<void> Snapshot::open_read_view() {
  for (const std::string& statement : snapshot_statements(connection_->server())) {
    RINGSIDE_TRY(connection_->execute(statement));
  }
  return read_position();
}

Result<void> Snapshot::read_position() {
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
  auto now = read_table_schema(*connection_, config_, table.name);
  if (!now) {
    if (now.error().kind == ErrorKind::kNotFound) return false;
    return std::move(now).error();
  }
  return now->shape.columns == table.shape.columns && now->key == table.key &&
         now->key_name == table.key_name && now->state != shm::TableState::kQuarantined;
}

}  // namespace ringside::writer
