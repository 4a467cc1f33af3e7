// Where a stream has to begin so that it goes on from the ring: one transaction early, so that the ring's last one comes
// once more and can be compared. And what a server's own account of its GTIDs says against that.
//
// Threads: pure functions.   Ownership: values.   Errors: kCorrupt for GTIDs in the ring that are none, kInvalid for
// such of the server.   Limits: shm/gtid.h's.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "shm/gtid.h"
#include "shm/publisher.h"

namespace ringside::writer {

struct ResumePoint {
  std::string position;      // for the stream
  shm::LastCommit expected;  // for EventApplier::expect
  // The ring holds a snapshot's state only. A transaction is asked for of which it can be thought that it came last; a
  // source that no longer has it will say so.
  bool is_guessed = false;
};

// `server_uuid`: MySQL's own; its newest transaction is what is guessed.
Result<ResumePoint> resume_point(const shm::LastCommit& last, const shm::ExecutedGtids& executed,
                                 bool may_guess, std::string_view server_uuid);

// Why a MariaDB server at this gtid_binlog_pos cannot be at or behind the ring's last transaction; empty: it can.
Result<std::string> lost_by_mariadb(const std::string& ring_gtid, std::string_view binlog_position);

// The same for MySQL.
struct MysqlDifference {
  std::string lost;     // transactions of the ring that the server does not have
  std::string purged;   // transactions that the ring does not have and the server's binlog no longer has
  std::string missing;  // transactions of the server that the ring does not have: on their way, as a rule
};
Result<MysqlDifference> compare_with_mysql(const shm::ExecutedGtids& executed, std::string_view gtid_executed,
                                           std::string_view gtid_purged);

}  // namespace ringside::writer
