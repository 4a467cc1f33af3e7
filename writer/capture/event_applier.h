// EventApplier: binlog events in, transactions in the ring out. Sans-I/O: it is fed whole events in order and drives
// the Publisher; sockets, time and retries are capture.h's.
//
//   GTID ──► TABLE_MAP, rows … ──► XID / COMMIT ──► one commit of the publisher at the GTID's version
//   GTID ──► QUERY (DDL)       ──► the tables it names are refused from this version on; take_reloads() has them
//
// The version is MariaDB's sequence number, or how many transactions MySQL's executed set has with this one. MySQL puts a
// BEGIN (or XA START) behind the GTID where an end will follow; any other statement there is all of its transaction.
//
// Every GTID becomes a version, also those that touch no mirrored table; several of these in a row are published as one
// (flush()). Resuming, the stream begins at or before the last transaction that the ring holds: everything up to it is
// passed over, and it must be the very same (expect()). The checksum by which that is told covers what was done to which
// rows of which tables, statements, and the source's clock; not how the server cut it into events.
//
// What cannot be followed exactly refuses its table, or all tables where it cannot be told which, and asks for them to be
// loaded anew. A table is loaded anew once for the same reason: when that did not help it stays refused.
//
// Threads: one (capture's).   Ownership: borrows the publisher.
// Errors: Outcome, with reason() for people.   Limits: the publisher's; kMaxTargets, kMaxHealed.
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
#include "shm/gtid.h"
#include "shm/key.h"
#include "shm/publisher.h"
#include "shm/record.h"
#include "writer/binlog/event.h"
#include "writer/binlog/payload.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"
#include "writer/sql_tokens.h"

namespace ringside::writer {

// What a load prepared beside the stream changes, at the version up to which it has read.
struct PendingSwitch {
  Version at;
  std::string
      position;  // its GTIDs, as a Snapshot has them; MySQL: the set that must have been executed then
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

// What has to be read from the source again.
struct Reloads {
  std::set<std::string> names;
  bool all = false;  // every table there is, known or not

  bool empty() const { return names.empty() && !all; }
};

class EventApplier {
 public:
  enum class Outcome : std::uint8_t {
    kGoOn,
    kRingFull,     // the transaction waits for room: try commit_again()
    kLater,        // a passing failure (damaged event): begin again from the last commit
    kSpillFull,    // no room for the spill file: likewise, and the same transaction will want it again
    kReopen,       // the publisher has failed: open the ring anew, then as kLater
    kLostHistory,  // the source no longer has the history that the ring holds: a new epoch
    kFailed,       // what came cannot be gone on from
  };
  struct Options {
    std::string database;
    std::function<bool(std::string_view table)> is_chosen;  // mysql.tables, mysql.exclude
    // A command's marker row was committed at this version.
    std::function<void(Bytes id, Version version, std::string_view gtid)> on_marker;
  };
  static constexpr std::size_t kMaxTargets = 8192;  // table ids kept; more are looked up again
  static constexpr std::size_t kMaxHealed = 10'000;

  EventApplier(shm::Publisher& publisher, Options options);

  // The stream begins anew, at or before this transaction: pass over all up to it (MySQL: all that the ring has), and
  // compare it. With an empty GTID nothing is compared; an unknown checksum is learnt when the transaction comes again.
  void expect(const shm::LastCommit& last);

  Outcome apply(Bytes event);
  // When the event that comes next was received, CLOCK_MONOTONIC: commits carry that of the event that ended them.
  void note_received(std::uint64_t now_ns) { received_ns_ = now_ns; }
  // After kRingFull: the same again.
  Outcome commit_again() { return is_inside_ ? commit() : settle(); }
  // Publishes versions that were put off. To be called when no further event is waiting, and now and then.
  Outcome flush() { return is_inside_ ? Outcome::kGoOn : settle(); }
  bool is_inside_transaction() const { return is_inside_; }
  // The ring's last transaction has not come again yet.
  bool is_expecting() const { return expected_.has_value() && expected_->events_checksum != 0; }
  bool has_put_off() const { return put_off_.has_value(); }

  // Tables that must be loaded anew, and forgets them. Ask between transactions.
  Reloads take_reloads() { return std::exchange(reloads_, {}); }
  bool has_reloads() const { return !reloads_.empty(); }
  // To be called after every load, whatever came of it: it has made tables, or ended some. Between transactions.
  void request_reloads(Reloads reloads);
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
  enum class Role : std::uint8_t {
    kUnresolved,  // not looked at: its transaction is passed over, or it is refused
    kIgnored,
    kMirrored,
    kMarker,
  };
  // What a table id stands for.
  struct Target {
    Role role = Role::kUnresolved;
    std::string schema;
    std::string name;
    bool is_chosen = false;                     // a table that is, or could be, mirrored
    const shm::Table* table = nullptr;          // kMirrored; valid until the tables change
    std::optional<binlog::RowDecoder> decoder;  // kMirrored and kMarker
    shm::Column id_column;                      // kMarker
  };

  // event_applier.cc: from the GTID to the commit.
  Outcome dispatch(const binlog::Event& event);
  Outcome on_payload(const binlog::TransactionPayload& payload);
  Outcome begin(const binlog::MariadbGtid& gtid, const binlog::EventHeader& header);
  Outcome begin(const binlog::MysqlGtid& gtid, const binlog::EventHeader& header);
  Outcome begin_with(std::string gtid, std::uint64_t commit_time_us);
  Outcome end();
  Outcome pass_over();
  Outcome commit();
  Outcome settle();
  Outcome commit_at_last(std::uint64_t checksum);
  bool is_at_pending() const;
  Result<void> add_pending();
  void pending_is_done();
  void add_to_checksum(Bytes bytes);
  void add_to_checksum(std::string_view kind, const Target* target, std::uint32_t timestamp);
  std::uint64_t checksum() const { return checksum_ | std::uint64_t{1} << 32; }
  Outcome commit_failed(const Error& error);
  Outcome fail(Outcome outcome, std::string reason);
  Outcome fail_expected();
  Outcome fail_other_server();
  void reset_transaction();
  void tables_changed();

  // event_applier_tables.cc: statements, table maps, rows, and what is refused.
  Outcome on_query(const binlog::Query& query, const binlog::EventHeader& header);
  Outcome on_statement(const Statement& statement);
  Outcome on_named_tables(const Statement& statement);
  Outcome on_xa_prepare(const binlog::XaPrepare& prepare);
  Outcome on_xa_decided(bool is_commit);
  Outcome on_unsupported(const binlog::Event& event, std::string_view reason);
  Outcome on_table_map(const binlog::TableMapEvent& event);
  Outcome resolve(Target& target, const binlog::TableMap* map);
  Outcome resolve_marker(Target& target, const binlog::TableMap& map);
  Outcome on_rows(const binlog::RowsEvent& event, const binlog::EventHeader& header);
  Outcome take_markers(Target& target, const binlog::RowsEvent& event);
  Result<void> take_rows(Target& target, const binlog::RowsEvent& event);
  Result<void> set_key(const shm::Table& table, shm::RowBuilder& row);
  Outcome refuse(const std::string& name, const std::string& reason);
  Outcome refuse_and_reload(const std::string& name, const std::string& reason);
  Outcome refuse_all(const std::string& reason);
  Outcome collecting_failed(const Error& error);
  void forget_pending(const std::string& name);
  void heal_once(const std::string& name, const std::string& reason);

  shm::Publisher& publisher_;
  Options options_;
  binlog::EventDecoder decoder_;
  binlog::PayloadReader payload_;
  binlog::TableMaps maps_;
  std::unordered_map<std::uint64_t, Target> targets_;  // by the binlog's table id
  shm::RowBuilder before_;
  shm::RowBuilder after_;
  shm::KeyBuffer key_;

  // The transaction that is being received.
  bool is_inside_ = false;
  std::string gtid_;
  Version version_;              // unless it is passed over
  shm::MysqlGtidSet own_;        // MySQL: of this one GTID
  std::string xa_key_;           // of an XA transaction
  bool is_standalone_ = false;   // it ends with its one event
  bool shows_by_query_ = false;  // MySQL: its first statement will tell whether it is
  bool is_passed_over_ = false;  // the ring has it already
  bool is_last_ = false;         // and it is the one that is expected
  std::uint32_t checksum_ = 0;
  std::string summed_;  // what the bytes added last were of
  std::uint64_t commit_time_us_ = 0;
  std::vector<std::string> markers_;
  std::set<std::string> refused_;  // tables of which no more rows are taken in this transaction
  std::set<std::string> touched_;  // chosen tables with rows in this transaction

  // Versions without changes that are put off.
  std::optional<std::pair<Version, std::string>> put_off_;
  std::uint64_t put_off_checksum_ = 0;
  std::uint64_t put_off_received_ns_ = 0;
  shm::MysqlGtidSet put_off_set_;  // MySQL: all of them
  std::string put_off_text_;

  std::optional<std::uint32_t> domain_;  // the one that is followed
  std::optional<shm::LastCommit> expected_;
  std::uint64_t learnt_checksum_ = 0;  // of the ring's last transaction, to be written down; 0: none
  std::string learnt_gtid_;            // its own
  std::optional<PendingSwitch> pending_;
  shm::MysqlGtidSet pending_set_;   // MySQL: its position
  bool is_pending_added_ = false;   // to the publisher's transaction
  std::vector<TableId> abandoned_;  // loaded for nothing; taken back after the transaction
  Reloads reloads_;
  std::map<std::string, std::string> healed_;              // for which reason a table was loaded anew last
  std::map<std::string, std::set<std::string>> prepared_;  // XA: tables by transaction id
  std::string reason_;
  ApplierCounters counters_;
  Version newest_;
  std::uint64_t source_time_us_ = 0;
  std::uint64_t received_ns_ = 0;
};

}  // namespace ringside::writer
