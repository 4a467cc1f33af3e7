// The values of settings: secrets, addresses, sizes, durations, patterns. config.cc reads the file.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <ostream>

#include "base/config.h"

namespace ringside {
namespace {

using std::chrono::milliseconds;

Error invalid(std::string message) {
  return Error{ErrorKind::kInvalid, std::move(message)};
}

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

// "12ms" into 12 and "ms". False when there are no digits or too many.
bool split_number(std::string_view text, std::uint64_t& number, std::string_view& unit) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  unit = text.substr(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

bool Secret::equals(std::string_view candidate) const {
  if (candidate.size() != text_.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < text_.size(); ++i) {
    difference |= static_cast<unsigned char>(text_[i]) ^ static_cast<unsigned char>(candidate[i]);
  }
  return difference == 0;
}

std::ostream& operator<<(std::ostream& out, const Secret& secret) {
  return out << (secret.empty() ? "(none)" : "(secret)");
}

bool ListenAddress::is_loopback() const {
  if (is_ipv6) {
    in6_addr address{};
    return ::inet_pton(AF_INET6, host.c_str(), &address) == 1 && IN6_IS_ADDR_LOOPBACK(&address);
  }
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

std::string ListenAddress::to_string() const {
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool MysqlConfig::is_chosen(std::string_view table) const {
  const auto matches = [&](const std::string& pattern) { return glob_match(pattern, table); };
  return std::any_of(tables.begin(), tables.end(), matches) &&
         std::none_of(exclude.begin(), exclude.end(), matches);
}

std::string ReplicaConfig::unix_socket_for(unsigned index) const {
  constexpr std::string_view kPlaceholder = "{index}";
  std::string path = unix_socket;
  const std::string number = std::to_string(index);
  for (std::size_t at = 0; (at = path.find(kPlaceholder, at)) != std::string::npos; at += number.size()) {
    path.replace(at, kPlaceholder.size(), number);
  }
  return path;
}

Result<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, unsigned>, 5> kUnits{
      {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
  std::uint64_t number = 0;
  std::string_view unit;
  if (split_number(text, number, unit)) {
    for (const auto& [name, shift] : kUnits) {
      if (unit == name && number <= std::numeric_limits<std::uint64_t>::max() >> shift)
        return number << shift;
    }
  }
  return invalid(quoted(text) +
                 " is not a size; write it like \"64MiB\" (KiB, MiB, GiB, TiB), or as a number of bytes");
}

Result<milliseconds> parse_duration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 4> kUnits{
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};
  constexpr std::uint64_t kMost = 1'000'000'000;  // of any unit: over 30 years of seconds, and no overflow
  std::uint64_t number = 0;
  std::string_view unit;
  if (split_number(text, number, unit) && number <= kMost) {
    for (const auto& [name, factor] : kUnits) {
      if (unit == name) return milliseconds(static_cast<std::int64_t>(number) * factor);
    }
  }
  return invalid(quoted(text) + " is not a duration; write it like \"250ms\", \"5s\", \"10m\" or \"24h\"");
}

Result<ListenAddress> parse_listen_address(std::string_view text) {
  const auto failed = [&] {
    return invalid(quoted(text) +
                   " is not an address; write \"127.0.0.1:8080\" or \"[::1]:8080\" (no host names)");
  };
  ListenAddress address;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return failed();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size()) return failed();
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    address.is_ipv6 = true;
  }
  address.host = host == "localhost" && !address.is_ipv6 ? "127.0.0.1" : std::string(host);
  in6_addr parsed{};  // large enough for either family
  if (::inet_pton(address.is_ipv6 ? AF_INET6 : AF_INET, address.host.c_str(), &parsed) != 1) return failed();
  return address;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star =
      std::string_view::npos;  // the last * seen; a mismatch goes back to it and lets it eat one more
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace ringside
