#include "shm/transaction_buffer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "shm/look_ahead.h"
#include "shm/memory.h"

namespace ringside::shm {
namespace {

// Smaller records fit every segment (kMinSegmentBytes less what opens and closes it).
constexpr std::size_t kLarge = 2048;

Error spill_error(ErrorKind kind, const char* what, const std::string& directory) {
  const int code = errno;
  return Error{
      kind,
      fmt::format(
          "cannot {} a transaction's spill file in {}: {}; set writer.spill_directory to a disk with room",
          what, directory, std::strerror(code))};
}

// Records one behind the other in memory, as LookAhead sees them.
struct BlockView {
  const std::byte* begin;
  const std::byte* at(Address address) const { return begin + address * 8; }
};

}  // namespace

TransactionBuffer::TransactionBuffer(std::uint64_t memory_limit, std::string spill_directory,
                                     std::uint64_t max_record_bytes)
    : memory_limit_(memory_limit),
      spill_directory_(std::move(spill_directory)),
      max_record_bytes_(std::min<std::uint64_t>(max_record_bytes, kMaxRecordBytes)) {}

Result<void> TransactionBuffer::add(RecordHeader header, std::string_view payload) {
  const std::size_t size = record_bytes(payload.size());
  if (size > max_record_bytes_) {
    return Error{ErrorKind::kUnsupported,
                 fmt::format("a row takes {} bytes, ring.max_record_size is {}", size, max_record_bytes_)};
  }
  if (memory_.size() + size > memory_limit_ && !memory_.empty()) RINGSIDE_TRY(spill());
  const std::size_t at = memory_.size();
  if (at + size > memory_.capacity()) {
    // Doubling, but not beyond the limit.
    memory_.reserve(
        std::max<std::uint64_t>(at + size, std::min<std::uint64_t>(2 * memory_.capacity(), memory_limit_)));
  }
  memory_.resize(at + size);
  header.length = static_cast<std::uint32_t>(size);
  store_header(header, memory_.data() + at);
  std::memcpy(memory_.data() + at + kRecordHeaderBytes, payload.data(), payload.size());
  ++records_;
  bytes_ += size;
  if (size > kLarge) {
    large_.push_back(static_cast<std::uint32_t>(size));
  } else {
    small_bytes_ += size;
    largest_small_ = std::max<std::uint64_t>(largest_small_, size);
  }
  return {};
}

void TransactionBuffer::clear() {
  memory_.clear();
  if (memory_.capacity() > (std::size_t{4} << 20)) memory_.shrink_to_fit();
  file_.reset();
  spilled_ = records_ = bytes_ = small_bytes_ = largest_small_ = 0;
  large_.clear();
}

RoomNeeded TransactionBuffer::room(std::uint64_t segment_capacity) const {
  RoomNeeded needed;
  needed.bytes = small_bytes_;
  needed.largest = largest_small_;
  for (const std::uint32_t size : large_) {
    if (size > segment_capacity) {
      needed.jumbo.push_back(size);
    } else {
      needed.bytes += size;
      needed.largest = std::max<std::uint64_t>(needed.largest, size);
    }
  }
  return needed;
}

Result<void> TransactionBuffer::spill() {
  if (!file_) {
    file_.reset(::open(spill_directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file_) return spill_error(ErrorKind::kLimit, "create", spill_directory_);
  }
  std::size_t done = 0;
  while (done < memory_.size()) {
    const ssize_t size = ::pwrite(file_.get(), memory_.data() + done, memory_.size() - done,
                                  static_cast<off_t>(spilled_ + done));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return spill_error(ErrorKind::kLimit, "write", spill_directory_);
    done += static_cast<std::size_t>(size);
  }
  spilled_ += memory_.size();
  memory_.clear();
  return {};
}

Result<void> TransactionBuffer::for_each(const Visit& visit) {
  auto visit_all = [&](std::span<std::byte> bytes, std::size_t& used) -> Result<void> {
    used = 0;
    const BlockView block{bytes.data()};
    LookAhead<ProcessMemory> look_ahead;
    Ahead ahead;
    while (bytes.size() - used >= kRecordHeaderBytes) {
      const std::uint32_t length = load_le<std::uint32_t>(bytes.data() + used + 4);
      if (length > bytes.size() - used) break;
      const std::span<std::byte> record = bytes.subspan(used, length);
      used += length;
      look_ahead.step(block, used, used / 8, bytes.size(), bytes.size(), ahead);
      RINGSIDE_TRY(visit(record, ahead));
    }
    return {};
  };
  std::vector<std::byte> block;
  std::size_t kept = 0;  // of an incomplete record, at the block's beginning
  for (std::uint64_t offset = 0; offset < spilled_;) {
    constexpr std::size_t kBlock = std::size_t{1} << 20;
    block.resize(kept + std::max<std::size_t>(kBlock, kept));  // doubles while a record does not fit
    const ssize_t size =
        ::pread(file_.get(), block.data() + kept,
                std::min<std::uint64_t>(block.size() - kept, spilled_ - offset), static_cast<off_t>(offset));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return spill_error(ErrorKind::kIo, "read", spill_directory_);
    offset += static_cast<std::uint64_t>(size);
    const std::size_t filled = kept + static_cast<std::size_t>(size);
    std::size_t used = 0;
    RINGSIDE_TRY(visit_all({block.data(), filled}, used));
    kept = filled - used;
    std::memmove(block.data(), block.data() + used, kept);
  }
  RINGSIDE_ASSERT(kept == 0);
  std::size_t used = 0;
  RINGSIDE_TRY(visit_all(memory_, used));
  RINGSIDE_ASSERT(used == memory_.size());
  return {};
}

}  // namespace ringside::shm
