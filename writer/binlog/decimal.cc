#include "writer/binlog/decimal.h"

#include <array>

#include "base/assert.h"

namespace ringside::writer::binlog {
namespace {

constexpr std::array<std::uint8_t, 10> kDigitBytes{0, 1, 1, 2, 2, 3, 3, 4, 4, 4};
constexpr std::array<std::uint32_t, 10> kDigitLimit{
    1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000, 1'000'000'000};

class DecimalReader {
 public:
  DecimalReader(Bytes packed, char* to) : packed_(packed), to_(to) {
    is_negative_ = (std::to_integer<unsigned>(packed_[0]) & 0x80) == 0;
  }
  bool is_negative() const { return is_negative_; }
  char* end() const { return to_; }

  // Appends the next group as exactly `digits` digits. False when it does not fit them.
  bool group(std::uint32_t digits) {
    std::uint32_t value = 0;
    for (std::uint32_t i = 0; i < kDigitBytes[digits]; ++i, ++at_) {
      auto byte = std::to_integer<std::uint32_t>(packed_[at_]);
      if (at_ == 0) byte ^= 0x80;
      if (is_negative_) byte ^= 0xff;
      value = value << 8 | byte;
    }
    if (value >= kDigitLimit[digits]) return false;
    for (std::uint32_t i = digits; i-- > 0; value /= 10) to_[i] = static_cast<char>('0' + value % 10);
    to_ += digits;
    return true;
  }
  void put(char c) { *to_++ = c; }

 private:
  Bytes packed_;
  char* to_;
  std::size_t at_ = 0;
  bool is_negative_;
};

}  // namespace

std::size_t decimal_bytes(std::uint32_t precision, std::uint32_t scale) {
  const std::uint32_t places = precision - scale;
  return places / 9 * 4 + kDigitBytes[places % 9] + scale / 9 * 4 + kDigitBytes[scale % 9];
}

ValueStatus append_packed_decimal(std::string& out, Bytes packed, std::uint32_t precision,
                                  std::uint32_t scale) {
  RINGSIDE_ASSERT(is_decimal_type(precision, scale) && packed.size() == decimal_bytes(precision, scale));
  const std::uint32_t places = precision - scale;
  std::array<char, kMaxDecimalPrecision + 3> text;  // and a sign, a zero, a point
  text[0] = '-';
  DecimalReader reader(packed, text.data() + 1);
  if (places == 0) reader.put('0');
  bool fits = places % 9 == 0 || reader.group(places % 9);
  for (std::uint32_t i = 0; fits && i < places / 9; ++i) fits = reader.group(9);
  if (scale != 0) reader.put('.');
  for (std::uint32_t i = 0; fits && i < scale / 9; ++i) fits = reader.group(9);
  if (fits && scale % 9 != 0) fits = reader.group(scale % 9);
  if (!fits) return ValueStatus::kMalformed;
  const char* begin = text.data() + (reader.is_negative() ? 0 : 1);
  return append_decimal(out, {begin, static_cast<std::size_t>(reader.end() - begin)});
}

}  // namespace ringside::writer::binlog
