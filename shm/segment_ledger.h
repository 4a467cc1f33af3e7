// SegmentLedger: what of each segment is live, and which segment is the best to compact. The writer's private
// bookkeeping, rebuilt from the log at restart.
//
// A record is live while it is what a joiner must find: a row's current version, a tombstone that dead copies of its
// row still need, a name's current table event. Live bytes are kept exactly, per table, so that the end of an
// incarnation is one subtraction a segment.
//
// The best victim is the one of the greatest (1 - u) × ⁴√age / u, u being the live share of its slots: cost and benefit as
// in the cleaner of LFS (Rosenblum and Ousterhout 1992) and RAMCloud's, with age damped, which our own simulation and
// measurements favour (docs/performance.md). Age is counted in versions: the log's newest less the mean of the segment's
// records, so that a relocated row stays as old as it is. A segment without live bytes is taken first.
//
// Threads: one.   Ownership: none.   Errors: false where said; preconditions are the caller's.   Limits: none of its own.
// Allocation: when a segment meets a table for the first time. pick_victim() looks at no more than kMostLookedAt slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"

namespace ringside::shm {

class SegmentLedger {
 public:
  // What live bytes of no table (events) are counted under.
  static constexpr TableId kEvents{};
  static constexpr std::uint64_t kMostLookedAt = 32768;

  explicit SegmentLedger(std::uint64_t segment_bytes) : segment_bytes_(segment_bytes) {}

  struct Victim {
    std::uint64_t slot = 0;
    double live_share = 0;  // of its slots' bytes
  };

  // A segment came into use; nothing in it is live yet.
  void open(std::uint64_t slot, std::uint32_t run);
  // It is no longer a candidate: it waits for its readers. Precondition: nothing in it is live.
  void close(std::uint64_t slot);

  // A record in the segment that has this slot (any slot of its run).
  // `is_carried`: by compaction.
  void add(std::uint64_t slot, TableId table, std::uint64_t bytes, Version version, bool is_carried = false);
  // False when there was no such record: the bytes underneath have changed.
  [[nodiscard]] bool remove(std::uint64_t slot, TableId table, std::uint64_t bytes);
  // Nothing of this incarnation is live any more.
  void forget(TableId table);

  std::uint64_t live_bytes() const { return live_bytes_; }
  std::uint64_t live_bytes(std::uint64_t slot) const { return slots_[first_of(slot)].live; }

  // The best segment to compact but for those that contain one of these slots; nothing when none has a live share of at
  // most `most_live`, has anything to gain, or can be moved at all (one that a live jumbo record lies in cannot).
  // A search that found none is not made again before more has died.
  std::optional<Victim> pick_victim(std::span<const std::uint64_t> pinned, Version newest, double most_live);
  // The last search found none where it looked, and there is more to look at: by the next one.
  bool is_looking() const { return vain_.looked_at > 0 && vain_.looked_at < slots_.size(); }
  // Any segment that begins in these slots and may be moved; its live share may be anything.
  std::optional<Victim> first_within(std::uint64_t first, std::uint64_t slots,
                                     std::span<const std::uint64_t> pinned) const;

 private:
  // What of a segment is one incarnation's, and live.
  struct Share {
    TableId table;
    std::uint32_t jumbos = 0;  // records that no ordinary segment could hold
    std::uint64_t bytes = 0;
  };
  struct Slot {
    std::uint32_t first = 0;  // of its segment
    std::uint32_t run = 0;    // of a segment's first slot; 0: no segment begins here
    std::uint64_t live = 0;
    double appended = 0;  // bytes ever added, and their versions times bytes
    double versions = 0;
    double carried = 0;  // of the bytes appended
    std::vector<Share> tables;
  };
  std::uint64_t first_of(std::uint64_t slot) const { return slots_[slot].first; }
  // A segment begins here, holds no live jumbo record, and none of the pinned slots.
  bool is_movable(std::uint64_t slot, std::span<const std::uint64_t> pinned) const;
  double live_share(std::uint64_t slot) const;
  // What compaction has packed and is still live is not packed any better by doing it again.
  static bool is_packed(const Slot& segment) {
    constexpr double kAllButAFew = 31.0 / 32;
    return segment.carried * 2 >= segment.appended &&
           static_cast<double>(segment.live) >= kAllButAFew * segment.appended && segment.live > 0;
  }
  bool is_jumbo(std::uint64_t bytes) const { return bytes + 128 > segment_bytes_; }

  std::uint64_t segment_bytes_;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t died_bytes_ = 0;  // since it was made
  std::vector<Slot> slots_;
  std::uint64_t next_look_ = 0;
  // Searches in vain, one behind the other: for which live share, since how much had died, over how many slots.
  struct Vain {
    double share = 0;
    std::uint64_t at_died = 0;
    std::uint64_t looked_at = 0;
  };
  Vain vain_;
};

}  // namespace ringside::shm
