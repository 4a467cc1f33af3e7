// Targets on any bytes: '?' parts path and query. Decoding, splitting and the reserved parameters must agree
// with one another, stay within their buffers, and give text that encodes back to the same bytes.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/utf8.h"
#include "http/json_text.h"
#include "http/target.h"

namespace {

using namespace ringside;
using namespace ringside::http;

std::string encode_all(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out.append({'%', kHex[byte >> 4], kHex[byte & 15]});
  }
  return out;
}

void check_decoding(std::string_view raw) {
  std::array<char, 256> buffer;
  std::string_view decoded;
  for (const PlusMeans plus : {PlusMeans::kPlus, PlusMeans::kSpace}) {
    const DecodeStatus status = percent_decode(raw, plus, buffer, decoded);
    if (status != DecodeStatus::kOk) continue;
    RINGSIDE_ASSERT(decoded.size() <= raw.size());
    const std::string first(decoded);
    std::string encoded = encode_all(first);
    std::string_view again;
    std::string large(encoded.size(), '\0');
    RINGSIDE_ASSERT(percent_decode(encoded, plus, large, again) == DecodeStatus::kOk && again == first);
    std::string json;
    RINGSIDE_ASSERT(append_json_string(first, json) == is_utf8(first));
    json.clear();
    append_json_string_lossy(first, json);
    RINGSIDE_ASSERT(is_utf8(json) && json.size() >= 2);
    std::array<std::byte, 256> bytes;
    std::size_t size = 0;
    if (decode_base64url(first, bytes, size)) {
      std::string text;
      append_base64url(Bytes(bytes).first(size), text);
      RINGSIDE_ASSERT(text == first);
    }
  }
}

void check_query(std::string_view query) {
  QueryParameters parameters;
  std::string_view culprit;
  const QueryStatus status = parse_query(query, {16}, parameters, culprit);
  RINGSIDE_ASSERT(!describe(status).empty());
  QueryReader reader(query);
  RawParameter raw;
  while (reader.next(raw)) {
    check_decoding(raw.name);
    check_decoding(raw.value);
  }
  if (status != QueryStatus::kOk) return;
  KeyReader keys(parameters);
  std::string_view key;
  std::uint32_t count = 0;
  while (keys.next(key)) ++count;
  RINGSIDE_ASSERT(count == parameters.key_count && count <= 16);
  ListReader fields(parameters.fields);
  while (fields.next(key)) RINGSIDE_ASSERT(key.find(',') == std::string_view::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t question = text.find('?');
  const PathSegments segments = split_path(text.substr(0, question));
  RINGSIDE_ASSERT(segments.count <= kMaxSegments);
  for (std::size_t i = 0; i < segments.count; ++i) {
    RINGSIDE_ASSERT(segments[i].find('/') == std::string_view::npos);
    check_decoding(segments[i]);
  }
  if (question != std::string_view::npos) check_query(text.substr(question + 1));
  return 0;
}
