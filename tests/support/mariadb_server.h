// MariadbServer: a DatabaseServer that is Debian's MariaDB (package mariadb-server-core). Its empty data directory
// is made by the first test of a build that needs it.
//
// Threads, Ownership, Errors, Limits: as DatabaseServer.
#pragma once

#include "tests/support/database_server.h"

namespace ringside::testing {

class MariadbServer final : public DatabaseServer {
 public:
  MariadbServer();
  explicit MariadbServer(Options options);

  bool is_mysql() const override { return false; }
};

}  // namespace ringside::testing
