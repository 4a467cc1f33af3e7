#include "writer/charset.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace ringside::writer {
namespace {

struct IdRange {
  std::uint32_t first;
  std::uint32_t last;
  Charset charset;
};

// Ascending. Checked against both servers' information_schema by charset_test.
constexpr std::array kIdRanges = std::to_array<IdRange>({
    {5, 5, Charset::kLatin1},        {8, 8, Charset::kLatin1},        {11, 11, Charset::kAscii},
    {15, 15, Charset::kLatin1},      {31, 31, Charset::kLatin1},      {33, 33, Charset::kUtf8mb3},
    {45, 46, Charset::kUtf8mb4},     {47, 49, Charset::kLatin1},      {63, 63, Charset::kBinary},
    {65, 65, Charset::kAscii},       {76, 76, Charset::kUtf8mb3},     {83, 83, Charset::kUtf8mb3},
    {94, 94, Charset::kLatin1},      {192, 215, Charset::kUtf8mb3},   {223, 223, Charset::kUtf8mb3},
    {224, 247, Charset::kUtf8mb4},   {255, 323, Charset::kUtf8mb4},   {576, 578, Charset::kUtf8mb3},
    {608, 610, Charset::kUtf8mb4},   {1032, 1032, Charset::kLatin1},  {1035, 1035, Charset::kAscii},
    {1057, 1057, Charset::kUtf8mb3}, {1069, 1070, Charset::kUtf8mb4}, {1071, 1071, Charset::kLatin1},
    {1089, 1089, Charset::kAscii},   {1107, 1107, Charset::kUtf8mb3}, {1216, 1216, Charset::kUtf8mb3},
    {1238, 1238, Charset::kUtf8mb3}, {1248, 1248, Charset::kUtf8mb4}, {1270, 1270, Charset::kUtf8mb4},
    {2048, 2303, Charset::kUtf8mb3}, {2304, 2559, Charset::kUtf8mb4},  // MariaDB's uca1400 blocks
});

// 0x80 to 0x9f of Windows-1252; every other byte is its own code point.
constexpr std::array<std::uint16_t, 32> kWindows1252{
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178};

}  // namespace

std::string_view to_string(Charset charset) {
  switch (charset) {
    case Charset::kBinary:
      return "binary";
    case Charset::kAscii:
      return "ascii";
    case Charset::kLatin1:
      return "latin1";
    case Charset::kUtf8mb3:
      return "utf8mb3";
    case Charset::kUtf8mb4:
      return "utf8mb4";
    case Charset::kUnsupported:
      break;
  }
  return "unsupported";
}

Charset charset_from_collation_id(std::uint32_t id) {
  const auto range =
      std::lower_bound(kIdRanges.begin(), kIdRanges.end(), id,
                       [](const IdRange& each, std::uint32_t value) { return each.last < value; });
  return range != kIdRanges.end() && range->first <= id ? range->charset : Charset::kUnsupported;
}

Charset charset_from_name(std::string_view name) {
  for (const Charset each :
       {Charset::kUtf8mb4, Charset::kUtf8mb3, Charset::kLatin1, Charset::kAscii, Charset::kBinary}) {
    if (name == to_string(each)) return each;
  }
  return name == "utf8" ? Charset::kUtf8mb3 : Charset::kUnsupported;
}

Charset charset_from_collation(std::string_view collation) {
  return charset_from_name(collation.substr(0, collation.find('_')));
}

std::uint32_t max_character_bytes(Charset charset) {
  if (charset == Charset::kUtf8mb4) return 4;
  return charset == Charset::kUtf8mb3 ? 3 : 1;
}

std::size_t character_length(std::string_view text, Charset charset) {
  switch (charset) {
    case Charset::kAscii:
      return static_cast<unsigned char>(text.front()) < 0x80 ? 1 : 0;
    case Charset::kUtf8mb3: {
      const std::size_t length = utf8_sequence_length(text);
      return length > 3 ? 0 : length;
    }
    case Charset::kUtf8mb4:
      return utf8_sequence_length(text);
    case Charset::kBinary:
    case Charset::kLatin1:
      return 1;
    case Charset::kUnsupported:
      break;
  }
  return 0;
}

std::uint16_t latin1_to_unicode(unsigned char byte) {
  return byte >= 0x80 && byte <= 0x9f ? kWindows1252[byte - 0x80u] : byte;
}

void append_code_point(std::string& out, std::uint16_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code >> 6));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xe0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  }
}

bool append_utf8(std::string& out, std::string_view text, Charset charset) {
  if (charset == Charset::kBinary || charset == Charset::kUnsupported) return false;
  if (charset == Charset::kLatin1) {
    for (const char c : text) append_code_point(out, latin1_to_unicode(static_cast<unsigned char>(c)));
    return true;
  }
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t length = character_length(rest, charset);
    if (length == 0) return false;
    rest.remove_prefix(length);
  }
  out.append(text);
  return true;
}

}  // namespace ringside::writer
