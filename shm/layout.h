// The bytes of the ring's files, as docs/ring-format.md draws them. One place for every offset.
//
//   <directory>/<name>/writer.lock            OFD lock: there is one writer; its pid as text
//   <directory>/<name>/current                symbolic link to the epoch in force, replaced by rename(2)
//   <directory>/<name>/epoch-<16 hex>/header      RingHeader, then the slot table
//                                     /catalogue  two halves, see catalogue.h
//                                     /chunk.<first slot>
//                                     /readers/<index>, /readers/<index>.wake
//
// All fields are 8-byte words, accessed only through a memory policy (memory.h).
//
// Threads: the comment of each field says who writes it.   Ownership: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ringside::shm {

inline constexpr std::uint64_t kRingMagic = 0x45444953474e4952;  // "RINGSIDE", little-endian
inline constexpr std::uint64_t kReaderMagic = 0x5245444145525352;
inline constexpr std::uint64_t kLayoutVersion = 5;
inline constexpr std::size_t kMaxReaders = 64;
inline constexpr std::size_t kHeaderBytes = 4096;
inline constexpr std::size_t kReaderFileBytes = 4096;
inline constexpr std::uint64_t kMinSegmentBytes = 4096;
inline constexpr std::uint64_t kMaxSegmentBytes = std::uint64_t{1} << 30;
// 5-byte addresses in units of 8 bytes.
inline constexpr std::uint64_t kMaxLogBytes = std::uint64_t{1} << 43;

enum class CaptureState : std::uint64_t {
  kStarting = 0,      // connecting, or reading the snapshot
  kStreaming = 1,     // following the binlog
  kReconnecting = 2,  // the source is gone for the moment
  kFull = 3,          // ring.max_size reached: paused
  kFailed = 4,        // latched; an operator is needed
  kStopped = 5,       // the writer ended in order
  kReplacing = 6,     // the history that this epoch holds is over: the next epoch is being loaded
};
inline constexpr CaptureState kLastCaptureState = CaptureState::kReplacing;

// How the source's clock stands to this host's CLOCK_MONOTONIC, which nobody sets, and what commit times are worth.
struct SourceClock {
  std::int64_t offset_us = 0;                   // the source's, since 1970, less ours
  std::uint64_t error_us = 0;                   // the offset is right to within this; 0: it was not measured
  std::uint64_t commit_time_resolution_us = 0;  // 0: unknown
};

// A word that changes, stored twice: the copy first, then the word, so that one bit that flips in either shows
// (shm/twin_word.h has the ways to store and to load one).
struct TwinWord {
  std::uint64_t word;
  std::uint64_t copy;
};
static_assert(sizeof(TwinWord) == 16 && std::is_trivially_copyable_v<TwinWord>);

// Page 0 of `header`. Written by the writer only.
struct RingHeader {
  // Line 0: identity. Constant once `epoch` is set, which is stored last.
  std::uint64_t magic;
  std::uint64_t layout_version;
  std::uint64_t segment_bytes;
  std::uint64_t chunk_bytes;
  std::uint64_t max_slots;     // capacity of the slot table
  std::uint64_t identity_crc;  // crc32c of the five words above
  std::uint64_t reserved0;
  std::uint64_t epoch;
  // Line 1: the one word that makes the log exist. seq_cst: pairs with ReaderFile::sleep_word.
  TwinWord committed_position;
  std::uint64_t reserved1[6];
  // Line 2: what the source last was, as it moves with every event.
  TwinWord source_version;  // newest version that the writer has seen from the source
  TwinWord
      source_alive_ns;  // CLOCK_MONOTONIC when the source had nothing newer than that; 0: never in this boot
  TwinWord source_time_us;       // source's clock at its last commit or heartbeat with a time; 0: unknown
  TwinWord writer_heartbeat_ns;  // CLOCK_MONOTONIC of the capture thread's last turn
  // Line 3: state.
  TwinWord capture_state;  // CaptureState
  TwinWord superseded_by;  // the next epoch, once there is one; else 0
  TwinWord server_id;      // under which the writer follows the binlog
  TwinWord slot_count;     // entries of the slot table that have ever been used; grows only
  // Line 4: space; what is known of the source's clock.
  TwinWord used_bytes;              // slots in use
  TwinWord limit_bytes;             // ring.max_size
  TwinWord source_clock_offset_us;  // the source's clock, since 1970, less CLOCK_MONOTONIC
  TwinWord source_clock_error_us;   // the offset is right to within this; 0: it was not measured
  // Line 5: the rest of the clock; under which conditions these files may be gone on with.
  TwinWord commit_time_resolution_us;  // of the commit records' times; 0: unknown
  TwinWord boot_id;                    // of the boot in which a writer last had the files open (shm/boot.h)
  TwinWord clean_stop;                 // 1: synced as they are, nothing has been stored since
  TwinWord reserved2;
  std::uint64_t reserved3[80];
  // At 1,024: per reader slot the incarnation of the reader that was evicted from it.
  TwinWord evicted[kMaxReaders];
};
static_assert(std::is_trivially_copyable_v<RingHeader> && std::is_standard_layout_v<RingHeader>);
static_assert(offsetof(RingHeader, epoch) == 56 && offsetof(RingHeader, committed_position) == 64);
static_assert(offsetof(RingHeader, source_version) == 128 && offsetof(RingHeader, capture_state) == 192);
static_assert(offsetof(RingHeader, used_bytes) == 256 && offsetof(RingHeader, boot_id) == 336);
static_assert(offsetof(RingHeader, evicted) == 1024 && sizeof(RingHeader) <= kHeaderBytes);

// Behind the header page: one entry a slot. Written by the writer only (shm/slot_table.h).
struct SlotEntry {
  std::uint64_t generation;      // odd: in use. Stored last, when a slot is taken and when it is freed.
  std::uint64_t start_position;  // of the segment in it
  std::uint64_t
      run_and_chunk;    // low half: slots the segment takes; high half: first slot of the chunk's file
  std::uint64_t check;  // low half: crc32c of the two words above; high half: the generation's low half
};
static_assert(sizeof(SlotEntry) == 32 && std::is_trivially_copyable_v<SlotEntry>);

constexpr std::uint64_t slot_table_bytes(std::uint64_t slots) {
  return (kHeaderBytes + slots * sizeof(SlotEntry) + 4095) / 4096 * 4096;
}

// A reader's file. Created by the writer with the epoch; from then on written only by the reader that locks
// it.
struct ReaderFile {
  std::uint64_t magic;
  std::uint64_t epoch;
  TwinWord incarnation;  // random; 0: nobody reads here. seq_cst: pairs with the freeing of slots
  std::uint64_t pid;
  std::uint64_t reserved0[3];
  // Line 1.
  TwinWord reclaim_position;  // end of the last transaction made visible; 0 while joining. seq_cst, as above
  std::uint64_t progress;     // counts up whenever the reader gets on, also while it joins
  // Where a reader met bytes that contradict themselves, for the writer to look for itself. Kept across joins.
  std::uint64_t reported_position;
  std::uint64_t reports;  // counts them; stored after the position
  std::uint64_t reserved1[3];
  // Line 2: alone, because the writer looks at it at every publishing, and the reader writes line 1 after each.
  std::uint64_t sleep_word;  // odd: asleep on its FIFO. seq_cst: pairs with committed_position
  std::uint64_t reserved2[7];
};
static_assert(offsetof(ReaderFile, reclaim_position) == 64 && offsetof(ReaderFile, sleep_word) == 128 &&
              sizeof(ReaderFile) == 192);

// An address: slot and offset as one number of 8-byte units from the log's base. 0 is none (a segment's first
// bytes are its checkpoint record, to which nothing ever points).
using Address = std::uint64_t;

}  // namespace ringside::shm
