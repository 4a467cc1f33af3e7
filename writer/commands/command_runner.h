// A command's life on a session: from an understood request to a commit that is known, or to an answer that
// says why not.
//
//   prepare()   request → Command, or the refusal (the HTTP thread; no MySQL)
//   run()       Command → Finished (a pool thread): the statements, the marker row, COMMIT. Deadlocks, lock
//   waits and
//               connections lost before COMMIT are tried again: nothing of them has remained.
//   success_answer()   Finished and what the stream said → Answer
//
// A connection lost in COMMIT leaves the outcome open. It is settled by whichever speaks first: the stream,
// where the marker proves the commit; or a locking read of the marker on a new connection to the same server,
// which waits for a transaction still under way and so proves either outcome. If neither does in time:
// problem type outcome-unknown.
//
// A transaction's result is all or nothing in every case; a client that has hung up changes nothing about
// that.
//
// Threads: CommandRunner may be used by all pool threads at once; prepare() and success_answer() are pure.
// Ownership: a Command shares the schema it was prepared with.
// Errors: answers, never exceptions.
// Limits: kMaxAttempts, kCommandTime, kSettleTime.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/schema.h"
#include "writer/commands/answer.h"
#include "writer/commands/command_tracker.h"
#include "writer/commands/row_input.h"
#include "writer/commands/schema_view.h"
#include "writer/commands/session_pool.h"
#include "writer/commands/table_details.h"

namespace ringside::writer {

inline constexpr unsigned kMaxAttempts = 6;
inline constexpr std::chrono::seconds kCommandTime{10};  // after it nothing is tried again
inline constexpr std::chrono::seconds kSettleTime{3};  // at least this long an unknown outcome is looked into

enum class Operation : std::uint8_t { kInsert, kPut, kPatch, kDelete, kRead };
std::string_view to_string(Operation operation);

struct Command {
  Operation operation = Operation::kRead;
  std::shared_ptr<const Schema> schema;
  const shm::Table* table = nullptr;  // within *schema
  std::vector<ColumnValue> key;       // empty for kInsert
  std::vector<ColumnValue> values;    // by column
  std::chrono::steady_clock::time_point received;
};

// `raw_table` and `raw_key` are path segments as sent. `schema` may be null: capture has not read it yet.
Refusal prepare(Operation operation, std::shared_ptr<const Schema> schema, std::string_view raw_table,
                std::string_view raw_key, std::string_view body, Command& out);

struct Finished {
  // Committed under this id. When absent, `answer` is the answer: of a read, or a problem.
  std::optional<CommandId> id;
  std::optional<CommittedAs> version;  // known already; else to be awaited
  Answer answer;
  bool created = false;
  std::string key_json = "null";  // a value; an array of values for a composite key
  std::string location;           // of a created row
};

// `version`: empty when the stream did not bring the marker in time.
Answer success_answer(const Finished& finished, const std::optional<CommittedAs>& version,
                      StreamState stream);

class CommandRunner {
 public:
  CommandRunner(CommandTracker& tracker, std::chrono::milliseconds version_wait);

  Finished run(PooledSession& pooled, const Command& command);

 private:
  struct Attempt;

  Finished read(PooledSession& pooled, const Command& command);
  Attempt attempt(Session& session, const Command& command);
  DatabaseStatus apply(Session& session, const Command& command, const TableDetails& details,
                       Attempt& attempt);
  DatabaseStatus put(Session& session, const Command& command, const TableDetails& details, Attempt& attempt);
  Finished settle(PooledSession& pooled, Attempt attempt, const std::string& server);

  CommandTracker& tracker_;
  const std::chrono::milliseconds version_wait_;
  TableDetailsCache details_;
};

}  // namespace ringside::writer
