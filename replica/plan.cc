#include "replica/plan.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/utf8.h"
#include "http/byte_sink.h"

namespace ringside::replica {
namespace {

// As long as the longest head that the configuration allows.
constexpr std::size_t kScratchBytes = std::size_t{64} << 10;
constexpr std::size_t kDetailBytes = 512;

struct PageName {
  std::string_view path;
  RouteKind route;
};
constexpr std::array<PageName, 5> kPages{{{"/status", RouteKind::kStatus},
                                          {"/healthz", RouteKind::kHealthz},
                                          {"/readyz", RouteKind::kReadyz},
                                          {"/metrics", RouteKind::kMetrics},
                                          {"/", RouteKind::kIndex}}};

constexpr std::string_view kAllow = "Allow: GET, HEAD, OPTIONS\r\n";

}  // namespace

struct Planner::Context {
  const http::Request& request;
  const PlanState& state;
  Arena& arena;
  Query& query;
  Wait& wait;
  http::QueryParameters parameters{};

  // Makes the query a problem; the detail is what the parts say one after the other.
  template <class... Parts>
  Planned fail(std::uint16_t status, std::string_view slug, std::string_view title, const Parts&... parts) {
    query.kind = QueryKind::kProblem;
    query.status = status;
    query.slug = slug;
    query.title = title;
    char* text = arena.take<char>(kDetailBytes);
    if (text == nullptr) return Planned::kArenaFull;
    std::size_t size = 0;
    const auto add = [&](std::string_view part) {
      const std::size_t count = std::min(part.size(), kDetailBytes - size);
      std::copy_n(part.data(), count, text + size);
      size += count;
    };
    (add(parts), ...);
    query.detail = {text, size};
    return Planned::kReady;
  }
  template <class... Parts>
  Planned bad_parameter(std::string_view name, const Parts&... parts) {
    return fail(400, "invalid-parameter", "Invalid parameter", "The parameter '", name, "' ", parts...);
  }
};

Planner::Planner(const PlanLimits& limits) : limits_(limits), scratch_(new char[kScratchBytes]) {}

void Planner::plan_failure(std::uint16_t status, std::string_view reason, Query& query) {
  query.kind = QueryKind::kProblem;
  query.route = RouteKind::kOther;
  query.keep_alive = false;
  query.status = status;
  query.slug = status == 408 ? std::string_view("request-timeout") : std::string_view("malformed-request");
  query.title = status == 408 ? std::string_view("Request timeout") : std::string_view("Malformed request");
  query.detail = reason;
}

Planned Planner::plan(const http::Request& request, const PlanState& state, Arena& arena, Query& query,
                      Wait& wait) {
  Context c{request, state, arena, query, wait};
  query.is_head = request.method == http::Method::kHead;
  query.is_http_1_0 = request.minor_version == 0;
  query.keep_alive = request.keep_alive;
  // Where the next request begins is not worth finding out: nothing here takes a body.
  if (request.has_body()) query.keep_alive = false;
  const bool is_question = request.method == http::Method::kGet || request.method == http::Method::kHead;
  if (request.method == http::Method::kOther) {
    return c.fail(501, "method-not-implemented", "Method not implemented",
                  "The method is not known. Replicas answer GET, HEAD and OPTIONS.");
  }
  if (!is_question && request.method != http::Method::kOptions) {
    query.more_headers = kAllow;
    return c.fail(405, "method-not-allowed", "Method not allowed",
                  "Replicas answer GET, HEAD and OPTIONS. Commands go to the writer.");
  }
  if (request.has_body()) {
    return c.fail(413, "body-not-allowed", "Request body not allowed",
                  "Replicas answer questions and take no request body. Commands go to the writer.");
  }
  if (!is_question) {
    query.kind = QueryKind::kOptions;
    query.more_headers = kAllow;
    return Planned::kReady;
  }
  if (!state.is_admin && request.path.starts_with("/v1/")) return data(c);
  if (!state.is_admin && request.path == "/version") return version(c);
  for (const PageName& page : kPages) {
    if (request.path != page.path) continue;
    query.route = page.route;
    query.kind = QueryKind::kPage;
    return Planned::kReady;
  }
  return c.fail(404, "not-found", "Not found",
                state.is_admin
                    ? std::string_view("The admin port has /, /status, /healthz, /readyz and /metrics.")
                    : std::string_view("There is no such resource. Tables are under /v1/{table}."));
}

Planned Planner::version(Context& c) {
  c.query.route = RouteKind::kVersion;
  if (!parameters(c)) return Planned::kReady;
  const http::QueryParameters& p = c.parameters;
  if (p.key_form != http::KeyForm::kNone || p.has_fields) {
    return c.bad_parameter(p.has_fields ? "fields" : "key", "is not a parameter of this resource.");
  }
  Planned outcome = Planned::kReady;
  if (!reached(c, outcome)) return outcome;
  c.query.kind = QueryKind::kVersion;
  return Planned::kReady;
}

Planned Planner::data(Context& c) {
  const http::PathSegments segments = http::split_path(c.request.path);
  c.query.route = segments.count == 3 ? RouteKind::kRow : RouteKind::kRows;
  if (segments.has_dot_segment) {
    return c.fail(400, "invalid-path", "Invalid path",
                  "A path must not have the segments '.' and '..'. For such a key use ?key=.");
  }
  if (segments.is_too_deep || segments.count > 3 || segments.count < 2 || segments[1].empty()) {
    c.query.route = RouteKind::kOther;
    return c.fail(404, "not-found", "Not found",
                  "A row is at /v1/{table}/{key}; a '/' in a key is written %2F.");
  }
  if (!parameters(c)) return Planned::kReady;
  Planned outcome = Planned::kReady;
  if (!reached(c, outcome)) return outcome;
  return rows(c, segments);
}

// Reads the query's parameters. False: the query has become a problem.
bool Planner::parameters(Context& c) {
  if (!c.request.query.empty()) {
    std::string_view culprit;
    const http::QueryStatus status =
        http::parse_query(c.request.query, {limits_.max_keys}, c.parameters, culprit);
    if (status != http::QueryStatus::kOk) {
      c.bad_parameter(culprit, http::describe(status), ".");
      return false;
    }
    const http::QueryParameters& p = c.parameters;
    if (p.has_limit || !p.order.empty() || !p.after.empty()) {
      c.bad_parameter(p.has_limit       ? "limit"
                      : p.order.empty() ? "after"
                                        : "order",
                      "needs a question over an index; rows are asked for by their keys.");
      return false;
    }
  }
  const http::NumberForm numbers = c.parameters.numbers;
  c.query.quotes_numbers = numbers == http::NumberForm::kDefault ? limits_.numbers_as_strings
                                                                 : numbers == http::NumberForm::kString;
  return true;
}

// The version that the answer must not be older than, from parameters and headers. False: a problem.
bool Planner::minimum(Context& c, Version& version) {
  std::uint64_t wanted = c.parameters.has_min_version ? c.parameters.min_version : 0;
  if (!c.request.min_version.empty()) {
    std::uint64_t number = 0;
    if (!http::parse_number(c.request.min_version, number)) {
      c.fail(400, "invalid-header", "Invalid header", "Ringside-Min-Version is not a version.");
      return false;
    }
    wanted = std::max(wanted, number);
  }
  for (const std::string_view raw : {c.parameters.min_gtid, c.request.min_gtid}) {
    if (!raw.empty() && !minimum_of_gtid(c, raw, wanted)) return false;
  }
  version = Version(wanted);
  return true;
}

// Raises `wanted` to the version that has this GTID, or is the next one that may have it. False: a problem.
bool Planner::minimum_of_gtid(Context& c, std::string_view raw, std::uint64_t& wanted) {
  std::string_view text;
  const bool is_decoded = http::percent_decode(raw, http::PlusMeans::kPlus, {scratch_.get(), kScratchBytes},
                                               text) == http::DecodeStatus::kOk;
  const TableStore& tables = *c.state.tables;
  if (tables.executed().is_mysql()) {
    if (is_decoded && mysql_minimum(c, text, wanted)) return true;
    c.fail(
        400, "invalid-gtid", "Invalid GTID",
        "A GTID of the MySQL server behind this replica is written uuid:number, or uuid:tag:number; a set of "
        "them, as in uuid:1-5:7,uuid:9, asks for all of them.");
    return false;
  }
  shm::MariaDbGtid gtid;
  if (!is_decoded || !shm::read_mariadb_gtid(text, gtid)) {
    c.fail(400, "invalid-gtid", "Invalid GTID", "A GTID is written domain-server-sequence, as in 0-1-42.");
    return false;
  }
  if (tables.gtids().contradicts(gtid)) {
    c.fail(
        409, "history-changed", "The history changed",
        "The server's history does not have this GTID: it was restored, or is another one. Read again what "
        "it was about. This replica is at ",
        tables.gtid(), ".");
    return false;
  }
  wanted = std::max(wanted, gtid.sequence);
  return true;
}

// Every transaction adds one member to the executed set: what is missing of an interval is that many versions away, or
// more. The request is looked at again when they are there. False: not a set.
bool Planner::mysql_minimum(Context& c, std::string_view text, std::uint64_t& wanted) {
  const shm::MysqlGtidSet& executed = c.state.tables->executed().set();
  const std::uint64_t visible = c.state.tables->visible_version().value();
  shm::MysqlGtidSet::Source source;
  shm::MysqlGtidSet::Interval interval;
  shm::GtidSetReader reader(text);
  bool has_any = false;
  while (reader.next(source, interval)) {
    has_any = true;
    const std::uint64_t missing = executed.missing(source, interval);
    if (missing == 0) continue;
    const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - visible;
    wanted = std::max(wanted, visible + std::min(missing, room));
  }
  return has_any && !reader.has_failed();
}

// True when the query can be answered from the visible version. Otherwise `outcome` says what became of it.
bool Planner::reached(Context& c, Planned& outcome) {
  outcome = Planned::kReady;
  if (c.state.tables == nullptr) {
    c.query.keep_alive = false;
    c.query.has_retry_after = true;
    outcome = c.fail(503, "not-ready", "Not ready",
                     "This replica cannot answer now: ", c.state.unready_reason, ".");
    return false;
  }
  Version wanted;
  if (!minimum(c, wanted)) return false;
  if (wanted <= c.state.tables->visible_version()) return true;
  const std::uint32_t wait_ms =
      c.parameters.has_wait ? std::min(c.parameters.wait_ms, limits_.max_wait_ms) : limits_.default_wait_ms;
  if (c.state.may_wait && wait_ms != 0) {
    c.wait = {wanted, wait_ms};
    outcome = Planned::kWait;
    return false;
  }
  c.query.has_retry_after = true;
  std::array<char, 24> digits;
  http::ByteSink number(digits);
  number.append_number(wanted.value());
  outcome = c.fail(503, "version-not-reached", "Version not reached",
                   "The change that was asked for has not arrived within the time allowed: version ",
                   number.view(), ". It may still come; ask again.");
  return false;
}

bool Planner::find_table(Context& c, std::string_view raw_name, const ServedTable*& table) {
  std::string_view name;
  const std::span<char> scratch(scratch_.get(), kScratchBytes);
  if (http::percent_decode(raw_name, http::PlusMeans::kPlus, scratch, name) != http::DecodeStatus::kOk ||
      !is_utf8(name)) {
    c.fail(400, "invalid-path", "Invalid path", "The table's name is not percent-encoded UTF-8.");
    return false;
  }
  const Route* route = c.state.tables->find_route(name);
  if (route == nullptr) {
    c.fail(404, "unknown-table", "Unknown table", "There is no table '", name, "'.");
    return false;
  }
  if (route->is_quarantined) {
    c.query.has_retry_after = true;
    c.fail(503, "table-quarantined", "Table quarantined", "The table '", name,
           "' is not served, because it cannot be shown to be exact: ", route->reason);
    return false;
  }
  if (route->table == nullptr) {
    c.query.has_retry_after = true;
    c.fail(503, "table-loading", "Table loading", "The table '", name, "' is being loaded.");
    return false;
  }
  table = route->table;
  return true;
}

Planned Planner::rows(Context& c, const http::PathSegments& segments) {
  const ServedTable* table = nullptr;
  if (!find_table(c, segments[1], table)) return Planned::kReady;
  c.query.table = table;
  const http::QueryParameters& p = c.parameters;
  if (p.has_fields && !columns(c, *table)) {
    return c.query.status == 0 ? Planned::kArenaFull : Planned::kReady;
  }
  if (!c.request.if_none_match.empty()) {
    c.query.if_none_match = c.arena.copy(c.request.if_none_match);
    if (c.query.if_none_match.data() == nullptr) return Planned::kArenaFull;
  }
  const bool is_path_key = segments.count == 3;
  if (is_path_key && p.key_form != http::KeyForm::kNone) {
    return c.bad_parameter("key", "cannot stand beside a key in the path.");
  }
  if (!is_path_key && p.key_form == http::KeyForm::kNone) {
    return c.fail(400, "key-needed", "Key needed", "Rows are asked for by key: /v1/",
                  table->description().name, "/{key}, or ?key=, or ?keys=.");
  }
  if (is_path_key && segments[2].empty()) {
    return c.fail(400, "invalid-key", "Invalid key",
                  "The path ends in an empty key. For the empty key use ?key=.");
  }
  if (p.key_form == http::KeyForm::kKeys && table->description().key.size() != 1) {
    return c.bad_parameter("keys", "is for keys of one column. Use key= once for each row.");
  }

  const std::size_t count = is_path_key ? 1 : p.key_count;
  PlannedKey* keys = c.arena.take<PlannedKey>(count);
  if (keys == nullptr) return Planned::kArenaFull;
  http::KeyReader reader(p);
  std::string_view raw = segments[2];
  for (std::size_t i = 0; i < count; ++i) {
    keys[i] = PlannedKey{};
    if (!is_path_key && !reader.next(raw)) {
      return c.fail(500, "internal", "Internal error", "The keys were counted wrongly.");
    }
    const http::PlusMeans plus = is_path_key ? http::PlusMeans::kPlus : http::PlusMeans::kSpace;
    if (!one_key(c, *table, raw, plus, keys[i])) {
      return c.query.status == 0 ? Planned::kArenaFull : Planned::kReady;
    }
    if (keys[i].data != nullptr) c.state.tables->prefetch_index(*table, keys[i].hash);
  }
  c.query.keys = {keys, count};
  c.query.kind = is_path_key ? QueryKind::kRow : QueryKind::kRows;
  return Planned::kReady;
}

// Resolves fields=. False: a problem, or (status 0) the arena is full.
bool Planner::columns(Context& c, const ServedTable& table) {
  const std::string_view list = c.parameters.fields;
  const std::size_t most = static_cast<std::size_t>(std::count(list.begin(), list.end(), ',')) + 1;
  if (list.empty() || most > table.column_count()) {
    c.bad_parameter("fields", "names no columns, or more than there are.");
    return false;
  }
  std::uint16_t* numbers = c.arena.take<std::uint16_t>(most);
  if (numbers == nullptr) return false;
  http::ListReader reader(list);
  std::string_view raw;
  std::size_t count = 0;
  while (reader.next(raw)) {
    std::string_view name;
    const http::DecodeStatus status =
        http::percent_decode(raw, http::PlusMeans::kSpace, {scratch_.get(), kScratchBytes}, name);
    const std::uint32_t column =
        status == http::DecodeStatus::kOk ? table.find_column(name) : NameTable::kNone;
    if (column == NameTable::kNone) {
      c.bad_parameter("fields", "names '", raw, "', which is no column of '", table.description().name, "'.");
      return false;
    }
    numbers[count++] = static_cast<std::uint16_t>(column);
  }
  c.query.columns = {numbers, count};
  c.query.has_columns = true;
  return true;
}

// Normalises one key. False: a problem, or (status 0) the arena is full.
bool Planner::one_key(Context& c, const ServedTable& table, std::string_view raw, http::PlusMeans plus,
                      PlannedKey& key) {
  const std::vector<shm::KeyColumn>& parts = table.description().key;
  key_.clear();
  bool can_exist = true;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool is_last = i + 1 == parts.size();
    const std::size_t comma = raw.find(',');
    if ((comma == std::string_view::npos) != is_last) {
      c.fail(400, "invalid-key", "Invalid key", "A key of '", table.description().name,
             parts.size() == 1
                 ? std::string_view("' has one column; a comma within it is written %2C.")
                 : std::string_view("' has several columns, separated by commas; a comma within "
                                    "one is written %2C."));
      return false;
    }
    const shm::Column& column = table.column(parts[i].column);
    std::string_view text;
    const http::DecodeStatus decoded = http::percent_decode(is_last ? raw : raw.substr(0, comma), plus,
                                                            {scratch_.get(), kScratchBytes}, text);
    const shm::KeyStatus status = decoded == http::DecodeStatus::kOk
                                      ? shm::append_key_from_text(column, parts[i], is_last, text, key_)
                                      : shm::KeyStatus::kNotCanonical;
    if (status == shm::KeyStatus::kNotCanonical) {
      c.fail(400, "invalid-key", "Invalid key", "The key's part for column '", column.name, "' (",
             column.sql_type, ") is not in its canonical form.");
      return false;
    }
    can_exist = can_exist && status == shm::KeyStatus::kOk;
    if (!is_last) raw.remove_prefix(comma + 1);
  }
  if (!can_exist) return true;
  const Bytes bytes = key_.bytes();
  std::byte* copy = c.arena.take<std::byte>(bytes.size());
  if (copy == nullptr) return false;
  std::copy(bytes.begin(), bytes.end(), copy);
  key.data = copy;
  key.size = static_cast<std::uint32_t>(bytes.size());
  key.hash = shm::key_hash(bytes);
  return true;
}

}  // namespace ringside::replica
