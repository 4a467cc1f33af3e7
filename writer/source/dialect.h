// What differs between MariaDB and MySQL as a source, in one place: which server it is, and the statements
// that prepare a session, open a consistent snapshot and announce a binlog dump. What the two call settings
// and privileges is in checks.cc; the events themselves are the decoder's.
//
// Threads: pure functions.   Ownership: values.
// Errors: kUnsupported for a server that is neither.   Limits: none of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ringside::writer {

enum class Flavour : std::uint8_t { kMariaDb, kMySql };
std::string_view to_string(Flavour flavour);

struct ServerVersion {
  Flavour flavour = Flavour::kMariaDb;
  unsigned major = 0;
  unsigned minor = 0;
  unsigned patch = 0;
  std::string text;  // as the server says it: "10.11.19-MariaDB-log"

  bool is_at_least(unsigned want_major, unsigned want_minor) const {
    return major != want_major ? major > want_major : minor >= want_minor;
  }
};
// From VERSION(): "10.11.19-MariaDB-0+deb12u1-log", "9.7.4".
Result<ServerVersion> parse_server_version(std::string_view text);

// Statements for a new session of ours, so that no server default can bend what it reads: UTC, an empty
// sql_mode, no row limit, no time-out for a long read. `raw_text`: results carry each column's own bytes,
// unconverted; otherwise UTF-8.
std::vector<std::string> session_statements(const ServerVersion& server, bool raw_text);

// Opens the read view of a consistent snapshot.
std::vector<std::string> snapshot_statements(const ServerVersion& server);

// What the server wants to know before a dump. `position`: a MariaDB GTID position, already checked to be
// one. `checksum`: the name @@global.binlog_checksum has.
struct DumpSettings {
  std::string position;
  std::chrono::nanoseconds heartbeat{};
  std::string replica_uuid;  // MySQL: our identity beside server_id
};
std::vector<std::string> dump_statements(const ServerVersion& server, const DumpSettings& settings);

// `shop` → `` `shop` ``, with backquotes doubled.
std::string quote_name(std::string_view name);
// it's → 'it''s'. For sessions prepared with session_statements(): backslashes are doubled as well, since the
// empty sql_mode reads them as escapes. Names and settings only, in UTF-8.
std::string quote_text(std::string_view text);

}  // namespace ringside::writer
