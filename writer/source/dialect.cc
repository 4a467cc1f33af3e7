#include "writer/source/dialect.h"

#include <fmt/format.h>

#include <charconv>

namespace ringside::writer {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string quoted(std::string_view text, char quote, bool doubles_backslash) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || (doubles_backslash && c == '\\')) out.push_back(c);
    out.push_back(c);
  }
  out.push_back(quote);
  return out;
}

}  // namespace

std::string_view to_string(Flavour flavour) {
  return flavour == Flavour::kMariaDb ? "MariaDB" : "MySQL";
}

Result<ServerVersion> parse_server_version(std::string_view text) {
  ServerVersion version;
  version.text = text;
  // A MariaDB server may put 5.5.5- before its version, for clients that know no other first digit than 5.
  constexpr std::string_view kOldPrefix = "5.5.5-";
  version.flavour = contains(text, "MariaDB") ? Flavour::kMariaDb : Flavour::kMySql;
  if (version.flavour == Flavour::kMariaDb && text.starts_with(kOldPrefix))
    text.remove_prefix(kOldPrefix.size());
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (unsigned* part : {&version.major, &version.minor, &version.patch}) {
    const auto [next, status] = std::from_chars(at, end, *part);
    if (status != std::errc{}) {
      return Error{ErrorKind::kUnsupported,
                   fmt::format("the server's version '{}' is not understood: expected a "
                               "MariaDB or MySQL server",
                               version.text)};
    }
    at = next != end && *next == '.' ? next + 1 : next;
  }
  return version;
}

std::vector<std::string> session_statements(const ServerVersion& server, bool raw_text) {
  std::vector<std::string> statements = {
      "SET NAMES utf8mb4",
      // sql_mode empty: backslash escapes, backquotes, CHAR without padding. sql_select_limit would cut a
      // snapshot short in silence.
      "SET SESSION time_zone='+00:00', sql_mode='', autocommit=1, sql_select_limit=18446744073709551615,"
      " sql_big_selects=1, max_join_size=18446744073709551615, wait_timeout=28800, net_write_timeout=3600,"
      " net_read_timeout=3600",
  };
  if (server.flavour == Flavour::kMariaDb) {
    statements.emplace_back(
        "SET SESSION max_statement_time=0, idle_transaction_timeout=0, idle_readonly_transaction_timeout=0,"
        " idle_write_transaction_timeout=0, system_versioning_asof=DEFAULT");
  } else {
    // A generated invisible primary key is in every row image, so it must be seen.
    statements.emplace_back(
        "SET SESSION max_execution_time=0, information_schema_stats_expiry=0,"
        " show_gipk_in_create_table_and_information_schema=ON");
  }
  if (raw_text) statements.emplace_back("SET SESSION character_set_results=NULL");
  return statements;
}

std::vector<std::string> snapshot_statements(const ServerVersion&) {
  // Both servers open the read view in the second statement; REPEATABLE READ alone keeps it for the whole
  // transaction.
  return {"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
          "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"};
}

std::vector<std::string> dump_statements(const ServerVersion& server, const DumpSettings& settings) {
  if (server.flavour == Flavour::kMariaDb) {
    return {
        // 4: we understand MariaDB's GTID events, so that the server sends them as they are.
        "SET @mariadb_slave_capability=4",
        "SET @master_binlog_checksum=@@global.binlog_checksum",
        fmt::format("SET @master_heartbeat_period={}", settings.heartbeat.count()),
        fmt::format("SET @slave_connect_state={}", quote_text(settings.position)),
        // Without strict mode the server would start at the next transaction it knows of when ours is
        // missing.
        "SET @slave_gtid_strict_mode=1",
        "SET @slave_gtid_ignore_duplicates=0",
    };
  }
  return {
      "SET @source_binlog_checksum=@@global.binlog_checksum",
      fmt::format("SET @source_heartbeat_period={}", settings.heartbeat.count()),
      fmt::format("SET @replica_uuid={}", quote_text(settings.replica_uuid)),
  };
}

std::string quote_name(std::string_view name) {
  return quoted(name, '`', false);
}
std::string quote_text(std::string_view text) {
  return quoted(text, '\'', true);
}

}  // namespace ringside::writer
