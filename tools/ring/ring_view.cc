#include "tools/ring/ring_view.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "shm/slot_table.h"

namespace ringside::tools {

Result<RingView> RingView::open(const RingName& name) {
  const shm::RingPath path(name.directory, name.name);
  const Result<Epoch> epoch = shm::current_epoch(path);
  if (!epoch) {
    if (epoch.error().kind != ErrorKind::kNotFound) return epoch.error();
    return Error{ErrorKind::kUnavailable, "there is no ring at " + path.ring};
  }
  const std::string where = path.epoch(*epoch);
  const auto gone = [](Error error) {
    if (error.kind == ErrorKind::kNotFound) {
      error = Error{ErrorKind::kUnavailable, error.message + "; the ring was just replaced? try again"};
    }
    return error;
  };
  RingView ring;
  ring.name_ = name;
  Result<LogView> log = LogView::open(where, shm::Access::kRead);
  if (!log) return gone(std::move(log).error());
  if (log->epoch() != *epoch) return Error{ErrorKind::kCorrupt, where + " holds another epoch"};
  Result<shm::CatalogueFile<Memory>> catalogue =
      shm::CatalogueFile<Memory>::open(shm::catalogue_path(where), shm::Access::kRead);
  if (!catalogue) return gone(std::move(catalogue).error());
  Result<UniqueFd> lock_probe = shm::open_file(shm::header_path(where), shm::Access::kRead);
  if (!lock_probe) return gone(std::move(lock_probe).error());
  ring.log_ = std::move(*log);
  ring.catalogue_ = std::move(*catalogue);
  ring.lock_probe_ = std::move(*lock_probe);
  return ring;
}

bool RingView::is_superseded() const {
  if (load(header().superseded_by) != 0) return true;
  const Result<Epoch> now = shm::current_epoch(shm::RingPath(name_.directory, name_.name));
  return !now || *now != epoch();
}

std::optional<std::uint64_t> RingView::writer_pid() const {
  const std::string path = shm::RingPath(name_.directory, name_.name).writer_lock();
  const Result<UniqueFd> fd = shm::open_file(path, shm::Access::kRead);
  if (!fd || !shm::is_locked_elsewhere(fd->get())) return {};
  char text[32];
  const ssize_t size = ::pread(fd->get(), text, sizeof text, 0);
  std::uint64_t pid = 0;
  if (size <= 0 || std::from_chars(text, text + size, pid).ec != std::errc()) return {};
  return pid;
}

RingView::SlotTable RingView::slot_table(std::uint64_t limit) const {
  SlotTable table;
  table.slots = std::min(load(header().slot_count), log_.max_slots());
  for (std::uint64_t s = 0; s < table.slots; ++s) {
    shm::SlotInfo slot;
    slot.slot = s;
    const auto read = [&] {
      return shm::read_slot_entry<Memory>(log_.slot_entry(s), limit, log_.max_slots(), slot);
    };
    shm::SlotState state = read();
    // One that is taken anew between the loads of its words settles at once; a contradiction stays one.
    constexpr int kAttempts = 3;
    for (int i = 1; i < kAttempts && state == shm::SlotState::kCorrupt; ++i) state = read();
    if (state == shm::SlotState::kCorrupt) table.corrupt.push_back(s);
    if (state != shm::SlotState::kInUse) continue;
    table.used += slot.run;
    if (slot.start_position < limit) table.segments.push_back(slot);
  }
  std::sort(table.segments.begin(), table.segments.end(),
            [](const auto& a, const auto& b) { return a.start_position < b.start_position; });
  return table;
}

Result<Hold> Hold::take(const RingView& ring) {
  Hold hold;
  RINGSIDE_ASSIGN(hold.reader_, shm::RingReader::attach(ring.name().directory, ring.name().name));
  if (hold.reader_->epoch() != ring.epoch()) {
    return Error{ErrorKind::kUnavailable, ring.name().path() + " was replaced just now: try again"};
  }
  RINGSIDE_TRY(hold.reader_->join());
  return hold;
}

}  // namespace ringside::tools
