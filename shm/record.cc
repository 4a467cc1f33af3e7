#include "shm/record.h"

#include <cstring>

#include "base/assert.h"
#include "base/crc32c.h"

namespace ringside::shm {
namespace {

bool is_known(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(RecordType::kCheckpoint) &&
         type <= static_cast<std::uint8_t>(RecordType::kSegmentEnd);
}

template <class T>
void append_le(std::string& out, T value) {
  char raw[sizeof(T)];
  store_le<T>(raw, value);
  out.append(raw, sizeof raw);
}

void append_text(std::string& out, std::string_view text) {
  append_le<std::uint32_t>(out, static_cast<std::uint32_t>(text.size()));
  out.append(text);
}

std::string_view read_text(ByteReader& reader) {
  return reader.text(reader.u32());
}

}  // namespace

void store_header(const RecordHeader& header, std::byte* to) {
  store_le<std::uint32_t>(to, header.crc);
  store_le<std::uint32_t>(to + 4, header.length);
  to[8] = static_cast<std::byte>(header.type);
  to[9] = static_cast<std::byte>(header.flags);
  store_le<std::uint16_t>(to + 10, header.column_count);
  store_le<std::uint32_t>(to + 12, header.table_id.value());
  store_le<std::uint32_t>(to + 16, header.shape_id.value());
  store_le<std::uint32_t>(to + 20, header.key_bytes);
  store_le<std::uint64_t>(to + 24, header.version.value());
  store_le<std::uint64_t>(to + 32, header.previous);
}

bool load_header(const std::byte* from, RecordHeader& header) {
  header.crc = load_le<std::uint32_t>(from);
  header.length = load_le<std::uint32_t>(from + 4);
  const auto type = std::to_integer<std::uint8_t>(from[8]);
  header.type = static_cast<RecordType>(type);
  header.flags = std::to_integer<std::uint8_t>(from[9]);
  header.column_count = load_le<std::uint16_t>(from + 10);
  header.table_id = TableId(load_le<std::uint32_t>(from + 12));
  header.shape_id = ShapeId(load_le<std::uint32_t>(from + 16));
  header.key_bytes = load_le<std::uint32_t>(from + 20);
  header.version = Version(load_le<std::uint64_t>(from + 24));
  header.previous = load_le<std::uint64_t>(from + 32);
  return is_known(type) && header.length >= kRecordHeaderBytes && header.length <= kMaxRecordBytes &&
         header.length % kRecordAlignment == 0 && header.key_bytes <= header.length - kRecordHeaderBytes &&
         header.previous >> 40 == 0;
}

std::uint32_t record_crc(Bytes record, Position position) {
  RINGSIDE_ASSERT(record.size() >= kRecordHeaderBytes);
  return crc32c_record(record.data(), record.size(), position.value());
}

bool RowView::parse(const RecordHeader& header, Bytes record, RowView& row) {
  if (record.size() != header.length) return false;
  row.wide_ = (header.flags & kWideOffsets) != 0;
  row.column_count_ = header.column_count;
  const std::size_t table_bytes = row.column_count_ * (row.wide_ ? 4 : 2);
  const Bytes payload = record.subspan(kRecordHeaderBytes);
  if (header.key_bytes > payload.size() || table_bytes > payload.size() - header.key_bytes) return false;
  row.key_ = as_text(payload.first(header.key_bytes));
  row.ends_ = payload.data() + header.key_bytes;
  row.values_ = as_text(payload.subspan(header.key_bytes + table_bytes));
  return true;
}

std::size_t RowView::end_offset(std::size_t column) const {
  return wide_ ? load_le<std::uint32_t>(ends_ + 4 * column) : load_le<std::uint16_t>(ends_ + 2 * column);
}

std::string_view RowView::value(std::size_t column) const {
  if (column >= column_count_) return {};
  const std::size_t begin = column == 0 ? 0 : end_offset(column - 1);
  const std::size_t end = end_offset(column);
  if (begin > end || end > values_.size()) return {};
  return values_.substr(begin, end - begin);
}

bool RowView::offsets_are_valid() const {
  std::size_t before = 0;
  for (std::size_t i = 0; i < column_count_; ++i) {
    const std::size_t end = end_offset(i);
    if (end < before || end > values_.size()) return false;
    before = end;
  }
  return true;
}

void RowBuilder::begin() {
  key_.clear();
  ends_.clear();
  values_.clear();
}

std::string_view RowBuilder::value(std::size_t column) const {
  RINGSIDE_ASSERT(column < ends_.size());
  const std::size_t begin = column == 0 ? 0 : ends_[column - 1];
  return std::string_view(values_).substr(begin, ends_[column] - begin);
}

std::string_view RowBuilder::payload(std::uint8_t& flags) {
  const bool wide = values_.size() > 0xffff;
  flags = static_cast<std::uint8_t>(wide ? flags | kWideOffsets : flags & ~kWideOffsets);
  payload_.assign(key_);
  for (const std::size_t end : ends_) {
    if (wide) {
      append_le<std::uint32_t>(payload_, static_cast<std::uint32_t>(end));
    } else {
      append_le<std::uint16_t>(payload_, static_cast<std::uint16_t>(end));
    }
  }
  payload_.append(values_);
  return payload_;
}

std::string commit_payload(const Commit& commit) {
  std::string out;
  append_le(out, commit.commit_time_us);
  append_le(out, commit.events_checksum);
  append_le(out, commit.row_count);
  append_le(out, commit.received_ns);
  append_text(out, commit.gtid);
  append_text(out, commit.executed);
  return out;
}

bool parse_commit(const RecordHeader& header, Bytes record, Commit& commit) {
  if (header.type != RecordType::kCommit || record.size() != header.length) return false;
  ByteReader reader(record.subspan(kRecordHeaderBytes));
  commit.commit_time_us = reader.u64();
  commit.events_checksum = reader.u64();
  commit.row_count = reader.u32();
  commit.received_ns = reader.u64();
  commit.gtid = read_text(reader);
  commit.executed = read_text(reader);
  return reader.ok();
}

std::string checkpoint_payload(const Checkpoint& checkpoint) {
  std::string out;
  append_le(out, checkpoint.position.value());
  append_le(out, checkpoint.catalogue_generation);
  append_text(out, checkpoint.gtid_set);
  return out;
}

bool parse_checkpoint(const RecordHeader& header, Bytes record, Checkpoint& checkpoint) {
  if (header.type != RecordType::kCheckpoint || record.size() != header.length) return false;
  ByteReader reader(record.subspan(kRecordHeaderBytes));
  checkpoint.position = Position(reader.u64());
  checkpoint.catalogue_generation = reader.u64();
  checkpoint.gtid_set = read_text(reader);
  return reader.ok();
}

std::string table_event_payload(const TableEvent& event) {
  std::string out;
  append_le(out, static_cast<std::uint8_t>(event.action));
  append_le(out, event.catalogue_generation);
  append_text(out, event.name);
  append_text(out, event.reason);
  return out;
}

bool parse_table_event(const RecordHeader& header, Bytes record, TableEvent& event) {
  if (header.type != RecordType::kTableEvent || record.size() != header.length) return false;
  ByteReader reader(record.subspan(kRecordHeaderBytes));
  const std::uint8_t action = reader.u8();
  if (action < 1 || action > 3) return false;
  event.action = static_cast<TableAction>(action);
  event.catalogue_generation = reader.u64();
  event.name = read_text(reader);
  event.reason = read_text(reader);
  return reader.ok();
}

}  // namespace ringside::shm
