// The head of an HTTP/1.1 request, parsed strictly: bytes in, views out.
//
// A machine that goes forward through the bytes once and can stop at any of them: what has been looked at is
// not looked at again when the rest arrives, so a head that comes byte by byte costs as much as one that
// comes whole, and has the same outcome. The outcome depends on the bytes alone, never on how they were cut.
//
// Grammar: RFC 9112, less all that it lets a recipient tolerate: lines end in CRLF, nothing else; one space
// between the parts of the request line; no folded lines; no space before a colon; one Host, which HTTP/1.1
// must have; at most one Content-Length, and never together with Transfer-Encoding, which is "chunked" or refused. A
// target holds RFC 3986's characters and [ ] only, and no '%' without two hexadecimal digits. Up to
// kMaxLeadingEmptyLines empty lines before a request are passed over, as RFC 9112 2.2 asks.
//
// A body is never part of what is parsed here: whoever takes a request must look at has_body() before taking
// the next one, or body bytes would be taken for a request (body_reader.h reads them).
//
// Threads: a parser belongs to one connection.
// Ownership: views in a Request point into the input given to the parse() that completed it.
// Errors: kFailed, then failure() has the status and a reason for the problem document. The connection is to
// be closed: where the next request would begin is unknown.
// Limits: the caller's head limit; kMaxFields header fields. No allocation, no exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ringside::http {

inline constexpr unsigned kMaxFields = 100;
inline constexpr unsigned kMaxLeadingEmptyLines = 4;

enum class Method : std::uint8_t { kGet, kHead, kOptions, kPost, kPut, kPatch, kDelete, kConnect, kOther };
// "GET"; "another method" for kOther.
std::string_view to_string(Method method);

enum class ParseStatus : std::uint8_t { kNeedMore, kComplete, kFailed };

struct ParseFailure {
  std::uint16_t status = 0;  // 400, 414, 417, 431, 501, 505
  std::string_view reason;   // static text, a clause for people
};

struct Request {
  Method method = Method::kOther;
  std::uint8_t minor_version = 1;    // HTTP/1.x: 0 or 1
  bool keep_alive = true;            // what the client asks for by its version and Connection
  bool is_chunked = false;           // a body in chunks follows the head
  bool expects_continue = false;     // Expect: 100-continue; never of HTTP/1.0
  std::uint64_t content_length = 0;  // bytes of body that follow the head
  std::uint32_t head_bytes = 0;      // of the input, up to and with the empty line

  std::string_view path;           // begins with '/', still percent-encoded; "*" for OPTIONS *
  std::string_view query;          // behind the '?', still percent-encoded; may be empty
  std::string_view host;           // of the target in absolute form, else of the field; may be empty
  std::string_view if_none_match;  // empty: none, or several fields (then it is not a condition we can use)
  std::string_view accept;         // empty: none, or several fields
  std::string_view min_version;    // Ringside-Min-Version
  std::string_view min_gtid;       // Ringside-Min-Gtid
  std::string_view content_type;   // empty: none, or several fields
  std::string_view authorization;  // empty: none, or several fields

  bool has_body() const { return is_chunked || content_length != 0; }
};

class RequestParser {
 public:
  // `input` is all of this request's bytes so far, from its first one on; it may lie elsewhere than the time
  // before, and may go on behind the head. `head_limit` (at most 2^31) stays the same during a request.
  //   kNeedMore  call again with more behind the same bytes
  //   kComplete  `request` is filled; the parser is ready for the next request, which begins at head_bytes
  //   (and body) kFailed    see failure(); further calls fail alike until reset()
  ParseStatus parse(std::string_view input, std::size_t head_limit, Request& request);

  const ParseFailure& failure() const { return failure_; }
  // Of a request that failed behind its method: the answer has no body then.
  bool is_head() const { return method_ == Method::kHead; }
  // True while nothing of a request has arrived: closing now loses nothing.
  bool is_idle() const { return state_ == State::kStart && position_ == 0; }
  void reset() { *this = RequestParser(); }

 private:
  enum class State : std::uint8_t {
    kStart,
    kMethod,
    kPath,
    kQuery,
    kVersion,
    kFieldStart,
    kName,
    kValue,
    kComplete,
    kFailed,
    kWait,  // not a state to be in: the one before goes on with more bytes
  };
  enum class Field : std::uint8_t {
    kOther,
    kHost,
    kConnection,
    kIfNoneMatch,
    kContentLength,
    kTransferEncoding,
    kAccept,
    kExpect,
    kMinVersion,
    kMinGtid,
    kContentType,
    kAuthorization,
  };
  // A part of the input by place, since the input may move between calls.
  struct Range {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    // Precondition: it was taken from this input, or from a shorter form of it.
    std::string_view in(std::string_view input) const { return {input.data() + begin, size}; }
  };
  // One call's way through the input, kept apart from the members so that it can live in registers.
  struct Scan {
    std::string_view input;
    std::uint32_t at;     // up to here the state has looked
    std::uint32_t token;  // where the part being read began
  };

  // Each looks on from scan.at and gives the state to go on with.
  State start(Scan& scan);
  State method(Scan& scan);
  State path(Scan& scan);
  State query(Scan& scan);
  State target_end(Scan& scan, bool has_query);
  State target_failure(char c);
  State odd_target(std::string_view input, bool has_query);
  State absolute_form(std::string_view input);
  State version(Scan& scan);
  State version_checked(Scan& scan);
  State field_start(Scan& scan);
  State name(Scan& scan);
  State value(Scan& scan);
  State field(std::string_view input, Range range);
  State host(std::string_view text, Range range);
  State content_length(std::string_view text);
  State transfer_encoding(std::string_view text);
  State expect(std::string_view text);
  State singleton(Range& kept, bool is_repeated, Range range, std::string_view reason);
  void connection(std::string_view text);
  State head_end();
  State fail(std::uint16_t status, std::string_view reason);
  State name_failure(char c);
  void finish(const Scan& scan, Request& request);
  bool has_seen(Field field) const { return (seen_ >> static_cast<unsigned>(field) & 1u) != 0; }

  static Field classify(std::string_view name);

  State state_ = State::kStart;
  Field field_ = Field::kOther;  // the field whose value is being read
  Method method_ = Method::kOther;
  std::uint8_t minor_version_ = 1;
  std::uint8_t field_count_ = 0;
  std::uint8_t empty_lines_ = 0;
  bool is_chunked_ = false;
  bool ends_in_chunked_ = false;
  bool has_unknown_coding_ = false;
  bool has_close_ = false;
  bool has_keep_alive_ = false;
  bool expects_continue_ = false;
  std::uint16_t seen_ = 0;        // a bit for each Field that has come
  bool has_target_host_ = false;  // absolute form: the field's value does not count
  bool path_is_empty_ = false;    // absolute form without a path: it is "/"
  std::uint32_t position_ = 0;    // Scan's, between calls
  std::uint32_t token_ = 0;
  std::uint64_t content_length_ = 0;
  Range path_, query_, host_, if_none_match_, accept_, min_version_, min_gtid_, content_type_, authorization_;
  ParseFailure failure_;
};

}  // namespace ringside::http
