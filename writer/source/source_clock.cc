#include "writer/source/source_clock.h"

#include <charconv>

#include "base/clock.h"

namespace ringside::writer {

void refine(shm::SourceClock& clock, const ClockAnswer& answer) {
  const std::uint64_t trip_us = answer.received_us - answer.sent_us;
  const std::uint64_t error_us = trip_us / 2 + 1;
  if (clock.error_us != 0 && clock.error_us <= error_us) return;
  clock.error_us = error_us;
  clock.offset_us = static_cast<std::int64_t>(answer.source_us - (answer.sent_us + trip_us / 2));
}

Result<shm::SourceClock> measure_source_clock(Connection& connection) {
  shm::SourceClock clock;
  // When a commit was: MySQL's GTID events say it in microseconds, MariaDB's event headers in seconds.
  clock.commit_time_resolution_us = connection.server().flavour == Flavour::kMySql ? 1 : 1'000'000;
  for (unsigned i = 0; i < kClockQuestions; ++i) {
    ClockAnswer answer;
    answer.sent_us = monotonic_ns() / 1000;
    RINGSIDE_ASSIGN(const SqlRow row,
                    connection.query_row("SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS UNSIGNED)"));
    answer.received_us = monotonic_ns() / 1000;
    const std::string text = row[0].value_or("");
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), answer.source_us);
    if (error == std::errc() && end == text.data() + text.size()) refine(clock, answer);
  }
  return clock;
}

}  // namespace ringside::writer
