// RequestPlan: what a load run asks: a URL with a place for the key, and the keys to put there.
//
//   http://127.0.0.1:8080/v1/products/{key}      keys 1..63000, or one a line in a file, already
//   percent-encoded
//
// Threads: read-only once made.   Ownership: owns its texts.   Errors: what is wrong with which argument.
// Limits: kMaxRequestBytes a request, kMaxKeys keys, kMaxKeyFileBytes a key file.
#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ringside::bench {

inline constexpr std::size_t kMaxRequestBytes = 4096;
inline constexpr std::size_t kMaxKeys = 100'000'000;
inline constexpr std::size_t kMaxKeyFileBytes = std::size_t{512} << 20;

// The keys of a run: a range of integers, or texts.
class KeySet {
 public:
  // "1..63000", or the path of a file with one key a line (empty lines left out).
  static Result<KeySet> parse(const std::string& argument);

  std::size_t size() const { return texts_.empty() ? count_ : texts_.size(); }
  // Writes key `index` (< size()) at `to`, which has room for it (longest()), and returns its length.
  std::size_t write(std::size_t index, char* to) const;
  std::size_t longest() const { return longest_; }

 private:
  std::uint64_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t longest_ = 0;
  std::vector<std::string> texts_;
};

// Where a server listens: loopback TCP or a unix socket.
struct Endpoint {
  sockaddr_in tcp{};
  std::string unix_path;  // not empty: this, and not `tcp`

  // A connected blocking socket; the caller owns it.
  Result<int> connect() const;
  std::string name() const;
};

class RequestPlan {
 public:
  // `url` as above; `headers` are whole lines without line ends ("Accept: application/json"). `unix_path`, if
  // not empty, is connected to in place of the URL's host and port.
  static Result<RequestPlan> make(std::string_view url, const std::vector<std::string>& headers, KeySet keys,
                                  const std::string& unix_path);

  const Endpoint& endpoint() const { return endpoint_; }
  std::size_t keys() const { return has_key_ ? keys_.size() : 1; }
  std::size_t longest_request() const {
    return before_.size() + (has_key_ ? keys_.longest() : 0) + after_.size();
  }

  // Writes the request for key `index` at `to`, which has longest_request() bytes; returns its length. No
  // allocation.
  std::size_t write(std::size_t index, char* to) const;

 private:
  RequestPlan() = default;

  Endpoint endpoint_;
  KeySet keys_;
  bool has_key_ = false;
  std::string before_;  // the request up to the key
  std::string after_;   // and from behind it
};

// http://HOST[:PORT]/path, HOST an IPv4 address or localhost, taken apart.
struct Url {
  sockaddr_in address{};
  std::string authority;
  std::string path;
};
Result<Url> parse_url(std::string_view text);

}  // namespace ringside::bench
