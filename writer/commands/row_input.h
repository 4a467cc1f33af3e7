// A command's body and key, understood: which columns get which values.
//
// The body is one JSON object, column names to values. The whole document is checked against the grammar
// first (also the parts of a JSON column that are passed on verbatim), so that nothing of it reaches the
// server unread.
//
// Threads: pure functions.   Ownership: the outputs own all they hold.
// Errors: a Refusal is the answer to send: 400 for what is no such JSON or key, 422 for a column or value
// that the table does not take, 404 for a key that no row can have. Limits: kMaxBodyDepth; the body's size is
// bounded by the HTTP side.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/schema.h"
#include "writer/commands/answer.h"
#include "writer/commands/sql_value.h"

namespace ringside::writer {

inline constexpr int kMaxBodyDepth = 64;

struct ColumnValue {
  std::uint32_t column = 0;  // index into Shape::columns
  SqlValue value;

  friend bool operator==(const ColumnValue&, const ColumnValue&) = default;
};

using Refusal = std::optional<Answer>;

// In the order of the columns, so that the same set of columns makes the same statement.
Refusal parse_row(const shm::Table& table, std::string_view body, std::vector<ColumnValue>& out);

// `raw_key` is the path's segment as sent: "a,b%2Cc". One value per key column, in the key's order.
Refusal parse_key(const shm::Table& table, std::string_view raw_key, std::vector<ColumnValue>& out);

// Strict percent-decoding; "+" is a plus. False for a bad escape, and for what is not UTF-8 afterwards.
bool percent_decode(std::string_view raw, std::string& out);
void append_percent_encoded(std::string_view text, std::string& out);

}  // namespace ringside::writer
