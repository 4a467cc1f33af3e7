// The character classes of RFC 9110 and RFC 3986, for what this folder reads: which byte may be part of what.
//
// Threads: pure functions.   Ownership: none.   Errors: none.   Limits: none; no allocation, no exception.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace ringside::http::grammar {

inline constexpr std::uint8_t kTokenBit = 1;  // RFC 9110 5.6.2 tchar
inline constexpr std::uint8_t kPathBit =
    2;  // a target up to its '?': RFC 3986 less '?', '#' and '%', and [ ]
inline constexpr std::uint8_t kQueryBit = 4;   // the same with '?'
inline constexpr std::uint8_t kHostBit = 8;    // RFC 3986 reg-name less '%': a host's name or IPv4 address
inline constexpr std::uint8_t kValueBit = 16;  // RFC 9110 5.5: visible, space, tab, obs-text
inline constexpr std::uint8_t kIpv6Bit = 32;   // within the brackets of an IPv6 address
inline constexpr std::uint8_t kHexBit = 64;    // HEXDIG, of either case

constexpr bool is_alphanumeric(unsigned c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (unsigned c = 0; c < 256; ++c) {
    const auto in = [c](std::string_view set) {
      return c < 0x80 && set.find(static_cast<char>(c)) != std::string_view::npos;
    };
    unsigned bits = 0;
    if (is_alphanumeric(c) || in("!#$%&'*+-.^_`|~")) bits |= kTokenBit;
    if (is_alphanumeric(c) || in("-._~!$&'()*+,;=")) bits |= kHostBit | kPathBit | kQueryBit;
    if (in(":@/[]")) bits |= kPathBit | kQueryBit;
    if (in("0123456789abcdefABCDEF")) bits |= kHexBit | kIpv6Bit;
    if (in(":.")) bits |= kIpv6Bit;
    if (c == '?') bits |= kQueryBit;
    if ((c >= 0x20 && c != 0x7f) || c == '\t') bits |= kValueBit;
    classes[c] = static_cast<std::uint8_t>(bits);
  }
  return classes;
}
inline constexpr std::array<std::uint8_t, 256> kClasses = make_classes();

inline bool is(char c, std::uint8_t bit) {
  return (kClasses[static_cast<unsigned char>(c)] & bit) != 0;
}

// The place of the first byte from `at` on that is not of the class, or the end.
inline std::size_t skip(std::string_view input, std::size_t at, std::uint8_t bit) {
  const char* const data = input.data();
  const std::size_t size = input.size();
  for (; at + 4 <= size; at += 4) {
    if (!is(data[at], bit)) return at;
    if (!is(data[at + 1], bit)) return at + 1;
    if (!is(data[at + 2], bit)) return at + 2;
    if (!is(data[at + 3], bit)) return at + 3;
  }
  while (at < size && is(data[at], bit)) ++at;
  return at;
}

// skip() for kValueBit, which covers most of a head's bytes: 16 at a time where the processor can.
inline std::size_t skip_value(std::string_view input, std::size_t at) {
#if defined(__SSE2__)
  const __m128i highest_control = _mm_set1_epi8(0x1f);
  const __m128i del = _mm_set1_epi8(0x7f);
  const __m128i tab = _mm_set1_epi8('\t');
  for (; at + 16 <= input.size(); at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(input.data() + at));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, highest_control), bytes);
    const __m128i refused =
        _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), control), _mm_cmpeq_epi8(bytes, del));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(refused));
    if (mask != 0) return at + static_cast<unsigned>(std::countr_zero(mask));
  }
#endif
  return skip(input, at, kValueBit);
}

inline bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

inline std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace ringside::http::grammar
