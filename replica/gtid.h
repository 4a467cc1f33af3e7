// What a replica remembers of MariaDB's latest GTIDs.
//
// Threads: one.   Ownership: owns its memory.   Errors: none.
// Limits: the window remembers kSize commits.   No allocation after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "shm/gtid.h"

namespace ringside::replica {

// Which server wrote each of the latest versions: another one under the same number is another history.
class GtidWindow {
 public:
  static constexpr std::size_t kSize = 65536;

  GtidWindow() : entries_(kSize) {}

  void remember(const shm::MariaDbGtid& gtid) {
    latest_ = gtid;
    entries_[gtid.sequence % kSize] = {gtid.sequence, gtid.server_id};
  }
  // True when this replica applied that sequence number from another server, or follows another domain.
  bool contradicts(const shm::MariaDbGtid& gtid) const {
    if (latest_.sequence == 0) return false;
    if (gtid.domain != latest_.domain) return true;
    const Entry& entry = entries_[gtid.sequence % kSize];
    return entry.sequence == gtid.sequence && gtid.sequence != 0 && entry.server != gtid.server_id;
  }

 private:
  struct Entry {
    std::uint64_t sequence = 0;
    std::uint32_t server = 0;
  };
  std::vector<Entry> entries_;
  shm::MariaDbGtid latest_;  // sequence 0 before any was seen
};

}  // namespace ringside::replica
