#include "replica/responder.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"

namespace ringside::replica {
namespace {

// Room for the keys of a batch: normalised keys are longer than their text by a factor of a few dozen at worst
// (decimals of 65 digits), so one request always fits an empty arena.
std::size_t arena_bytes(std::size_t head_limit) {
  return (std::size_t{256} << 10) + 64 * head_limit;
}

constexpr std::size_t kHeadEstimate = 512;

// About as long as the answer can be.
std::size_t most_bytes(const Query& query) {
  return kHeadEstimate + (query.table != nullptr ? query.table->largest_record * query.keys.size() : 0);
}

}  // namespace

Responder::Responder(const ResponderLimits& limits, PageSource& pages, ReplicaMetrics& metrics)
    : limits_(limits),
      metrics_(metrics),
      planner_(limits.plan),
      answers_(pages, limits.response_limit_bytes),
      arena_(arena_bytes(limits.head_limit_bytes)),
      connections_(limits.max_connections, nullptr),
      by_version_(limits.max_connections),
      by_deadline_(limits.max_connections) {
  touched_.reserve(limits.max_connections);
}

void Responder::begin_turn(const TurnState& state) {
  RINGSIDE_ASSERT(batch_size_ == 0);
  state_ = state;
  has_answered_from_ring_ = false;
  answers_.begin_turn(state.tables, state.version, state.unix_seconds, state.stale_seconds);
}

void Responder::receive(HttpConnection& connection, Bytes bytes) {
  metrics_.received_bytes += bytes.size();
  if (connection.must_close || connection.is_broken)
    return;  // what follows the last request is not looked at
  const std::string_view text = as_text(bytes);
  if (connection.input.empty() && !is_blocked(connection)) {
    // The usual case: whole requests, parsed where the kernel put them.
    const std::size_t used = process(connection, text);
    if (used == text.size() || connection.must_close) return;
    if (!connection.input.append(text.substr(used))) connection.is_broken = true;
  } else {
    if (!connection.input.append(text)) connection.is_broken = true;
    if (!connection.is_broken && !is_blocked(connection)) process_stored(connection);
  }
  if (connection.is_broken) touch(connection);
}

void Responder::resume(HttpConnection& connection) {
  connection.is_output_full = false;
  if (!connection.input.empty() && !is_blocked(connection)) process_stored(connection);
}

void Responder::process_stored(HttpConnection& connection) {
  const std::size_t used = process(connection, connection.input.view());
  if (connection.must_close) {
    connection.input.release();
  } else {
    connection.input.consume(used);
  }
}

// Plans every whole request in `input`. Returns how many bytes they took; what is behind them is a partial head, or
// stands behind something that has to happen first.
std::size_t Responder::process(HttpConnection& connection, std::string_view input) {
  std::size_t used = 0;
  while (used < input.size() && !is_blocked(connection)) {
    if (connection.output.size() + connection.queued_bytes > kOutputHighWater) {
      flush();
      if (connection.is_broken) break;
      if (connection.output.size() > kOutputHighWater) {
        connection.is_output_full = true;
        touch(connection);
        break;
      }
    }
    http::Request request;
    const http::ParseStatus status =
        connection.parser.parse(input.substr(used), limits_.head_limit_bytes, request);
    if (connection.started_ns == 0) connection.started_ns = state_.now_ns;
    if (status == http::ParseStatus::kNeedMore) break;
    if (status == http::ParseStatus::kFailed) {
      if (batch_size_ == kBatch) flush();
      const http::ParseFailure& failure = connection.parser.failure();
      Query& query = next_query();
      query.is_head = connection.parser.is_head();
      Planner::plan_failure(failure.status, failure.reason, query);
      enqueue(connection);
      break;
    }
    // What has arrived behind it is answered too, even while draining: the client has sent it in good faith.
    if (!take(connection, request, used + request.head_bytes == input.size())) break;
    used += request.head_bytes;
    connection.started_ns = 0;
  }
  return used;
}

// Plans one request. False: it waits, and its bytes are kept. `is_last`: nothing has arrived behind it.
bool Responder::take(HttpConnection& connection, const http::Request& request, bool is_last) {
  if (batch_size_ == kBatch)
    flush();  // before planning: what is planned lies in the arena that a flush empties
  PlanState state;
  state.tables = state_.tables;
  state.unready_reason = state_.unready_reason;
  state.is_admin = connection.is_admin;
  state.may_wait = !connection.wait_is_over;
  Wait wait;
  Planned planned = planner_.plan(request, state, arena_, next_query(), wait);
  if (planned == Planned::kArenaFull) {
    flush();
    planned = planner_.plan(request, state, arena_, next_query(), wait);
    if (planned == Planned::kArenaFull) {
      Planner::plan_failure(414, "the request needs more working memory than there is", next_query());
    }
  }
  if (planned == Planned::kWait) {
    begin_wait(connection, wait);
    return false;
  }
  Query& planned_query = batch_[batch_size_];
  if (connection.wait_is_over && planned_query.kind == QueryKind::kProblem &&
      planned_query.slug == "version-not-reached") {
    ++metrics_.wait_timeouts;
  }
  connection.wait_is_over = false;
  if (state_.is_draining && is_last) planned_query.keep_alive = false;
  enqueue(connection);
  return true;
}

void Responder::begin_wait(HttpConnection& connection, const Wait& wait) {
  connection.is_waiting = true;
  if (connection.asked_ns == 0) {
    connection.asked_ns = state_.now_ns;
    ++metrics_.waits;
  }
  connections_[connection.id] = &connection;
  by_version_.push(connection.id, wait.version.value());
  // From the first time on, however often it has to look again.
  by_deadline_.push(connection.id, connection.asked_ns + std::uint64_t{wait.wait_ms} * 1'000'000);
}

void Responder::end_waits(bool all) {
  const std::uint64_t visible = state_.tables != nullptr ? state_.version.value() : 0;
  const auto end = [this](std::uint32_t id, bool is_over) {
    by_version_.erase(id);
    by_deadline_.erase(id);
    HttpConnection& connection = *connections_[id];
    connection.is_waiting = false;
    connection.wait_is_over = is_over;
    resume(connection);
  };
  // A request that waits again (its version was there, but a GTID asks for more) waits for a later version: no id can
  // come back here at once.
  while (!by_version_.empty() && by_version_.top_value() <= visible) end(by_version_.top(), false);
  while (!by_deadline_.empty() && (all || by_deadline_.top_value() <= state_.now_ns))
    end(by_deadline_.top(), true);
}

std::uint64_t Responder::next_deadline_ns() const {
  return by_deadline_.empty() ? std::numeric_limits<std::uint64_t>::max() : by_deadline_.top_value();
}

void Responder::time_out_head(HttpConnection& connection) {
  ++metrics_.head_timeouts;
  if (batch_size_ == kBatch) flush();
  Planner::plan_failure(408, "the request's head did not arrive in time", next_query());
  enqueue(connection);
  connection.input.release();
}

// The batch's next place, empty. Precondition: it is not full.
Query& Responder::next_query() {
  RINGSIDE_ASSERT(batch_size_ < kBatch);
  return batch_[batch_size_] = Query{};
}

// Takes the query that was planned in next_query()'s place into the batch.
void Responder::enqueue(HttpConnection& connection) {
  connections_[connection.id] = &connection;
  Query& queued = batch_[batch_size_++];
  queued.connection = connection.id;
  queued.asked_ns = connection.asked_ns == 0 ? state_.now_ns : connection.asked_ns;
  connection.asked_ns = 0;
  connection.queued_bytes += most_bytes(queued);
  if (!queued.keep_alive) connection.must_close = true;
}

void Responder::flush() {
  if (batch_size_ == 0) return;
  for (std::size_t i = 0; i < batch_size_; ++i) answers_.prefetch(batch_[i]);
  for (std::size_t i = 0; i < batch_size_; ++i) answer(batch_[i]);
  batch_size_ = 0;
  arena_.clear();
}

void Responder::answer(const Query& query) {
  HttpConnection& connection = *connections_[query.connection];
  connection.queued_bytes = 0;
  touch(connection);
  if (connection.is_broken) return;
  if (state_.version < connection.last_version) {
    // Joined again at an older version than this client has seen: another connection may show it, this one not.
    connection.is_broken = true;
    return;
  }
  if (connection.output.pool().lent_bytes() / 2 > limits_.unsent_limit_bytes &&
      connection.output.size() + most_bytes(query) > kSmallOutput) {
    connection.is_broken = true;
    return;
  }
  const std::size_t before = connection.output.size();
  std::uint16_t status = 0;
  if (answers_.write(query, connection.output, status) == Answered::kLost) {
    is_lost_ = true;
    connection.is_broken = true;
    return;
  }
  if (connection.output.size() == before) {
    connection.is_broken = true;  // not even a problem fitted: silence would shift all answers by one
    return;
  }
  connection.last_version = state_.version;
  if (query.kind == QueryKind::kRow || query.kind == QueryKind::kRows) has_answered_from_ring_ = true;
  metrics_.requests.count(query.route, status);
  metrics_.request_durations.answered(query.route, query.asked_ns, state_.now_ns);
}

void Responder::touch(HttpConnection& connection) {
  if (connection.is_listed) return;
  connection.is_listed = true;
  touched_.push_back(&connection);
}

void Responder::clear_touched() {
  for (HttpConnection* connection : touched_) connection->is_listed = false;
  touched_.clear();
}

bool Responder::take_lost() {
  const bool lost = is_lost_;
  is_lost_ = false;
  return lost;
}

void Responder::forget(HttpConnection& connection) {
  by_version_.erase(connection.id);
  by_deadline_.erase(connection.id);
  connection.is_waiting = false;
  connections_[connection.id] = nullptr;
}

}  // namespace ringside::replica
