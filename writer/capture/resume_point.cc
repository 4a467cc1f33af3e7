#include "writer/capture/resume_point.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace ringside::writer {
namespace {

Result<ResumePoint> mariadb_point(const shm::LastCommit& last, bool may_guess) {
  ResumePoint point{last.gtid_before, last, false};
  if (!last.gtid_before.empty()) return point;
  Result<shm::MariaDbGtid> gtid = shm::parse_mariadb_gtid(last.gtid);
  if (!gtid) return Error{ErrorKind::kCorrupt, "the ring's last GTID is none: " + gtid.error().message};
  point.is_guessed = may_guess && gtid->sequence > 1;
  if (point.is_guessed) --gtid->sequence;
  point.position = shm::to_string(*gtid);
  if (!point.is_guessed) point.expected.events_checksum = 0;  // it does not come again
  return point;
}

// The newest transaction of one server's own, without a tag.
std::optional<std::uint64_t> newest_of(const shm::MysqlGtidSet& set,
                                       const shm::MysqlGtidSet::Source& source) {
  const auto found = set.sources().find(source);
  if (found == set.sources().end()) return std::nullopt;
  return found->second.back().end - 1;
}

Result<ResumePoint> mysql_point(const shm::LastCommit& last, const shm::MysqlGtidSet& executed,
                                bool may_guess, std::string_view server_uuid) {
  ResumePoint point{{}, last, false};
  shm::MysqlGtidSet before = executed;
  if (!last.gtid.empty()) {
    Result<shm::MysqlGtidSet> own = shm::MysqlGtidSet::parse(last.gtid);
    if (!own) return Error{ErrorKind::kCorrupt, "the ring's last GTID is none: " + own.error().message};
    before.remove(*own);
  } else if (may_guess && !server_uuid.empty()) {
    RINGSIDE_ASSIGN(const shm::MysqlGtidSet::Uuid uuid, shm::MysqlGtidSet::parse_uuid(server_uuid));
    const shm::MysqlGtidSet::Source source{uuid, {}};
    if (const std::optional<std::uint64_t> newest = newest_of(executed, source)) {
      before.remove(source, {*newest, *newest + 1});
      point.expected.gtid = shm::to_string(source, *newest);
      point.expected.events_checksum = 0;
      point.is_guessed = true;
    }
  }
  point.position = before.to_string();
  return point;
}

}  // namespace

Result<ResumePoint> resume_point(const shm::LastCommit& last, const shm::ExecutedGtids& executed,
                                 bool may_guess, std::string_view server_uuid) {
  if (!executed.is_mysql()) return mariadb_point(last, may_guess);
  return mysql_point(last, executed.set(), may_guess, server_uuid);
}

Result<std::string> lost_by_mariadb(const std::string& ring_gtid, std::string_view binlog_position) {
  const Result<shm::MariaDbGtid> ours = shm::parse_mariadb_gtid(ring_gtid);
  if (!ours) return Error{ErrorKind::kCorrupt, "the ring's last GTID is none: " + ours.error().message};
  RINGSIDE_ASSIGN(const std::vector<shm::MariaDbGtid> position,
                  shm::parse_mariadb_gtid_list(binlog_position));
  const bool has_it = std::any_of(position.begin(), position.end(), [&](const shm::MariaDbGtid& gtid) {
    return gtid.domain == ours->domain && gtid.sequence >= ours->sequence;
  });
  if (has_it) return std::string();
  return fmt::format(
      "the source is at '{}' and the ring at {}: the source has lost transactions "
      "(restored from a copy?)",
      binlog_position, ring_gtid);
}

Result<MysqlDifference> compare_with_mysql(const shm::ExecutedGtids& executed, std::string_view gtid_executed,
                                           std::string_view gtid_purged) {
  constexpr std::size_t kShown = 500;
  const auto shown = [](const shm::MysqlGtidSet& set) {
    const std::string text = set.to_string();
    return text.size() > kShown ? text.substr(0, kShown) + "…" : text;
  };
  RINGSIDE_ASSIGN(const shm::MysqlGtidSet theirs, shm::MysqlGtidSet::parse(gtid_executed));
  RINGSIDE_ASSIGN(shm::MysqlGtidSet purged, shm::MysqlGtidSet::parse(gtid_purged));
  MysqlDifference difference;
  shm::MysqlGtidSet lost = executed.set();
  lost.remove(theirs);
  shm::MysqlGtidSet missing = theirs;
  missing.remove(executed.set());
  purged.remove(executed.set());
  if (!lost.is_empty() || !executed.is_mysql()) {
    difference.lost = fmt::format(
        "the ring holds {} and the source does not: the source has lost transactions "
        "(restored from a copy, or RESET BINARY LOGS AND GTIDS?)",
        executed.is_mysql() ? shown(lost) : executed.text());
  }
  if (!purged.is_empty()) {
    difference.purged = fmt::format(
        "the source's binlog no longer has {}, which the ring does not have yet "
        "(gtid_purged; see binlog_expire_logs_seconds)",
        shown(purged));
  }
  if (!missing.is_empty()) {
    difference.missing =
        fmt::format("the source has committed {}, and its binlog stream does not show it", shown(missing));
  }
  return difference;
}

}  // namespace ringside::writer
