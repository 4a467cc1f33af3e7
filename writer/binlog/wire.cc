#include "writer/binlog/wire.h"

namespace ringside::writer::binlog {

bool read_lenenc(ByteReader& reader, std::uint64_t& value) {
  const std::uint8_t first = reader.u8();
  switch (first) {
    case 251:
    case 255:
      return false;
    case 252:
      value = reader.uint_le(2);
      break;
    case 253:
      value = reader.uint_le(3);
      break;
    case 254:
      value = reader.u64();
      break;
    default:
      value = first;
  }
  return reader.ok();
}

Inflater::~Inflater() {
  if (is_ready_) ::inflateEnd(&stream_);
}

bool Inflater::inflate(Bytes packed, std::uint64_t size, Format format, std::string& out) {
  constexpr std::uint64_t kBestRatio = 1032;
  if (size > kMaxInflatedBytes || size > packed.size() * kBestRatio || packed.size() > kMaxInflatedBytes)
    return false;
  const int window_bits = format == Format::kRaw ? -MAX_WBITS : MAX_WBITS;
  const int ready =
      is_ready_ ? ::inflateReset2(&stream_, window_bits) : ::inflateInit2(&stream_, window_bits);
  if (ready != Z_OK) return false;
  is_ready_ = true;
  out.resize(static_cast<std::size_t>(size));
  // zlib takes its input as non-const, but only reads it (its own documentation of next_in).
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));
  stream_.avail_in = static_cast<uInt>(packed.size());
  stream_.next_out = reinterpret_cast<Bytef*>(out.data());
  stream_.avail_out = static_cast<uInt>(out.size());
  const int end = ::inflate(&stream_, Z_FINISH);
  return end == Z_STREAM_END && stream_.avail_out == 0 && stream_.avail_in == 0;
}

}  // namespace ringside::writer::binlog
