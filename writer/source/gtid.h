// GTIDs: parse, print, and the version that follows from them.
//
// MariaDB: one number per domain, "domain-server-sequence"; a position is a list of them, "0-1-42,1-1-7". The
// version of a transaction is its sequence number, which is why there must be one domain only (checks.h).
// MySQL: sets of intervals per server UUID and optional tag, "uuid:1-5:7,uuid:tag:1-3". The version is the
// number of transactions in the executed set.
//
// Threads: values and pure functions.   Ownership: owns all it holds.
// Errors: kInvalid with the text that was not understood; kLimit beyond the limits below.
// Limits: a text has at most kMaxGtidText bytes; kMaxGtidDomains domains.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace ringside::writer {

inline constexpr std::size_t kMaxGtidText = std::size_t{1} << 20;
inline constexpr std::size_t kMaxGtidDomains = 1024;

struct MariaDbGtid {
  std::uint32_t domain = 0;
  std::uint32_t server_id = 0;
  std::uint64_t sequence = 0;

  Version version() const { return Version{sequence}; }
  friend bool operator==(const MariaDbGtid&, const MariaDbGtid&) = default;
};

std::string to_string(const MariaDbGtid& gtid);
Result<MariaDbGtid> parse_mariadb_gtid(std::string_view text);
// "" is the empty list: before the first transaction. A gtid_binlog_state may name a domain several times
// (once for each server that wrote in it); a position names it once. Neither is checked here.
Result<std::vector<MariaDbGtid>> parse_mariadb_gtid_list(std::string_view text);

// A MySQL GTID set. Intervals of one source are kept in order, disjoint and not touching, so that two equal
// sets have equal members and equal text.
class MysqlGtidSet {
 public:
  using Uuid = std::array<std::uint8_t, 16>;
  struct Source {
    Uuid uuid{};
    std::string tag;  // lower case; empty: none
    friend auto operator<=>(const Source&, const Source&) = default;
  };
  struct Interval {
    std::uint64_t first = 0;
    std::uint64_t end = 0;  // exclusive
    friend bool operator==(const Interval&, const Interval&) = default;
  };

  // Whitespace and line ends between the parts are allowed, as the server prints them.
  static Result<MysqlGtidSet> parse(std::string_view text);
  static Result<Uuid> parse_uuid(std::string_view text);

  // [first, end) of the source. Preconditions: 0 < first < end.
  void add(const Source& source, Interval interval);
  bool contains(const Source& source, std::uint64_t number) const;
  bool is_empty() const { return sources_.empty(); }
  bool has_tags() const;
  // How many transactions the set holds; saturates at the largest number.
  std::uint64_t count() const;
  Version version() const { return Version{count()}; }
  std::string to_string() const;
  // The form COM_BINLOG_DUMP_GTID carries. kUnsupported when a GTID has a tag.
  Result<std::string> wire_form() const;

  friend bool operator==(const MysqlGtidSet&, const MysqlGtidSet&) = default;

 private:
  std::map<Source, std::vector<Interval>> sources_;
};

}  // namespace ringside::writer
