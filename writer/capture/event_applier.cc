#include "writer/capture/event_applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "base/log.h"

namespace ringside::writer {

EventApplier::EventApplier(shm::Publisher& publisher, Options options)
    : publisher_(publisher), options_(std::move(options)) {}

void EventApplier::expect(const shm::LastCommit& last) {
  reset_transaction();
  tables_changed();
  put_off_.reset();
  put_off_set_ = {};
  learnt_checksum_ = 0;
  newest_ = std::max(newest_, last.version);
  domain_.reset();
  expected_.reset();
  if (last.gtid.empty()) return;
  expected_ = last;
  shm::MariaDbGtid gtid;
  if (shm::read_mariadb_gtid(last.gtid, gtid)) domain_ = gtid.domain;
}

EventApplier::Outcome EventApplier::apply(Bytes bytes) {
  const Result<binlog::Event> event = decoder_.decode(bytes);
  if (!event) {
    // Damage on the way does not come twice; damage in the source's file does, and shows as long as it is there.
    const bool is_damaged = event.error().kind == ErrorKind::kCorrupt;
    return fail(is_damaged ? Outcome::kLater : Outcome::kFailed, event.error().message);
  }
  ++counters_.events;
  return dispatch(*event);
}

// The events of a compressed transaction, as if they had come one by one.
EventApplier::Outcome EventApplier::on_payload(const binlog::TransactionPayload& payload) {
  const auto failed = [this](const Error& error) {
    return fail(error.kind == ErrorKind::kCorrupt ? Outcome::kLater : Outcome::kFailed, error.message);
  };
  if (const Result<void> begun = payload_.begin(payload); !begun) return failed(begun.error());
  while (true) {
    const auto bytes = payload_.next();
    if (!bytes) return failed(bytes.error());
    if (!*bytes) return Outcome::kGoOn;
    const Result<binlog::Event> event = decoder_.decode_inner(**bytes);
    if (!event) return failed(event.error());
    ++counters_.events;
    // The last one ends the transaction: whatever is not to go on is the outcome of all.
    if (const Outcome outcome = dispatch(*event); outcome != Outcome::kGoOn) return outcome;
  }
}

EventApplier::Outcome EventApplier::dispatch(const binlog::Event& event) {
  if (std::holds_alternative<binlog::FormatDescription>(event.body)) {
    if (is_inside_) {
      // A file that its server could not finish: what it had of this transaction was never committed.
      log_warning("the source crashed inside a transaction that it did not commit", {{"gtid", gtid_}});
      reset_transaction();
    }
    tables_changed();
    return Outcome::kGoOn;
  }
  if (const auto* gtid = std::get_if<binlog::MariadbGtid>(&event.body)) return begin(*gtid, event.header);
  if (const auto* gtid = std::get_if<binlog::MysqlGtid>(&event.body)) return begin(*gtid, event.header);
  if (const auto* query = std::get_if<binlog::Query>(&event.body)) return on_query(*query, event.header);
  if (const auto* incident = std::get_if<binlog::Incident>(&event.body)) {
    return fail(Outcome::kLostHistory,
                fmt::format("the source lost events of its own binlog: {}", incident->message));
  }
  if (const auto* unsupported = std::get_if<binlog::Unsupported>(&event.body)) {
    return on_unsupported(event, unsupported->reason);
  }
  if (const auto* payload = std::get_if<binlog::TransactionPayload>(&event.body)) return on_payload(*payload);
  const auto* map = std::get_if<binlog::TableMapEvent>(&event.body);
  const auto* rows = std::get_if<binlog::RowsEvent>(&event.body);
  const auto* prepare = std::get_if<binlog::XaPrepare>(&event.body);
  const bool is_end = std::holds_alternative<binlog::Xid>(event.body);
  if (map == nullptr && rows == nullptr && prepare == nullptr && !is_end) return Outcome::kGoOn;
  if (!is_inside_) {
    return fail(Outcome::kFailed, fmt::format("the source sent a {} event outside of a transaction",
                                              binlog::event_type_name(event.header.type)));
  }
  if (map != nullptr) return on_table_map(*map);
  if (rows != nullptr) return on_rows(*rows, event.header);
  return prepare != nullptr ? on_xa_prepare(*prepare) : end();
}

// ------------------------------------------------------------------------------------------- beginning, ending

EventApplier::Outcome EventApplier::begin_with(std::string gtid, std::uint64_t commit_time_us) {
  if (is_inside_) return fail(Outcome::kFailed, "the source began a transaction inside another one");
  reset_transaction();
  if (targets_.size() > kMaxTargets) targets_.clear();
  is_inside_ = true;
  gtid_ = std::move(gtid);
  commit_time_us_ = commit_time_us;
  source_time_us_ = commit_time_us;
  add_to_checksum(as_bytes(gtid_));
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::begin(const binlog::MariadbGtid& event,
                                          const binlog::EventHeader& header) {
  const shm::MariaDbGtid gtid{event.domain, header.server_id, event.sequence};
  const Outcome begun = begin_with(to_string(gtid), std::uint64_t{header.timestamp} * 1'000'000);
  if (begun != Outcome::kGoOn) return begun;
  is_standalone_ = event.is_standalone();
  xa_key_ =
      fmt::format("{}:{}:{}{}", event.xid_format, event.xid_gtrid.size(), event.xid_gtrid, event.xid_bqual);

  if (publisher_.executed().is_mysql()) return fail_other_server();
  if (!domain_) domain_ = gtid.domain;
  if (*domain_ != gtid.domain) {
    // What it changed has no version: the rows that the ring holds are not the source's any more.
    return fail(
        Outcome::kLostHistory,
        fmt::format(
            "the source committed {} in domain {}, but domain {} is being followed; write in one domain "
            "only (SET GLOBAL gtid_domain_id = {})",
            gtid_, gtid.domain, *domain_, *domain_));
  }
  version_ = gtid.version();
  const Version reached = put_off_ ? put_off_->first : publisher_.last_commit().version;
  is_passed_over_ = expected_.has_value() && version_ <= expected_->version;
  is_last_ = is_passed_over_ && version_ == expected_->version;
  if (!is_passed_over_ && is_expecting()) return fail_expected();
  if (!is_passed_over_ && version_ <= reached) {
    return fail(Outcome::kLostHistory,
                fmt::format("the source sent {} after version {}: its sequence went back "
                            "(gtid_strict_mode must be ON)",
                            gtid_, reached.value()));
  }
  newest_ = std::max(newest_, version_);
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::begin(const binlog::MysqlGtid& event, const binlog::EventHeader& header) {
  shm::MysqlGtidSet::Source source;
  std::transform(event.uuid.begin(), event.uuid.end(), source.uuid.begin(),
                 [](std::byte each) { return std::to_integer<std::uint8_t>(each); });
  if (event.number == 0 || event.number >= shm::MysqlGtidSet::kMaxNumber ||
      (!event.tag.empty() && !source.tag.assign(event.tag))) {
    return fail(Outcome::kFailed, fmt::format("the source sent a GTID event with the tag '{}' and number {}",
                                              event.tag, event.number));
  }
  const bool has_time = event.commit_time_us != 0;
  const Outcome begun =
      begin_with(to_string(source, event.number),
                 has_time ? event.commit_time_us : std::uint64_t{header.timestamp} * 1'000'000);
  if (begun != Outcome::kGoOn) return begun;
  shows_by_query_ = true;
  own_.add(source, {event.number, event.number + 1});

  const shm::ExecutedGtids& executed = publisher_.executed();
  if (!executed.is_mysql() && !executed.text().empty()) return fail_other_server();
  const bool is_known = executed.set().contains(own_) || put_off_set_.contains(own_);
  is_passed_over_ = expected_.has_value() && is_known;
  is_last_ = is_passed_over_ && gtid_ == expected_->gtid;
  if (is_passed_over_) return Outcome::kGoOn;
  if (is_known) {
    return fail(Outcome::kLostHistory,
                fmt::format("the source sent {}, which the ring has already: its history began anew "
                            "(RESET BINARY LOGS AND GTIDS?)",
                            gtid_));
  }
  if (is_expecting()) return fail_expected();
  version_ = Version(executed.set().count() + put_off_set_.count() + 1);
  newest_ = std::max(newest_, version_);
  return Outcome::kGoOn;
}

EventApplier::Outcome EventApplier::fail_other_server() {
  return fail(Outcome::kLostHistory,
              fmt::format("the source sent {}, and the ring holds {}: it is another server", gtid_,
                          publisher_.executed().text()));
}

EventApplier::Outcome EventApplier::fail_expected() {
  return fail(Outcome::kLostHistory,
              fmt::format("the source sent {} where {} had to come again: it has another history", gtid_,
                          expected_->gtid));
}

EventApplier::Outcome EventApplier::end() {
  ++counters_.transactions;
  if (is_passed_over_) return pass_over();
  expected_.reset();
  return commit();
}

// The ring has this transaction. The last one it has must be this very one.
EventApplier::Outcome EventApplier::pass_over() {
  const bool is_last = is_last_;
  const bool is_known = expected_->events_checksum != 0;
  const bool is_same = gtid_ == expected_->gtid && (!is_known || checksum() == expected_->events_checksum);
  const std::string expected = expected_->gtid;
  const std::string gtid = gtid_;
  if (is_last) expected_.reset();
  if (is_last && is_same && !is_known) {
    learnt_checksum_ = checksum();
    learnt_gtid_ = gtid;
  }
  reset_transaction();
  if (!is_last) return Outcome::kGoOn;
  if (is_same) return settle();
  return fail(Outcome::kLostHistory,
              fmt::format("the source's transaction {} is not the one that the ring holds as {}: it "
                          "has another history (restored from a copy?)",
                          gtid, expected));
}

EventApplier::Outcome EventApplier::commit() {
  const Version version = version_;
  const bool switches = pending_ && version >= pending_->at;
  if (!publisher_.has_changes() && markers_.empty() && !switches) {
    put_off_.emplace(version, gtid_);
    put_off_checksum_ = checksum();
    put_off_received_ns_ = received_ns_;
    put_off_set_.add(own_);
    reset_transaction();
    return Outcome::kGoOn;
  }
  if (switches && (version > pending_->at || !is_at_pending())) {
    return fail(Outcome::kLostHistory,
                fmt::format("the source went on to version {} without version {}, up to which it let "
                            "a table be read",
                            version.value(), pending_->at.value()));
  }
  if (switches && !is_pending_added_) {
    if (const Result<void> added = add_pending(); !added) return collecting_failed(added.error());
  }
  put_off_text_ = put_off_set_.to_string();
  const Result<shm::Publisher::Quarantined> committed = publisher_.commit(
      version, shm::Commit{commit_time_us_, checksum(), 0, gtid_, put_off_text_, received_ns_});
  if (!committed) return commit_failed(committed.error());
  put_off_.reset();
  put_off_set_ = {};
  if (switches) pending_is_done();
  for (const auto& [name, reason] : *committed) {
    ++counters_.quarantines;
    log_warning("a table is not served from this version on",
                {{"table", name}, {"version", version.value()}, {"reason", reason}});
    heal_once(name, reason);
  }
  if (!committed->empty()) tables_changed();
  for (const std::string& id : markers_) options_.on_marker(as_bytes(id), version, gtid_);
  reset_transaction();
  return Outcome::kGoOn;
}

// Between transactions: publishes what waits for no further one.
EventApplier::Outcome EventApplier::settle() {
  if (put_off_) {
    put_off_text_ = put_off_set_.count() > 1 ? put_off_set_.to_string() : std::string();
    const Result<shm::Publisher::Quarantined> committed = publisher_.commit(
        put_off_->first, shm::Commit{source_time_us_, put_off_checksum_, 0, put_off_->second, put_off_text_,
                                     put_off_received_ns_});
    if (!committed) return commit_failed(committed.error());
    put_off_.reset();
    put_off_set_ = {};
  }
  const shm::LastCommit& last = publisher_.last_commit();
  const bool switches = pending_ && pending_->at <= last.version;
  if (switches && !is_at_pending()) {
    return fail(
        Outcome::kLostHistory,
        fmt::format("the source is at version {} without the transactions up to which it let a table be "
                    "read: its GTIDs were changed by hand (gtid_purged?)",
                    last.version.value()));
  }
  if (!switches && learnt_checksum_ == 0) return Outcome::kGoOn;
  if (switches && !is_pending_added_) {
    if (const Result<void> added = add_pending(); !added) return collecting_failed(added.error());
  }
  const Outcome outcome = commit_at_last(learnt_checksum_ != 0 ? learnt_checksum_ : last.events_checksum);
  if (outcome != Outcome::kGoOn) return outcome;
  learnt_checksum_ = 0;
  if (switches) pending_is_done();
  return Outcome::kGoOn;
}

// MySQL: a set has as many members as the load's, but it has to be the same one.
bool EventApplier::is_at_pending() const {
  const shm::MysqlGtidSet& executed = publisher_.executed().set();
  const auto& wanted = pending_set_.sources();
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& entry) {
    return std::all_of(entry.second.begin(), entry.second.end(), [&](const auto& interval) {
      // In one piece here or there, or cut where put-off transactions begin.
      shm::MysqlGtidSet missing;
      missing.add(entry.first, interval);
      missing.remove(executed);
      missing.remove(put_off_set_);
      missing.remove(own_);
      return missing.is_empty();
    });
  });
}

// Nothing has come since the last version: what is new takes effect at the version that is there.
EventApplier::Outcome EventApplier::commit_at_last(std::uint64_t checksum) {
  const shm::LastCommit last = publisher_.last_commit();
  // A snapshot on MySQL does not know which transaction came last; one that came again does.
  const std::string& gtid = last.gtid.empty() && learnt_checksum_ != 0 ? learnt_gtid_ : last.gtid;
  const Result<shm::Publisher::Quarantined> committed =
      publisher_.commit(last.version, shm::Commit{source_time_us_, checksum, 0, gtid});
  return committed ? Outcome::kGoOn : commit_failed(committed.error());
}

// -------------------------------------------------------------------------------------------- tables loaded anew

void EventApplier::request_reloads(Reloads reloads) {
  tables_changed();
  reloads_.names.merge(reloads.names);
  reloads_.all |= reloads.all;
}

EventApplier::Outcome EventApplier::set_pending(PendingSwitch pending) {
  RINGSIDE_ASSERT(!pending_ && !is_inside_);
  pending_set_ = {};
  if (publisher_.executed().is_mysql()) {
    Result<shm::MysqlGtidSet> set = shm::MysqlGtidSet::parse(pending.position);
    if (!set) return fail(Outcome::kFailed, "a table was read up to no GTID set: " + set.error().message);
    pending_set_ = std::move(*set);
  }
  pending_ = std::move(pending);
  tables_changed();
  return settle();
}

Result<void> EventApplier::add_pending() {
  for (const TableId id : pending_->live) RINGSIDE_TRY(publisher_.switch_to(id));
  for (const auto& [name, reason] : pending_->quarantined) RINGSIDE_TRY(publisher_.quarantine(name, reason));
  for (const std::string& name : pending_->dropped) RINGSIDE_TRY(publisher_.drop(name));
  is_pending_added_ = true;
  return {};
}

void EventApplier::pending_is_done() {
  pending_.reset();
  is_pending_added_ = false;
  tables_changed();
}

// ------------------------------------------------------------------------------------------------------ the rest

void EventApplier::add_to_checksum(Bytes bytes) {
  checksum_ = crc32c(bytes.data(), bytes.size(), checksum_);
}

// What the bytes that follow are of. Once for a run of events alike: a replica of the source may have cut it differently.
void EventApplier::add_to_checksum(std::string_view kind, const Target* target, std::uint32_t timestamp) {
  std::string summed =
      fmt::format("{}\n{}\n{}\n{}\n", timestamp, kind, target == nullptr ? "" : target->schema,
                  target == nullptr ? "" : target->name);
  if (summed == summed_) return;
  add_to_checksum(as_bytes(summed));
  summed_ = std::move(summed);
}

// Of a commit. What is left of the publisher's own errors has failed it for good.
EventApplier::Outcome EventApplier::commit_failed(const Error& error) {
  if (error.kind == ErrorKind::kLimit) return fail(Outcome::kRingFull, error.message);
  if (error.kind == ErrorKind::kInvalid) return fail(Outcome::kFailed, error.message);
  return fail(Outcome::kReopen, error.message);
}

EventApplier::Outcome EventApplier::fail(Outcome outcome, std::string reason) {
  reason_ = std::move(reason);
  return outcome;
}

void EventApplier::reset_transaction() {
  // What a refused table's maps resolved to holds for one transaction only.
  if (!refused_.empty()) tables_changed();
  publisher_.rollback();
  is_pending_added_ = false;
  for (const TableId id : abandoned_) {
    tables_changed();
    const Result<void> taken_back =
        publisher_.abandon(id);  // of the publisher's memory: nothing that could fail
    RINGSIDE_ASSERT(taken_back.has_value());
  }
  abandoned_.clear();
  is_inside_ = false;
  own_ = {};
  is_standalone_ = false;
  shows_by_query_ = false;
  markers_.clear();
  refused_.clear();
  touched_.clear();
  checksum_ = 0;
  summed_.clear();
  is_passed_over_ = false;
  is_last_ = false;
}

void EventApplier::tables_changed() {
  targets_.clear();
  maps_.clear();
}

}  // namespace ringside::writer
