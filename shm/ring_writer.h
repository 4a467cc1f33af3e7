// The writer's hand on the ring: makes and reopens epochs, appends records, publishes transactions, wakes and
// evicts readers. It knows nothing of keys: publisher.h stands above it.
//
//   lock_ring ─► open (continue the epoch in force)   ─► recover: every record so far
//            └─► create (a new epoch) ─► … load … ─► activate
//   then, again and again:  make_room ─► append … ─► publish
//   and to have room:       pick_victim ─► next_of_victim, append … ─► publish … ─► finish_victim ─► reclaim
//
// docs/ring-format.md has the protocols; the numbers in the .cc refer to it.
//
// Threads: one (capture's).   Ownership: owns mappings, descriptors, and the ring's lock while it lives.
// Errors: kBusy: another writer holds the ring. kLimit: no room (nothing was touched). kCorrupt: the epoch
// cannot be continued. kIo. append and publish cannot fail: room was made before. Limits: RingOptions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/boot.h"
#include "shm/catalogue.h"
#include "shm/gtid.h"
#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/record.h"

namespace ringside::shm {

struct RingOptions {
  std::string directory = "/dev/shm";
  std::string name;
  std::uint64_t segment_bytes = std::uint64_t{1} << 20;  // a power of two
  std::uint64_t chunk_bytes = std::uint64_t{8} << 20;    // a multiple of it
  std::uint64_t max_bytes = std::uint64_t{4} << 30;      // steady state
  std::uint64_t reserve_bytes = std::uint64_t{1} << 30;  // beyond it, for one large transaction
  std::uint64_t max_record_bytes = std::uint64_t{64} << 20;
  std::uint64_t reader_limit_bytes = std::uint64_t{256} << 20;  // held back without progress
  std::uint64_t reader_grace_ns = 5'000'000'000;                // for so long
  std::uint64_t reader_wait_ns = 30'000'000'000;  // that capture waits for room held by one that gets on
  std::string boot_id_path = kBootIdPath;         // tests have boots of their own
};

// The right to write this ring: an OFD lock on writer.lock. Makes the ring's directory. kBusy names the
// holder's pid.
Result<UniqueFd> lock_ring(const RingOptions& options);

// What a transaction's records will take, so that room can be made before the first is appended.
struct RoomNeeded {
  std::uint64_t bytes = 0;           // of all records that fit a segment
  std::uint64_t largest = 0;         // of those
  std::vector<std::uint64_t> jumbo;  // each record that does not
};

// For what room is made.
enum class RoomFor : std::uint8_t {
  kTransaction,  // up to max_bytes less what compaction needs; beyond it by the reserve if it is large
  kCompaction,   // up to max_bytes, and beyond it where a large transaction has left more in use
};

// What a transaction that found no room has to hope for.
enum class RoomOutlook : std::uint8_t {
  kNone,     // it would not fit if all that is in use were live
  kReaders,  // enough has been compacted, and waits for readers
  kCompaction,
};

// What one reader slot shows, for metrics.
struct ReaderStatus {
  std::size_t slot = 0;
  std::uint64_t pid = 0;
  Position reclaim_position;
  bool asleep = false;
};

struct ScrubCounters {
  std::uint64_t bytes = 0;    // of records verified
  std::uint64_t rounds = 0;   // through everything
  std::uint64_t reports = 0;  // readers' reports of corruption looked into
};

struct RingUsage {
  std::uint64_t used_bytes = 0;     // slots in use
  std::uint64_t live_bytes = 0;     // of them, records that are live
  std::uint64_t pending_bytes = 0;  // of them, compacted and waiting for readers
  std::uint64_t limit_bytes = 0;    // ring.max_size
  std::uint64_t chunk_bytes = 0;    // memory allocated for chunks
  std::uint64_t chunks = 0;
  std::uint64_t slots = 0;              // of all chunks, those given back included
  std::uint64_t segments = 0;           // slots in use
  std::uint64_t segments_freed = 0;     // by compaction, since the writer started
  std::uint64_t chunks_given_back = 0;  // likewise
  Position committed;                   // end of the log
};

template <class Memory>
class BasicRingWriter {
 public:
  // Continues the epoch in force. kNotFound: there is none. kCorrupt, kUnsupported: start a new one. `lock`
  // is lock_ring()'s.
  static Result<std::unique_ptr<BasicRingWriter>> open(const RingOptions& options, const UniqueFd& lock);
  // Makes a new epoch beside the one in force, if any; not yet seen by anybody. Epochs that were begun and
  // never put in force are removed.
  static Result<std::unique_ptr<BasicRingWriter>> create(const RingOptions& options, const UniqueFd& lock);
  ~BasicRingWriter();
  BasicRingWriter(const BasicRingWriter&) = delete;
  BasicRingWriter& operator=(const BasicRingWriter&) = delete;

  // Calls visit for every record below the committed position, in order; then the writer is ready to append.
  // Once, after open(). An Error of visit ends it.
  Result<void> recover(const std::function<Result<void>(const Record&)>& visit);
  // After create(): puts the epoch in force (N3, N4), marks every other epoch superseded, whether it is
  // `previous` (which may be null) or of a writer long gone, and removes its files (N5).
  Result<void> activate(BasicRingWriter* previous);
  // Syncs the epoch's files as they are, and says so in the header: after a restart of the host they may be gone on with.
  // May block for as long as a disk takes; on tmpfs it does not. Nothing may be appended after it.
  Result<void> stop_in_order();

  Epoch epoch() const;
  std::uint64_t max_record_bytes() const;
  // The largest record that fits an ordinary segment.
  std::uint64_t segment_capacity() const;

  std::uint64_t catalogue_generation() const;
  Result<Catalogue> read_catalogue() const;
  // Precondition: generation is catalogue_generation() + 1.
  Result<void> publish_catalogue(const Catalogue& catalogue);

  // Makes sure that a transaction of this size can be appended. kLimit: it cannot, and why; nothing has
  // changed. kUnavailable, for compaction only: memory for it is being made, a slice at each call.
  Result<void> make_room(const RoomNeeded& needed, RoomFor use = RoomFor::kTransaction);
  // After make_room() has refused it: what would have to happen. `is_large`: that it may use the reserve.
  RoomOutlook outlook(const RoomNeeded& needed, bool& is_large) const;
  // Other limits than those it was opened with. kInvalid: more than this epoch's slot table can address.
  Result<void> set_limits(std::uint64_t max_bytes, std::uint64_t reserve_bytes);
  void set_reader_limits(const RingOptions& options);  // its reader_* fields
  // Of the reserve, how much ordinary transactions may use for now.
  void set_overdraft(unsigned eighths);
  // Appends a record above the committed position and returns its address. `header`: length and crc are
  // filled in here. `record` is the whole record (header bytes undefined, padding zero), 8-aligned, its
  // length a multiple of 8. Precondition: make_room covered it.
  Address append(RecordHeader header, std::span<std::byte> record);
  // Publishes what has been appended (P3, P4). The record appended last must be a commit. Checkpoints say from now
  // on `version`, and that these GTIDs (the commit's own, and what was executed together with it) were executed
  // besides all before. Precondition: executed() takes them.
  void publish(Version version, std::string_view gtid, std::string_view executed_with = {});
  bool has_unpublished() const;
  Position committed_position() const;
  Version version() const;
  const ExecutedGtids& executed() const;

  // What is live (shm/segment_ledger.h). count_dead: false when no such record was counted: the ring's bytes have changed.
  void count_live(Address address, TableId table, std::uint64_t bytes, Version version,
                  bool is_carried = false);
  [[nodiscard]] bool count_dead(Address address, TableId table, std::uint64_t bytes);
  void forget_table(TableId table);

  // Compaction. pick_victim: the best segment with a live share of at most `most_live`, but for those that contain one of
  // the pinned addresses and the tail; false: there is none.
  bool pick_victim(std::span<const Address> pinned, double most_live);
  // It has not looked at all segments yet: the next call goes on.
  bool is_looking() const;
  // A segment so high up that all that is in use would lie below it, so that its chunk can be given back.
  bool pick_topmost(std::span<const Address> pinned);
  bool has_victim() const;
  // Its records in order, each with its checksum verified. False: there are no more. put_back: the next one is this again.
  Result<bool> next_of_victim(Record& record);
  void put_back(const Record& record);
  // Nothing in it is live any more: it is freed once all readers have passed the committed position. To be called after
  // publish(). kCorrupt: something in it still is.
  Result<void> finish_victim();
  // Frees what no reader needs any longer (F0, F1, F2), and gives idle chunks back. True: there is more free space than
  // before.
  bool reclaim();
  bool has_pending() const;
  // What make_room() refused last was within the limits, but there was no memory for it.
  bool lacks_memory() const;
  // Slots that are free or will be once the readers get on, up to max_bytes; negative: a large transaction is being
  // worked off.
  std::int64_t available_slots() const;
  std::uint64_t limit_slots() const;

  // For RowIndex and for the sizes of rows replaced: this process' own records.
  bool equals(Address address, Bytes key) const;
  std::uint64_t hash(Address address) const;
  void prefetch_key(Address address) const;
  std::uint32_t record_length(Address address) const;
  // Whether the record there is what was written; check_found() tells of one that is not.
  bool verify(Address address) const;
  RecordType record_type(Address address) const;

  // The header's words on the source. State changes wake all readers.
  void set_capture_state(CaptureState state);
  void set_source(Version newest, std::uint64_t source_time_us, std::uint64_t alive_ns);
  void set_source_clock(const SourceClock& clock);
  void beat(std::uint64_t now_ns);
  std::uint64_t server_id() const;
  void set_server_id(std::uint64_t server_id);

  // Evicts readers that hold too much without progress, and those that died. Returns how many. To be called
  // now and then (every 100 ms or so).
  std::size_t check_readers(std::uint64_t now_ns);
  // Verifies a slice of what was published against what was stored, and what readers have reported (shm/scrubber.h).
  // To be called now and then with as much as may be looked at in one go. kCorrupt: the epoch is to be replaced.
  Result<void> scrub(std::uint64_t budget_bytes);
  // kCorrupt when equals() or hash() met a record that is not what was written: what they said may be wrong.
  Result<void> check_found() const;
  const ScrubCounters& scrubbed() const;
  std::vector<ReaderStatus> readers() const;
  RingUsage usage() const;

 private:
  struct Impl;
  explicit BasicRingWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

extern template class BasicRingWriter<ProcessMemory>;
using RingWriter = BasicRingWriter<ProcessMemory>;

}  // namespace ringside::shm
