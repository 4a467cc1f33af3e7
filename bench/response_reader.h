// ResponseReader: finds where HTTP responses end, as a load generator needs it: status, sizes, nothing else.
//
// Bytes come in pieces of any size; a piece may hold the tail of one response and the head of the next. A
// response has to say its length by Content-Length (or have none by its status: 204, 304); chunked bodies are
// refused, so that a change of the server's framing shows as an error and not as a better figure.
//
// Threads: one.   Ownership: copies a head only when it is split across pieces.
// Errors: kMalformed, after which the connection is of no more use.   Limits: heads up to kMaxHeadBytes.
// No allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ringside::bench {

struct Response {
  int status = 0;
  std::size_t head_bytes = 0;
  std::size_t body_bytes = 0;
};

enum class ReadStep : std::uint8_t { kNeedMore, kResponse, kMalformed };

class ResponseReader {
 public:
  static constexpr std::size_t kMaxHeadBytes = 8192;

  // Takes one response's bytes (or what there is of them) off the front of `input`. kResponse: `response` is
  // whole and `input` begins with what follows it. kNeedMore: `input` is empty.
  ReadStep next(std::string_view& input, Response& response);

  // True when a response has begun and not ended: a connection that closes now has cut it short.
  bool is_inside() const { return carried_ != 0 || body_left_ != 0; }

 private:
  ReadStep take_head(std::string_view& input);
  ReadStep take_body(std::string_view& input, Response& response);

  Response current_;
  std::size_t body_left_ = 0;
  bool in_body_ = false;
  std::size_t carried_ = 0;
  std::array<char, kMaxHeadBytes> carry_;
};

// Reads a response's head, blank line included, into status and body length. False when it is no HTTP/1.1
// head of a response with a known length.
bool parse_response_head(std::string_view head, Response& response);

}  // namespace ringside::bench
