// The definitions of BasicRingWriter that have to do with room: chunks, limits, compaction's victims, freeing. Beside
// ring_writer_impl.h, which includes it last; ring_writer.h has the contract, docs/ring-format.md ("Compaction") the
// protocol and the meaning of F0, F1, F2.
#pragma once

#include "shm/ring_writer_impl.h"

namespace ringside::shm {

// ---------------------------------------------------------------------- chunks

// A chunk that was given back, the lowest; or else a new one behind all others.
template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::begin_growth() {
  const std::optional<std::size_t> chunk = space.given_back();
  return chunk ? begin_refill(*chunk) : begin_chunk(options.chunk_bytes / segment_bytes());
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::begin_refill(std::size_t chunk) {
  RINGSIDE_ASSERT(!growth);
  const SlotSpace::Chunk& it = space.chunks()[chunk];
  RINGSIDE_ASSIGN(UniqueFd fd, open_file(chunk_path(view.directory(), it.first), Access::kReadWrite));
  growth = Growth{.first = it.first, .slots = it.slots, .is_new = false, .file = std::move(fd)};
  return {};
}

// The file has its size at once, and is mapped here, where that may still fail, and not in the middle of an append.
template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::begin_chunk(std::uint64_t slots) {
  RINGSIDE_ASSERT(!growth);
  const std::uint64_t first = space.size();
  if (slots > view.max_slots() - first) {
    return Error{ErrorKind::kLimit,
                 "the ring's slot table is full: a new ring is needed (stop the writer, remove the ring's "
                 "directory, and start it)"};
  }
  const std::string file = chunk_path(view.directory(), first);
  RINGSIDE_ASSIGN(UniqueFd fd, create_file(file, 0640));
  growth = Growth{.first = first, .slots = slots, .is_new = true, .file = std::move(fd)};
  Result<void> begun = set_file_size(growth->file.get(), file, slots * segment_bytes());
  if (begun) {
    if (const Result<std::uint64_t> mapped = view.map_chunk(first); !mapped) begun = mapped.error();
  }
  if (!begun) abandon_growth();
  return begun;
}

// What there is of it goes back: the mapping stays, and would keep it even of a file without a name.
template <class Memory>
void BasicRingWriter<Memory>::Impl::abandon_growth() {
  static_cast<void>(give_back(growth->file.get(), growth->slots * segment_bytes()));
  if (growth->is_new) ::unlink(chunk_path(view.directory(), growth->first).c_str());
  growth.reset();
}

// The next slice of the chunk being made; true: it was the last one, and the chunk is there.
template <class Memory>
Result<bool> BasicRingWriter<Memory>::Impl::grow_slice() {
  const std::uint64_t whole = growth->slots * segment_bytes();
  const std::uint64_t slice = std::min(kGrowthSlice, whole - growth->bytes);
  const bool is_last = growth->bytes + slice == whole;
  const std::string file = chunk_path(view.directory(), growth->first);
  Result<void> made = allocate(growth->file.get(), file, growth->bytes, slice);
  if (made && is_last && growth->is_new) {
    const std::uint64_t table = slot_table_bytes(growth->first + growth->slots);
    made = allocate(header_fd.get(), header_path(view.directory()), 0, table);
  }
  if (!made) {
    abandon_growth();
    return made.error();
  }
  view.populate(growth->first * segment_bytes() + growth->bytes, slice);
  growth->bytes += slice;
  if (!is_last) return false;
  if (growth->is_new) {
    // New entries are zero, in a table that nobody has spoilt.
    for (std::uint64_t s = growth->first; s < growth->first + growth->slots; ++s) {
      slot_table.adopt();
      if (slot_table.generation(s) % 2 == 1) slot_table.release(s);
    }
    space.add_chunk(growth->slots);
    words.set(&RingHeader::slot_count, space.size());
  } else {
    space.set_memory(space.chunk_of(growth->first), true);
  }
  growth.reset();
  return true;
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::finish_growth() {
  while (growth) {
    if (const Result<bool> grown = grow_slice(); !grown) return grown.error();
  }
  return {};
}

// Slots that would do, counted from the first one: for all that is in use and what is to come. Chunks that lie above have
// their segments moved below and are given back; those below keep their memory, for that.
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::Impl::enough_slots() const {
  return used_slots + used_slots / 32 + 3 * (options.chunk_bytes / segment_bytes());
}

// Mappings stay, its pages go: nobody who is allowed to read in the ring has an address in it (F2).
template <class Memory>
void BasicRingWriter<Memory>::Impl::give_back_idle_chunks() {
  if (growth && growth->first >= enough_slots()) abandon_growth();
  while (const std::optional<std::size_t> idle = space.idle(enough_slots())) {
    const SlotSpace::Chunk& chunk = space.chunks()[*idle];
    const std::string file = chunk_path(view.directory(), chunk.first);
    const Result<UniqueFd> fd = open_file(file, Access::kReadWrite);
    if (!fd) return;
    // F4: who still knows a slot as it was must not take the hole for unchanged.
    for (std::uint64_t s = chunk.first; s < chunk.first + chunk.slots; ++s) {
      if (slot_table.generation(s) > 0) skip_generation(s, position());
    }
    if (!give_back(fd->get(), chunk.slots * segment_bytes())) return;  // it stays, to be used again
    space.set_memory(*idle, false);
    ++chunks_given_back;
  }
}

// ---------------------------------------------------------------------- limits

template <class Memory>
std::uint64_t BasicRingWriter<Memory>::limit_slots() const {
  return impl_->options.max_bytes / impl_->segment_bytes();
}

template <class Memory>
std::int64_t BasicRingWriter<Memory>::available_slots() const {
  return static_cast<std::int64_t>(limit_slots() + impl_->pending_slots) -
         static_cast<std::int64_t>(impl_->used_slots);
}

// Up to where transactions may use the ring. Only what is large may use all of the reserve: otherwise it would just be a
// larger max_size.
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::Impl::limit_for(bool is_large) const {
  const std::uint64_t reserve =
      is_large ? options.reserve_bytes : options.reserve_bytes / 8 * overdraft_eighths;
  return options.max_bytes + reserve - std::min(options.max_bytes, kCompactionSlots * segment_bytes());
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::check_limit(std::uint64_t slots, std::uint64_t bytes,
                                                        RoomFor use) const {
  const std::uint64_t after = (used_slots + slots) * segment_bytes();
  // What fits behind the tail is welcome even when a large transaction has left more than max_size in use.
  if (slots == 0) return {};
  const bool is_large = bytes > options.chunk_bytes;
  if (use == RoomFor::kCompaction) {
    const bool is_beyond = used_slots * segment_bytes() > options.max_bytes;
    if (after <= options.max_bytes + (is_beyond ? options.reserve_bytes : 0)) return {};
    // A lowered limit, or the way back from beyond it: without room for its own step it would never come below.
    const bool is_stuck = (used_slots - pending_slots + slots) * segment_bytes() > options.max_bytes;
    if (is_stuck && pending_slots <= kCompactionSlots) return {};
  } else if (after <= limit_for(is_large)) {
    return {};
  }
  return Error{
      ErrorKind::kLimit,
      fmt::format(
          "the ring is full: {} bytes in use ({} of them live), {} more needed, ring.max_size is {}{}; raise "
          "ring.max_size",
          used_slots * segment_bytes(), ledger.live_bytes(), slots * segment_bytes(), options.max_bytes,
          is_large ? fmt::format(" (and ring.transaction_reserve {})", options.reserve_bytes) : "")};
}

// In what is left of the tail's segment, its end record kept free.
template <class Memory>
bool BasicRingWriter<Memory>::Impl::tail_holds(std::uint64_t bytes) const {
  const std::uint64_t left = segment_bytes() - std::min(segment_bytes(), offset);
  return segment.run == 1 && bytes + record_bytes(kSegmentEndPayload) <= left;
}
template <class Memory>
bool BasicRingWriter<Memory>::Impl::fits_behind_tail(const RoomNeeded& needed) const {
  return needed.jumbo.empty() && tail_holds(needed.bytes);
}

// Every segment but the last one is filled to within one record: that bounds how many a transaction takes, in whatever
// order its records come. A jumbo record closes the segment before it and opens one after it.
template <class Memory>
typename BasicRingWriter<Memory>::Impl::Slots BasicRingWriter<Memory>::Impl::slots_for(
    const RoomNeeded& needed) const {
  Slots slots;
  const std::uint64_t usable =
      needed.largest <= capacity() / 2 ? capacity() - needed.largest : capacity() / 2;
  if (fits_behind_tail(needed)) return slots;
  slots.singles = needed.jumbo.size() + (needed.bytes == 0 ? 0 : 1);
  if (!tail_holds(needed.bytes)) slots.singles += needed.bytes / usable;
  slots.all = slots.singles;
  for (const std::uint64_t bytes : needed.jumbo) {
    const std::uint64_t whole = bytes + checkpoint_bytes() + record_bytes(kSegmentEndPayload);
    slots.runs.push_back(static_cast<std::uint32_t>((whole + segment_bytes() - 1) / segment_bytes()));
    slots.all += slots.runs.back();
  }
  return slots;
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::take_jumbos(const std::vector<std::uint32_t>& runs) {
  // What an attempt before took and this one cannot use as it is becomes ordinary slots again.
  std::size_t fitting = 0;
  while (fitting < std::min(runs.size(), ready_jumbos.size()) &&
         ready_jumbos[fitting].second == runs[fitting]) {
    ++fitting;
  }
  while (ready_jumbos.size() > fitting) {
    space.release(ready_jumbos.back().first, ready_jumbos.back().second);
    ready_jumbos.pop_back();
  }
  for (std::size_t i = fitting; i < runs.size(); ++i) {
    std::optional<std::uint64_t> first = space.find(runs[i], false);
    if (!first) {
      RINGSIDE_TRY(finish_growth());  // it may be in the way
      first = space.find(runs[i], true);
      for (std::uint64_t s = first.value_or(0); first && s < *first + runs[i]; ++s) {
        const std::size_t chunk = space.chunk_of(s);
        if (space.chunks()[chunk].has_memory) continue;
        RINGSIDE_TRY(begin_refill(chunk));
        RINGSIDE_TRY(finish_growth());
      }
    }
    if (!first) {
      first = space.size();
      RINGSIDE_TRY(begin_chunk(runs[i]));
      RINGSIDE_TRY(finish_growth());
    }
    space.take(*first, runs[i]);
    ready_jumbos.emplace_back(*first, runs[i]);
  }
  return {};
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::find_memory(const Slots& slots, RoomFor use) {
  RINGSIDE_TRY(take_jumbos(slots.runs));
  while (space.ready() < slots.singles) {
    if (!growth) RINGSIDE_TRY(begin_growth());
    RINGSIDE_ASSIGN(const bool is_whole, grow_slice());
    if (!is_whole && use == RoomFor::kCompaction) {
      return Error{ErrorKind::kUnavailable, "the chunk that compaction's step needs is being made"};
    }
  }
  return {};
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::make_room(const RoomNeeded& needed, RoomFor use) {
  Impl& self = *impl_;
  RINGSIDE_ASSERT(needed.largest <= self.capacity());
  // Readers hold the tail's line, and those behind it that their processors have guessed: taken back while the records are
  // still made.
  self.view.prefetch_to_write(self.tail_address(), needed.bytes);
  Result<void> made;
  self.lacks_memory = false;
  if (!self.fits_behind_tail(needed) || !self.ready_jumbos.empty()) {
    const typename Impl::Slots slots = self.slots_for(needed);
    made = self.check_limit(slots.all, slots.all * self.segment_bytes(), use);
    if (made) {
      made = self.find_memory(slots, use);
      self.lacks_memory = !made && made.error().kind != ErrorKind::kUnavailable;
    }
  }
  // That compaction finds room for its own records does not end a transaction's wait.
  if (use == RoomFor::kTransaction) {
    self.waits_for_readers = !made && !self.pending.empty();
  }
  return made;
}

template <class Memory>
RoomOutlook BasicRingWriter<Memory>::outlook(const RoomNeeded& needed, bool& is_large) const {
  const Impl& self = *impl_;
  const std::uint64_t slots = self.slots_for(needed).all;
  is_large = slots * self.segment_bytes() > self.options.chunk_bytes;
  const std::uint64_t limit = self.limit_for(is_large) / self.segment_bytes();
  if (self.ledger.live_bytes() / self.segment_bytes() + slots > limit) return RoomOutlook::kNone;
  return self.used_slots - self.pending_slots + slots <= limit ? RoomOutlook::kReaders
                                                               : RoomOutlook::kCompaction;
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::set_limits(std::uint64_t max_bytes, std::uint64_t reserve_bytes) {
  Impl& self = *impl_;
  const std::uint64_t addressable = self.view.max_slots() * self.segment_bytes();
  if (max_bytes + reserve_bytes > addressable) {
    return Error{
        ErrorKind::kInvalid,
        fmt::format("ring.max_size and ring.transaction_reserve come to {} bytes, this ring can address {}: "
                    "restart the writer, it makes one that can",
                    max_bytes + reserve_bytes, addressable)};
  }
  self.options.max_bytes = max_bytes;
  self.options.reserve_bytes = reserve_bytes;
  self.words.set(&RingHeader::limit_bytes, max_bytes);
  return {};
}

template <class Memory>
void BasicRingWriter<Memory>::set_reader_limits(const RingOptions& options) {
  impl_->options.reader_limit_bytes = options.reader_limit_bytes;
  impl_->options.reader_grace_ns = options.reader_grace_ns;
  impl_->options.reader_wait_ns = options.reader_wait_ns;
}

template <class Memory>
void BasicRingWriter<Memory>::set_overdraft(unsigned eighths) {
  impl_->overdraft_eighths = eighths;
}

// ---------------------------------------------------------------------- what is live

template <class Memory>
void BasicRingWriter<Memory>::count_live(Address address, TableId table, std::uint64_t bytes, Version version,
                                         bool is_carried) {
  impl_->ledger.add(impl_->slot_of(address), table, bytes, version, is_carried);
}
template <class Memory>
bool BasicRingWriter<Memory>::count_dead(Address address, TableId table, std::uint64_t bytes) {
  return impl_->ledger.remove(impl_->slot_of(address), table, bytes);
}
template <class Memory>
void BasicRingWriter<Memory>::forget_table(TableId table) {
  impl_->ledger.forget(table);
}

// ---------------------------------------------------------------------- compaction

template <class Memory>
std::vector<std::uint64_t> BasicRingWriter<Memory>::Impl::pinned_slots(
    std::span<const Address> pinned) const {
  std::vector<std::uint64_t> slots = {segment.slot};
  for (const Address address : pinned) slots.push_back(slot_of(address));
  return slots;
}

template <class Memory>
bool BasicRingWriter<Memory>::Impl::begin_scan(const std::optional<SegmentLedger::Victim>& chosen) {
  RINGSIDE_ASSERT(!victim);
  Scan scan;
  if (!chosen || view.read_slot(chosen->slot, committed, scan.segment) != SlotState::kInUse) return false;
  victim = scan;
  return true;
}

template <class Memory>
bool BasicRingWriter<Memory>::pick_victim(std::span<const Address> pinned, double most_live) {
  Impl& self = *impl_;
  return self.begin_scan(self.ledger.pick_victim(self.pinned_slots(pinned), self.version, most_live));
}

template <class Memory>
bool BasicRingWriter<Memory>::is_looking() const {
  return impl_->ledger.is_looking();
}

template <class Memory>
bool BasicRingWriter<Memory>::pick_topmost(std::span<const Address> pinned) {
  Impl& self = *impl_;
  const std::uint64_t enough = self.enough_slots();
  if (self.space.slots_with_memory() <= enough) return false;
  const std::vector<std::uint64_t> kept = self.pinned_slots(pinned);
  const std::vector<SlotSpace::Chunk>& chunks = self.space.chunks();
  for (auto chunk = chunks.rbegin(); chunk != chunks.rend() && chunk->first >= enough; ++chunk) {
    const std::optional<std::uint64_t> below = self.space.find(1, false);
    if (chunk->taken == 0 || !below || *below >= enough) continue;
    if (const auto segment = self.ledger.first_within(chunk->first, chunk->slots, kept))
      return self.begin_scan(segment);
  }
  return false;
}

template <class Memory>
bool BasicRingWriter<Memory>::has_victim() const {
  return impl_->victim.has_value();
}
template <class Memory>
Result<bool> BasicRingWriter<Memory>::next_of_victim(Record& record) {
  Impl& self = *impl_;
  typename Impl::Scan& scan = *self.victim;
  const Error corrupt{ErrorKind::kCorrupt,
                      fmt::format("the record at position {} (slot {}, offset {}) contradicts itself",
                                  scan.segment.start_position + scan.offset, scan.segment.slot, scan.offset)};
  if (scan.offset + kRecordHeaderBytes > scan.segment.run * self.segment_bytes()) return corrupt;
  record.address = (scan.segment.slot * self.segment_bytes() + scan.offset) / 8;
  record.position = Position(scan.segment.start_position + scan.offset);
  if (self.victim_buffer.size() < 4096) self.victim_buffer.resize(4096);
  CopyStatus status = self.view.copy_record(record.address, record.header, self.victim_buffer);
  if (status == CopyStatus::kTooSmall) {
    self.victim_buffer.resize(record.header.length);
    status = self.view.copy_record(record.address, record.header, self.victim_buffer);
  }
  if (status != CopyStatus::kOk)
    return corrupt;  // its checksum included: what is appended again gets a new one
  record.bytes = {self.victim_buffer.data(), record.header.length};
  if (record.header.type == RecordType::kSegmentEnd) return false;
  scan.offset += record.header.length;
  return true;
}

template <class Memory>
void BasicRingWriter<Memory>::put_back(const Record& record) {
  impl_->victim->offset -= record.header.length;
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::finish_victim() {
  Impl& self = *impl_;
  RINGSIDE_ASSERT(self.victim && self.position() == self.committed);
  const SlotInfo segment = self.victim->segment;
  if (self.ledger.live_bytes(segment.slot) != 0) {
    return Error{ErrorKind::kCorrupt,
                 fmt::format("{} bytes of the segment in slot {} are live after all that was live in "
                             "it was published elsewhere",
                             self.ledger.live_bytes(segment.slot), segment.slot)};
  }
  self.ledger.close(segment.slot);
  self.pending.push_back({segment.slot, segment.run, self.committed, false});
  self.pending_slots += segment.run;
  self.victim.reset();
  return {};
}

template <class Memory>
bool BasicRingWriter<Memory>::lacks_memory() const {
  return impl_->lacks_memory;
}

template <class Memory>
bool BasicRingWriter<Memory>::has_pending() const {
  return !impl_->pending.empty();
}

// First in, first out, each freed only after a look at the readers that follows the freeing of the one before it: so
// a joiner that still sees an earlier segment keeps every later one.
template <class Memory>
bool BasicRingWriter<Memory>::reclaim() {
  Impl& self = *impl_;
  if (self.pending.empty()) return false;
  std::uint64_t lowest = self.lowest_reclaim_position();  // F0
  for (typename Impl::Pending& each : self.pending) {
    if (each.position > lowest) break;
    if (each.is_freed) continue;
    self.slot_table.release(each.slot);  // F1
    each.is_freed = true;
    lowest = self.lowest_reclaim_position();  // F2, and F0 of the next
  }
  bool has_gained = false;
  while (!self.pending.empty() && self.pending.front().is_freed && self.pending.front().position <= lowest) {
    const typename Impl::Pending& each = self.pending.front();
    // Slots of a run will be segments of their own: whoever knew them as one must not take the first for unchanged.
    const bool was_run = static_cast<std::uint32_t>(self.slot_table.own(each.slot).run_and_chunk) > 1;
    if (was_run) self.skip_generation(each.slot, self.position());
    self.space.release(each.slot, each.run);
    self.used_slots -= each.run;
    self.pending_slots -= each.run;
    ++self.segments_freed;
    self.pending.pop_front();
    has_gained = true;
  }
  if (has_gained) {
    self.words.set(&RingHeader::used_bytes, self.used_slots * self.segment_bytes());
    self.give_back_idle_chunks();
  }
  return has_gained;
}

}  // namespace ringside::shm
