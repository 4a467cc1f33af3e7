// The definitions of BasicRingWriter that have to do with its readers: waking them, what they hold back, cutting them off.
// Beside ring_writer_impl.h, which includes it last; ring_writer.h has the contract, docs/ring-format.md ("Sleeping",
// "Compaction", "Eviction") the protocols.
#pragma once

#include "shm/ring_writer_impl.h"

namespace ringside::shm {

// P4, at the slots met in use and at the one behind them: where joiners come, but for one that took its slot while one
// below was locked and not yet in use; check_readers meets that one.
template <class Memory>
void BasicRingWriter<Memory>::Impl::wake_sleepers() {
  while (watched < kMaxReaders &&
         watches[watched].template load_incarnation<Memory>() != 0) {  // pairs with J2
    ++watched;
  }
  for (std::size_t i = 0; i < watched; ++i) {
    ReaderWatch& watch = watches[i];
    const std::uint64_t sleep = Memory::load_seq_cst(&watch.reader().sleep_word);  // pairs with S1
    if (sleep % 2 == 1 && sleep != watch.woken_for) wake(watch, sleep);
  }
}

template <class Memory>
void BasicRingWriter<Memory>::Impl::wake_everybody() {
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    ReaderWatch& watch = watches[i];
    if (watch.template load_incarnation<Memory>() != 0) watched = std::max(watched, i + 1);
    wake(watch, Memory::load_seq_cst(&watch.reader().sleep_word));
  }
}

template <class Memory>
void BasicRingWriter<Memory>::Impl::wake(ReaderWatch& watch, std::uint64_t sleep_word) {
  // A byte for nobody would wake whoever joins here next.
  if (watch.template load_incarnation<Memory>() == 0) return;
  watch.woken_for = sleep_word;
  const char byte = 1;
  // A full FIFO is as good as a byte written; nobody at the other end is no concern of ours.
  if (::write(watch.wake.get(), &byte, 1) < 0 && errno != EAGAIN) return;
}

// Would the segments that wait for readers go on waiting without this one? It may be one of several.
template <class Memory>
bool BasicRingWriter<Memory>::Impl::holds_room(const ReaderWatch& watch) const {
  return !pending.empty() && watch.template load_reclaim<Memory>() < pending.front().position;
}

template <class Memory>
std::size_t BasicRingWriter<Memory>::check_readers(std::uint64_t now_ns) {
  Impl& self = *impl_;
  if (!self.waits_for_readers || self.waits_since_ns == 0) self.waits_since_ns = now_ns;
  std::array<bool, kMaxReaders> is_evicted{};
  bool has_evicted = false;
  std::size_t in_use = 0;  // up to the last slot in use
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    ReaderWatch& watch = self.watches[i];
    const std::uint64_t incarnation = watch.template load_incarnation<Memory>();  // F2
    if (incarnation != 0) in_use = i + 1;
    if (incarnation == 0 || incarnation == self.words.evicted(i)) continue;
    const std::uint64_t progress = Memory::load_acquire(&watch.reader().progress);
    const std::uint64_t reclaim = watch.template load_reclaim<Memory>();  // F2
    const bool is_waited_for = self.waits_for_readers && self.holds_room(watch);
    const bool holds_much =
        self.committed - std::min(reclaim, self.committed) > self.options.reader_limit_bytes;
    // A reader that has had nothing to do has made no progress either: its grace begins when it is first seen to be behind.
    // One large transaction, during which nobody looked, may have put it behind by more than it may hold.
    if (!watch.is_behind || incarnation != watch.incarnation || progress != watch.progress) {
      watch.incarnation = incarnation;
      watch.progress = progress;
      watch.progress_since_ns = now_ns;
    }
    watch.is_behind = reclaim < self.committed;
    const bool is_stuck =
        ((holds_much || is_waited_for) && now_ns - watch.progress_since_ns > self.options.reader_grace_ns) ||
        (is_waited_for && now_ns - self.waits_since_ns > self.options.reader_wait_ns);
    const bool is_dead = !is_locked_elsewhere(watch.lock_probe.get());
    const bool is_spoilt = watch.template is_spoilt<Memory>();
    if (!is_stuck && !is_dead && !is_spoilt) continue;
    self.words.set_evicted(i, incarnation);  // E1, pairs with R4
    is_evicted[i] = !is_dead;
    has_evicted = true;
  }
  // What they held is taken before they are woken: one that joins again at once would hold it again.
  if (has_evicted) reclaim();
  std::size_t evicted = 0;
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    if (!is_evicted[i]) continue;
    ++evicted;
    const char byte = 1;
    if (::write(self.watches[i].wake.get(), &byte, 1) < 0 && errno != EAGAIN) continue;  // E2
  }
  self.watched = in_use;
  self.wake_sleepers();  // the P4 of who is in use where publishing has not looked
  return evicted;
}

template <class Memory>
std::vector<ReaderStatus> BasicRingWriter<Memory>::readers() const {
  std::vector<ReaderStatus> all;
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    const ReaderWatch& watch = impl_->watches[i];
    const ReaderFile& reader = watch.reader();
    const std::uint64_t incarnation = watch.template load_incarnation<Memory>();
    if (incarnation == 0 || incarnation == impl_->words.evicted(i)) continue;
    all.push_back(ReaderStatus{i, Memory::load_acquire(&reader.pid),
                               Position(watch.template load_reclaim<Memory>()),
                               Memory::load_acquire(&reader.sleep_word) % 2 == 1});
  }
  return all;
}

template <class Memory>
std::uint64_t BasicRingWriter<Memory>::Impl::lowest_reclaim_position() const {
  std::uint64_t lowest = ~std::uint64_t{0};
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    const std::uint64_t incarnation = watches[i].template load_incarnation<Memory>();  // pairs with J2
    if (incarnation == 0 || incarnation == words.evicted(i)) continue;
    lowest = std::min(lowest, watches[i].template load_reclaim<Memory>());
  }
  return lowest;
}

}  // namespace ringside::shm
