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

std::uint64_t current_as_of(const shm::SourceClock& clock, std::uint64_t commit_us, std::uint64_t received_ns,
                            bool is_last) {
  constexpr std::uint64_t kJustNowUs = 1'000'000;
  if (clock.error_us == 0 || commit_us == 0) return received_ns;
  const std::uint64_t received_us = received_ns / 1000;
  const std::int64_t committed_us = static_cast<std::int64_t>(commit_us) - clock.offset_us;
  if (committed_us <= 0) return 0;
  const auto since_boot_us = static_cast<std::uint64_t>(committed_us);
  if (since_boot_us >= received_us) return received_ns;
  const std::uint64_t just_now_us = kJustNowUs + clock.commit_time_resolution_us + clock.error_us;
  return is_last && received_us - since_boot_us <= just_now_us ? received_ns : since_boot_us * 1000;
}

}  // namespace ringside::writer
