// Bytes: views, fixed-width loads and stores in a stated byte order, and a bounded reader.
//
// Threads: values; no shared state.   Ownership: views never own.   Errors: see ByteReader.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace ringside {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T>
requires std::is_unsigned_v<T>
constexpr T byte_swap(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

// Unaligned loads and stores. Preconditions: sizeof(T) bytes at `from` / `to`.
template <class T>
T load_le(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::little ? value : byte_swap(value);
}
template <class T>
T load_be(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::big ? value : byte_swap(value);
}
template <class T>
void store_le(void* to, T value) {
  if constexpr (std::endian::native != std::endian::little) value = byte_swap(value);
  std::memcpy(to, &value, sizeof value);
}
template <class T>
void store_be(void* to, T value) {
  if constexpr (std::endian::native != std::endian::big) value = byte_swap(value);
  std::memcpy(to, &value, sizeof value);
}

// Reads forward through outside bytes. A read past the end makes the reader fail for good: it then returns
// zeros and empty views, so that a decoder may read a whole structure and ask ok() once.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::size_t remaining() const { return rest_.size(); }

  std::uint8_t u8() { return fixed<std::uint8_t>(); }
  std::uint16_t u16() { return fixed<std::uint16_t>(); }
  std::uint32_t u32() { return fixed<std::uint32_t>(); }
  std::uint64_t u64() { return fixed<std::uint64_t>(); }

  // Little-endian, 1 to 8 bytes.
  std::uint64_t uint_le(std::size_t width) {
    const Bytes b = take(width);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < b.size(); ++i) value |= std::to_integer<std::uint64_t>(b[i]) << (8 * i);
    return value;
  }
  // Big-endian, 1 to 8 bytes.
  std::uint64_t uint_be(std::size_t width) {
    const Bytes b = take(width);
    std::uint64_t value = 0;
    for (const std::byte x : b) value = value << 8 | std::to_integer<std::uint64_t>(x);
    return value;
  }

  Bytes take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const Bytes taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  std::string_view text(std::size_t size) { return as_text(take(size)); }
  void skip(std::size_t size) { take(size); }
  // All that is left; the reader is empty afterwards.
  Bytes rest() { return take(rest_.size()); }

 private:
  template <class T>
  T fixed() {
    const Bytes b = take(sizeof(T));
    return b.size() == sizeof(T) ? load_le<T>(b.data()) : T{};
  }

  Bytes rest_;
  bool ok_ = true;
};

}  // namespace ringside
