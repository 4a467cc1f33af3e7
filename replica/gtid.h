// A MariaDB GTID, "domain-server-sequence", and what a replica remembers of the latest ones.
//
// Threads: values; GtidWindow: one.   Ownership: owns its memory.   Errors: parse_gtid() says false.
// Limits: the window remembers kSize commits.   No allocation after construction.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace ringside::replica {

struct Gtid {
  std::uint32_t domain = 0;
  std::uint32_t server = 0;
  std::uint64_t sequence = 0;
};

// Exactly three decimal numbers with '-' between; nothing before, between or behind.
inline bool parse_gtid(std::string_view text, Gtid& gtid) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](auto& value, bool is_last) {
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc{} || stop == at || (is_last ? stop != end : stop == end || *stop != '-'))
      return false;
    at = stop + (is_last ? 0 : 1);
    return true;
  };
  return number(gtid.domain, false) && number(gtid.server, false) && number(gtid.sequence, true);
}

// Which server wrote each of the latest versions: another one under the same number is another history.
class GtidWindow {
 public:
  static constexpr std::size_t kSize = 65536;

  GtidWindow() : entries_(kSize) {}

  void remember(const Gtid& gtid) {
    latest_ = gtid;
    entries_[gtid.sequence % kSize] = {gtid.sequence, gtid.server};
  }
  // The newest one; sequence 0 before any was seen.
  const Gtid& latest() const { return latest_; }
  // True when this replica applied that sequence number from another server, or follows another domain.
  bool contradicts(const Gtid& gtid) const {
    if (latest_.sequence == 0) return false;
    if (gtid.domain != latest_.domain) return true;
    const Entry& entry = entries_[gtid.sequence % kSize];
    return entry.sequence == gtid.sequence && gtid.sequence != 0 && entry.server != gtid.server;
  }

 private:
  struct Entry {
    std::uint64_t sequence = 0;
    std::uint32_t server = 0;
  };
  std::vector<Entry> entries_;
  Gtid latest_;
};

}  // namespace ringside::replica
