#include "shm/key.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/utf8.h"

namespace ringside::shm {
namespace {

// A value decoded out of its JSON or URL form, before it is laid into pieces. On the stack: no allocation.
class Scratch {
 public:
  bool push(char c) {
    if (size_ == bytes_.size()) return false;
    bytes_[size_++] = c;
    return true;
  }
  std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  std::size_t size_ = 0;
  std::array<char, kMaxKeyBytes> bytes_;
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_digit);
}

// Takes exactly `width` digits off the front of `text`.
bool take_number(std::string_view& text, std::size_t width, std::uint32_t& value) {
  if (text.size() < width || !all_digits(text.substr(0, width))) return false;
  value = 0;
  for (std::size_t i = 0; i < width; ++i) value = value * 10 + static_cast<std::uint32_t>(text[i] - '0');
  text.remove_prefix(width);
  return true;
}
bool take_char(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

KeyStatus put(KeyBuffer& out, std::uint64_t value) {
  return out.append_be64(value) ? KeyStatus::kOk : KeyStatus::kTooLong;
}
KeyStatus put_signed(KeyBuffer& out, std::int64_t value) {
  return put(out, static_cast<std::uint64_t>(value) ^ (std::uint64_t{1} << 63));
}

// --- numbers
// -----------------------------------------------------------------------------------------------------

struct CanonicalInteger {
  bool negative = false;
  bool overflow = false;  // beyond 64 bits of magnitude
  std::uint64_t magnitude = 0;
};

bool parse_integer(std::string_view text, CanonicalInteger& number) {
  number.negative = take_char(text, '-');
  if (text.empty() || !all_digits(text)) return false;
  if (text.front() == '0' && (text.size() > 1 || number.negative)) return false;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    number.overflow |= __builtin_mul_overflow(number.magnitude, std::uint64_t{10}, &number.magnitude);
    number.overflow |= __builtin_add_overflow(number.magnitude, digit, &number.magnitude);
  }
  return true;
}

// The greatest value of an unsigned integer of so many bits.
std::uint64_t max_of(std::uint32_t bits) {
  return bits == 0 || bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
}

KeyStatus append_signed(const Column& column, std::string_view text, KeyBuffer& out) {
  CanonicalInteger number;
  if (!parse_integer(text, number)) return KeyStatus::kNotCanonical;
  const std::uint32_t bits = column.width == 0 ? 64 : column.width * 8;
  const std::uint64_t limit = (max_of(bits) >> 1) + (number.negative ? 1 : 0);
  if (number.overflow || number.magnitude > limit) return KeyStatus::kOutOfRange;
  const std::uint64_t value = number.negative ? std::uint64_t{0} - number.magnitude : number.magnitude;
  return put_signed(out, static_cast<std::int64_t>(value));
}

KeyStatus append_unsigned(const Column& column, std::string_view text, KeyBuffer& out) {
  CanonicalInteger number;
  if (!parse_integer(text, number)) return KeyStatus::kNotCanonical;
  const std::uint32_t bits = column.kind == ValueKind::kBit ? column.width : column.width * 8;
  if (number.negative || number.overflow || number.magnitude > max_of(bits)) return KeyStatus::kOutOfRange;
  return put(out, number.magnitude);
}

KeyStatus append_year(std::string_view text, KeyBuffer& out) {
  CanonicalInteger number;
  if (!parse_integer(text, number)) return KeyStatus::kNotCanonical;
  const bool known = number.magnitude == 0 || (number.magnitude >= 1901 && number.magnitude <= 2155);
  if (number.negative || number.overflow || !known) return KeyStatus::kOutOfRange;
  return put(out, number.magnitude);
}

KeyStatus append_decimal(const Column& column, std::string_view text, KeyBuffer& out) {
  const bool negative = take_char(text, '-');
  const std::size_t scale = column.scale;
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction =
      point == std::string_view::npos ? std::string_view{} : text.substr(point + 1);
  if (whole.empty() || !all_digits(whole) || !all_digits(fraction)) return KeyStatus::kNotCanonical;
  if (whole.size() > 1 && whole.front() == '0') return KeyStatus::kNotCanonical;
  if (fraction.size() != scale || (point != std::string_view::npos && scale == 0))
    return KeyStatus::kNotCanonical;
  const auto is_zero = [](std::string_view digits) {
    return digits.find_first_not_of('0') == std::string_view::npos;
  };
  if (negative && is_zero(whole) && is_zero(fraction)) return KeyStatus::kNotCanonical;

  const std::size_t places = column.precision > scale ? column.precision - scale : 0;
  const std::string_view digits =
      whole == "0" ? std::string_view{} : whole;  // DECIMAL(2,2) prints a 0 it has no place for
  if (digits.size() > places) return KeyStatus::kOutOfRange;
  std::array<std::byte, 1 + 256 + 256> part;  // precision and scale are bytes
  std::size_t size = 0;
  const auto flip = negative ? std::byte{0xff} : std::byte{0};
  const auto push = [&](char c) { part[size++] = static_cast<std::byte>(c) ^ flip; };
  part[size++] = negative ? std::byte{0} : std::byte{1};
  for (std::size_t i = digits.size(); i < places; ++i) push('0');
  for (const char c : digits) push(c);
  for (const char c : fraction) push(c);
  return out.append({part.data(), size}) ? KeyStatus::kOk : KeyStatus::kTooLong;
}

// --- dates and times
// ---------------------------------------------------------------------------------------------

bool take_fraction(std::string_view& text, std::uint32_t digits, std::uint32_t& micros) {
  micros = 0;
  if (digits == 0) return true;
  if (digits > 6 || !take_char(text, '.') || !take_number(text, digits, micros)) return false;
  for (std::uint32_t i = digits; i < 6; ++i) micros *= 10;
  return true;
}

// "2026-01-08". Zero parts and days past the month's end occur on servers that allow them.
bool take_date(std::string_view& text, std::uint64_t& packed) {
  std::uint32_t year = 0;
  std::uint32_t month = 0;
  std::uint32_t day = 0;
  const bool ok = take_number(text, 4, year) && take_char(text, '-') && take_number(text, 2, month) &&
                  take_char(text, '-') && take_number(text, 2, day) && month <= 12 && day <= 31;
  packed = std::uint64_t{year} << 9 | std::uint64_t{month} << 5 | day;
  return ok;
}

bool take_minutes_and_below(std::string_view& text, std::uint32_t digits, std::uint64_t& packed) {
  std::uint32_t minute = 0;
  std::uint32_t second = 0;
  std::uint32_t micros = 0;
  const bool ok = take_char(text, ':') && take_number(text, 2, minute) && take_char(text, ':') &&
                  take_number(text, 2, second) && minute < 60 && second < 60 &&
                  take_fraction(text, digits, micros);
  packed = std::uint64_t{minute} << 26 | std::uint64_t{second} << 20 | micros;
  return ok;
}

KeyStatus append_date(std::string_view text, KeyBuffer& out) {
  std::uint64_t date = 0;
  if (!take_date(text, date) || !text.empty()) return KeyStatus::kNotCanonical;
  return put(out, date);
}

KeyStatus append_datetime(const Column& column, std::string_view text, KeyBuffer& out) {
  std::uint64_t date = 0;
  std::uint32_t hour = 0;
  std::uint64_t rest = 0;
  if (!take_date(text, date) || !take_char(text, 'T') || !take_number(text, 2, hour) || hour > 23 ||
      !take_minutes_and_below(text, column.scale, rest)) {
    return KeyStatus::kNotCanonical;
  }
  if (column.kind == ValueKind::kTimestamp && !take_char(text, 'Z')) return KeyStatus::kNotCanonical;
  if (!text.empty()) return KeyStatus::kNotCanonical;
  return put(out, date << 37 | std::uint64_t{hour} << 32 | rest);
}

KeyStatus append_time(const Column& column, std::string_view text, KeyBuffer& out) {
  const bool negative = take_char(text, '-');
  const std::size_t width = text.find(':');
  std::uint32_t hour = 0;
  std::uint64_t rest = 0;
  if (width != 2 && width != 3) return KeyStatus::kNotCanonical;
  if (width == 3 && text.front() == '0') return KeyStatus::kNotCanonical;
  if (!take_number(text, width, hour) || !take_minutes_and_below(text, column.scale, rest) || !text.empty()) {
    return KeyStatus::kNotCanonical;
  }
  if (hour > 838) return KeyStatus::kOutOfRange;
  const auto magnitude = static_cast<std::int64_t>(std::uint64_t{hour} << 32 | rest);
  if (negative && magnitude == 0) return KeyStatus::kNotCanonical;
  return put_signed(out, negative ? -magnitude : magnitude);
}

// --- texts and bytes
// ---------------------------------------------------------------------------------------------

std::string_view without_trailing_spaces(std::string_view text) {
  const std::size_t last = text.find_last_not_of(' ');
  return last == std::string_view::npos ? std::string_view{} : text.substr(0, last + 1);
}

// How `text`, followed by spaces for ever, compares with spaces alone: 1 less, 2 equal, 3 greater.
std::byte against_spaces(std::string_view text) {
  const std::size_t at = text.find_first_not_of(' ');
  if (at == std::string_view::npos) return std::byte{2};
  return static_cast<unsigned char>(text[at]) < ' ' ? std::byte{1} : std::byte{3};
}

KeyStatus append_padded(std::string_view text, KeyBuffer& out) {
  constexpr std::size_t kPiece = 8;
  text = without_trailing_spaces(text);
  while (true) {
    std::array<std::byte, kPiece + 1> piece;
    piece.fill(std::byte{' '});
    const std::size_t used = std::min(kPiece, text.size());
    if (used != 0) std::memcpy(piece.data(), text.data(), used);
    text.remove_prefix(used);
    piece[kPiece] = against_spaces(text);
    if (!out.append(piece)) return KeyStatus::kTooLong;
    if (text.empty()) return KeyStatus::kOk;
  }
}

KeyStatus append_terminated(std::string_view bytes, KeyBuffer& out) {
  constexpr std::array<std::byte, 2> kEscapedZero{std::byte{0}, std::byte{0xff}};
  constexpr std::array<std::byte, 2> kEnd{std::byte{0}, std::byte{1}};
  while (true) {
    const std::size_t zero = bytes.find('\0');
    if (!out.append(as_bytes(bytes.substr(0, zero)))) return KeyStatus::kTooLong;
    if (zero == std::string_view::npos) break;
    if (!out.append(kEscapedZero)) return KeyStatus::kTooLong;
    bytes.remove_prefix(zero + 1);
  }
  return out.append(kEnd) ? KeyStatus::kOk : KeyStatus::kTooLong;
}

KeyStatus append_bytes(const KeyColumn& key, bool is_last, std::string_view bytes, KeyBuffer& out) {
  if (key.pad_space) return append_padded(bytes, out);
  if (!is_last) return append_terminated(bytes, out);
  return out.append(as_bytes(bytes)) ? KeyStatus::kOk : KeyStatus::kTooLong;
}

KeyStatus append_label(const Column& column, std::string_view label, KeyBuffer& out) {
  if (label.empty() && can_be_key(column)) return put(out, 0);
  const auto found = std::find(column.labels.begin(), column.labels.end(), label);
  if (found == column.labels.end()) return KeyStatus::kOutOfRange;
  return put(out, static_cast<std::uint64_t>(found - column.labels.begin()) + 1);
}

// --- out of JSON
// -------------------------------------------------------------------------------------------------

bool take_hex4(std::string_view& text, std::uint32_t& unit) {
  if (text.size() < 4) return false;
  unit = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const char c = text[i];
    const char lower = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (lower < 'a' || lower > 'f')) return false;
    unit = unit << 4 | static_cast<std::uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
  }
  text.remove_prefix(4);
  return true;
}

bool push_utf8(std::uint32_t code, Scratch& out) {
  const auto tail = [&](int shift) { return out.push(static_cast<char>(0x80 | ((code >> shift) & 0x3f))); };
  if (code < 0x80) return out.push(static_cast<char>(code));
  if (code < 0x800) return out.push(static_cast<char>(0xc0 | code >> 6)) && tail(0);
  if (code < 0x10000) return out.push(static_cast<char>(0xe0 | code >> 12)) && tail(6) && tail(0);
  return out.push(static_cast<char>(0xf0 | code >> 18)) && tail(12) && tail(6) && tail(0);
}

// After "\u": one code point, from two units when the first is a high surrogate.
KeyStatus unescape_unit(std::string_view& text, Scratch& out) {
  std::uint32_t code = 0;
  if (!take_hex4(text, code)) return KeyStatus::kNotCanonical;
  if (code >= 0xd800 && code <= 0xdfff) {
    std::uint32_t low = 0;
    if (code > 0xdbff || !take_char(text, '\\') || !take_char(text, 'u') || !take_hex4(text, low) ||
        low < 0xdc00 || low > 0xdfff) {
      return KeyStatus::kNotCanonical;
    }
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  return push_utf8(code, out) ? KeyStatus::kOk : KeyStatus::kTooLong;
}

// The text between the quotes of a JSON string. False when `json` is none.
bool unquote(std::string_view json, std::string_view& inner) {
  if (json.size() < 2 || json.front() != '"' || json.back() != '"') return false;
  inner = json.substr(1, json.size() - 2);
  return true;
}

KeyStatus unescape(std::string_view json, Scratch& out) {
  std::string_view text;
  if (!unquote(json, text)) return KeyStatus::kNotCanonical;
  constexpr std::string_view kEscapes = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == '"') return KeyStatus::kNotCanonical;
    if (c != '\\') {
      if (!out.push(c)) return KeyStatus::kTooLong;
      continue;
    }
    if (text.empty()) return KeyStatus::kNotCanonical;
    const char escape = text.front();
    text.remove_prefix(1);
    if (escape == 'u') {
      if (const KeyStatus status = unescape_unit(text, out); status != KeyStatus::kOk) return status;
      continue;
    }
    const std::size_t which = kEscapes.find(escape);
    if (which == std::string_view::npos) return KeyStatus::kNotCanonical;
    if (!out.push(kMeanings[which])) return KeyStatus::kTooLong;
  }
  return KeyStatus::kOk;
}

// --- base64
// ------------------------------------------------------------------------------------------------------

int base64_digit(char c, bool url) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == (url ? '-' : '+')) return 62;
  if (c == (url ? '_' : '/')) return 63;
  return -1;
}

// Without padding. Left-over bits must be zero, so that each byte string has one text only.
KeyStatus decode_base64(std::string_view text, bool url, Scratch& out) {
  if (text.size() % 4 == 1) return KeyStatus::kNotCanonical;
  std::uint32_t bits = 0;
  int count = 0;
  bool fits = true;
  for (const char c : text) {
    const int digit = base64_digit(c, url);
    if (digit < 0) return KeyStatus::kNotCanonical;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      fits = fits && out.push(static_cast<char>(bits >> count & 0xff));
      bits &= (1u << count) - 1;
    }
  }
  if (bits != 0) return KeyStatus::kNotCanonical;
  return fits ? KeyStatus::kOk : KeyStatus::kTooLong;
}

KeyStatus decode_padded_base64(std::string_view text, Scratch& out) {
  if (text.size() % 4 != 0) return KeyStatus::kNotCanonical;
  for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i) text.remove_suffix(1);
  return decode_base64(text, false, out);
}

// Every kind whose JSON form, quotes apart, is also its form in a URL.
KeyStatus append_plain(const Column& column, std::string_view text, KeyBuffer& out) {
  switch (column.kind) {
    case ValueKind::kInteger:
      return append_signed(column, text, out);
    case ValueKind::kUnsigned:
    case ValueKind::kBit:
      return append_unsigned(column, text, out);
    case ValueKind::kYear:
      return append_year(text, out);
    case ValueKind::kDecimal:
      return append_decimal(column, text, out);
    case ValueKind::kDate:
      return append_date(text, out);
    case ValueKind::kTime:
      return append_time(column, text, out);
    case ValueKind::kDatetime:
    case ValueKind::kTimestamp:
      return append_datetime(column, text, out);
    default:
      return KeyStatus::kNotCanonical;
  }
}

bool is_quoted_plain(ValueKind kind) {
  return kind == ValueKind::kDate || kind == ValueKind::kTime || kind == ValueKind::kDatetime ||
         kind == ValueKind::kTimestamp;
}

}  // namespace

bool KeyBuffer::append(Bytes bytes) {
  if (bytes.size() > bytes_.size() - size_) return false;
  if (!bytes.empty()) std::memcpy(bytes_.data() + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
  return true;
}

bool KeyBuffer::append_be64(std::uint64_t value) {
  std::array<std::byte, 8> raw;
  store_be(raw.data(), value);
  return append(raw);
}

bool can_be_key(ValueKind kind) {
  return kind != ValueKind::kFloat && kind != ValueKind::kDouble && kind != ValueKind::kSet &&
         kind != ValueKind::kJson;
}

bool can_be_key(const Column& column) {
  if (column.kind == ValueKind::kEnum) {
    return std::find(column.labels.begin(), column.labels.end(), std::string_view{}) == column.labels.end();
  }
  return can_be_key(column.kind);
}

bool is_pad_space(std::string_view collation) {
  return collation != "binary" && collation.find("nopad") == std::string_view::npos &&
         collation.find("_0900_") == std::string_view::npos;
}

bool is_bin(std::string_view collation) {
  return collation == "binary" || collation.ends_with("_bin");
}

KeyColumn make_key_column(std::uint32_t column_index, const Column& column) {
  KeyColumn key;
  key.column = column_index;
  if (column.kind != ValueKind::kText) return key;
  const std::string_view collation = column.collation;
  const bool orders_as_unicode = collation.starts_with("utf8mb4_") || collation.starts_with("utf8mb3_") ||
                                 collation.starts_with("utf8_") || collation.starts_with("ascii_");
  if (!is_bin(collation) || (!orders_as_unicode && !collation.starts_with("latin1_"))) {
    key.rule = KeyRule::kExact;
    return key;
  }
  key.rule = orders_as_unicode ? KeyRule::kOrdered : KeyRule::kEqual;
  key.pad_space = is_pad_space(collation);
  return key;
}

KeyStatus append_key_from_json(const Column& column, const KeyColumn& key, bool is_last,
                               std::string_view json, KeyBuffer& out) {
  RINGSIDE_ASSERT(can_be_key(column.kind));
  switch (column.kind) {
    case ValueKind::kText:
    case ValueKind::kEnum: {
      Scratch text;
      if (const KeyStatus status = unescape(json, text); status != KeyStatus::kOk) return status;
      if (column.kind == ValueKind::kEnum) return append_label(column, text.text(), out);
      return append_bytes(key, is_last, text.text(), out);
    }
    case ValueKind::kBinary: {
      Scratch bytes;
      std::string_view inner;
      if (!unquote(json, inner)) return KeyStatus::kNotCanonical;
      if (const KeyStatus status = decode_padded_base64(inner, bytes); status != KeyStatus::kOk)
        return status;
      return append_bytes(key, is_last, bytes.text(), out);
    }
    default: {
      std::string_view text = json;
      if (is_quoted_plain(column.kind) && !unquote(json, text)) return KeyStatus::kNotCanonical;
      return append_plain(column, text, out);
    }
  }
}

KeyStatus append_key_from_text(const Column& column, const KeyColumn& key, bool is_last,
                               std::string_view text, KeyBuffer& out) {
  RINGSIDE_ASSERT(can_be_key(column.kind));
  switch (column.kind) {
    case ValueKind::kText:
    case ValueKind::kEnum:
      if (!is_utf8(text)) return KeyStatus::kNotCanonical;
      if (column.kind == ValueKind::kEnum) return append_label(column, text, out);
      return append_bytes(key, is_last, text, out);
    case ValueKind::kBinary: {
      Scratch bytes;
      if (const KeyStatus status = decode_base64(text, true, bytes); status != KeyStatus::kOk) return status;
      return append_bytes(key, is_last, bytes.text(), out);
    }
    default:
      return append_plain(column, text, out);
  }
}

}  // namespace ringside::shm
