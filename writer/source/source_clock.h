// How the source's clock stands to this host's: asked a few times, and the quickest answer believed, since it leaves the
// least time in which the server may have looked at its clock.
//
// What is measured holds for the moment of connecting. Clocks of two hosts that nobody keeps together drift apart
// afterwards, and every duration between them is wrong by as much: run an NTP client on both.
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

// One question: when it was sent and answered, by CLOCK_REALTIME, and what the source said, all in µs since 1970.
struct ClockAnswer {
  std::uint64_t sent_us = 0;
  std::uint64_t received_us = 0;
  std::uint64_t source_us = 0;
};
// Takes the answer's offset if it is surer than what `clock` has.
void refine(shm::SourceClock& clock, const ClockAnswer& answer);

Result<shm::SourceClock> measure_source_clock(Connection& connection);

}  // namespace ringside::writer
