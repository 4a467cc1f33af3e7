#include "base/crc32c.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
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
// x^(64 m - 33) modulo the polynomial, reflected like the checksum itself (bit 0 is x^31). The instruction has a latency
// of three cycles and a throughput of one, so three stretches of the data are summed side by side. To put stretches
// together, the first one's sum has to be multiplied by x^(bits that follow). A carry-less product of two reflected
// 32-bit numbers, taken for eight bytes of data, is the product times x, and the instruction multiplies data by x^32:
// hence the 33. (The method of Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction",
// Intel 2011.)
constexpr std::size_t kMaxStretchWords = 128;
constexpr std::array<std::uint32_t, 2 * kMaxStretchWords + 1> make_shifts() {
  std::array<std::uint32_t, 2 * kMaxStretchWords + 1> shifts{};
  std::uint32_t power = 1;  // x^31
  for (std::size_t m = 1; m < shifts.size(); ++m) {
    shifts[m] = power;
    for (int bit = 0; bit < 64; ++bit) power = (power & 1) != 0 ? power >> 1 ^ 0x82f63b78u : power >> 1;
  }
  return shifts;
}
constexpr std::array<std::uint32_t, 2 * kMaxStretchWords + 1> kShifts = make_shifts();
constexpr std::size_t kThreeWaysBytes = 192;  // below that putting together costs what it saves

__attribute__((target("sse4.2,pclmul"))) std::uint64_t shifted(std::uint64_t crc, std::size_t words) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)),
                                               _mm_cvtsi64_si128(kShifts[words]), 0);
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) std::uint32_t crc32c_three_ways(const void* data, std::size_t size,
                                                                         std::uint32_t crc) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint64_t state = ~crc;
  while (size >= kThreeWaysBytes) {
    const std::size_t words = std::min(size / 24, kMaxStretchWords);
    const unsigned char* second = bytes + 8 * words;
    const unsigned char* third = second + 8 * words;
    const unsigned char* last = third + 8 * (words - 1);
    std::uint64_t two = 0;
    std::uint64_t three = 0;
    for (; third != last; bytes += 8, second += 8, third += 8) {
      state = _mm_crc32_u64(state, load_le<std::uint64_t>(bytes));
      two = _mm_crc32_u64(two, load_le<std::uint64_t>(second));
      three = _mm_crc32_u64(three, load_le<std::uint64_t>(third));
    }
    state = _mm_crc32_u64(state, load_le<std::uint64_t>(bytes));
    two = _mm_crc32_u64(two, load_le<std::uint64_t>(second));
    const std::uint64_t both = shifted(state, 2 * words) ^ shifted(two, words);
    state = _mm_crc32_u64(three, load_le<std::uint64_t>(third) ^ both);
    bytes = third + 8;
    size -= 24 * words;
  }
  for (; size >= 8; size -= 8, bytes += 8) state = _mm_crc32_u64(state, load_le<std::uint64_t>(bytes));
  auto narrow = static_cast<std::uint32_t>(state);
  if (size >= 4) {
    narrow = _mm_crc32_u32(narrow, load_le<std::uint32_t>(bytes));
    bytes += 4;
    size -= 4;
  }
  for (; size > 0; --size, ++bytes) narrow = _mm_crc32_u8(narrow, *bytes);
  return ~narrow;
}

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
  if (has_hardware()) return __builtin_cpu_supports("pclmul") != 0 ? crc32c_three_ways : crc32c_sse42;
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
