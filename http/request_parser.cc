#include "http/request_parser.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace ringside::http {
namespace {

// What a byte may be part of.
constexpr std::uint8_t kTokenBit = 1;   // RFC 9110 5.6.2 tchar
constexpr std::uint8_t kPathBit = 2;    // a target up to its '?': RFC 3986 less '?' and '#', and [ ]
constexpr std::uint8_t kQueryBit = 4;   // the same with '?'
constexpr std::uint8_t kHostBit = 8;    // RFC 3986 host and port
constexpr std::uint8_t kValueBit = 16;  // RFC 9110 5.5: visible, space, tab, obs-text

constexpr bool is_alphanumeric(unsigned c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (unsigned c = 0; c < 256; ++c) {
    const auto in = [c](std::string_view set) {
      return c < 0x80 && set.find(static_cast<char>(c)) != std::string_view::npos;
    };
    unsigned bits = 0;
    if (is_alphanumeric(c) || in("!#$%&'*+-.^_`|~")) bits |= kTokenBit;
    if (is_alphanumeric(c) || in("-._~!$&'()*+,;=%:")) bits |= kHostBit | kPathBit | kQueryBit;
    if (in("@/[]")) bits |= kPathBit | kQueryBit;
    if (in("[]")) bits |= kHostBit;
    if (c == '?') bits |= kQueryBit;
    if ((c >= 0x20 && c != 0x7f) || c == '\t') bits |= kValueBit;
    classes[c] = static_cast<std::uint8_t>(bits);
  }
  return classes;
}
constexpr std::array<std::uint8_t, 256> kClasses = make_classes();

bool is(char c, std::uint8_t bit) {
  return (kClasses[static_cast<unsigned char>(c)] & bit) != 0;
}

// The place of the first byte from `at` on that is not of the class, or the end.
std::size_t skip(std::string_view input, std::size_t at, std::uint8_t bit) {
  const char* const data = input.data();
  const std::size_t size = input.size();
  for (; at + 4 <= size; at += 4) {
    if (!is(data[at], bit)) return at;
    if (!is(data[at + 1], bit)) return at + 1;
    if (!is(data[at + 2], bit)) return at + 2;
    if (!is(data[at + 3], bit)) return at + 3;
  }
  while (at < size && is(data[at], bit)) ++at;
  return at;
}

// skip() for kValueBit, which covers most of a head's bytes: 16 at a time where the processor can.
std::size_t skip_value(std::string_view input, std::size_t at) {
#if defined(__SSE2__)
  const __m128i highest_control = _mm_set1_epi8(0x1f);
  const __m128i del = _mm_set1_epi8(0x7f);
  const __m128i tab = _mm_set1_epi8('\t');
  for (; at + 16 <= input.size(); at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(input.data() + at));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, highest_control), bytes);
    const __m128i refused =
        _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), control), _mm_cmpeq_epi8(bytes, del));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(refused));
    if (mask != 0) return at + static_cast<unsigned>(std::countr_zero(mask));
  }
#endif
  return skip(input, at, kValueBit);
}

// Equal but for the case of letters. `lower` is lower-case letters, digits and '-'; `text` has as many bytes,
// tchar or visible ones.
bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < lower.size(); ++i) {
    const unsigned c = static_cast<unsigned char>(text[i]);
    const unsigned folded = c >= 'A' && c <= 'Z' ? c | 0x20u : c;
    difference |= folded ^ static_cast<unsigned char>(lower[i]);
  }
  return difference == 0;
}
bool is_word(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() && equals_ignoring_case(text, lower);
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Takes the next element off a comma-separated list (RFC 9110 5.6.1); empty elements are handed out as such.
std::string_view next_element(std::string_view& list) {
  const std::size_t comma = list.find(',');
  const std::string_view element = trim(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  return element;
}

bool all_digits(std::string_view text) {
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

// host [ ":" port ], with an IP literal in brackets. Names are not resolved here, so their inside does not
// matter beyond the characters.
bool is_host(std::string_view text) {
  for (const char c : text) {
    if (!is(c, kHostBit)) return false;
  }
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close == 1) return false;
    rest = text.substr(close + 1);
    if (text.substr(1, close - 1).find('[') != std::string_view::npos) return false;
  } else {
    const std::size_t colon = text.find(':');
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
    if (text.substr(0, text.size() - rest.size()).find_first_of("[]") != std::string_view::npos) return false;
    if (colon == 0) return false;
  }
  if (rest.empty()) return true;
  return rest[0] == ':' && rest.size() <= 6 && all_digits(rest.substr(1));
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
      return text == "OPTIONS" ? Method::kOptions : Method::kOther;
    default:
      return Method::kOther;
  }
}

std::uint32_t narrow(std::size_t place) {
  return static_cast<std::uint32_t>(place);
}

}  // namespace

ParseStatus RequestParser::parse(std::string_view input, std::size_t head_limit, Request& request) {
  if (state_ == State::kFailed) return ParseStatus::kFailed;
  const bool is_cut = input.size() >= head_limit;
  if (is_cut) input = input.substr(0, head_limit);
  Step step = Step::kGoOn;
  while (step == Step::kGoOn) {
    switch (state_) {
      case State::kStart:
        step = start(input);
        break;
      case State::kMethod:
        step = method(input);
        break;
      case State::kPath:
        step = path(input);
        break;
      case State::kQuery:
        step = query(input);
        break;
      case State::kVersion:
        step = version(input);
        break;
      case State::kFieldStart:
        step = field_start(input);
        break;
      case State::kName:
        step = name(input);
        break;
      case State::kValue:
        step = value(input);
        break;
      case State::kFailed:
        return ParseStatus::kFailed;
    }
  }
  if (step == Step::kComplete) return finish(input, request);
  // Whatever comes next would be beyond the limit.
  if (step == Step::kNeedMore && is_cut) {
    if (state_ == State::kPath || state_ == State::kQuery) {
      fail(414, "the request's target is longer than this server takes");
    } else {
      fail(431, "the request's head is longer than this server takes");
    }
    return ParseStatus::kFailed;
  }
  return step == Step::kNeedMore ? ParseStatus::kNeedMore : ParseStatus::kFailed;
}

RequestParser::Step RequestParser::start(std::string_view input) {
  for (;;) {
    if (position_ == input.size()) return Step::kNeedMore;
    const char c = input[position_];
    if (c != '\r') {
      if (c == '\n') return fail(400, "a line ends in LF alone");
      token_ = position_;
      state_ = State::kMethod;
      return Step::kGoOn;
    }
    if (input.size() - position_ < 2) return Step::kNeedMore;
    if (input[position_ + 1] != '\n') return fail(400, "a CR is not followed by LF");
    if (++empty_lines_ > kMaxLeadingEmptyLines)
      return fail(400, "too many empty lines stand before the request");
    position_ += 2;
  }
}

RequestParser::Step RequestParser::method(std::string_view input) {
  if (position_ == token_ && input.substr(token_).starts_with("GET ")) {
    method_ = Method::kGet;
    token_ = position_ = token_ + 4;
    state_ = State::kPath;
    return Step::kGoOn;
  }
  const std::size_t end = skip(input, position_, kTokenBit);
  position_ = narrow(end);
  if (end == input.size()) return Step::kNeedMore;
  if (input[end] != ' ' || end == token_)
    return fail(400, "the request does not begin with a method and one space");
  method_ = to_method(input.substr(token_, end - token_));
  token_ = position_ = narrow(end + 1);
  state_ = State::kPath;
  return Step::kGoOn;
}

RequestParser::Step RequestParser::path(std::string_view input) {
  const std::size_t end = skip(input, position_, kPathBit);
  position_ = narrow(end);
  if (end == input.size()) return Step::kNeedMore;
  path_ = {token_, narrow(end) - token_};
  if (input[end] == '?') {
    token_ = position_ = narrow(end + 1);
    state_ = State::kQuery;
    return Step::kGoOn;
  }
  return target_end(input);
}

RequestParser::Step RequestParser::query(std::string_view input) {
  const std::size_t end = skip(input, position_, kQueryBit);
  position_ = narrow(end);
  if (end == input.size()) return Step::kNeedMore;
  query_ = {token_, narrow(end) - token_};
  return target_end(input);
}

// position_ is at the first byte that cannot belong to the target.
RequestParser::Step RequestParser::target_end(std::string_view input) {
  const char c = input[position_];
  if (c == '\r' || c == '\n') return fail(400, "the request line has no HTTP version");
  if (c != ' ') return fail(400, "the target has a character that must be percent-encoded");
  const std::string_view text = path_.in(input);
  if (!text.starts_with('/')) {
    if (text == "*" && state_ == State::kPath && method_ == Method::kOptions) {
      // The one target without a path.
    } else if (const Step step = absolute_form(input); step != Step::kGoOn) {
      return step;
    }
  }
  ++position_;
  token_ = position_;
  state_ = State::kVersion;
  return Step::kGoOn;
}

// http://host/path, as sent to proxies: RFC 9112 3.2.2 has every server accept it. The host named there is
// the one that counts.
RequestParser::Step RequestParser::absolute_form(std::string_view input) {
  const std::string_view text = path_.in(input);
  std::size_t begin = 0;
  if (text.size() > 7 && equals_ignoring_case(text, "http") && text.substr(4, 3) == "://") begin = 7;
  if (text.size() > 8 && equals_ignoring_case(text, "https") && text.substr(5, 3) == "://") begin = 8;
  if (begin == 0) return fail(400, "the target is neither a path nor an http URL");
  const std::size_t slash = std::min(text.find('/', begin), text.size());
  const std::string_view authority = text.substr(begin, slash - begin);
  if (authority.empty() || !is_host(authority)) return fail(400, "the target's host is not valid");
  host_ = {path_.begin + narrow(begin), narrow(authority.size())};
  has_target_host_ = true;
  path_is_empty_ = slash == text.size();
  path_ = {path_.begin + narrow(slash), narrow(text.size() - slash)};
  return Step::kGoOn;
}

RequestParser::Step RequestParser::version(std::string_view input) {
  if (input.substr(token_).starts_with("HTTP/1.1\r\n")) {
    position_ = token_ + 10;
    state_ = State::kFieldStart;
    return Step::kGoOn;
  }
  return version_checked(input);
}

RequestParser::Step RequestParser::version_checked(std::string_view input) {
  constexpr std::string_view kForm = "HTTP/1.x\r\n";
  const std::string_view text = input.substr(token_, kForm.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 7 ? (c >= '0' && c <= '9') : c == kForm[i]) continue;
    if (i == 5 && c >= '0' && c <= '9') return fail(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (i == 8 && c == '\n') return fail(400, "a line ends in LF alone");
    return fail(400, "the request line does not end in a space, HTTP/1.1 and CRLF");
  }
  if (text.size() < kForm.size()) return Step::kNeedMore;
  // A later minor version speaks 1.1 to who does not know it (RFC 9110 2.5).
  minor_version_ = text[7] == '0' ? 0 : 1;
  position_ = token_ + narrow(kForm.size());
  state_ = State::kFieldStart;
  return Step::kGoOn;
}

RequestParser::Step RequestParser::field_start(std::string_view input) {
  if (position_ == input.size()) return Step::kNeedMore;
  const char c = input[position_];
  if (c == '\r') {
    if (input.size() - position_ < 2) return Step::kNeedMore;
    if (input[position_ + 1] != '\n') return fail(400, "a CR is not followed by LF");
    position_ += 2;
    return head_end();
  }
  if (is_blank(c)) return fail(400, "a header line begins with a space");
  if (c == '\n') return fail(400, "a line ends in LF alone");
  if (field_count_ == kMaxFields) return fail(431, "the request has more than 100 header fields");
  ++field_count_;
  token_ = position_;
  state_ = State::kName;
  return Step::kGoOn;
}

RequestParser::Step RequestParser::name(std::string_view input) {
  const std::size_t end = skip(input, position_, kTokenBit);
  position_ = narrow(end);
  if (end == input.size()) return Step::kNeedMore;
  if (input[end] != ':' || end == token_) {
    if (is_blank(input[end])) return fail(400, "a space stands within or behind a header's name");
    if (input[end] == '\r' || input[end] == '\n') return fail(400, "a header line has no colon");
    return fail(400, "a header's name is empty or has a character that no name may have");
  }
  field_ = classify(input.substr(token_, end - token_));
  token_ = position_ = narrow(end + 1);
  state_ = State::kValue;
  return Step::kGoOn;
}

RequestParser::Step RequestParser::value(std::string_view input) {
  const std::size_t end = skip_value(input, position_);
  position_ = narrow(end);
  if (end == input.size()) return Step::kNeedMore;
  if (input[end] != '\r') {
    return fail(400,
                input[end] == '\n' ? "a line ends in LF alone" : "a header's value has a control character");
  }
  if (input.size() - end < 2) return Step::kNeedMore;
  if (input[end + 1] != '\n') return fail(400, "a CR is not followed by LF");
  position_ = narrow(end + 2);
  state_ = State::kFieldStart;
  if (field_ == Field::kOther) return Step::kGoOn;
  std::size_t begin = token_;
  std::size_t last = end;
  while (begin < last && is_blank(input[begin])) ++begin;
  while (begin < last && is_blank(input[last - 1])) --last;
  return field(input, {narrow(begin), narrow(last - begin)});
}

RequestParser::Field RequestParser::classify(std::string_view name) {
  switch (name.size()) {
    case 4:
      return equals_ignoring_case(name, "host") ? Field::kHost : Field::kOther;
    case 6:
      if (equals_ignoring_case(name, "accept")) return Field::kAccept;
      return equals_ignoring_case(name, "expect") ? Field::kExpect : Field::kOther;
    case 10:
      return equals_ignoring_case(name, "connection") ? Field::kConnection : Field::kOther;
    case 13:
      return equals_ignoring_case(name, "if-none-match") ? Field::kIfNoneMatch : Field::kOther;
    case 14:
      return equals_ignoring_case(name, "content-length") ? Field::kContentLength : Field::kOther;
    case 17:
      if (equals_ignoring_case(name, "transfer-encoding")) return Field::kTransferEncoding;
      return equals_ignoring_case(name, "ringside-min-gtid") ? Field::kMinGtid : Field::kOther;
    case 20:
      return equals_ignoring_case(name, "ringside-min-version") ? Field::kMinVersion : Field::kOther;
    default:
      return Field::kOther;
  }
}

RequestParser::Step RequestParser::field(std::string_view input, Range range) {
  const auto bit = static_cast<std::uint16_t>(1u << static_cast<unsigned>(field_));
  const bool is_repeated = (seen_ & bit) != 0;
  const std::uint16_t seen = seen_;
  seen_ = static_cast<std::uint16_t>(seen_ | bit);
  const std::string_view text = range.in(input);
  switch (field_) {
    case Field::kOther:
      return Step::kGoOn;
    case Field::kHost:
      if (is_repeated) return fail(400, "there is more than one Host");
      return host(text, range);
    case Field::kConnection:
      connection(text);
      return Step::kGoOn;
    case Field::kIfNoneMatch:
      if_none_match_ = is_repeated ? Range() : range;
      return Step::kGoOn;
    case Field::kAccept:
      accept_ = is_repeated ? Range() : range;
      return Step::kGoOn;
    case Field::kContentLength:
      if (is_repeated) return fail(400, "there is more than one Content-Length");
      return content_length(text);
    case Field::kTransferEncoding:
      return transfer_encoding(text);
    case Field::kExpect:
      if (!is_word(text, "100-continue")) return fail(417, "only the expectation 100-continue is known");
      expects_continue_ = true;
      return Step::kGoOn;
    case Field::kMinVersion:
      return singleton(min_version_, seen & bit, range, "there is more than one Ringside-Min-Version");
    case Field::kMinGtid:
      return singleton(min_gtid_, seen & bit, range, "there is more than one Ringside-Min-Gtid");
  }
  return Step::kGoOn;
}

RequestParser::Step RequestParser::singleton(Range& kept, std::uint16_t seen, Range range,
                                             std::string_view reason) {
  if (seen != 0) return fail(400, reason);
  kept = range;
  return Step::kGoOn;
}

RequestParser::Step RequestParser::host(std::string_view text, Range range) {
  if (!is_host(text)) return fail(400, "the Host is not valid");
  if (!has_target_host_) host_ = range;
  return Step::kGoOn;
}

void RequestParser::connection(std::string_view text) {
  while (!text.empty()) {
    const std::string_view option = next_element(text);
    if (is_word(option, "close")) has_close_ = true;
    if (is_word(option, "keep-alive")) has_keep_alive_ = true;
  }
}

RequestParser::Step RequestParser::content_length(std::string_view text) {
  constexpr std::size_t kMostDigits = 18;  // below 10^18: no overflow, and more than anybody sends
  if (text.empty() || text.size() > kMostDigits || !all_digits(text)) {
    return fail(400, "the Content-Length is not a number of bytes");
  }
  std::uint64_t bytes = 0;
  for (const char c : text) bytes = bytes * 10 + static_cast<unsigned>(c - '0');
  content_length_ = bytes;
  if (is_chunked_) return fail(400, "Content-Length and Transfer-Encoding contradict each other");
  return Step::kGoOn;
}

RequestParser::Step RequestParser::transfer_encoding(std::string_view text) {
  constexpr auto kLengthBit = 1u << static_cast<unsigned>(Field::kContentLength);
  if ((seen_ & kLengthBit) != 0)
    return fail(400, "Content-Length and Transfer-Encoding contradict each other");
  if (minor_version_ == 0) return fail(400, "HTTP/1.0 has no Transfer-Encoding");
  if (text.empty()) return fail(400, "the Transfer-Encoding is empty");
  while (!text.empty()) {
    if (!is_word(next_element(text), "chunked"))
      return fail(501, "the only transfer coding known is chunked");
    if (is_chunked_) return fail(400, "the transfer coding chunked is applied twice");
    is_chunked_ = true;
  }
  return Step::kGoOn;
}

RequestParser::Step RequestParser::head_end() {
  constexpr auto kHostSeen = 1u << static_cast<unsigned>(Field::kHost);
  if ((seen_ & kHostSeen) == 0 && minor_version_ != 0) return fail(400, "the Host is missing");
  return Step::kComplete;
}

RequestParser::Step RequestParser::fail(std::uint16_t status, std::string_view reason) {
  state_ = State::kFailed;
  failure_ = {status, reason};
  return Step::kFailed;
}

ParseStatus RequestParser::finish(std::string_view input, Request& request) {
  request.method = method_;
  request.minor_version = minor_version_;
  request.keep_alive = !has_close_ && (minor_version_ != 0 || has_keep_alive_);
  request.is_chunked = is_chunked_;
  request.expects_continue = expects_continue_;
  request.content_length = content_length_;
  request.head_bytes = position_;
  request.path = path_is_empty_ ? std::string_view("/") : path_.in(input);
  request.query = query_.in(input);
  request.host = host_.in(input);
  request.if_none_match = if_none_match_.in(input);
  request.accept = accept_.in(input);
  request.min_version = min_version_.in(input);
  request.min_gtid = min_gtid_.in(input);
  reset();
  return ParseStatus::kComplete;
}

}  // namespace ringside::http
