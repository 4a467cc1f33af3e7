// From the server's typed values to the JSON text that the ring keeps and replicas send (the forms are listed
// at shm::ValueKind). Snapshot and stream both come through here, so that they cannot differ.
//
// Every function appends one value to `out`, without allocating once `out` has grown. SQL NULL has no text:
// use RowBuilder::add_null. Typical use: append_integer(row.values(), 42); row.close_value();
//
// Threads: pure functions.   Ownership: output goes to the caller's string.
// Errors: a ValueStatus other than kOk means that the value cannot be shown exactly; `out` may hold a part of
// it, so the row must be dropped.   Limits: kMaxJsonDepth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writer/charset.h"

namespace ringside::writer {

// How deep a JSON document may nest. MariaDB's own functions stop at 32, MySQL's at 100.
inline constexpr std::size_t kMaxJsonDepth = 512;

enum class ValueStatus : std::uint8_t {
  kOk,
  kBadText,      // bytes that the column's character set does not have
  kBadLabel,     // an ENUM number or SET bit without a label
  kBadDate,      // a month above 12, a day above 31, a year above 9999
  kBadTime,      // above 838:59:59 or 23:59:59, or more fraction digits than the column has
  kBadDecimal,   // not digits with at most one point
  kBadFloat,     // infinite or not a number
  kBadJson,      // a document that is no JSON: it would break the answer it is put into
  kMalformed,    // the packed form contradicts itself
  kUnsupported,  // a type or character set that this version does not decode
};
// What is wrong, as a part of a sentence: "has bytes that are not valid in its character set".
std::string_view to_string(ValueStatus status);

struct DateTimeValue {
  std::uint32_t year = 0;
  std::uint32_t month = 0;
  std::uint32_t day = 0;
  std::uint32_t hour = 0;
  std::uint32_t minute = 0;
  std::uint32_t second = 0;
  std::uint32_t micros = 0;
};
struct TimeValue {
  bool negative = false;
  std::uint32_t hours = 0;  // all of them: 838, no days apart
  std::uint32_t minute = 0;
  std::uint32_t second = 0;
  std::uint32_t micros = 0;
};

void append_integer(std::string& out, std::int64_t value);
void append_unsigned(std::string& out, std::uint64_t value);
void append_bit(std::string& out, std::uint64_t value);
// 0 is the server's 0000.
void append_year(std::string& out, std::uint32_t year);
// The server's text: an optional '-', digits, perhaps a point and digits. Zeros that a ZEROFILL column puts
// in front are taken off (JSON has no such numbers), and the sign of a zero.
ValueStatus append_decimal(std::string& out, std::string_view text);
// The shortest text that reads back to the same value.
ValueStatus append_float(std::string& out, float value);
ValueStatus append_double(std::string& out, double value);

// `bytes` in the column's own character set.
ValueStatus append_text(std::string& out, std::string_view bytes, Charset charset);
// Base64 with padding. BINARY(n): the caller has padded with zeros to n.
void append_binary(std::string& out, std::string_view bytes);
// The document as it is, after a check that it is JSON in UTF-8.
ValueStatus append_json(std::string& out, std::string_view document);

// `digits`: the fraction digits that the column declares, 0 to 6.
ValueStatus append_date(std::string& out, std::uint32_t year, std::uint32_t month, std::uint32_t day);
ValueStatus append_datetime(std::string& out, const DateTimeValue& value, std::uint32_t digits,
                            bool is_timestamp);
// Seconds since 1970 in UTC. 0 without micros is the zero timestamp.
ValueStatus append_timestamp_from_epoch(std::string& out, std::uint64_t seconds, std::uint32_t micros,
                                        std::uint32_t digits);
ValueStatus append_time(std::string& out, const TimeValue& value, std::uint32_t digits);

// The labels of an ENUM or SET, quoted and escaped once.
class JsonLabels {
 public:
  JsonLabels() = default;
  // `labels` in UTF-8, in order of declaration.
  explicit JsonLabels(const std::vector<std::string>& labels);

  std::size_t size() const { return quoted_.size(); }
  std::string_view operator[](std::size_t index) const { return quoted_[index]; }

 private:
  std::vector<std::string> quoted_;
};

// `number` counts from 1; 0 is the empty string, which a server stores for a bad value.
ValueStatus append_enum(std::string& out, std::uint64_t number, const JsonLabels& labels);
// Bit i is label i.
ValueStatus append_set(std::string& out, std::uint64_t bits, const JsonLabels& labels);
// From the server's text, labels with commas between. kUnsupported when a label is empty: in the text of such
// a SET two different values look the same (read it as CAST(col AS UNSIGNED) and use append_set).
ValueStatus append_set_from_text(std::string& out, std::string_view bytes, Charset charset,
                                 const JsonLabels& labels);

}  // namespace ringside::writer
