#include "bench/request_plan.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

#include "base/unique_fd.h"
#include "bench/errno_text.h"

namespace ringside::bench {
namespace {

Error invalid(std::string message) {
  return {ErrorKind::kInvalid, std::move(message)};
}

bool parse_u64(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// What may stand in a request line or a header line: a stray space or line end would split the request.
bool is_visible_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

Result<KeySet> KeySet::parse(const std::string& argument) {
  KeySet keys;
  if (const std::size_t dots = argument.find(".."); dots != std::string::npos) {
    std::uint64_t last = 0;
    if (parse_u64(std::string_view(argument).substr(0, dots), keys.first_) &&
        parse_u64(std::string_view(argument).substr(dots + 2), last)) {
      if (last < keys.first_ || last - keys.first_ >= kMaxKeys) {
        return invalid(
            fmt::format("keys {}: from a lower to a higher number, at most {} of them", argument, kMaxKeys));
      }
      keys.count_ = static_cast<std::size_t>(last - keys.first_ + 1);
      keys.longest_ = std::to_string(last).size();
      return keys;
    }
  }
  std::ifstream file(argument);
  if (!file) {
    return invalid(fmt::format("keys {}: neither a range (1..63000) nor a file that can be read: {}",
                               argument, errno_text(errno)));
  }
  std::size_t total = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) continue;
    total += line.size() + 1;
    if (!is_visible_ascii(line)) {
      return invalid(fmt::format("keys {}: line {} has a space or a byte outside ASCII; percent-encode it",
                                 argument, keys.texts_.size() + 1));
    }
    if (total > kMaxKeyFileBytes || keys.texts_.size() == kMaxKeys || line.size() > kMaxRequestBytes) {
      return Error{ErrorKind::kLimit,
                   fmt::format("keys {}: more than {} bytes, {} keys, or a key above {} bytes", argument,
                               kMaxKeyFileBytes, kMaxKeys, kMaxRequestBytes)};
    }
    keys.longest_ = std::max(keys.longest_, line.size());
    keys.texts_.push_back(std::move(line));
  }
  if (keys.texts_.empty()) return invalid(fmt::format("keys {}: the file has no key", argument));
  return keys;
}

std::size_t KeySet::write(std::size_t index, char* to) const {
  if (texts_.empty()) {
    const auto [end, error] = std::to_chars(to, to + longest_, first_ + index);
    RINGSIDE_ASSERT(error == std::errc());
    return static_cast<std::size_t>(end - to);
  }
  const std::string& text = texts_[index];
  return text.copy(to, text.size());
}

Result<Url> parse_url(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) return invalid(fmt::format("url {}: must begin with http://", text));
  const std::string_view rest = text.substr(kScheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  Url url;
  url.authority = rest.substr(0, slash);
  url.path = slash == rest.size() ? "/" : std::string(rest.substr(slash));
  const std::size_t colon = std::min(url.authority.find(':'), url.authority.size());
  std::string host = url.authority.substr(0, colon);
  if (host == "localhost") host = "127.0.0.1";
  std::uint64_t port = 80;
  if (colon != url.authority.size() &&
      (!parse_u64(std::string_view(url.authority).substr(colon + 1), port) || port == 0 || port > 65535)) {
    return invalid(fmt::format("url {}: the port must be 1 to 65535", text));
  }
  url.address.sin_family = AF_INET;
  url.address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::inet_pton(AF_INET, host.c_str(), &url.address.sin_addr) != 1) {
    return invalid(fmt::format("url {}: the host must be an IPv4 address or localhost", text));
  }
  if (!is_visible_ascii(url.path)) return invalid(fmt::format("url {}: percent-encode the path", text));
  return url;
}

Result<int> Endpoint::connect() const {
  const int family = unix_path.empty() ? AF_INET : AF_UNIX;
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{ErrorKind::kIo, fmt::format("socket: {}", errno_text(errno))};
  int result = 0;
  if (unix_path.empty()) {
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    result = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&tcp), sizeof tcp);
  } else {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (unix_path.size() >= sizeof address.sun_path) {
      return invalid(
          fmt::format("unix socket {}: longer than {} bytes", unix_path, sizeof address.sun_path - 1));
    }
    std::memcpy(address.sun_path, unix_path.data(), unix_path.size());
    result = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  if (result != 0) {
    return Error{ErrorKind::kUnavailable, fmt::format("connect to {}: {} (is the server running and ready?)",
                                                      name(), errno_text(errno))};
  }
  return fd.release();
}

std::string Endpoint::name() const {
  if (!unix_path.empty()) return unix_path;
  char host[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &tcp.sin_addr, host, sizeof host);
  return fmt::format("{}:{}", host, ntohs(tcp.sin_port));
}

Result<RequestPlan> RequestPlan::make(std::string_view url_text, const std::vector<std::string>& headers,
                                      KeySet keys, const std::string& unix_path) {
  RINGSIDE_ASSIGN(const Url url, parse_url(url_text));
  constexpr std::string_view kPlace = "{key}";
  RequestPlan plan;
  plan.endpoint_.tcp = url.address;
  plan.endpoint_.unix_path = unix_path;
  const std::size_t place = url.path.find(kPlace);
  plan.has_key_ = place != std::string::npos;
  const std::string path_after = plan.has_key_ ? url.path.substr(place + kPlace.size()) : "";
  plan.before_ = "GET " + url.path.substr(0, place);
  plan.after_ = path_after + " HTTP/1.1\r\nHost: " + url.authority + "\r\n";
  for (const std::string& header : headers) {
    if (header.find(':') == std::string::npos || header.find_first_of("\r\n") != std::string::npos) {
      return invalid(fmt::format("header \"{}\": must be one line, Name: value", header));
    }
    plan.after_ += header + "\r\n";
  }
  plan.after_ += "\r\n";
  plan.keys_ = std::move(keys);
  if (plan.longest_request() > kMaxRequestBytes) {
    return Error{ErrorKind::kLimit, fmt::format("the request has {} bytes; at most {} are sent",
                                                plan.longest_request(), kMaxRequestBytes)};
  }
  return plan;
}

std::size_t RequestPlan::write(std::size_t index, char* to) const {
  char* at = to;
  std::memcpy(at, before_.data(), before_.size());
  at += before_.size();
  if (has_key_) at += keys_.write(index, at);
  std::memcpy(at, after_.data(), after_.size());
  return static_cast<std::size_t>(at - to) + after_.size();
}

}  // namespace ringside::bench
