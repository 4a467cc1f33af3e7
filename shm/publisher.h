// Publisher: the ring as capture uses it. It keeps the writer's index over the live rows, so that every
// record knows its row's previous version and every contradiction between the stream and the rows is found
// before anything is shown.
//
//   open ──► (continued: the index is rebuilt from the log)                 fresh ──► a load, then activate()
//   load an incarnation:   new_table … load_row … end_load
//   a transaction:         insert / update / erase / quarantine / switch_to / drop … then commit or rollback
//   between them:          tend
//
// It also knows of every key how many dead copies the log still holds, and so what compaction must carry forward
// (docs/ring-format.md, "Compaction"). commit, load_row and end_load compact as they go.
//
// A row that must exist and does not, or must not and does, quarantines its table in the very transaction
// that shows it: the transaction's other records of that table are left out, and a table event refuses the
// name from this version on.
//
// Threads: one (capture's).   Ownership: owns ring, index and buffers.
// Errors: kLimit: the ring (or the spill file's disk) is full; nothing has changed, the same call may be made
// again later. kUnsupported from insert, update, load_row: the row is larger than a record may be; it was not
// taken. kInvalid from commit: a version that goes back, a GTID text too long for a segment or of
// another kind than those before; nothing has changed.
// kCorrupt from load_row, end_load: a key twice; abandon the load. Everything else: the publisher is failed for
// good, and says so ever after (an indeterminate append is never gone on from); a new Publisher continues from
// what was published.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/catalogue.h"
#include "shm/memory.h"
#include "shm/record.h"
#include "shm/ring_writer.h"

namespace ringside::shm {

struct PublisherOptions {
  RingOptions ring;
  std::uint64_t transaction_buffer_bytes = std::uint64_t{64} << 20;
  std::string spill_directory = "/tmp";
};

// The last transaction that the ring holds.
struct LastCommit {
  Version version;
  std::string gtid;                   // empty: MySQL's state at a snapshot
  std::uint64_t events_checksum = 0;  // 0: not known (the state of a snapshot, not of a transaction seen)
  // MariaDB: of the transaction before; empty when the ring does not know it. MySQL: empty, executed() has it all.
  std::string gtid_before;
};

// Why the last transaction or load that found no room found none.
enum class RoomState : std::uint8_t {
  kFree,        // it found some
  kSoon,        // compaction is at it: call again at once
  kReaders,     // compacted segments wait for readers, which get on or are evicted
  kMaxSize,     // the ring is full of live rows: rows must go, or ring.max_size must rise
  kFilesystem,  // the filesystem of ring.directory is full, or descriptors have run out
  kReserve,     // this transaction does not fit ring.max_size and ring.transaction_reserve, whatever is done
};

struct CompactionCounters {
  std::uint64_t captured_bytes = 0;   // of transactions and loads, as appended
  std::uint64_t relocated_bytes = 0;  // appended again
  std::uint64_t scanned_bytes = 0;    // of victims
  std::uint64_t tombstones_carried = 0;
  std::uint64_t steps = 0;
  std::uint64_t cpu_ns = 0;  // of the thread's CPU, all steps
  std::uint64_t longest_step_ns = 0;
};

// What one table's rows amount to.
struct TableUsage {
  std::string name;
  TableId id;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;        // of their records in the ring
  std::uint64_t index_bytes = 0;  // of the writer's index
};

template <class Memory>
class BasicPublisher {
 public:
  // Continues the epoch in force when there is one that can be continued, else makes a new one (which nobody
  // sees before activate()). `why_fresh` then says why. kBusy, kIo, kLimit: the machine does not let it have
  // the epoch in force, which is left alone. `lock` is lock_ring()'s and must outlive the
  // publisher.
  static Result<std::unique_ptr<BasicPublisher>> open(const PublisherOptions& options, const UniqueFd& lock);
  // A new epoch whatever there is. The one in force goes on serving until activate().
  static Result<std::unique_ptr<BasicPublisher>> create(const PublisherOptions& options,
                                                        const UniqueFd& lock);
  ~BasicPublisher();
  BasicPublisher(const BasicPublisher&) = delete;
  BasicPublisher& operator=(const BasicPublisher&) = delete;

  bool is_fresh() const;
  const std::string& why_fresh() const;
  // Puts a fresh epoch in force. `previous`: the publisher of the epoch before, told that it is superseded.
  Result<void> activate(BasicPublisher* previous);

  const LastCommit& last_commit() const;
  // All up to and with it.
  const ExecutedGtids& executed() const;
  const Catalogue& catalogue() const;
  // The incarnation that serves this name now; nullptr when the name is unknown or quarantined.
  const Table* live_table(std::string_view name) const;
  // All quarantined names with their reasons.
  const std::map<std::string, std::string, std::less<>>& quarantined() const;
  // Why the name is quarantined, or nullptr.
  const std::string* quarantine_reason(std::string_view name) const;

  // Names what the rows belong to (catalogue's fields); before the first load.
  void describe(std::string history, std::string database);

  // Gives `table` new ids, adds it to the catalogue as loading (or quarantined, as its state says), and
  // returns its id. Published with the next batch or transaction.
  TableId new_table(Table table);
  // Rows of a loading incarnation, read at `version`; published in batches on the way. A key seen twice is
  // kCorrupt. Precondition: no transaction is being collected.
  Result<void> load_row(TableId table, Version version, RowBuilder& row);
  // Publishes what is left of the load.
  Result<void> end_load();
  // Takes a loading incarnation back: its load failed.
  Result<void> abandon(TableId table);

  // The transaction being collected.
  Result<void> insert(const Table& table, RowBuilder& row);
  // `old_key`: the normalised key before; equal to row.key() unless the key changed.
  Result<void> update(const Table& table, std::string_view old_key, RowBuilder& row);
  Result<void> erase(const Table& table, std::string_view key);
  // From this transaction on the incarnation serves its name; what served before is dropped.
  Result<void> switch_to(TableId table);
  Result<void> quarantine(std::string_view name, std::string reason);
  Result<void> drop(std::string_view name);
  bool has_changes() const;
  void rollback();
  // Publishes it whole at this version. Returns the tables that it had to quarantine, with the reasons.
  using Quarantined = std::vector<std::pair<std::string, std::string>>;
  Result<Quarantined> commit(Version version, const Commit& commit);

  // Between transactions and when there is nothing else to do: frees what readers have passed, and compacts one step (a
  // millisecond of CPU or so) if there is reason to. True: there is more to do. Errors as those of commit().
  Result<bool> tend(std::uint64_t now_ns);
  RoomState room_state() const;
  // Live rows took all of ring.max_size for so long that a part of the reserve was opened to all transactions, so that
  // deletions can be reached; and it is not closed yet.
  bool is_overdrawn() const;
  const CompactionCounters& compaction() const;

  // Everything else is the ring's.
  BasicRingWriter<Memory>& ring();
  std::vector<TableUsage> usage() const;
  // Bytes of transactions that went through the spill file so far.
  std::uint64_t spilled_bytes() const;

 private:
  struct Impl;
  explicit BasicPublisher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

extern template class BasicPublisher<ProcessMemory>;
using Publisher = BasicPublisher<ProcessMemory>;

}  // namespace ringside::shm
