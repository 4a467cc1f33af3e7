// The definitions of BasicRingReader (ring_reader.h has the contract). A header of its own, so that tests can
// put another memory policy under the very same code.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "shm/boot.h"
#include "shm/catalogue_file.h"
#include "shm/log_view.h"
#include "shm/log_walker.h"
#include "shm/ring_reader.h"

namespace ringside::shm {

template <class Memory>
struct BasicRingReader<Memory>::Impl {
  LogView<Memory> view;
  CatalogueFile<Memory> catalogue;
  UniqueFd header_fd;      // for asking who holds the writer's lock
  std::uint64_t boot = 0;  // this one
  LogWalker<Memory> walker;

  // Set by join(). The file's words are this reader's alone: what they must be is what it stored last.
  std::size_t slot = kMaxReaders;
  UniqueFd lock;
  MappedFile file;
  UniqueFd wake;
  std::uint64_t incarnation = 0;
  std::uint64_t reclaim_position = 0;
  bool is_file_spoilt = false;
  std::uint64_t sleep_word = 0;  // as this reader last stored it
  std::uint64_t progress = 0;

  ReaderFile& reader() const { return *static_cast<ReaderFile*>(file.data()); }
  bool is_own(const TwinWord& stored, std::uint64_t value) const {
    return Memory::load_acquire(&stored.word) == value && Memory::load_acquire(&stored.copy) == value;
  }
  void report(Position position);
};

// For the writer, which looks for itself: the count goes last.
template <class Memory>
void BasicRingReader<Memory>::Impl::report(Position position) {
  Memory::store_release(&reader().reported_position, position.value());
  Memory::store_release(&reader().reports, Memory::load_acquire(&reader().reports) + 1);
}

template <class Memory>
BasicRingReader<Memory>::BasicRingReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

template <class Memory>
Result<std::unique_ptr<BasicRingReader<Memory>>> BasicRingReader<Memory>::attach(
    const std::string& directory, const std::string& name, const std::string& boot_id_path) {
  const RingPath path(directory, name);
  const Result<Epoch> epoch = current_epoch(path);
  if (!epoch) {
    if (epoch.error().kind != ErrorKind::kNotFound) return epoch.error();
    return Error{ErrorKind::kUnavailable, "there is no ring " + path.ring + " yet: is its writer running?"};
  }
  const std::string where = path.epoch(*epoch);
  RINGSIDE_ASSIGN(const std::uint64_t boot, read_boot_id(boot_id_path));
  // An epoch that is replaced just now may vanish between two of these steps: the caller tries again.
  auto gone = [](Error error) {
    if (error.kind == ErrorKind::kNotFound) error.kind = ErrorKind::kUnavailable;
    return error;
  };
  Result<LogView<Memory>> view = LogView<Memory>::open(where, Access::kRead);
  if (!view) return gone(std::move(view).error());
  if (view->epoch() != *epoch) return Error{ErrorKind::kCorrupt, where + " holds another epoch"};
  if (!may_be_whole<Memory>(view->header(), boot)) {
    return Error{ErrorKind::kUnavailable,
                 "the host has restarted since the ring " + path.ring +
                     " was written, and its writer had not ended in order: the next writer makes it anew"};
  }
  Result<CatalogueFile<Memory>> catalogue = CatalogueFile<Memory>::open(catalogue_path(where), Access::kRead);
  if (!catalogue) return gone(std::move(catalogue).error());
  Result<UniqueFd> header_fd = open_file(header_path(where), Access::kRead);
  if (!header_fd) return gone(std::move(header_fd).error());
  auto impl = std::make_unique<Impl>();
  impl->view = std::move(*view);
  impl->catalogue = std::move(*catalogue);
  impl->header_fd = std::move(*header_fd);
  impl->boot = boot;
  return std::unique_ptr<BasicRingReader>(new BasicRingReader(std::move(impl)));
}

template <class Memory>
BasicRingReader<Memory>::~BasicRingReader() {
  if (impl_->incarnation != 0) {
    // Lets go of the log before the lock: the writer then sees a free reader slot, not a dead reader.
    store_twin_seq_cst<Memory>(impl_->reader().incarnation, 0);
  }
}

template <class Memory>
Epoch BasicRingReader<Memory>::epoch() const {
  return impl_->view.epoch();
}

template <class Memory>
Result<void> BasicRingReader<Memory>::join() {
  RINGSIDE_ASSERT(impl_->incarnation == 0);
  const std::string& where = impl_->view.directory();
  for (std::size_t i = 0; i < kMaxReaders && !impl_->lock; ++i) {  // J1
    RINGSIDE_ASSIGN(UniqueFd fd, open_file(reader_path(where, i), Access::kReadWrite));
    RINGSIDE_ASSIGN(const bool locked, try_lock(fd.get(), reader_path(where, i)));
    if (!locked) continue;
    impl_->lock = std::move(fd);
    impl_->slot = i;
  }
  if (!impl_->lock) {
    return Error{ErrorKind::kBusy,
                 fmt::format("all {} reader slots of {} are taken: stop a replica", kMaxReaders, where)};
  }
  const std::string path = reader_path(where, impl_->slot);
  RINGSIDE_ASSIGN(const std::uint64_t size, file_size(impl_->lock.get(), path));
  if (size != kReaderFileBytes)
    return Error{ErrorKind::kCorrupt, path + " does not have a reader file's size"};
  RINGSIDE_ASSIGN(impl_->file, MappedFile::map(path, Access::kReadWrite, kReaderFileBytes));
  // Both ends open: the FIFO never reports end of file when a writer restarts, and opening never blocks.
  impl_->wake.reset(::open(wake_path(where, impl_->slot).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!impl_->wake) return Error{ErrorKind::kIo, "cannot open " + wake_path(where, impl_->slot)};

  ReaderFile& reader = impl_->reader();
  impl_->sleep_word = (Memory::load_acquire(&reader.sleep_word) + 1) & ~std::uint64_t{1};
  Memory::store_seq_cst(&reader.sleep_word, impl_->sleep_word);
  Memory::store_release(&reader.magic, kReaderMagic);
  Memory::store_release(&reader.epoch, impl_->view.epoch().value());
  Memory::store_release(&reader.pid, static_cast<std::uint64_t>(::getpid()));
  Memory::store_release(&reader.progress, 0);
  impl_->incarnation = random_nonzero();
  store_twin_seq_cst<Memory>(reader.reclaim_position, 0);  // J2
  store_twin_seq_cst<Memory>(reader.incarnation, impl_->incarnation);
  const Result<void> started = impl_->walker.start(impl_->view);
  if (!started && started.error().kind == ErrorKind::kCorrupt) impl_->report(Position());
  return started;
}

template <class Memory>
std::size_t BasicRingReader<Memory>::slot() const {
  return impl_->slot;
}

template <class Memory>
Step BasicRingReader<Memory>::next(Record& record) {
  if (impl_->is_file_spoilt) return is_evicted() ? Step::kEvicted : Step::kCorrupt;
  switch (impl_->walker.next(impl_->view, record)) {
    case WalkStatus::kRecord:
      return Step::kRecord;
    case WalkStatus::kCaughtUp:
      // An evicted reader that has nothing to read must learn of it as well: it would sleep for ever.
      return is_evicted() ? Step::kEvicted : Step::kCaughtUp;
    case WalkStatus::kGone:
      return Step::kEvicted;
    case WalkStatus::kCorrupt:
      break;
  }
  return is_evicted() ? Step::kEvicted : Step::kCorrupt;
}

template <class Memory>
Position BasicRingReader<Memory>::position() const {
  return impl_->walker.position();
}

template <class Memory>
Position BasicRingReader<Memory>::committed_position() const {
  return Position(Memory::load_acquire(&impl_->view.header().committed_position.word));
}

template <class Memory>
void BasicRingReader<Memory>::set_reclaim_position(Position position) {
  // What the writer believed of a file that has changed of itself is not known: next() says so.
  impl_->is_file_spoilt |= !impl_->is_own(impl_->reader().reclaim_position, impl_->reclaim_position) ||
                           !impl_->is_own(impl_->reader().incarnation, impl_->incarnation);
  if (impl_->is_file_spoilt) return;
  impl_->reclaim_position = position.value();
  store_twin_seq_cst<Memory>(impl_->reader().reclaim_position, position.value());  // pairs with F0, F2
  count_progress();
}

template <class Memory>
void BasicRingReader<Memory>::count_progress() {
  Memory::store_release(&impl_->reader().progress, ++impl_->progress);
}

template <class Memory>
bool BasicRingReader<Memory>::is_evicted() const {
  if (impl_->incarnation == 0) return false;  // not joined
  // Either of the two: no bit that flips may hide the mark, and none makes one of it.
  const TwinWord& mark = impl_->view.header().evicted[impl_->slot];
  return Memory::load_seq_cst(&mark.word) == impl_->incarnation ||  // R4, pairs with E1
         Memory::load_acquire(&mark.copy) == impl_->incarnation;
}

template <class Memory>
bool BasicRingReader<Memory>::is_superseded() const {
  const TwinWord& next = impl_->view.header().superseded_by;
  const std::uint64_t epoch = Memory::load_seq_cst(&next.word);  // pairs with N5
  return epoch != 0 && epoch == Memory::load_acquire(&next.copy);
}

template <class Memory>
bool BasicRingReader<Memory>::writer_is_alive() const {
  return is_locked_elsewhere(impl_->header_fd.get());
}

template <class Memory>
SourceState BasicRingReader<Memory>::source() const {
  const RingHeader& h = impl_->view.header();
  SourceState state;
  // Of two that differ the one that says less for the ring; the writer finds out.
  std::uint64_t capture = 0;
  state.capture =
      load_twin<Memory>(h.capture_state, capture) && capture <= static_cast<std::uint64_t>(kLastCaptureState)
          ? static_cast<CaptureState>(capture)
          : CaptureState::kFailed;
  state.version = Version(load_twin_max<Memory>(h.source_version));
  // Times of another boot's clock say nothing in this one. Acquire: pairs with the boot's store in check_boot().
  std::uint64_t boot = 0;
  if (load_twin<Memory>(h.boot_id, boot) && boot == impl_->boot) {
    state.alive_ns = load_twin_min<Memory>(h.source_alive_ns);
    state.writer_heartbeat_ns = load_twin_min<Memory>(h.writer_heartbeat_ns);
  }
  if (!load_twin<Memory>(h.source_time_us, state.source_time_us)) state.source_time_us = 0;
  std::uint64_t offset_us = 0;
  const bool is_measured = load_twin<Memory>(h.source_clock_offset_us, offset_us) &&
                           load_twin<Memory>(h.source_clock_error_us, state.clock.error_us);
  state.clock.offset_us = static_cast<std::int64_t>(offset_us);
  if (!is_measured) state.clock.error_us = 0;
  state.clock.commit_time_resolution_us = load_twin_max<Memory>(h.commit_time_resolution_us);
  state.used_bytes = load_twin_max<Memory>(h.used_bytes);
  state.limit_bytes = load_twin_min<Memory>(h.limit_bytes);
  return state;
}

template <class Memory>
Result<Catalogue> BasicRingReader<Memory>::read_catalogue() const {
  return impl_->catalogue.read();
}

template <class Memory>
CopyStatus BasicRingReader<Memory>::copy_record(Address address, RecordHeader& header,
                                                std::span<std::byte> buffer) const {
  return impl_->view.copy_record(address, header, buffer);
}

template <class Memory>
bool BasicRingReader<Memory>::equals(Address address, Bytes key) const {
  return impl_->view.equals(address, key);
}

template <class Memory>
std::uint64_t BasicRingReader<Memory>::hash(Address address) const {
  return impl_->view.hash(address);
}

template <class Memory>
bool BasicRingReader<Memory>::verify(Address address) const {
  return impl_->view.verify(address);
}

template <class Memory>
Address BasicRingReader<Memory>::corrupt_address() const {
  return impl_->view.corrupt_address();
}

template <class Memory>
Position BasicRingReader<Memory>::report_corruption() {
  const Address found = impl_->view.corrupt_address();
  const Position position = found == 0 ? impl_->walker.position() : impl_->view.position_of(found);
  if (impl_->incarnation != 0) impl_->report(position);
  return position;
}

template <class Memory>
void BasicRingReader<Memory>::prefetch_key(Address address) const {
  impl_->view.prefetch_key(address);
}

template <class Memory>
void BasicRingReader<Memory>::prefetch(Address address) const {
  const std::byte* at = impl_->view.at(address);
  prefetch_line(at);
  prefetch_line(at + 64);
}

template <class Memory>
bool BasicRingReader<Memory>::prepare_sleep() {
  ReaderFile& reader = impl_->reader();
  const RingHeader& header = impl_->view.header();
  Memory::store_seq_cst(&reader.sleep_word, ++impl_->sleep_word);  // S1
  const bool moved =
      Memory::load_seq_cst(&header.committed_position.word) != impl_->walker.position().value();  // S2
  if (moved || is_superseded() || is_evicted()) {
    awake();  // S3
    return false;
  }
  return true;
}

template <class Memory>
void BasicRingReader<Memory>::awake() {
  if (impl_->sleep_word % 2 == 1) Memory::store_seq_cst(&impl_->reader().sleep_word, ++impl_->sleep_word);
}

template <class Memory>
int BasicRingReader<Memory>::wake_fd() const {
  return impl_->wake.get();
}

}  // namespace ringside::shm
