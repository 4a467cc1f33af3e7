// What a request's target says: path segments, percent-decoding, query parameters, key lists, times.
//
// Everything works on views of the request and, where decoding changes bytes, on a buffer of the caller.
// Separators are found before anything is decoded: %2C is a comma within a value, %2F a slash within a
// segment.
//
// '+' is a space in a query's names and values, as HTML forms and URLSearchParams write it (a plus sign is
// %2B), and a plus sign in a path.
//
// Threads: pure functions and values.
// Ownership: views point into the text given, or into the caller's buffer.
// Errors: enumerations; nothing here allocates or throws.
// Limits: kMaxSegments; the caller's buffer; QueryLimits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ringside::http {

enum class DecodeStatus : std::uint8_t {
  kOk,
  kBadEscape,  // a '%' without two hexadecimal digits behind it
  kNotAscii,   // a raw byte that must have been percent-encoded
  kTooLong,    // the buffer is too small
};

enum class PlusMeans : std::uint8_t { kPlus, kSpace };

// Decodes `raw`. Where nothing is encoded, `decoded` is `raw` itself and the buffer stays untouched. The
// result may be any bytes, also NUL: for text ask is_utf8() of base/utf8.h.
DecodeStatus percent_decode(std::string_view raw, PlusMeans plus, std::span<char> buffer,
                            std::string_view& decoded);

// A path's segments, still percent-encoded: "/" has none, "/v1/a/" has three with the last one empty.
inline constexpr std::size_t kMaxSegments = 4;
struct PathSegments {
  std::array<std::string_view, kMaxSegments> raw;
  std::size_t count = 0;
  bool is_too_deep = false;  // there are more than kMaxSegments
  bool has_dot_segment =
      false;  // "." or "..", also encoded: what clients and proxies make of them differs; refuse

  std::string_view operator[](std::size_t i) const { return i < count ? raw[i] : std::string_view(); }
};
PathSegments split_path(std::string_view path);

// Reads a list, split at raw commas: "a,b" are two, "" is none, "a," is "a" and "".
class ListReader {
 public:
  explicit ListReader(std::string_view list) : rest_(list), has_more_(!list.empty()) {}
  bool next(std::string_view& raw);

 private:
  std::string_view rest_;
  bool has_more_;
};

// Reads a query's parameters in order, still percent-encoded. Empty pieces ("a&&b") are passed over.
struct RawParameter {
  std::string_view name;
  std::string_view value;
  bool has_equals = false;
};
class QueryReader {
 public:
  explicit QueryReader(std::string_view query) : rest_(query) {}
  bool next(RawParameter& parameter);

 private:
  std::string_view rest_;
};

// "42": digits only, no leading zeros, within 64 bits.
bool parse_number(std::string_view text, std::uint64_t& number);
// "250ms", "1s": whole numbers, at most one day.
bool parse_wait(std::string_view text, std::uint32_t& milliseconds);

enum class NumberForm : std::uint8_t { kDefault, kNumber, kString };
enum class KeyForm : std::uint8_t {
  kNone,
  kKey,   // key=… once or several times; the columns of a composite key stand between raw commas
  kKeys,  // keys=1,2,3 for keys of one column
};

struct QueryLimits {
  std::uint32_t max_keys = 1000;
};

enum class QueryStatus : std::uint8_t {
  kOk,
  kUnknown,      // a parameter that is none of ours
  kRepeated,     // one that may stand once only
  kBadValue,     // its value cannot be read
  kBadEscape,    // its name or value is wrongly percent-encoded
  kKeyAndKeys,   // key= and keys= together
  kTooManyKeys,  // beyond QueryLimits
};
// A clause for people, to stand behind the parameter's name: "is not a parameter of this resource".
std::string_view describe(QueryStatus status);

// The reserved parameters of a point read.
struct QueryParameters {
  bool has_fields = false;
  bool has_min_version = false;
  bool has_wait = false;
  bool has_limit = false;
  NumberForm numbers = NumberForm::kDefault;
  KeyForm key_form = KeyForm::kNone;
  std::uint32_t wait_ms = 0;
  std::uint32_t key_count = 0;
  std::uint64_t min_version = 0;
  std::uint64_t limit = 0;
  std::string_view fields;    // raw list: ListReader, then percent_decode
  std::string_view min_gtid;  // raw; empty: none
  std::string_view order;     // raw list; empty: none
  std::string_view after;     // raw; empty: none
  std::string_view keys;      // what KeyReader reads
};

// Reads the whole query. When not kOk, `culprit` is the raw name of the parameter that is wrong.
QueryStatus parse_query(std::string_view query, const QueryLimits& limits, QueryParameters& parameters,
                        std::string_view& culprit);

// Reads the keys asked for, in order, still percent-encoded: exactly key_count of them.
class KeyReader {
 public:
  explicit KeyReader(const QueryParameters& parameters)
      : form_(parameters.key_form), query_(parameters.keys), list_(parameters.keys) {}
  bool next(std::string_view& raw_key);

 private:
  KeyForm form_;
  QueryReader query_;
  ListReader list_;
};

}  // namespace ringside::http
