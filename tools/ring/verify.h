// The subcommand `verify`: every checksum and every contradiction that can be seen from outside, from the header to the last
// committed record.
//
//   header      identity; words that stand twice
//   slots       each entry's check; no two segments on one slot or position
//   catalogue   both halves
//   log         each record's checksum and parts; the order of positions, versions and GTIDs; that segment ends name what
//               follows; that it ends at the committed position
//   readers     size, magic, epoch, FIFO; words that stand twice
//
// Looks at a ring that is being written, without a reader slot: what changes underneath is counted and passed over.
//
// Threads: one.   Ownership: none.   Errors: none of its own: whatever is wrong is a finding.
// Limits: keeps the first kMaxFindings, counts all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/ring/report.h"
#include "tools/ring/ring_view.h"

namespace ringside::tools {

inline constexpr std::size_t kMaxFindings = 1000;

struct Finding {
  std::string file;  // in the epoch's directory
  std::string what;
  std::optional<std::uint64_t> slot;
  std::optional<std::uint64_t> offset;    // in the file
  std::optional<std::uint64_t> position;  // in the log
};

struct Verification {
  std::vector<Finding> findings;
  std::uint64_t finding_count = 0;
  std::vector<std::string> remarks;  // what is odd and does no harm
  std::uint64_t committed = 0;
  std::uint64_t segments = 0;
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;
  std::uint64_t changed = 0;  // segments freed or reused while they were looked at
  std::uint64_t readers = 0;  // reader files that somebody has

  void add(Finding finding);
  bool is_clean() const { return finding_count == 0; }
};

// `hold` may be null.
Verification verify_ring(const RingView& ring, Hold* hold);
// Of a ring that cannot even be opened because it contradicts itself.
Verification verification_of(const Error& error);
Report verify_report(const RingName& name, const Verification& verification);

}  // namespace ringside::tools
