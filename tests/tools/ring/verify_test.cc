// What verify and a scan of segments say of rings that are whole, damaged, or changing underneath.
#include "tools/ring/verify.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "shm/slot_table.h"
#include "tests/shm/ring_fixture.h"
#include "tools/ring/dump.h"
#include "tools/ring/segment_scan.h"
#include "tools/ring/survey.h"

namespace ringside::tools {
namespace {

using shm::filler;

class RingTool : public ::testing::Test {
 protected:
  // Rows 0 … 199 at versions 2 … 201, every tenth of them changed and one deleted again, over several segments of 16 KiB.
  void SetUp() override {
    ASSERT_TRUE(writer_.start());
    std::uint64_t version = 1;
    for (std::uint64_t id = 0; id < 200; ++id) {
      ASSERT_TRUE(writer_.insert(id, filler(300)));
      if (id % 10 == 9) {
        ASSERT_TRUE(writer_.update(id - 5, filler(400, 'y')));
      }
      ASSERT_TRUE(writer_.commit(++version));
    }
    ASSERT_TRUE(writer_.erase(7));
    ASSERT_TRUE(writer_.commit(++version));
  }

  RingName name() const { return {directory_.path(), "test"}; }
  RingView open() const {
    Result<RingView> ring = RingView::open(name());
    EXPECT_TRUE(ring) << shm::why(ring);
    return std::move(*ring);
  }
  // Changes one bit of a file of the epoch.
  void flip(const std::string& file, std::uint64_t offset) const {
    const std::string path = open().directory() + "/" + file;
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    unsigned char byte = 0;
    ASSERT_EQ(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1) << path;
    byte ^= 0x10;
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1) << path;
  }
  Verification verify() const { return verify_ring(open(), nullptr); }
  // As the writer frees and reuses a slot.
  void set_generation(const shm::SlotInfo& slot, std::uint64_t generation) {
    shm::SlotEntry& entry = slot_entry(slot.slot);
    entry.check = shm::slot_check(entry.start_position, entry.run_and_chunk, generation);
    entry.generation = generation;
  }
  shm::SlotEntry& slot_entry(std::uint64_t slot) {
    if (!header_) {
      const std::string path = shm::header_path(open().directory());
      auto mapped = shm::MappedFile::map(path, shm::Access::kReadWrite, std::filesystem::file_size(path));
      EXPECT_TRUE(mapped) << shm::why(mapped);
      header_ = std::move(*mapped);
    }
    auto* table = static_cast<std::byte*>(header_->data()) + shm::kHeaderBytes;
    return reinterpret_cast<shm::SlotEntry*>(table)[slot];
  }

  shm::RingDirectory directory_;
  shm::TestWriter writer_{directory_.options()};
  std::optional<shm::MappedFile> header_;
};

TEST_F(RingTool, AWholeRingIsClean) {
  const Verification found = verify();
  EXPECT_TRUE(found.is_clean()) << found.findings.front().what;
  EXPECT_GT(found.segments, 3u);
  EXPECT_GE(found.records, 200u + 20u + 202u);
  EXPECT_EQ(found.changed, 0u);
  EXPECT_EQ(found.readers, 0u);
}

TEST_F(RingTool, AWholeRingOfMysqlsGtidsIsClean) {
  writer_.close();
  std::filesystem::remove_all(name().path());
  writer_.use_mysql_gtids();
  ASSERT_TRUE(writer_.start());
  for (std::uint64_t version = 2; version < 100; ++version) {
    ASSERT_TRUE(writer_.insert(version, filler(400)));
    ASSERT_TRUE(writer_.commit(version));
  }
  const Verification found = verify();
  EXPECT_TRUE(found.is_clean()) << found.findings.front().what;
  EXPECT_GT(found.segments, 2u);
}

TEST_F(RingTool, ARingWhoseWriterIsGoneIsCleanToo) {
  writer_.close();
  EXPECT_FALSE(open().has_writer());
  EXPECT_TRUE(verify().is_clean());
}

TEST_F(RingTool, EveryFlippedByteOfTheLogIsFoundAndOnlyIt) {
  const std::uint64_t committed = open().committed();
  const RingView::SlotTable table = open().slot_table(committed);
  const shm::SlotInfo& slot = table.segments[1];
  const std::uint64_t at = (slot.slot - slot.chunk_first) * open().segment_bytes();
  const std::string chunk = "chunk." + std::to_string(slot.chunk_first);
  const std::uint64_t records = verify().records;
  // In the checkpoint's checksum and length, in its payload, and all over what follows.
  for (std::uint64_t offset = 0; offset < 4000; offset += offset < 100 ? 4 : 37) {
    ASSERT_NO_FATAL_FAILURE(flip(chunk, at + offset));
    const Verification found = verify();
    ASSERT_EQ(found.finding_count, 1u) << offset;
    const Finding& finding = found.findings.front();
    EXPECT_EQ(finding.file, chunk);
    EXPECT_EQ(finding.slot, slot.slot);
    EXPECT_LE(*finding.offset, at + offset);
    EXPECT_GT(*finding.offset + 600, at + offset);
    EXPECT_EQ(*finding.position, slot.start_position + *finding.offset - at);
    EXPECT_EQ(found.records, records - 1) << "the records behind it are read all the same";
    ASSERT_NO_FATAL_FAILURE(flip(chunk, at + offset));
  }
  EXPECT_TRUE(verify().is_clean());
}

TEST_F(RingTool, DamageOutsideTheLogIsFound) {
  const std::uint64_t segments = verify().segments;
  ASSERT_NO_FATAL_FAILURE(flip("header", shm::kHeaderBytes + 32 + 9));  // slot 1's start position
  Verification found = verify();
  EXPECT_FALSE(found.is_clean());
  EXPECT_EQ(found.findings.front().file, "header");
  EXPECT_EQ(found.findings.front().slot, 1u);
  EXPECT_EQ(found.segments, segments - 1);
  ASSERT_NO_FATAL_FAILURE(flip("header", shm::kHeaderBytes + 32 + 9));
  EXPECT_TRUE(verify().is_clean());

  const std::uint64_t generation = open().catalogue_file().generation();
  ASSERT_GE(generation, 1u);
  const std::uint64_t half = (std::filesystem::file_size(open().directory() + "/catalogue") - 4096) / 2;
  const std::uint64_t text = 4096 + generation % 2 * half + 30;
  ASSERT_NO_FATAL_FAILURE(flip("catalogue", text));
  found = verify();
  ASSERT_FALSE(found.is_clean());
  EXPECT_EQ(found.findings.front().file, "catalogue");
  ASSERT_NO_FATAL_FAILURE(flip("catalogue", text));

  const auto reader = shm::join_ring(directory_.options().ring);
  EXPECT_EQ(verify().readers, 1u);
  ASSERT_NO_FATAL_FAILURE(flip("readers/0", 8));
  found = verify();
  ASSERT_EQ(found.finding_count, 1u);
  EXPECT_EQ(found.findings.front().file, "readers/0");
  ASSERT_TRUE(std::filesystem::remove(shm::wake_path(open().directory(), 1)));
  EXPECT_EQ(verify().finding_count, 2u);
}

TEST_F(RingTool, AHeaderWordThatIsNotItsCopyIsFoundWhileAWriterLives) {
  ASSERT_NO_FATAL_FAILURE(flip("header", offsetof(shm::RingHeader, limit_bytes) + 3));
  const Verification found = verify();
  ASSERT_EQ(found.finding_count, 1u);
  EXPECT_EQ(found.findings.front().what, "limit_bytes and its copy differ");
  EXPECT_EQ(found.findings.front().offset, offsetof(shm::RingHeader, limit_bytes));
  writer_.close();
  const Verification left = verify();
  EXPECT_TRUE(left.is_clean()) << "its writer may have been killed between the two stores";
  EXPECT_EQ(left.remarks.size(), 1u);
}

TEST_F(RingTool, ASlotInUseThatLooksFreeIsFound) {
  const shm::SlotInfo slot = open().slot_table(open().committed()).segments[1];
  slot_entry(slot.slot).generation ^= 1;
  const Verification found = verify();
  ASSERT_FALSE(found.is_clean());
  EXPECT_EQ(found.findings.front().slot, slot.slot);
  slot_entry(slot.slot).generation ^= 1;
}

TEST_F(RingTool, DamageOfTheOtherHalfOfTheCatalogueIsFound) {
  ASSERT_TRUE(writer_->new_table(shm::items_table("more")).value() != 0);
  ASSERT_TRUE(writer_.commit(1000));
  const std::uint64_t generation = open().catalogue_file().generation();
  ASSERT_GE(generation, 2u);
  const std::uint64_t half = (std::filesystem::file_size(open().directory() + "/catalogue") - 4096) / 2;
  ASSERT_TRUE(verify().is_clean());
  ASSERT_NO_FATAL_FAILURE(flip("catalogue", 4096 + (generation - 1) % 2 * half + 30));
  const Verification found = verify();
  ASSERT_EQ(found.finding_count, 1u);
  EXPECT_EQ(found.findings.front().file, "catalogue");
}

TEST_F(RingTool, ASpoiltIdentityIsAFindingAndAnotherLayoutIsNone) {
  ASSERT_NO_FATAL_FAILURE(flip("header", 24));  // chunk_bytes
  const Result<RingView> spoilt = RingView::open(name());
  ASSERT_FALSE(spoilt);
  EXPECT_EQ(spoilt.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(verification_of(spoilt.error()).is_clean());
}

TEST_F(RingTool, ASegmentReusedUnderneathHasChangedAndIsNotCorrupt) {
  const RingView ring = open();
  const std::uint64_t committed = ring.committed();
  const RingView::SlotTable table = ring.slot_table(committed);
  const shm::SlotInfo& slot = table.segments[1];
  const std::string chunk = "chunk." + std::to_string(slot.chunk_first);
  shm::Record record;
  SegmentScanner before(ring, slot, committed);
  ASSERT_EQ(before.next(record), Scan::kRecord);
  // As the writer reuses it: generation first, then other bytes.
  set_generation(slot, slot.generation + 2);
  ASSERT_NO_FATAL_FAILURE(flip(chunk, (slot.slot - slot.chunk_first) * ring.segment_bytes() + 200));
  SegmentScanner after(ring, slot, committed);
  EXPECT_EQ(after.next(record), Scan::kChanged);
  set_generation(slot, slot.generation);
  SegmentScanner damaged(ring, slot, committed);
  ASSERT_EQ(damaged.next(record), Scan::kRecord);
  Scan scan = Scan::kRecord;
  while (scan == Scan::kRecord) scan = damaged.next(record);
  EXPECT_EQ(scan, Scan::kCorrupt) << "the same bytes in a slot that was not reused";
}

TEST_F(RingTool, AFreedSegmentIsPassedOver) {
  const RingView ring = open();
  const shm::SlotInfo slot = ring.slot_table(ring.committed()).segments[1];
  set_generation(slot, slot.generation + 1);
  Verification found = verify();
  EXPECT_TRUE(found.is_clean()) << "a gap is no corruption: " << found.findings.front().what;
  set_generation(slot, slot.generation);
  EXPECT_TRUE(verify().is_clean());
}

TEST_F(RingTool, ALogWithoutItsEndIsFound) {
  const RingView ring = open();
  const shm::SlotInfo slot = ring.slot_table(ring.committed()).segments.back();
  set_generation(slot, slot.generation + 1);
  const Verification found = verify();
  ASSERT_FALSE(found.is_clean());
  EXPECT_EQ(found.findings.back().what, "no segment's records end at the committed position");
  set_generation(slot, slot.generation);
}

TEST_F(RingTool, TheSurveyCountsWhatIsThere) {
  const Result<Survey> survey = survey_log(open(), nullptr);
  ASSERT_TRUE(survey) << shm::why(survey);
  std::uint64_t rows = 0;
  std::uint64_t tombstones = 0;
  std::uint64_t live = 0;
  for (const SurveyedSegment& segment : survey->segments) {
    rows += segment.records[static_cast<std::size_t>(shm::RecordType::kRow)];
    tombstones += segment.records[static_cast<std::size_t>(shm::RecordType::kTombstone)];
    live += segment.live_bytes;
    EXPECT_LE(segment.live_bytes, segment.used_bytes);
    EXPECT_LE(segment.used_bytes, segment.slot.run * survey->segment_bytes);
  }
  EXPECT_EQ(rows, 220u);
  EXPECT_EQ(tombstones, 1u);
  ASSERT_EQ(survey->tables.size(), 1u);
  const LiveIndex::TableLive& items = survey->tables.begin()->second;
  EXPECT_EQ(items.rows, 199u);
  const std::vector<shm::TableUsage> usage = writer_->usage();
  ASSERT_EQ(usage.size(), 1u);
  const std::uint64_t tombstone_bytes = shm::record_bytes(8);
  EXPECT_EQ(items.bytes, usage[0].bytes + tombstone_bytes) << "the writer counts rows alone";
  EXPECT_EQ(survey->segments.back().state, SegmentState::kTail);
}

TEST_F(RingTool, AHoldKeepsAReaderSlotForItsLife) {
  const RingView ring = open();
  {
    Result<Hold> hold = Hold::take(ring);
    ASSERT_TRUE(hold) << shm::why(hold);
    EXPECT_EQ(writer_->ring().readers().size(), 1u);
    EXPECT_FALSE(hold->is_evicted());
    EXPECT_TRUE(verify_ring(ring, &*hold).is_clean());
  }
  EXPECT_TRUE(writer_->ring().readers().empty());
}

shm::Table two_columns() {
  shm::Table table = shm::items_table("pairs");
  table.shape.columns[1].nullable = false;
  table.key = {shm::make_key_column(1, table.shape.columns[1]),
               shm::make_key_column(0, table.shape.columns[0])};
  return table;
}

TEST(DumpKey, IsReadAsInAUrl) {
  shm::KeyBuffer key;
  Result<bool> read = normalise_key(shm::items_table(), "7", key);
  ASSERT_TRUE(read && *read);
  EXPECT_EQ(as_text(key.bytes()), shm::item_key(7));
  shm::KeyBuffer plain;
  shm::KeyBuffer encoded;
  ASSERT_TRUE(*normalise_key(two_columns(), "a+b,7", plain));
  ASSERT_TRUE(*normalise_key(two_columns(), "%61%2Bb,7", encoded));
  EXPECT_EQ(as_text(plain.bytes()), as_text(encoded.bytes())) << "a plus sign is one, as in a path";
  ASSERT_TRUE(*normalise_key(two_columns(), "a%2Cb,7", encoded));
  EXPECT_NE(as_text(plain.bytes()), as_text(encoded.bytes()));
}

TEST(DumpKey, WhatIsNoneIsRefusedWithTheReason) {
  shm::KeyBuffer key;
  for (const char* wrong : {"", "07", "x", "-0", "1,2", "%4", "%"}) {
    const Result<bool> read = normalise_key(shm::items_table(), wrong, key);
    ASSERT_FALSE(read) << wrong;
    EXPECT_EQ(read.error().kind, ErrorKind::kInvalid);
  }
  EXPECT_FALSE(normalise_key(two_columns(), "a", key));
  EXPECT_FALSE(normalise_key(two_columns(), "a,7,8", key));
  const Result<bool> beyond = normalise_key(shm::items_table(), "18446744073709551616", key);
  ASSERT_TRUE(beyond);
  EXPECT_FALSE(*beyond) << "canonical, and no row has it";
}

}  // namespace
}  // namespace ringside::tools
