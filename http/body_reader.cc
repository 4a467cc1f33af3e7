#include "http/body_reader.h"

#include <algorithm>

#include "http/grammar.h"

namespace ringside::http {
namespace {

using namespace grammar;

constexpr std::string_view kTooLarge = "the body is larger than this server takes";
constexpr std::string_view kBareCr = "a CR is not followed by LF";

unsigned hex_value(char c) {
  if (c <= '9') return static_cast<unsigned>(c - '0');
  return static_cast<unsigned>((c | 0x20) - 'a') + 10;
}

}  // namespace

ParseStatus BodyReader::begin(const Request& request, std::uint64_t limit_bytes) {
  *this = BodyReader();
  if (!request.has_body()) return ParseStatus::kComplete;
  allowed_ = limit_bytes;
  if (request.is_chunked) {
    state_ = State::kSizeStart;
    return ParseStatus::kNeedMore;
  }
  left_ = request.content_length;
  state_ = left_ > limit_bytes ? fail(413, kTooLarge) : State::kLength;
  return state_ == State::kFailed ? ParseStatus::kFailed : ParseStatus::kNeedMore;
}

ParseStatus BodyReader::read(std::string_view& input, std::string_view& piece) {
  piece = {};
  while (state_ != State::kComplete && state_ != State::kFailed) {
    if (input.empty()) return ParseStatus::kNeedMore;
    if (state_ == State::kLength || state_ == State::kData) {
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
      piece = input.substr(0, size);
      input.remove_prefix(size);
      left_ -= size;
      if (left_ == 0) state_ = state_ == State::kLength ? State::kComplete : State::kDataCr;
      return state_ == State::kComplete ? ParseStatus::kComplete : ParseStatus::kNeedMore;
    }
    state_ = step(input.front());
    if (state_ != State::kFailed) input.remove_prefix(1);
  }
  return state_ == State::kComplete ? ParseStatus::kComplete : ParseStatus::kFailed;
}

BodyReader::State BodyReader::step(char c) {
  switch (state_) {
    case State::kSizeStart:
    case State::kSize:
      return size_digit(c);
    case State::kBeforeSemicolon:
    case State::kNameStart:
    case State::kName:
    case State::kAfterName:
    case State::kValueStart:
    case State::kValue:
    case State::kQuoted:
    case State::kQuotedPair:
    case State::kAfterQuoted:
      if (++extension_bytes_ > kMaxExtensionBytes) return fail(400, "the chunks have too many extensions");
      return in_extension(c);
    case State::kSizeLf:
      return c == '\n' ? chunk_begins() : fail(400, kBareCr);
    case State::kDataCr:
      return c == '\r' ? State::kDataLf : fail(400, "a chunk is longer than its size says");
    case State::kDataLf:
      return c == '\n' ? State::kSizeStart : fail(400, kBareCr);
    case State::kTrailerStart:
    case State::kTrailerName:
    case State::kTrailerValue:
    case State::kTrailerLf:
      if (++trailer_bytes_ > kMaxTrailerBytes)
        return fail(431, "the trailer is longer than this server takes");
      return in_trailer(c);
    case State::kEndLf:
      return c == '\n' ? State::kComplete : fail(400, kBareCr);
    case State::kLength:
    case State::kData:
    case State::kComplete:
    case State::kFailed:
      break;  // handled by read()
  }
  return state_;
}

BodyReader::State BodyReader::size_digit(char c) {
  if (!is(c, kHexBit)) {
    return size_digits_ == 0 ? fail(400, "a chunk does not begin with its size") : behind_extension(c);
  }
  if (++size_digits_ > kMaxChunkSizeDigits) return fail(400, "a chunk's size has more than 16 digits");
  left_ = left_ << 4 | hex_value(c);  // 16 digits fill 64 bits
  return State::kSize;
}

// What may stand behind a whole size, name, or value.
BodyReader::State BodyReader::behind_extension(char c) {
  if (c == '\r') return State::kSizeLf;
  if (c == ';') return State::kNameStart;
  if (is_blank(c)) return State::kBeforeSemicolon;
  if (c == '\n') return fail(400, "a line ends in LF alone");
  return fail(400, "a chunk's size is followed by what is no extension");
}

BodyReader::State BodyReader::in_extension(char c) {
  constexpr std::string_view kMalformed = "a chunk's extension is malformed";
  switch (state_) {
    case State::kBeforeSemicolon:
      if (is_blank(c)) return state_;
      return c == ';' ? State::kNameStart : fail(400, "a chunk's size is followed by blanks");
    case State::kNameStart:
      if (is_blank(c)) return state_;
      return is(c, kTokenBit) ? State::kName : fail(400, kMalformed);
    case State::kName:
      if (is(c, kTokenBit)) return state_;
      if (c == '=') return State::kValueStart;
      return is_blank(c) ? State::kAfterName : behind_extension(c);
    case State::kAfterName:
      if (is_blank(c)) return state_;
      if (c == ';') return State::kNameStart;
      return c == '=' ? State::kValueStart : fail(400, kMalformed);
    case State::kValueStart:
      if (is_blank(c)) return state_;
      if (c == '"') return State::kQuoted;
      return is(c, kTokenBit) ? State::kValue : fail(400, kMalformed);
    case State::kValue:
      return is(c, kTokenBit) ? state_ : behind_extension(c);
    case State::kQuoted:
      if (c == '"') return State::kAfterQuoted;
      if (c == '\\') return State::kQuotedPair;
      return is(c, kValueBit) ? state_ : fail(400, kMalformed);
    case State::kQuotedPair:
      return is(c, kValueBit) ? State::kQuoted : fail(400, kMalformed);
    default:
      return behind_extension(c);
  }
}

BodyReader::State BodyReader::chunk_begins() {
  size_digits_ = 0;
  if (left_ == 0) return State::kTrailerStart;
  if (left_ > allowed_) return fail(413, kTooLarge);
  allowed_ -= left_;
  return State::kData;
}

BodyReader::State BodyReader::in_trailer(char c) {
  switch (state_) {
    case State::kTrailerStart:
      if (c == '\r') return State::kEndLf;
      if (!is(c, kTokenBit)) return fail(400, "a trailer line does not begin with a name");
      if (++trailer_fields_ > kMaxFields) return fail(431, "the trailer has more than 100 fields");
      return State::kTrailerName;
    case State::kTrailerName:
      if (c == ':') return State::kTrailerValue;
      return is(c, kTokenBit) ? state_ : fail(400, "a trailer's name is not followed by a colon");
    case State::kTrailerValue:
      if (c == '\r') return State::kTrailerLf;
      if (c == '\n') return fail(400, "a line ends in LF alone");
      return is(c, kValueBit) ? state_ : fail(400, "a trailer's value has a control character");
    default:
      return c == '\n' ? State::kTrailerStart : fail(400, kBareCr);
  }
}

BodyReader::State BodyReader::fail(std::uint16_t status, std::string_view reason) {
  failure_ = {status, reason};
  return State::kFailed;
}

}  // namespace ringside::http
