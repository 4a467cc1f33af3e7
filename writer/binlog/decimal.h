// DECIMAL as binlog images and MySQL's JSON documents pack it.
//
//   digits before the point, then those behind it, each side in groups of nine digits (four bytes, big-endian); the
//   group that is not full (the first before the point, the last behind it) takes one byte for every two digits and a
//   bit. The sign is the first bit: 1 for positive. A negative number has all bits inverted.
//
// Threads: pure functions.   Ownership: output goes to the caller's string.
// Errors: kMalformed for groups whose value has more digits than they.   Limits: kMaxDecimalPrecision, kMaxDecimalScale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "writer/value_json.h"

namespace ringside::writer::binlog {

// A column has at most 65 digits. Within a JSON document MySQL counts the leading zeros that fill the first group of nine
// as well: 35 digits before the point and 30 behind it are a precision of 66 there. Its buffer ends at nine groups.
inline constexpr std::uint32_t kMaxDecimalPrecision = 81;
inline constexpr std::uint32_t kMaxDecimalScale = 38;  // MariaDB's; MySQL's is 30

constexpr bool is_decimal_type(std::uint32_t precision, std::uint32_t scale) {
  return precision >= 1 && precision <= kMaxDecimalPrecision && scale <= kMaxDecimalScale &&
         scale <= precision;
}

// How many bytes such a number takes. Precondition: is_decimal_type().
std::size_t decimal_bytes(std::uint32_t precision, std::uint32_t scale);

// Appends the number with exactly `scale` digits behind the point. Precondition: is_decimal_type(), and `packed` has
// decimal_bytes() bytes.
ValueStatus append_packed_decimal(std::string& out, Bytes packed, std::uint32_t precision,
                                  std::uint32_t scale);

}  // namespace ringside::writer::binlog
