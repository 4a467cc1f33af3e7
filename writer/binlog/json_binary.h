// MySQL's JSON columns: the binary document of a row image to the text that the server prints for it.
//
//   document  a type byte, then the value
//   object    count, size, a key entry for each member (offset, u16 length), a value entry for each, keys, values
//   array     count, size, a value entry for each element, values
//   entry     a type byte, then an offset, or the value itself where it fits (literals, 16 bits; in the large form 32 bits)
//
// Counts, sizes and offsets are u16 in the small form and u32 in the large one; offsets count from the count. Members
// come in the order in which the server keeps them: by the length of their keys, then by their bytes.
//
// The text is the server's own, byte for byte, because the snapshot reads it by SELECT: ", " and ": " between, a double
// with its shortest digits and always a point or an exponent, DECIMAL with its digits, DATE and the like as strings with
// six fraction digits, what else is opaque as "base64:type252:…" with a line break after every 76 characters.
//
// Threads: pure functions.   Ownership: output goes to the caller's string.
// Errors: kMalformed for bytes that contradict themselves: offsets outside, sizes that do not fit, parts that overlap;
// kBadText for a string that is not UTF-8.   Limits: kMaxJsonBinaryDepth; the text is at most eight times as long as the
// document, since every byte of it may be used only once.
#pragma once

#include <cstddef>
#include <string>

#include "base/bytes.h"
#include "writer/value_json.h"

namespace ringside::writer::binlog {

// How deep the server lets a document nest.
inline constexpr std::size_t kMaxJsonBinaryDepth = 100;

ValueStatus append_json_binary(std::string& out, Bytes document);

}  // namespace ringside::writer::binlog
