// Snapshot: all tables as they stood after one transaction, whose GTID is known.
//
// MariaDB: START TRANSACTION WITH CONSISTENT SNAPSHOT opens the read view and fixes the binlog position it
// belongs to; BINLOG_GTID_POS makes a GTID of that. No lock is taken. The schema is read before the view is
// opened and after it; a difference means a DDL in between, and the whole is tried again. While a table is
// read, its metadata lock holds every DDL off; before that lock is let go the schema is read once more. So rows
// are never decoded by a definition that was not theirs.
//
// MySQL knows no position that belongs to a read view. So a second session locks the tables against changes
// (LOCK TABLES … READ), the first opens its view, the second asks for @@gtid_executed and unlocks: writers
// stand still for a millisecond or so, lock_time(). The lock waits for open transactions that have changed one
// of the tables, one second at most and with new writers waiting behind it; then it lets them pass and tries
// again. (FLUSH TABLES WITH READ LOCK would wait for no transaction, but for every running SELECT, and after a
// time-out leave the tables it could not flush unusable.) The schema is read by the second session, since the
// first one's view holds the data dictionary too.
//
// A table's metadata lock is let go when it has been read, so that an ALTER of it need not wait for the
// snapshot's end. On MariaDB only if the user may set sql_log_bin (BINLOG ADMIN): a savepoint that is written to
// the binlog keeps the locks taken behind it.
//
// Threads: one, except interrupt().   Ownership: owns the connection; a RowBuilder belongs to the snapshot.
// Errors: an Error ends the snapshot. What concerns one table only is a TableRead, and the others go on.
// Limits: options.max_value_bytes; options.attempts.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/ids.h"
#include "base/result.h"
#include "shm/record.h"
#include "shm/schema.h"
#include "writer/source/connection.h"

namespace ringside::writer {

struct SnapshotOptions {
  unsigned attempts = 10;      // of opening it without a DDL in between
  unsigned lock_attempts = 5;  // MySQL: of one second each
  // MySQL: what will be read, and so is locked; empty: all of tables().
  std::set<std::string> names;
  std::size_t max_value_bytes = std::size_t{64} << 20;  // one value as the server has it
  ConnectionOptions connection;
};

struct TableRead {
  enum class Outcome : std::uint8_t {
    kComplete,
    kChanged,  // a DDL came after the snapshot was opened: the stream brings it; take a new snapshot of this
               // table
    kRefused,  // a row cannot be shown exactly: quarantine the table
  };
  Outcome outcome = Outcome::kComplete;
  std::string reason;  // unless kComplete
  std::uint64_t rows = 0;
};

class Snapshot {
 public:
  // Called once a row, in no particular order, with every value and the normalised key set. An error ends the
  // snapshot.
  using RowSink = std::function<Result<void>(shm::RowBuilder& row)>;

  // Connects and opens the read view. kBusy when DDL kept coming in between, or a table could not be locked.
  static Result<std::unique_ptr<Snapshot>> open(const MysqlConfig& config, const SnapshotOptions& options);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // Everything up to here is in the snapshot and nothing later: "0-1-42", a MySQL GTID set; "" before the first
  // transaction. On MySQL that is said of the tables to be read.
  const std::string& position() const { return position_; }
  Version version() const { return version_; }
  // All chosen tables, quarantined ones with their reason (schema.h).
  const std::vector<shm::Table>& tables() const { return tables_; }
  // How long writers stood still for it; 0 on MariaDB.
  std::chrono::nanoseconds lock_time() const { return lock_time_; }

  // Preconditions: a table of tables() (its id and state may have been set since) that was not quarantined.
  Result<TableRead> read_table(const shm::Table& table, const RowSink& sink);

  // Any thread: ends a blocking call and every later one with kUnavailable.
  void interrupt();

 private:
  enum class Lock : std::uint8_t { kHeld, kTableIsGone };

  Snapshot(std::unique_ptr<Connection> connection, const MysqlConfig& config, const SnapshotOptions& options);

  bool is_mysql() const { return connection_->server().flavour == Flavour::kMySql; }
  // The session that sees the schema as it is now.
  Connection& schema_session() { return second_ ? *second_ : *connection_; }
  Result<void> open_second_session();
  Result<void> stay_out_of_the_binlog();
  // False: a table is gone meanwhile.
  Result<bool> open_read_view(const std::vector<shm::Table>& tables);
  Result<void> begin();
  Result<Lock> lock(const std::vector<shm::Table>& tables);
  Result<void> read_mariadb_position();
  Result<void> read_mysql_position();
  Result<TableRead> read_rows(const shm::Table& table, const RowSink& sink);
  Result<bool> is_unchanged(const shm::Table& table);

  std::unique_ptr<Connection> connection_;
  std::unique_ptr<Connection> second_;  // MySQL's
  MysqlConfig config_;
  SnapshotOptions options_;
  std::string position_;
  Version version_;
  std::chrono::nanoseconds lock_time_{};
  std::vector<shm::Table> tables_;
  shm::RowBuilder row_;
};

}  // namespace ringside::writer
