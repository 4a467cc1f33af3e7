// The subcommand `segments`: what lies in each segment, and how much of it is live.
//
// One pass over the log up to the position that was committed when it began, segment by segment. A segment that is freed or reused
// meanwhile is counted as such and passed over: with Hold there are none.
//
// Threads: one.   Ownership: none.
// Errors: those of reading the catalogue; what is wrong in the log is counted, `verify` says what it is.
// Limits: memory as live_index.h says, and a line for each segment.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "shm/log_view.h"
#include "tools/ring/live_index.h"
#include "tools/ring/report.h"
#include "tools/ring/ring_view.h"

namespace ringside::tools {

enum class SegmentState : std::uint8_t { kWhole, kTail, kChanged, kCorrupt };

struct SurveyedSegment {
  shm::SlotInfo slot;
  SegmentState state = SegmentState::kWhole;
  std::uint64_t used_bytes = 0;  // by records
  std::uint64_t live_bytes = 0;
  std::array<std::uint64_t, 8> records{};  // by RecordType
  std::uint64_t version = 0;               // of its checkpoint
  std::string gtid_set;
};

struct Survey {
  std::uint64_t committed = 0;
  std::uint64_t segment_bytes = 0;
  std::uint64_t slots = 0;       // of the slot table that have ever been used
  std::uint64_t used_slots = 0;  // of segments
  std::vector<SurveyedSegment> segments;
  std::map<std::uint32_t, LiveIndex::TableLive> tables;
  std::map<std::uint32_t, std::string> table_names;
  std::uint64_t index_bytes = 0;  // memory that finding out took
};

// `hold` may be null.
Result<Survey> survey_log(const RingView& ring, Hold* hold);
// `is_summary`: totals, a histogram and the tables instead of a line for each segment.
Report segments_report(const Survey& survey, bool is_summary);

}  // namespace ringside::tools
