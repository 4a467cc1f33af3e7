// The definitions of BasicPublisher that put a transaction into the ring. Beside publisher_impl.h, which includes it last;
// publisher.h has the contract.
#pragma once

#include "shm/publisher_impl.h"

namespace ringside::shm {

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
  if (const Result<void> published = publish_catalogue(); !published) {
    room_state = RoomState::kFilesystem;
    return fail_unless_limit(published.error());
  }
  RoomNeeded needed = buffer.room(ring->segment_capacity());
  needed.bytes += commit_bytes + touched.size() * kEventRoom;
  needed.largest = std::max<std::uint64_t>({needed.largest, kEventRoom, commit_bytes});
  if (const Result<void> made = find_room(needed); !made) return fail_unless_limit(made.error());

  // From here on nothing may fail but what makes this publisher unusable.
  const bool is_load = (commit_header.flags & kLoadBatch) != 0;
  const std::uint64_t appended_bytes = buffer.bytes() + commit_bytes;
  Commit counted = commit;
  if (const Result<void> all = append_all(commit_header, refused, counted.row_count); !all)
    return fail(all.error());
  const Address address = append_payload(commit_header, commit_payload(counted));
  ring->publish(is_load ? last.version : commit_header.version, commit.gtid, commit.executed);
  if (!is_load) remember(commit_header.version, commit, address);
  spilled += buffer.spilled_bytes();
  compaction.captured_bytes += appended_bytes;
  buffer.clear();
  touched.clear();
  if (const Result<void> kept = keep_pace(appended_bytes); !kept)
    fail(kept.error());  // told by the next call
  return {};
}

// The buffer's records, and an event for each table that turns out to contradict them.
template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::append_all(const RecordHeader& commit_header, Quarantined& refused,
                                                      std::uint32_t& rows_appended) {
  const bool is_load = (commit_header.flags & kLoadBatch) != 0;
  const Error changed{ErrorKind::kCorrupt, "the ring's bytes have changed underneath its writer"};
  constexpr std::uint64_t kRowsABeat = 65536;
  std::uint64_t appended = 0;
  std::set<TableId> refused_ids;  // incarnations that this transaction has ended: nothing is added to them
  RINGSIDE_TRY(buffer.for_each([&](std::span<std::byte> record, const Ahead& ahead) -> Result<void> {
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
      return append_event(header, event) ? Result<void>() : changed;
    }
    if (refused_ids.contains(header.table_id)) return {};
    // Millions of rows take seconds; readers would take the writer for dead.
    if (++appended % kRowsABeat == 0) ring->beat(monotonic_ns());
    const std::string contradiction = append_row(header, record, ahead);
    if (contradiction.empty()) {
      ++rows_appended;
      return {};
    }
    refused_ids.insert(header.table_id);
    const Table* table = catalogue.find(header.table_id);
    refused.emplace_back(table == nullptr ? "?" : table->name, contradiction);
    return {};
  }));
  RINGSIDE_TRY(ring->check_found());
  if (is_load) return {};  // the incarnation is not seen by anybody; the caller abandons it
  for (const auto& [name, reason] : refused) {
    RecordHeader header;
    header.type = RecordType::kTableEvent;
    header.version = commit_header.version;
    const auto serving = live.find(name);
    header.table_id = serving == live.end() ? TableId() : serving->second;
    const TableEvent event{TableAction::kQuarantined, catalogue.generation, name, reason};
    apply_event(header, event);
    if (!append_event(header, event)) return changed;
  }
  return {};
}

// Appends a row or tombstone and moves the index. Returns the contradiction, if there is one; nothing is
// appended then.
template <class Memory>
std::string BasicPublisher<Memory>::Impl::append_row(RecordHeader header, std::span<std::byte> record,
                                                     const Ahead& ahead) {
  Rows& table = rows[header.table_id];
  prefetch_ahead(ahead, header.table_id, table.index, *ring);
  const std::uint8_t expectation = header.flags & (kExpectPresent | kExpectAbsent);
  header.flags = static_cast<std::uint8_t>(header.flags & ~(kExpectPresent | kExpectAbsent));
  const Bytes key = Bytes(record).subspan(kRecordHeaderBytes, header.key_bytes);
  const std::uint64_t hash = key_hash(key);
  const RowIndex::Handle handle = table.index.find(hash, key, *ring);
  const Address before = handle == RowIndex::kNoRow ? 0 : table.index.address(handle);
  const bool is_present = before != 0 && ring->record_type(before) != RecordType::kTombstone;
  // Before a contradiction is held against the source: is the record that says so what was written? append_all() asks.
  const auto refuse = [&](const char* why) {
    if (before != 0) static_cast<void>(ring->verify(before));
    return why;
  };
  if (expectation == kExpectPresent && !is_present) {
    return refuse(
        "the source changed a row that is not here: the table was altered behind the binlog's back");
  }
  if (expectation == kExpectAbsent && is_present) {
    return refuse(
        "the source added a row whose key is here already: the table was altered behind the binlog's back");
  }
  header.previous = is_present ? before : 0;
  const Address address = ring->append(header, record);
  if (!count_row(table, header, hash, handle, address, record.size())) {
    return refuse("the ring's bytes have changed underneath its writer");
  }
  return {};
}

template <class Memory>
bool BasicPublisher<Memory>::Impl::count_row(Rows& table, const RecordHeader& header, std::uint64_t hash,
                                             RowIndex::Handle handle, Address address, std::uint64_t bytes) {
  const bool is_tombstone = header.type == RecordType::kTombstone;
  if (handle != RowIndex::kNoRow) {
    const Address before = table.index.address(handle);
    const std::uint64_t bytes_before = ring->record_length(before);
    if (!ring->count_dead(before, header.table_id, bytes_before)) return false;
    if (ring->record_type(before) != RecordType::kTombstone) {
      table.dead.add(handle);
      --table.count;
      table.bytes -= std::min(bytes_before, table.bytes);
    }
    table.index.set_address(handle, address);
  } else if (is_tombstone) {
    return true;  // no copy of its row is left
  } else {
    table.index.insert(hash, address, *ring);
  }
  ring->count_live(address, header.table_id, bytes, header.version, header.type == RecordType::kRelocation);
  if (is_tombstone) return true;
  ++table.count;
  table.bytes += bytes;
  return true;
}

template <class Memory>
Address BasicPublisher<Memory>::Impl::append_payload(RecordHeader header, std::string_view payload) {
  std::vector<std::byte> record(record_bytes(payload.size()));
  std::memcpy(record.data() + kRecordHeaderBytes, payload.data(), payload.size());
  return ring->append(header, record);
}

template <class Memory>
bool BasicPublisher<Memory>::Impl::append_event(RecordHeader header, const TableEvent& event) {
  const std::string payload = table_event_payload(event);
  const Address address = append_payload(header, payload);
  return count_event(event, address, record_bytes(payload.size()), header.version);
}

}  // namespace ringside::shm
