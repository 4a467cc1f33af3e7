#include "http/json_text.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>

#include "base/utf8.h"
#include "http/target.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace ringside::http {
namespace {

void put(std::string& out, std::string_view text) {
  out.append(text);
}
void put(ByteSink& out, std::string_view text) {
  out.append(text);
}

bool must_be_escaped(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\';
}

// How many bytes from the front need no escape. Bytes from 0x80 on are the caller's affair.
std::size_t plain_run(std::string_view text) {
  std::size_t at = 0;
#if defined(__SSE2__)
  const __m128i highest_control = _mm_set1_epi8(0x1f);
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  for (; at + 16 <= text.size(); at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, highest_control), bytes);
    const __m128i special = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(control, special)));
    if (mask != 0) return at + static_cast<unsigned>(std::countr_zero(mask));
  }
#endif
  while (at < text.size() && !must_be_escaped(text[at])) ++at;
  return at;
}

template <class Out>
void put_escape(char c, Out& out) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      return put(out, "\\\"");
    case '\\':
      return put(out, "\\\\");
    case '\b':
      return put(out, "\\b");
    case '\f':
      return put(out, "\\f");
    case '\n':
      return put(out, "\\n");
    case '\r':
      return put(out, "\\r");
    case '\t':
      return put(out, "\\t");
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(c);
  const char escape[6] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 0x0f]};
  put(out, {escape, sizeof escape});
}

template <class Out>
void put_escaped(std::string_view text, Out& out) {
  while (!text.empty()) {
    const std::size_t run = plain_run(text);
    put(out, text.substr(0, run));
    text.remove_prefix(run);
    if (text.empty()) return;
    put_escape(text[0], out);
    text.remove_prefix(1);
  }
}

template <class Out>
bool put_string(std::string_view text, Out& out) {
  if (!is_utf8(text)) return false;
  put(out, "\"");
  put_escaped(text, out);
  put(out, "\"");
  return true;
}

template <class Out>
void put_lossy(std::string_view bytes, Out& out) {
  put(out, "\"");
  while (!bytes.empty()) {
    std::size_t good = 0;
    while (good < bytes.size()) {
      const std::size_t length = utf8_sequence_length(bytes.substr(good));
      if (length == 0) break;
      good += length;
    }
    put_escaped(bytes.substr(0, good), out);
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    put(out, "\xef\xbf\xbd");
    bytes.remove_prefix(1);
  }
  put(out, "\"");
}

template <class Real>
bool put_real(Real value, std::string& out) {
  if (!std::isfinite(value)) return false;
  char text[32];
  out.append(text, std::to_chars(text, text + sizeof text, value).ptr);
  return true;
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBase64Url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// The value of a base64url character; 0xff for any other byte.
constexpr std::array<std::uint8_t, 256> make_base64url_values() {
  std::array<std::uint8_t, 256> values{};
  for (auto& value : values) value = 0xff;
  for (std::size_t i = 0; i < kBase64Url.size(); ++i) {
    values[static_cast<unsigned char>(kBase64Url[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}
constexpr std::array<std::uint8_t, 256> kBase64UrlValues = make_base64url_values();

template <class Out>
void put_base64(Bytes bytes, std::string_view alphabet, bool is_padded, Out& out) {
  char group[4];
  for (; bytes.size() >= 3; bytes = bytes.subspan(3)) {
    const unsigned bits = std::to_integer<unsigned>(bytes[0]) << 16 |
                          std::to_integer<unsigned>(bytes[1]) << 8 | std::to_integer<unsigned>(bytes[2]);
    for (unsigned i = 0; i < 4; ++i) group[i] = alphabet[bits >> (18 - 6 * i) & 0x3f];
    put(out, {group, 4});
  }
  if (bytes.empty()) return;
  const bool has_two = bytes.size() == 2;
  const unsigned bits =
      std::to_integer<unsigned>(bytes[0]) << 16 | (has_two ? std::to_integer<unsigned>(bytes[1]) << 8 : 0u);
  group[0] = alphabet[bits >> 18 & 0x3f];
  group[1] = alphabet[bits >> 12 & 0x3f];
  group[2] = has_two ? alphabet[bits >> 6 & 0x3f] : '=';
  group[3] = '=';
  put(out, {group, is_padded ? std::size_t{4} : bytes.size() + 1});
}

}  // namespace

bool append_json_string(std::string_view text, std::string& out) {
  return put_string(text, out);
}
bool append_json_string(std::string_view text, ByteSink& out) {
  return put_string(text, out);
}

void append_json_string_lossy(std::string_view bytes, std::string& out) {
  put_lossy(bytes, out);
}
void append_json_string_lossy(std::string_view bytes, ByteSink& out) {
  put_lossy(bytes, out);
}

bool append_json_float(float value, std::string& out) {
  return put_real(value, out);
}
bool append_json_double(double value, std::string& out) {
  return put_real(value, out);
}

void append_base64(Bytes bytes, std::string& out) {
  // Not reserve(): called once a value on a string that grows by many values, it would defeat geometric
  // growth.
  put_base64(bytes, kBase64, true, out);
}
void append_base64url(Bytes bytes, std::string& out) {
  put_base64(bytes, kBase64Url, false, out);
}
void append_base64url(Bytes bytes, ByteSink& out) {
  put_base64(bytes, kBase64Url, false, out);
}

bool decode_base64url(std::string_view text, std::span<std::byte> out, std::size_t& size) {
  const std::size_t rest = text.size() % 4;
  if (rest == 1) return false;
  const std::size_t bytes = text.size() / 4 * 3 + (rest == 0 ? 0 : rest - 1);
  if (bytes > out.size()) return false;
  std::size_t filled = 0;
  std::uint32_t bits = 0;
  unsigned bit_count = 0;
  for (const char c : text) {
    const std::uint8_t value = kBase64UrlValues[static_cast<unsigned char>(c)];
    if (value == 0xff) return false;
    bits = bits << 6 | value;
    bit_count += 6;
    if (bit_count < 8) continue;
    bit_count -= 8;
    out[filled++] = static_cast<std::byte>(bits >> bit_count & 0xff);
  }
  if ((bits & ((1u << bit_count) - 1)) != 0) return false;
  size = filled;
  return true;
}

}  // namespace ringside::http
