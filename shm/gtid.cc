#include "shm/gtid.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/assert.h"

namespace ringside::shm {
namespace {

Error invalid(std::string_view what, std::string_view text) {
  constexpr std::size_t kShown = 120;
  return {ErrorKind::kInvalid,
          fmt::format("{}: '{}{}'", what, text.substr(0, kShown), text.size() > kShown ? "…" : "")};
}

// A decimal number filling the whole text: no sign, no space, at least one digit.
template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && status == std::errc{} && end == text.data() + text.size();
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Takes the text up to the separator off the front.
std::string_view next_part(std::string_view& rest, char separator) {
  const std::size_t at = rest.find(separator);
  const std::string_view part = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view{} : rest.substr(at + 1);
  return part;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_interval(std::string_view text, MysqlGtidSet::Interval& interval) {
  std::string_view rest = text;
  const std::string_view first = trimmed(next_part(rest, '-'));
  if (!parse_number(first, interval.first)) return false;
  std::uint64_t last = interval.first;
  if (text.find('-') != std::string_view::npos && !parse_number(trimmed(rest), last)) return false;
  if (interval.first == 0 || last < interval.first || last >= MysqlGtidSet::kMaxNumber) return false;
  interval.end = last + 1;
  return true;
}

bool read_uuid(std::string_view text, MysqlGtidSet::Uuid& uuid) {
  constexpr std::size_t kUuidText = 36;
  if (text.size() != kUuidText) return false;
  std::size_t digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return false;
      continue;
    }
    const int digit = hex_digit(text[i]);
    if (digit < 0) return false;
    std::uint8_t& byte = uuid[digits / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | digit);
    ++digits;
  }
  return true;
}

void append_uuid(std::string& text, const MysqlGtidSet::Uuid& uuid) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    text.push_back(kDigits[uuid[i] >> 4]);
    text.push_back(kDigits[uuid[i] & 15]);
  }
}

void append_number(std::string& text, char before, std::uint64_t number) {
  char digits[20];
  const auto [end, status] = std::to_chars(digits, digits + sizeof digits, number);
  RINGSIDE_ASSERT(status == std::errc{});
  text.push_back(before);
  text.append(digits, static_cast<std::size_t>(end - digits));
}

}  // namespace

std::string to_string(const MariaDbGtid& gtid) {
  return fmt::format("{}-{}-{}", gtid.domain, gtid.server_id, gtid.sequence);
}

bool read_mariadb_gtid(std::string_view text, MariaDbGtid& gtid) {
  const std::string_view domain = next_part(text, '-');
  const std::string_view server = next_part(text, '-');
  return parse_number(domain, gtid.domain) && parse_number(server, gtid.server_id) &&
         parse_number(text, gtid.sequence);
}

Result<MariaDbGtid> parse_mariadb_gtid(std::string_view text) {
  MariaDbGtid gtid;
  if (read_mariadb_gtid(text, gtid)) return gtid;
  return invalid("not a MariaDB GTID (domain-server-sequence, as in 0-1-42)", text);
}

Result<std::vector<MariaDbGtid>> parse_mariadb_gtid_list(std::string_view text) {
  std::vector<MariaDbGtid> gtids;
  if (text.size() > kMaxGtidText) return Error{ErrorKind::kLimit, "a GTID list of more than 1 MiB"};
  std::string_view rest = trimmed(text);
  while (!rest.empty()) {
    if (gtids.size() == kMaxGtidDomains) {
      return Error{ErrorKind::kLimit, fmt::format("a GTID list of more than {} entries", kMaxGtidDomains)};
    }
    const bool has_more = rest.find(',') != std::string_view::npos;
    RINGSIDE_ASSIGN(const MariaDbGtid gtid, parse_mariadb_gtid(trimmed(next_part(rest, ','))));
    gtids.push_back(gtid);
    if (has_more && rest.empty()) return invalid("a GTID list ends with a comma", text);
  }
  return gtids;
}

// A letter or underscore, then letters, digits and underscores.
bool GtidTag::assign(std::string_view text) {
  size_ = 0;
  if (text.empty() || text.size() > kMaxBytes) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool is_letter = (lower >= 'a' && lower <= 'z') || lower == '_';
    if (!is_letter && (i == 0 || c < '0' || c > '9')) return false;
    text_[i] = lower;
  }
  size_ = static_cast<std::uint8_t>(text.size());
  return true;
}

// --------------------------------------------------------------------------------------- reading a set's text

bool GtidSetReader::fail(std::string_view why, std::string_view where) {
  why_ = why;
  where_ = where;
  rest_ = entry_ = {};
  return false;
}

bool GtidSetReader::next(MysqlGtidSet::Source& source, MysqlGtidSet::Interval& interval) {
  while (!has_failed()) {
    if (entry_.empty()) {
      if (needs_interval_) return fail("a GTID set names a source without an interval", where_);
      rest_ = trimmed(rest_);
      if (rest_.empty()) return false;
      entry_ = trimmed(next_part(rest_, ','));
      if (entry_.empty()) continue;  // the server prints and accepts an empty element
      where_ = trimmed(next_part(entry_, ':'));
      source_.tag = {};
      if (!read_uuid(where_, source_.uuid)) return fail("not a UUID", where_);
      needs_interval_ = true;
      continue;
    }
    where_ = trimmed(next_part(entry_, ':'));
    if (parse_interval(where_, interval)) {
      source = source_;
      needs_interval_ = false;
      return true;
    }
    if (!source_.tag.assign(where_)) return fail("not an interval or tag of a GTID set", where_);
    needs_interval_ = true;
  }
  return false;
}

// -------------------------------------------------------------------------------------------------------- sets

Result<MysqlGtidSet::Uuid> MysqlGtidSet::parse_uuid(std::string_view text) {
  Uuid uuid{};
  if (!read_uuid(text, uuid)) return invalid("not a UUID", text);
  return uuid;
}

Result<MysqlGtidSet> MysqlGtidSet::parse(std::string_view text) {
  if (text.size() > kMaxGtidText) return Error{ErrorKind::kLimit, "a GTID set of more than 1 MiB"};
  MysqlGtidSet set;
  Source source;
  Interval interval;
  GtidSetReader reader(text);
  while (reader.next(source, interval)) set.add(source, interval);
  if (reader.has_failed()) return invalid(reader.why(), reader.where());
  return set;
}

void MysqlGtidSet::add(const Source& source, Interval interval) {
  RINGSIDE_ASSERT(interval.first > 0 && interval.first < interval.end);
  std::vector<Interval>& list = sources_[source];
  // The first interval that touches or follows the new one; all that touch it melt into it.
  const auto first = std::lower_bound(list.begin(), list.end(), interval.first,
                                      [](const Interval& a, std::uint64_t b) { return a.end < b; });
  auto last = first;
  while (last != list.end() && last->first <= interval.end) {
    interval.first = std::min(interval.first, last->first);
    interval.end = std::max(interval.end, last->end);
    ++last;
  }
  if (first == last) {
    list.insert(first, interval);
  } else {
    *first = interval;
    list.erase(first + 1, last);
  }
}

void MysqlGtidSet::add(const MysqlGtidSet& other) {
  RINGSIDE_ASSERT(&other != this);
  for (const auto& [source, intervals] : other.sources_) {
    for (const Interval& interval : intervals) add(source, interval);
  }
}

void MysqlGtidSet::remove(const Source& source, Interval interval) {
  RINGSIDE_ASSERT(interval.first > 0 && interval.first < interval.end);
  const auto found = sources_.find(source);
  if (found == sources_.end()) return;
  std::vector<Interval> left;
  for (const Interval& each : found->second) {
    const Interval before{each.first, std::min(each.end, interval.first)};
    const Interval behind{std::max(each.first, interval.end), each.end};
    if (before.first < before.end) left.push_back(before);
    if (behind.first < behind.end) left.push_back(behind);
  }
  found->second = std::move(left);
  if (found->second.empty()) sources_.erase(found);
}

void MysqlGtidSet::remove(const MysqlGtidSet& other) {
  RINGSIDE_ASSERT(&other != this);
  for (const auto& [source, intervals] : other.sources_) {
    for (const Interval& interval : intervals) remove(source, interval);
  }
}

bool MysqlGtidSet::contains(const Source& source, std::uint64_t number) const {
  return number > 0 && contains(source, Interval{number, number + 1});
}

bool MysqlGtidSet::contains(const Source& source, Interval interval) const {
  RINGSIDE_ASSERT(interval.first > 0 && interval.first < interval.end);
  const auto found = sources_.find(source);
  if (found == sources_.end()) return false;
  // The only one that can hold it: intervals do not touch.
  const auto holder = std::lower_bound(found->second.begin(), found->second.end(), interval.end,
                                       [](const Interval& a, std::uint64_t b) { return a.end < b; });
  return holder != found->second.end() && holder->first <= interval.first;
}

bool MysqlGtidSet::contains(const MysqlGtidSet& other) const {
  return std::all_of(other.sources_.begin(), other.sources_.end(), [this](const auto& entry) {
    return std::all_of(entry.second.begin(), entry.second.end(),
                       [&](const Interval& interval) { return contains(entry.first, interval); });
  });
}

std::uint64_t MysqlGtidSet::missing(const Source& source, Interval interval) const {
  RINGSIDE_ASSERT(interval.first > 0 && interval.first < interval.end);
  std::uint64_t missing = interval.end - interval.first;
  const auto found = sources_.find(source);
  if (found == sources_.end()) return missing;
  auto each = std::lower_bound(found->second.begin(), found->second.end(), interval.first,
                               [](const Interval& a, std::uint64_t b) { return a.end <= b; });
  for (; each != found->second.end() && each->first < interval.end; ++each) {
    missing -= std::min(each->end, interval.end) - std::max(each->first, interval.first);
  }
  return missing;
}

bool MysqlGtidSet::has_tags() const {
  return std::any_of(sources_.begin(), sources_.end(),
                     [](const auto& entry) { return !entry.first.tag.empty(); });
}

std::uint64_t MysqlGtidSet::count() const {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t count = 0;
  for (const auto& [source, intervals] : sources_) {
    for (const Interval& interval : intervals) {
      const std::uint64_t size = interval.end - interval.first;
      if (size > kMost - count) return kMost;
      count += size;
    }
  }
  return count;
}

std::string MysqlGtidSet::to_string() const {
  std::string text;
  const Uuid* previous = nullptr;
  for (const auto& [source, intervals] : sources_) {
    if (previous == nullptr || *previous != source.uuid) {
      if (previous != nullptr) text.push_back(',');
      append_uuid(text, source.uuid);
      previous = &source.uuid;
    }
    if (!source.tag.empty()) text.append(":").append(source.tag.view());
    for (const Interval& interval : intervals) {
      append_number(text, ':', interval.first);
      if (interval.end - interval.first > 1) append_number(text, '-', interval.end - 1);
    }
  }
  return text;
}

std::string to_string(const MysqlGtidSet::Source& source, std::uint64_t number) {
  std::string text;
  append_uuid(text, source.uuid);
  if (!source.tag.empty()) text.append(":").append(source.tag.view());
  append_number(text, ':', number);
  return text;
}

// ------------------------------------------------------------------------------------------- what was executed

namespace {

// No list of MariaDB GTIDs looks like one: it has no colon.
bool names_a_uuid(std::string_view text) {
  MysqlGtidSet::Uuid uuid;
  constexpr std::size_t kUuidText = 36;
  return text.size() > kUuidText && text[kUuidText] == ':' && read_uuid(text.substr(0, kUuidText), uuid);
}

bool read_set(std::string_view text, MysqlGtidSet& set) {
  if (text.size() > kMaxGtidText) return false;
  MysqlGtidSet::Source source;
  MysqlGtidSet::Interval interval;
  GtidSetReader reader(text);
  while (reader.next(source, interval)) set.add(source, interval);
  return !reader.has_failed();
}

}  // namespace

bool ExecutedGtids::assign(std::string_view text) {
  MysqlGtidSet set;
  if (names_a_uuid(text) && !read_set(text, set)) return false;
  set_ = std::move(set);
  text_.assign(text);
  is_text_old_ = is_mysql();
  return true;
}

bool ExecutedGtids::add(std::string_view text) {
  if (text.empty()) return true;
  if (!names_a_uuid(text)) {
    if (is_mysql()) return false;
    text_.assign(text);
    return true;
  }
  if (!is_mysql() && !text_.empty()) return false;
  // Most often one GTID: read once to see that all of it can be, so that nothing has to be taken back.
  MysqlGtidSet::Source source;
  MysqlGtidSet::Interval interval;
  GtidSetReader check(text.substr(0, kMaxGtidText));
  while (check.next(source, interval)) continue;
  if (check.has_failed() || text.size() > kMaxGtidText) return false;
  is_text_old_ = true;
  return read_set(text, set_);
}

const std::string& ExecutedGtids::text() const {
  if (is_text_old_) text_ = set_.to_string();
  is_text_old_ = false;
  return text_;
}

}  // namespace ringside::shm
