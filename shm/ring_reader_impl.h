// The definitions of BasicRingReader (ring_reader.h has the contract). A header of its own, so that tests can
// put another memory policy under the very same code.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "shm/catalogue_file.h"
#include "shm/log_view.h"
#include "shm/ring_reader.h"

namespace ringside::shm {

template <class Memory>
struct BasicRingReader<Memory>::Impl {
  LogView<Memory> view;
  CatalogueFile<Memory> catalogue;
  UniqueFd header_fd;  // for asking who holds the writer's lock
  LogWalker<Memory> walker;

  // Set by join().
  std::size_t slot = kMaxReaders;
  UniqueFd lock;
  MappedFile file;
  UniqueFd wake;
  std::uint64_t incarnation = 0;
  std::uint64_t sleep_word = 0;  // as this reader last stored it
  std::uint64_t progress = 0;

  ReaderFile& reader() const { return *static_cast<ReaderFile*>(file.data()); }
};

template <class Memory>
BasicRingReader<Memory>::BasicRingReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

template <class Memory>
Result<std::unique_ptr<BasicRingReader<Memory>>> BasicRingReader<Memory>::attach(const std::string& directory,
                                                                                 const std::string& name) {
  const RingPath path(directory, name);
  const Result<Epoch> epoch = current_epoch(path);
  if (!epoch) {
    if (epoch.error().kind != ErrorKind::kNotFound) return epoch.error();
    return Error{ErrorKind::kUnavailable, "there is no ring " + path.ring + " yet: is its writer running?"};
  }
  const std::string where = path.epoch(*epoch);
  // An epoch that is replaced just now may vanish between two of these steps: the caller tries again.
  auto gone = [](Error error) {
    if (error.kind == ErrorKind::kNotFound) error.kind = ErrorKind::kUnavailable;
    return error;
  };
  Result<LogView<Memory>> view = LogView<Memory>::open(where, Access::kRead);
  if (!view) return gone(std::move(view).error());
  if (view->epoch() != *epoch) return Error{ErrorKind::kCorrupt, where + " holds another epoch"};
  Result<CatalogueFile<Memory>> catalogue = CatalogueFile<Memory>::open(catalogue_path(where), Access::kRead);
  if (!catalogue) return gone(std::move(catalogue).error());
  Result<UniqueFd> header_fd = open_file(header_path(where), Access::kRead);
  if (!header_fd) return gone(std::move(header_fd).error());
  auto impl = std::make_unique<Impl>();
  impl->view = std::move(*view);
  impl->catalogue = std::move(*catalogue);
  impl->header_fd = std::move(*header_fd);
  return std::unique_ptr<BasicRingReader>(new BasicRingReader(std::move(impl)));
}

template <class Memory>
BasicRingReader<Memory>::~BasicRingReader() {
  if (impl_->incarnation != 0) {
    // Lets go of the log before the lock: the writer then sees a free reader slot, not a dead reader.
    Memory::store_seq_cst(&impl_->reader().incarnation, 0);
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
  Memory::store_seq_cst(&reader.reclaim_position, 0);  // J2
  Memory::store_seq_cst(&reader.incarnation, impl_->incarnation);
  if (!impl_->walker.start(impl_->view)) {
    return Error{ErrorKind::kUnavailable, where + " holds no log yet, or its slot table contradicts itself"};
  }
  return {};
}

template <class Memory>
std::size_t BasicRingReader<Memory>::slot() const {
  return impl_->slot;
}

template <class Memory>
Step BasicRingReader<Memory>::next(Record& record) {
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
  return Position(Memory::load_acquire(&impl_->view.header().committed_position));
}

template <class Memory>
void BasicRingReader<Memory>::set_reclaim_position(Position position) {
  Memory::store_seq_cst(&impl_->reader().reclaim_position, position.value());  // pairs with F2
  count_progress();
}

template <class Memory>
void BasicRingReader<Memory>::count_progress() {
  Memory::store_release(&impl_->reader().progress, ++impl_->progress);
}

template <class Memory>
bool BasicRingReader<Memory>::is_evicted() const {
  if (impl_->incarnation == 0) return false;  // not joined
  return Memory::load_seq_cst(&impl_->view.header().evicted[impl_->slot]) ==
         impl_->incarnation;  // R4, pairs with E1
}

template <class Memory>
bool BasicRingReader<Memory>::is_superseded() const {
  return Memory::load_seq_cst(&impl_->view.header().superseded_by) != 0;  // pairs with N5
}

template <class Memory>
bool BasicRingReader<Memory>::writer_is_alive() const {
  return is_locked_elsewhere(impl_->header_fd.get());
}

template <class Memory>
SourceState BasicRingReader<Memory>::source() const {
  const RingHeader& h = impl_->view.header();
  SourceState state;
  const std::uint64_t capture = Memory::load_acquire(&h.capture_state);
  state.capture = capture <= static_cast<std::uint64_t>(kLastCaptureState)
                      ? static_cast<CaptureState>(capture)
                      : CaptureState::kFailed;
  state.version = Version(Memory::load_acquire(&h.source_version));
  state.alive_ns = Memory::load_acquire(&h.source_alive_ns);
  state.writer_heartbeat_ns = Memory::load_acquire(&h.writer_heartbeat_ns);
  state.source_time_us = Memory::load_acquire(&h.source_time_us);
  state.clock.offset_us = static_cast<std::int64_t>(Memory::load_acquire(&h.source_clock_offset_us));
  state.clock.error_us = Memory::load_acquire(&h.source_clock_error_us);
  state.clock.commit_time_resolution_us = Memory::load_acquire(&h.commit_time_resolution_us);
  state.used_bytes = Memory::load_acquire(&h.used_bytes);
  state.limit_bytes = Memory::load_acquire(&h.limit_bytes);
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
void BasicRingReader<Memory>::prefetch(Address address) const {
  const std::byte* at = impl_->view.at(address);
  __builtin_prefetch(at);
  __builtin_prefetch(at + 64);
}

template <class Memory>
bool BasicRingReader<Memory>::prepare_sleep() {
  ReaderFile& reader = impl_->reader();
  const RingHeader& header = impl_->view.header();
  Memory::store_seq_cst(&reader.sleep_word, ++impl_->sleep_word);  // S1
  const bool moved =
      Memory::load_seq_cst(&header.committed_position) != impl_->walker.position().value();  // S2
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
