// Answer: what a command replies, before it is HTTP. Problems are RFC 9457 documents.
//
// Every problem of the command side has a type of its own below, so that a program decides by `type` and a
// person reads `detail`. Problems that a table or the server caused carry `mysql_error`, the server's number.
//
// Threads: values.   Ownership: owns its texts.   Errors: none.
// Limits: a detail is cut at kMaxDetailBytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ringside::writer {

inline constexpr std::size_t kMaxDetailBytes = 1024;

struct Answer {
  unsigned status = 200;
  bool is_problem = false;        // application/problem+json instead of application/json
  std::string body;               // JSON
  unsigned retry_after_s = 0;     // 0: no Retry-After
  std::string location;           // of a created row; empty: none
  std::string_view content_type;  // empty: JSON, or a problem
  std::string_view allow;         // of a 405, and of what OPTIONS asks for
  bool ask_for_token = false;     // WWW-Authenticate: Bearer
  bool close = false;             // end the connection after this answer
};

// The type's last part: "urn:ringside:problem:duplicate-key".
struct ProblemDetails {
  unsigned status = 500;
  std::string_view type;
  std::string_view title;
  std::string detail = {};
  unsigned retry_after_s = 0;
  int mysql_error = 0;      // 0: not the server's
  std::string column = {};  // the column that is wrong; empty: none
};
Answer make_problem(const ProblemDetails& problem);

// 400: the request itself cannot be understood.
Answer bad_request(std::string detail);
// 400: a key's text is no key of the table, or not in its canonical form.
Answer bad_key(std::string detail);
// 404: no such table, or no such path.
Answer unknown_table(std::string_view table);
Answer no_such_path(std::string_view path);
// 404: the table has no row of that key.
Answer missing_row(std::string_view table);
// 422: a column that the table does not have; a value that the column does not take.
Answer unknown_column(std::string_view table, std::string_view column);
Answer bad_value(std::string_view column, std::string detail, int mysql_error = 0);
// 503: nothing was changed; come again.
Answer unavailable(std::string_view type, std::string_view title, std::string detail, unsigned retry_after_s,
                   int mysql_error = 0);

}  // namespace ringside::writer
