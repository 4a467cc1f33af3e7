// SegmentScanner: steps over the records of one segment of a log that others go on writing, and tells three things apart that look
// alike: a segment that was reused underneath, bytes read in the wrong order, and corruption.
//
//   read a piece (pread) ─► generation still the one of the slot table? ─► form, bounds, checksum over bytes and position
//                              no: kChanged                                  wrong: all of it once more; wrong again, and
//                                                                            the generation is still the same: kCorrupt
//
// Behind a corruption resync() finds the next record: a checksum covers the record's position, so that nothing but a record
// passes for one.
//
// Threads: one; others write the files.   Ownership: a record's bytes are the scanner's, valid until the next call.
// Errors: Scan.   Limits: holds 256 KiB of the segment, or its largest record.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "shm/record.h"
#include "tools/ring/ring_view.h"

namespace ringside::tools {

enum class Scan : std::uint8_t {
  kRecord,   // segment ends and checkpoints as well
  kEnd,      // the segment's last record, or `limit`, is behind
  kChanged,  // freed or reused since the slot table was read, or the whole epoch is gone
  kCorrupt,  // what() at offset()
};

class SegmentScanner {
 public:
  // Records below the position `limit`.
  SegmentScanner(const RingView& ring, const shm::SlotInfo& slot, std::uint64_t limit);

  Scan next(shm::Record& record);
  // After kCorrupt: goes on at the next record there is. False: there is none, the segment is at its end.
  bool resync();

  // In the segment: of the record to come, or of the one that is corrupt.
  std::uint64_t offset() const { return offset_; }
  const std::string& what() const { return what_; }
  // The chunk file that holds an offset, and where in it.
  struct Place {
    std::string file;
    std::uint64_t offset = 0;
  };
  Place place(std::uint64_t offset) const;

 private:
  enum class Look : std::uint8_t { kOk, kChanged, kWrong };
  Look look(shm::Record& record);
  Look fill(std::uint64_t size);
  Look read(std::uint64_t offset, std::size_t size);
  bool is_unchanged() const { return ring_.generation(slot_.slot) == slot_.generation; }
  Look wrong(std::string what);

  struct Chunk {
    std::uint64_t first_slot = 0;
    std::uint64_t bytes = 0;
    UniqueFd fd;
  };
  Look open_chunks();

  const RingView& ring_;
  shm::SlotInfo slot_;
  std::uint64_t size_ = 0;  // of the segment, as far as it lies below the limit
  std::uint64_t offset_ = 0;
  bool is_at_end_ = false;
  std::string what_;
  std::vector<Chunk> chunks_;  // a run may lie in several, one behind the other
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_offset_ = 0;  // of its first byte, in the segment
};

}  // namespace ringside::tools
