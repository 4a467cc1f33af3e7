// Normalised keys: for each key one byte string, such that the server calls two keys equal exactly when their
// bytes are equal, and (KeyRule::kOrdered) orders them as memcmp does. One function per type makes them, both
// for rows out of the binlog and for keys out of a URL, so that the two cannot differ.
//
//   integer, year, bit  8 bytes, big-endian; signed integers with the sign bit flipped
//   decimal             sign byte (0 negative, 1 other), then precision digits as text without the point; the
//   digits
//                       of a negative number inverted
//   date, time, …       the canonical value as an integer, 8 bytes big-endian; TIME with its sign bit flipped
//   binary, text        last column of the key: the bytes. Otherwise 0x00 becomes 0x00 0xff and 0x00 0x01
//   ends it. text, PAD SPACE     pieces of 8 bytes padded with spaces, each followed by 1, 2 or 3: what
//   follows is less than,
//                       equal to or greater than spaces for ever; 2 ends it (and so it needs no other
//                       terminator)
//   enum                the label's number, 8 bytes big-endian (the server orders by it)
//
// FLOAT, DOUBLE, SET and JSON are no keys here: a table keyed by one is quarantined with that reason.
//
// Threads: pure functions.   Ownership: output goes to the caller's buffer.
// Errors: KeyStatus.   Limits: a normalised key has at most kMaxKeyBytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "shm/schema.h"

namespace ringside::shm {

// InnoDB's longest key is 3,072 bytes. The worst normalised form is shorter than this: latin1 text whose
// every byte takes three in UTF-8, in pieces of 9 bytes for 8, is 10,368 bytes; 16 columns add at most 9
// each.
inline constexpr std::size_t kMaxKeyBytes = 12288;

enum class KeyStatus : std::uint8_t {
  kOk,
  kNotCanonical,  // the text is no value of the type, or not in its one canonical form: a client's error
                  // (400)
  kOutOfRange,    // canonical, but the column cannot hold it: no such row
  kTooLong,       // beyond kMaxKeyBytes: no such row
};

// A growing normalised key in a fixed buffer. No allocation.
class KeyBuffer {
 public:
  void clear() { size_ = 0; }
  Bytes bytes() const { return {bytes_.data(), size_}; }
  bool append(Bytes bytes);  // false when it would pass kMaxKeyBytes; nothing is appended then
  bool append_be64(std::uint64_t value);

 private:
  std::size_t size_ = 0;
  std::array<std::byte, kMaxKeyBytes> bytes_;
};

// True when a column of this kind can be part of a key.
bool can_be_key(ValueKind kind);
// The same, and looks at the labels: an ENUM with an empty label is no key, because its value 0 is printed as
// '' too.
bool can_be_key(const Column& column);

// What a collation's name tells. PAD SPACE: trailing spaces do not count ("binary", *_nopad_* and
// utf8mb4_*0900_* are NO PAD, every other one pads). Bin: compares code points, or bytes ("binary" and
// *_bin).
bool is_pad_space(std::string_view collation);
bool is_bin(std::string_view collation);

// How keys over this column compare: decides rule and pad_space from kind and collation. Collations known
// exactly: binary, *_bin (PAD SPACE) and *_nopad_bin / utf8mb4_0900_bin (NO PAD) over utf8mb4, utf8mb3 and
// ascii; those over latin1 are kEqual (its order is not Unicode's). Every other one is kExact, and trailing
// spaces count then.
KeyColumn make_key_column(std::uint32_t column_index, const Column& column);

// Appends one column's part. `json` is the column's value exactly as the ring stores it (see ValueKind), so
// that the writer needs no second representation. Precondition: not NULL, valid JSON of that kind,
// can_be_key(kind). `is_last`: the column is the key's last one.
KeyStatus append_key_from_json(const Column& column, const KeyColumn& key, bool is_last,
                               std::string_view json, KeyBuffer& out);

// Appends one column's part from a URL's text, already percent-decoded: integers and decimals canonical (no
// sign '+', no leading zeros, no "-0", decimals with exactly `scale` digits), dates as the JSON form without
// quotes, text as UTF-8 (invalid UTF-8: kNotCanonical), binary as base64url without padding, enum as the
// label, bit and year as number. An integer beyond the column's width, a year, hour or label that no row can
// have: kOutOfRange.
KeyStatus append_key_from_text(const Column& column, const KeyColumn& key, bool is_last,
                               std::string_view text, KeyBuffer& out);

}  // namespace ringside::shm
