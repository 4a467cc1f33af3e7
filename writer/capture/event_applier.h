// EventApplier: binlog events in, transactions in the ring out. Sans-I/O: it is fed whole events in order and drives
// the Publisher; sockets, time and retries are capture.h's.
//
//   GTID ──► TABLE_MAP, rows … ──► XID / COMMIT ──► one commit of the publisher at the GTID's version
//   GTID ──► QUERY (DDL)       ──► the tables it names are refused from this version on; reloads() has them
//
// Every GTID becomes a version, also those that touch no mirrored table; several of these in a row are published as one
// (flush()). Resuming, the stream begins at or before the last transaction that the ring holds: everything up to it is
// passed over, and it must be the very same (expect()).
//
// Threads: one (capture's).   Ownership: borrows the publisher.
// Errors: Outcome, with reason() for people.   Limits: the publisher's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "shm/key.h"
#include "shm/publisher.h"
#include "shm/record.h"
#include "writer/binlog/event.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"
#include "writer/source/gtid.h"
#include "writer/sql_tokens.h"

namespace ringside::writer {

// What a load prepared beside the stream changes, at the version up to which it has read.
struct PendingSwitch {
  Version at;
  std::vector<TableId> live;
  std::vector<std::pair<std::string, std::string>> quarantined;  // name, reason
  std::vector<std::string> dropped;
};

struct ApplierCounters {
  std::uint64_t events = 0;
  std::uint64_t transactions = 0;
  std::uint64_t rows = 0;
  std::uint64_t quarantines = 0;
};

class EventApplier {
 public:
  enum class Outcome : std::uint8_t {
    kGoOn,
    kRingFull,     // the transaction waits for room: try commit_again()
    kLater,        // a passing failure of this host (spill file): begin again from the last commit
    kLostHistory,  // the source no longer has the history that the ring holds: a new epoch
    kFailed,       // what came cannot be gone on from
  };
  struct Options {
    std::string database;
    std::function<bool(std::string_view table)> is_chosen;  // mysql.tables, mysql.exclude
    // A command's marker row was committed at this version.
    std::function<void(Bytes id, Version version, std::string_view gtid)> on_marker;
  };

  EventApplier(shm::Publisher& publisher, Options options);

  // The stream begins anew, at or before this transaction: pass over all up to it, and compare it. With an empty GTID,
  // or an unknown checksum, nothing is compared.
  void expect(const shm::LastCommit& last);

  Outcome apply(Bytes event);
  Outcome commit_again();
  // Publishes versions that were put off. To be called when no further event is waiting.
  Outcome flush();
  bool is_inside_transaction() const { return gtid_.has_value(); }
  // The ring's last transaction has not come again yet.
  bool is_expecting() const { return expected_.has_value() && expected_->events_checksum != 0; }
  bool has_put_off() const { return put_off_.has_value(); }

  // Tables that must be loaded anew, and forgets them. Ask between transactions.
  std::set<std::string> take_reloads();
  void request_reload(std::string name) { reloads_.insert(std::move(name)); }
  // The result of a load: takes effect with the transaction of its version, or at once when that has been reached.
  // Precondition: not inside a transaction, none pending.
  Outcome set_pending(PendingSwitch pending);
  bool has_pending() const { return pending_.has_value(); }

  const std::string& reason() const { return reason_; }
  const ApplierCounters& counters() const { return counters_; }
  // The newest version that the source has begun to send, and the source's clock with it.
  Version newest() const { return newest_; }
  std::uint64_t source_time_us() const { return source_time_us_; }

 private:
  enum class Role : std::uint8_t { kIgnored, kMirrored, kMarker };
  struct Target {
    Role role = Role::kIgnored;
    std::string name;
    const shm::Table* table = nullptr;           // kMirrored; valid until the tables change
    std::optional<binlog::RowDecoder> decoder;  // kMirrored and kMarker
    shm::Column id_column;                      // kMarker
  };

  Outcome dispatch(const binlog::Event& event);
  Outcome begin(const binlog::MariadbGtid& gtid, const binlog::EventHeader& header);
  Outcome on_query(const binlog::Query& query);
  Outcome on_table_map(const binlog::TableMapEvent& event);
  Outcome on_rows(const binlog::RowsEvent& event);
  void on_statement(const Statement& statement);
  void refuse_all(const std::string& reason);
  Outcome on_xa_prepare(const binlog::XaPrepare& prepare);
  void refuse_and_reload(const std::string& name, std::string reason);
  Outcome take_markers(Target& target, const binlog::RowsEvent& event);
  Result<void> take_rows(Target& target, const binlog::RowsEvent& event);
  Result<void> set_key(const shm::Table& table, shm::RowBuilder& row);
  Outcome refuse(const std::string& name, const Error& error);
  Outcome end();
  Outcome commit();
  Outcome commit_at_last();
  Outcome pass_over();
  void add_to_checksum(Bytes bytes);
  std::uint64_t checksum() const { return checksum_ | std::uint64_t{1} << 32; }
  Result<void> add_pending();
  Outcome from_error(const Error& error);
  Outcome fail(Outcome outcome, std::string reason);
  void reset_transaction();
  void tables_changed();

  shm::Publisher& publisher_;
  Options options_;
  binlog::EventDecoder decoder_;
  binlog::TableMaps maps_;
  std::unordered_map<std::uint64_t, Target> targets_;  // by the binlog's table id
  shm::RowBuilder before_;
  shm::RowBuilder after_;
  shm::KeyBuffer key_;

  // The transaction that is being received.
  std::optional<MariaDbGtid> gtid_;
  std::string gtid_text_;
  std::string xa_key_;  // of an XA transaction
  bool is_standalone_ = false;
  bool is_passed_over_ = false;  // the ring has it already
  std::uint32_t checksum_ = 0;
  std::uint64_t commit_time_us_ = 0;
  std::vector<std::string> markers_;
  std::set<std::string> refused_;  // tables of which no more rows are taken in this transaction
  std::set<std::string> touched_;  // tables with rows in this transaction

  // Versions without changes that are put off.
  std::optional<std::pair<Version, std::string>> put_off_;
  std::uint64_t put_off_checksum_ = 0;

  std::optional<shm::LastCommit> expected_;
  std::optional<PendingSwitch> pending_;
  std::set<std::string> reloads_;
  std::map<std::string, std::set<std::string>> prepared_;  // XA: tables by transaction id
  std::string reason_;
  ApplierCounters counters_;
  Version newest_;
  std::uint64_t source_time_us_ = 0;
};

}  // namespace ringside::writer
