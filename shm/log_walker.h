// LogWalker: steps over a log's records in order, from the oldest segment to the committed position. Readers join and
// follow by it, the writer recovers by it (docs/ring-format.md, "Joining", "Following").
//
// Threads: one per object; another process writes underneath.   Ownership: borrows the LogView of each call.
// Errors: Result where it cannot begin, WalkStatus for what the memory says.   Allocation: grows a buffer, maps chunks.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "shm/layout.h"
#include "shm/log_view.h"
#include "shm/look_ahead.h"
#include "shm/record.h"
#include "shm/slot_table.h"

namespace ringside::shm {

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
  std::uint64_t segment_end(const LogView<Memory>& view) const {
    return segment_.start_position + segment_.run * view.segment_bytes();
  }
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

template <class Memory>
bool LogWalker<Memory>::enter(LogView<Memory>& view, const SlotInfo& slot) {
  if (!view.know(slot)) return false;
  // Compaction has taken what stood between this segment and the one before it (or this is the first).
  is_behind_gap_ = segment_.run == 0 || slot.start_position != segment_end(view);
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
    ahead_.step(view, position_, address_, limit_, segment_end(view), record.ahead);
    return WalkStatus::kRecord;
  }
}

template <class Memory>
WalkStatus LogWalker<Memory>::follow(LogView<Memory>& view, const Record& end) {
  const std::uint64_t start = segment_end(view);
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
