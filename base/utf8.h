// UTF-8: one sequence at a time, and whole texts, eight bytes at a time where they are ASCII.
//
// Threads: pure functions.   Errors: 0 for what is not well-formed.   No allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"

namespace ringside {

// The length of the well-formed sequence at the front of `text`, or 0 when there is none: overlong forms,
// surrogates and code points beyond U+10FFFF are none (the Unicode standard, table 3-7). Precondition: `text`
// is not empty.
inline std::size_t utf8_sequence_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return text.size() >= 2 && continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (text.size() < 3 || !continues(1) || !continues(2)) return 0;
    if ((lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) > 0x9f)) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (text.size() < 4 || !continues(1) || !continues(2) || !continues(3)) return 0;
    if ((lead == 0xf0 && at(1) < 0x90) || (lead == 0xf4 && at(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

inline bool is_utf8(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080u;
  while (!text.empty()) {
    if (text.size() >= 8 && (load_le<std::uint64_t>(text.data()) & kHighBits) == 0) {
      text.remove_prefix(8);
      continue;
    }
    const std::size_t length = utf8_sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace ringside
