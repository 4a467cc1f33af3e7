// A reader over a ring whose bytes are anything: a small valid ring is made once; each input spoils some of its
// words, and a reader attaches, joins, walks, copies and reads the catalogue. It may report corruption; it may
// not crash, read out of bounds, or walk for ever.
//
//   input:  1 byte flags (which checksums are made to fit again, so that the checks behind them are reached),
//           then changes of 12 bytes: file (1), how (1), offset (4), value (6), little-endian
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "shm/catalogue_file.h"
#include "shm/publisher.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "shm/slot_table.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kSegment = 4096;
constexpr std::uint64_t kTableBytes = 4096;  // of the slot table: more than the ring uses

template <class T>
T must(Result<T> result) {
  RINGSIDE_ASSERT(result.has_value());
  return std::move(result).value();
}
void must(const Result<void>& result) {
  RINGSIDE_ASSERT(result.has_value());
}

Table small_table() {
  Table table;
  table.name = "t";
  table.key_name = "PRIMARY";
  Column id;
  id.name = "id";
  id.kind = ValueKind::kUnsigned;
  id.width = 8;
  table.shape.columns = {id, id};
  table.shape.columns[1].name = "text";
  table.shape.columns[1].kind = ValueKind::kText;
  table.key = {KeyColumn{0, KeyRule::kOrdered, false}};
  return table;
}

// The ring, its mutable bytes, and what they were.
class Ring {
 public:
  Ring() {
    char path[] = "/dev/shm/ringside-fuzz-XXXXXX";
    RINGSIDE_ASSERT(::mkdtemp(path) != nullptr);
    directory_ = path;
    write();
    const RingPath ring(directory_, "fuzz");
    const std::string epoch = ring.epoch(must(current_epoch(ring)));
    files_.push_back(
        must(MappedFile::map(header_path(epoch), Access::kReadWrite, kHeaderBytes + kTableBytes)));
    files_.push_back(must(MappedFile::map(catalogue_path(epoch), Access::kReadWrite, kCatalogueHeaderBytes)));
    std::error_code none;
    for (std::uint64_t slot = 0; std::filesystem::exists(chunk_path(epoch, slot));) {
      const std::uint64_t size = std::filesystem::file_size(chunk_path(epoch, slot), none);
      files_.push_back(must(MappedFile::map(chunk_path(epoch, slot), Access::kReadWrite, size)));
      slot += size / kSegment;
    }
    for (const MappedFile& file : files_) originals_.emplace_back(bytes(file), bytes(file) + file.size());
  }
  ~Ring() {
    std::error_code error;
    std::filesystem::remove_all(directory_, error);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  const std::string& directory() const { return directory_; }

  void restore() {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      std::memcpy(files_[i].data(), originals_[i].data(), originals_[i].size());
    }
  }

  // One word of one file: set, added to, or xored.
  void change(ByteReader& input) {
    const MappedFile& file = files_[input.u8() % files_.size()];
    const std::uint8_t how = input.u8();
    std::byte* const word = bytes(file) + input.u32() % (file.size() / 8) * 8;
    const std::uint64_t value = input.uint_le(6);
    const std::uint64_t before = load_le<std::uint64_t>(word);
    const std::uint64_t after = how % 4 == 0   ? value
                                : how % 4 == 1 ? before + value
                                : how % 4 == 2 ? before - value
                                               : before ^ value << how / 16;
    store_le<std::uint64_t>(word, after);
  }

  void mend(std::uint8_t flags) {
    auto* const words = reinterpret_cast<std::uint64_t*>(bytes(files_[0]));
    if (flags & 1) words[5] = crc32c(words, 40);
    auto* const slots = reinterpret_cast<SlotEntry*>(words + kHeaderBytes / 8);
    for (std::size_t s = 0; (flags & 2) && s < kTableBytes / sizeof(SlotEntry); ++s) {
      slots[s].check = slot_check(slots[s].start_position, slots[s].run_and_chunk, slots[s].generation);
    }
    for (std::size_t w = offsetof(RingHeader, committed_position) / 8; (flags & 8) && w < kHeaderBytes / 8;
         w += 2) {
      words[w + 1] = words[w];
    }
    if (flags & 4) mend_records(slots);
  }

 private:
  static std::byte* bytes(const MappedFile& file) { return static_cast<std::byte*>(file.data()); }

  // As a writer would: a checkpoint, segments, a jumbo record, updates, deletions, a load, a dropped table.
  void write() const {
    PublisherOptions options;
    options.ring.directory = directory_;
    options.ring.name = "fuzz";
    options.ring.segment_bytes = kSegment;
    options.ring.chunk_bytes = 2 * kSegment;
    options.ring.max_bytes = 16 * kSegment;
    options.ring.reserve_bytes = 16 * kSegment;
    const UniqueFd lock = must(lock_ring(options.ring));
    const std::unique_ptr<Publisher> publisher = must(Publisher::open(options, lock));
    Publisher& p = *publisher;
    RowBuilder row;
    const auto build = [&row](std::uint64_t id, std::size_t size) -> RowBuilder& {
      row.begin();
      row.add(std::to_string(id));
      row.add('"' + std::string(size, 'v') + '"');
      std::byte key[8];
      store_be<std::uint64_t>(key, id);
      row.set_key(key);
      return row;
    };
    p.describe("history", "fuzz");
    const TableId first = p.new_table(small_table());
    for (std::uint64_t id = 0; id < 10; ++id) must(p.load_row(first, Version(1), build(id, 300)));
    must(p.end_load());
    must(p.switch_to(first));
    must(p.commit(Version(1), Commit{1, 2, 0, "0-1-1"}));
    must(p.activate(nullptr));
    must(p.insert(*p.live_table("t"), build(100, 5000)));
    must(p.commit(Version(2), Commit{1, 2, 0, "0-1-2"}));
    must(p.update(*p.live_table("t"), std::string(8, '\0'), build(0, 100)));
    must(p.erase(*p.live_table("t"), std::string(7, '\0') + '\1'));
    must(p.commit(Version(3), Commit{1, 2, 0, "0-1-3"}));
    must(p.quarantine("t", "reason"));
    must(p.commit(Version(4), Commit{1, 2, 0, "0-1-4"}));
  }

  // Makes the checksums fit of all that still has a record's form, segment by segment.
  void mend_records(const SlotEntry* slots) {
    std::uint64_t slot = 0;
    for (std::size_t i = 2; i < files_.size(); ++i) {
      for (std::size_t at = 0; at < files_[i].size(); at += kSegment, ++slot) {
        std::size_t offset = 0;
        while (at + offset + kRecordHeaderBytes <= files_[i].size()) {
          std::byte* const record = bytes(files_[i]) + at + offset;
          RecordHeader header;
          if (!load_header(record, header) || header.length > files_[i].size() - at - offset) break;
          const Position position(slots[slot].start_position + offset);
          store_le<std::uint32_t>(record, record_crc({record, header.length}, position));
          offset += header.length;
        }
      }
    }
  }

  std::string directory_;
  std::vector<MappedFile> files_;  // header, catalogue, chunks by their slots
  std::vector<std::vector<std::byte>> originals_;
};

void read_everything(const Ring& ring, ByteReader input) {
  auto attached = RingReader::attach(ring.directory(), "fuzz");
  if (!attached) return;
  RingReader& reader = **attached;
  static_cast<void>(reader.source());
  if (const auto catalogue = reader.read_catalogue()) RINGSIDE_ASSERT(catalogue->generation != 0);
  if (!reader.join()) return;
  std::vector<std::byte> buffer(kSegment);
  RecordHeader header;
  std::vector<Address> addresses = {0, 1, kSegment / 8, std::uint64_t{1} << 39};
  const auto touch = [&](Address address) {
    if (reader.copy_record(address, header, buffer) == CopyStatus::kOk) {
      RowView row;
      if (RowView::parse(header, Bytes(buffer).first(header.length), row)) {
        for (std::size_t c = 0; c < row.column_count(); ++c) {
          RINGSIDE_ASSERT(row.value(c).size() <= header.length);
        }
      }
    }
    static_cast<void>(reader.equals(address, as_bytes("12345678")));
    static_cast<void>(reader.hash(address));
    reader.prefetch(address);
  };
  Record record;
  std::size_t steps = 0;
  Step step;
  while ((step = reader.next(record)) == Step::kRecord) {
    // No more than the chunks have room for.
    RINGSIDE_ASSERT(++steps <= 64 * kSegment / kRecordHeaderBytes);
    RINGSIDE_ASSERT(record.bytes.size() == record.header.length);
    touch(record.address);
    addresses.push_back(record.header.previous);
    addresses.push_back(record.address + 1);
  }
  while (!input.empty()) addresses.push_back(input.uint_le(std::min<std::size_t>(5, input.remaining())));
  for (const Address address : addresses) touch(address);
  static_cast<void>(reader.prepare_sleep());
  reader.awake();
}

}  // namespace
}  // namespace ringside::shm

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ringside;
  static shm::Ring ring;
  ByteReader input({reinterpret_cast<const std::byte*>(data), size});
  const std::uint8_t flags = input.u8();
  for (int changes = 0; changes < 64 && input.remaining() >= 12; ++changes) ring.change(input);
  ring.mend(flags);
  shm::read_everything(ring, input);
  ring.restore();
  return 0;
}
