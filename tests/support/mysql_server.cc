#include "tests/support/mysql_server.h"

#include <cstdlib>
#include <stdexcept>

namespace ringside::testing {
namespace fs = std::filesystem;
namespace {

fs::path from_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

ServerKind kind() {
  if (!MysqlServer::is_there()) throw std::runtime_error(MysqlServer::how_to_get_it());
  return {"mysqld",
          MysqlServer::root() / "mysqld",
          "mysqld",
          {"innodb-buffer-pool-size=64M", "innodb-redo-log-capacity=8M", "performance-schema=OFF",
           // It guards against a torn page at a power loss, which no test causes.
           "innodb-doublewrite=OFF", "log-bin=binlog", "server-id=1", "gtid-mode=ON",
           "enforce-gtid-consistency=ON", "binlog-row-image=FULL", "binlog-row-metadata=FULL",
           "sync-binlog=1", "innodb-flush-log-at-trx-commit=1"},
          MysqlServer::root() / "empty-data"};
}

}  // namespace

MysqlServer::MysqlServer() : MysqlServer(Options{}) {}

MysqlServer::MysqlServer(Options options) : DatabaseServer(kind(), std::move(options)) {}

fs::path MysqlServer::root() {
  const fs::path set = from_environment("RINGSIDE_MYSQL_ROOT");
  if (!set.empty()) return set;
  const fs::path cache = from_environment("XDG_CACHE_HOME");
  return (cache.empty() ? from_environment("HOME") / ".cache" : cache) / "ringside" / "mysql-sid";
}

bool MysqlServer::is_there() {
  std::error_code ignored;  // not there is not there
  return fs::exists(root() / "mysqld", ignored);
}

std::string MysqlServer::how_to_get_it() {
  return "NOT TESTED ON MySQL: there is no server in " + root().string() + "; run tools/fetch_mysql";
}

}  // namespace ringside::testing
