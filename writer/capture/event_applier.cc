#include "writer/capture/event_applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/crc32c.h"

namespace ringside::writer {
namespace {

constexpr std::string_view kBookkeeping = "ringside";
constexpr std::string_view kMarkerTable = "commands";

// An XA transaction's identity as one key.
std::string xa_key(std::uint32_t format, std::string_view gtrid, std::string_view bqual) {
  return fmt::format("{}:{}:{}{}", format, gtrid.size(), gtrid, bqual);
}

}  // namespace

EventApplier::EventApplier(shm::Publisher& publisher, Options options)
    : publisher_(publisher), options_(std::move(options)) {}

void EventApplier::expect(const shm::LastCommit& last) {
  reset_transaction();
  maps_.clear();
  tables_changed();
  put_off_.reset();
  newest_ = std::max(newest_, last.version);
  if (last.gtid.empty()) {
    expected_.reset();
  } else {
    expected_ = last;
  }
}

EventApplier::Outcome EventApplier::apply(Bytes bytes) {
  const Result<binlog::Event> event = decoder_.decode(bytes);
  if (!event) return fail(Outcome::kFailed, event.error().message);
  ++counters_.events;
  return dispatch(*event);
}

EventApplier::Outcome EventApplier::dispatch(const binlog::Event& event) {
  if (std::holds_alternative<binlog::FormatDescription>(event.body)) {
    maps_.clear();
    targets_.clear();
    return Outcome::kGoOn;
  }
  if (const auto* gtid = std::get_if<binlog::MariadbGtid>(&event.body)) return begin(*gtid, event.header);
  if (const auto* query = std::get_if<binlog::Query>(&event.body)) return on_query(*query);
  if (const auto* map = std::get_if<binlog::TableMapEvent>(&event.body)) return on_table_map(*map);
  if (const auto* rows = std::get_if<binlog::RowsEvent>(&event.body)) return on_rows(*rows);
  if (std::holds_alternative<binlog::Xid>(event.body)) return end();
  if (const auto* prepare = std::get_if<binlog::XaPrepare>(&event.body)) return on_xa_prepare(*prepare);
  if (const auto* incident = std::get_if<binlog::Incident>(&event.body)) {
    return fail(Outcome::kLostHistory, fmt::format("the source lost events of its own binlog: {}", incident->message));
  }
  if (const auto* unsupported = std::get_if<binlog::Unsupported>(&event.body)) {
    return fail(Outcome::kFailed, fmt::format("the source sent a {} event: {}",
                                              binlog::event_type_name(event.header.type), unsupported->reason));
  }
  if (std::holds_alternative<binlog::MysqlGtid>(event.body)) {
    return fail(Outcome::kFailed, "the source sent a MySQL GTID: this version captures MariaDB only");
  }
  return Outcome::kGoOn;
}

// ------------------------------------------------------------------------------------------------ beginning, ending

EventApplier::Outcome EventApplier::begin(const binlog::MariadbGtid& gtid, const binlog::EventHeader& header) {
  if (gtid_) return fail(Outcome::kFailed, "the source began a transaction inside another one");
  reset_transaction();
  gtid_ = MariaDbGtid{gtid.domain, header.server_id, gtid.sequence};
  gtid_text_ = to_string(*gtid_);
  is_standalone_ = gtid.is_standalone();
  xa_key_ = xa_key(gtid.xid_format, gtid.xid_gtrid, gtid.xid_bqual);
  commit_time_us_ = std::uint64_t{header.timestamp} * 1'000'000;
  source_time_us_ = commit_time_us_;
  const Version version = gtid_->version();
  if (version > newest_) newest_ = version;
  add_to_checksum(as_bytes(gtid_text_));

  const std::string& last = publisher_.last_commit().gtid;
  const Version reached = put_off_ ? put_off_->first : publisher_.last_commit().version;
  if (!last.empty()) {
    const Result<MariaDbGtid> before = parse_mariadb_gtid(last);
    if (!before) return fail(Outcome::kLostHistory, "the ring's last GTID is none: " + before.error().message);
    if (before->domain != gtid.domain) {
      return fail(Outcome::kFailed,
                  fmt::format("the source committed {} in domain {}, but domain {} is being followed; write in one domain "
                              "only (SET GLOBAL gtid_domain_id = {})",
                              gtid_text_, gtid.domain, before->domain, before->domain));
    }
  }
  is_passed_over_ = expected_.has_value() && version <= expected_->version;
  if (expected_ && version > expected_->version && expected_->events_checksum != 0) {
    return fail(Outcome::kLostHistory,
                fmt::format("the source sent {} where {} had to come again: it has another history", gtid_text_,
                            expected_->gtid));
  }
  if (!is_passed_over_ && version <= reached) {
    return fail(Outcome::kLostHistory, fmt::format("the source sent {} after version {}: its sequence went back "
                                                   "(gtid_strict_mode must be ON)",
                                                   gtid_text_, reached.value()));
  }
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::end() {
  if (!gtid_) return Outcome::kGoOn;  // the rest of a transaction that began before our position
  ++counters_.transactions;
  if (is_passed_over_) return pass_over();
  expected_.reset();
  return commit();
}

// The ring has this transaction. The last one it has must be this very one.
EventApplier::Outcome EventApplier::pass_over() {
  publisher_.rollback();
  const bool is_last = gtid_->version() == expected_->version;
  const bool is_same = gtid_text_ == expected_->gtid &&
                       (expected_->events_checksum == 0 || checksum() == expected_->events_checksum);
  const std::string expected = expected_->gtid;
  if (is_last) expected_.reset();
  const std::string gtid = gtid_text_;
  reset_transaction();
  if (!is_last || is_same) return Outcome::kGoOn;
  return fail(Outcome::kLostHistory, fmt::format("the source's transaction {} is not the one that the ring holds as {}: it "
                                                 "has another history (restored from a copy?)",
                                                 gtid, expected));
}

EventApplier::Outcome EventApplier::commit() {
  const Version version = gtid_->version();
  const bool is_quiet = !publisher_.has_changes() && markers_.empty() && !(pending_ && version >= pending_->at);
  if (is_quiet) {
    put_off_.emplace(version, gtid_text_);
    put_off_checksum_ = checksum();
    reset_transaction();
    return Outcome::kGoOn;
  }
  if (pending_ && version >= pending_->at) {
    if (version > pending_->at) {
      return fail(Outcome::kFailed, fmt::format("the source never sent version {}, up to which a table was loaded",
                                                pending_->at.value()));
    }
    if (const Result<void> added = add_pending(); !added) return from_error(added.error());
  }
  shm::Commit record;
  record.commit_time_us = commit_time_us_;
  record.events_checksum = checksum();
  record.gtid = gtid_text_;
  const Result<shm::Publisher::Quarantined> committed = publisher_.commit(version, record);
  if (!committed) return from_error(committed.error());
  put_off_.reset();
  counters_.quarantines += committed->size();
  if (!committed->empty()) {
    tables_changed();
    reason_ = fmt::format("{}: {}", committed->front().first, committed->front().second);
  }
  for (const std::string& id : markers_) options_.on_marker(as_bytes(id), version, gtid_text_);
  reset_transaction();
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::flush() {
  if (!put_off_ || gtid_) return Outcome::kGoOn;
  shm::Commit record;
  record.events_checksum = put_off_checksum_;
  record.commit_time_us = source_time_us_;
  record.gtid = put_off_->second;
  const Result<shm::Publisher::Quarantined> committed = publisher_.commit(put_off_->first, record);
  if (!committed) return from_error(committed.error());
  put_off_.reset();
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::set_pending(PendingSwitch pending) {
  RINGSIDE_ASSERT(!pending_ && !gtid_);
  pending_ = std::move(pending);
  tables_changed();
  if (const Outcome flushed = flush(); flushed != Outcome::kGoOn) return flushed;
  const shm::LastCommit last = publisher_.last_commit();
  if (pending_->at > last.version) return Outcome::kGoOn;
  if (const Result<void> added = add_pending(); !added) return from_error(added.error());
  return commit_at_last();
}

// Nothing has come since the last version: the tables become live at the version that is there.
EventApplier::Outcome EventApplier::commit_at_last() {
  const shm::LastCommit last = publisher_.last_commit();
  shm::Commit record;
  record.commit_time_us = source_time_us_;
  record.events_checksum = last.events_checksum;
  record.gtid = last.gtid;
  const Result<shm::Publisher::Quarantined> committed = publisher_.commit(last.version, record);
  return committed ? Outcome::kGoOn : from_error(committed.error());
}

EventApplier::Outcome EventApplier::commit_again() {
  if (gtid_) return commit();
  return put_off_ ? flush() : commit_at_last();
}

Result<void> EventApplier::add_pending() {
  for (const TableId id : pending_->live) RINGSIDE_TRY(publisher_.switch_to(id));
  for (const auto& [name, reason] : pending_->quarantined) RINGSIDE_TRY(publisher_.quarantine(name, reason));
  for (const std::string& name : pending_->dropped) RINGSIDE_TRY(publisher_.drop(name));
  pending_.reset();
  tables_changed();
  return {};
}

// ------------------------------------------------------------------------------------------------------ statements

EventApplier::Outcome EventApplier::on_query(const binlog::Query& query) {
  if (!gtid_) return Outcome::kGoOn;
  add_to_checksum(as_bytes(query.sql));
  const Statement statement = classify(query.sql, {query.schema, query.sql_mode, query.client_collation});
  switch (statement.kind) {
    case StatementKind::kCommit:
      return end();
    case StatementKind::kRollback:
      publisher_.rollback();
      markers_.clear();
      return end();
    default:
      if (!is_passed_over_) on_statement(statement);
      return is_standalone_ ? end() : Outcome::kGoOn;
  }
}

void EventApplier::on_statement(const Statement& statement) {
  switch (statement.kind) {
    case StatementKind::kTableDdl:
    case StatementKind::kDml:
      for (const TableName& name : statement.tables) {
        if (name.schema != options_.database || !options_.is_chosen(name.table)) continue;
        refuse_and_reload(name.table, statement.kind == StatementKind::kDml
                                          ? "changed by a statement that the binlog does not show as rows; being loaded anew"
                                          : "its definition changed; being loaded anew");
      }
      return;
    case StatementKind::kDatabaseDdl:
      for (const TableName& name : statement.tables) {
        if (name.schema == options_.database) refuse_all("its database's definition changed; being loaded anew");
      }
      return;
    case StatementKind::kRollbackToSavepoint:
    case StatementKind::kUnknown:
      refuse_all("a statement that is not understood may have changed it; being loaded anew");
      return;
    case StatementKind::kXaCommit:
    case StatementKind::kXaRollback: {
      const auto known = prepared_.find(xa_key_);
      if (known == prepared_.end()) {
        refuse_all("an XA transaction of unknown contents ended; being loaded anew");
        return;
      }
      reloads_.insert(known->second.begin(), known->second.end());
      prepared_.erase(known);
      return;
    }
    default:
      return;
  }
}

void EventApplier::refuse_all(const std::string& reason) {
  for (const shm::TableUsage& table : publisher_.usage()) refuse_and_reload(table.name, reason);
}

// From this version on the name is not served until it has been loaded anew.
void EventApplier::refuse_and_reload(const std::string& name, std::string reason) {
  reloads_.insert(name);
  refused_.insert(name);
  if (pending_) {
    std::erase_if(pending_->live, [&](TableId id) {
      const shm::Table* table = publisher_.catalogue().find(id);
      return table == nullptr || table->name == name;
    });
    std::erase_if(pending_->quarantined, [&](const auto& each) { return each.first == name; });
    std::erase(pending_->dropped, name);
  }
  if (publisher_.live_table(name) == nullptr) return;
  // A failure to buffer it shows again, as the same failure, when the transaction is committed.
  if (const Result<void> added = publisher_.quarantine(name, std::move(reason)); !added) reason_ = added.error().message;
}

EventApplier::Outcome EventApplier::on_xa_prepare(const binlog::XaPrepare& prepare) {
  if (!gtid_ || prepare.is_one_phase) return end();
  // The rows came, and whether they count is decided later: their tables are not served until then.
  const std::set<std::string> tables = touched_;
  publisher_.rollback();
  if (!is_passed_over_) {
    for (const std::string& name : tables) {
      refuse_and_reload(name, "an XA transaction is prepared on it; served again when that is decided");
      reloads_.erase(name);
    }
    prepared_[xa_key(prepare.format, prepare.gtrid, prepare.bqual)] = tables;
  }
  return end();
}

// ------------------------------------------------------------------------------------------------------------ rows

EventApplier::Outcome EventApplier::on_table_map(const binlog::TableMapEvent& event) {
  if (!gtid_) return Outcome::kGoOn;
  add_to_checksum(event.body);
  const Result<const binlog::TableMaps::Entry*> entry = maps_.put(event);
  if (!entry) return fail(Outcome::kFailed, entry.error().message);
  const binlog::TableMap& map = (*entry)->map;
  const auto known = targets_.find(event.table_id);
  if (known != targets_.end() && !(*entry)->is_new) return Outcome::kGoOn;

  Target target;
  target.name = map.table;
  if (map.schema == kBookkeeping && map.table == kMarkerTable) {
    shm::Shape shape;
    for (const binlog::MapColumn& column : map.columns) {
      Result<shm::Column> described = binlog::column_from_map(column);
      if (!described) return fail(Outcome::kFailed, "ringside.commands: " + described.error().message);
      shape.columns.push_back(std::move(*described));
    }
    Result<binlog::RowDecoder> decoder = binlog::RowDecoder::make(shape, map);
    if (!decoder) return fail(Outcome::kFailed, decoder.error().message);
    if (shape.columns.empty() || shape.columns.front().kind != shm::ValueKind::kBinary) {
      return fail(Outcome::kFailed, "ringside.commands has no BINARY id as its first column: drop the table, the writer "
                                    "makes it anew");
    }
    target.role = Role::kMarker;
    target.id_column = shape.columns.front();
    target.decoder = std::move(*decoder);
  } else if (map.schema == options_.database) {
    touched_.insert(map.table);
    target.table = publisher_.live_table(map.table);
    if (target.table != nullptr && !is_passed_over_ && !refused_.contains(map.table)) {
      Result<binlog::RowDecoder> decoder = binlog::RowDecoder::make(target.table->shape, map);
      if (!decoder) return refuse(map.table, decoder.error());
      target.role = Role::kMirrored;
      target.decoder = std::move(*decoder);
    } else if (is_passed_over_) {
      return Outcome::kGoOn;  // its shape may be of another time: look again when it counts
    }
  }
  targets_.insert_or_assign(event.table_id, std::move(target));
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::on_rows(const binlog::RowsEvent& event) {
  if (!gtid_) return Outcome::kGoOn;
  add_to_checksum(event.images);
  if (is_passed_over_) return Outcome::kGoOn;
  const auto found = targets_.find(event.table_id);
  if (found == targets_.end()) {
    if (maps_.find(event.table_id) != nullptr) return Outcome::kGoOn;  // refused in this transaction
    return fail(Outcome::kFailed, fmt::format("the source sent rows of table id {} without a table map", event.table_id));
  }
  Target& target = found->second;
  if (target.role == Role::kMarker) return take_markers(target, event);
  if (options_.is_chosen(target.name)) touched_.insert(target.name);
  if (target.role == Role::kIgnored || refused_.contains(target.name)) return Outcome::kGoOn;
  const Result<void> taken = take_rows(target, event);
  if (taken) return Outcome::kGoOn;
  if (taken.error().kind == ErrorKind::kIo) return from_error(taken.error());
  return refuse(target.name, taken.error());
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
    const shm::KeyStatus status = shm::append_key_from_json(column, part, i + 1 == table.key.size(), value, key_);
    if (status != shm::KeyStatus::kOk) {
      return Error{ErrorKind::kUnsupported, fmt::format("the value {} of column {} cannot be a key", value, column.name)};
    }
  }
  row.set_key(key_.bytes());
  return {};
}

EventApplier::Outcome EventApplier::take_markers(Target& target, const binlog::RowsEvent& event) {
  if (event.operation != binlog::RowsOperation::kWrite) return Outcome::kGoOn;
  Result<void> begun = target.decoder->begin(event);
  if (!begun) return fail(Outcome::kFailed, begun.error().message);
  for (;;) {
    const Result<bool> has_row = target.decoder->next(before_, after_);
    if (!has_row) return fail(Outcome::kFailed, has_row.error().message);
    if (!*has_row) return Outcome::kGoOn;
    // The normalised key of a BINARY column is its bytes.
    const shm::KeyColumn part = shm::make_key_column(0, target.id_column);
    key_.clear();
    if (shm::append_key_from_json(target.id_column, part, true, after_.value(0), key_) == shm::KeyStatus::kOk) {
      markers_.emplace_back(as_text(key_.bytes()));
    }
  }
}

// The table is not served from this version on, and the stream goes on without it.
EventApplier::Outcome EventApplier::refuse(const std::string& name, const Error& error) {
  ++counters_.quarantines;
  refused_.insert(name);
  reason_ = fmt::format("{}: {}", name, error.message);
  const Result<void> added = publisher_.quarantine(name, error.message);
  return added ? Outcome::kGoOn : from_error(added.error());
}

// ------------------------------------------------------------------------------------------------------- the rest

std::set<std::string> EventApplier::take_reloads() { return std::exchange(reloads_, {}); }

void EventApplier::add_to_checksum(Bytes bytes) { checksum_ = crc32c(bytes.data(), bytes.size(), checksum_); }

EventApplier::Outcome EventApplier::from_error(const Error& error) {
  if (error.kind == ErrorKind::kLimit) return fail(Outcome::kRingFull, error.message);
  if (error.kind == ErrorKind::kIo) return fail(Outcome::kLater, error.message);
  return fail(Outcome::kFailed, error.message);
}

EventApplier::Outcome EventApplier::fail(Outcome outcome, std::string reason) {
  reason_ = std::move(reason);
  return outcome;
}

void EventApplier::reset_transaction() {
  // What a refused table's maps resolved to holds for one transaction only.
  if (!refused_.empty()) tables_changed();
  publisher_.rollback();
  gtid_.reset();
  markers_.clear();
  refused_.clear();
  touched_.clear();
  checksum_ = 0;
  is_passed_over_ = false;
}

void EventApplier::tables_changed() {
  targets_.clear();
  maps_.clear();
}

}  // namespace ringside::writer
