// RingView: a ring as somebody sees it who is not one of its readers. It takes no reader slot, writes nothing and maps no
// chunk, so that neither the writer nor a reader can tell that it is there.
//
// The price: segments may be freed and reused at any moment. So the log is read with pread(2) — which, unlike a mapping, neither
// brings memory back that the writer gives up nor ends in SIGBUS — and a segment's generation is looked at after every piece
// that was read (segment_scan.h). What has changed is said to have changed, never to be corrupt.
//
// Hold: a reader slot for as long as it lives, for those who want everything to stay where it is. It holds the writer back
// like a replica that joins, and is evicted like one.
//
// Threads: one.   Ownership: owns mappings and descriptors.
// Errors: kUnavailable: no ring, or not whole yet; kUnsupported: another layout; kCorrupt; kIo, also for a lack of
// permission.   Limits: none of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/catalogue_file.h"
#include "shm/layout.h"
#include "shm/log_view.h"
#include "shm/memory.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "shm/twin_word.h"

namespace ringside::tools {

// Where a ring is: ring.directory and ring.name.
struct RingName {
  std::string directory;
  std::string name;

  std::string path() const { return directory + "/" + name; }
};

class RingView {
 public:
  using Memory = shm::ProcessMemory;
  using LogView = shm::LogView<Memory>;

  // The epoch in force.
  static Result<RingView> open(const RingName& name);

  const RingName& name() const { return name_; }
  const std::string& directory() const { return log_.directory(); }  // the epoch's
  Epoch epoch() const { return log_.epoch(); }
  std::uint64_t segment_bytes() const { return log_.segment_bytes(); }
  const LogView& log() const { return log_; }
  const shm::RingHeader& header() const { return log_.header(); }
  std::uint64_t load(const std::uint64_t& word) const { return log_.load_seq_cst(word); }
  // What the word itself says; whether its copy agrees is for verify.
  std::uint64_t load(const shm::TwinWord& word) const { return load(word.word); }
  bool agrees_with_its_copy(const shm::TwinWord& word) const {
    std::uint64_t value = 0;
    return shm::load_twin<Memory>(word, value);
  }

  std::uint64_t committed() const { return load(header().committed_position); }
  // Another epoch is in force, or this one's files are gone.
  bool is_superseded() const;
  // Somebody holds the epoch's lock.
  bool has_writer() const { return shm::is_locked_elsewhere(lock_probe_.get()); }
  // What the holder of the ring's lock has written down of itself; nothing when nobody holds it or it cannot be read.
  std::optional<std::uint64_t> writer_pid() const;
  std::uint64_t generation(std::uint64_t slot) const {
    return log_.load_seq_cst(log_.slot_entry(slot).generation);
  }

  // The slot table as it stands: segments in use that start below `limit`, by start position.
  struct SlotTable {
    std::uint64_t slots = 0;  // that have ever been used
    std::uint64_t used = 0;   // of all segments in use
    std::vector<shm::SlotInfo> segments;
    std::vector<std::uint64_t> corrupt;  // slots that contradict themselves
  };
  SlotTable slot_table(std::uint64_t limit) const;

  const shm::CatalogueFile<Memory>& catalogue_file() const { return catalogue_; }
  // kUnavailable while there is none.
  Result<shm::Catalogue> catalogue() const { return catalogue_.read(); }

 private:
  RingName name_;
  LogView log_;
  shm::CatalogueFile<Memory> catalogue_;
  UniqueFd lock_probe_;
};

class Hold {
 public:
  // kBusy: all reader slots are taken. kIo: the reader files may not be written. kUnavailable: another epoch came meanwhile.
  static Result<Hold> take(const RingView& ring);

  std::size_t slot() const { return reader_->slot(); }
  // To be called now and then: the writer evicts who does not get on.
  void count_progress() { reader_->count_progress(); }
  bool is_evicted() const { return reader_->is_evicted(); }

 private:
  std::unique_ptr<shm::RingReader> reader_;
};

}  // namespace ringside::tools
