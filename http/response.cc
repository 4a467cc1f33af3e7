#include "http/response.h"

#include <algorithm>

#include "http/json_text.h"

namespace ringside::http {
namespace {

struct CivilDate {
  std::uint64_t year;
  unsigned month;  // 1 to 12
  unsigned day;    // 1 to 31
};

// The Gregorian date of a day since 1970-01-01. A year here begins with March, so that the leap day is its
// last day and month lengths follow one formula: month m begins at day (153 m + 2) / 5.
CivilDate civil_from_days(std::uint64_t days) {
  constexpr std::uint64_t kDaysTo1970 = 719'468;  // from 0000-03-01
  constexpr std::uint64_t kDaysOf400Years = 146'097;
  const std::uint64_t since = days + kDaysTo1970;
  const std::uint64_t era = since / kDaysOf400Years;
  const std::uint64_t day_of_era = since % kDaysOf400Years;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const auto march_month = static_cast<unsigned>((5 * day_of_year + 2) / 153);
  const auto day = static_cast<unsigned>(day_of_year) - (153 * march_month + 2) / 5 + 1;
  const unsigned month = march_month < 10 ? march_month + 3 : march_month - 9;
  return {era * 400 + year_of_era + (month <= 2 ? 1 : 0), month, day};
}

// The well-known three-letter names, one behind the other.
constexpr std::string_view kDays = "ThuFriSatSunMonTueWed";  // 1970-01-01 was a Thursday
constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";

void put_digits(char* to, unsigned width, std::uint64_t number) {
  for (unsigned i = width; i > 0; --i) {
    to[i - 1] = static_cast<char>('0' + number % 10);
    number /= 10;
  }
}

}  // namespace

std::string_view reason_phrase(std::uint16_t status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

void DateText::refresh(std::uint64_t unix_seconds) {
  if (unix_seconds == seconds_) return;
  constexpr std::uint64_t kLastSecondOf9999 = 253'402'300'799;
  seconds_ = unix_seconds;
  const std::uint64_t shown = std::min(unix_seconds, kLastSecondOf9999);
  const std::uint64_t days = shown / 86'400;
  const std::uint64_t second = shown % 86'400;
  const CivilDate date = civil_from_days(days);
  constexpr std::string_view kForm = "Thu, 01 Jan 1970 00:00:00 GMT";
  std::copy(kForm.begin(), kForm.end(), text_.begin());
  std::copy_n(kDays.begin() + days % 7 * 3, 3, text_.begin());
  put_digits(text_.data() + 5, 2, date.day);
  std::copy_n(kMonths.begin() + (date.month - 1) * 3, 3, text_.begin() + 8);
  put_digits(text_.data() + 12, 4, date.year);
  put_digits(text_.data() + 17, 2, second / 3600);
  put_digits(text_.data() + 20, 2, second / 60 % 60);
  put_digits(text_.data() + 23, 2, second % 60);
}

void append_head(ByteSink& out, const ResponseHead& head) {
  if (head.status == 200) {
    out.append("HTTP/1.1 200 OK\r\n");
  } else {
    out.append("HTTP/1.1 ");
    out.append_number(head.status);
    out.append(' ');
    out.append(reason_phrase(head.status));
    out.append("\r\n");
  }
  const auto line = [&out](std::string_view name, std::string_view value) {
    out.append(name);
    out.append(value);
    out.append("\r\n");
  };
  const auto number_line = [&out](std::string_view name, auto number) {
    out.append(name);
    out.append_number(number);
    out.append("\r\n");
  };
  if (!head.date.empty()) line("Date: ", head.date);
  if (!head.content_type.empty()) line("Content-Type: ", head.content_type);
  if (head.content_length) number_line("Content-Length: ", *head.content_length);
  if (head.version) number_line("Ringside-Version: ", *head.version);
  if (!head.etag.empty()) line("ETag: ", head.etag);
  if (head.retry_after_s) number_line("Retry-After: ", *head.retry_after_s);
  if (!head.keep_alive) {
    out.append("Connection: close\r\n");
  } else if (head.is_http_1_0) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append(head.more);
  out.append("\r\n");
}

void append_problem_body(ByteSink& out, const Problem& problem) {
  out.append("{\"type\":\"urn:ringside:problem:");
  out.append(problem.slug);
  out.append("\",\"title\":");
  append_json_string_lossy(problem.title, out);
  out.append(",\"status\":");
  out.append_number(problem.status);
  out.append(",\"detail\":");
  append_json_string_lossy(problem.detail, out);
  out.append('}');
}

void append_problem(ByteSink& out, const Problem& problem, ResponseHead head, bool head_only) {
  ByteSink measure(std::span<char>{});
  append_problem_body(measure, problem);
  head.status = problem.status;
  head.content_type = kProblemType;
  head.content_length = measure.wanted();
  append_head(out, head);
  if (!head_only) append_problem_body(out, problem);
}

}  // namespace ringside::http
