#include "writer/source/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "writer/source/dialect.h"
#include "writer/source/grants.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

constexpr std::string_view kOwnDatabase = "ringside";

using Variables = std::map<std::string, std::string, std::less<>>;

// A global variable with the value that exact capture needs.
struct Rule {
  std::string_view name;
  std::string_view wanted;
  Severity severity;
  bool is_dynamic;  // SET GLOBAL works
  std::string_view why;
};

constexpr std::string_view kWhyBinlog = "without a binlog there is nothing to capture";
constexpr std::string_view kWhyFormat =
    "statements in the binlog do not say which rows they changed; sessions that are connected already keep "
    "the old "
    "format until they reconnect";
constexpr std::string_view kWhyImage = "row images must hold every column, or rows cannot be rebuilt";
constexpr std::string_view kWhyMetadata =
    "without column names, signedness and labels in the binlog, values cannot be decoded exactly";
constexpr std::string_view kWhySync =
    "after a power loss the server may take back transactions that were already sent and served";

constexpr Rule kMariaDbRules[] = {
    {"log_bin", "ON", Severity::kError, false, kWhyBinlog},
    {"binlog_format", "ROW", Severity::kError, true, kWhyFormat},
    {"binlog_row_image", "FULL", Severity::kError, true, kWhyImage},
    {"binlog_row_metadata", "FULL", Severity::kError, true, kWhyMetadata},
    {"gtid_strict_mode", "ON", Severity::kError, true,
     "without it a transaction may get a sequence number below its predecessor's, and versions would go "
     "back"},
    {"sync_binlog", "1", Severity::kWarning, true, kWhySync},
    {"innodb_flush_log_at_trx_commit", "1", Severity::kWarning, true, kWhySync},
};

constexpr Rule kMySqlRules[] = {
    {"log_bin", "ON", Severity::kError, false, kWhyBinlog},
    {"binlog_format", "ROW", Severity::kError, true, kWhyFormat},
    {"binlog_row_image", "FULL", Severity::kError, true, kWhyImage},
    {"binlog_row_metadata", "FULL", Severity::kError, true, kWhyMetadata},
    {"binlog_row_value_options", "", Severity::kError, true,
     "partial updates of JSON values are not decoded by this version"},
    {"enforce_gtid_consistency", "ON", Severity::kError, true,
     "GTIDs need it, and versions are made of GTIDs"},
    {"binlog_order_commits", "ON", Severity::kError, true,
     "the order of the binlog must be the order in which transactions become visible"},
    {"replica_preserve_commit_order", "ON", Severity::kError, true,
     "a server that is itself a replica must commit in its source's order, or two hosts would count "
     "differently"},
    {"log_replica_updates", "ON", Severity::kError, false,
     "what the server receives as a replica must be in its own binlog"},
    {"sync_binlog", "1", Severity::kWarning, true, kWhySync},
    {"innodb_flush_log_at_trx_commit", "1", Severity::kWarning, true, kWhySync},
};

class Checker {
 public:
  Checker(Connection& connection, const MysqlConfig& config, const CheckOptions& options)
      : connection_(connection), config_(config), options_(options) {}

  Result<std::vector<Problem>> run() {
    check_version();
    RINGSIDE_TRY(read_variables());
    check_rules();
    if (is_mariadb()) {
      check_domains();
      check_galera();
      check_replica_of_another();
    } else {
      check_gtid_mode();
      check_group_replication();
    }
    check_read_only();
    RINGSIDE_TRY(check_database());
    RINGSIDE_TRY(check_privileges());
    RINGSIDE_TRY(check_filters());
    return std::move(problems_);
  }

 private:
  bool is_mariadb() const { return connection_.server().flavour == Flavour::kMariaDb; }
  std::string variable(std::string_view name) const {
    const auto found = variables_.find(name);
    return found == variables_.end() ? std::string() : found->second;
  }
  bool is_on(std::string_view name) const { return variable(name) == "ON" || variable(name) == "1"; }
  void add(Problem problem) { problems_.push_back(std::move(problem)); }

  void check_version();
  Result<void> read_variables();
  void check_rules();
  void check_domains();
  void check_galera();
  void check_replica_of_another();
  void check_gtid_mode();
  void check_group_replication();
  void check_read_only();
  Result<void> check_database();
  Result<void> check_privileges();
  void need(bool is_granted, std::string_view privilege, const std::string& where, std::string_view why);
  Result<void> check_filters();
  void check_filter(std::string_view name, std::string_view list, bool is_allow_list);

  Connection& connection_;
  const MysqlConfig& config_;
  const CheckOptions& options_;
  Variables variables_;
  std::string account_;
  bool may_see_filters_ = false;
  std::vector<Problem> problems_;
};

void Checker::check_version() {
  const ServerVersion& server = connection_.server();
  const bool is_enough = is_mariadb() ? server.is_at_least(10, 6) : server.is_at_least(8, 4);
  if (is_enough) return;
  add({Severity::kError,
       "version",
       server.text,
       fmt::format("capture is built and tested for {}: upgrade the server",
                   is_mariadb() ? "MariaDB 10.6 and later" : "MySQL 8.4 and later"),
       {},
       {}});
}

Result<void> Checker::read_variables() {
  RINGSIDE_ASSIGN(const auto rows, connection_.query("SHOW GLOBAL VARIABLES"));
  for (const SqlRow& row : rows) variables_[row[0].value_or("")] = row[1].value_or("");
  return {};
}

void Checker::check_rules() {
  const auto check = [this](const Rule& rule) {
    const auto found = variables_.find(rule.name);
    if (found == variables_.end() || found->second == rule.wanted) return;
    Problem problem{rule.severity, std::string(rule.name), found->second, std::string(rule.why), {}, {}};
    const bool is_number = rule.wanted.find_first_not_of("0123456789") == std::string_view::npos;
    if (rule.is_dynamic) {
      problem.mend_sql.push_back(fmt::format(
          "SET GLOBAL {} = {}", rule.name,
          is_number && !rule.wanted.empty() ? std::string(rule.wanted) : quote_text(rule.wanted)));
    }
    problem.mend_option.push_back(rule.name == "log_bin" ? std::string("log_bin = binlog")
                                                         : fmt::format("{} = {}", rule.name, rule.wanted));
    if (!is_mariadb() && rule.name == "log_bin") {
      problem.mend_option = {"log_bin = binlog   # in the place of skip-log-bin or disable-log-bin"};
    }
    add(std::move(problem));
  };
  if (is_mariadb()) {
    std::for_each(std::begin(kMariaDbRules), std::end(kMariaDbRules), check);
  } else {
    std::for_each(std::begin(kMySqlRules), std::end(kMySqlRules), check);
  }
}

void Checker::check_domains() {
  const std::string state = variable("gtid_binlog_state");
  const auto gtids = parse_mariadb_gtid_list(state);
  if (!gtids) return add({Severity::kError, "gtid_binlog_state", state, gtids.error().message, {}, {}});
  std::set<std::uint32_t> domains;
  for (const MariaDbGtid& gtid : *gtids) domains.insert(gtid.domain);
  const std::string current = variable("gtid_domain_id");
  const bool is_current_known = std::any_of(domains.begin(), domains.end(), [&current](std::uint32_t domain) {
    return std::to_string(domain) == current;
  });
  if (!domains.empty() && !is_current_known) {
    return add(
        {Severity::kError,
         "gtid_domain_id",
         current,
         fmt::format("the binlog has another domain ({}): new transactions would begin a second history",
                     state),
         {fmt::format("SET GLOBAL gtid_domain_id = {}", *domains.begin())},
         {fmt::format("gtid_domain_id = {}", *domains.begin())}});
  }
  if (domains.size() <= 1) return;
  std::string others;
  for (const std::uint32_t domain : domains) {
    if (std::to_string(domain) != current) others += fmt::format("{}{}", others.empty() ? "" : ",", domain);
  }
  // The domain must not be in any binlog file that is left, so the files go first.
  add({Severity::kError,
       "gtid_binlog_state",
       state,
       "transactions of several replication domains have no common order, and so no version; use one domain, "
       "and drop the others once no replica needs their binlog files (when the last statement is refused, "
       "the "
       "server still uses an older file: run all again a moment later)",
       {"FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 SECOND",
        fmt::format("FLUSH BINARY LOGS DELETE_DOMAIN_ID=({})", others)},
       {}});
}

void Checker::check_galera() {
  if (!is_on("wsrep_on") || is_on("wsrep_gtid_mode")) return;
  add({Severity::kError,
       "wsrep_gtid_mode",
       variable("wsrep_gtid_mode"),
       "in a Galera cluster each node would number the same transaction differently",
       {},
       {"wsrep_gtid_mode = ON", "wsrep_gtid_domain_id = 0   # the same on every node",
        "log_slave_updates = ON"}});
}

void Checker::check_replica_of_another() {
  if (variable("gtid_slave_pos").empty() || is_on("log_slave_updates")) return;
  add({Severity::kError,
       "log_slave_updates",
       variable("log_slave_updates"),
       "this server is a replica, and what it receives must be in its own binlog",
       {},
       {"log_slave_updates = ON"}});
}

// The server takes one step at a time, and with enforce_gtid_consistency alone: hence behind the rules, which name it.
void Checker::check_gtid_mode() {
  constexpr std::string_view kSteps[] = {"OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"};
  const std::string mode = variable("gtid_mode");
  if (mode == "ON") return;
  Problem problem{
      Severity::kError,
      "gtid_mode",
      mode,
      "versions are made of GTIDs (a step is refused while a transaction without one is open: run it again "
      "then; the replicas of this server must have taken each step as well)",
      {},
      {"gtid_mode = ON"}};
  const auto* const now = std::find(std::begin(kSteps), std::end(kSteps), mode);
  for (const auto* step = now; step != std::end(kSteps) && ++step != std::end(kSteps);) {
    problem.mend_sql.push_back(fmt::format("SET GLOBAL gtid_mode = {}", *step));
  }
  add(std::move(problem));
}

void Checker::check_group_replication() {
  const std::string mode = variable("group_replication_single_primary_mode");
  if (mode.empty() || mode == "ON") return;
  add({Severity::kError,
       "group_replication_single_primary_mode",
       mode,
       "with several primaries the members commit in different orders",
       {"SELECT group_replication_switch_to_single_primary_mode()"},
       {"group_replication_single_primary_mode = ON"}});
}

void Checker::check_read_only() {
  if (!options_.commands || !is_on("read_only")) return;
  add({Severity::kWarning,
       "read_only",
       variable("read_only"),
       "commands will be refused; capture is not affected",
       {"SET GLOBAL read_only = 0"},
       {"read_only = OFF"}});
}

Result<void> Checker::check_database() {
  RINGSIDE_ASSIGN(const auto rows,
                  connection_.query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE "
                                    "SCHEMA_NAME=" +
                                    quote_text(config_.database)));
  const bool exists =
      std::any_of(rows.begin(), rows.end(), [this](const SqlRow& row) { return row[0] == config_.database; });
  if (exists) return {};
  add({Severity::kError,
       "database " + config_.database,
       "missing",
       fmt::format("mysql.database names no database that user '{}' can see (names are case-sensitive)",
                   config_.user),
       {"CREATE DATABASE " + quote_name(config_.database)},
       {}});
  return {};
}

void Checker::need(bool is_granted, std::string_view privilege, const std::string& where,
                   std::string_view why) {
  if (is_granted) return;
  add({Severity::kError,
       fmt::format("privilege {} on {}", privilege, where),
       "missing",
       std::string(why),
       {fmt::format("GRANT {} ON {} TO {}", privilege, where, account_)},
       {}});
}

Result<void> Checker::check_privileges() {
  RINGSIDE_ASSIGN(const auto rows, connection_.query("SHOW GRANTS"));
  RINGSIDE_ASSIGN(const SqlRow user, connection_.query_row("SELECT CURRENT_USER()"));
  const std::string account = user[0].value_or("");
  const std::size_t at = account.rfind('@');
  account_ = fmt::format("{}@{}", quote_text(account.substr(0, at)), quote_text(account.substr(at + 1)));
  std::vector<std::string> lines;
  for (const SqlRow& row : rows) lines.push_back(row[0].value_or(""));
  const Grants grants(lines);

  const std::string_view monitor = is_mariadb() ? "BINLOG MONITOR" : "REPLICATION CLIENT";
  may_see_filters_ = grants.has_global(monitor);
  need(grants.has_global("REPLICATION SLAVE"), "REPLICATION SLAVE", "*.*", "the binlog is read with it");
  need(may_see_filters_, monitor, "*.*", "it shows whether the server leaves databases out of the binlog");
  const auto need_on = [this, &grants](std::string_view database,
                                       std::initializer_list<std::string_view> privileges,
                                       std::string_view why) {
    for (const std::string_view privilege : privileges) {
      need(grants.has_on_database(privilege, database), privilege, quote_name(database) + ".*", why);
    }
  };
  need_on(config_.database, {"SELECT"}, "a table that cannot be read would be missing in silence");
  if (!is_mariadb()) {
    need_on(config_.database, {"LOCK TABLES"},
            "a snapshot needs the tables to stand still for the millisecond in which it is opened");
  }
  if (options_.commands) {
    need_on(config_.database, {"INSERT", "UPDATE", "DELETE"}, "commands are executed with it");
    need_on(kOwnDatabase, {"CREATE", "SELECT", "INSERT", "UPDATE", "DELETE"},
            "the writer keeps its table of commands there");
  }
  return {};
}

Result<void> Checker::check_filters() {
  if (!may_see_filters_) return {};  // said already
  const bool has_new_name = !is_mariadb();
  RINGSIDE_ASSIGN(const auto rows,
                  connection_.query(has_new_name ? "SHOW BINARY LOG STATUS" : "SHOW MASTER STATUS"));
  if (rows.empty() || rows.front().size() < 4) return {};  // no binlog: said already
  check_filter("binlog_do_db", rows.front()[2].value_or(""), true);
  check_filter("binlog_ignore_db", rows.front()[3].value_or(""), false);
  return {};
}

void Checker::check_filter(std::string_view name, std::string_view list, bool is_allow_list) {
  if (list.empty()) return;
  const std::string padded = fmt::format(",{},", list);
  std::vector<std::string> databases = {config_.database};
  if (options_.commands) databases.emplace_back(kOwnDatabase);
  for (const std::string& database : databases) {
    const bool is_listed = padded.find("," + database + ",") != std::string::npos;
    if (is_listed == is_allow_list) continue;
    add({Severity::kError,
         std::string(name),
         std::string(list),
         fmt::format("changes of the database {} are left out of the binlog", database),
         {},
         {is_allow_list ? fmt::format("binlog_do_db = {}", database)
                        : fmt::format("remove binlog_ignore_db = {}", database)}});
  }
}

}  // namespace

Result<std::vector<Problem>> check_source(Connection& connection, const MysqlConfig& config,
                                          const CheckOptions& options) {
  return Checker(connection, config, options).run();
}

bool may_start(const std::vector<Problem>& problems) {
  return std::none_of(problems.begin(), problems.end(),
                      [](const Problem& problem) { return problem.severity == Severity::kError; });
}

std::string describe(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) {
    text += fmt::format("{}: {} is {}: {}\n", problem.severity == Severity::kError ? "error" : "warning",
                        problem.setting, problem.value.empty() ? "empty" : problem.value, problem.why);
    for (const std::string& statement : problem.mend_sql) text += fmt::format("  run: {};\n", statement);
    for (const std::string& line : problem.mend_option)
      text += fmt::format("  in the option file: {}\n", line);
  }
  return text;
}

}  // namespace ringside::writer
