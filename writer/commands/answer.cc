#include "writer/commands/answer.h"

#include <fmt/format.h>

#include <utility>

#include "http/json_text.h"

namespace ringside::writer {
Answer make_problem(const ProblemDetails& problem) {
  Answer answer;
  answer.status = problem.status;
  answer.is_problem = true;
  answer.retry_after_s = problem.retry_after_s;
  std::string& out = answer.body;
  out = R"({"type":"urn:ringside:problem:)";
  out += problem.type;
  out += R"(","title":)";
  http::append_json_string_lossy(problem.title, out);
  fmt::format_to(std::back_inserter(out), R"(,"status":{})", problem.status);
  if (!problem.detail.empty()) {
    out += R"(,"detail":)";
    http::append_json_string_lossy(problem.detail.substr(0, kMaxDetailBytes), out);
  }
  if (!problem.column.empty()) {
    out += R"(,"column":)";
    http::append_json_string_lossy(problem.column, out);
  }
  if (problem.mysql_error != 0)
    fmt::format_to(std::back_inserter(out), R"(,"mysql_error":{})", problem.mysql_error);
  out += '}';
  return answer;
}

Answer bad_request(std::string detail) {
  return make_problem({.status = 400,
                       .type = "bad-request",
                       .title = "The request is not understood",
                       .detail = std::move(detail)});
}

Answer bad_key(std::string detail) {
  return make_problem({.status = 400,
                       .type = "bad-key",
                       .title = "The key is not one of this table",
                       .detail = std::move(detail)});
}

Answer unknown_table(std::string_view table) {
  return make_problem({.status = 404,
                       .type = "unknown-table",
                       .title = "There is no such table",
                       .detail = fmt::format("no mirrored table has the name '{}'", table)});
}

Answer no_such_path(std::string_view path) {
  return make_problem(
      {.status = 404,
       .type = "not-found",
       .title = "There is nothing at this path",
       .detail = fmt::format("{}: commands go to /v1/{{table}} and /v1/{{table}}/{{key}}", path)});
}

Answer missing_row(std::string_view table) {
  return make_problem({.status = 404,
                       .type = "missing-row",
                       .title = "There is no such row",
                       .detail = fmt::format("table '{}' has no row of this key", table)});
}

Answer unknown_column(std::string_view table, std::string_view column) {
  return make_problem({.status = 422,
                       .type = "unknown-column",
                       .title = "There is no such column",
                       .detail = fmt::format("table '{}' has no column '{}'", table, column),
                       .column = std::string(column)});
}

Answer bad_value(std::string_view column, std::string detail, int mysql_error) {
  return make_problem({.status = 422,
                       .type = "bad-value",
                       .title = "A value is not accepted",
                       .detail = std::move(detail),
                       .mysql_error = mysql_error,
                       .column = std::string(column)});
}

Answer unavailable(std::string_view type, std::string_view title, std::string detail, unsigned retry_after_s,
                   int mysql_error) {
  return make_problem({.status = 503,
                       .type = type,
                       .title = title,
                       .detail = std::move(detail),
                       .retry_after_s = retry_after_s,
                       .mysql_error = mysql_error});
}

}  // namespace ringside::writer
