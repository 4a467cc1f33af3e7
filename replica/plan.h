// From a request's head to what has to be looked up: the point-read grammar of the HTTP interface.
//
//   GET /v1/{table}/{key}        one row               ?fields= ?numbers= ?minVersion= ?minGtid= ?wait=
//   GET /v1/{table}?key=…&key=…  rows, at one version  the same
//   GET /v1/{table}?keys=1,2,3
//   GET /version                 no row                ?minVersion= ?minGtid= ?wait=
//   GET / /status /healthz /readyz /metrics
//   HEAD as GET · OPTIONS, of whatever: which methods there are
//
// A Query holds everything its answer needs: keys normalised, columns by number, conditions copied. It does not
// point into the request, so the request's bytes may go. Its own bytes lie in an Arena, which is emptied
// when the queries of a batch have been answered.
//
// Threads: one.   Ownership: as above; tables are valid until records are applied.
// Errors: whatever is wrong with a request becomes a Query of kind kProblem: nothing here fails.
// Limits: PlanLimits; the arena (kArenaFull: answer what is planned, empty it, plan again).
// No allocation, no exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "base/ids.h"
#include "http/request_parser.h"
#include "http/target.h"
#include "replica/replica_metrics.h"
#include "replica/table_store.h"
#include "shm/key.h"

namespace ringside::replica {

// Bytes for one batch of queries: taken from the front, given back all at once.
class Arena {
 public:
  explicit Arena(std::size_t bytes) : bytes_(new std::byte[bytes]), size_(bytes) {}

  bool is_empty() const { return used_ == 0; }
  void clear() { used_ = 0; }
  // Uninitialised room for `count` of T; nullptr when the arena is full.
  template <class T>
  T* take(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 8);
    const std::size_t start = (used_ + alignof(T) - 1) / alignof(T) * alignof(T);
    if (start > size_ || count > (size_ - start) / sizeof(T)) return nullptr;
    used_ = start + count * sizeof(T);
    return reinterpret_cast<T*>(bytes_.get() + start);
  }
  // nullptr in data() when the arena is full.
  std::string_view copy(std::string_view text) {
    char* to = take<char>(text.size());
    if (to != nullptr && !text.empty()) std::memcpy(to, text.data(), text.size());
    return {to, to == nullptr ? 0 : text.size()};
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_;
  std::size_t used_ = 0;
};

// A normalised key with its hash. `data` nullptr: no row can have the key that was asked for.
struct PlannedKey {
  std::uint64_t hash = 0;
  const std::byte* data = nullptr;
  std::uint32_t size = 0;
};

enum class QueryKind : std::uint8_t { kRow, kRows, kVersion, kPage, kOptions, kProblem };

struct Query {
  QueryKind kind = QueryKind::kProblem;
  RouteKind route = RouteKind::kOther;
  bool is_head = false;  // HEAD: no body
  bool is_http_1_0 = false;
  bool keep_alive = false;
  bool quotes_numbers = false;  // numbers=string
  bool has_columns = false;     // fields=
  std::uint32_t connection = 0;
  std::uint64_t asked_ns = 0;  // when the turn began that had its whole head

  const ServedTable* table = nullptr;
  std::span<const PlannedKey> keys;
  std::span<const std::uint16_t> columns;
  std::string_view if_none_match;

  // kProblem.
  std::uint16_t status = 0;
  std::string_view slug;
  std::string_view title;
  std::string_view detail;
  std::string_view more_headers;  // of kOptions as well
  bool has_retry_after = false;
};

struct PlanLimits {
  std::uint32_t max_keys = 1000;
  std::uint32_t default_wait_ms = 1000;
  std::uint32_t max_wait_ms = 10'000;
  bool numbers_as_strings = false;
};

// What the planning of one request depends on besides its bytes.
struct PlanState {
  const TableStore* tables = nullptr;  // nullptr: not serving, and `unready_reason` says why
  std::string_view unready_reason;
  bool is_admin = false;  // the admin port knows the pages only
  bool may_wait = true;   // false: it has waited already, or must not
};

enum class Planned : std::uint8_t {
  kReady,
  kWait,  // for `wait`; then to be planned again from the same bytes
  kArenaFull,
};
struct Wait {
  Version version;
  std::uint32_t wait_ms = 0;
};

class Planner {
 public:
  explicit Planner(const PlanLimits& limits);

  // Fills `query` (kind, route, and what belongs to it).
  Planned plan(const http::Request& request, const PlanState& state, Arena& arena, Query& query, Wait& wait);
  // A request that could not even be parsed, or timed out.
  static void plan_failure(std::uint16_t status, std::string_view reason, Query& query);

 private:
  struct Context;  // of one request

  Planned data(Context& c);
  Planned version(Context& c);
  Planned rows(Context& c, const http::PathSegments& segments);
  bool parameters(Context& c);
  bool reached(Context& c, Planned& outcome);
  bool minimum(Context& c, Version& version);
  bool minimum_of_gtid(Context& c, std::string_view raw, std::uint64_t& wanted);
  static bool mysql_minimum(Context& c, std::string_view text, std::uint64_t& wanted);
  bool find_table(Context& c, std::string_view raw_name, const ServedTable*& table);
  bool columns(Context& c, const ServedTable& table);
  bool one_key(Context& c, const ServedTable& table, std::string_view raw, http::PlusMeans plus,
               PlannedKey& key);

  PlanLimits limits_;
  shm::KeyBuffer key_;
  std::unique_ptr<char[]> scratch_;  // for decoding; as long as the longest head
};

}  // namespace ringside::replica
