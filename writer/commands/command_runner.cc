#include "writer/commands/command_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/log.h"
#include "http/json_text.h"
#include "writer/commands/bookkeeping.h"
#include "writer/commands/database_errors.h"
#include "writer/commands/row_json.h"
#include "writer/commands/sql_text.h"
#include "writer/source/dialect.h"

namespace ringside::writer {
namespace {

using Clock = std::chrono::steady_clock;

// Other classes cannot get better by trying again.
unsigned attempts_for(ErrorClass error) {
  switch (error) {
    case ErrorClass::kDeadlock:
      return kMaxAttempts;
    case ErrorClass::kLockWait:
      return 3;  // each has waited for kLockWaitTimeout
    case ErrorClass::kInterrupted:
      return 3;  // somebody means it
    case ErrorClass::kLost:
      return 3;  // an idle connection that the server had closed, and a restart
    default:
      return 1;
  }
}

// 1 to 16 ms at first, doubling: long enough for the other transaction, spread so that two do not meet again.
void pause_before(unsigned next_attempt, const CommandId& random) {
  const std::uint32_t spread = 1 + load_le<std::uint32_t>(random.data()) % 16;
  std::this_thread::sleep_for(std::chrono::milliseconds(spread << (next_attempt - 2)));
}

std::vector<SqlValue> parameters(std::span<const ColumnValue> first,
                                 std::span<const ColumnValue> second = {}) {
  std::vector<SqlValue> values;
  values.reserve(first.size() + second.size());
  for (const ColumnValue& each : first) values.push_back(each.value);
  for (const ColumnValue& each : second) values.push_back(each.value);
  return values;
}

const SqlValue* find_value(std::span<const ColumnValue> values, std::uint32_t column) {
  const auto it =
      std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.column == column; });
  return it == values.end() ? nullptr : &it->value;
}

// As a URL's segment part: shm/key.h's text form, percent-encoded.
void append_key_text(const shm::Column& column, const SqlValue& value, std::string& out) {
  std::string text;
  if (column.kind == shm::ValueKind::kText) {
    text = value.bytes;
  } else {
    append_json_of(column, value, text);
    if (text.starts_with('"')) text = text.substr(1, text.size() - 2);
    if (column.kind == shm::ValueKind::kBinary) {
      std::replace(text.begin(), text.end(), '+', '-');
      std::replace(text.begin(), text.end(), '/', '_');
      text.erase(std::min(text.find('='), text.size()));
    }
  }
  append_percent_encoded(text, out);
}

// The row's key after the command; leaves "null" when the server alone knows it.
void describe_key(const Command& command, Finished& finished) {
  const shm::Table& table = *command.table;
  std::string json;
  std::string path = "/v1/";
  append_percent_encoded(table.name, path);
  char before = '/';
  for (const shm::KeyColumn& key : table.key) {
    const SqlValue* value = find_value(command.values, key.column);
    if (value == nullptr) value = find_value(command.key, key.column);
    if (value == nullptr || value->type == SqlValue::Type::kNull) return;
    const shm::Column& column = table.shape.columns[key.column];
    if (!json.empty()) json += ',';
    append_json_of(column, *value, json);
    path += before;
    before = ',';
    append_key_text(column, *value, path);
  }
  finished.key_json = table.key.size() == 1 ? json : '[' + json + ']';
  finished.location = std::move(path);
}

Refusal check_put(const Command& command) {
  for (const ColumnValue& key : command.key) {
    const SqlValue* given = find_value(command.values, key.column);
    if (given != nullptr && !(*given == key.value)) {
      const std::string& name = command.table->shape.columns[key.column].name;
      return bad_value(
          name,
          fmt::format("column '{}' is part of the key: it must be as in the path, or be left out", name));
    }
  }
  return std::nullopt;
}

Finished refused(Answer answer) {
  Finished finished;
  finished.answer = std::move(answer);
  return finished;
}

Answer outcome_unknown(const CommandId& id) {
  const std::string text = hex(id);
  return make_problem(
      {.status = 504,
       .type = "outcome-unknown",
       .title = "It is not known whether the command was committed",
       .detail = fmt::format("the connection to the database was lost in COMMIT. Once the database can "
                             "be reached: SELECT 1 FROM `ringside`.`commands` WHERE `id` = "
                             "UNHEX('{}'); a row means that it was committed",
                             text)});
}

}  // namespace

std::string_view to_string(Operation operation) {
  switch (operation) {
    case Operation::kInsert:
      return "insert";
    case Operation::kPut:
      return "put";
    case Operation::kPatch:
      return "patch";
    case Operation::kDelete:
      return "delete";
    case Operation::kRead:
      return "read";
  }
  return "unknown";
}

Refusal prepare(Operation operation, std::shared_ptr<const Schema> schema, std::string_view raw_table,
                std::string_view raw_key, std::string_view body, Command& out) {
  if (schema == nullptr) {
    return unavailable("starting", "The writer is starting", "the database's tables have not been read yet",
                       1);
  }
  std::string name;
  if (!percent_decode(raw_table, name))
    return bad_request("the table's name is not UTF-8 in percent-encoding");
  out.operation = operation;
  out.table = schema->find(name);
  if (out.table == nullptr) return unknown_table(name);
  out.schema = std::move(schema);
  if (out.table->state == shm::TableState::kQuarantined) {
    return unavailable("quarantined", "The table is quarantined", out.table->reason, 0);
  }
  if (operation != Operation::kInsert) {
    auto refusal = parse_key(*out.table, raw_key, out.key);
    if (refusal && refusal->status == 404 && operation == Operation::kPut) {
      return bad_value("", "the table cannot hold a row of this key");
    }
    if (refusal) return refusal;
  }
  if (operation == Operation::kDelete || operation == Operation::kRead) return std::nullopt;
  if (auto refusal = parse_row(*out.table, body, out.values)) return refusal;
  return operation == Operation::kPut ? check_put(out) : std::nullopt;
}

Answer success_answer(const Finished& finished, const std::optional<CommittedAs>& version,
                      StreamState stream) {
  Answer answer;
  answer.status = finished.created ? 201 : 200;
  if (finished.created) answer.location = finished.location;
  std::string& out = answer.body;
  if (version) {
    fmt::format_to(std::back_inserter(out), R"({{"success":true,"version":{},"gtid":)",
                   version->version.value());
    http::append_json_string_lossy(version->gtid, out);
  } else {
    fmt::format_to(std::back_inserter(out), R"({{"success":true,"version":null,"gtid":null,"stream":"{}")",
                   stream == StreamState::kFollowing ? "late" : to_string(stream));
  }
  out += R"(,"key":)";
  out += finished.key_json;
  out += '}';
  return answer;
}

// One transaction.
struct CommandRunner::Attempt {
  enum class Outcome : std::uint8_t { kCommitted, kRefused, kFailed, kUnknown };

  Outcome outcome = Outcome::kFailed;
  CommandId id{};
  Finished finished;    // kCommitted, kUnknown (then what it would be); kRefused: its answer
  DatabaseError error;  // kFailed
  bool raced = false;   // kFailed: a PUT found no row, and another transaction then made one
};

CommandRunner::CommandRunner(CommandTracker& tracker, std::chrono::milliseconds version_wait)
    : tracker_(tracker), version_wait_(version_wait) {}

Finished CommandRunner::run(PooledSession& pooled, const Command& command) {
  if (Clock::now() - command.received > kCommandTime) {
    return refused(unavailable("busy", "The writer is busy",
                               "nothing was changed; the command waited too long for a session", 1));
  }
  if (command.operation == Operation::kRead) return read(pooled, command);
  for (unsigned number = 1;; ++number) {
    if (auto status = pooled.connect()) {
      return refused(unavailable("database-unavailable", "The database cannot be reached",
                                 "nothing was changed: " + status->message, 1, status->number));
    }
    const std::string server = pooled.get().server_identity();
    Attempt made = attempt(pooled.get(), command);
    switch (made.outcome) {
      case Attempt::Outcome::kCommitted:
      case Attempt::Outcome::kRefused:
        return std::move(made.finished);
      case Attempt::Outcome::kUnknown:
        return settle(pooled, std::move(made), server);
      case Attempt::Outcome::kFailed:
        break;
    }
    const unsigned attempts = made.raced ? 3 : attempts_for(classify(made.error));
    if (number >= attempts || Clock::now() - command.received > kCommandTime) {
      return refused(answer_for(made.error, command.table->name));
    }
    pause_before(number + 1, made.id);
  }
}

Finished CommandRunner::read(PooledSession& pooled, const Command& command) {
  const TableRef ref{command.schema->database, command.table};
  std::vector<Row> rows;
  for (unsigned number = 1;; ++number) {
    if (auto status = pooled.connect()) {
      return refused(unavailable("database-unavailable", "The database cannot be reached", status->message, 1,
                                 status->number));
    }
    const auto status = pooled.get().query(select_sql(ref, command.key), parameters(command.key), rows);
    pooled.get().rollback();
    if (!status) break;
    if (number >= attempts_for(classify(*status))) return refused(answer_for(*status, command.table->name));
    pause_before(number + 1, make_command_id());
  }
  if (rows.empty()) return refused(missing_row(command.table->name));
  Finished finished;
  if (auto made = append_row_json(command.table->shape, rows.front(), finished.answer.body); !made) {
    return refused(make_problem({.status = 500,
                                 .type = "not-exact",
                                 .title = "The row cannot be shown exactly",
                                 .detail = made.error().message}));
  }
  return finished;
}

CommandRunner::Attempt CommandRunner::attempt(Session& session, const Command& command) {
  using Outcome = Attempt::Outcome;
  Attempt made;
  made.id = make_command_id();
  const auto failed = [&](DatabaseError error) {
    session.rollback();
    made.outcome = Outcome::kFailed;
    made.error = std::move(error);
    return std::move(made);
  };

  std::shared_ptr<const TableDetails> details;
  const TableRef ref{command.schema->database, command.table};
  if (auto status = details_.get(session, ref, details)) return failed(*std::move(status));
  if (!details->engine.empty() && !details->is_transactional) {
    // Without transactions there is no "all or nothing", and no attempt may be repeated.
    made.outcome = Outcome::kRefused;
    made.finished = refused(
        make_problem({.status = 409,
                      .type = "not-transactional",
                      .title = "The table has no transactions",
                      .detail = fmt::format("commands need them: ALTER TABLE {} ENGINE=InnoDB (it is {} now)",
                                            quote_name(command.table->name), details->engine)}));
    return made;
  }

  describe_key(command, made.finished);
  if (auto status = apply(session, command, *details, made)) return failed(*std::move(status));
  if (made.outcome == Outcome::kRefused) {
    session.rollback();
    return made;
  }
  if (auto status = write_marker(session, made.id)) return failed(*std::move(status));

  made.finished.id = made.id;
  made.outcome = Outcome::kCommitted;
  if (auto status = session.commit()) {
    made.outcome = Outcome::kUnknown;
    made.error = *std::move(status);
  }
  return made;
}

DatabaseStatus CommandRunner::apply(Session& session, const Command& command, const TableDetails& details,
                                    Attempt& made) {
  const TableRef ref{command.schema->database, command.table};
  std::uint64_t found = 0;
  switch (command.operation) {
    case Operation::kInsert: {
      auto status = session.execute(insert_sql(ref, command.values), parameters(command.values), found);
      if (status) return status;
      made.finished.created = true;
      const SqlValue* given =
          details.auto_increment ? find_value(command.values, *details.auto_increment) : nullptr;
      if (!details.auto_increment || (given != nullptr && given->type != SqlValue::Type::kNull))
        return std::nullopt;
      // The server has numbered the row: the command, completed by that number, describes its key.
      std::vector<Row> rows;
      if ((status = session.query("SELECT LAST_INSERT_ID()", {}, rows))) return status;
      Command completed = command;
      std::erase_if(completed.values, [&](const auto& v) { return v.column == *details.auto_increment; });
      JsonValue number;
      number.type = JsonValue::Type::kNumber;
      number.raw = rows.at(0).at(0).text;
      auto value = sql_value_from_json(command.table->shape.columns[*details.auto_increment], number);
      if (value) completed.values.push_back({*details.auto_increment, std::move(value).value()});
      describe_key(completed, made.finished);
      return std::nullopt;
    }
    case Operation::kPut:
      return put(session, command, details, made);
    case Operation::kPatch: {
      auto status = session.execute(update_sql(ref, command.values, {}, command.key),
                                    parameters(command.values, command.key), found);
      if (status) return status;
      break;
    }
    case Operation::kDelete: {
      if (auto status = session.execute(delete_sql(ref, command.key), parameters(command.key), found))
        return status;
      break;
    }
    case Operation::kRead:
      break;  // never here
  }
  if (found == 0) {
    made.outcome = Attempt::Outcome::kRefused;
    made.finished = refused(missing_row(command.table->name));
  }
  return std::nullopt;
}

// An UPDATE by key is the locking read: it counts the rows it found, changed or not. REPLACE would fire
// deletes, and ON DUPLICATE KEY UPDATE would overwrite another row that shares a different unique key.
DatabaseStatus CommandRunner::put(Session& session, const Command& command, const TableDetails& details,
                                  Attempt& made) {
  const TableRef ref{command.schema->database, command.table};
  std::vector<ColumnValue> values;
  for (const ColumnValue& value : command.values) {
    if (find_value(command.key, value.column) == nullptr) values.push_back(value);
  }
  std::vector<std::uint32_t> defaults;
  for (std::uint32_t i = 0; i < command.table->shape.columns.size(); ++i) {
    const bool keeps = details.is_generated[i] || details.auto_increment == i;
    if (!keeps && find_value(command.key, i) == nullptr && find_value(values, i) == nullptr)
      defaults.push_back(i);
  }
  std::uint64_t found = 0;
  auto status =
      session.execute(update_sql(ref, values, defaults, command.key), parameters(values, command.key), found);
  if (status || found != 0) return status;

  std::vector<ColumnValue> row = command.key;
  row.insert(row.end(), values.begin(), values.end());
  std::sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.column < b.column; });
  status = session.execute(insert_sql(ref, row), parameters(row), found);
  made.raced = status && classify(*status) == ErrorClass::kDuplicateKey;
  made.finished.created = !status;
  return status;
}

Finished CommandRunner::settle(PooledSession& pooled, Attempt made, const std::string& server) {
  log_warning(
      "the connection was lost in COMMIT; looking for the command's outcome",
      {{"command", hex(made.id)}, {"mysql_error", made.error.number}, {"reason", made.error.message}});
  constexpr std::chrono::milliseconds kPause{50};
  const auto end = Clock::now() + std::max<std::chrono::milliseconds>(version_wait_, kSettleTime);
  do {
    if (!pooled.connect() && pooled.get().server_identity() == server) {
      bool found = false;
      const auto status = find_marker(pooled.get(), made.id, found);
      if (!status && found) return std::move(made.finished);
      if (!status) {
        return refused(
            unavailable("database-unavailable", "The connection to the database was lost",
                        "nothing was changed: the transaction was rolled back. " + made.error.message, 1,
                        made.error.number));
      }
    }
    if (tracker_.stream_state() == StreamState::kStopped) std::this_thread::sleep_for(kPause);
    if (auto seen = tracker_.wait_for(made.id, kPause)) {
      made.finished.version = std::move(seen);
      return std::move(made.finished);
    }
  } while (Clock::now() < end);
  log_error("the outcome of a command stays unknown", {{"command", hex(made.id)}});
  return refused(outcome_unknown(made.id));
}

}  // namespace ringside::writer
