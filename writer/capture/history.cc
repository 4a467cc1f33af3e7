#include "writer/capture/history.h"

#include <fmt/format.h>
#include <mariadb/mysqld_error.h>

#include "writer/commands/bookkeeping.h"
#include "writer/commands/session.h"
#include "writer/commands/sql_value.h"

namespace ringside::writer {
namespace {

DatabaseStatus remove(Session& session, const std::string& lost) {
  DatabaseStatus status = session.connect();
  if (status) return status;
  const SqlValue id = SqlValue::of_text(lost);
  std::uint64_t found = 0;
  status = session.execute("DELETE FROM `ringside`.`history` WHERE `id` = UNHEX(?)", {&id, 1}, found);
  // A source that was restored from a copy of long ago may not have known us then.
  if (status && (status->number == ER_NO_SUCH_TABLE || status->number == ER_BAD_DB_ERROR))
    return std::nullopt;
  return status ? status : session.commit();
}

}  // namespace

Result<std::string> source_history(const MysqlConfig& mysql, const std::string& lost) {
  Session session(mysql);
  if (!lost.empty()) {
    if (const DatabaseStatus status = remove(session, lost)) {
      return Error{ErrorKind::kUnavailable,
                   "the id of the history that was lost cannot be replaced: " + status->message};
    }
  }
  RINGSIDE_ASSIGN(const HistoryId id, ensure_schema(session));
  std::string hex;
  for (const std::byte byte : id) hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return hex;
}

}  // namespace ringside::writer
