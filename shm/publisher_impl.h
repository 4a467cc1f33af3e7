// The definitions of BasicPublisher (publisher.h has the contract). A header of its own, so that tests can
// put another memory policy under the very same code.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "shm/dead_copies.h"
#include "shm/look_ahead.h"
#include "shm/publisher.h"
#include "shm/ring_writer_impl.h"
#include "shm/row_index.h"
#include "shm/transaction_buffer.h"

namespace ringside::shm {

// In the flags of a buffered record, taken off before it is appended: what must be true of the row before.
inline constexpr std::uint8_t kExpectPresent = 0x40;
inline constexpr std::uint8_t kExpectAbsent = 0x80;
inline constexpr std::size_t kMaxReasonBytes = 4096;
inline constexpr std::size_t kMaxNameBytes = 1024;  // servers allow 64 characters

template <class Memory>
struct BasicPublisher<Memory>::Impl {
  // One incarnation's. The index leads to a row's current record, and, as long as the log holds dead copies of a row that
  // was deleted, to its tombstone.
  struct Rows {
    RowIndex index;
    DeadCopies dead;
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    Rows() { index.keep_hashes(); }  // there is one writer, and it inserts every row that there is
  };
  // What was last said of a name, and how many earlier events of it the log still holds.
  struct NamedEvent {
    Address address = 0;  // 0: it was a drop, which is one of them by now
    std::uint64_t bytes = 0;
    std::uint32_t dead = 0;
    TableAction action = TableAction::kLive;
  };
  enum class Fate : std::uint8_t { kDead, kCarried, kContradiction };
  enum class Stepped : std::uint8_t { kProgress, kNothing, kNoRoom };

  std::unique_ptr<BasicRingWriter<Memory>> ring;
  TransactionBuffer buffer;
  bool fresh = true;
  std::string why_fresh;
  LastCommit last;
  Catalogue catalogue;
  bool catalogue_changed = false;
  bool is_recovering =
      false;  // events of the past are met, and the catalogue has later incarnations of their names
  std::unordered_map<TableId, Rows> rows;
  std::map<std::string, TableId, std::less<>> live;
  std::map<std::string, std::string, std::less<>> quarantined;
  std::uint32_t next_table = 1;
  std::uint32_t next_shape = 1;
  std::set<TableId> touched;  // by the transaction being collected
  std::uint64_t spilled = 0;
  std::optional<Error> failed;

  std::map<std::string, NamedEvent, std::less<>> events;
  // Of the last transaction's commit and of the one before, which a restart needs: their segments are not compacted.
  std::array<Address, 2> commit_addresses{};
  std::uint64_t chunk_bytes = 0;
  RoomState room_state = RoomState::kFree;
  std::uint64_t full_since_ns = 0;
  unsigned overdraft_eighths = 0;
  bool is_bursting = false;
  std::uint64_t unpaced_bytes = 0;
  CompactionCounters compaction;
  std::vector<std::byte> carried;

  explicit Impl(const PublisherOptions& options)
      : buffer(options.transaction_buffer_bytes, options.spill_directory, options.ring.max_record_bytes),
        chunk_bytes(options.ring.chunk_bytes) {}

  Result<void> recover();
  Result<void> recover_record(const Record& record);
  Result<void> check_generation(const Record& record, std::uint64_t generation) const;
  void forget_unfinished_loads();
  void end_incarnation(TableId id);
  void apply_event(const RecordHeader& header, const TableEvent& event);
  // What an event of this name does to those of its incarnations that are in the catalogue under it.
  void forget_quarantined(std::string_view name);
  void mark_quarantined(std::string_view name, std::string_view reason);
  Result<void> publish_catalogue();
  Result<void> add_row(const Table& table, RowBuilder& row, std::uint8_t expectation);
  Result<void> add_event(TableAction action, TableId id, std::string_view name, std::string_view reason);
  Result<void> flush(RecordHeader commit_header, const Commit& commit, Quarantined& refused);
  std::string append_row(RecordHeader header, std::span<std::byte> record, const Ahead& ahead);
  Result<void> append_all(const RecordHeader& commit_header, Quarantined& refused,
                          std::uint32_t& rows_appended);
  Address append_payload(RecordHeader header, std::string_view payload);
  bool append_event(RecordHeader header, const TableEvent& event);

  // The record at `address` is now the last of its row's in the log, which `handle` (or kNoRow) has led to.
  bool count_row(Rows& table, const RecordHeader& header, std::uint64_t hash, RowIndex::Handle handle,
                 Address address, std::uint64_t bytes);
  bool count_event(const TableEvent& event, Address address, std::uint64_t bytes, Version version);
  bool forget_event_if_done(std::string_view name);
  void forget_rows(TableId id);

  Fate judge(const Record& record, RowIndex::Handle& handle);
  bool carry(const Record& record, RowIndex::Handle handle);
  std::uint64_t step_bytes() const;
  Result<std::uint64_t> room_for_step(std::uint64_t first_bytes);
  Result<Stepped> compact_step();
  Result<Stepped> compact(double most_live);
  std::int64_t low_slots() const;
  std::int64_t burst_slots() const;
  bool is_short_of_room();
  Result<void> find_room(const RoomNeeded& needed);
  Result<void> keep_pace(std::uint64_t appended);
  void tend_overdraft(std::uint64_t now_ns);
  Result<void> flush_load();
  Result<void> check_gtids(const Commit& commit) const;
  // A second commit of the same GTID (tables that became live at a version already reached) is no new transaction.
  void remember(Version version, const Commit& commit, Address address) {
    const bool is_new = commit.gtid != last.gtid;
    if (is_new) commit_addresses[0] = commit_addresses[1];
    commit_addresses[1] = address;
    std::string before = is_new ? last.gtid : last.gtid_before;
    if (ring->executed().is_mysql()) before.clear();
    last = LastCommit{version, std::string(commit.gtid), commit.events_checksum, std::move(before)};
  }
  Error fail(Error error) {
    failed = error;
    return error;
  }
  Error fail_unless_limit(Error error) {
    return error.kind == ErrorKind::kLimit ? error : fail(std::move(error));
  }
};

inline Error contradiction(const Record& record) {
  return {ErrorKind::kCorrupt,
          fmt::format("the record at position {} contradicts itself, or what is known of its row",
                      record.position.value())};
}

// The machine's refusal says nothing against the epoch: making another would throw it away for nothing.
inline bool refuses_for_now(const Error& error) {
  return error.kind == ErrorKind::kBusy || error.kind == ErrorKind::kIo || error.kind == ErrorKind::kLimit;
}

template <class Memory>
Result<std::unique_ptr<BasicPublisher<Memory>>> BasicPublisher<Memory>::open(const PublisherOptions& options,
                                                                             const UniqueFd& lock) {
  std::string why;
  Result<std::unique_ptr<BasicRingWriter<Memory>>> ring = BasicRingWriter<Memory>::open(options.ring, lock);
  if (ring) {
    auto impl = std::make_unique<Impl>(options);
    impl->ring = std::move(*ring);
    const Result<void> recovered = impl->recover();
    if (recovered) return std::unique_ptr<BasicPublisher>(new BasicPublisher(std::move(impl)));
    if (refuses_for_now(recovered.error())) return recovered.error();
    why = recovered.error().message;
  } else if (refuses_for_now(ring.error())) {
    return std::move(ring).error();
  } else {
    why = ring.error().kind == ErrorKind::kNotFound ? "there is no ring yet" : ring.error().message;
  }
  RINGSIDE_ASSIGN(std::unique_ptr<BasicPublisher> publisher, create(options, lock));
  publisher->impl_->why_fresh = why;
  return publisher;
}

template <class Memory>
Result<std::unique_ptr<BasicPublisher<Memory>>> BasicPublisher<Memory>::create(
    const PublisherOptions& options, const UniqueFd& lock) {
  auto impl = std::make_unique<Impl>(options);
  RINGSIDE_ASSIGN(impl->ring, BasicRingWriter<Memory>::create(options.ring, lock));
  return std::unique_ptr<BasicPublisher>(new BasicPublisher(std::move(impl)));
}

template <class Memory>
BasicPublisher<Memory>::BasicPublisher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
template <class Memory>
BasicPublisher<Memory>::~BasicPublisher() = default;

// ---------------------------------------------------------------------- recovery

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::recover() {
  fresh = false;
  if (ring->catalogue_generation() != 0) {
    RINGSIDE_ASSIGN(catalogue, ring->read_catalogue());
  }
  next_table = std::max(next_table, catalogue.next_table);
  next_shape = std::max(next_shape, catalogue.next_shape);
  for (const Table& table : catalogue.tables) {
    next_table = std::max(next_table, table.id.value() + 1);
    next_shape = std::max(next_shape, table.shape.id.value() + 1);
  }
  is_recovering = true;
  RINGSIDE_TRY(ring->recover([this](const Record& record) { return recover_record(record); }));
  is_recovering = false;
  // What was last said of a name is said of the incarnations that the catalogue has now; what was said before is not.
  for (const auto& [name, event] : events) {
    if (event.action == TableAction::kDropped) forget_quarantined(name);
    if (event.action == TableAction::kQuarantined) mark_quarantined(name, quarantined.find(name)->second);
  }
  if (last.version.value() == 0) return Error{ErrorKind::kCorrupt, "the ring holds no transaction"};
  forget_unfinished_loads();
  return {};
}

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::recover_record(const Record& record) {
  const RecordHeader& header = record.header;
  next_table = std::max(next_table, header.table_id.value() + 1);
  next_shape = std::max(next_shape, header.shape_id.value() + 1);
  switch (header.type) {
    case RecordType::kRow:
    case RecordType::kRelocation:
    case RecordType::kTombstone: {
      if (catalogue.find(header.table_id) == nullptr) return {};  // dropped since
      Rows& table = rows[header.table_id];
      prefetch_ahead(record.ahead, header.table_id, table.index, *ring);
      const Bytes key = record.bytes.subspan(kRecordHeaderBytes, header.key_bytes);
      const std::uint64_t hash = key_hash(key);
      const RowIndex::Handle handle = table.index.find(hash, key, *ring);
      if (!count_row(table, header, hash, handle, record.address, header.length))
        return contradiction(record);
      return {};
    }
    case RecordType::kTableEvent: {
      TableEvent event;
      if (!parse_table_event(header, record.bytes, event)) return contradiction(record);
      RINGSIDE_TRY(check_generation(record, event.catalogue_generation));
      apply_event(header, event);
      if (!count_event(event, record.address, header.length, header.version)) return contradiction(record);
      return {};
    }
    case RecordType::kCommit: {
      Commit commit;
      if (!parse_commit(header, record.bytes, commit)) return contradiction(record);
      if ((header.flags & kLoadBatch) == 0) remember(header.version, commit, record.address);
      return {};
    }
    case RecordType::kCheckpoint: {
      Checkpoint checkpoint;
      if (!parse_checkpoint(header, record.bytes, checkpoint)) return contradiction(record);
      return check_generation(record, checkpoint.catalogue_generation);
    }
    case RecordType::kSegmentEnd:
      return {};
  }
  return contradiction(record);
}

// The log may be behind the catalogue, never before it: an older one would have rows and tables pass for dropped.
template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::check_generation(const Record& record,
                                                            std::uint64_t generation) const {
  if (generation <= catalogue.generation) return {};
  return Error{ErrorKind::kCorrupt,
               fmt::format("the record at position {} is of the catalogue's generation {}, and the catalogue "
                           "file has {}",
                           record.position.value(), generation, catalogue.generation)};
}

template <class Memory>
void BasicPublisher<Memory>::Impl::forget_unfinished_loads() {
  std::set<std::string_view> kept;  // quarantined names whose oldest incarnation has been met
  std::erase_if(catalogue.tables, [&](const Table& table) {
    const auto serving = live.find(table.name);
    if (serving != live.end() && serving->second == table.id) return false;
    forget_rows(table.id);
    // A quarantined name keeps the incarnation that was quarantined, as it stands before any load meant to
    // replace it; for its columns and the reason, not for its rows.
    const auto refused = quarantined.find(table.name);
    if (refused != quarantined.end() && kept.insert(refused->first).second) return false;
    catalogue_changed = true;
    return true;
  });
}

template <class Memory>
void BasicPublisher<Memory>::Impl::forget_rows(TableId id) {
  rows.erase(id);
  ring->forget_table(id);
}

template <class Memory>
void BasicPublisher<Memory>::Impl::end_incarnation(TableId id) {
  forget_rows(id);
  catalogue_changed |=
      std::erase_if(catalogue.tables, [&](const Table& table) { return table.id == id; }) > 0;
}

template <class Memory>
void BasicPublisher<Memory>::Impl::apply_event(const RecordHeader& header, const TableEvent& event) {
  const auto serving = live.find(event.name);
  switch (event.action) {
    case TableAction::kLive:
      if (serving != live.end() && serving->second != header.table_id) end_incarnation(serving->second);
      live.insert_or_assign(std::string(event.name), header.table_id);
      quarantined.erase(std::string(event.name));
      // What else has the name was a load that came to nothing, or a quarantined incarnation.
      catalogue_changed |= std::erase_if(catalogue.tables, [&](const Table& table) {
                             return table.name == event.name && table.id < header.table_id;
                           }) > 0;
      for (Table& table : catalogue.tables) {
        if (table.id != header.table_id) continue;
        table.state = TableState::kLive;
        table.reason.clear();
      }
      return;
    case TableAction::kDropped:
      if (serving != live.end()) {
        end_incarnation(serving->second);
        live.erase(serving);
      }
      quarantined.erase(std::string(event.name));
      if (!is_recovering) forget_quarantined(event.name);
      return;
    case TableAction::kQuarantined:
      if (serving != live.end()) {
        forget_rows(serving->second);
        live.erase(serving);
      }
      quarantined.insert_or_assign(std::string(event.name), std::string(event.reason));
      if (!is_recovering) mark_quarantined(event.name, event.reason);
      return;
  }
}

template <class Memory>
void BasicPublisher<Memory>::Impl::forget_quarantined(std::string_view name) {
  catalogue_changed |= std::erase_if(catalogue.tables, [&](const Table& table) {
                         return table.name == name && table.state == TableState::kQuarantined;
                       }) > 0;
}

template <class Memory>
void BasicPublisher<Memory>::Impl::mark_quarantined(std::string_view name, std::string_view reason) {
  for (Table& table : catalogue.tables) {
    // A load that is to take its place is not what is refused: readers that join now still need its rows.
    if (table.name != name || table.state == TableState::kLoading) continue;
    table.state = TableState::kQuarantined;
    table.reason = reason;
    catalogue_changed = true;
  }
}

// ---------------------------------------------------------------------- collecting

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::publish_catalogue() {
  if (!catalogue_changed) return {};
  Catalogue next = catalogue;
  next.generation = ring->catalogue_generation() + 1;
  next.next_table = next_table;
  next.next_shape = next_shape;
  RINGSIDE_TRY(ring->publish_catalogue(next));
  catalogue.generation = next.generation;
  catalogue_changed = false;
  return {};
}

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::add_row(const Table& table, RowBuilder& row,
                                                   std::uint8_t expectation) {
  RINGSIDE_ASSERT(row.column_count() == table.shape.columns.size());
  RecordHeader header;
  header.type = RecordType::kRow;
  const std::string_view payload = row.payload(header.flags);
  header.flags = static_cast<std::uint8_t>(header.flags | expectation);
  header.column_count = static_cast<std::uint16_t>(row.column_count());
  header.table_id = table.id;
  header.shape_id = table.shape.id;
  header.key_bytes = static_cast<std::uint32_t>(row.key().size());
  touched.insert(table.id);
  return buffer.add(header, payload);
}

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::add_event(TableAction action, TableId id, std::string_view name,
                                                     std::string_view reason) {
  RecordHeader header;
  header.type = RecordType::kTableEvent;
  header.table_id = id;
  // The generation is set when the record is appended: the catalogue is published just before.
  return buffer.add(header,
                    table_event_payload(TableEvent{action, 0, name, valid_utf8(reason, kMaxReasonBytes)}));
}

template <class Memory>
TableId BasicPublisher<Memory>::new_table(Table table) {
  RINGSIDE_ASSERT(table.name.size() <= kMaxNameBytes);
  table.id = TableId(impl_->next_table++);
  table.shape.id = ShapeId(impl_->next_shape++);
  impl_->catalogue.tables.push_back(std::move(table));
  impl_->catalogue_changed = true;
  return impl_->catalogue.tables.back().id;
}

template <class Memory>
void BasicPublisher<Memory>::describe(std::string history, std::string database) {
  if (impl_->catalogue.history == history && impl_->catalogue.database == database) return;
  impl_->catalogue.history = std::move(history);
  impl_->catalogue.database = std::move(database);
  impl_->catalogue_changed = true;
}

template <class Memory>
Result<void> BasicPublisher<Memory>::load_row(TableId table, Version version, RowBuilder& row) {
  constexpr std::uint64_t kBatchBytes = std::uint64_t{1} << 20;
  if (impl_->failed) return *impl_->failed;
  const Table* described = impl_->catalogue.find(table);
  RINGSIDE_ASSERT(described != nullptr && row.column_count() == described->shape.columns.size());
  // Before the row is taken: a row refused for want of room may be offered again.
  if (impl_->buffer.bytes() >= kBatchBytes) RINGSIDE_TRY(impl_->flush_load());
  RecordHeader header;
  header.type = RecordType::kRow;
  const std::string_view payload = row.payload(header.flags);
  header.flags = static_cast<std::uint8_t>(header.flags | kExpectAbsent);
  header.column_count = static_cast<std::uint16_t>(row.column_count());
  header.table_id = table;
  header.shape_id = described->shape.id;
  header.key_bytes = static_cast<std::uint32_t>(row.key().size());
  header.version = version;
  impl_->touched.insert(table);
  return impl_->buffer.add(header, payload);
}

template <class Memory>
Result<void> BasicPublisher<Memory>::end_load() {
  if (impl_->failed) return *impl_->failed;
  return impl_->buffer.records() == 0 ? Result<void>() : impl_->flush_load();
}

template <class Memory>
Result<void> BasicPublisher<Memory>::abandon(TableId table) {
  rollback();
  impl_->end_incarnation(table);
  return {};
}

template <class Memory>
Result<void> BasicPublisher<Memory>::insert(const Table& table, RowBuilder& row) {
  return impl_->add_row(table, row, kExpectAbsent);
}

template <class Memory>
Result<void> BasicPublisher<Memory>::update(const Table& table, std::string_view old_key, RowBuilder& row) {
  if (old_key == row.key()) return impl_->add_row(table, row, kExpectPresent);
  RINGSIDE_TRY(erase(table, old_key));
  return impl_->add_row(table, row, kExpectAbsent);
}

template <class Memory>
Result<void> BasicPublisher<Memory>::erase(const Table& table, std::string_view key) {
  RecordHeader header;
  header.type = RecordType::kTombstone;
  header.flags = kExpectPresent;
  header.table_id = table.id;
  header.shape_id = table.shape.id;
  header.key_bytes = static_cast<std::uint32_t>(key.size());
  impl_->touched.insert(table.id);
  return impl_->buffer.add(header, key);
}

template <class Memory>
Result<void> BasicPublisher<Memory>::switch_to(TableId table) {
  const Table* described = impl_->catalogue.find(table);
  RINGSIDE_ASSERT(described != nullptr);
  return impl_->add_event(TableAction::kLive, table, described->name, {});
}

template <class Memory>
Result<void> BasicPublisher<Memory>::quarantine(std::string_view name, std::string reason) {
  const auto serving = impl_->live.find(name);
  const TableId id = serving == impl_->live.end() ? TableId() : serving->second;
  return impl_->add_event(TableAction::kQuarantined, id, name, reason);
}

template <class Memory>
Result<void> BasicPublisher<Memory>::drop(std::string_view name) {
  const auto serving = impl_->live.find(name);
  const TableId id = serving == impl_->live.end() ? TableId() : serving->second;
  return impl_->add_event(TableAction::kDropped, id, name, {});
}

template <class Memory>
bool BasicPublisher<Memory>::has_changes() const {
  return impl_->buffer.records() > 0;
}

template <class Memory>
void BasicPublisher<Memory>::rollback() {
  impl_->buffer.clear();
  impl_->touched.clear();
}

// ---------------------------------------------------------------------- the rest

template <class Memory>
Result<void> BasicPublisher<Memory>::activate(BasicPublisher* previous) {
  RINGSIDE_TRY(impl_->ring->activate(previous == nullptr ? nullptr : previous->impl_->ring.get()));
  impl_->fresh = false;
  return {};
}
template <class Memory>
bool BasicPublisher<Memory>::is_fresh() const {
  return impl_->fresh;
}
template <class Memory>
const std::string& BasicPublisher<Memory>::why_fresh() const {
  return impl_->why_fresh;
}
template <class Memory>
const LastCommit& BasicPublisher<Memory>::last_commit() const {
  return impl_->last;
}
template <class Memory>
const ExecutedGtids& BasicPublisher<Memory>::executed() const {
  return impl_->ring->executed();
}
template <class Memory>
const Catalogue& BasicPublisher<Memory>::catalogue() const {
  return impl_->catalogue;
}
template <class Memory>
const Table* BasicPublisher<Memory>::live_table(std::string_view name) const {
  const auto found = impl_->live.find(name);
  return found == impl_->live.end() ? nullptr : impl_->catalogue.find(found->second);
}
template <class Memory>
const std::string* BasicPublisher<Memory>::quarantine_reason(std::string_view name) const {
  const auto found = impl_->quarantined.find(name);
  return found == impl_->quarantined.end() ? nullptr : &found->second;
}
template <class Memory>
const std::map<std::string, std::string, std::less<>>& BasicPublisher<Memory>::quarantined() const {
  return impl_->quarantined;
}
template <class Memory>
BasicRingWriter<Memory>& BasicPublisher<Memory>::ring() {
  return *impl_->ring;
}
template <class Memory>
Result<void> BasicPublisher<Memory>::scrub(std::uint64_t budget_bytes) {
  if (impl_->failed) return *impl_->failed;
  if (const Result<void> whole = impl_->ring->scrub(budget_bytes); !whole) return impl_->fail(whole.error());
  return {};
}
template <class Memory>
std::uint64_t BasicPublisher<Memory>::spilled_bytes() const {
  return impl_->spilled;
}
template <class Memory>
std::vector<TableUsage> BasicPublisher<Memory>::usage() const {
  std::vector<TableUsage> all;
  for (const auto& [name, id] : impl_->live) {
    const auto found = impl_->rows.find(id);
    if (found == impl_->rows.end()) {
      all.push_back(TableUsage{name, id, 0, 0, 0});
    } else {
      const auto& rows = found->second;
      all.push_back(
          TableUsage{name, id, rows.count, rows.bytes, rows.index.memory_bytes() + rows.dead.memory_bytes()});
    }
  }
  return all;
}

}  // namespace ringside::shm

#include "shm/compaction_impl.h"
#include "shm/publishing_impl.h"
