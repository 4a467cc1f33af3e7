// Scrubber: the writer's look at what it has published, a slice at a time: is everything still what was stored? Memory
// that changes of itself is found here before a reader meets it, or where no reader ever would.
//
//   each slice:  the header's words ─► a part of the slot table ─► what readers reported ─► records, segment by segment
//   each round:  all of the log below the committed position, oldest slot number first; then the catalogue
//
// It goes by what the writer remembers (HeaderWords, SlotTable): where a segment lies, where it begins, how far the log
// goes. A record is verified in place: its form, its checksum over its position; a segment opens with its checkpoint and
// closes with its end record, or at the committed position.
//
// Threads: the writer's.   Ownership: borrows everything.   Errors: kCorrupt, naming file, slot and position.
// Allocation: none but for an Error and a report. A slice takes the time of its budget and one record more.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "shm/catalogue_file.h"
#include "shm/header_words.h"
#include "shm/layout.h"
#include "shm/log_view.h"
#include "shm/record.h"
#include "shm/ring_writer.h"
#include "shm/slot_table.h"

namespace ringside::shm {

template <class Memory>
class Scrubber {
 public:
  // What belongs to the writer, as it is at the moment of a slice.
  struct Ring {
    const LogView<Memory>& view;
    const HeaderWords<Memory>& words;
    const SlotTable<Memory>& slots;
    const CatalogueFile<Memory>& catalogue;
    std::uint64_t committed;
  };

  // Goes on for about `budget_bytes` of the log.
  Result<void> run(const Ring& ring, std::uint64_t budget_bytes) {
    if (const std::string_view word = ring.words.spoilt(); !word.empty()) {
      return spoilt(header_path(ring.view.directory()), fmt::format("the word {}", word));
    }
    RINGSIDE_TRY(check_slots(ring, budget_bytes / sizeof(SlotEntry) / 16 + 1));
    while (!wanted_.empty() && budget_bytes > 0) {
      RINGSIDE_ASSIGN(const bool done, check_segment(ring, wanted_.back(), budget_bytes));
      if (done) wanted_.pop_back();
    }
    // No more than one round: a small ring is not looked at again and again.
    for (std::uint64_t visited = 0; budget_bytes > 0 && visited <= ring.slots.count(); ++visited) {
      if (at_.slot >= ring.slots.count()) {
        at_ = Place{};
        if (!ring.catalogue.is_intact())
          return spoilt(catalogue_path(ring.view.directory()), "the catalogue");
        ++counters_.rounds;
        return {};
      }
      RINGSIDE_ASSIGN(const bool done, check_segment(ring, at_, budget_bytes));
      if (done) at_ = Place{at_.slot + 1};
    }
    return {};
  }

  // A reader says that it met corruption in the segment of this position: looked at first in the next slice. Positions
  // outside of all segments are of the header or the slot table, which each slice looks at.
  void want(const Ring& ring, std::uint64_t position) {
    ++counters_.reports;
    next_entry_ = 0;
    for (std::uint64_t s = 0; s < ring.slots.count(); ++s) {
      const SlotEntry& own = ring.slots.own(s);
      const std::uint64_t bytes = (own.run_and_chunk & 0xffffffffu) * ring.view.segment_bytes();
      const bool is_here =
          own.generation % 2 == 1 && position >= own.start_position && position - own.start_position < bytes;
      if (!is_here) continue;
      const bool is_known =
          std::any_of(wanted_.begin(), wanted_.end(), [s](const Place& p) { return p.slot == s; });
      if (!is_known) wanted_.push_back(Place{s});
      return;
    }
  }

  const ScrubCounters& counters() const { return counters_; }

 private:
  // In the segment of a slot: how far it was verified, and in which life of the slot.
  struct Place {
    std::uint64_t slot = 0;
    std::uint64_t generation = 0;
    std::uint64_t offset = 0;
  };

  static Error spoilt(const std::string& file, const std::string& what) {
    return Error{ErrorKind::kCorrupt,
                 fmt::format("{}: {} is not what was stored there: the memory has changed of "
                             "itself, or another program wrote to it",
                             file, what)};
  }

  Result<void> check_slots(const Ring& ring, std::uint64_t entries) {
    const std::uint64_t count = ring.slots.count();
    for (std::uint64_t i = 0; i < std::min(entries, count); ++i) {
      if (next_entry_ >= count) next_entry_ = 0;
      const std::uint64_t slot = next_entry_++;
      if (!ring.slots.is_intact(slot))
        return spoilt(header_path(ring.view.directory()), fmt::format("the slot table's entry {}", slot));
    }
    return {};
  }

  // Goes on in the segment. True: there is nothing more in it, or it is none any more.
  Result<bool> check_segment(const Ring& ring, Place& place, std::uint64_t& budget) {
    const SlotEntry& own = ring.slots.own(place.slot);
    if (own.generation % 2 == 0) return true;
    if (place.generation != own.generation) place = Place{place.slot, own.generation, 0};
    const std::uint64_t bytes = (own.run_and_chunk & 0xffffffffu) * ring.view.segment_bytes();
    for (;;) {
      const std::uint64_t position = own.start_position + place.offset;
      if (position >= ring.committed) return true;
      if (budget == 0) return false;
      const std::byte* at = ring.view.at(place.slot * (ring.view.segment_bytes() / 8)) + place.offset;
      const std::uint64_t room = std::min(bytes - place.offset, ring.committed - position);
      RecordHeader header;
      const bool fits = room >= kRecordHeaderBytes && load_header(at, header) && header.length <= room &&
                        (header.type == RecordType::kCheckpoint) == (place.offset == 0) &&
                        record_crc({at, header.length}, Position(position)) == header.crc;
      if (!fits) {
        return spoilt(chunk_path(ring.view.directory(), own.run_and_chunk >> 32),
                      fmt::format("the record at position {} (slot {}, offset {})", position, place.slot,
                                  place.offset));
      }
      place.offset += header.length;
      counters_.bytes += header.length;
      budget -= std::min<std::uint64_t>(budget, header.length);
      if (header.type == RecordType::kSegmentEnd || place.offset == bytes) return true;
    }
  }

  Place at_;
  std::vector<Place> wanted_;
  std::uint64_t next_entry_ = 0;
  ScrubCounters counters_;
};

}  // namespace ringside::shm
