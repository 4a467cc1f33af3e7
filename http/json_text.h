// JSON text (RFC 8259) of single values, and base64 (RFC 4648): appended to a std::string where rows are
// made, or to a ByteSink where answers are.
//
// Threads: pure functions.   Ownership: output goes to the caller's string or sink.
// Errors: false, and then nothing has been appended.   Limits: the output's. The forms for ByteSink do not
// allocate.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "http/byte_sink.h"

namespace ringside::http {

// A string literal with its quotes. Escaped is what must be: '"', '\' and below U+0020. False when `text` is
// not UTF-8.
bool append_json_string(std::string_view text, std::string& out);
bool append_json_string(std::string_view text, ByteSink& out);

// The same for any bytes, to show what a client sent: what is not UTF-8 becomes U+FFFD.
void append_json_string_lossy(std::string_view bytes, std::string& out);
void append_json_string_lossy(std::string_view bytes, ByteSink& out);

// The shortest number that reads back to the same value. False for infinities and NaN: JSON has none.
bool append_json_float(float value, std::string& out);
bool append_json_double(double value, std::string& out);

// RFC 4648, section 4: with padding, no line breaks. No quotes.
void append_base64(Bytes bytes, std::string& out);

// RFC 4648, section 5, without padding.
void append_base64url(Bytes bytes, std::string& out);
void append_base64url(Bytes bytes, ByteSink& out);
// Strict: no padding, no other characters, no set bits behind the last byte, so that each byte string has one
// text. False for anything else, and when `out` is too small; `size` bytes of `out` are filled.
bool decode_base64url(std::string_view text, std::span<std::byte> out, std::size_t& size);

}  // namespace ringside::http
