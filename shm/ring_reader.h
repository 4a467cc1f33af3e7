// A reader of the ring: attaches to the epoch in force, takes a reader slot, walks the log from its oldest
// segment and follows it, copies records out by address, and sleeps until there is more.
//
//   attach ──► join() ──► next() … next() == kCaughtUp ──► set_reclaim_position() ──► next() …
//                 ▲                     │ kEvicted, kCorrupt                              │
//                 └──── a new RingReader ┘◄───────────── superseded ◄─────────────────────┘
//
// docs/ring-format.md has the protocols (join, follow, evict, sleep) with their interleavings; the numbers in
// the _impl.h refer to it. Everything read is checked: lengths, addresses, generations, checksums.
//
// Threads: one. Other processes write the memory underneath.
// Ownership: owns mappings and descriptors; a Record's bytes are the reader's buffer, valid until the next
// call. Errors: attach and join return Errors with text; walking returns Step, copying CopyStatus.
// Allocation: next() may grow its buffer and map chunks; copy_record() allocates nothing.
// Limits: kMaxReaders readers; a record of kMaxRecordBytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "shm/boot.h"
#include "shm/catalogue.h"
#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/record.h"

namespace ringside::shm {

// What the writer's header says of the source.
struct SourceState {
  CaptureState capture = CaptureState::kStarting;
  Version version;                        // newest seen from the source
  std::uint64_t alive_ns = 0;             // CLOCK_MONOTONIC when it had nothing newer; 0: never in this boot
  std::uint64_t writer_heartbeat_ns = 0;  // CLOCK_MONOTONIC of the capture thread's last turn
  std::uint64_t source_time_us = 0;       // the source's clock then; 0: unknown
  SourceClock clock;
  std::uint64_t used_bytes = 0;  // of the ring
  std::uint64_t limit_bytes = 0;
};

enum class Step : std::uint8_t {
  kRecord,    // `record` is the next one
  kCaughtUp,  // nothing more below the committed position
  kEvicted,   // the writer cut this reader off: start over with a new RingReader
  kCorrupt,   // bytes that contradict themselves: start over
};

template <class Memory>
class BasicRingReader {
 public:
  // Maps the epoch in force read-only. kUnavailable while there is no ring, or no whole one; kUnsupported for
  // another layout version; kCorrupt; kIo. `boot_id_path`: tests have boots of their own.
  static Result<std::unique_ptr<BasicRingReader>> attach(const std::string& directory,
                                                         const std::string& name,
                                                         const std::string& boot_id_path = kBootIdPath);
  ~BasicRingReader();
  BasicRingReader(const BasicRingReader&) = delete;
  BasicRingReader& operator=(const BasicRingReader&) = delete;

  Epoch epoch() const;

  // Takes the lowest free reader slot, holds the whole log, and sets the walk to the oldest segment.
  // kBusy when all slots are taken; kUnavailable while it cannot be told what is committed; kCorrupt. Once per
  // RingReader.
  Result<void> join();
  // The slot taken by join(), 0 … kMaxReaders-1.
  std::size_t slot() const;

  // Steps over one record. Segment ends are followed silently; checkpoints are returned like all others.
  // Stops at the committed position as it was read at the beginning of the current run of calls: whole
  // transactions.
  Step next(Record& record);
  // Where next() stands, and the newest committed position (acquire).
  Position position() const;
  Position committed_position() const;

  // "Everything before is visible and not needed any more in its old place." Frees slots to the writer.
  // Monotonic. When this reader's file is not what it stored there last, nothing is stored, and next() says kCorrupt.
  void set_reclaim_position(Position position);
  // "I am getting on." For long work without a new reclaim position, e.g. while joining.
  void count_progress();

  // True when the writer has cut this reader off. To be asked after copying and before submitting an answer.
  bool is_evicted() const;
  // True when another epoch is, or is about to be, in force.
  bool is_superseded() const;
  // True while a writer holds the ring's lock. A system call.
  bool writer_is_alive() const;
  SourceState source() const;

  // The active catalogue. A copy; may take a few attempts against a busy writer.
  Result<Catalogue> read_catalogue() const;

  // Copies the record at `address` into `buffer`: form, bounds, the slot's generation and the checksum are checked each
  // time (docs/adr/0007). kTooSmall: only the header was read, and only its form and bounds were checked.
  CopyStatus copy_record(Address address, RecordHeader& header, std::span<std::byte> buffer) const;
  // Whether the record there is what was written: for one whose header alone is read.
  bool verify(Address address) const;
  // The first address at which copy_record, verify, equals or hash have met bytes that contradict their checksum; 0:
  // none. After a key was not found this decides whether that is so.
  Address corrupt_address() const;
  // Tells the writer where corruption was met (there, or where next() stands), so that it looks for itself.
  Position report_corruption();
  // For RowIndex (its Rows): the key of the row record at `address`, compared and hashed in place. A key that differs is
  // verified before it is another's.
  bool equals(Address address, Bytes key) const;
  std::uint64_t hash(Address address) const;
  void prefetch_key(Address address) const;
  // Asks the processor for the record's first cache lines.
  void prefetch(Address address) const;

  // Sleeping. prepare_sleep() announces it; false: there is something new (or the end of this epoch), do not
  // sleep (and the announcement is taken back). After waking for whatever reason: awake(). The FIFO is
  // readable once the writer has something; read it away (any number of bytes).
  [[nodiscard]] bool prepare_sleep();
  void awake();
  int wake_fd() const;

 private:
  struct Impl;
  explicit BasicRingReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

extern template class BasicRingReader<ProcessMemory>;
using RingReader = BasicRingReader<ProcessMemory>;

}  // namespace ringside::shm
