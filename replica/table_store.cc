#include "replica/table_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "shm/key.h"
#include "shm/look_ahead.h"

namespace ringside::replica {

using shm::RecordType;
using shm::RowIndex;

Applied TableStore::corrupt(const shm::Record& record, std::string_view what) {
  why_ = "record at position " + std::to_string(record.position.value()) + ", type " +
         std::to_string(static_cast<int>(record.header.type)) + ", table " +
         std::to_string(record.header.table_id.value()) + ": " + std::string(what);
  return Applied::kCorrupt;
}

Applied TableStore::apply(const shm::Record& record) {
  RINGSIDE_ASSERT(!is_removing_);
  ++records_;
  is_between_ = record.header.type == RecordType::kCommit;
  if (reader_.corrupt_address() != 0) return corrupt(record, "a record before it is not what was written");
  switch (record.header.type) {
    case RecordType::kRow:
    case RecordType::kTombstone:
    case RecordType::kRelocation:
      return apply_row(record);
    case RecordType::kCommit:
      return apply_commit(record);
    case RecordType::kTableEvent:
      return apply_table_event(record);
    case RecordType::kCheckpoint:
      return apply_checkpoint(record);
    case RecordType::kSegmentEnd:
      break;  // the reader follows these itself
  }
  return Applied::kRecord;
}

Applied TableStore::apply_row(const shm::Record& record) {
  ServedTable* table = nullptr;
  if (!table_of(record, table)) return Applied::kCorrupt;
  if (table == nullptr) return Applied::kRecord;  // dropped since: nobody will ask
  // What the next records will find comes while this one is worked on.
  shm::prefetch_ahead(record.ahead, table->id(), table->index, reader_);

  const bool is_tombstone = record.header.type == RecordType::kTombstone;
  const Bytes key = record.bytes.subspan(shm::kRecordHeaderBytes, record.header.key_bytes);
  if (key.size() > shm::kMaxKeyBytes) return corrupt(record, "its key is longer than any key");
  if (!is_tombstone) {
    shm::RowView row;
    if (record.header.shape_id != table->description().shape.id) {
      return corrupt(record, "its shape is not its table's");
    }
    if (!shm::RowView::parse(record.header, record.bytes, row) ||
        row.column_count() != table->column_count() || !row.offsets_are_valid()) {
      return corrupt(record, "its columns do not fit its shape");
    }
    table->largest_record = std::max(table->largest_record, record.header.length);
  }

  const std::uint64_t hash = shm::key_hash(key);
  const RowIndex::Handle handle = table->index.find(hash, key, reader_);
  if (handle != RowIndex::kNoRow) {
    if (!replace(*table, handle, record)) return Applied::kCorrupt;
    if (is_tombstone) removals_.push_back({table->id(), handle, hash});
    return Applied::kRecord;
  }
  if (is_tombstone) return Applied::kRecord;  // its row was reclaimed before this replica joined
  const RowIndex::Handle added = table->index.insert(hash, record.address, reader_);
  ++table->row_count;
  table->row_bytes += record.header.length;
  if (record.header.previous != 0 && record.header.version > visible_) {
    before_.emplace(row_id(table->id(), added), shm::Address{0});
  }
  return Applied::kRecord;
}

// The row is there already: its entry leads to the new record from now on, and lookups at the visible version are
// led to the old one.
bool TableStore::replace(ServedTable& table, RowIndex::Handle handle, const shm::Record& record) {
  const shm::Address old_address = table.index.address(handle);
  shm::RecordHeader old;
  std::array<std::byte, shm::kRecordHeaderBytes> bytes;
  const shm::CopyStatus status = reader_.copy_record(old_address, old, bytes);
  if (status != shm::CopyStatus::kOk && status != shm::CopyStatus::kTooSmall) {
    corrupt(record, "the row's version before it cannot be read");
    return false;
  }
  if (record.header.version > visible_) {
    // Of several changes in one transaction the first one decides what was visible before.
    const bool old_is_visible = old.version <= visible_;
    const shm::Address visible_address = old_is_visible ? old_address : old.previous;
    if (record.header.previous != old_address || !old_is_visible) {
      if (!reader_.verify(old_address)) {  // what its header says decides what is served
        corrupt(record, "the row's version before it is not what was written");
        return false;
      }
      before_.emplace(row_id(table.id(), handle), visible_address);
    }
  }
  const bool was_row = old.type != RecordType::kTombstone;
  const bool is_row = record.header.type != RecordType::kTombstone;
  if (was_row) {
    --table.row_count;
    table.row_bytes -= std::min<std::uint64_t>(old.length, table.row_bytes);
  }
  if (is_row) {
    ++table.row_count;
    table.row_bytes += record.header.length;
  }
  table.index.set_address(handle, record.address);
  return true;
}

Applied TableStore::apply_commit(const shm::Record& record) {
  shm::Commit commit;
  if (!shm::parse_commit(record.header, record.bytes, commit))
    return corrupt(record, "a commit that cannot be read");
  if ((record.header.flags & shm::kLoadBatch) == 0) {
    if (record.header.version < visible_) return corrupt(record, "its version is older than the one before");
    if (!executed_.add(commit.executed) || !executed_.add(commit.gtid))
      return corrupt(record, "its GTIDs cannot come after those before");
    visible_ = record.header.version;
    commit_time_us_ = commit.commit_time_us;
    received_ns_ = commit.received_ns;
    ++transactions_;
    shm::MariaDbGtid gtid;
    if (shm::read_mariadb_gtid(commit.gtid, gtid)) gtids_.remember(gtid);
  }
  // Those of a batch were carried forward by compaction: news to nobody but a joiner.
  for (const PendingEvent& event : events_) run_event(event);
  if (!events_.empty()) rebuild_routes();
  events_.clear();
  // What was before is asked for no more: no row is newer than what is visible. It is taken apart in slices.
  is_removing_ = !removals_.empty() || !before_.empty();
  removed_ = 0;
  return Applied::kCommit;
}

void TableStore::end_join() {
  is_joining_ = false;
  for (const auto& [id, table] : tables_) {
    if (table->is_live) table->index.forget_hashes();
  }
}

bool TableStore::remove_some(std::size_t limit) {
  if (!is_removing_) return true;
  for (; limit > 0 && removed_ < removals_.size(); --limit, ++removed_) {
    const Removal& removal = removals_[removed_];
    ServedTable* table = find_table(removal.table);
    // Removed by an earlier entry of this list, if the transaction deleted it twice: its handle leads nowhere.
    if (table == nullptr || !table->index.holds(removal.hash, removal.handle)) continue;
    // Inserted again by the same transaction: then it stays.
    shm::RecordHeader header;
    std::array<std::byte, shm::kRecordHeaderBytes> bytes;
    const shm::Address address = table->index.address(removal.handle);
    const shm::CopyStatus status = reader_.copy_record(address, header, bytes);
    const bool readable = status == shm::CopyStatus::kOk || status == shm::CopyStatus::kTooSmall;
    if (!readable || header.type != RecordType::kTombstone) continue;
    if (!reader_.verify(address))
      continue;  // a row that looks like one: it stays, and whoever asks for it finds out
    if (!table->index.erase(removal.hash, removal.handle)) continue;
  }
  for (; limit > 0 && !before_.empty(); --limit) before_.erase(before_.begin());
  if (removed_ < removals_.size() || !before_.empty()) return false;
  removals_.clear();
  is_removing_ = false;
  return true;
}

Applied TableStore::apply_table_event(const shm::Record& record) {
  shm::TableEvent event;
  if (!shm::parse_table_event(record.header, record.bytes, event)) {
    return corrupt(record, "a table event that cannot be read");
  }
  if (event.catalogue_generation > catalogue_generation_) {
    const Result<void> read = read_catalogue();
    if (!read) return corrupt(record, read.error().message);
    if (event.catalogue_generation > catalogue_generation_) {
      return corrupt(record, "it names a catalogue that is not there yet");
    }
  }
  events_.push_back(
      {event.action, record.header.table_id, std::string(event.name), std::string(event.reason)});
  return Applied::kRecord;
}

Applied TableStore::apply_checkpoint(const shm::Record& record) {
  shm::Checkpoint checkpoint;
  if (!shm::parse_checkpoint(record.header, record.bytes, checkpoint) ||
      checkpoint.position != record.position) {
    return corrupt(record, "a checkpoint that contradicts itself");
  }
  if (!record.is_behind_gap) return Applied::kRecord;
  // The commits between the segment before and this one have been compacted away: the checkpoint alone tells where the log
  // stands.
  if (record.header.version < visible_) return corrupt(record, "its version is older than the one before");
  if (!executed_.assign(checkpoint.gtid_set)) return corrupt(record, "its GTIDs cannot be read");
  visible_ = record.header.version;
  shm::MariaDbGtid gtid;
  if (shm::read_mariadb_gtid(checkpoint.gtid_set, gtid)) gtids_.remember(gtid);
  return Applied::kRecord;
}

void TableStore::run_event(const PendingEvent& event) {
  switch (event.action) {
    case shm::TableAction::kLive: {
      ServedTable* table = find_table(event.id);
      Route& route = routes_[event.name];
      route.name = event.name;
      const TableId before = route.table != nullptr ? route.table->id() : TableId();
      route.table = table;  // nullptr: dropped since; a later event says so
      route.is_quarantined = false;
      route.reason.clear();
      if (table != nullptr) {
        table->is_live = true;
        if (!is_joining_) table->index.forget_hashes();
      }
      if (before != TableId() && before != event.id) drop(before);
      break;
    }
    case shm::TableAction::kDropped: {
      drop(event.id);
      const auto route = routes_.find(event.name);
      if (route != routes_.end() && route->second.table == nullptr)
        routes_.erase(route);  // it was quarantined
      break;
    }
    case shm::TableAction::kQuarantined: {
      Route& route = routes_[event.name];
      route.name = event.name;
      if (route.table != nullptr) {
        // Its rows are dead from here on: the writer does not carry them any further.
        const TableId dead = route.table->id();
        route.table = nullptr;
        tables_.erase(dead.value());
        last_table_ = nullptr;
      }
      route.is_quarantined = true;
      route.reason = event.reason;
      break;
    }
  }
}

void TableStore::drop(TableId id) {
  for (auto it = routes_.begin(); it != routes_.end();) {
    if (it->second.table != nullptr && it->second.table->id() == id) {
      it->second.table = nullptr;
      if (!it->second.is_quarantined) {
        it = routes_.erase(it);
        continue;
      }
    }
    ++it;
  }
  if (last_table_ != nullptr && last_table_->id() == id) last_table_ = nullptr;
  tables_.erase(id.value());
}

ServedTable* TableStore::find_table(TableId id) {
  if (last_table_ != nullptr && last_table_->id() == id) return last_table_;
  const auto found = tables_.find(id.value());
  if (found == tables_.end()) return nullptr;
  last_table_ = found->second.get();
  return last_table_;
}

bool TableStore::table_of(const shm::Record& record, ServedTable*& table) {
  table = find_table(record.header.table_id);
  if (table != nullptr || record.position < catalogue_position_) return true;
  // The catalogue is published before the records that need it: one read after this record was published has its
  // table, or the table has been dropped since.
  const Result<void> read = read_catalogue();
  if (!read) {
    corrupt(record, read.error().message);
    return false;
  }
  table = find_table(record.header.table_id);
  return true;
}

Result<void> TableStore::read_catalogue() {
  const Position committed = reader_.committed_position();
  RINGSIDE_ASSIGN(const shm::Catalogue catalogue, reader_.read_catalogue());
  if (catalogue.generation < catalogue_generation_) {
    return Error{ErrorKind::kCorrupt, "the catalogue went back to an older generation"};
  }
  catalogue_generation_ = catalogue.generation;
  catalogue_position_ = committed;
  database_ = catalogue.database;
  history_ = catalogue.history;
  history_hash_ = shm::key_hash(as_bytes(history_));
  // A load that came to nothing leaves no record of its end: its rows go when the catalogue does not have it any more.
  std::erase_if(tables_, [&](const auto& each) {
    return !each.second->is_live && catalogue.find(TableId(each.first)) == nullptr;
  });
  last_table_ = nullptr;
  for (const shm::Table& table : catalogue.tables) {
    if (table.state != shm::TableState::kQuarantined) {
      std::unique_ptr<ServedTable>& mine = tables_[table.id.value()];
      if (mine == nullptr) {
        mine = std::make_unique<ServedTable>(table, history_hash_);
        mine->index.keep_hashes();  // all of its rows come now, one after the other
      }
    }
    if (routes_.find(table.name) != routes_.end()) continue;
    // Not live yet at the visible version: known by name, so that a question is answered "not yet", not "unknown".
    Route& route = routes_[table.name];
    route.name = table.name;
    route.is_quarantined = table.state == shm::TableState::kQuarantined;
    route.reason = table.reason;
  }
  rebuild_routes();
  return {};
}

void TableStore::rebuild_routes() {
  std::vector<std::string_view> names;
  routes_in_order_.clear();
  for (const auto& [name, route] : routes_) {
    names.push_back(name);
    routes_in_order_.push_back(&route);
  }
  route_numbers_.build(names);
}

Lookup TableStore::copy(shm::Address address, RowBuffer& buffer) const {
  shm::CopyStatus status = reader_.copy_record(address, buffer.header, buffer.room());
  if (status == shm::CopyStatus::kTooSmall) {
    buffer.bytes.resize(buffer.header.length + RowBuffer::kSlack);
    status = reader_.copy_record(address, buffer.header, buffer.room());
  }
  return status == shm::CopyStatus::kOk ? Lookup::kRow : Lookup::kLost;
}

Lookup TableStore::lookup(const ServedTable& table, std::uint64_t hash, Bytes key, RowBuffer& buffer) const {
  const RowIndex::Handle handle = table.index.find(hash, key, reader_);
  if (handle == RowIndex::kNoRow) return reader_.corrupt_address() == 0 ? Lookup::kNone : Lookup::kLost;
  if (copy(table.index.address(handle), buffer) != Lookup::kRow) return Lookup::kLost;
  if (buffer.header.version > visible_) {
    // Pass 1 of a transaction that is not visible yet has been here.
    const auto before = before_.find(row_id(table.id(), handle));
    const shm::Address address = before != before_.end() ? before->second : buffer.header.previous;
    if (address == 0) return Lookup::kNone;
    if (copy(address, buffer) != Lookup::kRow || buffer.header.version > visible_) return Lookup::kLost;
  }
  if (buffer.header.type == RecordType::kTombstone) return Lookup::kNone;
  const Bytes record(buffer.bytes.data(), buffer.header.length);
  const bool fits =
      (buffer.header.type == RecordType::kRow || buffer.header.type == RecordType::kRelocation) &&
      buffer.header.table_id == table.id() && buffer.header.shape_id == table.description().shape.id &&
      shm::RowView::parse(buffer.header, record, buffer.row) && buffer.row.key() == as_text(key) &&
      buffer.row.column_count() == table.column_count() && buffer.row.offsets_are_valid();
  return fits ? Lookup::kRow : Lookup::kLost;
}

}  // namespace ringside::replica
