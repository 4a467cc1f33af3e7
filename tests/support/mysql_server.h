// MysqlServer: a DatabaseServer that is MySQL 9.7 as tools/fetch_mysql has unpacked it. Where it has not, a test
// that needs it says how_to_get_it() and skips:
//
//   if (!MysqlServer::is_there()) GTEST_SKIP() << MysqlServer::how_to_get_it();
//
// Each data directory has the server's own certificates and RSA keys (ca.pem, public_key.pem), the same in all of
// them; TLS is on, over TCP.
//
// Threads, Ownership, Errors, Limits: as DatabaseServer.
#pragma once

#include <filesystem>
#include <string>

#include "tests/support/database_server.h"

namespace ringside::testing {

class MysqlServer final : public DatabaseServer {
 public:
  MysqlServer();
  explicit MysqlServer(Options options);

  static bool is_there();
  static std::string how_to_get_it();
  // Where tools/fetch_mysql puts it.
  static std::filesystem::path root();

  bool is_mysql() const override { return true; }
};

}  // namespace ringside::testing
