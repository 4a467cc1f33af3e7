// The request parser on any bytes, and the body reader on what follows. Whole, byte by byte and cut once at a place taken from the input: the
// outcome must be the same, views must lie in the input, and a completed head must end in an empty line.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "http/body_reader.h"
#include "http/request_parser.h"

namespace {

using ringside::http::BodyReader;
using ringside::http::ParseStatus;
using ringside::http::Request;
using ringside::http::RequestParser;

struct Outcome {
  ParseStatus status = ParseStatus::kNeedMore;
  std::uint16_t code = 0;
  std::string_view reason;
  Request request;
};

// An exact copy of a prefix, so that AddressSanitizer sees a read behind it and a view kept from an earlier
// call.
class Copy {
 public:
  explicit Copy(std::string_view text) : bytes_(new char[text.size()]), size_(text.size()) {
    text.copy(bytes_.get(), size_);
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

Outcome outcome_of(RequestParser& parser, ParseStatus status, const Request& request) {
  Outcome outcome{status, 0, {}, request};
  if (status == ParseStatus::kFailed) {
    outcome.code = parser.failure().status;
    outcome.reason = parser.failure().reason;
    RINGSIDE_ASSERT(outcome.code >= 400 && !outcome.reason.empty());
  }
  return outcome;
}

void check_view(std::string_view view, std::string_view input) {
  if (view.empty() || view == "/") return;
  RINGSIDE_ASSERT(view.data() >= input.data() && view.data() + view.size() <= input.data() + input.size());
}

void check_complete(const Request& request, std::string_view input) {
  RINGSIDE_ASSERT(request.head_bytes <= input.size());
  RINGSIDE_ASSERT(input.substr(0, request.head_bytes).ends_with("\r\n\r\n"));
  for (const std::string_view view : {request.path, request.query, request.host, request.if_none_match,
                                      request.accept, request.min_version, request.min_gtid}) {
    check_view(view, input);
    RINGSIDE_ASSERT(view.find_first_of("\r\n") == std::string_view::npos);
  }
  RINGSIDE_ASSERT(request.path == "*" || request.path.starts_with('/'));
  RINGSIDE_ASSERT(!(request.is_chunked && request.content_length != 0));
}

void check_same(const Outcome& a, const Outcome& b) {
  RINGSIDE_ASSERT(a.status == b.status && a.code == b.code && a.reason == b.reason);
  if (a.status != ParseStatus::kComplete) return;
  const Request& x = a.request;
  const Request& y = b.request;
  RINGSIDE_ASSERT(x.method == y.method && x.minor_version == y.minor_version && x.keep_alive == y.keep_alive);
  RINGSIDE_ASSERT(x.is_chunked == y.is_chunked && x.expects_continue == y.expects_continue);
  RINGSIDE_ASSERT(x.content_length == y.content_length && x.head_bytes == y.head_bytes);
}

struct Body {
  ParseStatus status = ParseStatus::kNeedMore;
  std::string text;
  std::size_t used = 0;
  std::uint16_t code = 0;
};

Body read_body(const Request& request, std::string_view text, std::size_t step) {
  constexpr std::uint64_t kBodyLimit = 1000;
  BodyReader reader;
  Body body;
  body.status = reader.begin(request, kBodyLimit);
  while (body.status == ParseStatus::kNeedMore && body.used < text.size()) {
    const Copy part(text.substr(body.used, step));
    std::string_view input = part.view();
    while (body.status == ParseStatus::kNeedMore && !input.empty()) {
      const std::size_t before = input.size();
      std::string_view piece;
      body.status = reader.read(input, piece);
      body.text += piece;
      RINGSIDE_ASSERT(input.size() < before || body.status == ParseStatus::kFailed);
    }
    body.used += part.view().size() - input.size();
  }
  RINGSIDE_ASSERT(body.text.size() <= kBodyLimit);
  if (body.status == ParseStatus::kFailed) body.code = reader.failure().status;
  return body;
}

// What stands behind the head, read as its body: whole, by bytes and by threes.
void check_body(const Request& request, std::string_view text) {
  const std::string_view rest = text.substr(request.head_bytes);
  const Body whole = read_body(request, rest, rest.size() + 1);
  for (const std::size_t step : {std::size_t{1}, std::size_t{3}}) {
    const Body cut = read_body(request, rest, step);
    RINGSIDE_ASSERT(cut.status == whole.status && cut.text == whole.text && cut.used == whole.used &&
                    cut.code == whole.code);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The first byte chooses the limit and the place of the cut; the rest is the request.
  if (size == 0 || size > 4096) return 0;
  const std::size_t limit = (data[0] & 1) != 0 ? 8192 : 64;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Copy whole_copy(text);
  const std::string_view whole_text = whole_copy.view();

  RequestParser whole_parser;
  Request whole_request;
  const Outcome whole =
      outcome_of(whole_parser, whole_parser.parse(whole_text, limit, whole_request), whole_request);
  if (whole.status == ParseStatus::kComplete) check_complete(whole.request, whole_text);

  if (whole.status == ParseStatus::kComplete) check_body(whole.request, whole_text);

  RequestParser bytewise;
  Request request;
  ParseStatus status = ParseStatus::kNeedMore;
  for (std::size_t i = 1; i <= text.size() && status == ParseStatus::kNeedMore; ++i) {
    const Copy prefix(text.substr(0, i));
    status = bytewise.parse(prefix.view(), limit, request);
    if (status == ParseStatus::kComplete) check_complete(request, prefix.view());
  }
  check_same(whole, outcome_of(bytewise, status, request));

  RequestParser cut;
  const Copy first(text.substr(0, text.size() * data[0] / 255));
  status = cut.parse(first.view(), limit, request);
  if (status == ParseStatus::kNeedMore) status = cut.parse(whole_text, limit, request);
  check_same(whole, outcome_of(cut, status, request));
  return 0;
}
