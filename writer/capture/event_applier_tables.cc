// The half of EventApplier that knows tables: statements, table maps, rows, and what is refused.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "writer/capture/event_applier.h"

namespace ringside::writer {
namespace {

constexpr std::string_view kBookkeeping = "ringside";
constexpr std::string_view kMarkerTable = "commands";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lowered(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), lower);
  return text;
}

// Equal for all spellings of a name that some server's lower_case_table_names may call the same: a statement has the name
// as it was typed. Characters beyond ASCII, whose cases are the server's secret, are all alike. Too many names matched
// cost a load that was not needed; one too few would be served wrong.
std::string folded(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x80) {
      text += lower(c);
    } else if (text.empty() || text.back() != '\x7f') {
      text += '\x7f';
    }
  }
  return text;
}

bool read_names(Bytes map_body, std::string_view& schema, std::string_view& table) {
  ByteReader reader(map_body);
  schema = reader.text(reader.u8());
  reader.skip(1);
  table = reader.text(reader.u8());
  return reader.ok();
}

std::string_view name_of(binlog::RowsOperation operation) {
  switch (operation) {
    case binlog::RowsOperation::kWrite:
      return "write";
    case binlog::RowsOperation::kUpdate:
      return "update";
    case binlog::RowsOperation::kDelete:
      return "delete";
  }
  return "rows";
}

// MySQL names an XA transaction by X'<hex>',X'<hex>',<format> in the statement that decides it, and by the same three in
// the event that prepares it.
std::string xa_key_of(std::string_view statement) {
  const std::size_t at = statement.find_first_of("xX", statement.find_first_of(" ", statement.find(' ') + 1));
  return at == std::string_view::npos ? std::string() : lowered(statement.substr(at));
}

std::string xa_key_of(const binlog::XaPrepare& prepare) {
  const auto hex = [](std::string_view bytes) {
    std::string text;
    for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return text;
  };
  return fmt::format("x'{}',x'{}',{}", hex(prepare.gtrid), hex(prepare.bqual), prepare.format);
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- statements

EventApplier::Outcome EventApplier::on_query(const binlog::Query& query, const binlog::EventHeader& header) {
  const Statement statement = classify(query.sql, {query.schema, query.sql_mode, query.client_collation});
  if (!is_inside_) {
    if (statement.kind == StatementKind::kHarmless || statement.kind == StatementKind::kRollback)
      return Outcome::kGoOn;
    return fail(Outcome::kFailed, fmt::format("the source sent a statement outside of a transaction: {}",
                                              query.sql.substr(0, 200)));
  }
  if (shows_by_query_) {
    is_standalone_ = statement.kind != StatementKind::kBegin && statement.kind != StatementKind::kXaStart;
    shows_by_query_ = false;
    const bool decides_xa =
        statement.kind == StatementKind::kXaCommit || statement.kind == StatementKind::kXaRollback;
    if (decides_xa) xa_key_ = xa_key_of(query.sql);
  }
  add_to_checksum("query", nullptr, header.timestamp);
  add_to_checksum(as_bytes(query.sql));
  if (statement.kind == StatementKind::kCommit) return end();
  if (statement.kind == StatementKind::kRollback) {
    publisher_.rollback();
    markers_.clear();
    return end();
  }
  if (!is_passed_over_) {
    if (const Outcome outcome = on_statement(statement); outcome != Outcome::kGoOn) return outcome;
  }
  return is_standalone_ ? end() : Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::on_statement(const Statement& statement) {
  switch (statement.kind) {
    case StatementKind::kTableDdl:
      return on_named_tables(statement);
    case StatementKind::kDml:
      // Not only the tables it names: triggers and functions change others, and do not show.
      return refuse_all("a statement changed rows that the binlog does not show; being loaded anew");
    case StatementKind::kDatabaseDdl:
      for (const TableName& name : statement.tables) {
        if (folded(name.schema) == folded(options_.database)) {
          return refuse_all("its database's definition changed; being loaded anew");
        }
      }
      return Outcome::kGoOn;
    case StatementKind::kRollbackToSavepoint:
    case StatementKind::kUnknown:
      return refuse_all("a statement that is not understood may have changed it; being loaded anew");
    case StatementKind::kXaCommit:
    case StatementKind::kXaRollback:
      return on_xa_decided(statement.kind == StatementKind::kXaCommit);
    default:
      return Outcome::kGoOn;
  }
}

EventApplier::Outcome EventApplier::on_named_tables(const Statement& statement) {
  std::set<std::string> named;
  for (const TableName& name : statement.tables) {
    if (folded(name.schema) != folded(options_.database)) continue;
    named.insert(folded(name.table));
    for (const std::string& spelling : {name.table, lowered(name.table)}) {
      if (options_.is_chosen(spelling)) reloads_.names.insert(spelling);
    }
  }
  if (named.empty()) return Outcome::kGoOn;
  std::set<std::string> known;
  for (const shm::Table& table : publisher_.catalogue().tables) {
    if (named.contains(folded(table.name))) known.insert(table.name);
  }
  for (const std::string& name : known) {
    const Outcome outcome = refuse_and_reload(name, "its definition changed; being loaded anew");
    if (outcome != Outcome::kGoOn) return outcome;
  }
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::on_unsupported(const binlog::Event& event, std::string_view reason) {
  const std::string what =
      fmt::format("the source sent a {} event: {}", binlog::event_type_name(event.header.type), reason);
  if (!is_inside_) return fail(Outcome::kFailed, what);
  add_to_checksum(binlog::event_type_name(event.header.type), nullptr, event.header.timestamp);
  if (!is_passed_over_) {
    if (const Outcome outcome = refuse_all(what + "; being loaded anew"); outcome != Outcome::kGoOn)
      return outcome;
  }
  return is_standalone_ ? end() : Outcome::kGoOn;
}

// --------------------------------------------------------------------------------------------------------------- XA

// The rows came, and whether they count is decided later: their tables are not served until then.
EventApplier::Outcome EventApplier::on_xa_prepare(const binlog::XaPrepare& prepare) {
  if (prepare.is_one_phase) return end();
  if (!own_.is_empty()) xa_key_ = xa_key_of(prepare);
  const std::set<std::string> tables = touched_;
  publisher_.rollback();
  markers_.clear();
  if (!is_passed_over_) {
    for (const std::string& name : tables) {
      const Outcome outcome =
          refuse_and_reload(name, "an XA transaction is prepared on it; served again when that is decided");
      if (outcome != Outcome::kGoOn) return outcome;
      reloads_.names.erase(name);
    }
    prepared_[xa_key_] = tables;
  }
  return end();
}

EventApplier::Outcome EventApplier::on_xa_decided(bool is_commit) {
  const auto known = prepared_.find(xa_key_);
  if (known == prepared_.end()) {
    // Prepared before this process began, which loaded the tables anew without its rows.
    if (!is_commit) return Outcome::kGoOn;
    return refuse_all("an XA transaction of unknown contents was committed; being loaded anew");
  }
  const std::set<std::string> tables = std::move(known->second);
  prepared_.erase(known);
  for (const std::string& name : tables) {
    // Something else may have brought the table back meanwhile, without these rows.
    const Outcome outcome = refuse_and_reload(name, "an XA transaction was decided; being loaded anew");
    if (outcome != Outcome::kGoOn) return outcome;
  }
  return Outcome::kGoOn;
}

// -------------------------------------------------------------------------------------------------- what is refused

EventApplier::Outcome EventApplier::collecting_failed(const Error& error) {
  // Not kRingFull, whatever the kind: half a transaction has been collected, and must not be committed again.
  return fail(error.kind == ErrorKind::kLimit ? Outcome::kSpillFull : Outcome::kLater, error.message);
}

// The table is not served from this version on, and the stream goes on without it.
EventApplier::Outcome EventApplier::refuse(const std::string& name, const std::string& reason) {
  ++counters_.quarantines;
  refused_.insert(name);
  log_warning("a table is not served from this version on",
              {{"table", name}, {"version", version_.value()}, {"reason", reason}});
  heal_once(name, reason);
  const Result<void> added = publisher_.quarantine(name, reason);
  return added ? Outcome::kGoOn : collecting_failed(added.error());
}

// From this version on the name is not served until it has been loaded anew.
EventApplier::Outcome EventApplier::refuse_and_reload(const std::string& name, const std::string& reason) {
  reloads_.names.insert(name);
  refused_.insert(name);
  healed_.erase(name);
  forget_pending(name);
  if (publisher_.live_table(name) == nullptr) return Outcome::kGoOn;
  const Result<void> added = publisher_.quarantine(name, reason);
  return added ? Outcome::kGoOn : collecting_failed(added.error());
}

EventApplier::Outcome EventApplier::refuse_all(const std::string& reason) {
  log_warning("all tables are loaded anew", {{"gtid", gtid_}, {"reason", reason}});
  std::set<std::string> names;
  for (const shm::Table& table : publisher_.catalogue().tables) names.insert(table.name);
  for (const std::string& name : names) {
    if (const Outcome outcome = refuse_and_reload(name, reason); outcome != Outcome::kGoOn) return outcome;
  }
  reloads_.all = true;
  return Outcome::kGoOn;
}

// What was loaded for this name is out of date before it was ever served.
void EventApplier::forget_pending(const std::string& name) {
  if (!pending_) return;
  std::erase_if(pending_->live, [&](TableId id) {
    const shm::Table* table = publisher_.catalogue().find(id);
    if (table != nullptr && table->name != name) return false;
    if (table != nullptr) abandoned_.push_back(id);
    return true;
  });
  std::erase_if(pending_->quarantined, [&](const auto& each) { return each.first == name; });
  std::erase(pending_->dropped, name);
}

// A change of the table that the binlog did not show is mended by reading it again. When the same comes again, reading
// does not mend it: the table stays as it is until its definition changes or the writer starts.
void EventApplier::heal_once(const std::string& name, const std::string& reason) {
  if (healed_.size() >= kMaxHealed) healed_.clear();
  std::string& last = healed_[name];
  if (last == reason) return;
  last = reason;
  reloads_.names.insert(name);
}

// ------------------------------------------------------------------------------------------------------- table maps

EventApplier::Outcome EventApplier::on_table_map(const binlog::TableMapEvent& event) {
  std::string_view schema;
  std::string_view name;
  if (!read_names(event.body, schema, name))
    return fail(Outcome::kFailed, "the source sent a table map without names");
  add_to_checksum(event.body);
  const bool is_marker = schema == kBookkeeping && name == kMarkerTable;
  // One that was chosen before the configuration changed is served until it has been taken out.
  const bool is_chosen =
      schema == options_.database && (options_.is_chosen(name) || publisher_.live_table(name) != nullptr);
  if (is_chosen) touched_.emplace(name);

  Target& target = targets_[event.table_id];
  bool is_new = target.schema != schema || target.name != name;
  const binlog::TableMap* map = nullptr;
  if (is_marker || is_chosen) {
    const Result<const binlog::TableMaps::Entry*> entry = maps_.put(event);
    if (!entry) {
      target = Target{Role::kUnresolved, std::string(schema), std::string(name), is_chosen, nullptr, {}, {}};
      if (is_passed_over_ || !is_chosen || refused_.contains(target.name)) return Outcome::kGoOn;
      return refuse(target.name, entry.error().message);
    }
    is_new |= (*entry)->is_new;
    map = &(*entry)->map;
  }
  if (is_new) {
    target = Target{Role::kUnresolved, std::string(schema), std::string(name), is_chosen, nullptr, {}, {}};
  }
  // A table's shape may be of another time while it is passed over: it is looked at again when it counts.
  if (target.role != Role::kUnresolved || is_passed_over_) return Outcome::kGoOn;
  return is_marker ? resolve_marker(target, *map) : resolve(target, map);
}

EventApplier::Outcome EventApplier::resolve(Target& target, const binlog::TableMap* map) {
  if (map == nullptr) {
    target.role = Role::kIgnored;
    return Outcome::kGoOn;
  }
  if (refused_.contains(target.name)) return Outcome::kGoOn;
  target.table = publisher_.live_table(target.name);
  if (target.table == nullptr) {
    target.role = Role::kIgnored;
    const bool is_known = publisher_.catalogue().find(target.name) != nullptr ||
                          reloads_.names.contains(target.name) || pending_;
    if (!is_known) heal_once(target.name, "it was created behind the binlog's back");
    return Outcome::kGoOn;
  }
  Result<binlog::RowDecoder> decoder = binlog::RowDecoder::make(target.table->shape, *map);
  if (!decoder) return refuse(target.name, decoder.error().message);
  target.role = Role::kMirrored;
  target.decoder = std::move(*decoder);
  return Outcome::kGoOn;
}

// The table of commands is no mirrored one: when it cannot be read, commands do without their versions.
EventApplier::Outcome EventApplier::resolve_marker(Target& target, const binlog::TableMap& map) {
  target.role = Role::kIgnored;
  shm::Shape shape;
  std::string problem;
  for (const binlog::MapColumn& column : map.columns) {
    Result<shm::Column> described = binlog::column_from_map(column);
    if (!described) problem = described.error().message;
    if (described) shape.columns.push_back(std::move(*described));
  }
  if (problem.empty() && (shape.columns.empty() || shape.columns.front().kind != shm::ValueKind::kBinary)) {
    problem = "its first column is not BINARY";
  }
  if (problem.empty()) {
    Result<binlog::RowDecoder> decoder = binlog::RowDecoder::make(shape, map);
    if (!decoder) problem = decoder.error().message;
    if (decoder) {
      target.role = Role::kMarker;
      target.id_column = shape.columns.front();
      target.decoder = std::move(*decoder);
      return Outcome::kGoOn;
    }
  }
  log_warning(
      "commands cannot be followed: drop the table `ringside`.`commands`, the next start makes it anew",
      {{"reason", problem}});
  return Outcome::kGoOn;
}

// ------------------------------------------------------------------------------------------------------------- rows

EventApplier::Outcome EventApplier::on_rows(const binlog::RowsEvent& event,
                                            const binlog::EventHeader& header) {
  const auto found = targets_.find(event.table_id);
  if (found == targets_.end()) {
    return fail(Outcome::kFailed,
                fmt::format("the source sent rows of table id {} without a table map", event.table_id));
  }
  Target& target = found->second;
  add_to_checksum(name_of(event.operation), &target, header.timestamp);
  add_to_checksum(event.images);
  if (is_passed_over_ || (target.is_chosen && refused_.contains(target.name))) return Outcome::kGoOn;
  switch (target.role) {
    case Role::kUnresolved:
      return fail(Outcome::kFailed, fmt::format("the source sent rows of {}.{} without a table map",
                                                target.schema, target.name));
    case Role::kIgnored:
      return Outcome::kGoOn;
    case Role::kMarker:
      return take_markers(target, event);
    case Role::kMirrored:
      break;
  }
  const Result<void> taken = take_rows(target, event);
  if (taken) return Outcome::kGoOn;
  const ErrorKind kind = taken.error().kind;
  if (kind == ErrorKind::kIo || kind == ErrorKind::kLimit) return collecting_failed(taken.error());
  return refuse(target.name, taken.error().message);
}

Result<void> EventApplier::take_rows(Target& target, const binlog::RowsEvent& event) {
  const shm::Table& table = *target.table;
  RINGSIDE_TRY(target.decoder->begin(event));
  for (;;) {
    RINGSIDE_ASSIGN(const bool has_row, target.decoder->next(before_, after_));
    if (!has_row) return {};
    ++counters_.rows;
    switch (event.operation) {
      case binlog::RowsOperation::kWrite:
        RINGSIDE_TRY(set_key(table, after_));
        RINGSIDE_TRY(publisher_.insert(table, after_));
        break;
      case binlog::RowsOperation::kUpdate:
        RINGSIDE_TRY(set_key(table, before_));
        RINGSIDE_TRY(set_key(table, after_));
        RINGSIDE_TRY(publisher_.update(table, before_.key(), after_));
        break;
      case binlog::RowsOperation::kDelete:
        RINGSIDE_TRY(set_key(table, before_));
        RINGSIDE_TRY(publisher_.erase(table, before_.key()));
        break;
    }
  }
}

Result<void> EventApplier::set_key(const shm::Table& table, shm::RowBuilder& row) {
  key_.clear();
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    const shm::KeyColumn& part = table.key[i];
    const shm::Column& column = table.shape.columns[part.column];
    const std::string_view value = row.value(part.column);
    if (value.empty()) {
      return Error{ErrorKind::kCorrupt, fmt::format("column {} of its key is NULL", column.name)};
    }
    const shm::KeyStatus status =
        shm::append_key_from_json(column, part, i + 1 == table.key.size(), value, key_);
    if (status != shm::KeyStatus::kOk) {
      return Error{ErrorKind::kUnsupported,
                   fmt::format("the value {} of column {} cannot be a key", value, column.name)};
    }
  }
  row.set_key(key_.bytes());
  return {};
}

EventApplier::Outcome EventApplier::take_markers(Target& target, const binlog::RowsEvent& event) {
  if (event.operation != binlog::RowsOperation::kWrite) return Outcome::kGoOn;
  Result<void> read = target.decoder->begin(event);
  while (read) {
    const Result<bool> has_row = target.decoder->next(before_, after_);
    if (!has_row) {
      read = has_row.error();
      break;
    }
    if (!*has_row) return Outcome::kGoOn;
    // The normalised key of a BINARY column is its bytes.
    const shm::KeyColumn part = shm::make_key_column(0, target.id_column);
    key_.clear();
    if (shm::append_key_from_json(target.id_column, part, true, after_.value(0), key_) ==
        shm::KeyStatus::kOk) {
      markers_.emplace_back(as_text(key_.bytes()));
    }
  }
  log_warning("a command's marker cannot be read", {{"reason", read.error().message}});
  return Outcome::kGoOn;
}

}  // namespace ringside::writer
