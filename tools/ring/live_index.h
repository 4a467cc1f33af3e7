// LiveIndex: which record of each key is the latest in the log, and so how many bytes of each segment are live.
//
// The rules are those of the writer's index: a row is live until a later record of its key; a tombstone is while an older row of its
// key is in the log, else a joiner would see that row again; an incarnation that has ended has nothing live. Of the table events
// the latest of each name is. Checkpoints, commits and segment ends never are.
//
// A hash table of its own instead of shm::RowIndex, which reads keys in the ring whenever it grows or compares: this one is used
// on a log that changes underneath. It keeps 64 bits of each key's hash instead of the key: among 100 million rows two have
// the same with a probability of 1 in 3,700, and the figures are then wrong by one record.
//
// Threads: one.   Ownership: owns all it holds.   Errors: none.
// Limits: memory: 16 bytes a key, 21 to 43 with the room to grow; and a few words for each table in each segment.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "shm/record.h"

namespace ringside::tools {

class LiveIndex {
 public:
  // Records in the order of the log. `segment`: any numbering of the segments, from 0 on. False: the record does not fit its form.
  bool add(std::size_t segment, const shm::Record& record);

  // What is live once all has been added. `is_known` says of a TableId whether the catalogue still has it.
  struct TableLive {
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;  // of rows and tombstones
  };
  struct Live {
    std::vector<std::uint64_t> segment_bytes;  // by segment
    std::map<std::uint32_t, TableLive> tables;
  };
  template <class IsKnown>
  Live live(std::size_t segments, IsKnown&& is_known) const;

  std::size_t memory_bytes() const;

 private:
  struct Entry {
    std::uint64_t hash = 0;  // 0: free
    std::uint32_t segment = 0;
    std::uint32_t units = 0;  // the record's length in 8 bytes; with kTombstone
  };
  static_assert(sizeof(Entry) == 16);
  static constexpr std::uint32_t kTombstone = std::uint32_t{1} << 31;  // lengths take 27 bits

  // One of many small tables, so that growing doubles one of them at a time.
  struct Part {
    std::vector<Entry> entries;  // a power of two
    std::size_t used = 0;
  };
  Entry* find(std::uint64_t hash);  // the key's entry, or the free one where it belongs
  void grow(Part& part);
  void add_row(std::size_t segment, const shm::RecordHeader& header, std::uint64_t hash);
  void add_event(std::size_t segment, const shm::RecordHeader& header, const shm::TableEvent& event);
  void count(std::size_t segment, TableId table, std::int64_t bytes);

  static constexpr std::size_t kParts = 256;
  std::array<Part, kParts> parts_;
  std::vector<std::map<std::uint32_t, std::int64_t>> live_bytes_;  // by segment and TableId; 0: table events
  std::map<std::uint32_t, std::int64_t> rows_;                     // by TableId
  struct Name {
    std::uint32_t serves = 0;  // TableId; 0: none
    std::size_t segment = 0;   // of its latest event
    std::uint32_t length = 0;
  };
  std::map<std::string, Name, std::less<>> names_;
  std::map<std::uint32_t, bool> ended_;  // TableIds
};

template <class IsKnown>
LiveIndex::Live LiveIndex::live(std::size_t segments, IsKnown&& is_known) const {
  Live result;
  result.segment_bytes.resize(segments);
  for (std::size_t s = 0; s < live_bytes_.size() && s < segments; ++s) {
    for (const auto& [table, bytes] : live_bytes_[s]) {
      if (table != 0 && (ended_.contains(table) || !is_known(TableId(table)))) continue;
      result.segment_bytes[s] += static_cast<std::uint64_t>(bytes);
      if (table != 0) result.tables[table].bytes += static_cast<std::uint64_t>(bytes);
    }
  }
  for (auto& [table, live] : result.tables) {
    live.rows = static_cast<std::uint64_t>(rows_.at(table));
  }
  return result;
}

}  // namespace ringside::tools
