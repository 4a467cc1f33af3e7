#include "shm/segment_ledger.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

namespace ringside::shm {

void SegmentLedger::open(std::uint64_t slot, std::uint32_t run) {
  if (slots_.size() < slot + run) slots_.resize(slot + run);
  for (std::uint64_t s = slot; s < slot + run; ++s) {
    slots_[s] = Slot{};
    slots_[s].first = static_cast<std::uint32_t>(slot);
  }
  slots_[slot].run = run;
}

void SegmentLedger::close(std::uint64_t slot) {
  Slot& segment = slots_[slot];
  RINGSIDE_ASSERT(segment.run > 0 && segment.live == 0);
  segment.run = 0;
  segment.tables.clear();
  segment.tables.shrink_to_fit();
}

void SegmentLedger::add(std::uint64_t slot, TableId table, std::uint64_t bytes, Version version,
                        bool is_carried) {
  Slot& segment = slots_[first_of(slot)];
  RINGSIDE_ASSERT(segment.run > 0);
  segment.live += bytes;
  live_bytes_ += bytes;
  segment.appended += static_cast<double>(bytes);
  if (is_carried) segment.carried += static_cast<double>(bytes);
  segment.versions += static_cast<double>(version.value()) * static_cast<double>(bytes);
  auto share = std::find_if(segment.tables.begin(), segment.tables.end(),
                            [&](const Share& each) { return each.table == table; });
  if (share == segment.tables.end()) share = segment.tables.insert(share, Share{table, 0, 0});
  share->bytes += bytes;
  share->jumbos += is_jumbo(bytes) ? 1 : 0;
}

bool SegmentLedger::remove(std::uint64_t slot, TableId table, std::uint64_t bytes) {
  Slot& segment = slots_[first_of(slot)];
  for (Share& share : segment.tables) {
    if (share.table != table) continue;
    if (share.bytes < bytes) return false;
    share.bytes -= bytes;
    share.jumbos -= is_jumbo(bytes) ? 1 : 0;
    segment.live -= bytes;
    live_bytes_ -= bytes;
    died_bytes_ += bytes;
    return true;
  }
  return false;
}

void SegmentLedger::forget(TableId table) {
  for (Slot& segment : slots_) {
    std::erase_if(segment.tables, [&](const Share& share) {
      if (share.table != table) return false;
      segment.live -= share.bytes;
      live_bytes_ -= share.bytes;
      died_bytes_ += share.bytes;
      return true;
    });
  }
}

bool SegmentLedger::is_movable(std::uint64_t slot, std::span<const std::uint64_t> pinned) const {
  const Slot& segment = slots_[slot];
  if (segment.run == 0) return false;
  if (std::any_of(segment.tables.begin(), segment.tables.end(),
                  [](const Share& each) { return each.jumbos > 0; })) {
    return false;
  }
  return std::none_of(pinned.begin(), pinned.end(),
                      [&](std::uint64_t each) { return each >= slot && each < slot + segment.run; });
}

double SegmentLedger::live_share(std::uint64_t slot) const {
  return static_cast<double>(slots_[slot].live) / (static_cast<double>(segment_bytes_) * slots_[slot].run);
}

std::optional<SegmentLedger::Victim> SegmentLedger::pick_victim(std::span<const std::uint64_t> pinned,
                                                                Version newest, double most_live) {
  const bool is_new = vain_.looked_at == 0 || most_live > vain_.share;
  if (is_new || died_bytes_ - vain_.at_died >= segment_bytes_ / 32) vain_ = {most_live, died_bytes_, 0};
  if (vain_.looked_at >= slots_.size()) return std::nullopt;
  std::optional<Victim> best;
  double best_benefit = -1;
  const std::uint64_t count = std::min<std::uint64_t>(slots_.size(), kMostLookedAt);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t s = (next_look_ + i) % slots_.size();
    if (!is_movable(s, pinned)) continue;
    const Slot& segment = slots_[s];
    const double live = live_share(s);
    if (live > most_live || is_packed(segment)) continue;
    const double mean = segment.appended > 0 ? segment.versions / segment.appended : 0;
    const double age = std::max(static_cast<double>(newest.value()) - mean, 0.0) + 1;
    const double benefit = segment.live == 0 ? 1e300 : (1 - live) * std::sqrt(std::sqrt(age)) / live;
    if (benefit <= best_benefit) continue;
    best_benefit = benefit;
    best = Victim{s, live};
  }
  next_look_ = (next_look_ + count) % slots_.size();
  vain_.share = std::min(vain_.share, most_live);
  vain_.looked_at = best ? 0 : vain_.looked_at + count;
  return best;
}

std::optional<SegmentLedger::Victim> SegmentLedger::first_within(
    std::uint64_t first, std::uint64_t slots, std::span<const std::uint64_t> pinned) const {
  for (std::uint64_t s = first; s < std::min<std::uint64_t>(first + slots, slots_.size()); ++s) {
    if (is_movable(s, pinned)) return Victim{s, live_share(s)};
  }
  return std::nullopt;
}

}  // namespace ringside::shm
