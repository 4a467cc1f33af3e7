// The definitions of BasicPublisher that have to do with room: steps of compaction, their pace, and what is done when
// there is none. Beside publisher_impl.h, which includes it last; publisher.h has the contract, docs/ring-format.md
// ("Compaction") the argument.
#pragma once

#include "base/clock.h"
#include "shm/publisher_impl.h"

namespace ringside::shm {

// A step ends after so much, whichever comes first. A record met costs a look into the index, which is a cache miss or two.
inline constexpr std::uint64_t kStepBytes = std::uint64_t{256} << 10;  // appended again
inline constexpr std::uint64_t kStepNs = 1'000'000;                    // of the thread's CPU
inline constexpr unsigned kRecordsPerLook = 64;                        // at the clock
// In a burst, a step for every so many times less bytes of transactions: it frees more than that, however live its victim.
inline constexpr std::uint64_t kStepShare = 32;
// However large the transaction, its steps end after so long: the caller has readers to look after. What they have not
// gained, the next transaction's search for room gains.
inline constexpr std::uint64_t kPaceNs = 50'000'000;
// A transaction that finds no room compacts for so long by itself before the caller is told to come again.
inline constexpr std::uint64_t kRoomNs = 2'000'000;
// Segments with a larger live share are not worth it when room is needed; when it is only to be tidied up.
inline constexpr double kMostLiveForRoom = 0.97;
inline constexpr double kMostLiveForTidying = 0.6;
// The database has shrunk when more than this many times its live bytes are in use, and so many chunks besides.
inline constexpr std::uint64_t kTidyFactor = 2;
inline constexpr std::uint64_t kTidyChunks = 4;
inline constexpr std::uint64_t kOverdraftAfterNs = 1'000'000'000;

// ---------------------------------------------------------------------- a step

// Counts a record that is now the last of its name's, as in the log.
template <class Memory>
bool BasicPublisher<Memory>::Impl::count_event(const TableEvent& event, Address address, std::uint64_t bytes,
                                               Version version) {
  NamedEvent& named = events[std::string(event.name)];
  if (named.address != 0) {
    if (!ring->count_dead(named.address, SegmentLedger::kEvents, named.bytes)) return false;
    ++named.dead;
  }
  named.address = address;
  named.bytes = bytes;
  named.action = event.action;
  ring->count_live(address, SegmentLedger::kEvents, bytes, version);
  return forget_event_if_done(event.name);
}

// The end of a name is told only as long as an earlier event of it is in the log. Its record is dead from then on, and
// counted as such: the name may come back before the record goes.
template <class Memory>
bool BasicPublisher<Memory>::Impl::forget_event_if_done(std::string_view name) {
  const auto found = events.find(name);
  NamedEvent& named = found->second;
  if (named.action != TableAction::kDropped || named.dead > 0) return true;
  if (named.address == 0) {
    events.erase(found);
    return true;
  }
  const Address address = std::exchange(named.address, 0);
  named.dead = 1;
  return ring->count_dead(address, SegmentLedger::kEvents, named.bytes);
}

// What becomes of a victim's record: kCarried when it has to be appended again.
template <class Memory>
typename BasicPublisher<Memory>::Impl::Fate BasicPublisher<Memory>::Impl::judge(const Record& record,
                                                                                RowIndex::Handle& handle) {
  const RecordHeader& header = record.header;
  switch (header.type) {
    case RecordType::kRow:
    case RecordType::kRelocation:
    case RecordType::kTombstone: {
      const auto found = rows.find(header.table_id);
      if (found == rows.end()) return Fate::kDead;  // dropped since
      Rows& table = found->second;
      const Bytes key = record.bytes.subspan(kRecordHeaderBytes, header.key_bytes);
      const std::uint64_t hash = key_hash(key);
      handle = table.index.find(hash, key, *ring);
      if (handle != RowIndex::kNoRow && table.index.address(handle) == record.address) return Fate::kCarried;
      if (header.type == RecordType::kTombstone) return Fate::kDead;
      // A dead copy goes; its row's tombstone, if that is what there is, may be needed no longer.
      if (handle == RowIndex::kNoRow || table.dead.count(handle) == 0) return Fate::kContradiction;
      const Address last_address = table.index.address(handle);
      if (table.dead.remove(handle) > 0 || ring->record_type(last_address) != RecordType::kTombstone)
        return Fate::kDead;
      if (!ring->verify(last_address))
        return Fate::kContradiction;  // a live row whose type has changed looks like one
      const bool counted = ring->count_dead(last_address, header.table_id, ring->record_length(last_address));
      return counted && table.index.erase(hash, handle) ? Fate::kDead : Fate::kContradiction;
    }
    case RecordType::kTableEvent: {
      TableEvent event;
      if (!parse_table_event(header, record.bytes, event)) return Fate::kContradiction;
      const auto found = events.find(event.name);
      if (found == events.end()) return Fate::kContradiction;
      if (found->second.address == record.address) return Fate::kCarried;
      if (found->second.dead == 0) return Fate::kContradiction;
      --found->second.dead;
      return forget_event_if_done(event.name) ? Fate::kDead : Fate::kContradiction;
    }
    case RecordType::kCheckpoint:
    case RecordType::kCommit:
    case RecordType::kSegmentEnd:
      return Fate::kDead;
  }
  return Fate::kContradiction;
}

// Appends a victim's record again. The row's version is what it was.
template <class Memory>
bool BasicPublisher<Memory>::Impl::carry(const Record& record, RowIndex::Handle handle) {
  RecordHeader header = record.header;
  if (header.type == RecordType::kRow) header.type = RecordType::kRelocation;
  header.previous = 0;
  carried.assign(record.bytes.begin(), record.bytes.end());
  const Address address = ring->append(header, carried);
  compaction.relocated_bytes += carried.size();
  if (header.type == RecordType::kTableEvent) {
    TableEvent event;
    if (!parse_table_event(header, record.bytes, event)) return false;
    NamedEvent& named = events.find(event.name)->second;
    named.address = address;
    ring->count_live(address, SegmentLedger::kEvents, carried.size(), header.version, true);
    return ring->count_dead(record.address, SegmentLedger::kEvents, carried.size());
  }
  rows.find(header.table_id)->second.index.set_address(handle, address);
  ring->count_live(address, header.table_id, carried.size(), header.version, true);
  if (header.type == RecordType::kTombstone) ++compaction.tombstones_carried;
  return ring->count_dead(record.address, header.table_id, carried.size());
}

template <class Memory>
std::uint64_t BasicPublisher<Memory>::Impl::step_bytes() const {
  return std::min(kStepBytes, ring->segment_capacity() / 2);
}

// Room for what a step carries; a record that is larger than that gets a step of its own.
template <class Memory>
Result<std::uint64_t> BasicPublisher<Memory>::Impl::room_for_step(std::uint64_t first_bytes) {
  const std::uint64_t commit_bytes = record_bytes(commit_payload(Commit{}).size());
  const std::uint64_t bytes = std::max(first_bytes, step_bytes());
  RoomNeeded needed;
  needed.bytes = bytes + commit_bytes;
  needed.largest = std::max(first_bytes, commit_bytes);
  if (first_bytes > ring->segment_capacity()) {  // checkpoints have become longer since it was appended
    needed = RoomNeeded{commit_bytes, commit_bytes, {first_bytes}};
  }
  RINGSIDE_TRY(ring->make_room(needed, RoomFor::kCompaction));
  return bytes;
}

template <class Memory>
Result<typename BasicPublisher<Memory>::Impl::Stepped> BasicPublisher<Memory>::Impl::compact_step() {
  const std::uint64_t start_ns = thread_cpu_ns();
  std::optional<std::uint64_t> room;  // made, and not yet used
  Commit batch;
  bool is_done = false;
  Stepped stepped = Stepped::kNoRoom;
  Record record;
  for (unsigned count = 1; !is_done; ++count) {
    if (count % kRecordsPerLook == 0 && thread_cpu_ns() - start_ns >= kStepNs) break;
    RINGSIDE_ASSIGN(const bool more, ring->next_of_victim(record));
    if (more) {
      RowIndex::Handle handle = RowIndex::kNoRow;
      const Fate fate = judge(record, handle);
      if (fate == Fate::kContradiction) return contradiction(record);
      if (fate == Fate::kCarried) {
        if (!room) {
          const Result<std::uint64_t> made = room_for_step(record.bytes.size());
          if (!made && made.error().kind == ErrorKind::kUnavailable) {  // that was work enough for a step
            ring->put_back(record);
            stepped = Stepped::kProgress;
            break;
          }
          if (!made && made.error().kind != ErrorKind::kLimit) return made.error();
          room = made ? *made : 0;
        }
        if (record.bytes.size() > *room) {  // the next step meets it again
          ring->put_back(record);
          break;
        }
        *room -= record.bytes.size();
        if (!carry(record, handle)) return contradiction(record);
        if (record.header.type != RecordType::kTableEvent) ++batch.row_count;
      }
      compaction.scanned_bytes += record.bytes.size();
    }
    stepped = Stepped::kProgress;
    is_done = !more;
  }
  RINGSIDE_TRY(ring->check_found());
  if (ring->has_unpublished()) {
    RecordHeader commit;
    commit.type = RecordType::kCommit;
    commit.flags = kLoadBatch;
    append_payload(commit, commit_payload(batch));
    ring->publish(last.version, {}, {});
  }
  if (is_done) {
    RINGSIDE_TRY(ring->finish_victim());
    ring->reclaim();
  }
  const std::uint64_t took_ns = thread_cpu_ns() - start_ns;
  ++compaction.steps;
  compaction.cpu_ns += took_ns;
  compaction.longest_step_ns = std::max(compaction.longest_step_ns, took_ns);
  return stepped;
}

// Goes on with the segment at hand, or with the best there is; a look at a part of them that finds none is a step, too.
// kNothing: none has a live share of at most `most_live`.
template <class Memory>
Result<typename BasicPublisher<Memory>::Impl::Stepped> BasicPublisher<Memory>::Impl::compact(
    double most_live) {
  if (!ring->has_victim() && !ring->pick_victim(commit_addresses, most_live)) {
    return ring->is_looking() ? Stepped::kProgress : Stepped::kNothing;
  }
  return compact_step();
}

// ---------------------------------------------------------------------- room and pace

// Compaction starts when fewer slots than this are free, and goes on until burst_slots() more are. What is kept free is
// not there for dead rows to gather in; so there is little of it.
template <class Memory>
std::int64_t BasicPublisher<Memory>::Impl::low_slots() const {
  const std::uint64_t limit = ring->limit_slots();
  return static_cast<std::int64_t>(
      std::clamp<std::uint64_t>(limit / 256, std::min<std::uint64_t>(4, limit / 4), 64));
}
template <class Memory>
std::int64_t BasicPublisher<Memory>::Impl::burst_slots() const {
  return static_cast<std::int64_t>(std::clamp<std::uint64_t>(ring->limit_slots() / 256, 2, 64));
}

// In bursts, so that rows carried forward, which are cold, come to lie in other segments than new ones, which are hot.
template <class Memory>
bool BasicPublisher<Memory>::Impl::is_short_of_room() {
  const std::int64_t available = ring->available_slots();
  is_bursting = available < low_slots() + (is_bursting ? burst_slots() : 0);
  return is_bursting;
}

// Makes room for a transaction, by compaction if need be. kLimit: there is none now, and room_state says why.
template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::find_room(const RoomNeeded& needed) {
  std::uint64_t start_ns = 0;  // of the search: nearly always there is room, and a clock is not read for it
  for (;;) {
    const Result<void> made = ring->make_room(needed);
    room_state = RoomState::kFree;
    if (made || made.error().kind != ErrorKind::kLimit) return made;
    if (start_ns == 0) start_ns = thread_cpu_ns();
    if (ring->reclaim()) continue;
    bool is_large = false;
    const RoomOutlook outlook = ring->outlook(needed, is_large);
    // A filesystem smaller than the limits is one more limit: what is dead has to make room there too.
    if (outlook == RoomOutlook::kCompaction || (outlook == RoomOutlook::kReaders && ring->lacks_memory())) {
      room_state = RoomState::kSoon;
      if (thread_cpu_ns() - start_ns >= kRoomNs) return made;
      RINGSIDE_ASSIGN(const Stepped stepped, compact(kMostLiveForRoom));
      if (stepped == Stepped::kProgress) continue;
    }
    if (ring->lacks_memory()) {
      room_state = RoomState::kFilesystem;
    } else if (outlook == RoomOutlook::kReaders ||
               (outlook == RoomOutlook::kCompaction && ring->has_pending())) {
      room_state = RoomState::kReaders;
    } else {
      room_state = is_large ? RoomState::kReserve : RoomState::kMaxSize;
    }
    return made;
  }
}

// After `appended` bytes of a transaction: in a burst, a step for every few kilobytes of them (kStepShare).
template <class Memory>
Result<void> BasicPublisher<Memory>::Impl::keep_pace(std::uint64_t appended) {
  if (!is_short_of_room()) return {};
  unpaced_bytes += appended;
  std::uint64_t steps = unpaced_bytes * kStepShare / step_bytes();
  unpaced_bytes %= step_bytes() / kStepShare;
  if (steps == 0) return {};
  ring->reclaim();
  const std::uint64_t start_ns = thread_cpu_ns();
  while (steps-- > 0 && is_short_of_room() && thread_cpu_ns() - start_ns < kPaceNs) {
    RINGSIDE_ASSIGN(const Stepped stepped, compact(kMostLiveForRoom));
    if (stepped != Stepped::kProgress) return {};
  }
  return {};
}

// Full of live rows for a while: an eighth of the reserve more is opened to all transactions, so that the deletions that
// make room can be reached, wherever in the stream they are.
template <class Memory>
void BasicPublisher<Memory>::Impl::tend_overdraft(std::uint64_t now_ns) {
  if (room_state != RoomState::kMaxSize) full_since_ns = now_ns;
  if (now_ns - full_since_ns > kOverdraftAfterNs && overdraft_eighths < 8) {
    ++overdraft_eighths;
    full_since_ns = now_ns;
    ring->set_overdraft(overdraft_eighths);
  } else if (overdraft_eighths > 0 && room_state != RoomState::kMaxSize &&
             ring->available_slots() >= low_slots()) {
    overdraft_eighths = 0;
    ring->set_overdraft(0);
  }
}

template <class Memory>
Result<bool> BasicPublisher<Memory>::tend(std::uint64_t now_ns) {
  Impl& self = *impl_;
  if (self.failed) return *self.failed;
  self.ring->reclaim();
  self.tend_overdraft(now_ns);
  if (!self.ring->has_victim()) {
    const RingUsage usage = self.ring->usage();
    const bool is_short = self.is_short_of_room();
    const bool has_shrunk = usage.used_bytes - usage.pending_bytes >
                            kTidyFactor * usage.live_bytes + kTidyChunks * self.chunk_bytes;
    const bool is_picked =
        ((is_short || has_shrunk) &&
         self.ring->pick_victim(self.commit_addresses, is_short ? kMostLiveForRoom : kMostLiveForTidying)) ||
        (!is_short && self.ring->pick_topmost(self.commit_addresses));
    if (!is_picked) return (is_short || has_shrunk) && self.ring->is_looking();
  }
  const Result<typename Impl::Stepped> stepped = self.compact_step();
  if (!stepped) return self.fail(stepped.error());
  return *stepped == Impl::Stepped::kProgress;
}

template <class Memory>
RoomState BasicPublisher<Memory>::room_state() const {
  return impl_->room_state;
}
template <class Memory>
bool BasicPublisher<Memory>::is_overdrawn() const {
  return impl_->overdraft_eighths > 0;
}
template <class Memory>
const CompactionCounters& BasicPublisher<Memory>::compaction() const {
  return impl_->compaction;
}

}  // namespace ringside::shm
