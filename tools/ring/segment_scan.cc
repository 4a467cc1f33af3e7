#include "tools/ring/segment_scan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ringside::tools {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{256} << 10;

std::string file_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

SegmentScanner::SegmentScanner(const RingView& ring, const shm::SlotInfo& slot, std::uint64_t limit)
    : ring_(ring), slot_(slot) {
  const std::uint64_t whole = slot.run * ring.segment_bytes();
  size_ = std::min(whole, limit - std::min(limit, slot.start_position));
}

SegmentScanner::Look SegmentScanner::wrong(std::string what) {
  what_ = std::move(what);
  return is_unchanged() ? Look::kWrong : Look::kChanged;
}

SegmentScanner::Look SegmentScanner::open_chunks() {
  const std::uint64_t end = slot_.slot + slot_.run;
  for (std::uint64_t first = slot_.chunk_first; first < end;) {
    const std::string path = shm::chunk_path(ring_.directory(), first);
    Result<UniqueFd> fd = shm::open_file(path, shm::Access::kRead);
    Result<std::uint64_t> bytes = fd ? shm::file_size(fd->get(), path) : Result<std::uint64_t>(fd.error());
    const std::uint64_t slots = bytes ? *bytes / ring_.segment_bytes() : 0;
    if (slots == 0) {
      chunks_.clear();
      if (ring_.is_superseded()) return Look::kChanged;
      return wrong(bytes ? file_name(path) + " is shorter than a segment" : bytes.error().message);
    }
    chunks_.push_back({first, slots * ring_.segment_bytes(), std::move(*fd)});
    first += slots;
  }
  return Look::kOk;
}

SegmentScanner::Place SegmentScanner::place(std::uint64_t offset) const {
  const std::uint64_t byte = slot_.slot * ring_.segment_bytes() + offset;
  for (const Chunk& chunk : chunks_) {
    const std::uint64_t first = chunk.first_slot * ring_.segment_bytes();
    if (byte - first < chunk.bytes) {
      return {file_name(shm::chunk_path(ring_.directory(), chunk.first_slot)), byte - first};
    }
  }
  return {file_name(shm::chunk_path(ring_.directory(), slot_.chunk_first)),
          byte - slot_.chunk_first * ring_.segment_bytes()};
}

// Reads [offset, offset + size) of the segment into the buffer.
SegmentScanner::Look SegmentScanner::read(std::uint64_t offset, std::size_t size) {
  if (chunks_.empty()) {
    if (const Look opened = open_chunks(); opened != Look::kOk) return opened;
  }
  buffer_.resize(size);
  buffer_offset_ = offset;
  std::size_t done = 0;
  const auto stop = [&](std::string what) {
    buffer_.clear();
    return wrong(std::move(what));
  };
  while (done < size) {
    const std::uint64_t byte = slot_.slot * ring_.segment_bytes() + offset + done;
    const auto chunk = std::find_if(chunks_.begin(), chunks_.end(), [&](const Chunk& each) {
      return byte - each.first_slot * ring_.segment_bytes() < each.bytes;
    });
    if (chunk == chunks_.end()) return stop("the segment lies outside its chunk");
    const std::uint64_t at = byte - chunk->first_slot * ring_.segment_bytes();
    const std::size_t part = std::min<std::uint64_t>(size - done, chunk->bytes - at);
    const ssize_t got = ::pread(chunk->fd.get(), buffer_.data() + done, part, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return stop(fmt::format("{} cannot be read: {}",
                              file_name(shm::chunk_path(ring_.directory(), chunk->first_slot)),
                              got < 0 ? std::strerror(errno) : "it has become shorter"));
    }
    done += static_cast<std::size_t>(got);
  }
  // After the bytes: had the slot been freed and taken again before one of them, this load would see it.
  if (is_unchanged()) return Look::kOk;
  buffer_.clear();
  return Look::kChanged;
}

// Makes sure that the buffer holds `size` bytes from offset_ on.
SegmentScanner::Look SegmentScanner::fill(std::uint64_t size) {
  if (offset_ >= buffer_offset_ && offset_ + size <= buffer_offset_ + buffer_.size()) return Look::kOk;
  return read(offset_, std::min(std::max(size, kPieceBytes), size_ - offset_));
}

SegmentScanner::Look SegmentScanner::look(shm::Record& record) {
  const std::uint64_t left = size_ - offset_;
  if (left < shm::kRecordHeaderBytes)
    return wrong("no record ends where the segment, or what is committed, does");
  if (const Look filled = fill(shm::kRecordHeaderBytes); filled != Look::kOk) return filled;
  if (!shm::load_header(buffer_.data() + (offset_ - buffer_offset_), record.header)) {
    return wrong("these bytes are no record's header");
  }
  if (record.header.length > left)
    return wrong("the record's length leads beyond the segment, or beyond what is committed");
  if (const Look filled = fill(record.header.length); filled != Look::kOk) return filled;
  record.bytes = Bytes(buffer_).subspan(offset_ - buffer_offset_, record.header.length);
  record.position = Position(slot_.start_position + offset_);
  record.address = (slot_.slot * ring_.segment_bytes() + offset_) / 8;
  if (shm::record_crc(record.bytes, record.position) != record.header.crc) {
    return wrong("the record's checksum does not fit its bytes and position");
  }
  if ((offset_ == 0) != (record.header.type == shm::RecordType::kCheckpoint)) {
    return wrong(offset_ == 0 ? "the segment does not open with a checkpoint"
                              : "a checkpoint inside the segment");
  }
  return Look::kOk;
}

Scan SegmentScanner::next(shm::Record& record) {
  if (is_at_end_ || offset_ >= size_) return Scan::kEnd;
  Look seen = look(record);
  if (seen ==
      Look::kWrong) {  // bytes and generation may have been read in another order than they were written
    buffer_.clear();
    seen = look(record);
  }
  if (seen == Look::kChanged) return Scan::kChanged;
  if (seen == Look::kWrong) return Scan::kCorrupt;
  offset_ += record.header.length;
  is_at_end_ = record.header.type == shm::RecordType::kSegmentEnd;
  return Scan::kRecord;
}

bool SegmentScanner::resync() {
  // Bytes that look like headers of long records one after the other must not cost the square of the segment.
  std::uint64_t budget = 16 * size_;
  const std::string what = std::move(what_);
  bool found = false;
  for (offset_ += shm::kRecordAlignment; offset_ < size_ && !found; offset_ += shm::kRecordAlignment) {
    shm::Record record;
    const Look seen = look(record);
    if (seen == Look::kChanged) break;
    found = seen == Look::kOk;
    if (seen == Look::kWrong && record.header.length <= size_ - offset_) {
      if (record.header.length > budget) break;
      budget -= record.header.length;
    }
  }
  if (found) offset_ -= shm::kRecordAlignment;
  is_at_end_ = !found;
  what_ = what;
  return found;
}

}  // namespace ringside::tools
