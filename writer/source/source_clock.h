// How the source's clock stands to this host's CLOCK_MONOTONIC: asked a few times, and the quickest answer believed, since it leaves the
// least time in which the server may have looked at its clock.
//
// What is measured holds for its moment. Clocks of two hosts that nobody keeps together drift apart afterwards, and a
// source whose clock is set goes wrong at once: every duration between the two is wrong by as much until it is measured
// again, when the writer connects or finds that this host's clock was set. Run an NTP client on both.
//
// Threads: the connection's.   Ownership: borrows the connection.
// Errors: those of the query. An answer that is no time: an unmeasured clock (error_us 0).
// Limits: kClockQuestions round trips.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "shm/layout.h"
#include "writer/source/connection.h"

namespace ringside::writer {

inline constexpr unsigned kClockQuestions = 5;

// One question: when it was sent and answered, by CLOCK_MONOTONIC, and what the source said (since 1970), all in µs.
struct ClockAnswer {
  std::uint64_t sent_us = 0;
  std::uint64_t received_us = 0;
  std::uint64_t source_us = 0;
};
// Takes the answer's offset if it is surer than what `clock` has.
void refine(shm::SourceClock& clock, const ClockAnswer& answer);

Result<shm::SourceClock> measure_source_clock(Connection& connection);

// CLOCK_MONOTONIC up to which the source is known to have had nothing newer than a transaction that it says it committed at
// `commit_us`, of which an event was received at `received_ns`: until its commit, since later ones stand behind it. When it
// was committed just now and nothing behind it has arrived (`is_last`), until it was received. Without a clock or a commit
// time nothing can be told, and it is taken for the newest. 0: before this host's boot.
std::uint64_t current_as_of(const shm::SourceClock& clock, std::uint64_t commit_us, std::uint64_t received_ns,
                            bool is_last);

}  // namespace ringside::writer
