#include "base/crc32c.h"

#include <array>

#include "base/bytes.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace ringside {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? value >> 1 ^ 0x82f63b78u : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kTable = make_table();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(const void* data, std::size_t size,
                                                             std::uint32_t crc) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint64_t state = ~crc;
  for (; size >= 8; size -= 8, bytes += 8) state = _mm_crc32_u64(state, load_le<std::uint64_t>(bytes));
  auto narrow = static_cast<std::uint32_t>(state);
  for (; size > 0; --size, ++bytes) narrow = _mm_crc32_u8(narrow, *bytes);
  return ~narrow;
}
bool has_hardware() {
  return __builtin_cpu_supports("sse4.2") != 0;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) std::uint32_t crc32c_arm(const void* data, std::size_t size,
                                                         std::uint32_t crc) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint32_t state = ~crc;
  for (; size >= 8; size -= 8, bytes += 8) state = __crc32cd(state, load_le<std::uint64_t>(bytes));
  for (; size > 0; --size, ++bytes) state = __crc32cb(state, *bytes);
  return ~state;
}
bool has_hardware() {
  return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#endif

using Function = std::uint32_t (*)(const void*, std::size_t, std::uint32_t);

Function choose() {
#if defined(__x86_64__)
  if (has_hardware()) return crc32c_sse42;
#elif defined(__aarch64__)
  if (has_hardware()) return crc32c_arm;
#endif
  return crc32c_portable;
}

}  // namespace

std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t crc) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint32_t state = ~crc;
  for (; size > 0; --size, ++bytes) state = kTable[(state ^ *bytes) & 0xffu] ^ state >> 8;
  return ~state;
}

std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc) {
  static const Function function = choose();
  return function(data, size, crc);
}

}  // namespace ringside
