#include "tools/ring/live_index.h"

#include <algorithm>
#include <utility>

#include "shm/row_index.h"

namespace ringside::tools {
namespace {

constexpr std::size_t kFirstEntries = 16;

// Of a key in an incarnation; never 0.
std::uint64_t hash_of(TableId table, Bytes key) {
  std::uint64_t hash = shm::key_hash(key) ^ (std::uint64_t{table.value()} * 0x9e3779b97f4a7c15u);
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93u;
  hash ^= hash >> 32;
  return hash == 0 ? 1 : hash;
}

}  // namespace

LiveIndex::Entry* LiveIndex::find(std::uint64_t hash) {
  Part& part = parts_[hash >> 56];
  if (part.used * 4 >= part.entries.size() * 3) grow(part);
  const std::size_t mask = part.entries.size() - 1;
  std::size_t i = hash & mask;
  while (part.entries[i].hash != 0 && part.entries[i].hash != hash) i = (i + 1) & mask;
  return &part.entries[i];
}

void LiveIndex::grow(Part& part) {
  std::vector<Entry> before(std::max(kFirstEntries, 2 * part.entries.size()));
  before.swap(part.entries);
  const std::size_t mask = part.entries.size() - 1;
  for (const Entry& entry : before) {
    if (entry.hash == 0) continue;
    std::size_t i = entry.hash & mask;
    while (part.entries[i].hash != 0) i = (i + 1) & mask;
    part.entries[i] = entry;
  }
}

void LiveIndex::count(std::size_t segment, TableId table, std::int64_t bytes) {
  if (live_bytes_.size() <= segment) live_bytes_.resize(segment + 1);
  live_bytes_[segment][table.value()] += bytes;
}

void LiveIndex::add_row(std::size_t segment, const shm::RecordHeader& header, std::uint64_t hash) {
  const bool is_tombstone = header.type == shm::RecordType::kTombstone;
  Entry* entry = find(hash);
  if (entry->hash != 0) {
    const bool was_tombstone = (entry->units & kTombstone) != 0;
    count(entry->segment, header.table_id, -8 * std::int64_t{entry->units & ~kTombstone});
    if (!was_tombstone) --rows_[header.table_id.value()];
  } else if (is_tombstone) {
    return;  // no row of its key is left for it to cover
  } else {
    entry->hash = hash;
    ++parts_[hash >> 56].used;
  }
  entry->segment = static_cast<std::uint32_t>(segment);
  entry->units = header.length / 8 | (is_tombstone ? kTombstone : 0);
  count(segment, header.table_id, header.length);
  if (!is_tombstone) ++rows_[header.table_id.value()];
}

void LiveIndex::add_event(std::size_t segment, const shm::RecordHeader& header,
                          const shm::TableEvent& event) {
  Name& name = names_[std::string(event.name)];
  if (name.length != 0) count(name.segment, TableId(), -std::int64_t{name.length});
  name.segment = segment;
  name.length = header.length;
  count(segment, TableId(), header.length);
  const std::uint32_t id = header.table_id.value();
  const bool lives = event.action == shm::TableAction::kLive;
  if (name.serves != 0 && !(lives && name.serves == id)) ended_[name.serves] = true;
  if (!lives && id != 0) ended_[id] = true;
  name.serves = lives ? id : 0;
}

bool LiveIndex::add(std::size_t segment, const shm::Record& record) {
  switch (record.header.type) {
    case shm::RecordType::kRow:
    case shm::RecordType::kRelocation:
    case shm::RecordType::kTombstone: {
      const Bytes key = record.bytes.subspan(shm::kRecordHeaderBytes, record.header.key_bytes);
      add_row(segment, record.header, hash_of(record.header.table_id, key));
      return true;
    }
    case shm::RecordType::kTableEvent: {
      shm::TableEvent event;
      if (!shm::parse_table_event(record.header, record.bytes, event)) return false;
      add_event(segment, record.header, event);
      return true;
    }
    default:
      return true;
  }
}

std::size_t LiveIndex::memory_bytes() const {
  std::size_t entries = 0;
  for (const Part& part : parts_) entries += part.entries.capacity();
  return entries * sizeof(Entry);
}

}  // namespace ringside::tools
