#include "http/request_parser.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"
#include "http/grammar.h"

namespace ringside::http {
namespace {

using namespace grammar;

constexpr std::uint64_t kCaseBits = 0x2020202020202020u;

// Equal but for the case of letters, eight bytes at a time. `lower` is of lower-case letters, digits and '-',
// at least four bytes; `text` has as many. Setting the case bit makes one byte of two only for control
// characters, which neither a token nor a value that got this far has.
inline bool equals_ignoring_case(const char* text, std::string_view lower) {
  const std::size_t size = lower.size();
  if (size < 8) {
    const auto same = [&](std::size_t at) {
      return (load_le<std::uint32_t>(text + at) | static_cast<std::uint32_t>(kCaseBits)) ==
             (load_le<std::uint32_t>(lower.data() + at) | static_cast<std::uint32_t>(kCaseBits));
    };
    return same(0) && same(size - 4);
  }
  const auto same = [&](std::size_t at) {
    return (load_le<std::uint64_t>(text + at) | kCaseBits) ==
           (load_le<std::uint64_t>(lower.data() + at) | kCaseBits);
  };
  for (std::size_t at = 0; at + 8 < size; at += 8) {
    if (!same(at)) return false;
  }
  return same(size - 8);
}
bool is_word(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() && equals_ignoring_case(text.data(), lower);
}

// Takes the next element off a comma-separated list (RFC 9110 5.6.1); empty elements are handed out as such.
std::string_view next_element(std::string_view& list) {
  const std::size_t comma = list.find(',');
  const std::string_view element = trim(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  return element;
}

// Is `input[at]`, a '%', followed by two hexadecimal digits?
bool is_escape_at(std::string_view input, std::size_t at) {
  return input.size() - at >= 3 && is(input[at + 1], kHexBit) && is(input[at + 2], kHexBit);
}

// skip() that passes over percent-encoded bytes as well: the place of the first byte that is not of the class and does
// not begin an escape.
std::size_t skip_with_escapes(std::string_view input, std::size_t at, std::uint8_t bit) {
  for (;;) {
    at = skip(input, at, bit);
    if (at == input.size() || input[at] != '%' || !is_escape_at(input, at)) return at;
    at += 3;
  }
}

// Is what begins at `at` an escape of which not all bytes have come?
bool is_cut_escape(std::string_view input, std::size_t at) {
  if (input[at] != '%' || input.size() - at >= 3) return false;
  return input.size() - at == 1 || is(input[at + 1], kHexBit);
}

bool all_digits(std::string_view text) {
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

// host [ ":" port ], with an IPv6 address in brackets. Names are not resolved here, so their inside does not
// matter beyond the characters.
bool is_host(std::string_view text) {
  std::size_t end = 0;
  if (text.starts_with('[')) {
    end = skip(text, 1, kIpv6Bit);
    if (end == 1 || end == text.size() || text[end] != ']') return false;
    ++end;
  } else {
    end = skip_with_escapes(text, 0, kHostBit);
    if (end == 0 && !text.empty()) return false;
  }
  if (end == text.size()) return true;
  return text[end] == ':' && text.size() - end <= 6 && all_digits(text.substr(end + 1));
}

Method to_method(std::string_view text) {
  switch (text.size()) {
    case 3:
      return text == "GET" ? Method::kGet : text == "PUT" ? Method::kPut : Method::kOther;
    case 4:
      return text == "HEAD" ? Method::kHead : text == "POST" ? Method::kPost : Method::kOther;
    case 5:
      return text == "PATCH" ? Method::kPatch : Method::kOther;
    case 6:
      return text == "DELETE" ? Method::kDelete : Method::kOther;
    case 7:
      if (text == "CONNECT") return Method::kConnect;
      return text == "OPTIONS" ? Method::kOptions : Method::kOther;
    default:
      return Method::kOther;
  }
}

// Precondition: at <= input.size().
bool has_prefix_at(std::string_view input, std::size_t at, std::string_view prefix) {
  return input.size() - at >= prefix.size() &&
         std::memcmp(input.data() + at, prefix.data(), prefix.size()) == 0;
}

constexpr std::string_view kContradiction = "Content-Length and Transfer-Encoding contradict each other";

std::uint32_t narrow(std::size_t place) {
  return static_cast<std::uint32_t>(place);
}

}  // namespace

std::string_view to_string(Method method) {
  switch (method) {
    case Method::kGet:
      return "GET";
    case Method::kHead:
      return "HEAD";
    case Method::kOptions:
      return "OPTIONS";
    case Method::kPost:
      return "POST";
    case Method::kPut:
      return "PUT";
    case Method::kPatch:
      return "PATCH";
    case Method::kDelete:
      return "DELETE";
    case Method::kConnect:
      return "CONNECT";
    case Method::kOther:
      break;
  }
  return "another method";
}

ParseStatus RequestParser::parse(std::string_view input, std::size_t head_limit, Request& request) {
  const bool is_cut = input.size() >= head_limit;
  if (is_cut) input = input.substr(0, head_limit);
  Scan scan{input, position_, token_};
  State state = state_;
  State next = state;
  for (;;) {
    switch (state) {
      case State::kStart:
        next = start(scan);
        break;
      case State::kMethod:
        next = method(scan);
        break;
      case State::kPath:
        next = path(scan);
        break;
      case State::kQuery:
        next = query(scan);
        break;
      case State::kVersion:
        next = version(scan);
        break;
      case State::kFieldStart:
        next = field_start(scan);
        break;
      case State::kName:
        next = name(scan);
        break;
      case State::kValue:
        next = value(scan);
        break;
      case State::kComplete:
        finish(scan, request);
        return ParseStatus::kComplete;
      case State::kFailed:
        state_ = State::kFailed;
        return ParseStatus::kFailed;
      case State::kWait:
        RINGSIDE_ASSERT(false);
    }
    if (next == State::kWait) break;
    state = next;
  }
  if (is_cut) {  // whatever comes next would be beyond the limit
    const bool is_target = state == State::kPath || state == State::kQuery;
    state_ = is_target ? fail(414, "the request's target is longer than this server takes")
                       : fail(431, "the request's head is longer than this server takes");
    return ParseStatus::kFailed;
  }
  state_ = state;
  position_ = scan.at;
  token_ = scan.token;
  return ParseStatus::kNeedMore;
}

inline RequestParser::State RequestParser::start(Scan& scan) {
  for (;;) {
    if (scan.at == scan.input.size()) return State::kWait;
    const char c = scan.input[scan.at];
    if (c != '\r') {
      if (c == '\n') return fail(400, "a line ends in LF alone");
      scan.token = scan.at;
      return State::kMethod;
    }
    if (scan.input.size() - scan.at < 2) return State::kWait;
    if (scan.input[scan.at + 1] != '\n') return fail(400, "a CR is not followed by LF");
    if (++empty_lines_ > kMaxLeadingEmptyLines)
      return fail(400, "too many empty lines stand before the request");
    scan.at += 2;
  }
}

inline RequestParser::State RequestParser::method(Scan& scan) {
  const std::string_view input = scan.input;
  if (scan.at == scan.token && has_prefix_at(input, scan.at, "GET ")) {
    method_ = Method::kGet;
    scan.token = scan.at += 4;
    return State::kPath;
  }
  const std::size_t end = skip(input, scan.at, kTokenBit);
  scan.at = narrow(end);
  if (end == input.size()) return State::kWait;
  if (input[end] != ' ' || end == scan.token)
    return fail(400, "the request does not begin with a method and one space");
  method_ = to_method(input.substr(scan.token, end - scan.token));
  scan.token = scan.at = narrow(end + 1);
  return State::kPath;
}

inline RequestParser::State RequestParser::path(Scan& scan) {
  const std::size_t end = skip_with_escapes(scan.input, scan.at, kPathBit);
  scan.at = narrow(end);
  if (end == scan.input.size() || is_cut_escape(scan.input, end)) return State::kWait;
  path_ = {scan.token, narrow(end) - scan.token};
  if (scan.input[end] == '?') {
    scan.token = scan.at = narrow(end + 1);
    return State::kQuery;
  }
  return target_end(scan, false);
}

inline RequestParser::State RequestParser::query(Scan& scan) {
  const std::size_t end = skip_with_escapes(scan.input, scan.at, kQueryBit);
  scan.at = narrow(end);
  if (end == scan.input.size() || is_cut_escape(scan.input, end)) return State::kWait;
  query_ = {scan.token, narrow(end) - scan.token};
  return target_end(scan, true);
}

// scan.at is at the first byte that cannot belong to the target.
inline RequestParser::State RequestParser::target_end(Scan& scan, bool has_query) {
  const char c = scan.input[scan.at];
  if (c != ' ') return target_failure(c);
  const bool is_path = scan.input[path_.begin] == '/' && path_.size != 0;
  if (!is_path || method_ == Method::kConnect) {
    if (odd_target(scan.input, has_query) == State::kFailed) return State::kFailed;
  }
  scan.token = ++scan.at;
  return State::kVersion;
}

RequestParser::State RequestParser::target_failure(char c) {
  if (c == '\r' || c == '\n') return fail(400, "the request line has no HTTP version");
  if (c == '%') return fail(400, "the target has a % without two hexadecimal digits behind it");
  return fail(400, "the target has a character that must be percent-encoded");
}

// A target that is no path: RFC 9112 3.2.2 to 3.2.4.
RequestParser::State RequestParser::odd_target(std::string_view input, bool has_query) {
  const std::string_view text = path_.in(input);
  if (method_ == Method::kConnect) {
    const std::size_t colon = text.rfind(':');
    const bool is_authority =
        !has_query && colon != std::string_view::npos && colon + 1 < text.size() && is_host(text);
    return is_authority ? fail(501, "CONNECT is for proxies, and this is none")
                        : fail(400, "the target of CONNECT is a host and a port");
  }
  if (text == "*" && !has_query) {
    if (method_ == Method::kOptions) return State::kVersion;
    return fail(400, "the target * is for OPTIONS only (HTTP/2 is not spoken here)");
  }
  return absolute_form(input);
}

// http://host/path, as sent to proxies: RFC 9112 3.2.2 has every server accept it. The host named there is
// the one that counts.
RequestParser::State RequestParser::absolute_form(std::string_view input) {
  const std::string_view text = path_.in(input);
  std::size_t begin = 0;
  if (text.size() > 7 && equals_ignoring_case(text.data(), "http") && text.substr(4, 3) == "://") begin = 7;
  if (text.size() > 8 && equals_ignoring_case(text.data(), "https") && text.substr(5, 3) == "://") begin = 8;
  if (begin == 0) return fail(400, "the target is neither a path nor an http URL");
  const std::size_t slash = std::min(text.find('/', begin), text.size());
  const std::string_view authority = text.substr(begin, slash - begin);
  if (authority.empty() || !is_host(authority)) return fail(400, "the target's host is not valid");
  host_ = {path_.begin + narrow(begin), narrow(authority.size())};
  has_target_host_ = true;
  path_is_empty_ = slash == text.size();
  path_ = {path_.begin + narrow(slash), narrow(text.size() - slash)};
  return State::kVersion;
}

inline RequestParser::State RequestParser::version(Scan& scan) {
  if (has_prefix_at(scan.input, scan.at, "HTTP/1.1\r\n")) {
    scan.at += 10;
    return State::kFieldStart;
  }
  return version_checked(scan);
}

RequestParser::State RequestParser::version_checked(Scan& scan) {
  constexpr std::string_view kForm = "HTTP/1.x\r\n";
  const std::string_view text = scan.input.substr(scan.at, kForm.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 7 ? (c >= '0' && c <= '9') : c == kForm[i]) continue;
    if (i == 5 && c >= '0' && c <= '9') return fail(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (i == 8 && c == '\n') return fail(400, "a line ends in LF alone");
    return fail(400, "the request line does not end in a space, HTTP/1.1 and CRLF");
  }
  if (text.size() < kForm.size()) return State::kWait;
  // A later minor version speaks 1.1 to who does not know it (RFC 9110 2.5).
  minor_version_ = text[7] == '0' ? 0 : 1;
  scan.at += narrow(kForm.size());
  return State::kFieldStart;
}

inline RequestParser::State RequestParser::field_start(Scan& scan) {
  if (scan.at == scan.input.size()) return State::kWait;
  const char c = scan.input[scan.at];
  if (c == '\r') {
    if (scan.input.size() - scan.at < 2) return State::kWait;
    if (scan.input[scan.at + 1] != '\n') return fail(400, "a CR is not followed by LF");
    scan.at += 2;
    return head_end();
  }
  if (is_blank(c)) return fail(400, "a header line begins with a space");
  if (c == '\n') return fail(400, "a line ends in LF alone");
  if (field_count_ == kMaxFields) return fail(431, "the request has more than 100 header fields");
  ++field_count_;
  scan.token = scan.at;
  return State::kName;
}

inline RequestParser::State RequestParser::name(Scan& scan) {
  const std::size_t end = skip(scan.input, scan.at, kTokenBit);
  scan.at = narrow(end);
  if (end == scan.input.size()) return State::kWait;
  if (scan.input[end] != ':' || end == scan.token) return name_failure(scan.input[end]);
  field_ = classify({scan.input.data() + scan.token, end - scan.token});
  scan.token = scan.at = narrow(end + 1);
  return State::kValue;
}

RequestParser::State RequestParser::name_failure(char c) {
  if (is_blank(c)) return fail(400, "a space stands within or behind a header's name");
  if (c == '\r' || c == '\n') return fail(400, "a header line has no colon");
  return fail(400, "a header's name is empty or has a character that no name may have");
}

inline RequestParser::State RequestParser::value(Scan& scan) {
  const std::string_view input = scan.input;
  const std::size_t end = skip_value(input, scan.at);
  scan.at = narrow(end);
  if (end == input.size()) return State::kWait;
  if (input[end] != '\r') {
    return fail(400,
                input[end] == '\n' ? "a line ends in LF alone" : "a header's value has a control character");
  }
  if (input.size() - end < 2) return State::kWait;
  if (input[end + 1] != '\n') return fail(400, "a CR is not followed by LF");
  scan.at = narrow(end + 2);
  if (field_ == Field::kOther) return State::kFieldStart;
  std::size_t begin = scan.token;
  std::size_t last = end;
  while (begin < last && is_blank(input[begin])) ++begin;
  while (begin < last && is_blank(input[last - 1])) --last;
  return field(input, {narrow(begin), narrow(last - begin)});
}

RequestParser::Field RequestParser::classify(std::string_view name) {
  switch (name.size()) {
    case 4:
      return equals_ignoring_case(name.data(), "host") ? Field::kHost : Field::kOther;
    case 6:
      if (equals_ignoring_case(name.data(), "accept")) return Field::kAccept;
      return equals_ignoring_case(name.data(), "expect") ? Field::kExpect : Field::kOther;
    case 10:
      return equals_ignoring_case(name.data(), "connection") ? Field::kConnection : Field::kOther;
    case 12:
      return equals_ignoring_case(name.data(), "content-type") ? Field::kContentType : Field::kOther;
    case 13:
      if (equals_ignoring_case(name.data(), "if-none-match")) return Field::kIfNoneMatch;
      return equals_ignoring_case(name.data(), "authorization") ? Field::kAuthorization : Field::kOther;
    case 14:
      return equals_ignoring_case(name.data(), "content-length") ? Field::kContentLength : Field::kOther;
    case 17:
      if (equals_ignoring_case(name.data(), "transfer-encoding")) return Field::kTransferEncoding;
      return equals_ignoring_case(name.data(), "ringside-min-gtid") ? Field::kMinGtid : Field::kOther;
    case 20:
      return equals_ignoring_case(name.data(), "ringside-min-version") ? Field::kMinVersion : Field::kOther;
    default:
      return Field::kOther;
  }
}

RequestParser::State RequestParser::field(std::string_view input, Range range) {
  const auto bit = static_cast<std::uint16_t>(1u << static_cast<unsigned>(field_));
  const bool is_repeated = (seen_ & bit) != 0;
  seen_ = static_cast<std::uint16_t>(seen_ | bit);
  const std::string_view text = range.in(input);
  switch (field_) {
    case Field::kOther:
      return State::kFieldStart;
    case Field::kHost:
      if (is_repeated) return fail(400, "there is more than one Host");
      return host(text, range);
    case Field::kConnection:
      connection(text);
      return State::kFieldStart;
    case Field::kIfNoneMatch:
      if_none_match_ = is_repeated ? Range() : range;
      return State::kFieldStart;
    case Field::kAccept:
      accept_ = is_repeated ? Range() : range;
      return State::kFieldStart;
    case Field::kContentType:
      content_type_ = is_repeated ? Range() : range;
      return State::kFieldStart;
    case Field::kAuthorization:
      authorization_ = is_repeated ? Range() : range;
      return State::kFieldStart;
    case Field::kContentLength:
      if (is_repeated) return fail(400, "there is more than one Content-Length");
      return content_length(text);
    case Field::kTransferEncoding:
      return transfer_encoding(text);
    case Field::kExpect:
      return expect(text);
    case Field::kMinVersion:
      return singleton(min_version_, is_repeated, range, "there is more than one Ringside-Min-Version");
    case Field::kMinGtid:
      return singleton(min_gtid_, is_repeated, range, "there is more than one Ringside-Min-Gtid");
  }
  return State::kFieldStart;
}

RequestParser::State RequestParser::singleton(Range& kept, bool is_repeated, Range range,
                                              std::string_view reason) {
  if (is_repeated) return fail(400, reason);
  kept = range;
  return State::kFieldStart;
}

RequestParser::State RequestParser::host(std::string_view text, Range range) {
  if (!is_host(text)) return fail(400, "the Host is not valid");
  if (!has_target_host_) host_ = range;
  return State::kFieldStart;
}

void RequestParser::connection(std::string_view text) {
  while (!text.empty()) {
    const std::string_view option = next_element(text);
    if (is_word(option, "close")) has_close_ = true;
    if (is_word(option, "keep-alive")) has_keep_alive_ = true;
  }
}

RequestParser::State RequestParser::content_length(std::string_view text) {
  constexpr std::size_t kMostDigits = 18;  // below 10^18: no overflow, and more than anybody sends
  if (text.empty() || text.size() > kMostDigits || !all_digits(text)) {
    return fail(400, "the Content-Length is not a number of bytes");
  }
  std::uint64_t bytes = 0;
  for (const char c : text) bytes = bytes * 10 + static_cast<unsigned>(c - '0');
  content_length_ = bytes;
  if (has_seen(Field::kTransferEncoding)) return fail(400, kContradiction);
  return State::kFieldStart;
}

// One field of the list of codings; whether it ends as it must is known at the head's end only. RFC 9110 5.6.1 would
// have empty elements passed over: here they are refused, because who writes them hopes that two readers disagree.
RequestParser::State RequestParser::transfer_encoding(std::string_view text) {
  if (has_seen(Field::kContentLength)) return fail(400, kContradiction);
  if (minor_version_ == 0) return fail(400, "HTTP/1.0 has no Transfer-Encoding");
  for (bool has_more = true; has_more;) {
    has_more = text.find(',') != std::string_view::npos;
    const std::string_view coding = next_element(text);
    if (coding.empty()) return fail(400, "the Transfer-Encoding has an empty element");
    if (!is_word(coding, "chunked")) {
      has_unknown_coding_ = true;
      ends_in_chunked_ = false;
      continue;
    }
    if (is_chunked_) return fail(400, "the transfer coding chunked is applied twice");
    is_chunked_ = ends_in_chunked_ = true;
  }
  return State::kFieldStart;
}

// RFC 9110 10.1.1: what HTTP/1.0 says about expectations is passed over.
RequestParser::State RequestParser::expect(std::string_view text) {
  if (minor_version_ == 0) return State::kFieldStart;
  while (!text.empty()) {
    const std::string_view expectation = next_element(text);
    if (expectation.empty()) continue;
    if (!is_word(expectation, "100-continue")) return fail(417, "only the expectation 100-continue is known");
    expects_continue_ = true;
  }
  return State::kFieldStart;
}

RequestParser::State RequestParser::head_end() {
  if (!has_seen(Field::kHost) && minor_version_ != 0) return fail(400, "the Host is missing");
  if (has_seen(Field::kTransferEncoding)) {
    // RFC 9112 6.3: without chunked at the end nobody knows where the body ends; 6.1: else it is a coding that we lack.
    if (!ends_in_chunked_) return fail(400, "the transfer coding chunked is not the last one");
    if (has_unknown_coding_) return fail(501, "the only transfer coding known is chunked");
  }
  return State::kComplete;
}

RequestParser::State RequestParser::fail(std::uint16_t status, std::string_view reason) {
  failure_ = {status, reason};
  return State::kFailed;
}

void RequestParser::finish(const Scan& scan, Request& request) {
  const std::string_view input = scan.input;
  request.method = method_;
  request.minor_version = minor_version_;
  request.keep_alive = !has_close_ && (minor_version_ != 0 || has_keep_alive_);
  request.is_chunked = is_chunked_;
  request.expects_continue = expects_continue_;
  request.content_length = content_length_;
  request.head_bytes = scan.at;
  request.path = path_is_empty_ ? std::string_view("/") : path_.in(input);
  request.query = query_.in(input);
  request.host = host_.in(input);
  request.if_none_match = if_none_match_.in(input);
  request.accept = accept_.in(input);
  request.min_version = min_version_.in(input);
  request.min_gtid = min_gtid_.in(input);
  request.content_type = content_type_.in(input);
  request.authorization = authorization_.in(input);
  reset();
}

}  // namespace ringside::http
