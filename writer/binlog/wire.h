// Two forms that binlog events share: length-encoded integers, and zlib streams of a known size.
//
// Threads: an Inflater belongs to one thread.   Ownership: output goes to the caller's string.
// Errors: false for bytes that are not of the form.   Limits: kMaxInflatedBytes.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace ringside::writer::binlog {

// No event or column value is larger than max_allowed_packet can be.
inline constexpr std::size_t kMaxInflatedBytes = std::size_t{1} << 30;

// One byte below 251, or 252, 253, 254 and 2, 3, 8 bytes. False at 251 (NULL), 255 and the end of input.
bool read_lenenc(ByteReader& reader, std::uint64_t& value);

// Decompresses; keeps zlib's state from call to call, so that the steady state allocates nothing.
class Inflater {
 public:
  enum class Format { kZlib, kRaw };

  Inflater() = default;
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Replaces `out` by the whole stream. False unless it is complete and exactly `size` bytes long, at most
  // kMaxInflatedBytes; a size that zlib cannot reach from the input (1032:1) is refused before any memory is taken.
  bool inflate(Bytes packed, std::uint64_t size, Format format, std::string& out);

 private:
  z_stream stream_{};
  bool is_ready_ = false;
};

}  // namespace ringside::writer::binlog
