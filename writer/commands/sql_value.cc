#include "writer/commands/sql_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <span>
#include <utility>

#include "http/json_text.h"
#include "writer/value_json.h"

namespace ringside::writer {
namespace {

using shm::Column;
using shm::ValueKind;

// Exponents beyond this are no DECIMAL and would only make us write zeros.
constexpr int kMaxExponent = 1000;

Error expected(std::string what) {
  return {ErrorKind::kInvalid, "expects " + std::move(what)};
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// "-0" counts as zero.
Result<SqlValue> integer_from(const Column& column, std::string_view text) {
  const unsigned bits = column.kind == ValueKind::kBit ? column.width : column.width * 8;
  if (column.kind == ValueKind::kInteger) {
    const std::int64_t high = std::numeric_limits<std::int64_t>::max() >> (64 - bits);
    const std::int64_t low = -high - 1;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
      return expected(fmt::format("an integer from {} to {}", low, high));
    }
    return SqlValue::of_int64(value);
  }
  const std::uint64_t high = std::numeric_limits<std::uint64_t>::max() >> (64 - bits);
  std::uint64_t value = 0;
  if (text == "-0") text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > high) {
    return expected(fmt::format("an integer from 0 to {}", high));
  }
  return SqlValue::of_uint64(value);
}

Result<SqlValue> year_from(std::string_view text) {
  unsigned year = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), year);
  // The server would read 1 to 99 as years of this and the last century.
  const bool in_range = year == 0 || (year >= 1901 && year <= 2155);
  if (error != std::errc{} || end != text.data() + text.size() || !in_range) {
    return expected("a year from 1901 to 2155, or 0");
  }
  return SqlValue::of_uint64(year);
}

struct DecimalParts {
  bool negative = false;
  std::string digits;        // without the point
  std::ptrdiff_t point = 0;  // how many of them stand before it; may lie outside
};

// JSON's number grammar. False when the text is not of it, or its exponent is absurd.
bool split_decimal(std::string_view text, DecimalParts& parts) {
  if (!text.empty() && text.front() == '-') {
    parts.negative = true;
    text.remove_prefix(1);
  }
  const std::size_t whole =
      static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
  if (whole == 0) return false;
  parts.digits.assign(text.substr(0, whole));
  parts.point = static_cast<std::ptrdiff_t>(whole);
  text.remove_prefix(whole);
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    const std::size_t fraction =
        static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
    if (fraction == 0) return false;
    parts.digits.append(text.substr(0, fraction));
    text.remove_prefix(fraction);
  }
  if (text.empty()) return true;
  if (text.front() != 'e' && text.front() != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && !is_digit(text.front())) return false;
  }
  int exponent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), exponent);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  if (exponent > kMaxExponent || exponent < -kMaxExponent) return false;
  parts.point += exponent;
  return true;
}

// Exactly `scale` digits behind the point, as the server prints the value. Nothing is rounded.
Result<SqlValue> decimal_from(const Column& column, std::string_view text) {
  const auto refuse = [&] {
    return expected(fmt::format("a number of at most {} digits before and {} behind the point",
                                column.precision - column.scale, column.scale));
  };
  DecimalParts parts;
  if (!split_decimal(text, parts)) return refuse();
  std::string& digits = parts.digits;
  if (parts.point < 0) {
    digits.insert(0, static_cast<std::size_t>(-parts.point), '0');
    parts.point = 0;
  }
  if (static_cast<std::size_t>(parts.point) > digits.size()) {
    digits.append(static_cast<std::size_t>(parts.point) - digits.size(), '0');
  }
  std::string_view whole = std::string_view(digits).substr(0, static_cast<std::size_t>(parts.point));
  std::string_view fraction = std::string_view(digits).substr(static_cast<std::size_t>(parts.point));
  whole.remove_prefix(std::min(whole.find_first_not_of('0'), whole.size()));
  if (fraction.size() > column.scale) {
    if (fraction.find_first_not_of('0', column.scale) != std::string_view::npos) return refuse();
    fraction = fraction.substr(0, column.scale);
  }
  if (whole.size() > static_cast<std::size_t>(column.precision - column.scale)) return refuse();

  std::string canonical(whole.empty() ? std::string_view("0") : whole);
  if (column.scale > 0) {
    canonical += '.';
    canonical += fraction;
    canonical.append(column.scale - fraction.size(), '0');
  }
  const bool is_zero = canonical.find_first_not_of("0.") == std::string::npos;
  if (parts.negative && !is_zero) canonical.insert(0, 1, '-');
  return SqlValue::of_text(std::move(canonical));
}

// ".5" of a time with three declared digits becomes ".500". False for more digits than declared: the server
// would round.
bool pad_fraction(std::string_view fraction, std::size_t digits, std::string& out) {
  if (!fraction.empty()) {
    if (fraction.front() != '.' || !all_digits(fraction.substr(1)) || fraction.size() - 1 > digits)
      return false;
    fraction.remove_prefix(1);
  }
  if (digits == 0) return true;
  out += '.';
  out += fraction;
  out.append(digits - fraction.size(), '0');
  return true;
}

// 'd' stands for a digit, everything else for itself.
bool has_form(std::string_view text, std::string_view form) {
  return text.size() == form.size() && std::equal(text.begin(), text.end(), form.begin(), [](char c, char f) {
           return f == 'd' ? is_digit(c) : c == f;
         });
}

std::string fraction_form(const Column& column) {
  return column.scale == 0 ? std::string() : "." + std::string(column.scale, '0');
}

Result<SqlValue> datetime_from(const Column& column, std::string_view text) {
  const bool is_timestamp = column.kind == ValueKind::kTimestamp;
  const auto refuse = [&] {
    return expected(
        fmt::format("\"2026-01-08T10:00:00{}{}\"", fraction_form(column),
                    is_timestamp ? "Z\", in UTC and with the Z, as in \"2026-01-08T10:00:00Z" : ""));
  };
  if (is_timestamp) {
    if (!text.ends_with('Z')) return refuse();
    text.remove_suffix(1);
  }
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
  if (!has_form(text.substr(0, kForm.size()), kForm)) return refuse();
  std::string sql(text.substr(0, kForm.size()));
  sql[10] = ' ';
  if (!pad_fraction(text.substr(kForm.size()), column.scale, sql)) return refuse();
  return SqlValue::of_text(std::move(sql));
}

Result<SqlValue> time_from(const Column& column, std::string_view text) {
  const auto refuse = [&] { return expected(fmt::format("\"-838:59:59{}\"", fraction_form(column))); };
  std::string sql;
  if (text.starts_with('-')) {
    sql = "-";
    text.remove_prefix(1);
  }
  const std::size_t hours = text.find(':');
  if (hours == std::string_view::npos || hours < 2 || hours > 3 || !all_digits(text.substr(0, hours)))
    return refuse();
  constexpr std::string_view kForm = ":dd:dd";
  if (!has_form(text.substr(hours, std::min(kForm.size(), text.size() - hours)), kForm)) return refuse();
  sql += text.substr(0, hours + kForm.size());
  if (!pad_fraction(text.substr(hours + kForm.size()), column.scale, sql)) return refuse();
  return SqlValue::of_text(std::move(sql));
}

std::string labels_text(const Column& column) {
  constexpr std::size_t kShown = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(column.labels.size(), kShown); ++i) {
    if (i > 0) text += ", ";
    text += '"' + column.labels[i] + '"';
  }
  if (column.labels.size() > kShown) text += ", …";
  return text;
}

// Bound as the label's number: as a text, a label the column lacks would be read as a number, and case would
// not count.
Result<SqlValue> enum_from(const Column& column, std::string_view text) {
  const auto it = std::find(column.labels.begin(), column.labels.end(), text);
  if (it == column.labels.end()) {
    if (text.empty()) return SqlValue::of_uint64(0);  // such rows exist; the strict mode makes no new ones
    return expected("one of the labels " + labels_text(column));
  }
  return SqlValue::of_uint64(static_cast<std::uint64_t>(it - column.labels.begin()) + 1);
}

Result<SqlValue> set_from(const Column& column, const JsonValue& json) {
  std::uint64_t bits = 0;
  for (const std::string& label : json.labels) {
    const auto it = std::find(column.labels.begin(), column.labels.end(), label);
    if (it == column.labels.end()) return expected("an array of the labels " + labels_text(column));
    bits |= std::uint64_t{1} << static_cast<unsigned>(it - column.labels.begin());
  }
  return SqlValue::of_uint64(bits);
}

// What the column expects, for a value of the wrong JSON type.
Error wrong_type(const Column& column) {
  switch (column.kind) {
    case ValueKind::kInteger:
    case ValueKind::kUnsigned:
    case ValueKind::kBit:
      return expected("an integer (a JSON number)");
    case ValueKind::kYear:
      return expected("a year (a JSON number)");
    case ValueKind::kDecimal:
    case ValueKind::kFloat:
    case ValueKind::kDouble:
      return expected("a JSON number");
    case ValueKind::kText:
      return expected("a JSON string");
    case ValueKind::kBinary:
      return expected("a JSON string of base64");
    case ValueKind::kDate:
      return expected("\"2026-01-08\"");
    case ValueKind::kTime:
      return expected(fmt::format("\"10:00:00{}\"", fraction_form(column)));
    case ValueKind::kDatetime:
      return expected(fmt::format("\"2026-01-08T10:00:00{}\"", fraction_form(column)));
    case ValueKind::kTimestamp:
      return expected(fmt::format("\"2026-01-08T10:00:00{}Z\"", fraction_form(column)));
    case ValueKind::kEnum:
      return expected("one of the labels " + labels_text(column));
    case ValueKind::kSet:
      return expected("an array of the labels " + labels_text(column));
    case ValueKind::kJson:
      return expected("any JSON value");
  }
  return expected("another type");
}

bool takes(ValueKind kind, JsonValue::Type type) {
  using Type = JsonValue::Type;
  switch (kind) {
    case ValueKind::kInteger:
    case ValueKind::kUnsigned:
    case ValueKind::kDecimal:
      return type == Type::kNumber || type == Type::kString;  // quoted for JavaScript
    case ValueKind::kFloat:
    case ValueKind::kDouble:
    case ValueKind::kYear:
    case ValueKind::kBit:
      return type == Type::kNumber;
    case ValueKind::kSet:
      return type == Type::kArray;
    case ValueKind::kJson:
      return true;
    default:
      return type == Type::kString;
  }
}

Result<SqlValue> date_from(std::string_view text) {
  if (!has_form(text, "dddd-dd-dd")) return expected("\"2026-01-08\"");
  return SqlValue::of_text(std::string(text));
}

// Values whose JSON form is a number or a string, by their text.
Result<SqlValue> scalar_from(const Column& column, std::string_view text) {
  switch (column.kind) {
    case ValueKind::kInteger:
    case ValueKind::kUnsigned:
    case ValueKind::kBit:
      return integer_from(column, text);
    case ValueKind::kYear:
      return year_from(text);
    case ValueKind::kDecimal:
      return decimal_from(column, text);
    case ValueKind::kFloat:
    case ValueKind::kDouble:
      return SqlValue::of_text(std::string(text));  // the server's own conversion is exact
    case ValueKind::kDate:
      return date_from(text);
    case ValueKind::kTime:
      return time_from(column, text);
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp:
      return datetime_from(column, text);
    case ValueKind::kEnum:
      return enum_from(column, text);
    case ValueKind::kText:
      return SqlValue::of_text(std::string(text));
    case ValueKind::kBinary:
    case ValueKind::kSet:
    case ValueKind::kJson:
      break;
  }
  return wrong_type(column);
}

int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

Result<std::string> decode_sextets(std::string_view text) {
  const Error bad{ErrorKind::kInvalid, "is not base64 in its canonical form"};
  if (text.size() % 4 == 1) return bad;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const int value = sextet(c);
    if (value < 0) return bad;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  if ((bits & ((1u << count) - 1)) != 0) return bad;  // two texts for the same bytes
  return out;
}

}  // namespace

Result<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return Error{ErrorKind::kInvalid, "is not base64 with its padding"};
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  return decode_sextets(text);
}

Result<SqlValue> sql_value_from_json(const Column& column, const JsonValue& json) {
  using Type = JsonValue::Type;
  const bool is_integer = column.kind == ValueKind::kInteger || column.kind == ValueKind::kUnsigned;
  if (json.type == Type::kNull) {
    if (column.kind == ValueKind::kJson && !column.nullable) return SqlValue::of_text("null");
    // An integer may be AUTO_INCREMENT, where null asks for the next number; the server refuses the others.
    if (!column.nullable && !is_integer) return Error{ErrorKind::kInvalid, "does not take null"};
    return SqlValue::null();
  }
  if (!takes(column.kind, json.type)) return wrong_type(column);
  switch (column.kind) {
    case ValueKind::kJson:
      return SqlValue::of_text(std::string(json.raw));
    case ValueKind::kSet:
      return json.only_strings ? set_from(column, json) : wrong_type(column);
    case ValueKind::kBinary: {
      auto bytes = base64_decode(json.text);
      if (!bytes) return expected("a string of base64 with padding");
      return SqlValue::of_bytes(std::move(bytes).value());
    }
    default:
      return scalar_from(column, json.type == Type::kNumber ? json.raw : std::string_view(json.text));
  }
}

Result<SqlValue> sql_value_from_key(const Column& column, std::string_view text) {
  if (column.kind == ValueKind::kBinary) {
    std::string bytes(text.size(), '\0');
    std::size_t size = 0;
    if (!http::decode_base64url(text, std::as_writable_bytes(std::span(bytes)), size)) {
      return expected("base64url without padding");
    }
    bytes.resize(size);
    if (column.sql_type.starts_with("binary(") && bytes.size() < column.width)
      bytes.resize(column.width);  // as the server pads BINARY(n)
    return SqlValue::of_bytes(std::move(bytes));
  }
  return scalar_from(column, text);
}

void append_json_of(const Column& column, const SqlValue& value, std::string& out) {
  switch (value.type) {
    case SqlValue::Type::kNull:
      out += "null";
      return;
    case SqlValue::Type::kInt64:
      fmt::format_to(std::back_inserter(out), "{}", value.int64);
      return;
    case SqlValue::Type::kBytes:
      append_binary(out, value.bytes);
      return;
    case SqlValue::Type::kUInt64:
      if (column.kind == ValueKind::kEnum) {
        http::append_json_string_lossy(
            value.uint64 == 0 ? std::string_view() : column.labels[value.uint64 - 1], out);
      } else {
        fmt::format_to(std::back_inserter(out), "{}", value.uint64);
      }
      return;
    case SqlValue::Type::kText:
      break;
  }
  switch (column.kind) {
    case ValueKind::kDecimal:
    case ValueKind::kFloat:
    case ValueKind::kDouble:
    case ValueKind::kJson:
      out += value.bytes;
      return;
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp: {
      std::string text = value.bytes;
      if (text.size() > 10) text[10] = 'T';
      if (column.kind == ValueKind::kTimestamp) text += 'Z';
      http::append_json_string_lossy(text, out);
      return;
    }
    default:
      http::append_json_string_lossy(value.bytes, out);
      return;
  }
}

bool charset_can_hold(std::string_view collation, std::string_view utf8) {
  const auto is_of = [&](std::string_view charset) { return collation.starts_with(charset); };
  if (is_of("ascii")) {
    return std::all_of(utf8.begin(), utf8.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  }
  if (is_of("utf8_") || is_of("utf8mb3")) {
    return std::all_of(utf8.begin(), utf8.end(), [](char c) { return static_cast<unsigned char>(c) < 0xF0; });
  }
  if (!is_of("latin1")) return true;
  for (std::size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 4 || i + length > utf8.size()) return false;
    std::uint32_t point = lead & (length == 1 ? 0x7Fu : length == 2 ? 0x1Fu : 0x0Fu);
    for (std::size_t j = 1; j < length; ++j)
      point = point << 6 | (static_cast<unsigned char>(utf8[i + j]) & 0x3Fu);
    bool is_there = point < 0x80;
    for (unsigned byte = 0x80; byte <= 0xFF && !is_there; ++byte) {
      is_there = latin1_to_unicode(static_cast<unsigned char>(byte)) == point;
    }
    if (!is_there) return false;
    i += length;
  }
  return true;
}

}  // namespace ringside::writer
