// What a command must know of a table beyond the ring's schema: which column numbers itself, which are
// computed, and whether its engine has transactions at all.
//
// Read from information_schema once per incarnation and kept.
//
// Threads: any.   Ownership: callers share what they get.
// Errors: DatabaseStatus of the query.   Limits: kMaxTableDetails tables are kept; beyond, all are read
// again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "writer/commands/session.h"
#include "writer/commands/sql_text.h"

namespace ringside::writer {

inline constexpr std::size_t kMaxTableDetails = 4096;

struct TableDetails {
  std::optional<std::uint32_t> auto_increment;  // index of the column
  std::vector<bool> is_generated;               // by column
  bool is_transactional = false;
  std::string engine;
};

class TableDetailsCache {
 public:
  // Ends the session's transaction when it has to ask; call it before the first statement.
  [[nodiscard]] DatabaseStatus get(Session& session, TableRef ref, std::shared_ptr<const TableDetails>& out);

 private:
  using Key = std::pair<TableId, ShapeId>;

  std::mutex mutex_;
  std::map<Key, std::shared_ptr<const TableDetails>> known_;  // under mutex_
};

}  // namespace ringside::writer
