#include "writer/binlog/json_binary.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "http/json_text.h"
#include "writer/binlog/decimal.h"

namespace ringside::writer::binlog {
namespace {

enum Type : std::uint8_t {
  kSmallObject = 0,
  kLargeObject = 1,
  kSmallArray = 2,
  kLargeArray = 3,
  kLiteral = 4,
  kInt16 = 5,
  kUint16 = 6,
  kInt32 = 7,
  kUint32 = 8,
  kInt64 = 9,
  kUint64 = 10,
  kDouble = 11,
  kString = 12,
  kOpaque = 15,
};

// Column types that an opaque value can have and that have a text of their own.
enum OpaqueType : std::uint8_t {
  kOpaqueTimestamp = 7,
  kOpaqueDate = 10,
  kOpaqueTime = 11,
  kOpaqueDatetime = 12,
  kOpaqueDecimal = 246,
};

// The shortest digits that read back to the same value. With an exponent (without a plus, without zeros in front) when
// the first digit stands more than 14 zeros behind the point, or the point more than 15 digits behind it; but not when
// digits remain behind the point.
ValueStatus append_server_double(std::string& out, double value) {
  constexpr int kLowestPoint = -14;
  constexpr int kHighestPoint = 15;
  if (!std::isfinite(value)) return ValueStatus::kBadFloat;
  std::array<char, 32> text;
  const char* const end =
      std::to_chars(text.data(), text.data() + text.size(), std::fabs(value), std::chars_format::scientific)
          .ptr;
  const std::string_view all(text.data(), static_cast<std::size_t>(end - text.data()));
  const std::size_t e = all.find('e');
  std::array<char, 32> digits;
  std::size_t count = 0;
  for (const char c : all.substr(0, e)) {
    if (c != '.') digits[count++] = c;
  }
  int exponent = 0;
  const char* const first = all.data() + e + (all[e + 1] == '+' ? 2 : 1);
  std::from_chars(first, end, exponent);

  if (std::signbit(value)) out.push_back('-');
  const std::string_view shown(digits.data(), count);
  const int point = exponent + 1;  // so many digits stand before it
  const bool is_whole = point >= static_cast<int>(count);
  if ((point > kHighestPoint && is_whole) || point < kLowestPoint) {
    out.push_back(shown.front());
    if (count > 1) out.append(".").append(shown.substr(1));
    out.push_back('e');
    append_integer(out, exponent);
  } else if (point <= 0) {
    out.append("0.").append(static_cast<std::size_t>(-point), '0').append(shown);
  } else if (is_whole) {
    out.append(shown).append(static_cast<std::size_t>(point) - count, '0').append(".0");
  } else {
    out.append(shown.substr(0, static_cast<std::size_t>(point))).append(".");
    out.append(shown.substr(static_cast<std::size_t>(point)));
  }
  return ValueStatus::kOk;
}

// DATE, DATETIME and TIMESTAMP: year * 13 + month in the highest bits, then day, hour, minute, second, 24 bits of micros.
// TIME: hours, minute, second, micros, the whole negated.
ValueStatus append_opaque_time(std::string& out, std::uint8_t type, std::int64_t packed) {
  const bool is_negative = packed < 0;
  if (is_negative && type != kOpaqueTime) return ValueStatus::kMalformed;
  const std::uint64_t magnitude =
      is_negative ? 0 - static_cast<std::uint64_t>(packed) : static_cast<std::uint64_t>(packed);
  const auto micros = static_cast<std::uint32_t>(magnitude & 0xffffff);
  const std::uint64_t whole = magnitude >> 24;
  const auto second = static_cast<std::uint32_t>(whole & 63);
  const auto minute = static_cast<std::uint32_t>(whole >> 6 & 63);
  if (type == kOpaqueTime) {
    if (whole >> 12 > 838) return ValueStatus::kMalformed;
    return append_time(out, {is_negative, static_cast<std::uint32_t>(whole >> 12), minute, second, micros},
                       6);
  }
  const auto day = static_cast<std::uint32_t>(whole >> 17 & 31);
  const std::uint64_t months = whole >> 22;
  if (months > 9999 * 13 + 12) return ValueStatus::kMalformed;
  const auto year = static_cast<std::uint32_t>(months / 13);
  const auto month = static_cast<std::uint32_t>(months % 13);
  if (type == kOpaqueDate) {
    return (magnitude & 0x1ffffffffff) == 0 ? append_date(out, year, month, day) : ValueStatus::kMalformed;
  }
  const std::size_t begin = out.size();
  const auto hour = static_cast<std::uint32_t>(whole >> 12 & 31);
  const auto status = append_datetime(out, {year, month, day, hour, minute, second, micros}, 6, false);
  if (status == ValueStatus::kOk) out[begin + std::string_view("\"2026-01-08").size()] = ' ';  // not our 'T'
  return status;
}

void append_opaque_bytes(std::string& out, std::uint8_t type, Bytes bytes) {
  constexpr std::size_t kLineBytes = 57;  // 76 characters
  out.append("\"base64:type");
  append_unsigned(out, type);
  out.push_back(':');
  for (bool is_first = true; is_first || !bytes.empty(); is_first = false) {
    if (!is_first) out.append("\\n");
    const Bytes line = bytes.first(std::min(kLineBytes, bytes.size()));
    http::append_base64(line, out);
    bytes = bytes.subspan(line.size());
  }
  out.push_back('"');
}

class DocumentPrinter {
 public:
  DocumentPrinter(std::string& out, std::size_t budget) : out_(out), budget_(budget) {}

  ValueStatus value(std::uint8_t type, Bytes bytes, std::size_t depth) {
    switch (type) {
      case kSmallObject:
      case kLargeObject:
      case kSmallArray:
      case kLargeArray:
        return container(type, bytes, depth);
      case kLiteral:
      case kInt16:
      case kUint16:
      case kInt32:
      case kUint32:
      case kInt64:
      case kUint64:
      case kDouble: {
        const Bytes mine = bytes.first(std::min(scalar_bytes(type), bytes.size()));
        return use(mine.size()) ? scalar(type, mine) : ValueStatus::kMalformed;
      }
      case kString: {
        Bytes text;
        if (!sized(bytes, text)) return ValueStatus::kMalformed;
        return append_text(out_, as_text(text), Charset::kUtf8mb4);
      }
      case kOpaque:
        return opaque(bytes);
      default:
        return ValueStatus::kMalformed;
    }
  }

 private:
  // No two parts of a document share a byte, so all parts together are no longer than it. Whoever lets two entries point
  // at one place, to make a short document a long text, runs out of this.
  bool use(std::size_t bytes) {
    if (bytes > budget_) return false;
    budget_ -= bytes;
    return true;
  }

  static std::size_t scalar_bytes(std::uint8_t type) {
    switch (type) {
      case kLiteral:
        return 1;
      case kInt16:
      case kUint16:
        return 2;
      case kInt32:
      case kUint32:
        return 4;
      default:
        return 8;
    }
  }

  ValueStatus scalar(std::uint8_t type, Bytes bytes) {
    if (bytes.size() < scalar_bytes(type)) return ValueStatus::kMalformed;
    ByteReader reader(bytes);
    switch (type) {
      case kLiteral: {
        constexpr std::array<std::string_view, 3> kLiterals{"null", "true", "false"};
        const std::uint8_t which = reader.u8();
        if (which >= kLiterals.size()) return ValueStatus::kMalformed;
        out_.append(kLiterals[which]);
        return ValueStatus::kOk;
      }
      case kInt16:
        append_integer(out_, static_cast<std::int16_t>(reader.u16()));
        return ValueStatus::kOk;
      case kUint16:
        append_unsigned(out_, reader.u16());
        return ValueStatus::kOk;
      case kInt32:
        append_integer(out_, static_cast<std::int32_t>(reader.u32()));
        return ValueStatus::kOk;
      case kUint32:
        append_unsigned(out_, reader.u32());
        return ValueStatus::kOk;
      case kInt64:
        append_integer(out_, static_cast<std::int64_t>(reader.u64()));
        return ValueStatus::kOk;
      case kUint64:
        append_unsigned(out_, reader.u64());
        return ValueStatus::kOk;
      default:
        return append_server_double(out_, std::bit_cast<double>(reader.u64()));
    }
  }

  // A length in groups of seven bits, the lowest first, each but the last with its highest bit set; then so many bytes.
  bool sized(Bytes bytes, Bytes& content) {
    ByteReader reader(bytes);
    std::uint64_t size = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
      const std::uint8_t group = reader.u8();
      size |= static_cast<std::uint64_t>(group & 0x7fu) << shift;
      if ((group & 0x80u) != 0) continue;
      if (!reader.ok() || size > reader.remaining()) return false;
      content = reader.take(static_cast<std::size_t>(size));
      return use(shift / 7 + 1 + content.size());
    }
    return false;
  }

  ValueStatus opaque(Bytes bytes) {
    if (bytes.empty() || !use(1)) return ValueStatus::kMalformed;
    const auto type = std::to_integer<std::uint8_t>(bytes[0]);
    Bytes content;
    if (!sized(bytes.subspan(1), content)) return ValueStatus::kMalformed;
    switch (type) {
      case kOpaqueDecimal: {
        ByteReader reader(content);
        const std::uint8_t precision = reader.u8();
        const std::uint8_t scale = reader.u8();
        const bool is_sound = reader.ok() && is_decimal_type(precision, scale) &&
                              reader.remaining() == decimal_bytes(precision, scale);
        if (!is_sound) return ValueStatus::kMalformed;
        return append_packed_decimal(out_, reader.rest(), precision, scale);
      }
      case kOpaqueDate:
      case kOpaqueTime:
      case kOpaqueDatetime:
      case kOpaqueTimestamp:
        if (content.size() != 8) return ValueStatus::kMalformed;
        return append_opaque_time(out_, type,
                                  static_cast<std::int64_t>(load_le<std::uint64_t>(content.data())));
      default:
        append_opaque_bytes(out_, type, content);
        return ValueStatus::kOk;
    }
  }

  ValueStatus container(std::uint8_t type, Bytes bytes, std::size_t depth) {
    if (depth == kMaxJsonBinaryDepth) return ValueStatus::kMalformed;
    const bool is_object = type == kSmallObject || type == kLargeObject;
    const std::size_t width = type == kLargeObject || type == kLargeArray ? 4 : 2;
    ByteReader head(bytes);
    const std::uint64_t count = head.uint_le(width);
    const std::uint64_t size = head.uint_le(width);
    const std::size_t entry_bytes = (is_object ? width + 2 : 0) + 1 + width;
    if (!head.ok() || size > bytes.size() || size < 2 * width || count > (size - 2 * width) / entry_bytes) {
      return ValueStatus::kMalformed;
    }
    const Bytes all = bytes.first(static_cast<std::size_t>(size));
    const std::size_t parts_begin = 2 * width + static_cast<std::size_t>(count) * entry_bytes;
    if (!use(parts_begin)) return ValueStatus::kMalformed;
    ByteReader keys(all.subspan(2 * width));
    ByteReader values(
        all.subspan(2 * width + (is_object ? static_cast<std::size_t>(count) * (width + 2) : 0)));
    out_.push_back(is_object ? '{' : '[');
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i != 0) out_.append(", ");
      if (is_object) {
        const std::uint64_t offset = keys.uint_le(width);
        const std::size_t length = keys.u16();
        if (offset < parts_begin || offset + length > size || !use(length)) return ValueStatus::kMalformed;
        const auto key = as_text(all.subspan(static_cast<std::size_t>(offset), length));
        if (const auto status = append_text(out_, key, Charset::kUtf8mb4); status != ValueStatus::kOk)
          return status;
        out_.append(": ");
      }
      if (const auto status = entry(values, width, all, parts_begin, depth); status != ValueStatus::kOk)
        return status;
    }
    out_.push_back(is_object ? '}' : ']');
    return ValueStatus::kOk;
  }

  ValueStatus entry(ByteReader& entries, std::size_t width, Bytes all, std::size_t parts_begin,
                    std::size_t depth) {
    const std::uint8_t type = entries.u8();
    const Bytes field = entries.take(width);
    const bool is_inlined = type >= kLiteral && type <= kUint32 && scalar_bytes(type) <= width;
    if (is_inlined) return scalar(type, field);
    const std::uint64_t offset = ByteReader(field).uint_le(width);
    if (offset < parts_begin || offset > all.size()) return ValueStatus::kMalformed;
    return value(type, all.subspan(static_cast<std::size_t>(offset)), depth + 1);
  }

  std::string& out_;
  std::size_t budget_;
};

}  // namespace

ValueStatus append_json_binary(std::string& out, Bytes document) {
  // What a server has in a row that it had to give some value: it reads this as null.
  if (document.empty()) {
    out.append("null");
    return ValueStatus::kOk;
  }
  const auto type = std::to_integer<std::uint8_t>(document[0]);
  const Bytes value = document.subspan(1);
  return DocumentPrinter(out, value.size()).value(type, value, 0);
}

}  // namespace ringside::writer::binlog
