// Ringside's own tables in the database server, in a database named `ringside`:
//
//   commands  one row per command of late, written in the command's own transaction. `id` is the first
//   column; capture
//             recognises the row in the binlog by it.
//   history   one row for ever: identifies the history that versions belong to. A server set up anew has
//   another one.
//
// Both must be in the binlog: a replication filter that leaves out `ringside` makes every version unknown.
//
// Threads: as the session given.   Ownership: none.
// Errors: kUnavailable when the server cannot be reached, kInvalid naming the statement that mends a missing
// privilege.   Limits: kPruneBatch rows per transaction.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "writer/commands/command_tracker.h"
#include "writer/commands/session.h"

namespace ringside::writer {

inline constexpr std::string_view kBookkeepingDatabase = "ringside";
inline constexpr std::string_view kCommandsTable = "commands";
inline constexpr std::size_t kPruneBatch = 500;
inline constexpr std::size_t kPruneBatches = 200;  // of one call

using HistoryId = std::array<std::byte, 16>;

// Creates what is missing (nothing is written when all is there) and reads the history's id. Safe on several
// hosts at once. Connects the session.
Result<HistoryId> ensure_schema(Session& session);

// The id as UNHEX() takes it.
std::string hex(const CommandId& id);

// Writes the marker row of a command into the session's transaction.
[[nodiscard]] DatabaseStatus write_marker(Session& session, const CommandId& id);

// Whether the marker's transaction has been committed, by a locking read: it waits for a transaction that is
// still under way, so "absent" means that it will never be there. Ends the session's transaction.
[[nodiscard]] DatabaseStatus find_marker(Session& session, const CommandId& id, bool& found);

// Deletes markers older than `retention`, in transactions of kPruneBatch; at most kPruneBatches of them.
[[nodiscard]] DatabaseStatus prune_commands(Session& session, std::chrono::milliseconds retention,
                                            std::uint64_t& deleted);

}  // namespace ringside::writer
