// LogView: an epoch's memory as a process sees it — header, slot table, chunks — and the checked way to a
// record in it. Shared by readers (read-only) and by the writer (which recovers and indexes through the same
// code). LogWalker: steps over the records in log order, from the oldest segment to the committed position.
//
// Nothing found in the memory is believed: lengths, slots, positions and generations are checked here, once.
//
// Threads: one per object; another process writes underneath.   Ownership: LogView owns the mappings.
// Errors: Result for system calls and identity, CopyStatus / WalkStatus for what the memory says.
// Allocation: copy_record, equals, hash: none. walk: grows a buffer, maps chunks.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/key.h"
#include "shm/layout.h"
#include "shm/look_ahead.h"
#include "shm/memory.h"
#include "shm/record.h"
#include "shm/ring_files.h"
#include "shm/row_index.h"
#include "shm/slot_table.h"
#include "shm/twin_word.h"

namespace ringside::shm {

template <class Memory>
class LogView {
 public:
  // Maps header and address space of the epoch in this directory. kUnavailable: not whole yet. kUnsupported:
  // another layout. kCorrupt: contradicts itself.
  static Result<LogView> open(const std::string& epoch_directory, Access access);

  const std::string& directory() const { return directory_; }
  RingHeader& header() const { return *static_cast<RingHeader*>(header_.data()); }
  std::uint64_t load(const std::uint64_t& word) const { return Memory::load_acquire(&word); }
  std::uint64_t load_seq_cst(const std::uint64_t& word) const { return Memory::load_seq_cst(&word); }

  Epoch epoch() const { return epoch_; }
  std::uint64_t segment_bytes() const { return std::uint64_t{1} << segment_shift_; }
  std::uint64_t chunk_bytes() const { return chunk_bytes_; }
  std::uint64_t max_slots() const { return max_slots_; }
  SlotEntry& slot_entry(std::uint64_t slot) const {
    return reinterpret_cast<SlotEntry*>(static_cast<std::byte*>(header_.data()) + kHeaderBytes)[slot];
  }
  std::byte* at(Address address) const { return space_.base() + address * 8; }
  // Asks for the first lines of so many bytes of log.
  void prefetch(Address address, std::uint64_t bytes) const {
    const std::byte* end = at(address) + std::min<std::uint64_t>(bytes, 512);
    for (auto line = at(address); line < end; line += 64) __builtin_prefetch(line);
  }

  // The committed position for one who has come to `reached`. False: the header's word contradicts itself, or what was
  // reached.
  bool load_committed(std::uint64_t reached, std::uint64_t& committed) const;
  // The committed position for one who has reached nothing yet (J3). False: word and copy differ and go on to.
  bool load_committed_to_join(std::uint64_t& committed) const;
  // How many entries the slot table has. False: the header's word contradicts itself.
  bool load_slot_count(std::uint64_t& count) const;

  // The table's word on a slot. One that is just being taken or freed counts as free (J3). `committed`: a committed
  // position that was read before.
  SlotState read_slot(std::uint64_t slot, std::uint64_t committed, SlotInfo& info) const;
  // Maps the chunk that begins with this slot; how many slots it has.
  Result<std::uint64_t> map_chunk(std::uint64_t first_slot);
  // For the writer, of a chunk just mapped: what it appends is not to stop at every page for a fault.
  void populate(std::uint64_t first, std::uint64_t n) {
    space_.populate(first << segment_shift_, n << segment_shift_);
  }
  // Makes the slot readable through this view and remembers its generation.
  Result<void> know(const SlotInfo& slot);

  CopyStatus copy_record(Address address, RecordHeader& header, std::span<std::byte> buffer) const;

  // Rows for RowIndex.
  bool equals(Address address, Bytes key) const;
  std::uint64_t hash(Address address) const;
  void prefetch_key(Address address) const {
    const std::byte* record = at(address);  // whatever it is: a prefetch does not fault
    __builtin_prefetch(record + 16);
    __builtin_prefetch(record + kRecordHeaderBytes + 7);
  }
  // Readable bytes from there up to the end of its segment; 0: no record can be there.
  std::uint64_t room_at(Address address) const {
    std::uint64_t slot = 0;
    std::uint64_t room = 0;
    return locate(address, slot, room) == nullptr ? 0 : room;
  }

 private:
  struct Known {
    std::uint64_t generation = 0;  // of the segment's first slot; 0: never seen
    std::uint32_t run = 0;         // slots of the segment
    std::uint32_t index = 0;  // of this slot in it: the records behind a jumbo one stand in its last slot
    bool mapped = false;
  };

  // The known segment that holds a record at this address: its first slot, and how many bytes there are up to
  // its end.
  const Known* locate(Address address, std::uint64_t& first_slot, std::uint64_t& room) const;
  // Still the contents that we know? A slot that was freed (generation + 1) keeps its bytes until it is
  // reused.
  bool is_unchanged(std::uint64_t first_slot, const Known& known) const {
    return Memory::load_acquire(&slot_entry(first_slot).generation) - known.generation <= 1;
  }

  std::string directory_;
  Access access_ = Access::kRead;
  // The file mapped last, kept open: given up for the next chunk, so that a reader whose clients have taken all other
  // descriptors can still follow the log.
  UniqueFd spare_;
  MappedFile header_;
  LogSpace space_;
  Epoch epoch_;
  unsigned segment_shift_ = 0;
  std::uint64_t chunk_bytes_ = 0;
  std::uint64_t max_slots_ = 0;
  std::vector<Known> known_;
};

enum class WalkStatus : std::uint8_t { kRecord, kCaughtUp, kGone, kCorrupt };

template <class Memory>
class LogWalker {
 public:
  // Sets the walk to the oldest segment in use (J3, J4). kCorrupt: header or slot table contradict themselves.
  // kUnavailable: it cannot be told at the moment what is committed.
  Result<void> start(LogView<Memory>& view);
  // For the writer that opens: the walk ends at this position, whatever the header says.
  Result<void> start(LogView<Memory>& view, std::uint64_t limit);
  // The next record below the committed position. A segment end is followed and not returned.
  WalkStatus next(LogView<Memory>& view, Record& record);

  Position position() const { return Position(position_); }
  // The address that belongs to position().
  Address address() const { return address_; }
  // Of the segment walked.
  const SlotInfo& segment() const { return segment_; }

 private:
  bool enter(LogView<Memory>& view, const SlotInfo& slot);
  WalkStatus follow(LogView<Memory>& view, const Record& end);

  std::uint64_t position_ = 0;
  std::uint64_t limit_ = 0;  // committed position as last read
  bool is_limit_fixed_ = false;
  Address address_ = 0;
  SlotInfo segment_;
  bool is_behind_gap_ = false;
  std::vector<SlotInfo> pending_;  // segments to be walked after this one, newest first
  std::vector<std::byte> buffer_;
  LookAhead<Memory> ahead_;
};

// ---------------------------------------------------------------------------------------------------------------

template <class Memory>
Result<LogView<Memory>> LogView<Memory>::open(const std::string& epoch_directory, Access access) {
  LogView view;
  view.directory_ = epoch_directory;
  view.access_ = access;
  const std::string path = header_path(epoch_directory);
  RINGSIDE_ASSIGN(UniqueFd fd, open_file(path, access));
  RINGSIDE_ASSIGN(const std::uint64_t size, file_size(fd.get(), path));
  if (size < kHeaderBytes) return Error{ErrorKind::kUnavailable, path + " is not whole yet"};
  RINGSIDE_ASSIGN(view.header_, MappedFile::map(path, access, size));
  view.spare_ = std::move(fd);

  // Each word is loaded once: what is checked is what is used.
  const RingHeader& shared = view.header();
  view.epoch_ = Epoch(Memory::load_acquire(&shared.epoch));  // first: it was stored last
  RingHeader h{};
  copy_out<Memory>(&h, &shared, offsetof(RingHeader, reserved0));
  if (view.epoch_.value() == 0 && access == Access::kRead) {
    return Error{ErrorKind::kUnavailable, path + " is not whole yet"};
  }
  if (h.magic != kRingMagic) return Error{ErrorKind::kCorrupt, path + " is no ring"};
  if (h.layout_version != kLayoutVersion) {
    return Error{ErrorKind::kUnsupported,
                 fmt::format("{} has layout {}, this program reads layout {}: start a writer of "
                             "this version, it makes the ring anew",
                             path, h.layout_version, kLayoutVersion)};
  }
  const bool sane = h.identity_crc == crc32c(&h.magic, 5 * sizeof(std::uint64_t)) &&
                    std::has_single_bit(h.segment_bytes) && h.segment_bytes >= kMinSegmentBytes &&
                    h.segment_bytes <= kMaxSegmentBytes && h.chunk_bytes % h.segment_bytes == 0 &&
                    h.chunk_bytes > 0 && h.max_slots > 0 && h.max_slots <= kMaxLogBytes / h.segment_bytes &&
                    size >= slot_table_bytes(h.max_slots);
  if (!sane) return Error{ErrorKind::kCorrupt, path + ": its identity contradicts itself"};
  view.segment_shift_ = static_cast<unsigned>(std::countr_zero(h.segment_bytes));
  view.chunk_bytes_ = h.chunk_bytes;
  view.max_slots_ = h.max_slots;
  RINGSIDE_ASSIGN(view.space_, LogSpace::reserve(view.max_slots_ << view.segment_shift_));
  return view;
}

// The copy is stored first and is never behind. While the two differ, what the word says is committed all the same.
template <class Memory>
bool LogView<Memory>::load_committed(std::uint64_t reached, std::uint64_t& committed) const {
  committed = Memory::load_acquire(&header().committed_position.word);  // pairs with P3
  return committed >= reached && committed <= Memory::load_acquire(&header().committed_position.copy);
}

// A word that has lost a bit may name an older end of the log, whose rows are in slots that were freed since: who
// has reached nothing cannot tell, and waits until the two agree.
template <class Memory>
bool LogView<Memory>::load_committed_to_join(std::uint64_t& committed) const {
  const TwinWord& position = header().committed_position;
  for (int attempt = 0; attempt < kTwinAttempts; ++attempt) {
    committed = Memory::load_seq_cst(&position.word);  // J3
    if (Memory::load_acquire(&position.copy) == committed) return true;
  }
  return false;
}

// The copy is stored first: entries that the word does not count yet are there, and free.
template <class Memory>
bool LogView<Memory>::load_slot_count(std::uint64_t& count) const {
  const std::uint64_t word = Memory::load_acquire(&header().slot_count.word);
  count = Memory::load_acquire(&header().slot_count.copy);
  return count >= word && count <= max_slots_;
}

template <class Memory>
SlotState LogView<Memory>::read_slot(std::uint64_t slot, std::uint64_t committed, SlotInfo& info) const {
  std::uint64_t count = 0;
  if (!load_slot_count(count)) return SlotState::kCorrupt;
  if (slot >= count) return SlotState::kFree;
  info.slot = slot;
  return read_slot_entry<Memory>(slot_entry(slot), committed, max_slots_, info);
}

template <class Memory>
Result<void> LogView<Memory>::know(const SlotInfo& slot) {
  if (known_.size() < slot.slot + slot.run) known_.resize(slot.slot + slot.run);
  // All of it must be mapped before any of it counts as readable. A run may go on in the chunks behind its first one.
  std::uint64_t chunk = slot.chunk_first;
  for (std::uint64_t s = slot.slot; s < slot.slot + slot.run; ++s) {
    while (!known_[s].mapped) {
      if (chunk > s) {
        return Error{ErrorKind::kCorrupt,
                     fmt::format("slot {} lies outside its chunk {}", s, slot.chunk_first)};
      }
      const Result<std::uint64_t> slots = map_chunk(chunk);
      if (!slots) return slots.error();
      chunk += *slots;
    }
  }
  for (std::uint32_t i = 0; i < slot.run; ++i) {
    known_[slot.slot + i] = Known{slot.generation, slot.run, i, true};
  }
  return {};
}

template <class Memory>
Result<std::uint64_t> LogView<Memory>::map_chunk(std::uint64_t first_slot) {
  const std::string path = chunk_path(directory_, first_slot);
  spare_.reset();
  RINGSIDE_ASSIGN(UniqueFd fd, open_file(path, access_));
  RINGSIDE_ASSIGN(const std::uint64_t size, file_size(fd.get(), path));
  const std::uint64_t slots = size >> segment_shift_;
  if (slots == 0 || size % segment_bytes() != 0 || slots > max_slots_ || first_slot > max_slots_ - slots) {
    return Error{ErrorKind::kCorrupt,
                 fmt::format("{} has a size of {} bytes, which no chunk has", path, size)};
  }
  RINGSIDE_TRY(space_.map(fd.get(), path, access_, first_slot << segment_shift_, size));
  if (known_.size() < first_slot + slots) known_.resize(first_slot + slots);
  for (std::uint64_t s = first_slot; s < first_slot + slots; ++s) known_[s].mapped = true;
  spare_ = std::move(fd);
  return slots;
}

template <class Memory>
const typename LogView<Memory>::Known* LogView<Memory>::locate(Address address, std::uint64_t& first_slot,
                                                               std::uint64_t& room) const {
  const std::uint64_t byte = address * 8;
  const std::uint64_t slot = byte >> segment_shift_;
  if (slot >= known_.size()) return nullptr;
  const Known& known = known_[slot];
  if (known.generation == 0) return nullptr;
  first_slot = slot - known.index;
  room = (std::uint64_t{known.run - known.index} << segment_shift_) - (byte & (segment_bytes() - 1));
  return room < kRecordHeaderBytes ? nullptr : &known;
}

template <class Memory>
CopyStatus LogView<Memory>::copy_record(Address address, RecordHeader& header,
                                        std::span<std::byte> buffer) const {
  std::uint64_t slot = 0;
  std::uint64_t room = 0;
  const Known* known = locate(address, slot, room);
  if (known == nullptr) return CopyStatus::kCorrupt;
  if (buffer.size() < kRecordHeaderBytes) return CopyStatus::kTooSmall;
  copy_out<Memory>(buffer.data(), at(address), kRecordHeaderBytes);  // R1
  const bool plausible = load_header(buffer.data(), header) && header.length <= room;
  if (!plausible) return is_unchanged(slot, *known) ? CopyStatus::kCorrupt : CopyStatus::kGone;
  if (header.length > buffer.size()) return CopyStatus::kTooSmall;
  copy_out<Memory>(buffer.data() + kRecordHeaderBytes, at(address) + kRecordHeaderBytes,
                   header.length - kRecordHeaderBytes);
  return is_unchanged(slot, *known) ? CopyStatus::kOk : CopyStatus::kGone;  // R2
}

template <class Memory>
bool LogView<Memory>::equals(Address address, Bytes key) const {
  std::uint64_t slot = 0;
  std::uint64_t room = 0;
  if (locate(address, slot, room) == nullptr || key.size() > room - kRecordHeaderBytes) return false;
  const auto* words = reinterpret_cast<const std::uint64_t*>(at(address));
  // Word 2: ShapeId and key length.
  if (Memory::load_acquire(words + 2) >> 32 != key.size()) return false;
  const std::uint64_t* from = words + kRecordHeaderBytes / 8;
  std::size_t i = 0;
  for (; i + 8 <= key.size(); i += 8, ++from) {
    if (Memory::load_acquire(from) != load_le<std::uint64_t>(key.data() + i)) return false;
  }
  if (i == key.size()) return true;
  std::byte last[8];
  const std::uint64_t word = Memory::load_acquire(from);  // inside: records are padded to words
  std::memcpy(last, &word, 8);
  return std::memcmp(last, key.data() + i, key.size() - i) == 0;
}

template <class Memory>
std::uint64_t LogView<Memory>::hash(Address address) const {
  std::uint64_t slot = 0;
  std::uint64_t room = 0;
  if (locate(address, slot, room) == nullptr) return 0;
  const auto* words = reinterpret_cast<const std::uint64_t*>(at(address));
  const std::uint64_t size = Memory::load_acquire(words + 2) >> 32;
  if (size > room - kRecordHeaderBytes || size > kMaxKeyBytes) return 0;
  alignas(8) std::byte key[kMaxKeyBytes];
  copy_out<Memory>(key, at(address) + kRecordHeaderBytes, (size + 7) / 8 * 8);
  return key_hash({key, size});
}

template <class Memory>
bool LogWalker<Memory>::enter(LogView<Memory>& view, const SlotInfo& slot) {
  if (!view.know(slot)) return false;
  // Compaction has taken what stood between this segment and the one before it (or this is the first).
  is_behind_gap_ = segment_.run == 0 ||
                   slot.start_position != segment_.start_position + segment_.run * view.segment_bytes();
  segment_ = slot;
  position_ = slot.start_position;
  address_ = slot.slot * (view.segment_bytes() / 8);
  return true;
}

template <class Memory>
Result<void> LogWalker<Memory>::start(LogView<Memory>& view) {
  std::uint64_t committed = 0;
  if (!view.load_committed_to_join(committed)) {  // J3
    return Error{ErrorKind::kUnavailable,
                 "the ring's committed position and its copy differ: its next writer sets them right"};
  }
  RINGSIDE_TRY(start(view, committed));
  is_limit_fixed_ = false;
  return {};
}

template <class Memory>
Result<void> LogWalker<Memory>::start(LogView<Memory>& view, std::uint64_t limit) {
  limit_ = limit;
  is_limit_fixed_ = true;
  pending_.clear();
  std::uint64_t count = 0;
  if (!view.load_slot_count(count))
    return Error{ErrorKind::kCorrupt, "the ring's count of slots contradicts itself"};
  for (std::uint64_t s = 0; s < count; ++s) {
    SlotInfo slot;
    const SlotState state = view.read_slot(s, limit_, slot);
    if (state == SlotState::kCorrupt) {  // passing it over would lose its rows without a word
      return Error{ErrorKind::kCorrupt,
                   fmt::format("the ring's slot table contradicts itself at slot {}", s)};
    }
    if (state == SlotState::kInUse && slot.start_position < limit_) pending_.push_back(slot);  // J4
  }
  std::sort(pending_.begin(), pending_.end(),
            [](const SlotInfo& a, const SlotInfo& b) { return a.start_position > b.start_position; });
  if (pending_.empty()) return Error{ErrorKind::kCorrupt, "the ring's slot table names no oldest segment"};
  const SlotInfo first = pending_.back();
  pending_.pop_back();
  if (enter(view, first)) return {};
  return Error{ErrorKind::kCorrupt,
               fmt::format("the ring's oldest segment, in slot {}, cannot be read", first.slot)};
}

template <class Memory>
WalkStatus LogWalker<Memory>::next(LogView<Memory>& view, Record& record) {
  for (;;) {
    if (position_ >= limit_) {
      if (is_limit_fixed_ && position_ == limit_) return WalkStatus::kCaughtUp;
      if (is_limit_fixed_ || !view.load_committed(position_, limit_)) return WalkStatus::kCorrupt;
      if (position_ == limit_) return WalkStatus::kCaughtUp;
      // A transaction just learnt of: its lines come from the writer's cache together, not one record after the other.
      view.prefetch(address_, limit_ - position_);
    }
    if (buffer_.size() < 4096) buffer_.resize(4096);
    CopyStatus status = view.copy_record(address_, record.header, buffer_);
    if (status == CopyStatus::kTooSmall) {
      buffer_.resize(record.header.length);
      status = view.copy_record(address_, record.header, buffer_);
    }
    if (status == CopyStatus::kGone) return WalkStatus::kGone;
    if (status != CopyStatus::kOk) return WalkStatus::kCorrupt;
    record.bytes = {buffer_.data(), record.header.length};
    record.address = address_;
    record.position = Position(position_);
    record.is_behind_gap = is_behind_gap_;
    if (record_crc(record.bytes, record.position) != record.header.crc) return WalkStatus::kCorrupt;
    const bool opens = position_ == segment_.start_position;
    if (opens != (record.header.type == RecordType::kCheckpoint) ||
        record.header.length > limit_ - position_) {
      return WalkStatus::kCorrupt;
    }
    if (record.header.type == RecordType::kSegmentEnd) {
      const WalkStatus followed = follow(view, record);
      if (followed != WalkStatus::kRecord) return followed;
      continue;
    }
    position_ += record.header.length;
    address_ += record.header.length / 8;
    ahead_.step(view, position_, address_, limit_, record);
    return WalkStatus::kRecord;
  }
}

template <class Memory>
WalkStatus LogWalker<Memory>::follow(LogView<Memory>& view, const Record& end) {
  const std::uint64_t start = segment_.start_position + segment_.run * view.segment_bytes();
  // Joining: the segments are known, and some between them may have been compacted away.
  if (!pending_.empty()) {
    const SlotInfo slot = pending_.back();
    pending_.pop_back();
    return slot.start_position >= start && enter(view, slot) ? WalkStatus::kRecord : WalkStatus::kCorrupt;
  }
  ByteReader reader(end.bytes.subspan(kRecordHeaderBytes));
  const std::uint64_t slot = reader.u64();
  const std::uint64_t generation = reader.u64();
  SlotInfo next;
  const bool fits = reader.ok() && view.read_slot(slot, limit_, next) == SlotState::kInUse &&
                    next.generation == generation && next.start_position == start;
  return fits && enter(view, next) ? WalkStatus::kRecord : WalkStatus::kCorrupt;
}

}  // namespace ringside::shm
