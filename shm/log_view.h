// LogView: an epoch's memory as a process sees it — header, slot table, chunks — and the checked way to a
// record in it. Shared by readers (read-only) and by the writer (which recovers and indexes through the same
// code); log_walker.h steps over the records in order.
//
// Nothing found in the memory is believed: lengths, slots, positions and generations are checked here, once.
//
// Threads: one per object; another process writes underneath.   Ownership: LogView owns the mappings.
// Errors: Result for system calls and identity, CopyStatus for what the memory says.
// Allocation: copy_record, verify, equals, hash: none.
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
#include "base/prefetch.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/key.h"
#include "shm/layout.h"
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
  // Asks for the lines of so many bytes of log, of a kilobyte at most.
  void prefetch(Address address, std::uint64_t bytes) const {
    const std::byte* end = at(address) + std::min<std::uint64_t>(bytes, 1024);
    for (auto line = at(address); line < end; line += 64) prefetch_line(line);
  }
  void prefetch_to_write(Address address, std::uint64_t bytes) const {
    const std::byte* end = at(address) + std::min<std::uint64_t>(bytes, 512);
    for (auto line = at(address); line < end; line += 64) prefetch_line_to_write(line);
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
  // For the writer, of a part of a chunk that is mapped, from this byte of the log's space on: what it appends is not to
  // stop at every page for a fault.
  void populate(std::uint64_t from, std::uint64_t bytes) { space_.populate(from, bytes); }
  // Makes the slot readable through this view and remembers its generation.
  Result<void> know(const SlotInfo& slot);

  // The whole record, its checksum verified. kTooSmall: its header alone was looked at, and nothing of it verified but
  // that its length lies inside the segment.
  CopyStatus copy_record(Address address, RecordHeader& header, std::span<std::byte> buffer) const;
  // Whether the record at this address is what was written there. In place: for records that are not copied.
  bool verify(Address address) const;
  // The first address at which bytes were found that contradict their checksum, by whatever function; 0: none.
  Address corrupt_address() const { return corrupt_; }
  // Of an address in a segment that is known; 0 when it is not.
  Position position_of(Address address) const;

  // Rows for RowIndex. A key that does not fit, and one that is hashed, is verified with its record: a row must not be lost
  // for a bit of its key. What is found is corrupt_address()'s.
  bool equals(Address address, Bytes key) const;
  std::uint64_t hash(Address address) const;
  void prefetch_key(Address address) const {
    const std::byte* record = at(address);  // whatever it is: a prefetch does not fault
    prefetch_line(record + 16);
    prefetch_line(record + kRecordHeaderBytes + 7);
  }

 private:
  struct Known {
    std::uint64_t generation = 0;  // of the segment's first slot; 0: never seen
    std::uint32_t run = 0;         // slots of the segment
    std::uint32_t index = 0;  // of this slot in it: the records behind a jumbo one stand in its last slot
    bool mapped = false;
    std::uint64_t start_position = 0;  // of the segment
  };

  // The known segment that holds a record at this address: its first slot, and how many bytes there are up to
  // its end.
  const Known* locate(Address address, std::uint64_t& first_slot, std::uint64_t& room) const;
  bool has_key(Address address, Bytes key) const;
  // Still the contents that we know? A slot that was freed (generation + 1) keeps its bytes until it is
  // reused.
  bool is_unchanged(std::uint64_t first_slot, const Known& known) const {
    return Memory::load_acquire(&slot_entry(first_slot).generation) - known.generation <= 1;
  }
  Position position_in(const Known& known, Address address) const {
    const std::uint64_t offset = address * 8 & (segment_bytes() - 1);
    return Position(known.start_position + (std::uint64_t{known.index} << segment_shift_) + offset);
  }
  CopyStatus corrupt(Address address) const {
    if (corrupt_ == 0) corrupt_ = address;
    return CopyStatus::kCorrupt;
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
  mutable Address corrupt_ = 0;
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
    known_[slot.slot + i] = Known{slot.generation, slot.run, i, true, slot.start_position};
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
  if (!plausible) return is_unchanged(slot, *known) ? corrupt(address) : CopyStatus::kGone;
  if (header.length > buffer.size()) return CopyStatus::kTooSmall;
  // Asked for together: a processor that is busy summing the first lines does not run ahead to the others by itself.
  prefetch(address + 128 / 8, header.length - std::min<std::uint64_t>(header.length, 128));
  const std::uint32_t crc =
      copy_out_record<Memory>(buffer.data(), at(address) + kRecordHeaderBytes, header.length,
                              kRecordHeaderBytes, position_in(*known, address).value());
  if (!is_unchanged(slot, *known)) return CopyStatus::kGone;  // R2
  return crc == header.crc ? CopyStatus::kOk : corrupt(address);
}

template <class Memory>
bool LogView<Memory>::verify(Address address) const {
  std::uint64_t slot = 0;
  std::uint64_t room = 0;
  const Known* known = locate(address, slot, room);
  if (known == nullptr) return false;
  constexpr std::size_t kPiece = 512;
  alignas(8) std::byte piece[kPiece];
  RecordHeader header;
  copy_out<Memory>(piece, at(address), kRecordHeaderBytes);
  bool fits = load_header(piece, header) && header.length <= room;
  if (fits) {
    std::uint32_t crc = crc32c(piece + 4, kRecordHeaderBytes - 4);
    for (std::size_t done = kRecordHeaderBytes; done < header.length;) {
      const std::size_t size = std::min(kPiece, header.length - done);
      copy_out<Memory>(piece, at(address) + done, size);
      crc = crc32c(piece, size, crc);
      done += size;
    }
    store_le<std::uint64_t>(piece, position_in(*known, address).value());
    fits = crc32c(piece, 8, crc) == header.crc;
  }
  if (!fits && is_unchanged(slot, *known)) static_cast<void>(corrupt(address));
  return fits;
}

template <class Memory>
Position LogView<Memory>::position_of(Address address) const {
  std::uint64_t slot = 0;
  std::uint64_t room = 0;
  const Known* known = locate(address, slot, room);
  return known == nullptr ? Position() : position_in(*known, address);
}

template <class Memory>
bool LogView<Memory>::equals(Address address, Bytes key) const {
  if (has_key(address, key)) return true;
  // Seldom: another key with the same hash bits in the index, or this key with a bit that has flipped.
  static_cast<void>(verify(address));
  return false;
}

template <class Memory>
bool LogView<Memory>::has_key(Address address, Bytes key) const {
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
  if (size > room - kRecordHeaderBytes || size > kMaxKeyBytes) {
    static_cast<void>(verify(address));
    return 0;
  }
  alignas(8) std::byte key[kMaxKeyBytes];
  copy_out<Memory>(key, at(address) + kRecordHeaderBytes, (size + 7) / 8 * 8);
  static_cast<void>(verify(address));
  return key_hash({key, size});
}

}  // namespace ringside::shm
