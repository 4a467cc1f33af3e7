#include "writer/commands/table_details.h"

#include <algorithm>
#include <array>

namespace ringside::writer {

DatabaseStatus TableDetailsCache::get(Session& session, TableRef ref,
                                      std::shared_ptr<const TableDetails>& out) {
  const Key key{ref.table->id, ref.table->shape.id};
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = known_.find(key); it != known_.end()) {
      out = it->second;
      return std::nullopt;
    }
  }
  const std::array<SqlValue, 2> names{SqlValue::of_text(std::string(ref.database)),
                                      SqlValue::of_text(ref.table->name)};
  std::vector<Row> rows;
  auto status = session.query(
      "SELECT c.COLUMN_NAME, c.EXTRA, t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t "
      "JOIN information_schema.COLUMNS c ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME "
      "LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = ? AND "
      "t.TABLE_NAME = ?",
      names, rows);
  session.rollback();
  if (status) return status;

  auto details = std::make_shared<TableDetails>();
  const std::vector<shm::Column>& columns = ref.table->shape.columns;
  details->is_generated.resize(columns.size());
  for (const Row& row : rows) {
    details->engine = row.at(2).text;
    details->is_transactional = row.at(3).text == "YES";
    const auto column =
        std::find_if(columns.begin(), columns.end(), [&](const auto& c) { return c.name == row[0].text; });
    if (column == columns.end()) continue;  // newer than the schema that capture knows
    const auto index = static_cast<std::uint32_t>(column - columns.begin());
    const std::string& extra = row.at(1).text;
    if (extra.find("auto_increment") != std::string::npos) details->auto_increment = index;
    // "DEFAULT_GENERATED" is MySQL's word for a default that is an expression.
    details->is_generated[index] = extra.find("VIRTUAL") != std::string::npos ||
                                   extra.find("STORED") != std::string::npos ||
                                   extra.find("PERSISTENT") != std::string::npos;
  }
  out = details;
  // A table that is not there (any more) is asked for again next time.
  if (rows.empty()) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (known_.size() >= kMaxTableDetails) known_.clear();
  known_.emplace(key, std::move(details));
  return std::nullopt;
}

}  // namespace ringside::writer
