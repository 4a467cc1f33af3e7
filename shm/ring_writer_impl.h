// The definitions of BasicRingWriter (ring_writer.h has the contract). A header of its own, so that tests can
// put another memory policy under the very same code.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <deque>
#include <filesystem>
#include <optional>
#include <utility>

#include "shm/boot.h"
#include "shm/catalogue_file.h"
#include "shm/epoch_files.h"
#include "shm/header_words.h"
#include "shm/log_view.h"
#include "shm/log_walker.h"
#include "shm/reader_watch.h"
#include "shm/ring_writer.h"
#include "shm/scrubber.h"
#include "shm/segment_ledger.h"
#include "shm/slot_space.h"
#include "shm/slot_table.h"

namespace ringside::shm {

template <class Memory>
struct BasicRingWriter<Memory>::Impl {
  RingOptions options;
  RingPath path;
  LogView<Memory> view;
  CatalogueFile<Memory> catalogue;
  UniqueFd header_fd;  // holds the epoch's lock
  std::array<ReaderWatch, kMaxReaders> watches;
  std::size_t watched = 0;  // reader slots that publishing looks at: up to the last one met in use

  SlotSpace space;
  SegmentLedger ledger;
  std::vector<std::pair<std::uint64_t, std::uint32_t>>
      ready_jumbos;              // runs taken by make_room: first slot, slots
  std::uint64_t used_slots = 0;  // in use, those that wait for readers included
  unsigned overdraft_eighths = 0;
  std::uint64_t segments_freed = 0;
  std::uint64_t chunks_given_back = 0;

  // A compacted segment. Its generation is even once it was freed (F1); its slots may be used once no reader needs them.
  struct Pending {
    std::uint64_t slot = 0;
    std::uint32_t run = 0;
    std::uint64_t position = 0;  // where all that was live in it had been published elsewhere
    bool is_freed = false;
  };
  std::deque<Pending> pending;
  std::uint64_t pending_slots = 0;
  // A chunk whose memory is being made, a slice at a time: 8 MiB at once would hold capture up for 6 ms. Nothing in the
  // ring knows of it before it is whole; a new one that its writer did not live to finish is removed by the next.
  struct Growth {
    std::uint64_t first = 0;  // slot
    std::uint64_t slots = 0;
    bool is_new = false;  // or one that was given back
    UniqueFd file;
    std::uint64_t bytes = 0;  // there so far
  };
  std::optional<Growth> growth;
  struct Scan {
    SlotInfo segment;
    std::uint64_t offset = 0;
  };
  std::optional<Scan> victim;
  std::vector<std::byte> victim_buffer;
  bool lacks_memory = false;
  bool waits_for_readers = false;  // make_room found room that readers hold
  std::uint64_t waits_since_ns = 0;

  // The tail: where the next record goes.
  SlotInfo segment;
  std::uint64_t offset = 0;
  std::uint64_t committed = 0;

  Version version;
  ExecutedGtids executed;
  std::vector<std::byte> scratch;

  // What this writer stored last, in the header's words and in the slot table: nothing is decided by what they have
  // become.
  HeaderWords<Memory> words;
  SlotTable<Memory> slot_table;
  Scrubber<Memory> scrubber;
  bool is_stopped = false;  // in order: nothing is appended any more

  std::uint64_t segment_bytes() const { return view.segment_bytes(); }
  std::uint64_t position() const { return segment.start_position + offset; }
  Address tail_address() const { return (segment.slot * segment_bytes() + offset) / 8; }

  Impl(const RingOptions& ring_options, const RingPath& ring_path, LogView<Memory> log_view,
       CatalogueFile<Memory> catalogue_file, UniqueFd epoch_lock)
      : options(ring_options),
        path(ring_path),
        view(std::move(log_view)),
        catalogue(std::move(catalogue_file)),
        header_fd(std::move(epoch_lock)),
        ledger(view.segment_bytes()) {}

  static Result<std::unique_ptr<Impl>> attach(const RingOptions& options, Epoch epoch);
  Result<void> check_boot();
  Result<void> open_watches();
  Result<void> adopt_chunks();
  Result<void> adopt_slots();
  Result<void> find_holes();
  Result<void> begin_growth();
  Result<void> begin_refill(std::size_t chunk);
  Result<void> begin_chunk(std::uint64_t slots);
  void abandon_growth();
  Result<bool> grow_slice();
  Result<void> finish_growth();
  std::uint64_t limit_for(bool is_large) const;
  Result<void> check_limit(std::uint64_t slots, std::uint64_t bytes, RoomFor use) const;
  struct Slots {
    std::uint64_t singles = 0;
    std::vector<std::uint32_t> runs;
    std::uint64_t all = 0;
  };
  bool tail_holds(std::uint64_t bytes) const;
  bool fits_behind_tail(const RoomNeeded& needed) const;
  Slots slots_for(const RoomNeeded& needed) const;
  Result<void> take_jumbos(const std::vector<std::uint32_t>& runs);
  Result<void> find_memory(const Slots& slots, RoomFor use);
  std::uint64_t lowest_reclaim_position() const;
  bool holds_room(const ReaderWatch& watch) const;
  std::uint64_t enough_slots() const;
  void give_back_idle_chunks();
  std::vector<std::uint64_t> pinned_slots(std::span<const Address> pinned) const;
  bool begin_scan(const std::optional<SegmentLedger::Victim>& chosen);
  void skip_generation(std::uint64_t slot, std::uint64_t start);
  void take_slot(std::uint64_t slot, std::uint32_t run, std::uint64_t chunk_first, std::uint64_t start);
  std::uint64_t checkpoint_bytes() const;
  std::uint64_t capacity() const {
    return segment_bytes() - checkpoint_bytes() - record_bytes(kSegmentEndPayload);
  }
  Result<void> recover_gtids(const Record& record);
  void open_segment(std::uint64_t slot, std::uint32_t run, std::uint64_t chunk_first, std::uint64_t start);
  void next_segment(std::uint32_t run);
  Address place(RecordHeader header, std::span<std::byte> record);
  void place_payload(RecordHeader header, std::string_view payload);
  void wake_sleepers();
  void wake_everybody();
  void wake(ReaderWatch& watch, std::uint64_t sleep_word);
  std::uint64_t chunk_of(std::uint64_t slot) const { return space.chunks()[space.chunk_of(slot)].first; }
  std::uint64_t slot_of(Address address) const { return address * 8 / segment_bytes(); }

  static constexpr std::size_t kSegmentEndPayload = 16;
  // Kept from transactions: what a step of compaction needs to free the first segment.
  static constexpr std::uint64_t kCompactionSlots = 3;
  static constexpr std::uint64_t kGrowthSlice = std::uint64_t{1} << 20;
};

// ---------------------------------------------------------------------- epochs: make and open

template <class Memory>
Result<std::unique_ptr<typename BasicRingWriter<Memory>::Impl>> BasicRingWriter<Memory>::Impl::attach(
    const RingOptions& options, Epoch epoch) {
  const RingPath path(options.directory, options.name);
  const std::string where = path.epoch(epoch);
  RINGSIDE_ASSIGN(LogView<Memory> view, LogView<Memory>::open(where, Access::kReadWrite));
  RINGSIDE_ASSIGN(CatalogueFile<Memory> catalogue,
                  CatalogueFile<Memory>::open(catalogue_path(where), Access::kReadWrite));
  RINGSIDE_ASSIGN(UniqueFd header_fd, open_file(header_path(where), Access::kReadWrite));
  RINGSIDE_ASSIGN(const bool locked, try_lock(header_fd.get(), header_path(where)));
  if (!locked) return Error{ErrorKind::kBusy, where + " is being written by another process"};
  auto impl =
      std::make_unique<Impl>(options, path, std::move(view), std::move(catalogue), std::move(header_fd));
  impl->words = HeaderWords<Memory>(&impl->view.header());
  impl->slot_table = SlotTable<Memory>(&impl->view.slot_entry(0));
  RINGSIDE_TRY(impl->check_boot());
  RINGSIDE_TRY(impl->open_watches());
  impl->words.set(&RingHeader::limit_bytes, options.max_bytes);
  return impl;
}

// Files of another boot may be gone on with when they were synced as they are; from now on they are this boot's, and no
// longer what was synced: that has to be on the disk before anything else is.
template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::check_boot() {
  const std::string file = header_path(view.directory());
  RINGSIDE_ASSIGN(const std::uint64_t boot, read_boot_id(options.boot_id_path));
  if (view.epoch().value() != 0 && !may_be_whole<Memory>(view.header(), boot)) {
    return Error{
        ErrorKind::kCorrupt,
        "the host has restarted uncleanly since the ring was written: some of its pages may be older than "
        "others"};
  }
  if (words.get(&RingHeader::clean_stop) != 0) {
    words.set(&RingHeader::clean_stop, 0);
    RINGSIDE_TRY(sync_file(header_fd.get(), file));
  }
  if (words.get(&RingHeader::boot_id) == boot) return {};
  // Of another boot's clock. Before the boot is this one: readers look in the other order.
  words.set(&RingHeader::source_alive_ns, 0);
  words.set(&RingHeader::writer_heartbeat_ns, 0);
  words.set(&RingHeader::boot_id, boot);
  return sync_file(header_fd.get(), file);
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::open_watches() {
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    ReaderWatch& watch = watches[i];
    const std::string file = reader_path(view.directory(), i);
    RINGSIDE_ASSIGN(watch.lock_probe, open_file(file, Access::kRead));
    RINGSIDE_ASSIGN(const std::uint64_t size, file_size(watch.lock_probe.get(), file));
    if (size != kReaderFileBytes)
      return Error{ErrorKind::kCorrupt, file + " does not have a reader file's size"};
    RINGSIDE_ASSIGN(watch.file, MappedFile::map(file, Access::kRead, kReaderFileBytes));
    watch.wake.reset(::open(wake_path(view.directory(), i).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!watch.wake) {
      return Error{errno == ENOENT ? ErrorKind::kCorrupt : ErrorKind::kIo,
                   fmt::format("cannot open {}: {}", wake_path(view.directory(), i), std::strerror(errno))};
    }
    watch.reports = Memory::load_acquire(&watch.reader().reports);
    // A writer was killed in the middle of evicting, or it cannot be told any more whom it evicted: whoever is there.
    const TwinWord& mark = view.header().evicted[i];
    if (Memory::load_acquire(&mark.word) != Memory::load_acquire(&mark.copy)) {
      words.set_evicted(i, watch.template load_incarnation<Memory>());
    }
  }
  return {};
}

template <class Memory>
Result<std::unique_ptr<BasicRingWriter<Memory>>> BasicRingWriter<Memory>::create(const RingOptions& options,
                                                                                 const UniqueFd& lock) {
  RINGSIDE_ASSERT(lock.get() >= 0);
  const RingPath path(options.directory, options.name);
  const Epoch epoch(random_nonzero());
  const std::string where = path.epoch(epoch);
  // What a writer that never came to activate() left behind would fill the memory, attempt by attempt.
  const Result<Epoch> in_force = current_epoch(path);
  if (!in_force && in_force.error().kind != ErrorKind::kNotFound &&
      in_force.error().kind != ErrorKind::kCorrupt) {
    return in_force.error();
  }
  RINGSIDE_TRY(retire_other_epochs<Memory>(path, in_force ? *in_force : Epoch(), epoch));
  const auto make = [&]() -> Result<std::unique_ptr<Impl>> {
    RINGSIDE_TRY(make_epoch<Memory>(options, where));
    RINGSIDE_TRY(CatalogueFile<Memory>::create(catalogue_path(where)));
    return Impl::attach(options, epoch);
  };
  Result<std::unique_ptr<Impl>> made = make();
  if (!made) {
    // What cannot be removed is left to the next attempt: why it was not made is what is to be told.
    static_cast<void>(remove_epoch(path, epoch));
    return std::move(made).error();
  }
  std::unique_ptr<BasicRingWriter> writer(new BasicRingWriter(std::move(*made)));
  Impl& self = *writer->impl_;

  // The log begins with an empty batch, so that committed_position always is the end of a commit record.
  RINGSIDE_TRY(self.begin_growth());
  RINGSIDE_TRY(self.finish_growth());
  self.space.take(0, 1);
  self.open_segment(0, 1, 0, self.segment_bytes());
  RecordHeader commit;
  commit.type = RecordType::kCommit;
  commit.flags = kLoadBatch;
  self.place_payload(commit, commit_payload(Commit{}));
  writer->publish(Version(), {});
  return writer;
}

template <class Memory>
Result<std::unique_ptr<BasicRingWriter<Memory>>> BasicRingWriter<Memory>::open(const RingOptions& options,
                                                                               const UniqueFd& lock) {
  RINGSIDE_ASSERT(lock.get() >= 0);
  const RingPath path(options.directory, options.name);
  RINGSIDE_ASSIGN(const Epoch epoch, current_epoch(path));
  RINGSIDE_ASSIGN(std::unique_ptr<Impl> impl, Impl::attach(options, epoch));
  if (impl->view.epoch() != epoch) return Error{ErrorKind::kCorrupt, "the ring's header holds another epoch"};
  if (impl->segment_bytes() != options.segment_bytes || impl->view.chunk_bytes() != options.chunk_bytes) {
    return Error{ErrorKind::kUnsupported, "ring.segment_size or ring.chunk_size has changed"};
  }
  if (options.max_bytes + options.reserve_bytes > impl->view.max_slots() * impl->segment_bytes()) {
    return Error{ErrorKind::kUnsupported,
                 "ring.max_size and ring.transaction_reserve have become more than this ring can address"};
  }
  // Left over from a writer killed between N1 and N5.
  RINGSIDE_TRY(retire_other_epochs<Memory>(path, epoch, epoch));
  RINGSIDE_TRY(impl->adopt_slots());
  return std::unique_ptr<BasicRingWriter>(new BasicRingWriter(std::move(impl)));
}

// Maps the chunks that the header counts: one behind the other from slot 0 on. One that it does not count was
// being made when its writer died; nobody has used it.
template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::adopt_chunks() {
  std::uint64_t counted = 0;
  if (!view.load_slot_count(counted))
    return Error{ErrorKind::kCorrupt, "the ring's count of slots contradicts itself"};
  std::vector<std::uint64_t> chunk_firsts;
  std::error_code error;
  std::filesystem::directory_iterator entry(view.directory(), error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::uint64_t first = 0;
    const char* end = name.data() + name.size();
    if (!name.starts_with("chunk.") || std::from_chars(name.data() + 6, end, first).ptr != end) continue;
    if (first < counted) {
      chunk_firsts.push_back(first);
    } else if (::unlink(entry->path().c_str()) != 0) {
      return Error{ErrorKind::kIo, "cannot remove " + entry->path().string()};
    }
  }
  if (error) return Error{ErrorKind::kIo, "cannot list " + view.directory() + ": " + error.message()};
  std::sort(chunk_firsts.begin(), chunk_firsts.end());
  for (const std::uint64_t first : chunk_firsts) {
    if (first != space.size()) break;
    RINGSIDE_ASSIGN(const std::uint64_t slots, view.map_chunk(first));
    if (slots > counted - first) break;
    space.add_chunk(slots);
  }
  if (space.size() != counted) {
    return Error{
        ErrorKind::kCorrupt,
        fmt::format("the ring's chunks hold {} slots where its header counts {}", space.size(), counted)};
  }
  if (words.get(&RingHeader::slot_count) != counted) words.set(&RingHeader::slot_count, counted);
  return {};
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::adopt_slots() {
  RINGSIDE_TRY(adopt_chunks());
  // A copy that is ahead is of a transaction that was appended whole and died just before P3: recover() makes up for it
  // when the log says so too.
  committed = Memory::load_acquire(&view.header().committed_position.copy);
  if (committed < Memory::load_acquire(&view.header().committed_position.word))
    return Error{ErrorKind::kCorrupt, "the ring's committed position contradicts itself"};
  std::vector<std::uint64_t> freed;
  for (std::uint64_t s = 0; s < space.size(); ++s) {
    SlotInfo slot;
    const SlotState state = view.read_slot(s, committed, slot);
    if (state != SlotState::kCorrupt) slot_table.adopt();
    if (state == SlotState::kFree) {
      if (slot_table.generation(s) > 0 && space.is_free(s)) freed.push_back(s);
      continue;
    }
    if (state == SlotState::kInUse &&
        slot.start_position >= committed) {  // taken, and nothing in it was ever published
      slot_table.release(s);
      freed.push_back(s);
      continue;
    }
    if (state == SlotState::kCorrupt || !space.is_free(s) || s + slot.run > space.size()) {
      return Error{ErrorKind::kCorrupt,
                   fmt::format("the ring's slot table contradicts itself at slot {}", s)};
    }
    for (std::uint64_t i = s; i < s + slot.run; ++i) {
      if (space.is_free(i)) continue;
      return Error{ErrorKind::kCorrupt, fmt::format("two segments of the ring share slot {}", i)};
    }
    space.take(s, slot.run);
    ledger.open(s, slot.run);
    used_slots += slot.run;
  }
  RINGSIDE_TRY(find_holes());
  // The writer before may have died between F1 and F2: a joiner that saw such a slot in use may still be reading it.
  for (const std::uint64_t s : freed) {
    if (!space.is_free(s)) continue;                              // inside a run
    if (!space.chunks()[space.chunk_of(s)].has_memory) continue;  // given back: nobody needed it any more
    space.take(s, 1);
    used_slots += 1;
    pending.push_back({s, 1, committed, true});
    pending_slots += 1;
  }
  words.set(&RingHeader::used_bytes, used_slots * segment_bytes());
  return {};
}

// A chunk without a segment may have been given back before: its pages have to be asked for, or a full filesystem would
// kill us at the first store.
template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::find_holes() {
  for (std::size_t i = 0; i < space.chunks().size(); ++i) {
    const SlotSpace::Chunk& chunk = space.chunks()[i];
    if (chunk.taken > 0) continue;
    RINGSIDE_ASSIGN(const bool is_whole, is_allocated(chunk_path(view.directory(), chunk.first)));
    if (!is_whole) space.set_memory(i, false);
  }
  return {};
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::recover(const std::function<Result<void>(const Record&)>& visit) {
  Impl& self = *impl_;
  LogWalker<Memory> walker;
  RINGSIDE_TRY(walker.start(self.view, self.committed));
  Record record;
  RecordType last = RecordType::kCheckpoint;
  for (;;) {
    const WalkStatus status = walker.next(self.view, record);
    if (status == WalkStatus::kCaughtUp) break;
    if (status != WalkStatus::kRecord) {
      return Error{ErrorKind::kCorrupt, fmt::format("the ring's log contradicts itself at position {}",
                                                    walker.position().value())};
    }
    RINGSIDE_TRY(self.recover_gtids(record));
    RINGSIDE_TRY(visit(record));
    last = record.header.type;
  }
  self.segment = walker.segment();
  self.offset = walker.position().value() - self.segment.start_position;
  if (self.position() != self.committed || last != RecordType::kCommit) {
    return Error{ErrorKind::kCorrupt, "the ring's committed position is not the end of a commit record"};
  }
  if (self.words.get(&RingHeader::committed_position) != self.committed) {
    self.words.set_seq_cst(&RingHeader::committed_position, self.committed);  // P3
  }
  self.words.mend();
  self.wake_everybody();  // those that the writer before us did not come to wake
  reclaim();
  return {};
}

// The oldest checkpoint says what was executed before the log begins, commits what was since; every later checkpoint has
// to say the same.
template <class Memory>
Result<void> BasicRingWriter<Memory>::Impl::recover_gtids(const Record& record) {
  const bool is_commit = record.header.type == RecordType::kCommit && (record.header.flags & kLoadBatch) == 0;
  if (!is_commit && record.header.type != RecordType::kCheckpoint) return {};
  const Error contradiction{
      ErrorKind::kCorrupt,
      fmt::format("the ring says at position {} of which transactions it consists, and contradicts itself",
                  record.position.value())};
  if (is_commit) {
    Commit commit;
    if (!parse_commit(record.header, record.bytes, commit)) return contradiction;
    if (!executed.add(commit.executed) || !executed.add(commit.gtid)) return contradiction;
    version = record.header.version;
    return {};
  }
  Checkpoint checkpoint;
  if (!parse_checkpoint(record.header, record.bytes, checkpoint)) return contradiction;
  // Behind a gap the checkpoint alone tells: the commits between have been compacted away.
  if (record.is_behind_gap) {
    if (record.header.version < version || !executed.assign(checkpoint.gtid_set)) return contradiction;
    version = record.header.version;
  }
  return executed.text() == checkpoint.gtid_set ? Result<void>() : contradiction;
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::activate(BasicRingWriter* previous) {
  Impl& self = *impl_;
  const Epoch epoch = self.view.epoch();
  const std::uint64_t number = epoch_of(self.view.directory()).value();
  if (epoch.value() == 0) self.words.set_epoch(number);       // N3
  RINGSIDE_TRY(set_current_epoch(self.path, Epoch(number)));  // N4
  if (previous != nullptr) {                                  // N5
    previous->impl_->words.set_seq_cst(&RingHeader::superseded_by, number);
    previous->impl_->wake_everybody();
  }
  return retire_other_epochs<Memory>(self.path, Epoch(number), Epoch(number));
}

template <class Memory>
BasicRingWriter<Memory>::BasicRingWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
template <class Memory>
BasicRingWriter<Memory>::~BasicRingWriter() {
  // An epoch that was never put in force is of no use to anybody. A failure leaves it to the next open().
  const std::string& where = impl_->view.directory();
  if (epoch().value() == 0 && !remove_epoch(impl_->path, epoch_of(where))) return;
}

// ---------------------------------------------------------------------- slots

template <class Memory>
void BasicRingWriter<Memory>::Impl::take_slot(std::uint64_t slot, std::uint32_t run,
                                              std::uint64_t chunk_first, std::uint64_t start) {
  const std::uint64_t generation = slot_table.take(slot, run, chunk_first, start);
  for (std::uint64_t s = slot + 1; s < slot + run; ++s)
    skip_generation(s, start);  // for who knew them as singles
  segment = SlotInfo{slot, generation, start, run, static_cast<std::uint32_t>(chunk_first)};
  const Result<void> known = view.know(segment);
  RINGSIDE_ASSERT(known.has_value());  // our own chunk, allocated and mapped by us
  ledger.open(slot, run);
  used_slots += run;
  words.set(&RingHeader::used_bytes, used_slots * segment_bytes());
}

// A free slot stays free, and is not what anybody has known. Taken and released, so that it is a thing that readers know.
template <class Memory>
void BasicRingWriter<Memory>::Impl::skip_generation(std::uint64_t slot, std::uint64_t start) {
  slot_table.take(slot, 1, chunk_of(slot), start);
  slot_table.release(slot);
}

// ---------------------------------------------------------------------- appending, publishing

template <class Memory>
std::uint64_t BasicRingWriter<Memory>::Impl::checkpoint_bytes() const {
  return record_bytes(checkpoint_payload_bytes(executed.text().size()));
}

// Copies a record whose room is known to be there to the tail.
template <class Memory>
Address BasicRingWriter<Memory>::Impl::place(RecordHeader header_in, std::span<std::byte> record) {
  header_in.length = static_cast<std::uint32_t>(record.size());
  store_header(header_in, record.data());
  header_in.crc = record_crc(record, Position(position()));
  store_le<std::uint32_t>(record.data(), header_in.crc);
  const Address address = tail_address();
  copy_in<Memory>(view.at(address), record.data(), record.size());  // P1, P2
  offset += record.size();
  return address;
}

template <class Memory>
void BasicRingWriter<Memory>::Impl::place_payload(RecordHeader header_in, std::string_view payload) {
  scratch.assign(record_bytes(payload.size()), std::byte{});
  std::memcpy(scratch.data() + kRecordHeaderBytes, payload.data(), payload.size());
  place(header_in, scratch);
}

template <class Memory>
void BasicRingWriter<Memory>::Impl::open_segment(std::uint64_t slot, std::uint32_t run,
                                                 std::uint64_t chunk_first, std::uint64_t start) {
  take_slot(slot, run, chunk_first, start);
  offset = 0;
  RecordHeader checkpoint;
  checkpoint.type = RecordType::kCheckpoint;
  checkpoint.version = version;
  place_payload(checkpoint,
                checkpoint_payload(Checkpoint{Position(start), catalogue.generation(), executed.text()}));
}

// Closes the tail's segment and opens the next: an ordinary one (run 1), or the next jumbo that make_room
// prepared.
template <class Memory>
void BasicRingWriter<Memory>::Impl::next_segment(std::uint32_t run) {
  std::uint64_t slot = 0;
  if (run == 1) {
    const std::optional<std::uint64_t> lowest = space.find(1, false);
    RINGSIDE_ASSERT(lowest.has_value());  // make_room saw to it
    slot = *lowest;
    space.take(slot, 1);
  } else {
    // The first that is large enough: a jumbo record that fitted the slack of the one before has left its own
    // behind. Nobody takes one that comes after his own, so everybody's own is there when his turn comes.
    const auto ready = std::find_if(ready_jumbos.begin(), ready_jumbos.end(),
                                    [&](const auto& each) { return each.second >= run; });
    RINGSIDE_ASSERT(ready != ready_jumbos.end());
    slot = ready->first;
    run = ready->second;
    ready_jumbos.erase(ready);
  }
  const std::uint64_t start = segment.start_position + segment.run * segment_bytes();
  // The generation that take_slot is about to store: the end record is part of the old segment and goes there
  // first.
  const std::uint64_t generation = slot_table.generation(slot) + 1;
  RecordHeader end;
  end.type = RecordType::kSegmentEnd;
  char payload[kSegmentEndPayload];
  store_le<std::uint64_t>(payload, slot);
  store_le<std::uint64_t>(payload + 8, generation);
  place_payload(end, {payload, sizeof payload});
  open_segment(slot, run, chunk_of(slot), start);
}

template <class Memory>
Address BasicRingWriter<Memory>::append(RecordHeader header, std::span<std::byte> record) {
  Impl& self = *impl_;
  RINGSIDE_ASSERT(!self.is_stopped);
  const std::uint64_t end_bytes = record_bytes(Impl::kSegmentEndPayload);
  if (self.offset + record.size() + end_bytes > self.segment.run * self.segment_bytes()) {
    const std::uint64_t whole = record.size() + self.checkpoint_bytes() + end_bytes;
    self.next_segment(static_cast<std::uint32_t>((whole + self.segment_bytes() - 1) / self.segment_bytes()));
  }
  return self.place(header, record);
}

template <class Memory>
void BasicRingWriter<Memory>::publish(Version version, std::string_view gtid,
                                      std::string_view executed_with) {
  Impl& self = *impl_;
  self.committed = self.position();
  self.words.set_seq_cst(&RingHeader::committed_position, self.committed);  // P3
  self.wake_sleepers();                                                     // P4
  self.version = version;  // for the next segment's checkpoint: nobody waits for it
  RINGSIDE_ASSERT(self.executed.add(executed_with) && self.executed.add(gtid));
}

template <class Memory>
bool BasicRingWriter<Memory>::has_unpublished() const {
  return impl_->position() != impl_->committed;
}

// ---------------------------------------------------------------------- all the rest

template <class Memory>
Epoch BasicRingWriter<Memory>::epoch() const {
  return Epoch(impl_->words.epoch());
}
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::max_record_bytes() const {
  return impl_->options.max_record_bytes;
}
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::segment_capacity() const {
  return impl_->capacity();
}
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::catalogue_generation() const {
  return impl_->catalogue.generation();
}
template <class Memory>
Result<Catalogue> BasicRingWriter<Memory>::read_catalogue() const {
  return impl_->catalogue.read();
}
template <class Memory>
Result<void> BasicRingWriter<Memory>::publish_catalogue(const Catalogue& catalogue) {
  return impl_->catalogue.publish(catalogue);
}
template <class Memory>
Position BasicRingWriter<Memory>::committed_position() const {
  return Position(impl_->committed);
}
template <class Memory>
Version BasicRingWriter<Memory>::version() const {
  return impl_->version;
}
template <class Memory>
const ExecutedGtids& BasicRingWriter<Memory>::executed() const {
  return impl_->executed;
}
template <class Memory>
bool BasicRingWriter<Memory>::equals(Address address, Bytes key) const {
  return impl_->view.equals(address, key);
}
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::hash(Address address) const {
  return impl_->view.hash(address);
}
template <class Memory>
void BasicRingWriter<Memory>::prefetch_key(Address address) const {
  impl_->view.prefetch_key(address);
}

template <class Memory>
std::uint32_t BasicRingWriter<Memory>::record_length(Address address) const {
  const auto* words = reinterpret_cast<const std::uint64_t*>(impl_->view.at(address));
  return static_cast<std::uint32_t>(Memory::load_acquire(words) >> 32);
}

template <class Memory>
bool BasicRingWriter<Memory>::verify(Address address) const {
  return impl_->view.verify(address);
}

template <class Memory>
RecordType BasicRingWriter<Memory>::record_type(Address address) const {
  const auto* words = reinterpret_cast<const std::uint64_t*>(impl_->view.at(address));
  return static_cast<RecordType>(Memory::load_acquire(words + 1) & 0xff);
}

template <class Memory>
void BasicRingWriter<Memory>::set_capture_state(CaptureState state) {
  const auto value = static_cast<std::uint64_t>(state);
  if (impl_->words.get(&RingHeader::capture_state) == value) return;
  impl_->words.set(&RingHeader::capture_state, value);
  impl_->wake_everybody();
}
template <class Memory>
void BasicRingWriter<Memory>::set_source(Version newest, std::uint64_t source_time_us,
                                         std::uint64_t alive_ns) {
  HeaderWords<Memory>& words = impl_->words;
  if (newest.value() > words.get(&RingHeader::source_version)) {
    words.set(&RingHeader::source_version, newest.value());
  }
  if (source_time_us != 0) words.set(&RingHeader::source_time_us, source_time_us);
  words.set(&RingHeader::source_alive_ns, alive_ns);
}
template <class Memory>
void BasicRingWriter<Memory>::set_source_clock(const SourceClock& clock) {
  HeaderWords<Memory>& words = impl_->words;
  words.set(&RingHeader::source_clock_offset_us, static_cast<std::uint64_t>(clock.offset_us));
  words.set(&RingHeader::source_clock_error_us, clock.error_us);
  words.set(&RingHeader::commit_time_resolution_us, clock.commit_time_resolution_us);
}
template <class Memory>
void BasicRingWriter<Memory>::beat(std::uint64_t now_ns) {
  impl_->words.set(&RingHeader::writer_heartbeat_ns, now_ns);
}
template <class Memory>
std::uint64_t BasicRingWriter<Memory>::server_id() const {
  return impl_->words.get(&RingHeader::server_id);
}
template <class Memory>
void BasicRingWriter<Memory>::set_server_id(std::uint64_t server_id) {
  impl_->words.set(&RingHeader::server_id, server_id);
}

template <class Memory>
RingUsage BasicRingWriter<Memory>::usage() const {
  const Impl& self = *impl_;
  RingUsage usage;
  usage.used_bytes = self.used_slots * self.segment_bytes();
  usage.live_bytes = self.ledger.live_bytes();
  usage.pending_bytes = self.pending_slots * self.segment_bytes();
  usage.limit_bytes = self.options.max_bytes;
  usage.chunk_bytes = self.space.slots_with_memory() * self.segment_bytes();
  usage.chunks = self.space.chunks_with_memory();
  usage.slots = self.space.size();
  usage.segments = self.used_slots;
  usage.segments_freed = self.segments_freed;
  usage.chunks_given_back = self.chunks_given_back;
  usage.committed = Position(self.committed);
  return usage;
}

}  // namespace ringside::shm

#include "shm/ring_readers_impl.h"
#include "shm/ring_scrub_impl.h"
#include "shm/ring_space_impl.h"
