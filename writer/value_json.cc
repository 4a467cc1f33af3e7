#include "writer/value_json.h"

#include <array>
#include <bitset>
#include <charconv>

#include "base/bytes.h"
#include "base/utf8.h"
#include "http/json_text.h"

namespace ringside::writer {
namespace {

constexpr std::array<std::uint32_t, 7> kPowersOfTen{1, 10, 100, 1'000, 10'000, 100'000, 1'000'000};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

template <class Number>
void append_number(std::string& out, Number value) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out.append(text.data(), static_cast<std::size_t>(end - text.data()));
}

// `value` with leading zeros to `width` digits. Precondition: value < 10^width, width <= 6.
void append_padded(std::string& out, std::uint32_t value, std::uint32_t width) {
  std::array<char, 6> text;
  for (std::uint32_t i = width; i-- > 0; value /= 10) text[i] = static_cast<char>('0' + value % 10);
  out.append(text.data(), width);
}

// ".123". False when the value has more digits than the column shows.
bool append_fraction(std::string& out, std::uint32_t micros, std::uint32_t digits) {
  if (digits > 6 || micros >= kPowersOfTen[6]) return false;
  const std::uint32_t unit = kPowersOfTen[6 - digits];
  if (micros % unit != 0) return false;
  if (digits == 0) return true;
  out.push_back('.');
  append_padded(out, micros / unit, digits);
  return true;
}

// --- JSON strings
// ------------------------------------------------------------------------------------------------

void append_escaped_ascii(std::string& out, unsigned char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  switch (c) {
    case '"':
      out.append("\\\"");
      return;
    case '\\':
      out.append("\\\\");
      return;
    case '\b':
      out.append("\\b");
      return;
    case '\f':
      out.append("\\f");
      return;
    case '\n':
      out.append("\\n");
      return;
    case '\r':
      out.append("\\r");
      return;
    case '\t':
      out.append("\\t");
      return;
    default:
      out.append("\\u00");
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
  }
}

// Printable ASCII that stands for itself in a JSON string, in every character set we know.
constexpr std::array<bool, 256> make_plain() {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0x20; c < 0x7f; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}
constexpr std::array<bool, 256> kPlain = make_plain();

// The inside of a string. False when `text` is not valid in its character set.
bool append_string_content(std::string& out, std::string_view text, Charset charset) {
  while (!text.empty()) {
    std::size_t run = 0;
    while (run < text.size() && kPlain[static_cast<unsigned char>(text[run])]) ++run;
    out.append(text.substr(0, run));
    text.remove_prefix(run);
    if (text.empty()) break;
    const auto c = static_cast<unsigned char>(text.front());
    if (c == 0x7f) {
      out.push_back('\x7f');
    } else if (c < 0x80) {
      append_escaped_ascii(out, c);
    } else {
      const std::size_t length = character_length(text, charset);
      if (length == 0) return false;
      if (charset == Charset::kLatin1) {
        append_code_point(out, latin1_to_unicode(c));
      } else {
        out.append(text.substr(0, length));
      }
      text.remove_prefix(length);
      continue;
    }
    text.remove_prefix(1);
  }
  return true;
}

// --- checking a document
// -----------------------------------------------------------------------------------------

// Walks a JSON document (RFC 8259) without building anything. Each step returns false at the first fault.
class JsonChecker {
 public:
  explicit JsonChecker(std::string_view text) : rest_(text) {}

  bool check() {
    std::size_t depth = 0;
    while (true) {
      skip_space();
      if (take('{')) {
        if (depth == kMaxJsonDepth) return false;
        is_object_[depth++] = true;
        skip_space();
        if (!take('}')) {
          if (!name()) return false;
          continue;
        }
        --depth;
      } else if (take('[')) {
        if (depth == kMaxJsonDepth) return false;
        is_object_[depth++] = false;
        skip_space();
        if (!take(']')) continue;
        --depth;
      } else if (!scalar()) {
        return false;
      }
      // A value has ended: close what ends with it, then either another value follows or all is done.
      if (!close(depth)) return false;
      if (depth == 0) return rest_.empty();
    }
  }

 private:
  bool close(std::size_t& depth) {
    while (true) {
      skip_space();
      if (depth == 0) return true;
      const bool is_object = is_object_[depth - 1];
      if (take(is_object ? '}' : ']')) {
        --depth;
        continue;
      }
      if (!take(',')) return false;
      skip_space();
      return !is_object || name();
    }
  }

  void skip_space() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t' || rest_.front() == '\n' ||
                              rest_.front() == '\r')) {
      rest_.remove_prefix(1);
    }
  }
  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take_word(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool digits() {
    std::size_t count = 0;
    while (count < rest_.size() && is_digit(rest_[count])) ++count;
    rest_.remove_prefix(count);
    return count > 0;
  }
  bool number() {
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      return digits();
    }
    return true;
  }
  bool escape() {
    if (take('u')) {
      for (int i = 0; i < 4; ++i) {
        if (rest_.empty()) return false;
        const char c = rest_.front();
        const char lower = static_cast<char>(c | 0x20);
        if (!is_digit(c) && (lower < 'a' || lower > 'f')) return false;
        rest_.remove_prefix(1);
      }
      return true;
    }
    if (rest_.empty() || std::string_view("\"\\/bfnrt").find(rest_.front()) == std::string_view::npos)
      return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool string() {
    if (!take('"')) return false;
    while (!rest_.empty()) {
      if (take('"')) return true;
      if (take('\\')) {
        if (!escape()) return false;
        continue;
      }
      if (static_cast<unsigned char>(rest_.front()) < 0x20) return false;
      const std::size_t length = utf8_sequence_length(rest_);
      if (length == 0) return false;
      rest_.remove_prefix(length);
    }
    return false;
  }
  bool name() {
    skip_space();
    if (!string()) return false;
    skip_space();
    return take(':');
  }
  bool scalar() {
    if (rest_.empty()) return false;
    if (rest_.front() == '"') return string();
    return take_word("true") || take_word("false") || take_word("null") || number();
  }

  std::string_view rest_;
  std::bitset<kMaxJsonDepth> is_object_;
};

// --- dates
// -------------------------------------------------------------------------------------------------------

bool append_date_part(std::string& out, std::uint32_t year, std::uint32_t month, std::uint32_t day) {
  if (year > 9999 || month > 12 || day > 31) return false;
  append_padded(out, year, 4);
  out.push_back('-');
  append_padded(out, month, 2);
  out.push_back('-');
  append_padded(out, day, 2);
  return true;
}

bool append_minutes_and_below(std::string& out, std::uint32_t minute, std::uint32_t second,
                              std::uint32_t micros, std::uint32_t digits) {
  if (minute > 59 || second > 59) return false;
  out.push_back(':');
  append_padded(out, minute, 2);
  out.push_back(':');
  append_padded(out, second, 2);
  return append_fraction(out, micros, digits);
}

// The civil date of a day number (0 is 1970-01-01), by counting in eras of 400 years that begin in March:
// then the leap day is the last of its year, and month lengths follow one straight line (153 days in five
// months).
void set_civil_date(std::uint64_t days_since_1970, DateTimeValue& value) {
  constexpr std::uint64_t kDaysFromMarch0000 = 719'468;
  const std::uint64_t days = days_since_1970 + kDaysFromMarch0000;
  const std::uint64_t era = days / 146'097;
  const std::uint64_t day_of_era = days % 146'097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t month_from_march = (5 * day_of_year + 2) / 153;
  value.day = static_cast<std::uint32_t>(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  value.month =
      static_cast<std::uint32_t>(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
  value.year = static_cast<std::uint32_t>(era * 400 + year_of_era + (value.month <= 2 ? 1 : 0));
}

}  // namespace

std::string_view to_string(ValueStatus status) {
  switch (status) {
    case ValueStatus::kOk:
      return "is good";
    case ValueStatus::kBadText:
      return "has bytes that are not valid in its character set";
    case ValueStatus::kBadLabel:
      return "has a number that no label stands for";
    case ValueStatus::kBadDate:
      return "is no date that JSON text can show";
    case ValueStatus::kBadTime:
      return "is beyond the range or the fraction digits of its type";
    case ValueStatus::kBadDecimal:
      return "is no decimal number";
    case ValueStatus::kBadFloat:
      return "is infinite or not a number";
    case ValueStatus::kBadJson:
      return "is no valid JSON document in UTF-8";
    case ValueStatus::kMalformed:
      return "has a packed form that contradicts itself";
    case ValueStatus::kUnsupported:
      return "is of a type or character set that is not decoded";
  }
  return "is of unknown status";
}

void append_integer(std::string& out, std::int64_t value) {
  append_number(out, value);
}
void append_unsigned(std::string& out, std::uint64_t value) {
  append_number(out, value);
}
void append_bit(std::string& out, std::uint64_t value) {
  append_number(out, value);
}
void append_year(std::string& out, std::uint32_t year) {
  append_number(out, year);
}

ValueStatus append_decimal(std::string& out, std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  std::size_t point = text.size();
  bool is_zero = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.' && point == text.size() && i + 1 < text.size()) {
      point = i;
    } else if (!is_digit(text[i])) {
      return ValueStatus::kBadDecimal;
    } else {
      is_zero = is_zero && text[i] == '0';
    }
  }
  if (point == 0) return ValueStatus::kBadDecimal;
  std::size_t zeros = 0;
  while (zeros + 1 < point && text[zeros] == '0') ++zeros;
  if (negative && !is_zero) out.push_back('-');
  out.append(text.substr(zeros));
  return ValueStatus::kOk;
}

ValueStatus append_float(std::string& out, float value) {
  return http::append_json_float(value, out) ? ValueStatus::kOk : ValueStatus::kBadFloat;
}

ValueStatus append_double(std::string& out, double value) {
  return http::append_json_double(value, out) ? ValueStatus::kOk : ValueStatus::kBadFloat;
}

ValueStatus append_text(std::string& out, std::string_view bytes, Charset charset) {
  if (charset == Charset::kUnsupported || charset == Charset::kBinary) return ValueStatus::kUnsupported;
  out.push_back('"');
  if (!append_string_content(out, bytes, charset)) return ValueStatus::kBadText;
  out.push_back('"');
  return ValueStatus::kOk;
}

void append_binary(std::string& out, std::string_view bytes) {
  out.push_back('"');
  http::append_base64(as_bytes(bytes), out);
  out.push_back('"');
}

ValueStatus append_json(std::string& out, std::string_view document) {
  if (!JsonChecker(document).check()) return ValueStatus::kBadJson;
  out.append(document);
  return ValueStatus::kOk;
}

ValueStatus append_date(std::string& out, std::uint32_t year, std::uint32_t month, std::uint32_t day) {
  out.push_back('"');
  if (!append_date_part(out, year, month, day)) return ValueStatus::kBadDate;
  out.push_back('"');
  return ValueStatus::kOk;
}

ValueStatus append_datetime(std::string& out, const DateTimeValue& value, std::uint32_t digits,
                            bool is_timestamp) {
  out.push_back('"');
  if (!append_date_part(out, value.year, value.month, value.day)) return ValueStatus::kBadDate;
  if (value.hour > 23) return ValueStatus::kBadTime;
  out.push_back('T');
  append_padded(out, value.hour, 2);
  if (!append_minutes_and_below(out, value.minute, value.second, value.micros, digits))
    return ValueStatus::kBadTime;
  if (is_timestamp) out.push_back('Z');
  out.push_back('"');
  return ValueStatus::kOk;
}

ValueStatus append_timestamp_from_epoch(std::string& out, std::uint64_t seconds, std::uint32_t micros,
                                        std::uint32_t digits) {
  constexpr std::uint64_t kSecondsPerDay = 86'400;
  constexpr std::uint64_t kYear10000 = 253'402'300'800;
  if (seconds >= kYear10000) return ValueStatus::kBadDate;
  DateTimeValue value;
  if (seconds != 0 || micros != 0) {
    const auto of_day = static_cast<std::uint32_t>(seconds % kSecondsPerDay);
    set_civil_date(seconds / kSecondsPerDay, value);
    value.hour = of_day / 3600;
    value.minute = of_day / 60 % 60;
    value.second = of_day % 60;
    value.micros = micros;
  }
  return append_datetime(out, value, digits, true);
}

ValueStatus append_time(std::string& out, const TimeValue& value, std::uint32_t digits) {
  constexpr std::uint32_t kMostHours = 838;
  if (value.hours > kMostHours) return ValueStatus::kBadTime;
  out.push_back('"');
  if (value.negative) out.push_back('-');
  append_padded(out, value.hours, value.hours > 99 ? 3 : 2);
  if (!append_minutes_and_below(out, value.minute, value.second, value.micros, digits))
    return ValueStatus::kBadTime;
  out.push_back('"');
  return ValueStatus::kOk;
}

JsonLabels::JsonLabels(const std::vector<std::string>& labels) {
  quoted_.reserve(labels.size());
  for (const std::string& label : labels) {
    std::string& quoted = quoted_.emplace_back("\"");
    append_string_content(quoted, label, Charset::kUtf8mb4);
    quoted.push_back('"');
  }
}

ValueStatus append_enum(std::string& out, std::uint64_t number, const JsonLabels& labels) {
  if (number > labels.size()) return ValueStatus::kBadLabel;
  out.append(number == 0 ? std::string_view("\"\"") : labels[static_cast<std::size_t>(number) - 1]);
  return ValueStatus::kOk;
}

ValueStatus append_set(std::string& out, std::uint64_t bits, const JsonLabels& labels) {
  if (labels.size() < 64 && bits >> labels.size() != 0) return ValueStatus::kBadLabel;
  out.push_back('[');
  bool is_first = true;
  for (; bits != 0; bits &= bits - 1) {
    if (!is_first) out.push_back(',');
    is_first = false;
    out.append(labels[static_cast<std::size_t>(__builtin_ctzll(bits))]);
  }
  out.push_back(']');
  return ValueStatus::kOk;
}

ValueStatus append_set_from_text(std::string& out, std::string_view bytes, Charset charset,
                                 const JsonLabels& labels) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].size() == 2) return ValueStatus::kUnsupported;
  }
  out.push_back('[');
  // A comma cannot be part of a label, and is the byte 0x2c in every character set that is supported.
  while (!bytes.empty()) {
    const std::size_t comma = bytes.find(',');
    const std::size_t begin = out.size();
    if (const auto status = append_text(out, bytes.substr(0, comma), charset); status != ValueStatus::kOk)
      return status;
    bool is_known = false;
    for (std::size_t i = 0; i < labels.size() && !is_known; ++i) {
      is_known = std::string_view(out).substr(begin) == labels[i];
    }
    if (!is_known) return ValueStatus::kBadLabel;
    if (comma == std::string_view::npos) break;
    out.push_back(',');
    bytes.remove_prefix(comma + 1);
    if (bytes.empty()) return ValueStatus::kBadLabel;
  }
  out.push_back(']');
  return ValueStatus::kOk;
}

}  // namespace ringside::writer
