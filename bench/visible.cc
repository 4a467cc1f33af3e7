#include "bench/visible.h"

#include <fmt/format.h>
#include <mysql.h>
#include <sys/socket.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <memory>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "bench/errno_text.h"
#include "bench/response_reader.h"

namespace ringside::bench {
namespace {

// One connection to the database, statements as text.
class Session {
 public:
  static Result<Session> open(const MysqlAddress& address) {
    Session session;
    session.mysql_.reset(::mysql_init(nullptr));
    if (!session.mysql_) return Error{ErrorKind::kIo, "mysql_init: out of memory"};
    const bool local = !address.socket.empty();
    if (::mysql_real_connect(
            session.mysql_.get(), local ? nullptr : address.host.c_str(), address.user.c_str(),
            address.password.empty() ? nullptr : address.password.c_str(), address.database.c_str(),
            local ? 0 : address.port, local ? address.socket.c_str() : nullptr, 0) == nullptr) {
      return session.error("connecting to the database");
    }
    if (::mysql_autocommit(session.mysql_.get(), 0) != 0) return session.error("SET autocommit=0");
    return session;
  }

  Result<void> execute(const std::string& statement) {
    if (::mysql_real_query(mysql_.get(), statement.data(), statement.size()) != 0) return error(statement);
    return {};
  }

  Result<void> commit() {
    if (::mysql_commit(mysql_.get()) != 0) return error("COMMIT");
    return {};
  }

  // The first column of the first row.
  Result<std::string> value(const std::string& statement) {
    RINGSIDE_TRY(execute(statement));
    const std::unique_ptr<MYSQL_RES, void (*)(MYSQL_RES*)> rows(::mysql_store_result(mysql_.get()),
                                                                ::mysql_free_result);
    const MYSQL_ROW row = rows ? ::mysql_fetch_row(rows.get()) : nullptr;
    if (row == nullptr) return Error{ErrorKind::kNotFound, fmt::format("{}: no such row", statement)};
    return std::string(row[0] == nullptr ? "NULL" : row[0]);
  }

 private:
  Session() : mysql_(nullptr, ::mysql_close) {}

  Error error(std::string_view what) const {
    return {ErrorKind::kUnavailable, fmt::format("{}: {}", what, ::mysql_error(mysql_.get()))};
  }

  std::unique_ptr<MYSQL, void (*)(MYSQL*)> mysql_;
};

// One keep-alive connection that waits for one answer at a time.
class Reader {
 public:
  static Result<Reader> open(const RequestPlan& plan, bool spin) {
    RINGSIDE_ASSIGN(const int fd, plan.endpoint().connect());
    return Reader(fd, plan, spin);
  }

  // The body of the answer for key `index`; valid until the next call.
  Result<std::string_view> get(std::size_t index) {
    std::array<char, kMaxRequestBytes> request;
    const std::size_t size = plan_->write(index, request.data());
    if (::send(fd_.get(), request.data(), size, MSG_NOSIGNAL) != static_cast<ssize_t>(size)) {
      return Error{ErrorKind::kUnavailable,
                   fmt::format("sending to {}: {}", plan_->endpoint().name(), errno_text(errno))};
    }
    answer_.clear();
    ResponseReader reader;
    for (;;) {
      std::array<char, 16384> piece;
      const ssize_t got = ::recv(fd_.get(), piece.data(), piece.size(), spin_ ? MSG_DONTWAIT : 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got <= 0) {
        return Error{ErrorKind::kUnavailable,
                     fmt::format("{} closed the connection", plan_->endpoint().name())};
      }
      answer_.append(piece.data(), static_cast<std::size_t>(got));
      std::string_view input(answer_.data() + answer_.size() - static_cast<std::size_t>(got),
                             static_cast<std::size_t>(got));
      Response response;
      const ReadStep step = reader.next(input, response);
      if (step == ReadStep::kNeedMore) continue;
      if (step == ReadStep::kMalformed || response.status != 200) {
        return Error{ErrorKind::kUnavailable,
                     fmt::format("{} answered: {}", plan_->endpoint().name(), answer_.substr(0, 500))};
      }
      return std::string_view(answer_).substr(response.head_bytes, response.body_bytes);
    }
  }

 private:
  Reader(int fd, const RequestPlan& plan, bool spin) : fd_(fd), plan_(&plan), spin_(spin) {}

  UniqueFd fd_;
  const RequestPlan* plan_;
  bool spin_;
  std::string answer_;
};

std::string quoted_name(std::string_view name) {
  std::string quoted = "`";
  for (const char c : name) {
    if (c == '`') quoted += c;
    quoted += c;
  }
  return quoted + "`";
}

// One row that is updated in turn, and the value to put back.
struct Row {
  std::size_t key_index = 0;
  std::string where;
  std::string original;
};

class Visible {
 public:
  Visible(const std::vector<NamedReplica>& replicas, const VisibleOptions& options, Session session)
      : replicas_(replicas), options_(options), session_(std::move(session)) {}

  Result<void> prepare(const KeySet& keys);
  Result<void> measure();
  Result<void> put_back();

  std::vector<VisibleReport> take_reports() && { return std::move(reports_); }

 private:
  Result<void> one_commit(std::uint64_t number, VisibleReport* report);
  std::string update(const Row& row, std::string_view value) const {
    return fmt::format("UPDATE {} SET {} = {} WHERE {}", quoted_name(options_.table),
                       quoted_name(options_.column), value, row.where);
  }

  const std::vector<NamedReplica>& replicas_;
  const VisibleOptions& options_;
  Session session_;
  std::vector<Reader> readers_;
  std::vector<Row> rows_;
  std::vector<VisibleReport> reports_;
};

Result<void> Visible::prepare(const KeySet& keys) {
  for (const NamedReplica& replica : replicas_) {
    RINGSIDE_ASSIGN(Reader reader, Reader::open(replica.plan, options_.spin));
    readers_.push_back(std::move(reader));
    reports_.emplace_back().name = replica.name;
  }
  const std::size_t count = std::min<std::size_t>(options_.rows, keys.size());
  for (std::size_t i = 0; i < count; ++i) {
    Row row;
    row.key_index = i * keys.size() / count;
    std::string key(keys.longest(), '\0');
    key.resize(keys.write(row.key_index, key.data()));
    if (key.find_first_of("%'\\") != std::string::npos) {
      return Error{ErrorKind::kUnsupported,
                   fmt::format("key {}: only keys that need no percent-encoding", key)};
    }
    row.where = fmt::format("{} = '{}'", quoted_name(options_.key_column), key);
    RINGSIDE_ASSIGN(row.original,
                    session_.value(fmt::format("SELECT {} FROM {} WHERE {}", quoted_name(options_.column),
                                               quoted_name(options_.table), row.where)));
    rows_.push_back(std::move(row));
  }
  return session_.commit();
}

Result<void> Visible::one_commit(std::uint64_t number, VisibleReport* report) {
  const Row& row = rows_[number % rows_.size()];
  Reader& reader = readers_[number % readers_.size()];
  const std::string value = std::to_string(options_.first_value + number);
  const std::uint64_t asked = monotonic_ns();
  RINGSIDE_ASSIGN(std::string_view body, reader.get(row.key_index));
  const std::uint64_t answered = monotonic_ns();
  if (has_member(body, options_.column, value)) {
    return Error{ErrorKind::kInvalid,
                 fmt::format("the row has the value {} before it is written; choose another "
                             "--first-value",
                             value)};
  }
  RINGSIDE_TRY(session_.execute(update(row, value)));
  const std::uint64_t before = monotonic_ns();
  RINGSIDE_TRY(session_.commit());
  const std::uint64_t committed = monotonic_ns();
  std::uint64_t visible = 0;
  std::uint64_t reads = 0;
  do {
    RINGSIDE_ASSIGN(body, reader.get(row.key_index));
    visible = monotonic_ns();
    ++reads;
    if (visible - committed > options_.give_up_ns) {
      return Error{ErrorKind::kUnavailable,
                   fmt::format("{} does not show {}.{} = {} for {} within {} ms; its last answer: {}",
                               replicas_[number % replicas_.size()].name, options_.table, options_.column,
                               value, row.where, options_.give_up_ns / 1'000'000, body.substr(0, 500))};
    }
  } while (!has_member(body, options_.column, value));
  if (report != nullptr) {
    report->round_trip_ns.record(answered - asked);
    report->commit_ns.record(committed - before);
    report->visible_ns.record(visible - committed);
    if (reads == 1) ++report->at_once;
  }
  return {};
}

Result<void> Visible::measure() {
  for (std::uint64_t i = 0; i < options_.warmup + options_.commits; ++i) {
    RINGSIDE_TRY(one_commit(i, i < options_.warmup ? nullptr : &reports_[i % reports_.size()]));
    if (options_.pause_ns != 0) {
      const timespec pause{static_cast<time_t>(options_.pause_ns / 1'000'000'000),
                           static_cast<long>(options_.pause_ns % 1'000'000'000)};
      ::nanosleep(&pause, nullptr);
    }
  }
  return {};
}

Result<void> Visible::put_back() {
  for (const Row& row : rows_) RINGSIDE_TRY(session_.execute(update(row, row.original)));
  return session_.commit();
}

}  // namespace

bool has_member(std::string_view body, std::string_view column, std::string_view value) {
  const std::string name = fmt::format("\"{}\":", column);
  const std::size_t at = body.find(name);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = body.substr(at + name.size());
  // Not only a prefix of a longer number.
  return rest.starts_with(value) &&
         (rest.size() == value.size() || rest[value.size()] < '0' || rest[value.size()] > '9');
}

Result<std::vector<VisibleReport>> run_visible(const std::vector<NamedReplica>& replicas, const KeySet& keys,
                                               const VisibleOptions& options) {
  if (replicas.empty() || options.rows == 0) {
    return Error{ErrorKind::kInvalid, "at least one replica and one row are needed"};
  }
  RINGSIDE_ASSIGN(Session session, Session::open(options.mysql));
  Visible visible(replicas, options, std::move(session));
  RINGSIDE_TRY(visible.prepare(keys));
  const Result<void> measured = visible.measure();
  // The rows get their values back also when the measurement has failed; its own error is told first.
  const Result<void> restored = visible.put_back();
  if (!measured) return measured.error();
  if (!restored) return restored.error();
  return std::move(visible).take_reports();
}

}  // namespace ringside::bench
