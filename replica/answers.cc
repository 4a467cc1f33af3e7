#include "replica/answers.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace ringside::replica {
namespace {

// Rows of one answer that are on their way from memory at a time.
constexpr std::size_t kPrefetchAhead = 12;

constexpr std::string_view kRevalidate = "Cache-Control: no-cache\r\n";

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15u;
  hash *= 0xbf58476d1ce4e5b9u;
  return hash ^ hash >> 29;
}

// Everything about an answer's form: the column list, the columns chosen, the numbers' form.
std::uint64_t representation_of(const Query& query) {
  std::uint64_t hash = query.table->representation_hash();
  hash = mix(hash, (query.quotes_numbers ? 2u : 0u) + (query.has_columns ? 1u : 0u));
  for (const std::uint16_t column : query.columns) hash = mix(hash, column);
  return hash;
}

// "16 hexadecimal digits-version", with quotes.
template <std::size_t N>
std::string_view write_etag(std::uint64_t representation, std::uint64_t version, std::array<char, N>& text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  http::ByteSink out(text);
  out.append('"');
  for (int shift = 60; shift >= 0; shift -= 4) out.append(kDigits[representation >> shift & 15]);
  out.append('-');
  out.append_number(version);
  out.append('"');
  return out.view();
}

// Copies `text` to `to` and returns the end. Texts are short: 32 bytes at once, whatever the length, cost less than
// finding out how many there are. So kSlack bytes behind the text must be readable, and behind `to` + size writable.
inline char* put(char* to, std::string_view text) {
  static_assert(ServedTable::kSlack == 32);
  if (text.size() <= 32) {
    std::memcpy(to, text.data(), 32);
  } else {
    std::memcpy(to, text.data(), text.size());
  }
  return to + text.size();
}

inline char* put_value(const Query& query, std::size_t column, std::string_view value, char* to) {
  to = put(to, query.table->name_fragment(column));
  if (value.empty()) {
    std::memcpy(to, "null", 4);
    return to + 4;
  }
  if (query.quotes_numbers) {
    const ServedTable::Quote quote = query.table->quote(column);
    if (quote == ServedTable::Quote::kAlways ||
        (quote == ServedTable::Quote::kWhenLarge && is_beyond_double(value))) {
      *to++ = '"';
      to = put(to, value);
      *to++ = '"';
      return to;
    }
  }
  return put(to, value);
}

}  // namespace

bool is_beyond_double(std::string_view number) {
  constexpr std::string_view kLimit = "9007199254740992";
  if (number.starts_with('-')) number.remove_prefix(1);
  return number.size() != kLimit.size() ? number.size() > kLimit.size() : number > kLimit;
}

bool matches_etag(std::string_view if_none_match, std::string_view etag) {
  std::string_view rest = if_none_match;
  const auto skip = [&rest](std::string_view characters) {
    rest.remove_prefix(std::min(rest.find_first_not_of(characters), rest.size()));
  };
  skip(" \t");
  if (rest.starts_with('*')) {
    rest.remove_prefix(1);
    skip(" \t");
    return rest.empty();
  }
  for (skip(", \t"); !rest.empty(); skip(", \t")) {
    if (rest.starts_with("W/")) rest.remove_prefix(2);
    if (!rest.starts_with('"')) return false;
    const std::size_t end = rest.find('"', 1);
    if (end == std::string_view::npos) return false;
    if (rest.substr(0, end + 1) == etag) return true;
    rest.remove_prefix(end + 1);
  }
  return false;
}

void Answers::begin_turn(const TableStore* tables, Version version, std::uint64_t unix_seconds,
                         std::optional<std::uint64_t> stale_seconds) {
  tables_ = tables;
  if (version == version_ && unix_seconds == unix_seconds_ && stale_seconds == stale_seconds_ &&
      !usual_head_.empty()) {
    return;
  }
  version_ = version;
  unix_seconds_ = unix_seconds;
  stale_seconds_ = stale_seconds;
  date_.refresh(unix_seconds);
  http::ByteSink more(more_text_);
  more.append(kRevalidate);
  if (stale_seconds) {
    more.append("Ringside-Stale: ");
    more.append_number(*stale_seconds);
    more.append("\r\n");
  }
  RINGSIDE_ASSERT(!more.overflowed());
  more_ = more.view();
  // All but the last lines of the head of nearly every answer.
  http::ByteSink out(usual_text_);
  Query usual;
  usual.keep_alive = true;
  http::append_head(out, head_for(usual));
  RINGSIDE_ASSERT(!out.overflowed());
  usual_head_ = out.view().substr(0, out.view().size() - 2);
}

Answered Answers::write(const Query& query, Buffer& out, std::uint16_t& status) {
  switch (query.kind) {
    case QueryKind::kRow:
      return row(query, out, status);
    case QueryKind::kRows:
      return rows(query, out, status);
    case QueryKind::kVersion:
      version(query, out, status);
      return Answered::kYes;
    case QueryKind::kPage:
      page(query, out, status);
      return Answered::kYes;
    case QueryKind::kOptions:
      options(query, out, status);
      return Answered::kYes;
    case QueryKind::kProblem:
      problem(query, {query.status, query.slug, query.title, query.detail}, out, status);
      return Answered::kYes;
  }
  return Answered::kYes;
}

http::ResponseHead Answers::head_for(const Query& query) const {
  http::ResponseHead head;
  head.date = date_.text();
  head.content_type = http::kJsonType;
  head.version = version_.value();
  head.is_http_1_0 = query.is_http_1_0;
  head.keep_alive = query.keep_alive;
  head.more = more_;
  return head;
}

// Leaves room for the head. False: the buffer has no room for even that.
bool Answers::open(Buffer& out) {
  if (out.reserve(kHeadRoom) == nullptr) return false;
  out.commit(kHeadRoom);
  return true;
}

// Puts the head in front of the body that begins kHeadRoom behind `base`.
void Answers::close(const Query& query, http::ResponseHead head, std::size_t base, Buffer& out) {
  const std::size_t body = out.size() - base - kHeadRoom;
  const bool may_have_body = head.status != 304 && head.status != 204;
  if (may_have_body) head.content_length = body;
  std::array<char, kHeadRoom> text;
  http::ByteSink sink(text);
  const bool is_usual = head.status == 200 && head.keep_alive && !head.is_http_1_0 &&
                        head.content_type.data() == http::kJsonType.data();
  if (is_usual) {
    sink.append(usual_head_);
    sink.append("Content-Length: ");
    sink.append_number(body);
    if (!head.etag.empty()) {
      sink.append("\r\nETag: ");
      sink.append(head.etag);
    }
    sink.append("\r\n\r\n");
  } else {
    http::append_head(sink, head);
  }
  RINGSIDE_ASSERT(!sink.overflowed());
  const std::string_view written = sink.view();
  const bool has_body = !query.is_head && may_have_body;
  if (base == 0 && has_body) {
    // The usual case: what the head does not need is cut off in front, and the body stays where it is.
    out.consume(kHeadRoom - written.size());
    std::memcpy(out.data(), written.data(), written.size());
    return;
  }
  char* const at = out.data() + base;
  std::memcpy(at, written.data(), written.size());
  if (has_body) std::memmove(at + written.size(), at + kHeadRoom, body);
  out.truncate(base + written.size() + (has_body ? body : 0));
}

// Appends row_ as an object. False: beyond the response limit.
bool Answers::append_row(const Query& query, Buffer& out) {
  const ServedTable& table = *query.table;
  const std::size_t columns = table.column_count();
  const std::size_t shown = query.has_columns ? query.columns.size() : columns;
  // The values as they stand in the record (lookup() saw that they do not overlap), or, with fields=, those asked for;
  // and for every column "null" or two quotes.
  std::size_t bound = table.fragment_bytes() + row_.header.length + 6 * shown + ServedTable::kSlack;
  if (query.has_columns) {
    for (const std::uint16_t column : query.columns) {
      bound += table.name_fragment(column).size() + row_.row.value(column).size();
    }
  }
  char* const begin = out.reserve(bound);
  if (begin == nullptr) return false;
  char* to = begin;
  for (std::size_t i = 0; i < shown; ++i) {
    const std::size_t column = query.has_columns ? query.columns[i] : i;
    to = put_value(query, column, row_.row.value(column), to);
  }
  *begin = '{';  // in place of the first fragment's comma
  *to++ = '}';
  out.commit(static_cast<std::size_t>(to - begin));
  return true;
}

Answered Answers::row(const Query& query, Buffer& out, std::uint16_t& status) {
  const PlannedKey& key = query.keys[0];
  const Lookup found = key.data == nullptr
                           ? Lookup::kNone
                           : tables_->lookup(*query.table, key.hash, {key.data, key.size}, row_);
  if (found == Lookup::kLost) return Answered::kLost;
  if (found == Lookup::kNone) {
    problem(query, {404, "row-not-found", "Row not found", "No row of this table has this key."}, out,
            status);
    return Answered::kYes;
  }
  const std::size_t base = out.size();
  EtagText text;
  http::ResponseHead head = head_for(query);
  head.etag = write_etag(representation_of(query), row_.header.version.value(), text);
  if (!query.if_none_match.empty() && matches_etag(query.if_none_match, head.etag)) {
    head.status = 304;
    head.content_type = {};
  }
  if (!open(out) || (head.status == 200 && !append_row(query, out)) || !is_within_limit(out, base)) {
    out.truncate(base);
    too_large(query, out, status);
    return Answered::kYes;
  }
  close(query, head, base, out);
  status = head.status;
  return Answered::kYes;
}

Answered Answers::rows(const Query& query, Buffer& out, std::uint16_t& status) {
  const std::size_t base = out.size();
  std::uint64_t content = representation_of(query);
  bool fits = open(out) && out.append("{\"data\":[");
  const std::size_t count = query.keys.size();
  for (std::size_t i = 0; i < std::min(count, kPrefetchAhead); ++i) prefetch_key(query, i);
  for (std::size_t i = 0; i < count && fits; ++i) {
    if (i + kPrefetchAhead < count) prefetch_key(query, i + kPrefetchAhead);
    if (i != 0) fits = out.append(",");
    const PlannedKey& key = query.keys[i];
    const Lookup found = key.data == nullptr
                             ? Lookup::kNone
                             : tables_->lookup(*query.table, key.hash, {key.data, key.size}, row_);
    if (found == Lookup::kLost) {
      out.truncate(base);
      return Answered::kLost;
    }
    if (found == Lookup::kRow) {
      // Which row it is counts as well: another choice of keys may have rows of the same versions.
      content = mix(mix(content, key.hash), row_.header.version.value());
      fits = fits && append_row(query, out);
    } else {
      content = mix(mix(content, key.hash), ~std::uint64_t{0});
      fits = fits && out.append("null");
    }
    fits = fits && is_within_limit(out, base);
  }
  fits = fits && out.append("]}");
  if (!fits) {
    out.truncate(base);
    too_large(query, out, status);
    return Answered::kYes;
  }
  EtagText text;
  http::ResponseHead head = head_for(query);
  head.etag = write_etag(content, query.keys.size(), text);
  if (!query.if_none_match.empty() && matches_etag(query.if_none_match, head.etag)) {
    head.status = 304;
    head.content_type = {};
  }
  close(query, head, base, out);
  status = head.status;
  return Answered::kYes;
}

void Answers::version(const Query& query, Buffer& out, std::uint16_t& status) {
  const std::size_t base = out.size();
  bool fits = open(out);
  std::array<char, 64> text;
  http::ByteSink body(text);
  body.append("{\"version\":");
  body.append_number(version_.value());
  // A GTID is made of digits and dashes; a set of them also of letters, commas and colons: nothing to escape.
  fits = fits && out.append(body.view()) && out.append(",\"gtid\":\"") && out.append(tables_->gtid()) &&
         out.append("\"}");
  if (!fits) {
    out.truncate(base);
    return too_large(query, out, status);
  }
  close(query, head_for(query), base, out);
  status = 200;
}

void Answers::page(const Query& query, Buffer& out, std::uint16_t& status) {
  const Page page = pages_.page(query.route);
  const std::size_t base = out.size();
  if (!open(out) || !out.append(page.body) || !is_within_limit(out, base)) {
    out.truncate(base);
    return too_large(query, out, status);
  }
  http::ResponseHead head = head_for(query);
  head.status = page.status;
  head.content_type = page.content_type;
  close(query, head, base, out);
  status = page.status;
}

void Answers::options(const Query& query, Buffer& out, std::uint16_t& status) {
  const std::size_t base = out.size();
  if (!open(out)) return too_large(query, out, status);
  http::ResponseHead head = head_for(query);
  head.status = status = 204;
  head.content_type = {};
  head.more = query.more_headers;
  close(query, head, base, out);
}

void Answers::problem(const Query& query, const http::Problem& problem, Buffer& out, std::uint16_t& status) {
  const std::size_t base = out.size();
  // A detail may show what a client sent, six bytes for one at worst.
  const std::size_t bound = 512 + problem.slug.size() + problem.title.size() + 6 * problem.detail.size();
  char* to = open(out) ? out.reserve(bound) : nullptr;
  status = problem.status;
  if (to == nullptr) {
    out.truncate(
        base);  // more than a response limit is waiting to be sent: the connection is not read meanwhile
    return;
  }
  http::ByteSink sink({to, bound});
  http::append_problem_body(sink, problem);
  RINGSIDE_ASSERT(!sink.overflowed());
  out.commit(sink.wanted());
  http::ResponseHead head = head_for(query);
  head.status = problem.status;
  head.content_type = http::kProblemType;
  if (query.kind == QueryKind::kProblem && query.has_retry_after) head.retry_after_s = 1;
  if (query.kind == QueryKind::kProblem && !query.more_headers.empty()) head.more = query.more_headers;
  close(query, head, base, out);
}

void Answers::too_large(const Query& query, Buffer& out, std::uint16_t& status) {
  problem(query,
          {400, "response-too-large", "Response too large",
           "The answer is larger than replica.response_limit allows. Ask for fewer keys or fields."},
          out, status);
}

}  // namespace ringside::replica
