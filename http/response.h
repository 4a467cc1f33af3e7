// Response heads and problem documents (RFC 9457), written into a buffer of the caller.
//
//   HTTP/1.1 200 OK
//   Date: Sun, 06 Nov 1994 08:49:37 GMT
//   Content-Type: application/json
//   Content-Length: 42
//   Ringside-Version: 1001
//   ETag: "…"
//
// Threads: pure functions; a DateText belongs to one thread.
// Ownership: output goes to the caller's ByteSink.
// Errors: the sink's overflowed().   Limits: the sink's. No allocation, no exception.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "http/byte_sink.h"

namespace ringside::http {

// "Not Found"; "Status" for a code without a name here.
std::string_view reason_phrase(std::uint16_t status);

// The Date header's text (IMF-fixdate, RFC 9110 5.6.7), made again only when the second has changed.
class DateText {
 public:
  DateText() { refresh(0); }
  // Call once a turn; costs a comparison as long as the second is the same. Dates after the year 9999 are not
  // written.
  void refresh(std::uint64_t unix_seconds);
  std::string_view text() const { return {text_.data(), text_.size()}; }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  std::uint64_t seconds_ = kNever;
  std::array<char, 29> text_{};
};

struct ResponseHead {
  std::uint16_t status = 200;
  std::string_view date;                        // DateText::text(); empty: no Date
  std::string_view content_type;                // empty: none
  std::optional<std::uint64_t> content_length;  // none on 204, 304 and streams
  std::optional<std::uint64_t> version;         // Ringside-Version
  std::string_view etag;                        // with its quotes; empty: none
  std::optional<std::uint32_t> retry_after_s;
  bool is_http_1_0 = false;  // of the request: keeping the connection must then be said
  bool keep_alive = true;
  std::string_view more;  // further header lines, each with its CRLF; never a client's text
};
// The status line, the header lines and the empty line. Always HTTP/1.1 (RFC 9110 2.5).
void append_head(ByteSink& out, const ResponseHead& head);

inline constexpr std::string_view kJsonType = "application/json";
inline constexpr std::string_view kProblemType = "application/problem+json";

struct Problem {
  std::uint16_t status = 500;
  std::string_view slug;    // the type is urn:ringside:problem:<slug>; [a-z0-9-]
  std::string_view title;   // the same for every problem of the type
  std::string_view detail;  // this one; any bytes
};
void append_problem_body(ByteSink& out, const Problem& problem);
// Head and body. Of `head`, status, content type and length are set here. `head_only` answers HEAD: the head
// is the same, the body is left out.
void append_problem(ByteSink& out, const Problem& problem, ResponseHead head, bool head_only = false);

}  // namespace ringside::http
