// One value's way from JSON, or from a URL's key, into a statement's parameter, and back into an answer.
//
// The JSON forms are the ring's (shm/schema.h), so that what a replica prints can be sent back. What the
// server would quietly bend is refused here instead: digits that a DECIMAL or a fraction of a second would
// lose, an ENUM's number hidden in a string, a two-digit YEAR. What only the server can know (calendar,
// lengths in its character sets, constraints) is left to its strict mode.
//
// Threads: pure functions.   Ownership: values own their bytes.
// Errors: kInvalid; the message says what the column expects, without naming the column.
// Limits: those of the column.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "shm/schema.h"

namespace ringside::writer {

// A parameter of a prepared statement.
struct SqlValue {
  enum class Type : std::uint8_t { kNull, kInt64, kUInt64, kText, kBytes };

  Type type = Type::kNull;
  std::int64_t int64 = 0;
  std::uint64_t uint64 = 0;
  std::string bytes;  // kText: UTF-8; kBytes: any

  static SqlValue null() { return {}; }
  static SqlValue of_int64(std::int64_t value) { return {Type::kInt64, value, 0, {}}; }
  static SqlValue of_uint64(std::uint64_t value) { return {Type::kUInt64, 0, value, {}}; }
  static SqlValue of_text(std::string value) { return {Type::kText, 0, 0, std::move(value)}; }
  static SqlValue of_bytes(std::string value) { return {Type::kBytes, 0, 0, std::move(value)}; }

  friend bool operator==(const SqlValue&, const SqlValue&) = default;
};

// A JSON value as a parser found it. Views are the caller's.
struct JsonValue {
  enum class Type : std::uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };

  Type type = Type::kNull;
  std::string_view raw;             // the value's own text, valid JSON, no white space around it
  std::string text;                 // kString: unescaped, UTF-8
  std::vector<std::string> labels;  // kArray: its strings
  bool only_strings = true;         // kArray: nothing but strings in it
};

Result<SqlValue> sql_value_from_json(const shm::Column& column, const JsonValue& json);

// The text is percent-decoded, and canonical as append_key_from_text() understands it; kInvalid for one that
// is not.
Result<SqlValue> sql_value_from_key(const shm::Column& column, std::string_view text);

// The value in the ring's JSON form, as far as it is known before the server has stored it; for an answer's
// `key`.
void append_json_of(const shm::Column& column, const SqlValue& value, std::string& out);

// False when no row can have this text in this column, because its character set lacks a character. Asked for
// keys: the server would compare in a wider character set then, without the index, and lock every row on its
// way.
bool charset_can_hold(std::string_view collation, std::string_view utf8);

// Base64 with padding (RFC 4648, section 4), strictly: no white space, no missing padding, unused bits zero.
Result<std::string> base64_decode(std::string_view text);
}  // namespace ringside::writer
