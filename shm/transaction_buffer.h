// TransactionBuffer: where a transaction's records are collected, in private, until its end has arrived.
// Beyond a limit they go to an unlinked file, so that a transaction larger than memory can be published
// whole.
//
// Records are kept as they will stand in the log (header, payload, padding), less position-dependent fields.
//
// Threads: one.   Ownership: owns memory and the spill file.
// Errors: kUnsupported (a record beyond max_record_bytes), kLimit (no spill file is to be had: disk full, directory
// missing): the record was not taken. kIo: the transaction cannot be published.
// Limits: memory_limit bytes of memory, plus one record; the file as the disk allows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/record.h"
#include "shm/ring_writer.h"

namespace ringside::shm {

class TransactionBuffer {
 public:
  // `spill_directory`: where the file is made when it is needed.
  TransactionBuffer(std::uint64_t memory_limit, std::string spill_directory, std::uint64_t max_record_bytes);

  // Adds a record; header.length is filled in.
  Result<void> add(RecordHeader header, std::string_view payload);
  void clear();

  std::uint64_t records() const { return records_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t spilled_bytes() const { return spilled_; }

  // What the records take in segments of that capacity.
  RoomNeeded room(std::uint64_t segment_capacity) const;

  // Calls visit with every record in order, and with what is coming after it; it may change the bytes it is given. An Error
  // of visit ends it.
  using Visit = std::function<Result<void>(std::span<std::byte>, const Ahead&)>;
  Result<void> for_each(const Visit& visit);

 private:
  Result<void> spill();

  std::uint64_t memory_limit_;
  std::string spill_directory_;
  std::uint64_t max_record_bytes_;
  std::vector<std::byte> memory_;
  UniqueFd file_;
  std::uint64_t spilled_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t bytes_ = 0;
  // Record sizes that may not fit a segment (4 KiB at least): few, or the transaction is made of little else.
  std::vector<std::uint32_t> large_;
  std::uint64_t small_bytes_ = 0;
  std::uint64_t largest_small_ = 0;
};

}  // namespace ringside::shm
