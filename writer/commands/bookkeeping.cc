#include "writer/commands/bookkeeping.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "writer/commands/database_errors.h"

namespace ringside::writer {
namespace {

SqlValue bytes_value(Bytes bytes) {
  return SqlValue::of_bytes(std::string(as_text(bytes)));
}

Error start_up_error(const DatabaseError& error, std::string_view doing) {
  if (classify(error) == ErrorClass::kNotAllowed) {
    return {
        ErrorKind::kInvalid,
        fmt::format(
            "mysql.user lacks a privilege for {}: {}. Mend it with: GRANT SELECT, INSERT, UPDATE, DELETE, "
            "CREATE ON `ringside`.* TO the user of mysql.user",
            doing, error.message)};
  }
  return {ErrorKind::kUnavailable, fmt::format("{}: MySQL error {}: {}", doing, error.number, error.message)};
}

// Runs a query whose answer is a count.
DatabaseStatus count(Session& session, const std::string& sql, std::uint64_t& number) {
  std::vector<Row> rows;
  auto status = session.query(sql, {}, rows);
  number = 0;
  if (!status && !rows.empty() && rows[0].at(0).text != "0") number = 1;
  return status;
}

// The statements say IF NOT EXISTS for the case that another host's writer comes at the same time; they are
// not run at all when the tables are there, so that a restart neither writes to the binlog nor needs the
// privilege to create.
DatabaseStatus create_missing(Session& session) {
  std::uint64_t exists = 0;
  auto status =
      count(session,
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'ringside' AND TABLE_NAME "
            "= 'commands'",
            exists);
  if (status) return status;
  if (exists == 0) {
    if ((status = session.run("CREATE DATABASE IF NOT EXISTS `ringside`"))) return status;
    status = session.run(
        "CREATE TABLE IF NOT EXISTS `ringside`.`commands` ("
        "`id` BINARY(16) NOT NULL, `created` TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), "
        "PRIMARY KEY (`id`), KEY `created` (`created`)) ENGINE=InnoDB "
        "COMMENT='Ringside: one row per recent command, pruned by age'");
    if (status) return status;
  }
  status =
      count(session,
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'ringside' AND TABLE_NAME = "
            "'history'",
            exists);
  if (status || exists != 0) return status;
  return session.run(
      "CREATE TABLE IF NOT EXISTS `ringside`.`history` ("
      "`id` BINARY(16) NOT NULL, `only` TINYINT NOT NULL DEFAULT 1, "
      "`created` TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), "
      "PRIMARY KEY (`only`)) ENGINE=InnoDB COMMENT='Ringside: one row, identifies the history of versions'");
}

}  // namespace

Result<HistoryId> ensure_schema(Session& session) {
  if (auto status = session.connect()) return start_up_error(*status, "connecting to the database");
  if (auto status = create_missing(session))
    return start_up_error(*status, "creating the tables of `ringside`");

  std::vector<Row> rows;
  const std::string read = "SELECT `id` FROM `ringside`.`history` WHERE `only` = 1";
  if (auto status = session.query(read, {}, rows))
    return start_up_error(*status, "reading `ringside`.`history`");
  if (rows.empty()) {
    const CommandId fresh = make_command_id();
    const SqlValue value = bytes_value(fresh);
    std::uint64_t found = 0;
    // The first of several hosts wins; IGNORE lets the others pass and read what it wrote.
    auto status = session.execute("INSERT IGNORE INTO `ringside`.`history` (`id`, `only`) VALUES (?, 1)",
                                  {&value, 1}, found);
    if (!status) status = session.commit();
    if (!status) status = session.query(read, {}, rows);
    if (status) return start_up_error(*status, "writing `ringside`.`history`");
  }
  session.rollback();

  HistoryId id{};
  if (rows.size() != 1 || rows[0].at(0).text.size() != id.size()) {
    return Error{ErrorKind::kCorrupt,
                 "`ringside`.`history` must hold one row with an id of 16 bytes. Mend it with: DROP TABLE "
                 "`ringside`.`history`, and start the writer again (all ETags and tokens become invalid)"};
  }
  const Bytes bytes = as_bytes(rows[0][0].text);
  std::copy(bytes.begin(), bytes.end(), id.begin());
  return id;
}

std::string hex(const CommandId& id) {
  std::string text;
  for (const std::byte b : id)
    fmt::format_to(std::back_inserter(text), "{:02x}", std::to_integer<unsigned>(b));
  return text;
}

// As hexadecimal digits: bytes would go ahead of the statement as long data, in a packet of their own that wakes the
// server once more for each command.
DatabaseStatus write_marker(Session& session, const CommandId& id) {
  const SqlValue value = SqlValue::of_text(hex(id));
  std::uint64_t found = 0;
  return session.execute("INSERT INTO `ringside`.`commands` (`id`) VALUES (UNHEX(?))", {&value, 1}, found);
}

DatabaseStatus find_marker(Session& session, const CommandId& id, bool& found) {
  const SqlValue value = bytes_value(id);
  std::vector<Row> rows;
  auto status = session.query("SELECT `id` FROM `ringside`.`commands` WHERE `id` = ? LOCK IN SHARE MODE",
                              {&value, 1}, rows);
  found = !status && !rows.empty();
  session.rollback();
  return status;
}

DatabaseStatus prune_commands(Session& session, std::chrono::milliseconds retention, std::uint64_t& deleted) {
  deleted = 0;
  const SqlValue age =
      SqlValue::of_int64(std::chrono::duration_cast<std::chrono::seconds>(retention).count());
  for (std::size_t batch = 0; batch < kPruneBatches; ++batch) {
    std::uint64_t found = 0;
    auto status = session.execute(
        fmt::format("DELETE FROM `ringside`.`commands` WHERE `created` < CURRENT_TIMESTAMP(6) "
                    "- INTERVAL ? SECOND ORDER BY `created` LIMIT {}",
                    kPruneBatch),
        {&age, 1}, found);
    if (status || found == 0) {
      session.rollback();
      return status;
    }
    if ((status = session.commit())) return status;
    deleted += found;
    if (found < kPruneBatch) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace ringside::writer
