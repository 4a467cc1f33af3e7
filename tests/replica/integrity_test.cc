// Bits of a ring that change of themselves, one by one: in records, checkpoints, the header, the slot table, the
// catalogue, readers' files. Whoever reads everything by key, having joined before or after, finds exactly the rows
// that there are, or reports corruption: never another row, and never one less. The writer's scrub finds every one of
// them, and whoever opens the ring goes on with exactly the rows or refuses.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "replica/table_store.h"
#include "shm/catalogue_file.h"
#include "shm/publisher_impl.h"
#include "shm/ring_files.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::replica {
namespace {

using shm::MappedFile;
using shm::RingReader;

constexpr std::uint64_t kSegment = 4096;
constexpr std::uint64_t kIds = 40;

// A small ring with everything in it, its model, and its files' bytes in hand.
class SmallRing {
 public:
  SmallRing() : ring_options_(options().ring), writer_(options()) {
    EXPECT_TRUE(writer_.start());
    insert_some();
    const shm::RingPath path(writer_.options().ring.directory, writer_.options().ring.name);
    const std::string epoch = path.epoch(*shm::current_epoch(path));
    add("header", shm::header_path(epoch), shm::kHeaderBytes + 4096);
    add("catalogue", shm::catalogue_path(epoch), shm::kCatalogueHeaderBytes + 2 * shm::kMaxCatalogueBytes);
    for (std::uint64_t slot = 0; std::filesystem::exists(shm::chunk_path(epoch, slot));) {
      const std::uint64_t size = std::filesystem::file_size(shm::chunk_path(epoch, slot));
      add("chunk." + std::to_string(slot), shm::chunk_path(epoch, slot), size);
      slot += size / kSegment;
    }
  }

  struct File {
    std::string name;
    MappedFile mapping;
    std::byte* bytes() const { return static_cast<std::byte*>(mapping.data()); }
  };
  const File& file(const std::string& name) const { return files_.at(name); }
  const std::map<std::string, File>& files() const { return files_; }

  shm::TestWriter& writer() { return writer_; }
  const std::map<std::uint64_t, std::string>& model() const { return model_; }
  std::uint64_t version() const { return version_; }
  const shm::RingOptions& ring_options() const { return ring_options_; }

  // Where the log holds records: counted from its first slot, across chunks.
  struct Part {
    std::size_t offset;
    std::size_t length;
  };
  std::byte* log(std::size_t offset) const {
    const std::size_t chunk = offset / (2 * kSegment) * 2;
    return file("chunk." + std::to_string(chunk)).bytes() + offset % (2 * kSegment);
  }
  std::vector<Part> records() const {
    std::vector<Part> parts;
    const auto* slots = reinterpret_cast<const shm::SlotEntry*>(file("header").bytes() + shm::kHeaderBytes);
    const auto* header = reinterpret_cast<const shm::RingHeader*>(file("header").bytes());
    for (std::uint64_t s = 0; s < header->slot_count.word; ++s) {
      if (slots[s].generation % 2 == 0) continue;
      std::size_t at = s * kSegment;
      std::uint64_t position = slots[s].start_position;
      for (shm::RecordHeader record; position < header->committed_position.word;) {
        if (!shm::load_header(log(at), record)) break;
        parts.push_back({at, record.length});
        at += record.length;
        position += record.length;
        if (record.type == shm::RecordType::kSegmentEnd) break;
      }
    }
    return parts;
  }

 private:
  shm::PublisherOptions options() const {
    shm::PublisherOptions options = directory_.options();
    options.ring.segment_bytes = kSegment;
    options.ring.chunk_bytes = 2 * kSegment;
    options.ring.max_bytes = 64 * kSegment;
    options.ring.reserve_bytes = 0;
    return options;
  }
  void put(std::uint64_t id, const std::string& json) {
    ASSERT_TRUE(model_.contains(id) ? writer_.update(id, json) : writer_.insert(id, json));
    model_[id] = json;
  }
  void insert_some() {
    for (std::uint64_t id = 0; id < kIds; id += 2) put(id, shm::filler(40 + id, 'a'));
    ASSERT_TRUE(writer_.commit(2));
    for (std::uint64_t id = 0; id < kIds; id += 6) put(id, shm::filler(90, 'b'));
    for (const std::uint64_t id : {4, 20, 28}) {
      ASSERT_TRUE(writer_.erase(id));
      model_.erase(id);
    }
    ASSERT_TRUE(writer_.commit(3));
    put(1, shm::filler(5000, 'j'));  // jumbo
    put(20, shm::filler(30, 'c'));
    ASSERT_TRUE(writer_.commit(4));
    put(3, shm::filler(60, 'd'));
    ASSERT_TRUE(writer_.commit(version_ = 5));
  }
  void add(const std::string& name, const std::string& path, std::uint64_t size) {
    auto mapped = MappedFile::map(path, shm::Access::kReadWrite, size);
    ASSERT_TRUE(mapped) << mapped.error().message;
    files_.emplace(name, File{name, std::move(*mapped)});
  }

  shm::RingDirectory directory_;
  shm::RingOptions ring_options_;
  shm::TestWriter writer_;
  std::map<std::uint64_t, std::string> model_;
  std::uint64_t version_ = 0;
  std::map<std::string, File> files_;
};

// What reading everything by key came to.
enum class Outcome { kExact, kReported, kWrong };

// A replica's way into the ring, without its sockets.
class Replica {
 public:
  // kExact: joined and caught up; which rows it has is for read() to say.
  Outcome join(const shm::RingOptions& options) {
    auto attached = RingReader::attach(options.directory, options.name);
    if (!attached) return Outcome::kReported;
    reader_ = std::move(*attached);
    if (!reader_->join()) return Outcome::kReported;
    store_ = std::make_unique<TableStore>(*reader_);
    return follow();
  }
  Outcome follow() {
    shm::Record record;
    for (;;) {
      while (!store_->remove_some(1000)) {
      }
      const shm::Step step = reader_->next(record);
      if (step == shm::Step::kCaughtUp) {
        reader_->set_reclaim_position(reader_->position());
        return Outcome::kExact;
      }
      if (step != shm::Step::kRecord || store_->apply(record) == Applied::kCorrupt) return Outcome::kReported;
    }
  }
  Outcome read(const SmallRing& ring) {
    const Route* route = store_->find_route("items");
    if (route == nullptr || route->table == nullptr) return Outcome::kWrong;
    if (store_->visible_version().value() != ring.version()) return Outcome::kWrong;
    for (std::uint64_t id = 0; id < kIds; ++id) {
      const std::string key = shm::item_key(id);
      const Lookup found =
          store_->lookup(*route->table, shm::key_hash(as_bytes(key)), as_bytes(key), buffer_);
      if (found == Lookup::kLost) return Outcome::kReported;
      const auto row = ring.model().find(id);
      if ((found == Lookup::kRow) != (row != ring.model().end())) return Outcome::kWrong;
      if (found == Lookup::kRow && buffer_.row.value(1) != row->second) return Outcome::kWrong;
    }
    return Outcome::kExact;
  }
  Outcome join_and_read(const SmallRing& ring) {
    const Outcome joined = join(ring.ring_options());
    return joined == Outcome::kExact ? read(ring) : joined;
  }
  RingReader& reader() { return *reader_; }

 private:
  std::unique_ptr<RingReader> reader_;
  std::unique_ptr<TableStore> store_;
  RowBuffer buffer_;
};

// What is done to one byte, and taken back.
struct Flip {
  Flip(std::byte* at, unsigned bit) : at_(at), mask_(std::byte(1u << bit)) { *at_ ^= mask_; }
  ~Flip() { *at_ ^= mask_; }
  Flip(const Flip&) = delete;
  Flip& operator=(const Flip&) = delete;
  std::byte* at_;
  std::byte mask_;
};

// Opens the ring as the next writer does, in place: kExact when it has recovered exactly the model's rows.
Outcome recover(SmallRing& ring) {
  const Result<UniqueFd> lock = shm::lock_ring(ring.writer().options().ring);
  EXPECT_TRUE(lock);
  auto opened = shm::RingWriter::open(ring.writer().options().ring, *lock);
  if (!opened) return Outcome::kReported;
  std::map<std::string, std::string> rows;
  Version version;
  const Result<void> recovered = (*opened)->recover([&](const shm::Record& record) -> Result<void> {
    const std::string key(as_text(record.bytes.subspan(shm::kRecordHeaderBytes, record.header.key_bytes)));
    if (record.header.type == shm::RecordType::kTombstone) rows.erase(key);
    if (record.header.type == shm::RecordType::kCommit) version = record.header.version;
    if (record.header.type != shm::RecordType::kRow) return {};
    shm::RowView row;
    if (!shm::RowView::parse(record.header, record.bytes, row)) return Error{ErrorKind::kCorrupt, "row"};
    rows[key] = row.value(1);
    return {};
  });
  if (!recovered) return Outcome::kReported;
  if (version.value() != ring.version() || rows.size() != ring.model().size()) return Outcome::kWrong;
  for (const auto& [id, json] : ring.model()) {
    if (rows[shm::item_key(id)] != json) return Outcome::kWrong;
  }
  return Outcome::kExact;
}

// Everything once: what is left of the round that was begun, and one more.
Result<void> scrub_all(shm::RingWriter& ring) {
  RINGSIDE_TRY(ring.scrub(~std::uint64_t{0}));
  return ring.scrub(~std::uint64_t{0});
}

TEST(Integrity, AnUntouchedRingIsExactForAll) {
  SmallRing ring;
  Replica replica;
  EXPECT_EQ(replica.join_and_read(ring), Outcome::kExact);
  const Result<void> scrubbed = scrub_all(ring.writer()->ring());
  EXPECT_TRUE(scrubbed) << scrubbed.error().message;
  EXPECT_GT(ring.writer()->ring().scrubbed().bytes, 8000u);
  EXPECT_GE(ring.writer()->ring().scrubbed().rounds, 1u);
  ring.writer().close();
  EXPECT_EQ(recover(ring), Outcome::kExact);
}

// Rows, tombstones, commits, checkpoints, table events, segment ends: each byte of each.
TEST(Integrity, ABitOfAnyRecordIsReportedByWhoeverJoins) {
  SmallRing ring;
  std::size_t flips = 0;
  for (const SmallRing::Part& part : ring.records()) {
    const std::size_t step = part.length > 1000 ? 61 : 1;
    for (std::size_t i = 0; i < part.length; i += step) {
      const Flip flip(ring.log(part.offset + i), static_cast<unsigned>((i + part.offset) % 8));
      Replica replica;
      ASSERT_EQ(replica.join_and_read(ring), Outcome::kReported) << "offset " << part.offset << " byte " << i;
      ++flips;
    }
  }
  EXPECT_GT(flips, 3000u);
}

TEST(Integrity, ABitOfAnyRecordIsReportedOrHarmlessForWhoeverHasJoinedBefore) {
  SmallRing ring;
  std::array<std::size_t, 2> outcomes{};
  auto replica = std::make_unique<Replica>();
  ASSERT_EQ(replica->join(ring.ring_options()), Outcome::kExact);
  for (const SmallRing::Part& part : ring.records()) {
    for (std::size_t i = 0; i<part.length; i += part.length> 1000 ? 7 : 1) {
      for (unsigned bit = 0; bit < 8; bit += 1 + static_cast<unsigned>(i % 3)) {
        if (replica == nullptr) {
          replica = std::make_unique<Replica>();
          ASSERT_EQ(replica->join(ring.ring_options()), Outcome::kExact);
        }
        const Flip flip(ring.log(part.offset + i), bit);
        const Outcome outcome = replica->read(ring);
        ASSERT_NE(outcome, Outcome::kWrong) << "offset " << part.offset << " byte " << i;
        ++outcomes[static_cast<std::size_t>(outcome)];
        if (outcome == Outcome::kExact) continue;
        ASSERT_NE(replica->reader().corrupt_address(), 0u) << "it says where";
        replica = nullptr;
      }
    }
  }
  EXPECT_GT(outcomes[0], 100u) << "dead records are nobody's concern";
  EXPECT_GT(outcomes[1], 1000u);
}

TEST(Integrity, TheScrubFindsABitOfAnyRecord) {
  SmallRing ring;
  for (const SmallRing::Part& part : ring.records()) {
    for (std::size_t i = 0; i<part.length; i += part.length> 1000 ? 7 : 1) {
      const Flip flip(ring.log(part.offset + i), i % 8);
      const Result<void> found = scrub_all(ring.writer()->ring());
      ASSERT_FALSE(found) << "offset " << part.offset << " byte " << i;
      ASSERT_EQ(found.error().kind, ErrorKind::kCorrupt);
      ASSERT_NE(found.error().message.find("/chunk."), std::string::npos) << found.error().message;
    }
  }
  EXPECT_TRUE(scrub_all(ring.writer()->ring())) << "what is whole again is found whole";
}

TEST(Integrity, TheNextWriterRefusesABitOfAnyRecord) {
  SmallRing ring;
  ring.writer().close();
  for (const SmallRing::Part& part : ring.records()) {
    for (std::size_t i = part.offset % 13; i<part.length; i += part.length> 1000 ? 499 : 13) {
      const Flip flip(ring.log(part.offset + i), i % 8);
      ASSERT_EQ(recover(ring), Outcome::kReported) << "offset " << part.offset << " byte " << i;
    }
  }
}

// Header words and slot entries. What informs only (the source's clock, say) may be wrong and all rows right.
TEST(Integrity, ABitOfHeaderOrSlotTableLosesNoRow) {
  SmallRing ring;
  Replica before;
  ASSERT_EQ(before.join(ring.ring_options()), Outcome::kExact);
  std::byte* const bytes = ring.file("header").bytes();
  const auto* header = reinterpret_cast<const shm::RingHeader*>(bytes);
  const std::size_t end = shm::kHeaderBytes + header->slot_count.word * sizeof(shm::SlotEntry);
  std::size_t reported = 0;
  for (std::size_t i = 0; i < end; ++i) {
    const bool is_reserved = i >= 376 && i < shm::kHeaderBytes;  // nobody's, and the marks of readers evicted
    if (is_reserved) continue;
    for (unsigned bit = 0; bit < 8; ++bit) {
      const Flip flip(bytes + i, bit);
      Replica after;
      const Outcome joined = after.join_and_read(ring);
      ASSERT_NE(joined, Outcome::kWrong) << "joined after: byte " << i << " bit " << bit;
      ASSERT_NE(before.read(ring), Outcome::kWrong) << "joined before: byte " << i << " bit " << bit;
      if (joined == Outcome::kReported) ++reported;
      if (bit == i % 8) {
        const bool is_unused = (i >= 80 && i < 128) || (i >= 368 && i < shm::kHeaderBytes);
        ASSERT_EQ(scrub_all(ring.writer()->ring()).has_value(), is_unused) << "byte " << i;
      }
    }
  }
  EXPECT_GT(reported, 1000u);
}

TEST(Integrity, TheNextWriterGoesOnExactlyOrRefusesWithABitOfHeaderOrSlotTableChanged) {
  SmallRing ring;
  ring.writer().close();
  const SmallRing::File& file = ring.file("header");
  const auto* header = reinterpret_cast<const shm::RingHeader*>(file.bytes());
  const std::size_t end = shm::kHeaderBytes + header->slot_count.word * sizeof(shm::SlotEntry);
  const std::vector<std::byte> whole(file.bytes(), file.bytes() + end);
  std::array<std::size_t, 2> outcomes{};
  for (std::size_t i = 0; i < end; ++i) {
    if (i >= 376 && i < shm::kHeaderBytes) continue;
    {
      const Flip flip(file.bytes() + i, i % 8);
      const Outcome outcome = recover(ring);
      ASSERT_NE(outcome, Outcome::kWrong) << "byte " << i;
      ++outcomes[static_cast<std::size_t>(outcome)];
    }
    std::memcpy(file.bytes(), whole.data(), whole.size());  // it stores on its own, and mends what it may
  }
  EXPECT_GT(outcomes[0], 50u);
  EXPECT_GT(outcomes[1], 150u);
}

TEST(Integrity, ABitOfTheCatalogueIsReported) {
  SmallRing ring;
  std::byte* const bytes = ring.file("catalogue").bytes();
  const std::uint64_t active = load_le<std::uint64_t>(bytes + 16);
  const std::size_t half = shm::kCatalogueHeaderBytes + active % 2 * (shm::kMaxCatalogueBytes + 4096);
  const std::size_t length = load_le<std::uint64_t>(bytes + half + 8);
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < 24; ++i) places.push_back(i);
  for (std::size_t i = 0; i < 24 + length; ++i) places.push_back(half + i);
  for (const std::size_t i : places) {
    const Flip flip(bytes + i, i % 8);
    Replica replica;
    ASSERT_EQ(replica.join_and_read(ring), Outcome::kReported) << "byte " << i;
    const Result<void> found = scrub_all(ring.writer()->ring());
    ASSERT_FALSE(found) << "byte " << i;
  }
}

}  // namespace
}  // namespace ringside::replica
