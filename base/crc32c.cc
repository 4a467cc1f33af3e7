#include "base/crc32c.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

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

// A word that another process may be storing.
std::uint64_t load_shared(const unsigned char* from) {
  auto* word = const_cast<std::uint64_t*>(reinterpret_cast<const std::uint64_t*>(from));
  return std::atomic_ref(*word).load(std::memory_order_acquire);
}

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

// Where a sum takes its words from: the data, or the data while it is copied.
struct Reading {
  const unsigned char* from;
  std::uint64_t word(std::size_t at) const { return load_le<std::uint64_t>(from + at); }
  void skip(std::size_t bytes) { from += bytes; }
};
struct Copying {
  const unsigned char* from;
  unsigned char* to;
  std::uint64_t word(std::size_t at) const {
    const std::uint64_t word = load_shared(from + at);
    std::memcpy(to + at, &word, sizeof word);
    return word;
  }
  void skip(std::size_t bytes) {
    from += bytes;
    to += bytes;
  }
};

// Sums whole words, and goes on from a state, which is a checksum not yet inverted.
template <class Words>
__attribute__((target("sse4.2,pclmul"), always_inline)) inline std::uint64_t three_ways(Words& words,
                                                                                        std::size_t& size,
                                                                                        std::uint64_t state) {
  while (size >= kThreeWaysBytes) {
    const std::size_t length = std::min(size / 24, kMaxStretchWords) * 8;
    std::uint64_t two = 0;
    std::uint64_t three = 0;
    std::size_t at = 0;
    for (; at + 8 < length; at += 8) {
      state = _mm_crc32_u64(state, words.word(at));
      two = _mm_crc32_u64(two, words.word(at + length));
      three = _mm_crc32_u64(three, words.word(at + 2 * length));
    }
    state = _mm_crc32_u64(state, words.word(at));
    two = _mm_crc32_u64(two, words.word(at + length));
    const std::uint64_t both = shifted(state, length / 4) ^ shifted(two, length / 8);
    state = _mm_crc32_u64(three, words.word(at + 2 * length) ^ both);
    words.skip(3 * length);
    size -= 3 * length;
  }
  std::size_t at = 0;
  for (; at + 32 <= size; at += 32) {
    state = _mm_crc32_u64(state, words.word(at));
    state = _mm_crc32_u64(state, words.word(at + 8));
    state = _mm_crc32_u64(state, words.word(at + 16));
    state = _mm_crc32_u64(state, words.word(at + 24));
  }
  for (; at + 8 <= size; at += 8) state = _mm_crc32_u64(state, words.word(at));
  words.skip(at);
  size -= at;
  return state;
}

__attribute__((target("sse4.2,pclmul"))) std::uint32_t crc32c_three_ways(const void* data, std::size_t size,
                                                                         std::uint32_t crc) {
  Reading words{static_cast<const unsigned char*>(data)};
  auto narrow = static_cast<std::uint32_t>(three_ways(words, size, ~crc));
  const unsigned char* bytes = words.from;
  if (size >= 4) {
    narrow = _mm_crc32_u32(narrow, load_le<std::uint32_t>(bytes));
    bytes += 4;
    size -= 4;
  }
  for (; size > 0; --size, ++bytes) narrow = _mm_crc32_u8(narrow, *bytes);
  return ~narrow;
}

__attribute__((target("sse4.2,pclmul"))) std::uint32_t record_three_ways(void* data, const void* rest,
                                                                         std::size_t size, std::size_t there,
                                                                         std::uint64_t last) {
  auto* bytes = static_cast<unsigned char*>(data);
  std::uint64_t state = _mm_crc32_u32(~0u, load_le<std::uint32_t>(bytes + 4));
  Reading head{bytes + 8};
  std::size_t head_bytes = there - 8;
  state = three_ways(head, head_bytes, state);
  if (there < size) {
    Copying tail{static_cast<const unsigned char*>(rest), bytes + there};
    std::size_t tail_bytes = size - there;
    state = three_ways(tail, tail_bytes, state);
  }
  return ~static_cast<std::uint32_t>(_mm_crc32_u64(state, last));
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

std::uint32_t record_in_parts(void* data, const void* rest, std::size_t size, std::size_t there,
                              std::uint64_t last) {
  auto* bytes = static_cast<unsigned char*>(data);
  const auto* from = static_cast<const unsigned char*>(rest);
  for (std::size_t at = there; at < size; at += 8) {
    const std::uint64_t word = load_shared(from + at - there);
    std::memcpy(bytes + at, &word, sizeof word);
  }
  std::array<unsigned char, sizeof last> tail;
  store_le<std::uint64_t>(tail.data(), last);
  return crc32c(tail.data(), tail.size(), crc32c(bytes + 8, size - 8, crc32c(bytes + 4, 4)));
}

using Function = std::uint32_t (*)(const void*, std::size_t, std::uint32_t);
using RecordFunction = std::uint32_t (*)(void*, const void*, std::size_t, std::size_t, std::uint64_t);

Function choose() {
#if defined(__x86_64__)
  if (has_hardware()) return __builtin_cpu_supports("pclmul") != 0 ? crc32c_three_ways : crc32c_sse42;
#elif defined(__aarch64__)
  if (has_hardware()) return crc32c_arm;
#endif
  return crc32c_portable;
}

RecordFunction choose_for_records() {
#if defined(__x86_64__)
  if (has_hardware() && __builtin_cpu_supports("pclmul") != 0) return record_three_ways;
#endif
  return record_in_parts;
}

// The first call chooses. No static variable of the function's: asking whether it is made takes a fifth of a short record.
std::uint32_t record_chosen(void* data, const void* rest, std::size_t size, std::size_t there,
                            std::uint64_t last);
constinit std::atomic<RecordFunction> record_function{record_chosen};
std::uint32_t record_chosen(void* data, const void* rest, std::size_t size, std::size_t there,
                            std::uint64_t last) {
  const RecordFunction function = choose_for_records();
  record_function.store(function, std::memory_order_relaxed);
  return function(data, rest, size, there, last);
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

std::uint32_t crc32c_record(const void* data, std::size_t size, std::uint64_t last) {
  // Nothing is left to be copied: not written to.
  return crc32c_copy_record(const_cast<void*>(data), nullptr, size, size, last);
}

std::uint32_t crc32c_copy_record(void* data, const void* rest, std::size_t size, std::size_t there,
                                 std::uint64_t last) {
  return record_function.load(std::memory_order_relaxed)(data, rest, size, there, last);
}

}  // namespace ringside
