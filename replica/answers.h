// From a planned query to the bytes of its answer, all from one version.
//
// A body is written first, behind room for the longest head; then the head goes in front of it and the body moves
// up. So the length is known when it is written, and nothing is composed twice.
//
// Threads: one.   Ownership: appends to the caller's Buffer, and to it alone.
// Errors: kLost when the ring's bytes were not what they should be: the caller sends nothing of this turn. An answer
// beyond the response limit becomes a problem document.
// Limits: the Buffer's.   Allocation: none for rows (the Buffer's pool apart); pages for people and for Prometheus are
// composed as strings.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "http/byte_sink.h"
#include "http/response.h"
#include "replica/buffer.h"
#include "replica/plan.h"
#include "replica/table_store.h"

namespace ringside::replica {

// Answers that no row is needed for: /status and its like.
struct Page {
  std::uint16_t status = 200;
  std::string_view content_type;  // static text
  std::string body;
};
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual Page page(RouteKind route) = 0;
};

enum class Answered : std::uint8_t { kYes, kLost };

class Answers {
 public:
  // `response_limit`: bytes of a body.
  Answers(PageSource& pages, std::size_t response_limit) : pages_(pages), response_limit_(response_limit) {}

  // What every answer of a turn has in common. `tables` may be nullptr while not serving: then queries are pages and
  // problems only. `stale_seconds`: answers are marked as stale.
  void begin_turn(const TableStore* tables, Version version, std::uint64_t unix_seconds,
                  std::optional<std::uint64_t> stale_seconds = {});

  // Asks the processor for the row of a query that was planned a moment ago; for a batch: prefetch all, then write all.
  void prefetch(const Query& query) const {
    if (query.kind == QueryKind::kRow) prefetch_key(query, 0);
  }
  // Appends the answer, whole. `status` is what was answered.
  Answered write(const Query& query, Buffer& out, std::uint16_t& status);

 private:
  static constexpr std::size_t kHeadRoom = 1024;
  using EtagText = std::array<char, 48>;

  void prefetch_key(const Query& query, std::size_t i) const {
    const PlannedKey& key = query.keys[i];
    if (key.data != nullptr) tables_->prefetch_row(*query.table, key.hash);
  }
  http::ResponseHead head_for(const Query& query) const;
  Answered row(const Query& query, Buffer& out, std::uint16_t& status);
  Answered rows(const Query& query, Buffer& out, std::uint16_t& status);
  void version(const Query& query, Buffer& out, std::uint16_t& status);
  void page(const Query& query, Buffer& out, std::uint16_t& status);
  void options(const Query& query, Buffer& out, std::uint16_t& status);
  void problem(const Query& query, const http::Problem& problem, Buffer& out, std::uint16_t& status);
  void too_large(const Query& query, Buffer& out, std::uint16_t& status);

  bool open(Buffer& out);
  bool append_row(const Query& query, Buffer& out);
  bool is_within_limit(const Buffer& out, std::size_t base) const {
    return out.size() - base - kHeadRoom <= response_limit_;
  }
  void close(const Query& query, http::ResponseHead head, std::size_t base, Buffer& out);

  PageSource& pages_;
  std::size_t response_limit_;
  const TableStore* tables_ = nullptr;
  Version version_;
  std::uint64_t unix_seconds_ = 0;
  std::optional<std::uint64_t> stale_seconds_;
  http::DateText date_;
  std::array<char, 128> more_text_;
  std::string_view more_;  // the header lines that all answers have beside the usual ones
  std::array<char, 512> usual_text_;
  std::string_view usual_head_;  // of a 200 in JSON on a connection that stays; up to its last lines
  RowBuffer row_;
};

// Does the If-None-Match field name this entity tag (quotes included), or '*'? Weak comparison, as RFC 9110 has it.
bool matches_etag(std::string_view if_none_match, std::string_view etag);
// Is this JSON number beyond what every double holds exactly, 2^53?
bool is_beyond_double(std::string_view number);

}  // namespace ringside::replica
