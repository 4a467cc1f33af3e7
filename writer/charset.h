// The character sets whose text can be shown exactly, and the way from their bytes to UTF-8.
//
// Table maps name a column's collation by number, information_schema by name; both lead to a Charset here.
// The numbers are those of MariaDB 10.11 and MySQL 9.7 (they agree where both have one). How a collation
// compares (PAD SPACE, _bin) is shm/key.h's matter.
//
// Threads: pure functions.   Ownership: output goes to the caller's string.
// Errors: false for bytes that the character set does not have.   Limits: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ringside::writer {

enum class Charset : std::uint8_t {
  kUnsupported,  // known to the server, not to us: its columns are refused
  kBinary,
  kAscii,
  kLatin1,   // the servers' latin1 is Windows-1252, with 81 8d 8f 90 9d as the C1 controls of the same number
  kUtf8mb3,  // UTF-8 without code points beyond U+FFFF
  kUtf8mb4,
};

// "utf8mb4"; "unsupported".
std::string_view to_string(Charset charset);

// By a collation's number (table maps, result set metadata).
Charset charset_from_collation_id(std::uint32_t id);
// By a character set's name (information_schema: CHARACTER_SET_NAME).
Charset charset_from_name(std::string_view name);
// By a collation's name (information_schema: COLLATION_NAME): "utf8mb4_bin", "binary".
Charset charset_from_collation(std::string_view collation);

// How many bytes the longest character takes; 1 for kBinary and kUnsupported.
std::uint32_t max_character_bytes(Charset charset);

// The length of the valid character at the front of `text`, 0 when there is none (never for kBinary and
// kLatin1: 1). Precondition: `text` is not empty and the charset is supported.
std::size_t character_length(std::string_view text, Charset charset);

// The code point of a latin1 byte. It is below U+10000.
std::uint16_t latin1_to_unicode(unsigned char byte);
// Appends a code point below U+10000 that is no surrogate.
void append_code_point(std::string& out, std::uint16_t code);

// Appends `text` as UTF-8. False when it is not valid in its character set, or the set is kBinary or
// kUnsupported; `out` may hold a part then.
bool append_utf8(std::string& out, std::string_view text, Charset charset);

}  // namespace ringside::writer
