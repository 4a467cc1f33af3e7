// TableStore: the ring's records made into something that can be asked. Tables by id and by name, their indexes, and
// the version that all of it stands for.
//
// Records are applied in log order, in two passes, so that a large transaction can be applied in slices while
// answers in between still show the version before:
//   pass 1   apply() of each record: an entry's address becomes that of the new record. A lookup passes over a
//            record newer than the visible version and takes the one before it.
//   commit   the visible version moves, and what table events asked for happens.
//   pass 2   remove_some(): entries whose newest record is a tombstone leave the index.
//
// A record names the version before it (`previous`), which is believed only where it is what the index had: for
// everything else (a row changed twice in one transaction, inserted over its own deletion) the address that the
// visible version needs stands in `before_` until the commit.
//
// Threads: one.   Ownership: owns the tables; the reader must outlive it.
// Errors: apply() says kCorrupt for records that contradict themselves or the catalogue: the caller starts over.
// Lookups never fail loudly: bytes that do not fit are kLost.
// Limits: shm::RowIndex's.   Allocation: none in lookup(), except that a RowBuffer grows to the largest row met.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "replica/gtid.h"
#include "replica/name_table.h"
#include "replica/served_table.h"
#include "shm/record.h"
#include "shm/ring_reader.h"

namespace ringside::replica {

// What a table's name leads to at the visible version.
struct Route {
  std::string name;
  ServedTable* table = nullptr;  // the live incarnation
  bool is_quarantined = false;
  std::string reason;  // why
};

// A row copied out of the ring. Reused from lookup to lookup.
struct RowBuffer {
  static constexpr std::size_t kSlack = ServedTable::kSlack;  // readable bytes behind any record
  std::vector<std::byte> bytes = std::vector<std::byte>((std::size_t{64} << 10) + kSlack);
  std::span<std::byte> room() { return {bytes.data(), bytes.size() - kSlack}; }
  shm::RecordHeader header;
  shm::RowView row;
};

enum class Lookup : std::uint8_t {
  kRow,
  kNone,
  kLost,  // the ring's bytes are not what they were: evicted, or corrupt. Nothing of this turn may be sent.
};

enum class Applied : std::uint8_t {
  kRecord,
  kCommit,  // the visible version may have moved; pass 2 is due
  kCorrupt,
};

class TableStore {
 public:
  explicit TableStore(const shm::RingReader& reader) : reader_(reader) {}
  TableStore(const TableStore&) = delete;
  TableStore& operator=(const TableStore&) = delete;

  // Applies the next record of the log. On kCorrupt, why() says what was wrong.
  Applied apply(const shm::Record& record);
  // Pass 2, at most `limit` entries. True when nothing is left to remove; only then may apply() go on, and only then
  // may the log before be given up.
  bool remove_some(std::size_t limit);
  // The whole log has been applied: what made that fast is given back.
  void end_join();
  const std::string& why() const { return why_; }
  // The last record applied was a commit: what is visible is all that was applied.
  bool is_between_transactions() const { return is_between_; }

  Version visible_version() const { return visible_; }
  // All that was executed up to the visible version.
  const shm::ExecutedGtids& executed() const { return executed_; }
  // The same for people and clients: MariaDB's newest GTID, MySQL's whole set. Valid until the next record is applied.
  std::string_view gtid() const { return executed_.text(); }
  // MariaDB: of its latest transactions.
  const GtidWindow& gtids() const { return gtids_; }
  std::uint64_t commit_time_us() const { return commit_time_us_; }
  std::uint64_t received_ns() const { return received_ns_; }  // CLOCK_MONOTONIC, by the writer; 0: unknown
  std::uint64_t applied_transactions() const { return transactions_; }
  std::uint64_t applied_records() const { return records_; }

  // nullptr: no such table.
  const Route* find_route(std::string_view name) const {
    const std::uint32_t number = route_numbers_.find(name);
    return number == NameTable::kNone ? nullptr : routes_in_order_[number];
  }
  const std::map<std::string, Route, std::less<>>& routes() const { return routes_; }
  // Lives of tables whose rows are held: those that are served, and those being loaded.
  std::size_t incarnations() const { return tables_.size(); }
  const std::string& database() const { return database_; }
  const std::string& history() const { return history_; }

  // Before a lookup, in two steps with other work between, so that a batch of lookups waits for memory once instead of
  // one after the other: first the index's cache line, then, through it, the row's.
  void prefetch_index(const ServedTable& table, std::uint64_t hash) const { table.index.prefetch(hash); }
  void prefetch_row(const ServedTable& table, std::uint64_t hash) const {
    table.index.find(hash, {}, Prefetcher{reader_});
  }
  // The row with this normalised key at the visible version; views in `buffer` are valid until its next use.
  Lookup lookup(const ServedTable& table, std::uint64_t hash, Bytes key, RowBuffer& buffer) const;

 private:
  // Stands in for the rows in RowIndex::find: takes the first candidate for the row, and does not look at it.
  struct Prefetcher {
    const shm::RingReader& reader;
    bool equals(shm::Address address, Bytes) const {
      // Two lines each. Most rows are no longer than this; a longer one's rest comes in order, as hardware expects.
      constexpr shm::Address kUnitsPerCall = 128 / 8;
      for (shm::Address i = 0; i < 4; ++i) reader.prefetch(address + i * kUnitsPerCall);
      return true;
    }
  };
  struct PendingEvent {
    shm::TableAction action;
    TableId id;
    std::string name;
    std::string reason;
  };
  struct Removal {
    TableId table;
    shm::RowIndex::Handle handle;
    std::uint64_t hash;
  };

  Applied corrupt(const shm::Record& record, std::string_view what);
  Applied apply_row(const shm::Record& record);
  Applied apply_commit(const shm::Record& record);
  Applied apply_table_event(const shm::Record& record);
  Applied apply_checkpoint(const shm::Record& record);
  bool replace(ServedTable& table, shm::RowIndex::Handle handle, const shm::Record& record);
  void run_event(const PendingEvent& event);
  void drop(TableId id);

  ServedTable* find_table(TableId id);
  // The table, after reading the catalogue again if it could tell more. nullptr: dropped since. false: corrupt.
  bool table_of(const shm::Record& record, ServedTable*& table);
  Result<void> read_catalogue();
  void rebuild_routes();
  Lookup copy(shm::Address address, RowBuffer& buffer) const;
  static std::uint64_t row_id(TableId table, shm::RowIndex::Handle handle) {
    return std::uint64_t{table.value()} << 32 | handle;
  }

  const shm::RingReader& reader_;
  std::string why_;

  Version visible_;
  shm::ExecutedGtids executed_;
  GtidWindow gtids_;
  std::uint64_t commit_time_us_ = 0;
  std::uint64_t received_ns_ = 0;
  std::uint64_t transactions_ = 0;
  std::uint64_t records_ = 0;
  bool is_joining_ = true;

  std::unordered_map<std::uint32_t, std::unique_ptr<ServedTable>> tables_;
  ServedTable* last_table_ = nullptr;  // of the record before: most follow one of their own table
  std::map<std::string, Route, std::less<>> routes_;
  std::vector<const Route*> routes_in_order_;
  NameTable route_numbers_;

  std::string database_;
  std::string history_;
  std::uint64_t history_hash_ = 0;
  std::uint64_t catalogue_generation_ = 0;
  Position catalogue_position_;  // tables of records before it are in the catalogue as read, or dropped

  // Of the transaction being applied.
  std::vector<PendingEvent> events_;
  std::vector<Removal> removals_;
  std::size_t removed_ = 0;  // how many of them are done
  bool is_between_ = true;
  bool is_removing_ = false;
  std::unordered_map<std::uint64_t, shm::Address>
      before_;  // row → its address at the visible version, 0: none
};

}  // namespace ringside::replica
