// The body of an HTTP/1.1 request, by its Content-Length or in chunks, read strictly: bytes in, pieces out.
//
//   Content-Length: 5        hello
//   Transfer-Encoding:       3 CRLF hel CRLF  2;note="x" CRLF lo CRLF  0 CRLF  Digest: … CRLF  CRLF
//   chunked                  size    data      size, extension  data   last   trailer        end
//
// A machine like the request parser's: it takes its input byte by byte where that matters and keeps nothing of it, so
// the outcome depends on the bytes alone, never on how they were cut. Grammar: RFC 9112 7.1, with its blanks where it has
// them and nowhere else; lines end in CRLF. Extensions and trailer fields are checked and thrown away: nothing here has a
// use for them, and RFC 9110 6.5.1 forbids to take a trailer for a header.
//
// Threads: a reader belongs to one connection.   Ownership: pieces point into the input.
// Errors: kFailed, then failure() has the status and a reason; the connection is to be closed, as where the next request
// would begin is unknown.
// Limits: the caller's for the body; kMaxExtensionBytes, kMaxTrailerBytes and kMaxFields for what comes with it. No
// allocation, no exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/request_parser.h"

namespace ringside::http {

inline constexpr std::size_t kMaxChunkSizeDigits = 16;
inline constexpr std::size_t kMaxExtensionBytes = 4096;  // of all chunks of a body together
inline constexpr std::size_t kMaxTrailerBytes = 8192;

class BodyReader {
 public:
  // For the body behind this head. kComplete: there is none. kFailed: it is announced as longer than `limit_bytes`.
  ParseStatus begin(const Request& request, std::uint64_t limit_bytes);

  // Takes bytes off the front of `input`; `piece` is what of the body is among them, and may be empty.
  //   kNeedMore  as long as `input` is not empty, call again; then with the bytes that follow
  //   kComplete  the body has been handed out; `input` is what follows it
  //   kFailed    see failure(); further calls fail alike until begin()
  ParseStatus read(std::string_view& input, std::string_view& piece);

  const ParseFailure& failure() const { return failure_; }

 private:
  enum class State : std::uint8_t {
    kLength,     // of a body with a Content-Length
    kSizeStart,  // a chunk's first digit
    kSize,
    kBeforeSemicolon,  // blanks behind a size or an extension
    kNameStart,
    kName,
    kAfterName,
    kValueStart,
    kValue,
    kQuoted,
    kQuotedPair,
    kAfterQuoted,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerStart,
    kTrailerName,
    kTrailerValue,
    kTrailerLf,
    kEndLf,
    kComplete,
    kFailed,
  };

  State step(char c);
  State size_digit(char c);
  State in_extension(char c);
  State behind_extension(char c);
  State in_trailer(char c);
  State chunk_begins();
  State fail(std::uint16_t status, std::string_view reason);

  State state_ = State::kComplete;
  std::uint8_t size_digits_ = 0;
  std::uint32_t extension_bytes_ = 0;
  std::uint32_t trailer_bytes_ = 0;
  std::uint32_t trailer_fields_ = 0;
  std::uint64_t left_ = 0;     // of the body or the chunk being read; the size while its digits are read
  std::uint64_t allowed_ = 0;  // what the limit leaves for later chunks
  ParseFailure failure_;
};

}  // namespace ringside::http
