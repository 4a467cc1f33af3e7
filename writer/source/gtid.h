// GTIDs as the source is asked for them. What they are is shm/gtid.h's: ring and replicas read them too.
//
// Threads: pure functions.   Ownership: none.   Errors: none.   Limits: shm/gtid.h's.
#pragma once

#include <string>

#include "shm/gtid.h"

namespace ringside::writer {

using shm::MariaDbGtid;
using shm::MysqlGtidSet;
using shm::parse_mariadb_gtid;
using shm::parse_mariadb_gtid_list;
using shm::to_string;

// The form COM_BINLOG_DUMP_GTID carries, little-endian:
//
//   u64 sources, then of each: 16 bytes uuid, u64 intervals, and of each of these: u64 first, u64 end (exclusive)
//
// When any GTID has a tag (MySQL 8.3 and later), sources are told apart by their tags too:
//
//   u8 1, u48 sources, u8 1, then of each: 16 bytes uuid, u8 twice the tag's length, the tag, intervals as above
std::string wire_form(const MysqlGtidSet& set);

}  // namespace ringside::writer
