#include "tools/ring/survey.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/ring/segment_scan.h"

namespace ringside::tools {
namespace {

using shm::RecordType;

constexpr std::size_t kGtidCharacters = 24;  // of a set that a table for people has room for

constexpr std::array<std::pair<RecordType, const char*>, 7> kTypes{{
    {RecordType::kRow, "rows"},
    {RecordType::kRelocation, "relocations"},
    {RecordType::kTombstone, "tombstones"},
    {RecordType::kCommit, "commits"},
    {RecordType::kTableEvent, "table_events"},
    {RecordType::kCheckpoint, "checkpoints"},
    {RecordType::kSegmentEnd, "segment_ends"},
}};

const char* name_of(SegmentState state) {
  switch (state) {
    case SegmentState::kWhole:
      return "whole";
    case SegmentState::kTail:
      return "tail";
    case SegmentState::kChanged:
      return "changed underneath, passed over";
    case SegmentState::kCorrupt:
      break;
  }
  return "corrupt: see verify";
}

SurveyedSegment survey_segment(const RingView& ring, const shm::SlotInfo& slot, std::uint64_t committed,
                               std::size_t number, LiveIndex& index, Hold* hold) {
  SurveyedSegment segment;
  segment.slot = slot;
  SegmentScanner scanner(ring, slot, committed);
  shm::Record record;
  for (std::uint64_t count = 0;; ++count) {
    if (hold != nullptr && count % 1024 == 0) hold->count_progress();
    const Scan scan = scanner.next(record);
    if (scan == Scan::kEnd) break;
    if (scan == Scan::kChanged) {
      segment.state = SegmentState::kChanged;
      break;
    }
    if (scan == Scan::kCorrupt) {
      segment.state = SegmentState::kCorrupt;
      if (!scanner.resync()) break;
      continue;
    }
    if (!index.add(number, record)) segment.state = SegmentState::kCorrupt;
    ++segment.records[static_cast<std::size_t>(record.header.type)];
    segment.used_bytes += record.header.length;
    shm::Checkpoint checkpoint;
    if (shm::parse_checkpoint(record.header, record.bytes, checkpoint)) {
      segment.version = record.header.version.value();
      segment.gtid_set = checkpoint.gtid_set;
    }
  }
  return segment;
}

struct Totals {
  std::uint64_t slots = 0;
  std::uint64_t used = 0;
  std::uint64_t live = 0;
  std::uint64_t changed = 0;
  std::uint64_t corrupt = 0;
  std::array<std::uint64_t, 8> records{};
};

Totals total(const Survey& survey) {
  Totals totals;
  for (const SurveyedSegment& segment : survey.segments) {
    totals.changed += segment.state == SegmentState::kChanged ? 1 : 0;
    totals.corrupt += segment.state == SegmentState::kCorrupt ? 1 : 0;
    if (segment.state == SegmentState::kChanged) continue;
    totals.slots += segment.slot.run;
    totals.used += segment.used_bytes;
    totals.live += segment.live_bytes;
    for (std::size_t i = 0; i < totals.records.size(); ++i) totals.records[i] += segment.records[i];
  }
  return totals;
}

Report totals_report(const Survey& survey) {
  const Totals totals = total(survey);
  Report report;
  report.add("committed_position", number_cell(survey.committed));
  report.add("segments", number_cell(survey.segments.size()));
  report.add("slots_used", number_cell(survey.used_slots));
  report.add("slots_free", number_cell(survey.slots - std::min(survey.slots, survey.used_slots)));
  report.add("size_bytes", size_cell(totals.slots * survey.segment_bytes));
  report.add("used_bytes", size_cell(totals.used));
  report.add("live_bytes", size_cell(totals.live));
  report.add("utilisation", share_cell(totals.live, totals.slots * survey.segment_bytes));
  for (const auto& [type, name] : kTypes) {
    report.add(name, number_cell(totals.records[static_cast<std::size_t>(type)]));
  }
  report.add("changed_underneath", number_cell(totals.changed));
  report.add("corrupt", number_cell(totals.corrupt));
  report.add("index_bytes", size_cell(survey.index_bytes));
  return report;
}

Table segment_table(const Survey& survey) {
  std::vector<std::string> columns{"slot", "chunk",      "generation", "start_position",
                                   "run",  "used_bytes", "live_bytes", "utilisation"};
  for (const auto& [type, name] : kTypes) {
    if (type != RecordType::kCheckpoint && type != RecordType::kSegmentEnd) columns.emplace_back(name);
  }
  columns.insert(columns.end(), {"version", "gtid_set", "state"});
  Table table(std::move(columns));
  for (const SurveyedSegment& segment : survey.segments) {
    const bool is_known = segment.state != SegmentState::kChanged;
    const auto known = [&](Cell cell) { return is_known ? std::move(cell) : no_cell(); };
    std::vector<Cell> cells{number_cell(segment.slot.slot),
                            number_cell(segment.slot.chunk_first),
                            number_cell(segment.slot.generation),
                            number_cell(segment.slot.start_position),
                            number_cell(segment.slot.run),
                            known(number_cell(segment.used_bytes)),
                            known(number_cell(segment.live_bytes)),
                            known(share_cell(segment.live_bytes, segment.slot.run * survey.segment_bytes))};
    for (const auto& [type, name] : kTypes) {
      if (type == RecordType::kCheckpoint || type == RecordType::kSegmentEnd) continue;
      cells.push_back(known(number_cell(segment.records[static_cast<std::size_t>(type)])));
    }
    cells.push_back(known(number_cell(segment.version)));
    Cell gtid = text_cell(segment.gtid_set);
    gtid.text = printable(segment.gtid_set, kGtidCharacters);
    cells.push_back(known(std::move(gtid)));
    cells.push_back(text_cell(name_of(segment.state)));
    table.add_row(std::move(cells));
  }
  return table;
}

// Ten steps of 10 %.
Table histogram(const Survey& survey) {
  struct Step {
    std::uint64_t segments = 0;
    std::uint64_t bytes = 0;
    std::uint64_t live = 0;
  };
  std::array<Step, 10> steps{};
  std::uint64_t most = 1;
  for (const SurveyedSegment& segment : survey.segments) {
    if (segment.state == SegmentState::kChanged) continue;
    const std::uint64_t size = segment.slot.run * survey.segment_bytes;
    Step& step = steps[std::min<std::uint64_t>(9, segment.live_bytes * 10 / size)];
    most = std::max(most, ++step.segments);
    step.bytes += size;
    step.live += segment.live_bytes;
  }
  Table table({"utilisation", "segments", "size_bytes", "live_bytes", "share"});
  for (std::size_t i = 0; i < steps.size(); ++i) {
    Cell share = share_cell(steps[i].segments, survey.segments.size());
    share.text = std::string((steps[i].segments * 40 + most - 1) / most, '#');
    share.is_number = false;
    table.add_row({text_cell(fmt::format("{} - {} %", i * 10, i * 10 + 10)), number_cell(steps[i].segments),
                   number_cell(steps[i].bytes), number_cell(steps[i].live), std::move(share)});
  }
  return table;
}

}  // namespace

Result<Survey> survey_log(const RingView& ring, Hold* hold) {
  Survey survey;
  survey.committed =
      ring.committed();  // before the slot table: what it has of segments below is then complete
  survey.segment_bytes = ring.segment_bytes();
  const RingView::SlotTable table = ring.slot_table(survey.committed);
  survey.slots = table.slots;
  survey.used_slots = table.used;
  LiveIndex index;
  for (const shm::SlotInfo& slot : table.segments) {
    survey.segments.push_back(
        survey_segment(ring, slot, survey.committed, survey.segments.size(), index, hold));
  }
  if (!survey.segments.empty() && survey.segments.back().state == SegmentState::kWhole) {
    survey.segments.back().state = SegmentState::kTail;
  }
  // After the log: what has ended since is dead by now. An incarnation younger than the catalogue that was read is loading.
  const Result<shm::Catalogue> catalogue = ring.catalogue();
  if (!catalogue && catalogue.error().kind != ErrorKind::kUnavailable) return catalogue.error();
  std::uint32_t newest = 0;
  if (catalogue) {
    for (const shm::Table& each : catalogue->tables) {
      newest = std::max(newest, each.id.value());
      survey.table_names[each.id.value()] = each.name;
    }
  }
  LiveIndex::Live live = index.live(survey.segments.size(), [&](TableId id) {
    return id.value() > newest || survey.table_names.contains(id.value());
  });
  for (std::size_t i = 0; i < survey.segments.size(); ++i) {
    survey.segments[i].live_bytes = live.segment_bytes[i];
  }
  survey.tables = std::move(live.tables);
  survey.index_bytes = index.memory_bytes();
  return survey;
}

Report segments_report(const Survey& survey, bool is_summary) {
  Report report;
  if (is_summary) {
    report.add("utilisation", histogram(survey));
    Table tables({"id", "table", "rows", "live_bytes"});
    for (const auto& [id, live] : survey.tables) {
      const auto name = survey.table_names.find(id);
      tables.add_row({number_cell(id), name == survey.table_names.end() ? no_cell() : text_cell(name->second),
                      number_cell(live.rows), number_cell(live.bytes)});
    }
    report.add("tables", std::move(tables));
  } else {
    report.add("segments", segment_table(survey));
  }
  report.add("totals", totals_report(survey));
  return report;
}

}  // namespace ringside::tools
