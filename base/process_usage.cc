#include "base/process_usage.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "base/clock.h"
#include "base/unique_fd.h"

namespace ringside {
namespace {

// A file of /proc that fits the buffer; empty when it cannot be read.
std::string_view read_small(const char* path, std::array<char, 8192>& buffer) {
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  std::size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t got = ::read(fd.get(), buffer.data() + size, buffer.size() - size);
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  return {buffer.data(), size};
}

// The n-th of the words divided by single spaces, as a number.
std::optional<std::uint64_t> number_at(std::string_view words, unsigned n) {
  for (; n > 0; --n) {
    const std::size_t space = words.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    words.remove_prefix(space + 1);
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(words.data(), words.data() + words.size(), value);
  if (error != std::errc() || end == words.data()) return std::nullopt;
  return value;
}

// The number behind `name` at the beginning of a line.
std::optional<std::uint64_t> line_value(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    if (text.starts_with(name)) {
      text.remove_prefix(name.size());
      text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
      return number_at(text, 0);
    }
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

// How many descriptors are open. Walking /proc/self/fd would cost a look-up each, which an event loop with ten
// thousand connections should not pay at every scrape; newer kernels tell the number as the directory's size.
std::optional<std::uint64_t> count_open_files() {
  struct stat folder {};
  if (::stat("/proc/self/fd", &folder) != 0) return std::nullopt;
  if (folder.st_size > 0) return static_cast<std::uint64_t>(folder.st_size);
  std::array<char, 8192> buffer;
  const std::optional<std::uint64_t> table = line_value(read_small("/proc/self/status", buffer), "FDSize:");
  if (!table || *table > kMaxProbedFiles) return std::nullopt;
  std::uint64_t open = 0;
  for (std::uint64_t fd = 0; fd < *table; ++fd) open += ::fcntl(static_cast<int>(fd), F_GETFD) >= 0 ? 1 : 0;
  return open;
}

}  // namespace

ProcessUsage read_process_usage() {
  ProcessUsage usage;
  std::array<char, 8192> buffer;
  // The name, second of the words, may hold spaces and parentheses: what counts is behind the last of these.
  std::string_view words = read_small("/proc/self/stat", buffer);
  const std::size_t name_end = words.rfind(") ");
  words.remove_prefix(name_end == std::string_view::npos ? words.size() : name_end + 2);
  // Words counted from 0 at the third of proc(5), the state.
  const std::optional<std::uint64_t> user = number_at(words, 11);
  const std::optional<std::uint64_t> system = number_at(words, 12);
  const std::optional<std::uint64_t> started = number_at(words, 19);
  const std::optional<std::uint64_t> pages = number_at(words, 21);
  usage.threads = number_at(words, 17);
  usage.virtual_bytes = number_at(words, 20);
  if (pages) usage.resident_bytes = *pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  if (user && system) usage.cpu_seconds = static_cast<double>(*user + *system) / ticks;
  if (started) {
    // Worked out once: it must not move when the clock is set, or a restart would be seen where there was none.
    static const double kStart = static_cast<double>(wall_ns()) / 1e9 -
                                 static_cast<double>(clock_ns(CLOCK_BOOTTIME)) / 1e9 +
                                 static_cast<double>(*started) / ticks;
    usage.start_time_seconds = kStart;
  }
  usage.open_files = count_open_files();
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    usage.max_files = limit.rlim_cur;
  }
  return usage;
}

}  // namespace ringside
