// The definitions of BasicRingWriter that have to do with whether the ring still is what was written: scrubbing, and the
// orderly stop. Beside ring_writer_impl.h, which includes it last; ring_writer.h has the contract.
#pragma once

#include "shm/ring_writer_impl.h"

namespace ringside::shm {

template <class Memory>
Result<void> BasicRingWriter<Memory>::scrub(std::uint64_t budget_bytes) {
  Impl& self = *impl_;
  const typename Scrubber<Memory>::Ring ring{self.view, self.words, self.slot_table, self.catalogue,
                                             self.committed};
  for (ReaderWatch& watch : self.watches) {
    const std::uint64_t reports = Memory::load_acquire(&watch.reader().reports);
    if (reports == watch.reports) continue;
    watch.reports = reports;
    self.scrubber.want(ring, Memory::load_acquire(&watch.reader().reported_position));
  }
  RINGSIDE_TRY(self.scrubber.run(ring, budget_bytes));
  return check_found();
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::check_found() const {
  const Address found = impl_->view.corrupt_address();
  if (found == 0) return {};
  return Error{
      ErrorKind::kCorrupt,
      fmt::format("the ring's record at position {} is not what was written there: the memory has changed "
                  "of itself, or another program wrote to it",
                  impl_->view.position_of(found).value())};
}

template <class Memory>
const ScrubCounters& BasicRingWriter<Memory>::scrubbed() const {
  return impl_->scrubber.counters();
}

template <class Memory>
Result<void> BasicRingWriter<Memory>::stop_in_order() {
  Impl& self = *impl_;
  self.is_stopped = true;
  RINGSIDE_TRY(sync_epoch(self.path, self.view.directory()));
  self.words.set(&RingHeader::clean_stop, 1);
  return sync_file(self.header_fd.get(), header_path(self.view.directory()));
}

}  // namespace ringside::shm
