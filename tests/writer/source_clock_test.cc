// The source's clock, as estimated from questions and answers.
#include "writer/source/source_clock.h"

#include <gtest/gtest.h>

namespace ringside::writer {
namespace {

TEST(SourceClock, AnAnswerIsTakenForTheMiddleOfItsRoundTrip) {
  shm::SourceClock clock;
  refine(clock, {1'000'000, 1'000'200, 1'000'100});
  EXPECT_EQ(clock.offset_us, 0);
  EXPECT_EQ(clock.error_us, 101u);
  shm::SourceClock ahead;
  refine(ahead, {1'000'000, 1'000'200, 4'000'100});
  EXPECT_EQ(ahead.offset_us, 3'000'000);
  shm::SourceClock behind;
  refine(behind, {9'000'000, 9'000'200, 4'000'100});
  EXPECT_EQ(behind.offset_us, -5'000'000);
}

// What waits behind it in the stream, or in the server's binlog, is newer.
TEST(SourceClock, AnOldTransactionDoesNotProveThatThereIsNothingNewer) {
  shm::SourceClock clock;
  clock.offset_us = 1'700'000'000'000'000;
  clock.error_us = 50;
  constexpr std::uint64_t kHourNs = 3'600'000'000'000;
  constexpr std::uint64_t kNow = 5 * kHourNs;
  const auto commit_us = [&](std::uint64_t ns) { return 1'700'000'000'000'000 + ns / 1000; };
  EXPECT_EQ(current_as_of(clock, commit_us(kNow - kHourNs), kNow, false), kNow - kHourNs);
  EXPECT_EQ(current_as_of(clock, commit_us(kNow - kHourNs), kNow, true), kNow - kHourNs)
      << "the server may be slower to send than we are to read";
  EXPECT_EQ(current_as_of(clock, commit_us(0) - kHourNs / 1000, kNow, true), 0u) << "before the boot";
  EXPECT_EQ(current_as_of(clock, commit_us(kNow - 5'000'000), kNow, true), kNow) << "the newest there is";
  EXPECT_EQ(current_as_of(clock, commit_us(kNow - 5'000'000), kNow, false), kNow - 5'000'000);
  EXPECT_EQ(current_as_of(clock, commit_us(kNow + 5'000'000), kNow, false), kNow) << "its clock is ahead";
  // MariaDB's commit times are whole seconds.
  EXPECT_EQ(current_as_of(clock, commit_us(kNow - 1'900'000'000), kNow, true), kNow - 1'900'000'000);
  clock.commit_time_resolution_us = 1'000'000;
  EXPECT_EQ(current_as_of(clock, commit_us(kNow - 1'900'000'000), kNow, true), kNow);
  EXPECT_EQ(current_as_of(clock, 0, kNow, true), kNow) << "unknown";
  EXPECT_EQ(current_as_of(shm::SourceClock{}, commit_us(kNow - kHourNs), kNow, true), kNow) << "unmeasured";
}

TEST(SourceClock, TheQuickestAnswerIsBelieved) {
  shm::SourceClock clock;
  refine(clock, {1'000'000, 1'010'000, 1'009'900});
  EXPECT_EQ(clock.offset_us, 4'900);
  refine(clock, {2'000'000, 2'000'100, 2'000'060});
  EXPECT_EQ(clock.offset_us, 10);
  EXPECT_EQ(clock.error_us, 51u);
  refine(clock, {3'000'000, 3'020'000, 3'000'000});
  EXPECT_EQ(clock.offset_us, 10) << "a slow answer says less";
  // The true offset is within the error of every estimate, wherever in the round trip the server looked.
  for (std::uint64_t looked_us = 0; looked_us <= 1000; looked_us += 50) {
    constexpr std::int64_t kTrue = -777;
    shm::SourceClock estimate;
    refine(estimate, {5'000'000, 5'001'000, 5'000'000 + looked_us - 777});
    EXPECT_LE(std::abs(estimate.offset_us - kTrue), static_cast<std::int64_t>(estimate.error_us))
        << looked_us;
  }
}

}  // namespace
}  // namespace ringside::writer
