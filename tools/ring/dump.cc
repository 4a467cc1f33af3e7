#include "tools/ring/dump.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "http/target.h"
#include "shm/record.h"
#include "shm/ring_reader.h"
#include "shm/row_index.h"
#include "tools/ring/report.h"

namespace ringside::tools {
namespace {

using shm::RecordType;

constexpr std::uint64_t kProgressEvery = 1024;  // records or rows

Error evicted() {
  return Error{ErrorKind::kLimit,
               "the writer needed the room that this dump held, or took it for dead, and evicted it: what is "
               "above is right but "
               "not all; dump into a file, ask for less (--key, --limit), or raise ring.reader_limit and "
               "ring.reader_grace"};
}

class Dump {
 public:
  Dump(const DumpOptions& options, std::unique_ptr<shm::RingReader> reader)
      : options_(options), reader_(std::move(reader)) {}

  Result<void> run(const RingName& name, std::FILE* out) {
    RINGSIDE_TRY(reader_->join());
    const Position end = reader_->committed_position();
    // After the position: all incarnations with records below it are in it, but for those that have ended since.
    RINGSIDE_ASSIGN(catalogue_, reader_->read_catalogue());
    RINGSIDE_TRY(choose_tables());
    RINGSIDE_TRY(read_log(end));
    RINGSIDE_ASSIGN(const shm::Table* table, table_in_force());
    return print(name, *table, out);
  }

 private:
  // One incarnation with the name that was asked for.
  struct Incarnation {
    const shm::Table* table = nullptr;
    shm::RowIndex rows;
    bool has_key = false;  // options_.key can be a row's
    std::string key;       // normalised
  };

  Result<void> choose_tables() {
    for (const shm::Table& table : catalogue_.tables) {
      if (table.name != options_.table) continue;
      Incarnation incarnation;
      incarnation.table = &table;
      if (options_.key && table.state != shm::TableState::kQuarantined) {
        shm::KeyBuffer key;
        RINGSIDE_ASSIGN(incarnation.has_key, normalise_key(table, *options_.key, key));
        incarnation.key = as_text(key.bytes());
      }
      incarnations_.emplace(table.id.value(), std::move(incarnation));
    }
    if (!incarnations_.empty()) return {};
    std::string names;
    for (const shm::Table& table : catalogue_.tables) {
      if (names.find(" " + table.name + ",") == std::string::npos) names += " " + table.name + ",";
    }
    if (!names.empty()) names.back() = '.';
    return Error{ErrorKind::kNotFound,
                 fmt::format("there is no table '{}' in the ring{}", printable(options_.table),
                             names.empty() ? "" : "; there are:" + printable(names, 500))};
  }

  Result<void> read_log(Position end) {
    shm::Record record;
    for (std::uint64_t count = 1; reader_->position() < end; ++count) {
      switch (reader_->next(record)) {
        case shm::Step::kRecord:
          break;
        case shm::Step::kCaughtUp:
          return {};
        case shm::Step::kEvicted:
          return evicted();
        case shm::Step::kCorrupt:
          return Error{ErrorKind::kCorrupt,
                       fmt::format("the log contradicts itself at position {}: see verify",
                                   reader_->position().value())};
      }
      RINGSIDE_TRY(apply(record));
      if (count % kProgressEvery == 0) reader_->count_progress();
    }
    return {};
  }

  Result<void> apply(const shm::Record& record) {
    const Error contradiction{ErrorKind::kCorrupt, fmt::format("the record at position {} contradicts itself",
                                                               record.position.value())};
    switch (record.header.type) {
      case RecordType::kRow:
      case RecordType::kRelocation:
      case RecordType::kTombstone:
        return apply_row(record) ? Result<void>() : contradiction;
      case RecordType::kTableEvent: {
        shm::TableEvent event;
        if (!shm::parse_table_event(record.header, record.bytes, event)) return contradiction;
        if (event.name != options_.table) return {};
        const bool lives = event.action == shm::TableAction::kLive;
        live_ = lives ? record.header.table_id.value() : 0;
        refusal_ = event.action == shm::TableAction::kQuarantined ? std::string(event.reason) : std::string();
        is_named_ = true;
        return {};
      }
      case RecordType::kCommit: {
        shm::Commit commit;
        if (!shm::parse_commit(record.header, record.bytes, commit)) return contradiction;
        if ((record.header.flags & shm::kLoadBatch) != 0) return {};
        version_ = record.header.version;
        gtid_ = commit.gtid;
        return {};
      }
      case RecordType::kCheckpoint: {
        shm::Checkpoint checkpoint;
        if (!shm::parse_checkpoint(record.header, record.bytes, checkpoint)) return contradiction;
        version_ = record.header.version;
        return {};
      }
      case RecordType::kSegmentEnd:
        return {};
    }
    return contradiction;
  }

  bool apply_row(const shm::Record& record) {
    const auto found = incarnations_.find(record.header.table_id.value());
    if (found == incarnations_.end()) return true;
    Incarnation& incarnation = found->second;
    const Bytes key = record.bytes.subspan(shm::kRecordHeaderBytes, record.header.key_bytes);
    if (options_.key && !(incarnation.has_key && as_text(key) == incarnation.key)) return true;
    const std::uint64_t hash = shm::key_hash(key);
    const shm::RowIndex::Handle handle = incarnation.rows.find(hash, key, *reader_);
    if (record.header.type == RecordType::kTombstone) {
      return handle == shm::RowIndex::kNoRow || incarnation.rows.erase(hash, handle);
    }
    shm::RowView row;
    if (record.header.shape_id != incarnation.table->shape.id ||
        !shm::RowView::parse(record.header, record.bytes, row) || !row.offsets_are_valid() ||
        row.column_count() != incarnation.table->shape.columns.size()) {
      return false;
    }
    if (handle == shm::RowIndex::kNoRow) {
      incarnation.rows.insert(hash, record.address, *reader_);
    } else {
      incarnation.rows.set_address(handle, record.address);
    }
    return true;
  }

  Result<const shm::Table*> table_in_force() const {
    if (!refusal_.empty()) {
      return Error{ErrorKind::kUnsupported,
                   fmt::format("'{}' is quarantined: {}", options_.table, printable(refusal_))};
    }
    const auto found = incarnations_.find(live_);
    if (live_ != 0 && found != incarnations_.end()) return found->second.table;
    const shm::Table& known = *incarnations_.begin()->second.table;
    if (live_ == 0 && known.state == shm::TableState::kQuarantined) {
      return Error{ErrorKind::kUnsupported,
                   fmt::format("'{}' is quarantined: {}", options_.table, printable(known.reason))};
    }
    const bool is_loading = live_ == 0 && !is_named_;
    return Error{ErrorKind::kUnavailable,
                 fmt::format("'{}' {}", options_.table,
                             is_loading ? "is being loaded: not to be seen yet"
                                        : "was replaced or dropped while it was looked at: try again")};
  }

  Result<void> print(const RingName& name, const shm::Table& table, std::FILE* out) {
    const Incarnation& incarnation = incarnations_.at(table.id.value());
    // What was indexed is what is printed only while nothing was reused: looked at again behind every row.
    if (reader_->is_evicted()) return evicted();
    fmt::print(
        out,
        "{{\"ring\":{},\"table\":{},\"id\":{},\"version\":{},\"gtid\":{},\"rows\":{},\"reader_slot\":{}}}\n",
        json_text(name.path()), json_text(table.name), table.id.value(), version_.value(), json_text(gtid_),
        incarnation.rows.size(), reader_->slot());
    std::vector<std::string> names;
    for (const shm::Column& column : table.shape.columns) {
      names.push_back((names.empty() ? "{" : ",") + json_text(column.name) + ":");
    }
    Result<void> printed;
    std::uint64_t count = 0;
    std::string line;
    incarnation.rows.for_each([&](shm::RowIndex::Handle, shm::Address address) {
      if (!printed || (options_.limit && count >= *options_.limit)) return;
      if (count++ % kProgressEvery == 0) reader_->count_progress();
      printed = format_row(address, names, line);
      if (printed && std::fwrite(line.data(), 1, line.size(), out) != line.size()) {
        printed = Error{ErrorKind::kIo, "standard output does not take the rows"};
      }
    });
    return printed;
  }

  Result<void> format_row(shm::Address address, const std::vector<std::string>& names, std::string& line) {
    shm::RecordHeader header;
    if (buffer_.empty()) buffer_.resize(4096);
    shm::CopyStatus status = reader_->copy_record(address, header, buffer_);
    if (status == shm::CopyStatus::kTooSmall) {
      buffer_.resize(header.length);
      status = reader_->copy_record(address, header, buffer_);
    }
    if (status == shm::CopyStatus::kGone || reader_->is_evicted()) return evicted();
    shm::RowView row;
    if (status != shm::CopyStatus::kOk ||
        !shm::RowView::parse(header, Bytes(buffer_).first(header.length), row) ||
        row.column_count() != names.size()) {
      return Error{ErrorKind::kCorrupt,
                   fmt::format("the row at address {} is no more what it was: see verify", address)};
    }
    line.clear();
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string_view value = row.value(i);
      line.append(names[i]).append(value.empty() ? "null" : value);
    }
    line += "}\n";
    return {};
  }

  const DumpOptions& options_;
  std::unique_ptr<shm::RingReader> reader_;
  shm::Catalogue catalogue_;
  std::map<std::uint32_t, Incarnation> incarnations_;  // by TableId
  std::uint32_t live_ = 0;                             // TableId that serves the name; 0: none
  bool is_named_ = false;                              // an event of the name was met
  std::string refusal_;
  Version version_;
  std::string gtid_;
  std::vector<std::byte> buffer_;
};

}  // namespace

// The replica's planner reads keys by the same two functions (http::percent_decode, shm::append_key_from_text) but into its arena
// and its problem documents, and its library needs io_uring: these lines are all that would be shared.
Result<bool> normalise_key(const shm::Table& table, std::string_view text, shm::KeyBuffer& key) {
  std::string scratch(text.size(), '\0');
  bool can_exist = true;
  key.clear();
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    const bool is_last = i + 1 == table.key.size();
    const std::size_t comma = text.find(',');
    if ((comma == std::string_view::npos) != is_last) {
      return Error{
          ErrorKind::kInvalid,
          fmt::format(
              "a key of '{}' has {} column(s), separated by commas; a comma within one is written %2C",
              table.name, table.key.size())};
    }
    const shm::Column& column = table.shape.columns[table.key[i].column];
    std::string_view part;
    const http::DecodeStatus decoded = http::percent_decode(text.substr(0, comma), http::PlusMeans::kPlus,
                                                            {scratch.data(), scratch.size()}, part);
    const shm::KeyStatus status = decoded == http::DecodeStatus::kOk
                                      ? shm::append_key_from_text(column, table.key[i], is_last, part, key)
                                      : shm::KeyStatus::kNotCanonical;
    if (status == shm::KeyStatus::kNotCanonical) {
      return Error{
          ErrorKind::kInvalid,
          fmt::format(
              "the key's part for column '{}' ({}) is not in its canonical form, or wrongly percent-encoded",
              printable(column.name), printable(column.sql_type))};
    }
    can_exist = can_exist && status == shm::KeyStatus::kOk;
    if (!is_last) text.remove_prefix(comma + 1);
  }
  return can_exist;
}

Result<void> dump_table(const RingName& name, const DumpOptions& options, std::FILE* out) {
  RINGSIDE_ASSIGN(std::unique_ptr<shm::RingReader> reader,
                  shm::RingReader::attach(name.directory, name.name));
  return Dump(options, std::move(reader)).run(name, out);
}

}  // namespace ringside::tools
