#include "tools/ring/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "shm/gtid.h"
#include "shm/key.h"
#include "tools/ring/segment_scan.h"

namespace ringside::tools {
namespace {

using shm::RecordType;

// What records say besides their checksums: of their parts, and of each other.
class LogCheck {
 public:
  LogCheck(const Result<shm::Catalogue>& catalogue, std::uint64_t generation) : generation_(generation) {
    if (!catalogue) return;
    for (const shm::Table& table : catalogue->tables) {
      shapes_[table.id.value()] = {table.shape.id, table.shape.columns.size()};
    }
  }

  // Between what was looked at last and what comes, records may be missing.
  void gap() { is_after_gap_ = true; }
  // What is wrong with the record; empty: nothing.
  std::string check(const shm::Record& record) {
    switch (record.header.type) {
      case RecordType::kRow:
      case RecordType::kRelocation:
        return check_row(record);
      case RecordType::kTombstone:
        return record.header.key_bytes > shm::kMaxKeyBytes ? "its key is longer than any key" : "";
      case RecordType::kCommit:
        return check_commit(record);
      case RecordType::kTableEvent:
        return check_event(record);
      case RecordType::kCheckpoint:
        return check_checkpoint(record);
      case RecordType::kSegmentEnd:
        return "";
    }
    return "its type is unknown";
  }

 private:
  std::string check_row(const shm::Record& record) const {
    shm::RowView row;
    if (!shm::RowView::parse(record.header, record.bytes, row) || !row.offsets_are_valid()) {
      return "its values do not fit the record";
    }
    if (row.key().size() > shm::kMaxKeyBytes) return "its key is longer than any key";
    const auto shape = shapes_.find(record.header.table_id.value());
    if (shape == shapes_.end()) return "";  // dropped since
    const bool fits =
        shape->second.id == record.header.shape_id && shape->second.columns == row.column_count();
    return fits ? "" : "its shape is not its table's";
  }

  std::string check_commit(const shm::Record& record) {
    shm::Commit commit;
    if (!shm::parse_commit(record.header, record.bytes, commit))
      return "the commit's parts do not fit the record";
    if ((record.header.flags & shm::kLoadBatch) != 0) return "";
    if (record.header.version < version_) {
      return fmt::format("its version {} is below {}, which was committed before",
                         record.header.version.value(), version_.value());
    }
    version_ = record.header.version;
    const bool is_taken = executed_.add(commit.executed) && executed_.add(commit.gtid);
    return is_taken ? "" : "its GTID cannot be read, or is of another kind than those before";
  }

  std::string check_event(const shm::Record& record) const {
    shm::TableEvent event;
    if (!shm::parse_table_event(record.header, record.bytes, event))
      return "the table event's parts do not fit the record";
    return event.catalogue_generation > generation_ ? "it names a catalogue that there is not yet" : "";
  }

  std::string check_checkpoint(const shm::Record& record) {
    const bool is_after_gap = std::exchange(is_after_gap_, false);
    shm::Checkpoint checkpoint;
    if (!shm::parse_checkpoint(record.header, record.bytes, checkpoint))
      return "the checkpoint's parts do not fit the record";
    if (checkpoint.position != record.position) return "the checkpoint is of another position";
    if (checkpoint.catalogue_generation > generation_) return "it names a catalogue that there is not yet";
    if (is_after_gap) {
      if (record.header.version < version_) return "its version is below one that was committed before";
      version_ = record.header.version;
      return executed_.assign(checkpoint.gtid_set) ? "" : "its GTIDs cannot be read";
    }
    if (record.header.version != version_) {
      return fmt::format("it says version {}, the commit before it {}", record.header.version.value(),
                         version_.value());
    }
    return executed_.text() == checkpoint.gtid_set ? "" : "its GTIDs are not those of the commits before it";
  }

  struct ShapeOf {
    ShapeId id;
    std::size_t columns = 0;
  };
  std::map<std::uint32_t, ShapeOf> shapes_;  // by TableId
  std::uint64_t generation_;
  bool is_after_gap_ = true;
  Version version_;
  shm::ExecutedGtids executed_;
};

class Verifier {
 public:
  Verifier(const RingView& ring, Hold* hold, Verification& out) : ring_(ring), hold_(hold), out_(out) {}

  void run() {
    out_.committed = ring_.committed();  // before the slot table, which is then complete below it
    check_identity();
    check_header_words();
    const RingView::SlotTable table = ring_.slot_table(out_.committed);
    check_slots(table);
    // Before the log is read: the catalogue is published before the records that need it, and so after those read above.
    const Result<shm::Catalogue> catalogue = check_catalogue();
    LogCheck check(catalogue, ring_.catalogue_file().generation());
    check_log(table.segments, check);
    check_readers();
  }

 private:
  void check_identity() {
    const std::uint64_t epoch = ring_.load(ring_.header().epoch);
    if (epoch != ring_.epoch().value()) {
      add({"header",
           "the epoch is not that of the directory's name",
           {},
           offsetof(shm::RingHeader, epoch),
           {}});
    }
    const std::uint64_t state = ring_.load(ring_.header().capture_state);
    if (state > static_cast<std::uint64_t>(shm::kLastCaptureState)) {
      add({"header",
           fmt::format("capture state {} is none", state),
           {},
           offsetof(shm::RingHeader, capture_state),
           {}});
    }
  }

  // A writer, or a reader, that was killed between its two stores leaves words that differ: no corruption, and set right by
  // the next one. While it lives they agree.
  void check_twin(const std::string& file, std::string_view name, const shm::TwinWord& word,
                  const void* start, bool is_alive) {
    if (ring_.agrees_with_its_copy(word)) return;
    const auto offset =
        static_cast<std::uint64_t>(reinterpret_cast<const char*>(&word) - static_cast<const char*>(start));
    if (is_alive) return add({file, fmt::format("{} and its copy differ", name), {}, offset, {}});
    out_.remarks.push_back(
        fmt::format("{}: {} and its copy differ, and nobody is there to store them: the next one "
                    "sets it right, if it is no flipped bit",
                    file, name));
  }

  void check_header_words() {
    using Word = shm::TwinWord shm::RingHeader::*;
    constexpr std::pair<std::string_view, Word> kWords[] = {
        {"committed_position", &shm::RingHeader::committed_position},
        {"source_version", &shm::RingHeader::source_version},
        {"source_alive_ns", &shm::RingHeader::source_alive_ns},
        {"source_time_us", &shm::RingHeader::source_time_us},
        {"writer_heartbeat_ns", &shm::RingHeader::writer_heartbeat_ns},
        {"capture_state", &shm::RingHeader::capture_state},
        {"superseded_by", &shm::RingHeader::superseded_by},
        {"server_id", &shm::RingHeader::server_id},
        {"slot_count", &shm::RingHeader::slot_count},
        {"used_bytes", &shm::RingHeader::used_bytes},
        {"limit_bytes", &shm::RingHeader::limit_bytes},
        {"source_clock_offset_us", &shm::RingHeader::source_clock_offset_us},
        {"source_clock_error_us", &shm::RingHeader::source_clock_error_us},
        {"commit_time_resolution_us", &shm::RingHeader::commit_time_resolution_us},
        {"boot_id", &shm::RingHeader::boot_id},
        {"clean_stop", &shm::RingHeader::clean_stop},
    };
    const shm::RingHeader& header = ring_.header();
    const bool is_alive = ring_.has_writer();
    for (const auto& [name, word] : kWords) check_twin("header", name, header.*word, &header, is_alive);
    for (std::size_t i = 0; i < shm::kMaxReaders; ++i) {
      check_twin("header", fmt::format("evicted[{}]", i), header.evicted[i], &header, is_alive);
    }
  }

  void check_slots(const RingView::SlotTable& table) {
    const auto offset_of = [](std::uint64_t slot) {
      return shm::kHeaderBytes + slot * sizeof(shm::SlotEntry);
    };
    for (const std::uint64_t slot : table.corrupt) {
      add({"header", "the slot's entry does not fit its checksum", slot, offset_of(slot), {}});
    }
    std::map<std::uint64_t, const shm::SlotInfo*> by_slot;
    for (const shm::SlotInfo& segment : table.segments) by_slot[segment.slot] = &segment;
    const auto is_unchanged = [&](const shm::SlotInfo& segment) {
      return ring_.generation(segment.slot) == segment.generation;
    };
    const shm::SlotInfo* before = nullptr;
    for (const auto& [slot, segment] : by_slot) {
      if (before != nullptr && before->slot + before->run > slot && is_unchanged(*before) &&
          is_unchanged(*segment)) {
        add({"header", fmt::format("the segment at slot {} reaches into this one", before->slot), slot,
             offset_of(slot), segment->start_position});
      }
      before = segment;
    }
    before = nullptr;
    for (const shm::SlotInfo& segment : table.segments) {
      if (before != nullptr &&
          before->start_position + before->run * ring_.segment_bytes() > segment.start_position &&
          is_unchanged(*before) && is_unchanged(segment)) {
        add({"header", fmt::format("the segment at slot {} holds this one's position too", before->slot),
             segment.slot, offset_of(segment.slot), segment.start_position});
      }
      before = &segment;
    }
  }

  Result<shm::Catalogue> check_catalogue() {
    Result<shm::Catalogue> catalogue = ring_.catalogue();
    if (!catalogue && catalogue.error().kind != ErrorKind::kUnavailable) {
      add({"catalogue", catalogue.error().message, {}, {}, {}});
    }
    const auto half = ring_.catalogue_file().check_inactive_half();
    if (half.state == shm::HalfState::kCorrupt) {
      add({"catalogue",
           fmt::format("the half that holds generation {}, the one before, does not fit its checksum",
                       half.generation),
           {},
           half.offset,
           {}});
    }
    if (half.state == shm::HalfState::kUnfinished) {
      out_.remarks.emplace_back(
          "the catalogue's other half is being filled, or its writer died while it was");
    }
    return catalogue;
  }

  void check_log(const std::vector<shm::SlotInfo>& segments, LogCheck& check) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const bool follows = i > 0 && is_whole_ && end_of(segments[i - 1]) == segments[i].start_position;
      if (!follows) check.gap();
      check_segment(segments[i], i + 1 < segments.size() ? &segments[i + 1] : nullptr, check);
    }
    // The tail is never freed: were it not there, or shorter, the log would have lost its end.
    const bool reaches = !segments.empty() && (!is_whole_ || reached_ == out_.committed);
    if (!reaches && !ring_.is_superseded()) {
      add({"header",
           "no segment's records end at the committed position",
           {},
           offsetof(shm::RingHeader, committed_position),
           out_.committed});
    }
  }

  std::uint64_t end_of(const shm::SlotInfo& segment) const {
    return segment.start_position + segment.run * ring_.segment_bytes();
  }

  void check_segment(const shm::SlotInfo& slot, const shm::SlotInfo* following, LogCheck& check) {
    SegmentScanner scanner(ring_, slot, out_.committed);
    shm::Record record;
    is_whole_ = false;
    ++out_.segments;
    bool has_corruption = false;
    bool has_end = false;
    for (;;) {
      if (hold_ != nullptr && out_.records % 1024 == 0) hold_->count_progress();
      const std::uint64_t offset = scanner.offset();
      const Scan scan = scanner.next(record);
      if (scan == Scan::kEnd) break;
      if (scan == Scan::kChanged) {
        ++out_.changed;
        return;
      }
      if (scan == Scan::kCorrupt) {
        has_corruption = true;
        const std::string what = scanner.what();
        const bool goes_on = scanner.resync();
        add_at(
            scanner, slot, offset,
            fmt::format("{}; {}", what,
                        goes_on ? fmt::format("the next record is {} bytes behind", scanner.offset() - offset)
                                : "no record was found behind it"));
        check.gap();
        if (!goes_on) break;
        continue;
      }
      ++out_.records;
      out_.bytes += record.header.length;
      reached_ = record.position.value() + record.header.length;
      if (const std::string what = check.check(record); !what.empty()) add_at(scanner, slot, offset, what);
      if (record.header.type == RecordType::kSegmentEnd) {
        has_end = true;
        check_end(scanner, slot, offset, record, following);
      }
    }
    if (!has_corruption && !has_end && following != nullptr) {
      add_at(scanner, slot, scanner.offset(), "the segment has no end, and is not the last one");
    }
    is_whole_ = !has_corruption;
  }

  void check_end(const SegmentScanner& scanner, const shm::SlotInfo& slot, std::uint64_t offset,
                 const shm::Record& record, const shm::SlotInfo* following) {
    ByteReader reader(record.bytes.subspan(shm::kRecordHeaderBytes));
    const std::uint64_t next_slot = reader.u64();
    const std::uint64_t generation = reader.u64();
    if (!reader.ok()) return add_at(scanner, slot, offset, "the segment end's parts do not fit the record");
    // What followed may have been compacted away; what follows without a gap is what is named.
    if (following == nullptr || following->start_position != end_of(slot)) return;
    if (following->slot == next_slot && following->generation == generation) return;
    add_at(scanner, slot, offset,
           fmt::format("the segment's end names slot {} (generation {}), the next one is at slot {} ({})",
                       next_slot, generation, following->slot, following->generation));
  }

  void check_readers() {
    for (std::size_t i = 0; i < shm::kMaxReaders; ++i) {
      const std::string path = shm::reader_path(ring_.directory(), i);
      const std::string name = fmt::format("readers/{}", i);
      const auto wrong = [&](std::string what) { add({name, std::move(what), {}, {}, {}}); };
      const Result<UniqueFd> fd = shm::open_file(path, shm::Access::kRead);
      const Result<std::uint64_t> size =
          fd ? shm::file_size(fd->get(), path) : Result<std::uint64_t>(fd.error());
      if (!size) {
        if (!ring_.is_superseded()) wrong(size.error().message);
        continue;
      }
      if (*size != shm::kReaderFileBytes) {
        wrong("it does not have a reader file's size");
        continue;
      }
      std::error_code error;
      if (!std::filesystem::is_fifo(shm::wake_path(ring_.directory(), i), error) && !ring_.is_superseded()) {
        wrong("the FIFO beside it is missing, or none");
      }
      const Result<shm::MappedFile> file = shm::MappedFile::map(path, shm::Access::kRead, *size);
      if (!file) {
        wrong(file.error().message);
        continue;
      }
      const auto& reader = *static_cast<const shm::ReaderFile*>(file->data());
      const bool is_alive = shm::is_locked_elsewhere(fd->get());
      check_twin(name, "incarnation", reader.incarnation, &reader, is_alive);
      check_twin(name, "reclaim_position", reader.reclaim_position, &reader, is_alive);
      if (ring_.load(reader.incarnation) == 0) continue;
      ++out_.readers;
      if (ring_.load(reader.magic) != shm::kReaderMagic) wrong("it has no reader file's magic number");
      if (ring_.load(reader.epoch) != ring_.epoch().value()) wrong("it is of another epoch");
      // The reader's position first: the committed one only grows.
      const std::uint64_t reclaim = ring_.load(reader.reclaim_position);
      if (reclaim > ring_.committed()) wrong("its reclaim position lies beyond the committed position");
    }
  }

  void add(Finding finding) { out_.add(std::move(finding)); }
  void add_at(const SegmentScanner& scanner, const shm::SlotInfo& slot, std::uint64_t offset,
              std::string what) {
    const SegmentScanner::Place place = scanner.place(offset);
    add({place.file, std::move(what), slot.slot, place.offset, slot.start_position + offset});
  }

  const RingView& ring_;
  Hold* hold_;
  Verification& out_;
  bool is_whole_ = false;      // the segment looked at last was read from end to end
  std::uint64_t reached_ = 0;  // end of the last record
};

Cell optional_cell(const std::optional<std::uint64_t>& number) {
  return number ? number_cell(*number) : no_cell();
}

}  // namespace

void Verification::add(Finding finding) {
  if (++finding_count <= kMaxFindings) findings.push_back(std::move(finding));
}

Verification verify_ring(const RingView& ring, Hold* hold) {
  Verification verification;
  Verifier(ring, hold, verification).run();
  return verification;
}

Verification verification_of(const Error& error) {
  Verification verification;
  verification.add({"header", error.message, {}, {}, {}});
  return verification;
}

Report verify_report(const RingName& name, const Verification& verification) {
  Report report;
  report.add("ring", text_cell(name.path()));
  report.add("clean", flag_cell(verification.is_clean()));
  report.add("committed_position", number_cell(verification.committed));
  report.add("segments", number_cell(verification.segments));
  report.add("records", number_cell(verification.records));
  report.add("bytes", size_cell(verification.bytes));
  report.add("readers", number_cell(verification.readers));
  report.add("changed_underneath", number_cell(verification.changed));
  report.add("finding_count", number_cell(verification.finding_count));
  Table remarks({"remark"});
  for (const std::string& remark : verification.remarks) remarks.add_row({text_cell(remark)});
  report.add("remarks", std::move(remarks));
  Table findings({"file", "slot", "offset", "position", "what"});
  for (const Finding& finding : verification.findings) {
    findings.add_row({text_cell(finding.file), optional_cell(finding.slot), optional_cell(finding.offset),
                      optional_cell(finding.position), text_cell(finding.what)});
  }
  report.add("findings", std::move(findings));
  return report;
}

}  // namespace ringside::tools
