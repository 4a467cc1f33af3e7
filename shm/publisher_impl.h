// The definitions of BasicPublisher (publisher.h has the contract). A header of its own, so that tests can
// put another memory policy under the very same code.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

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
  struct Rows {
    RowIndex index;
    std::uint64_t bytes = 0;
  };

  std::unique_ptr<BasicRingWriter<Memory>> ring;
  TransactionBuffer buffer;
  bool fresh = true;
  std::string why_fresh;
  LastCommit last;
  Catalogue catalogue;
  bool catalogue_changed = false;
  std::unordered_map<TableId, Rows> rows;
  std::map<std::string, TableId, std::less<>> live;
  std::map<std::string, std::string, std::less<>> quarantined;
  std::uint32_t next_table = 1;
  std::uint32_t next_shape = 1;
  std::set<TableId> touched;  // by the transaction being collected
  std::uint64_t spilled = 0;
  std::optional<Error> failed;

  explicit Impl(const PublisherOptions& options)
      : buffer(options.transaction_buffer_bytes, options.spill_directory, options.ring.max_record_bytes) {}

  Result<void> recover();
  Result<void> recover_record(const Record& record);
  void forget_unfinished_loads();
  void end_incarnation(TableId id);
  void apply_event(const RecordHeader& header, const TableEvent& event);
  Result<void> publish_catalogue();
  Result<void> add_row(const Table& table, RowBuilder& row, std::uint8_t expectation);
  Result<void> add_event(TableAction action, TableId id, std::string_view name, std::string_view reason);
  Result<void> flush(RecordHeader commit_header, const Commit& commit, Quarantined& refused);
  std::string append_row(RecordHeader header, std::span<std::byte> record);
  void append_payload(RecordHeader header, std::string_view payload);
  Result<void> flush_load();
  Result<void> check_gtids(const Commit& commit) const;
  // A second commit of the same GTID (tables that became live at a version already reached) is no new transaction.
  void remember(Version version, const Commit& commit) {
    std::string before = commit.gtid == last.gtid ? last.gtid_before : last.gtid;
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
  for (const Table& table : catalogue.tables) {
    next_table = std::max(next_table, table.id.value() + 1);
    next_shape = std::max(next_shape, table.shape.id.value() + 1);
  }
  RINGSIDE_TRY(ring->recover([this](const Record& record) { return recover_record(record); }));
  if (last.version.value() == 0) return Error{ErrorKind::kCorrupt, "the ring holds no transaction"};
  forget_unfinished_loads();
  return {};
}

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::recover_record(const Record& record) {
  const RecordHeader& header = record.header;
  next_table = std::max(next_table, header.table_id.value() + 1);
  next_shape = std::max(next_shape, header.shape_id.value() + 1);
  const Error contradiction{ErrorKind::kCorrupt, fmt::format("the record at position {} contradicts itself",
                                                             record.position.value())};
  switch (header.type) {
    case RecordType::kRow:
    case RecordType::kRelocation:
    case RecordType::kTombstone: {
      if (catalogue.find(header.table_id) == nullptr) return {};  // dropped since
      Rows& table = rows[header.table_id];
      const Bytes key = record.bytes.subspan(kRecordHeaderBytes, header.key_bytes);
      const std::uint64_t hash = key_hash(key);
      const RowIndex::Handle handle = table.index.find(hash, key, *ring);
      if (handle != RowIndex::kNoRow) table.bytes -= ring->record_length(table.index.address(handle));
      if (header.type == RecordType::kTombstone) {
        if (handle != RowIndex::kNoRow && !table.index.erase(hash, handle)) return contradiction;
        return {};
      }
      table.bytes += header.length;
      if (handle != RowIndex::kNoRow) {
        table.index.set_address(handle, record.address);
      } else {
        table.index.insert(hash, record.address, *ring);
      }
      return {};
    }
    case RecordType::kTableEvent: {
      TableEvent event;
      if (!parse_table_event(header, record.bytes, event)) return contradiction;
      apply_event(header, event);
      return {};
    }
    case RecordType::kCommit: {
      Commit commit;
      if (!parse_commit(header, record.bytes, commit)) return contradiction;
      if ((header.flags & kLoadBatch) == 0) {
        remember(header.version, commit);
      }
      return {};
    }
    case RecordType::kCheckpoint:
    case RecordType::kSegmentEnd:
      return {};
  }
  return contradiction;
}

template <class Memory>
void BasicPublisher<Memory>::Impl::forget_unfinished_loads() {
  std::set<std::string_view> kept;  // quarantined names whose oldest incarnation has been met
  std::erase_if(catalogue.tables, [&](const Table& table) {
    const auto serving = live.find(table.name);
    if (serving != live.end() && serving->second == table.id) return false;
    rows.erase(table.id);
    // A quarantined name keeps the incarnation that was quarantined, as it stands before any load meant to
    // replace it; for its columns and the reason, not for its rows.
    const auto refused = quarantined.find(table.name);
    if (refused != quarantined.end() && kept.insert(refused->first).second) return false;
    catalogue_changed = true;
    return true;
  });
}

template <class Memory>
void BasicPublisher<Memory>::Impl::end_incarnation(TableId id) {
  rows.erase(id);
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
      catalogue_changed |= std::erase_if(catalogue.tables, [&](const Table& table) {
                             return table.name == event.name && table.state == TableState::kQuarantined;
                           }) > 0;
      return;
    case TableAction::kQuarantined:
      if (serving != live.end()) {
        rows.erase(serving->second);
        live.erase(serving);
      }
      quarantined.insert_or_assign(std::string(event.name), std::string(event.reason));
      for (Table& table : catalogue.tables) {
        // A load that is to take its place is not what is refused: readers that join now still need its rows.
        if (table.name != event.name || table.state == TableState::kLoading) continue;
        table.state = TableState::kQuarantined;
        table.reason = event.reason;
        catalogue_changed = true;
      }
      return;
  }
}

// ---------------------------------------------------------------------- collecting

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::publish_catalogue() {
  if (!catalogue_changed) return {};
  Catalogue next = catalogue;
  next.generation = ring->catalogue_generation() + 1;
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

// ---------------------------------------------------------------------- publishing

template <class Memory>
Result<typename BasicPublisher<Memory>::Quarantined> BasicPublisher<Memory>::commit(Version version,
                                                                                    const Commit& commit) {
  if (impl_->failed) return *impl_->failed;
  if (version < impl_->last.version) {
    return Error{ErrorKind::kInvalid,
                 fmt::format("version {} comes after version {}: the source's history has "
                             "changed, a new epoch is needed",
                             version.value(), impl_->last.version.value())};
  }
  // Every segment opens with it: it must leave the segment's room to the rows.
  RINGSIDE_TRY(impl_->check_gtids(commit));
  RecordHeader header;
  header.type = RecordType::kCommit;
  header.version = version;
  Quarantined refused;
  RINGSIDE_TRY(impl_->flush(header, commit, refused));
  impl_->remember(version, commit);
  return refused;
}

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::check_gtids(const Commit& commit) const {
  const ExecutedGtids& before = ring->executed();
  const std::size_t bytes =
      commit.gtid.size() + commit.executed.size() + (before.is_mysql() ? before.text().size() : 0);
  if (bytes > std::min<std::uint64_t>(ring->segment_capacity() / 4, kMaxGtidText)) {
    return Error{ErrorKind::kInvalid, fmt::format("a GTID text of {} bytes: raise ring.segment_size", bytes)};
  }
  ExecutedGtids added;
  const bool is_read = added.add(commit.executed) && added.add(commit.gtid);
  const bool fits = added.text().empty() || before.text().empty() || added.is_mysql() == before.is_mysql();
  if (is_read && fits) return {};
  return Error{ErrorKind::kInvalid, fmt::format("the GTIDs '{}' and '{}' cannot come after '{}'",
                                                commit.executed, commit.gtid, before.text())};
}

template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::flush_load() {
  RecordHeader header;
  header.type = RecordType::kCommit;
  header.flags = kLoadBatch;
  Quarantined refused;
  RINGSIDE_TRY(flush(header, Commit{}, refused));
  if (!refused.empty())
    return Error{ErrorKind::kCorrupt, refused.front().first + ": " + refused.front().second};
  return {};
}

// Appends what the buffer holds behind a commit record, and publishes it. kLimit: nothing has changed.
template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::flush(RecordHeader commit_header, const Commit& commit,
                                                 Quarantined& refused) {
  constexpr std::size_t kEventRoom = 2048;  // a quarantine's record: its name and a reason of our own making
  const std::size_t commit_bytes = record_bytes(commit_payload(commit).size());
  if (const Result<void> published = publish_catalogue(); !published)
    return fail_unless_limit(published.error());
  RoomNeeded needed = buffer.room(ring->segment_capacity());
  needed.bytes += commit_bytes + touched.size() * kEventRoom;
  needed.largest = std::max<std::uint64_t>({needed.largest, kEventRoom, commit_bytes});
  if (const Result<void> made = ring->make_room(needed); !made) return fail_unless_limit(made.error());

  // From here on nothing may fail but what makes this publisher unusable.
  const bool is_load = (commit_header.flags & kLoadBatch) != 0;
  std::uint32_t appended = 0;
  std::set<TableId> refused_ids;  // incarnations that this transaction has ended: nothing is added to them
  const Result<void> all = buffer.for_each([&](std::span<std::byte> record) -> Result<void> {
    RecordHeader header;
    RINGSIDE_ASSERT(load_header(record.data(), header));
    if (!is_load) header.version = commit_header.version;
    if (header.type == RecordType::kTableEvent) {
      TableEvent event;
      RINGSIDE_ASSERT(parse_table_event(header, record, event));
      // Another event of this transaction may have changed what serves the name since this one was collected.
      const auto serving = live.find(event.name);
      const TableId before = serving == live.end() ? TableId() : serving->second;
      if (event.action != TableAction::kLive) header.table_id = before;
      if (event.action != TableAction::kLive || before != header.table_id) refused_ids.insert(before);
      apply_event(header, event);
      event.catalogue_generation = catalogue.generation;
      append_payload(header, table_event_payload(event));
      return {};
    }
    if (refused_ids.contains(header.table_id)) return {};
    const std::string contradiction = append_row(header, record);
    if (contradiction.empty()) {
      ++appended;
      return {};
    }
    refused_ids.insert(header.table_id);
    const Table* table = catalogue.find(header.table_id);
    refused.emplace_back(table == nullptr ? "?" : table->name, contradiction);
    return {};
  });
  if (!all) return fail(all.error());
  if (const Result<void> whole = ring->check_found(); !whole) return fail(whole.error());
  for (const auto& [name, reason] : refused) {
    if (is_load) break;  // the incarnation is not seen by anybody; the caller abandons it
    RecordHeader header;
    header.type = RecordType::kTableEvent;
    header.version = commit_header.version;
    const auto serving = live.find(name);
    header.table_id = serving == live.end() ? TableId() : serving->second;
    const TableEvent event{TableAction::kQuarantined, catalogue.generation, name, reason};
    apply_event(header, event);
    append_payload(header, table_event_payload(event));
  }
  Commit counted = commit;
  counted.row_count = appended;
  append_payload(commit_header, commit_payload(counted));
  ring->publish(is_load ? last.version : commit_header.version, commit.gtid, commit.executed);
  spilled += buffer.spilled_bytes();
  buffer.clear();
  touched.clear();
  return {};
}

// Appends a row or tombstone and moves the index. Returns the contradiction, if there is one; nothing is
// appended then.
template <class Memory>
std::string BasicPublisher<Memory>::Impl::append_row(RecordHeader header, std::span<std::byte> record) {
  Rows& table = rows[header.table_id];
  const std::uint8_t expectation = header.flags & (kExpectPresent | kExpectAbsent);
  header.flags = static_cast<std::uint8_t>(header.flags & ~(kExpectPresent | kExpectAbsent));
  const Bytes key = Bytes(record).subspan(kRecordHeaderBytes, header.key_bytes);
  const std::uint64_t hash = key_hash(key);
  const RowIndex::Handle handle = table.index.find(hash, key, *ring);
  if (expectation == kExpectPresent && handle == RowIndex::kNoRow) {
    return "the source changed a row that is not here: the table was altered behind the binlog's back";
  }
  if (expectation == kExpectAbsent && handle != RowIndex::kNoRow) {
    return "the source added a row whose key is here already: the table was altered behind the binlog's back";
  }
  if (handle != RowIndex::kNoRow) {
    header.previous = table.index.address(handle);
    table.bytes -= ring->record_length(header.previous);
  }
  const Address address = ring->append(header, record);
  if (header.type == RecordType::kTombstone) {
    RINGSIDE_ASSERT(table.index.erase(hash, handle));
    return {};
  }
  table.bytes += record.size();
  if (handle != RowIndex::kNoRow) {
    table.index.set_address(handle, address);
  } else {
    table.index.insert(hash, address, *ring);
  }
  return {};
}

template <class Memory>
void BasicPublisher<Memory>::Impl::append_payload(RecordHeader header, std::string_view payload) {
  std::vector<std::byte> record(record_bytes(payload.size()));
  std::memcpy(record.data() + kRecordHeaderBytes, payload.data(), payload.size());
  ring->append(header, record);
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
      all.push_back(TableUsage{name, id, rows.index.size(), rows.bytes, rows.index.memory_bytes()});
    }
  }
  return all;
}

}  // namespace ringside::shm
