#include "tools/ring/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "tools/ring/segment_scan.h"

namespace ringside::tools {
namespace {

using shm::CaptureState;

Cell state_cell(std::uint64_t state) {
  constexpr std::array<std::pair<CaptureState, const char*>, 7> kNames{{
      {CaptureState::kStarting, "starting"},
      {CaptureState::kStreaming, "streaming"},
      {CaptureState::kReconnecting, "reconnecting"},
      {CaptureState::kFull, "full"},
      {CaptureState::kFailed, "failed"},
      {CaptureState::kStopped, "stopped"},
      {CaptureState::kReplacing, "replacing"},
  }};
  static_assert(kNames.size() == static_cast<std::size_t>(shm::kLastCaptureState) + 1);
  for (const auto& [value, name] : kNames) {
    if (static_cast<std::uint64_t>(value) == state) return text_cell(name);
  }
  return text_cell(fmt::format("unknown ({})", state));
}

Cell age_cell(std::uint64_t then_ns, std::uint64_t now_ns) {
  if (then_ns == 0) return no_cell();
  return seconds_cell(now_ns - std::min(now_ns, then_ns));
}

// What the log's table events say of each name, and so of an incarnation.
struct NameState {
  std::uint32_t serves = 0;  // TableId; 0: none
  std::uint32_t refused =
      0;               // the incarnation that served when the name was refused; 0: it is not, or none did
  std::string reason;  // why it is refused
};
using NameStates = std::map<std::string, NameState, std::less<>>;

// False: segments were reused meanwhile, or are corrupt; an event may be missing.
bool read_events(const RingView& ring, NameStates& names) {
  const std::uint64_t committed = ring.committed();
  bool is_whole = true;
  for (const shm::SlotInfo& slot : ring.slot_table(committed).segments) {
    SegmentScanner scanner(ring, slot, committed);
    shm::Record record;
    Scan scan;
    while ((scan = scanner.next(record)) == Scan::kRecord) {
      shm::TableEvent event;
      if (!shm::parse_table_event(record.header, record.bytes, event)) continue;
      const std::uint32_t id = record.header.table_id.value();
      NameState state;
      if (event.action == shm::TableAction::kLive) state.serves = id;
      if (event.action == shm::TableAction::kQuarantined) {
        state.refused = id;
        state.reason = event.reason;
      }
      names[std::string(event.name)] = std::move(state);
    }
    is_whole &= scan == Scan::kEnd;
  }
  return is_whole;
}

shm::TableState state_of(const shm::Table& table, const NameStates& names, std::string& reason) {
  reason = table.reason;
  const auto name = names.find(table.name);
  if (name == names.end()) return table.state;
  if (name->second.serves == table.id.value()) return shm::TableState::kLive;
  if (name->second.refused != table.id.value())
    return table.state;  // e.g. loading, to take a refused one's place
  reason = name->second.reason;
  return shm::TableState::kQuarantined;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out.append(out.empty() ? "" : ", ").append(name);
  return out;
}

}  // namespace

Report header_report(const RingView& ring, std::uint64_t now_ns) {
  const shm::RingHeader& h = ring.header();
  const auto word = [&](const auto& w) { return ring.load(w); };
  Report report;
  report.add("ring", text_cell(ring.name().path()));
  report.add("epoch", hex_cell(ring.epoch().value()));
  report.add("layout_version", number_cell(word(h.layout_version)));
  report.add("segment_bytes", size_cell(word(h.segment_bytes)));
  report.add("chunk_bytes", size_cell(word(h.chunk_bytes)));
  report.add("max_slots", number_cell(word(h.max_slots)));
  report.add("slot_count", number_cell(word(h.slot_count)));
  report.add("used_bytes", size_cell(word(h.used_bytes)));
  report.add("limit_bytes", size_cell(word(h.limit_bytes)));
  report.add("committed_position", number_cell(ring.committed()));
  report.add("catalogue_generation", number_cell(ring.catalogue_file().generation()));
  report.add("writer_alive", flag_cell(ring.has_writer()));
  const std::optional<std::uint64_t> pid = ring.writer_pid();
  report.add("writer_pid", pid ? number_cell(*pid) : no_cell());
  report.add("writer_heartbeat_seconds_ago", age_cell(word(h.writer_heartbeat_ns), now_ns));
  report.add("capture_state", state_cell(word(h.capture_state)));
  report.add("source_version", number_cell(word(h.source_version)));
  report.add("source_alive_seconds_ago", age_cell(word(h.source_alive_ns), now_ns));
  report.add("source_time_us", number_cell(word(h.source_time_us)));
  // To this host's time of day, as everybody else says it.
  const auto offset_us = static_cast<std::int64_t>(word(h.source_clock_offset_us)) - wall_ahead_ns() / 1000;
  const std::uint64_t error_us = word(h.source_clock_error_us);
  report.add("source_clock_offset_us", error_us == 0 ? no_cell() : signed_cell(offset_us));
  report.add("source_clock_error_us", number_cell(error_us));
  report.add("commit_time_resolution_us", number_cell(word(h.commit_time_resolution_us)));
  report.add("server_id", number_cell(word(h.server_id)));
  report.add("boot_id", hex_cell(word(h.boot_id)));
  report.add("clean_stop", flag_cell(word(h.clean_stop) == 1));
  const std::uint64_t successor = word(h.superseded_by);
  report.add("superseded_by", successor == 0 ? no_cell() : hex_cell(successor));
  Table others({"epoch"});
  if (const auto epochs = shm::list_epochs(shm::RingPath(ring.name().directory, ring.name().name))) {
    for (const Epoch epoch : *epochs) {
      if (epoch != ring.epoch()) others.add_row({hex_cell(epoch.value())});
    }
  }
  report.add("other_epochs", std::move(others));
  return report;
}

Result<Report> readers_report(const RingView& ring, bool is_all) {
  const std::uint64_t committed_before = ring.committed();
  const RingView::SlotTable slots = ring.slot_table(committed_before);
  const std::uint64_t oldest =
      slots.segments.empty() ? committed_before : slots.segments.front().start_position;
  Table table({"slot", "pid", "incarnation", "state", "alive", "asleep", "reclaim_position", "lag_bytes",
               "progress", "evicted"});
  for (std::size_t i = 0; i < shm::kMaxReaders; ++i) {
    const std::string path = shm::reader_path(ring.directory(), i);
    RINGSIDE_ASSIGN(const UniqueFd fd, shm::open_file(path, shm::Access::kRead));
    RINGSIDE_ASSIGN(const std::uint64_t size, shm::file_size(fd.get(), path));
    if (size != shm::kReaderFileBytes) {
      return Error{ErrorKind::kCorrupt, path + " does not have a reader file's size"};
    }
    RINGSIDE_ASSIGN(const shm::MappedFile file, shm::MappedFile::map(path, shm::Access::kRead, size));
    const auto& reader = *static_cast<const shm::ReaderFile*>(file.data());
    const std::uint64_t incarnation = ring.load(reader.incarnation);
    const std::uint64_t reclaim = ring.load(reader.reclaim_position);
    const std::uint64_t committed = ring.committed();  // after it, so that it is not below it
    const std::uint64_t mark = ring.load(ring.header().evicted[i]);
    const bool is_locked = shm::is_locked_elsewhere(fd.get());
    const bool is_evicted = incarnation != 0 && mark == incarnation;
    if (incarnation == 0 && !is_locked && !is_all) continue;
    const bool is_joining = incarnation != 0 && reclaim == 0;
    const char* state = incarnation == 0 ? is_locked ? "attaching" : "free"
                        : !is_locked     ? "dead"
                        : is_evicted     ? "evicted"
                        : is_joining     ? "joining"
                                         : "following";
    const std::uint64_t held_from = is_joining ? oldest : reclaim;
    const bool has_reader = incarnation != 0;
    const auto of_reader = [&](Cell cell) { return has_reader ? std::move(cell) : no_cell(); };
    table.add_row(
        {number_cell(i), of_reader(number_cell(ring.load(reader.pid))), of_reader(hex_cell(incarnation)),
         text_cell(state), flag_cell(is_locked), of_reader(flag_cell(ring.load(reader.sleep_word) % 2 == 1)),
         of_reader(number_cell(reclaim)), of_reader(number_cell(committed - std::min(committed, held_from))),
         of_reader(number_cell(ring.load(reader.progress))), flag_cell(is_evicted)});
  }
  Report report;
  report.add("committed_position", number_cell(committed_before));
  if (table.is_empty()) report.add("reader_count", number_cell(0));
  report.add("readers", std::move(table));
  return report;
}

Result<Report> catalogue_report(const RingView& ring) {
  NameStates names;
  constexpr int kAttempts = 3;
  bool is_whole = false;
  for (int i = 0; i < kAttempts && !is_whole; ++i) is_whole = read_events(ring, names);
  RINGSIDE_ASSIGN(const shm::Catalogue catalogue, ring.catalogue());
  Report report;
  report.add("generation", number_cell(catalogue.generation));
  report.add("history", text_cell(catalogue.history));
  report.add("database", text_cell(catalogue.database));
  if (!is_whole) {
    report.add("remark",
               text_cell("part of the log changed underneath or is corrupt: a state may be an older one"));
  }
  std::vector<Report> tables;
  for (const shm::Table& table : catalogue.tables) {
    Report one;
    one.add("table", text_cell(table.name));
    one.add("id", number_cell(table.id.value()));
    one.add("shape", number_cell(table.shape.id.value()));
    std::string reason;
    one.add("state", text_cell(shm::to_string(state_of(table, names, reason))));
    if (!reason.empty()) one.add("reason", text_cell(reason));
    one.add("key_name", text_cell(table.key_name));
    Table key({"key_column", "compares", "pads_spaces"});
    for (const shm::KeyColumn& part : table.key) {
      key.add_row({text_cell(table.shape.columns[part.column].name), text_cell(shm::to_string(part.rule)),
                   flag_cell(part.pad_space)});
    }
    one.add("key", std::move(key));
    Table columns({"column", "type", "json", "nullable", "collation", "labels"});
    for (const shm::Column& column : table.shape.columns) {
      columns.add_row({text_cell(column.name), text_cell(column.sql_type),
                       text_cell(shm::to_string(column.kind)), flag_cell(column.nullable),
                       column.collation.empty() ? no_cell() : text_cell(column.collation),
                       column.labels.empty() ? no_cell() : text_cell(joined(column.labels))});
    }
    one.add("columns", std::move(columns));
    tables.push_back(std::move(one));
  }
  report.add("tables", std::move(tables));
  return report;
}

}  // namespace ringside::tools
