#include "base/clock.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/unique_fd.h"

namespace ringside {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kLargestSeconds = 5'000'000'000;  // the kernel allows 146 years

// Takes the next word off `line`; empty: there is none.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

bool take_number(std::string_view& line, std::int64_t& value) {
  const std::string_view word = take_word(line);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc() && end == word.data() + word.size();
}

}  // namespace

std::optional<std::int64_t> monotonic_offset_ns(std::string_view offsets) {
  while (!offsets.empty()) {
    std::string_view line = offsets.substr(0, offsets.find('\n'));
    offsets.remove_prefix(std::min(line.size() + 1, offsets.size()));
    const std::string_view clock = take_word(line);
    if (clock != "monotonic" && clock != "1")
      continue;  // by name or by number, as the kernel's version has it
    std::int64_t seconds = 0;
    std::int64_t ns = 0;
    if (!take_number(line, seconds) || !take_number(line, ns) || !take_word(line).empty())
      return std::nullopt;
    if (seconds < -kLargestSeconds || seconds > kLargestSeconds || ns < 0 || ns >= kSecondNs)
      return std::nullopt;
    return seconds * kSecondNs + ns;
  }
  return std::nullopt;
}

std::int64_t read_monotonic_offset_ns() {
  const UniqueFd fd(::open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC));
  if (!fd) return 0;
  std::array<char, 256> text;
  const ssize_t size = ::read(fd.get(), text.data(), text.size());
  if (size <= 0) return 0;
  return monotonic_offset_ns(std::string_view(text.data(), static_cast<std::size_t>(size))).value_or(0);
}

}  // namespace ringside
