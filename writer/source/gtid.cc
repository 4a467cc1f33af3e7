#include "writer/source/gtid.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/bytes.h"

namespace ringside::writer {
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

// A tag is a letter or underscore, then up to 31 letters, digits and underscores; the server folds it to
// lower case.
bool parse_tag(std::string_view text, std::string& tag) {
  constexpr std::size_t kMaxTag = 32;
  if (text.empty() || text.size() > kMaxTag) return false;
  tag.clear();
  for (const char c : text) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool is_letter = (lower >= 'a' && lower <= 'z') || lower == '_';
    if (!is_letter && (tag.empty() || c < '0' || c > '9')) return false;
    tag.push_back(lower);
  }
  return true;
}

bool parse_interval(std::string_view text, MysqlGtidSet::Interval& interval) {
  std::string_view rest = text;
  const std::string_view first = trimmed(next_part(rest, '-'));
  if (!parse_number(first, interval.first)) return false;
  std::uint64_t last = interval.first;
  if (text.find('-') != std::string_view::npos && !parse_number(trimmed(rest), last)) return false;
  // The server's largest number is below 2^63.
  if (interval.first == 0 || last < interval.first || last >= std::uint64_t{1} << 63) return false;
  interval.end = last + 1;
  return true;
}

void append_le64(std::string& out, std::uint64_t value) {
  char bytes[sizeof value];
  store_le(bytes, value);
  out.append(bytes, sizeof bytes);
}

}  // namespace

std::string to_string(const MariaDbGtid& gtid) {
  return fmt::format("{}-{}-{}", gtid.domain, gtid.server_id, gtid.sequence);
}

Result<MariaDbGtid> parse_mariadb_gtid(std::string_view text) {
  MariaDbGtid gtid;
  std::string_view rest = text;
  const std::string_view domain = next_part(rest, '-');
  const std::string_view server = next_part(rest, '-');
  if (!parse_number(domain, gtid.domain) || !parse_number(server, gtid.server_id) ||
      !parse_number(rest, gtid.sequence)) {
    return invalid("not a MariaDB GTID (domain-server-sequence, as in 0-1-42)", text);
  }
  return gtid;
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

Result<MysqlGtidSet::Uuid> MysqlGtidSet::parse_uuid(std::string_view text) {
  Uuid uuid{};
  std::size_t digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return invalid("not a UUID", text);
      continue;
    }
    const int digit = hex_digit(text[i]);
    if (digit < 0 || digits == 32) return invalid("not a UUID", text);
    std::uint8_t& byte = uuid[digits / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | digit);
    ++digits;
  }
  if (digits != 32) return invalid("not a UUID", text);
  return uuid;
}

Result<MysqlGtidSet> MysqlGtidSet::parse(std::string_view text) {
  if (text.size() > kMaxGtidText) return Error{ErrorKind::kLimit, "a GTID set of more than 1 MiB"};
  MysqlGtidSet set;
  std::string_view rest = trimmed(text);
  while (!rest.empty()) {
    std::string_view entry = trimmed(next_part(rest, ','));
    if (entry.empty()) continue;  // the server prints and accepts an empty element
    Source source;
    RINGSIDE_ASSIGN(source.uuid, parse_uuid(trimmed(next_part(entry, ':'))));
    bool has_interval = false;
    while (!entry.empty()) {
      const std::string_view part = trimmed(next_part(entry, ':'));
      Interval interval;
      if (parse_interval(part, interval)) {
        set.add(source, interval);
        has_interval = true;
      } else if (parse_tag(part, source.tag)) {
        has_interval = false;
      } else {
        return invalid("not an interval or tag of a GTID set", part);
      }
    }
    if (!has_interval) return invalid("a GTID set names a source without an interval", text);
  }
  return set;
}

void MysqlGtidSet::add(const Source& source, Interval interval) {
  RINGSIDE_ASSERT(interval.first > 0 && interval.first < interval.end);
  std::vector<Interval>& list = sources_[source];
  // The first interval that touches or follows the new one; all that touch it melt into it.
  auto first = std::lower_bound(list.begin(), list.end(), interval.first,
                                [](const Interval& a, std::uint64_t b) { return a.end < b; });
  auto last = first;
  while (last != list.end() && last->first <= interval.end) {
    interval.first = std::min(interval.first, last->first);
    interval.end = std::max(interval.end, last->end);
    ++last;
  }
  list.insert(list.erase(first, last), interval);
}

bool MysqlGtidSet::contains(const Source& source, std::uint64_t number) const {
  const auto found = sources_.find(source);
  if (found == sources_.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [number](const Interval& interval) {
    return interval.first <= number && number < interval.end;
  });
}

bool MysqlGtidSet::has_tags() const {
  return std::any_of(sources_.begin(), sources_.end(),
                     [](const auto& entry) { return !entry.first.tag.empty(); });
}

std::uint64_t MysqlGtidSet::count() const {
  std::uint64_t count = 0;
  for (const auto& [source, intervals] : sources_) {
    for (const Interval& interval : intervals) {
      const std::uint64_t size = interval.end - interval.first;
      if (size > std::numeric_limits<std::uint64_t>::max() - count)
        return std::numeric_limits<std::uint64_t>::max();
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
      for (std::size_t i = 0; i < source.uuid.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
        fmt::format_to(std::back_inserter(text), "{:02x}", source.uuid[i]);
      }
      previous = &source.uuid;
    }
    if (!source.tag.empty()) text.append(":").append(source.tag);
    for (const Interval& interval : intervals) {
      fmt::format_to(std::back_inserter(text), ":{}", interval.first);
      if (interval.end - interval.first > 1)
        fmt::format_to(std::back_inserter(text), "-{}", interval.end - 1);
    }
  }
  return text;
}

Result<std::string> MysqlGtidSet::wire_form() const {
  if (has_tags()) {
    return Error{
        ErrorKind::kUnsupported,
        "the source's GTIDs have tags, which this version cannot send as a position; use untagged GTIDs "
        "(gtid_next=AUTOMATIC)"};
  }
  std::string out;
  append_le64(out, sources_.size());
  for (const auto& [source, intervals] : sources_) {
    out.append(reinterpret_cast<const char*>(source.uuid.data()), source.uuid.size());
    append_le64(out, intervals.size());
    for (const Interval& interval : intervals) {
      append_le64(out, interval.first);
      append_le64(out, interval.end);
    }
  }
  return out;
}

}  // namespace ringside::writer
