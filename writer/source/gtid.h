// GTIDs as the source is asked for them. What they are is shm/gtid.h's: ring and replicas read them too.
//
// Threads: pure functions.   Ownership: none.   Errors: as the functions say.   Limits: shm/gtid.h's.
#pragma once

#include <string>

#include "base/result.h"
#include "shm/gtid.h"

namespace ringside::writer {

using shm::MariaDbGtid;
using shm::MysqlGtidSet;
using shm::parse_mariadb_gtid;
using shm::parse_mariadb_gtid_list;
using shm::to_string;

// The form COM_BINLOG_DUMP_GTID carries. kUnsupported when a GTID has a tag.
Result<std::string> wire_form(const MysqlGtidSet& set);

}  // namespace ringside::writer
