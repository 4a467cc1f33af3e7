#include "http/target.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "base/bytes.h"

namespace ringside::http {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080u;

// The value of a hexadecimal digit; more than 15 for any other byte.
constexpr std::array<std::uint8_t, 256> make_hex_values() {
  std::array<std::uint8_t, 256> values{};
  for (auto& value : values) value = 0xff;
  for (unsigned i = 0; i < 10; ++i) values['0' + i] = static_cast<std::uint8_t>(i);
  for (unsigned i = 0; i < 6; ++i) values['a' + i] = values['A' + i] = static_cast<std::uint8_t>(10 + i);
  return values;
}
constexpr std::array<std::uint8_t, 256> kHexValues = make_hex_values();

unsigned hex_value(char c) {
  return kHexValues[static_cast<unsigned char>(c)];
}

// "." and "..", each dot also as %2e: browsers take both for the same.
bool is_dot_segment(std::string_view raw) {
  unsigned dots = 0;
  while (!raw.empty()) {
    if (raw[0] == '.') {
      raw.remove_prefix(1);
    } else if (raw.size() >= 3 && raw[0] == '%' && raw[1] == '2' && (raw[2] == 'e' || raw[2] == 'E')) {
      raw.remove_prefix(3);
    } else {
      return false;
    }
    if (++dots > 2) return false;
  }
  return dots != 0;
}

enum class Name : std::uint8_t {
  kUnknown,
  kFields,
  kNumbers,
  kMinVersion,
  kMinGtid,
  kWait,
  kKey,
  kKeys,
  kLimit,
  kOrder,
  kAfter
};

Name to_name(std::string_view text) {
  switch (text.size()) {
    case 3:
      return text == "key" ? Name::kKey : Name::kUnknown;
    case 4:
      return text == "wait" ? Name::kWait : text == "keys" ? Name::kKeys : Name::kUnknown;
    case 5:
      if (text == "limit") return Name::kLimit;
      if (text == "order") return Name::kOrder;
      return text == "after" ? Name::kAfter : Name::kUnknown;
    case 6:
      return text == "fields" ? Name::kFields : Name::kUnknown;
    case 7:
      return text == "numbers" ? Name::kNumbers : text == "minGtid" ? Name::kMinGtid : Name::kUnknown;
    case 10:
      return text == "minVersion" ? Name::kMinVersion : Name::kUnknown;
    default:
      return Name::kUnknown;
  }
}

// A reserved name may itself come percent-encoded. kBadEscape goes to `status`.
Name read_name(std::string_view raw, QueryStatus& status) {
  std::array<char, 64> buffer;  // longer than any reserved name
  std::string_view decoded;
  switch (percent_decode(raw, PlusMeans::kSpace, buffer, decoded)) {
    case DecodeStatus::kOk:
      return to_name(decoded);
    case DecodeStatus::kTooLong:
      return Name::kUnknown;
    case DecodeStatus::kBadEscape:
    case DecodeStatus::kNotAscii:
      break;
  }
  status = QueryStatus::kBadEscape;
  return Name::kUnknown;
}

// Values of numbers and times: short, so a small buffer decodes them. False for what cannot be one.
bool decode_short(std::string_view raw, std::span<char> buffer, std::string_view& decoded) {
  return percent_decode(raw, PlusMeans::kSpace, buffer, decoded) == DecodeStatus::kOk;
}

// A view that may stand once and not be empty.
QueryStatus take_view(std::string_view value, std::string_view& kept) {
  if (!kept.empty()) return QueryStatus::kRepeated;
  if (value.empty()) return QueryStatus::kBadValue;
  kept = value;
  return QueryStatus::kOk;
}

QueryStatus take_number(std::string_view raw, bool& has, std::uint64_t& number) {
  if (has) return QueryStatus::kRepeated;
  std::array<char, 32> buffer;
  std::string_view text;
  has = true;
  return decode_short(raw, buffer, text) && parse_number(text, number) ? QueryStatus::kOk
                                                                       : QueryStatus::kBadValue;
}

QueryStatus take_wait(std::string_view raw, QueryParameters& out) {
  if (out.has_wait) return QueryStatus::kRepeated;
  std::array<char, 32> buffer;
  std::string_view text;
  out.has_wait = true;
  return decode_short(raw, buffer, text) && parse_wait(text, out.wait_ms) ? QueryStatus::kOk
                                                                          : QueryStatus::kBadValue;
}

QueryStatus take_numbers(std::string_view raw, NumberForm& form) {
  if (form != NumberForm::kDefault) return QueryStatus::kRepeated;
  if (raw == "number") form = NumberForm::kNumber;
  if (raw == "string") form = NumberForm::kString;
  return form == NumberForm::kDefault ? QueryStatus::kBadValue : QueryStatus::kOk;
}

QueryStatus take_key(std::string_view query, const QueryLimits& limits, QueryParameters& out) {
  if (out.key_form == KeyForm::kKeys) return QueryStatus::kKeyAndKeys;
  out.key_form = KeyForm::kKey;
  out.keys = query;
  return ++out.key_count > limits.max_keys ? QueryStatus::kTooManyKeys : QueryStatus::kOk;
}

QueryStatus take_keys(std::string_view value, const QueryLimits& limits, QueryParameters& out) {
  if (out.key_form == KeyForm::kKey) return QueryStatus::kKeyAndKeys;
  if (out.key_form == KeyForm::kKeys) return QueryStatus::kRepeated;
  if (value.empty()) return QueryStatus::kBadValue;
  const auto commas = static_cast<std::size_t>(std::count(value.begin(), value.end(), ','));
  if (commas >= limits.max_keys) return QueryStatus::kTooManyKeys;
  out.key_form = KeyForm::kKeys;
  out.keys = value;
  out.key_count = static_cast<std::uint32_t>(commas + 1);
  return QueryStatus::kOk;
}

QueryStatus take(Name name, std::string_view query, std::string_view value, const QueryLimits& limits,
                 QueryParameters& out) {
  switch (name) {
    case Name::kUnknown:
      return QueryStatus::kUnknown;
    case Name::kFields: {
      const QueryStatus status = take_view(value, out.fields);
      out.has_fields = status == QueryStatus::kOk;
      return status;
    }
    case Name::kNumbers:
      return take_numbers(value, out.numbers);
    case Name::kMinVersion:
      return take_number(value, out.has_min_version, out.min_version);
    case Name::kMinGtid:
      return take_view(value, out.min_gtid);
    case Name::kWait:
      return take_wait(value, out);
    case Name::kKey:
      return take_key(query, limits, out);
    case Name::kKeys:
      return take_keys(value, limits, out);
    case Name::kLimit:
      return take_number(value, out.has_limit, out.limit);
    case Name::kOrder:
      return take_view(value, out.order);
    case Name::kAfter:
      return take_view(value, out.after);
  }
  return QueryStatus::kUnknown;
}

}  // namespace

DecodeStatus percent_decode(std::string_view raw, PlusMeans plus, std::span<char> buffer,
                            std::string_view& decoded) {
  std::size_t at = 0;
  for (; at < raw.size(); ++at) {
    const char c = raw[at];
    if (c == '%' || (c == '+' && plus == PlusMeans::kSpace)) break;
    if (static_cast<unsigned char>(c) >= 0x80) return DecodeStatus::kNotAscii;
  }
  if (at == raw.size()) {
    decoded = raw;
    return DecodeStatus::kOk;
  }
  std::size_t size = at;
  if (size > buffer.size()) return DecodeStatus::kTooLong;
  std::memcpy(buffer.data(), raw.data(), size);
  for (; at < raw.size(); ++at) {
    char c = raw[at];
    if (c == '%') {
      if (raw.size() - at < 3) return DecodeStatus::kBadEscape;
      const unsigned high = hex_value(raw[at + 1]);
      const unsigned low = hex_value(raw[at + 2]);
      if (high > 15 || low > 15) return DecodeStatus::kBadEscape;
      c = static_cast<char>(high << 4 | low);
      at += 2;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      return DecodeStatus::kNotAscii;
    } else if (c == '+' && plus == PlusMeans::kSpace) {
      c = ' ';
    }
    if (size == buffer.size()) return DecodeStatus::kTooLong;
    buffer[size++] = c;
  }
  decoded = {buffer.data(), size};
  return DecodeStatus::kOk;
}

PathSegments split_path(std::string_view path) {
  PathSegments segments;
  if (path.starts_with('/')) path.remove_prefix(1);
  if (path.empty()) return segments;
  for (;;) {
    const std::size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (is_dot_segment(segment)) segments.has_dot_segment = true;
    if (segments.count == kMaxSegments) {
      segments.is_too_deep = true;
    } else {
      segments.raw[segments.count++] = segment;
    }
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

bool ListReader::next(std::string_view& raw) {
  if (!has_more_) return false;
  const std::size_t comma = rest_.find(',');
  raw = rest_.substr(0, comma);
  has_more_ = comma != std::string_view::npos;
  if (has_more_) rest_.remove_prefix(comma + 1);
  return true;
}

bool QueryReader::next(RawParameter& parameter) {
  while (!rest_.empty()) {
    const std::size_t end = std::min(rest_.find('&'), rest_.size());
    const std::string_view piece = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    if (piece.empty()) continue;
    const std::size_t equals = piece.find('=');
    parameter.has_equals = equals != std::string_view::npos;
    parameter.name = piece.substr(0, equals);
    parameter.value = parameter.has_equals ? piece.substr(equals + 1) : std::string_view();
    return true;
  }
  return false;
}

bool parse_number(std::string_view text, std::uint64_t& number) {
  if (text.empty() || (text[0] == '0' && text.size() > 1)) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_wait(std::string_view text, std::uint32_t& milliseconds) {
  constexpr std::uint64_t kMost = 86'400'000;
  std::uint64_t factor = 1;
  if (text.ends_with("ms")) {
    text.remove_suffix(2);
  } else if (text.ends_with('s')) {
    text.remove_suffix(1);
    factor = 1000;
  } else {
    return false;
  }
  std::uint64_t number = 0;
  if (!parse_number(text, number) || number > kMost / factor) return false;
  milliseconds = static_cast<std::uint32_t>(number * factor);
  return true;
}

std::string_view describe(QueryStatus status) {
  switch (status) {
    case QueryStatus::kOk:
      return "is right";
    case QueryStatus::kUnknown:
      return "is not a parameter of this resource";
    case QueryStatus::kRepeated:
      return "may be given once only";
    case QueryStatus::kBadValue:
      return "has a value that cannot be read";
    case QueryStatus::kBadEscape:
      return "is not percent-encoded properly";
    case QueryStatus::kKeyAndKeys:
      return "cannot be combined: use either key or keys";
    case QueryStatus::kTooManyKeys:
      return "names more keys than one request may ask for";
  }
  return "cannot be used";
}

QueryStatus parse_query(std::string_view query, const QueryLimits& limits, QueryParameters& parameters,
                        std::string_view& culprit) {
  parameters = QueryParameters();
  QueryReader reader(query);
  RawParameter raw;
  while (reader.next(raw)) {
    QueryStatus status = QueryStatus::kOk;
    const Name name = read_name(raw.name, status);
    if (status == QueryStatus::kOk) status = take(name, query, raw.value, limits, parameters);
    if (status != QueryStatus::kOk) {
      culprit = raw.name;
      return status;
    }
  }
  return QueryStatus::kOk;
}

bool KeyReader::next(std::string_view& raw_key) {
  if (form_ == KeyForm::kKeys) return list_.next(raw_key);
  if (form_ == KeyForm::kNone) return false;
  RawParameter raw;
  QueryStatus status = QueryStatus::kOk;
  while (query_.next(raw)) {
    if (read_name(raw.name, status) != Name::kKey) continue;
    raw_key = raw.value;
    return true;
  }
  return false;
}

}  // namespace ringside::http
