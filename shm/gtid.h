// GTIDs: parse, print, and the version that follows from them.
//
// MariaDB: one number per domain, "domain-server-sequence"; a position is a list of them, "0-1-42,1-1-7". The
// version of a transaction is its sequence number, which is why there must be one domain only.
// MySQL: sets of intervals per server UUID and optional tag, "uuid:1-5:7,uuid:tag:1-3". The version is the
// number of transactions in the executed set; a transaction's own GTID is a set of one, "uuid:5", "uuid:tag:5".
//
// Threads: values and pure functions.   Ownership: owns all it holds; GtidSetReader views its text.
// Errors: kInvalid with the text that was not understood; kLimit beyond the limits below.
// Limits: a text has at most kMaxGtidText bytes; kMaxGtidDomains domains.
// Allocation: none in GtidSetReader, contains(), and an add() that prolongs an interval.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace ringside::shm {

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
// Exactly three decimal numbers with '-' between. False: it is none.
bool read_mariadb_gtid(std::string_view text, MariaDbGtid& gtid);
Result<MariaDbGtid> parse_mariadb_gtid(std::string_view text);
// "" is the empty list: before the first transaction. A gtid_binlog_state may name a domain several times
// (once for each server that wrote in it); a position names it once. Neither is checked here.
Result<std::vector<MariaDbGtid>> parse_mariadb_gtid_list(std::string_view text);

// A tag: up to 32 letters, digits and underscores, in lower case. Holds them in place.
class GtidTag {
 public:
  static constexpr std::size_t kMaxBytes = 32;

  GtidTag() = default;
  // Folds to lower case, as the server does. False, and the tag empty, when the text is no tag.
  bool assign(std::string_view text);
  std::string_view view() const { return {text_.data(), size_}; }
  bool empty() const { return size_ == 0; }
  friend auto operator<=>(const GtidTag& a, const GtidTag& b) { return a.view() <=> b.view(); }
  friend bool operator==(const GtidTag& a, const GtidTag& b) { return a.view() == b.view(); }

 private:
  std::array<char, kMaxBytes> text_{};
  std::uint8_t size_ = 0;
};

// A MySQL GTID set. Intervals of one source are kept in order, disjoint and not touching, so that two equal
// sets have equal members and equal text.
class MysqlGtidSet {
 public:
  using Uuid = std::array<std::uint8_t, 16>;
  struct Source {
    Uuid uuid{};
    GtidTag tag;  // empty: none
    friend auto operator<=>(const Source&, const Source&) = default;
  };
  struct Interval {
    std::uint64_t first = 0;
    std::uint64_t end = 0;  // exclusive
    friend bool operator==(const Interval&, const Interval&) = default;
  };
  // The server's largest number is below it.
  static constexpr std::uint64_t kMaxNumber = std::uint64_t{1} << 63;

  // Whitespace and line ends between the parts are allowed, as the server prints them.
  static Result<MysqlGtidSet> parse(std::string_view text);
  static Result<Uuid> parse_uuid(std::string_view text);

  // [first, end) of the source. Preconditions: 0 < first < end.
  void add(const Source& source, Interval interval);
  void add(const MysqlGtidSet& other);
  // Precondition: as add(). What is not in the set stays out of it.
  void remove(const Source& source, Interval interval);
  void remove(const MysqlGtidSet& other);

  bool contains(const Source& source, std::uint64_t number) const;
  // All of [first, end). Precondition: as add().
  bool contains(const Source& source, Interval interval) const;
  bool contains(const MysqlGtidSet& other) const;
  // How many of [first, end) the set does not hold. Precondition: as add().
  std::uint64_t missing(const Source& source, Interval interval) const;
  bool is_empty() const { return sources_.empty(); }
  bool has_tags() const;
  const std::map<Source, std::vector<Interval>>& sources() const { return sources_; }
  // How many transactions the set holds; saturates at the largest number.
  std::uint64_t count() const;
  Version version() const { return Version{count()}; }
  std::string to_string() const;

  friend bool operator==(const MysqlGtidSet&, const MysqlGtidSet&) = default;

 private:
  std::map<Source, std::vector<Interval>> sources_;  // no empty vectors
};

// "uuid:5", "uuid:tag:5".
std::string to_string(const MysqlGtidSet::Source& source, std::uint64_t number);

// Reads the text of a MySQL GTID set interval by interval:
//
//   GtidSetReader reader(text);
//   while (reader.next(source, interval)) …
//   if (reader.has_failed()) …
class GtidSetReader {
 public:
  explicit GtidSetReader(std::string_view text) : rest_(text) {}

  // False at the end, and from the first thing on that was not understood.
  bool next(MysqlGtidSet::Source& source, MysqlGtidSet::Interval& interval);
  bool has_failed() const { return !why_.empty(); }
  std::string_view why() const { return why_; }      // lives for ever
  std::string_view where() const { return where_; }  // of the text

 private:
  bool fail(std::string_view why, std::string_view where);

  std::string_view rest_;   // entries to come
  std::string_view entry_;  // what is left of the one at hand
  std::string_view why_;
  std::string_view where_;
  MysqlGtidSet::Source source_;
  bool needs_interval_ = false;  // the source or tag named last has none yet
};

// What had been executed up to one point of the log, as its checkpoints and commits tell it: for MariaDB the newest
// GTID of its one domain, for MySQL a set.
//
//   checkpoint: assign(whole)    commit: add(its own GTID), add(what was executed together with it)
//
// A text that names UUIDs is MySQL's; any other one is kept as it is.
class ExecutedGtids {
 public:
  // False, and nothing changed: a MySQL set that cannot be read.
  bool assign(std::string_view text);
  // False, and nothing changed: as assign(), or of another kind than what is here. "" adds nothing.
  bool add(std::string_view text);

  bool is_mysql() const { return !set_.is_empty(); }
  const MysqlGtidSet& set() const { return set_; }  // MySQL
  // As a checkpoint says it; stands until the next change.
  const std::string& text() const;

 private:
  MysqlGtidSet set_;
  mutable std::string text_;
  mutable bool is_text_old_ = false;  // MySQL: the text is made when it is asked for
};

}  // namespace ringside::shm
