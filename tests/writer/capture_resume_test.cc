// Where a stream goes on from, and what a server's account of its GTIDs says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "writer/capture/resume_point.h"

namespace ringside::writer {
namespace {

using ::testing::HasSubstr;

const std::string kA = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const std::string kB = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

shm::ExecutedGtids executed(const std::string& text) {
  shm::ExecutedGtids gtids;
  EXPECT_TRUE(gtids.assign(text));
  return gtids;
}

shm::LastCommit last(const std::string& gtid, const std::string& before, std::uint64_t checksum) {
  return {Version(9), gtid, checksum, before};
}

TEST(ResumePoint, OnMariaDbIsTheTransactionBeforeOrAGuessOfIt) {
  const auto known = resume_point(last("0-1-9", "0-2-7", 5), executed("0-1-9"), true, "");
  EXPECT_EQ(known->position, "0-2-7");
  EXPECT_FALSE(known->is_guessed);
  EXPECT_EQ(known->expected.events_checksum, 5u);
  const auto guessed = resume_point(last("0-1-9", "", 5), executed("0-1-9"), true, "");
  EXPECT_EQ(guessed->position, "0-1-8");
  EXPECT_TRUE(guessed->is_guessed);
  EXPECT_EQ(guessed->expected.events_checksum, 5u);
  for (const bool may_guess : {false, true}) {
    const auto first =
        resume_point(last(may_guess ? "0-1-1" : "0-1-9", "", 5), executed("0-1-9"), may_guess, "");
    EXPECT_EQ(first->position, may_guess ? "0-1-1" : "0-1-9");
    EXPECT_FALSE(first->is_guessed);
    EXPECT_EQ(first->expected.events_checksum, 0u) << "it does not come again";
  }
  EXPECT_FALSE(resume_point(last("x", "", 5), executed("x"), true, ""));
}

TEST(ResumePoint, OnMysqlIsTheSetWithoutTheLastTransaction) {
  const auto set = executed(kA + ":1-9:blue:1-3," + kB + ":5");
  const auto known = resume_point(last(kA + ":blue:3", "", 7), set, true, kA);
  EXPECT_EQ(known->position, kA + ":1-9:blue:1-2," + kB + ":5");
  EXPECT_EQ(known->expected.gtid, kA + ":blue:3");
  EXPECT_EQ(known->expected.events_checksum, 7u);
  EXPECT_FALSE(known->is_guessed);
  EXPECT_EQ(resume_point(last(kB + ":5", "", 7), set, true, kA)->position, kA + ":1-9:blue:1-3")
      << "a source whose only transaction it was";
}

TEST(ResumePoint, OnMysqlASnapshotsLastTransactionIsThoughtToBeTheServersOwnNewest) {
  const auto set = executed(kA + ":1-9:11:blue:1-3," + kB + ":5");
  const auto guessed = resume_point(last("", "", 0), set, true, kA);
  EXPECT_TRUE(guessed->is_guessed);
  EXPECT_EQ(guessed->position, kA + ":1-9:blue:1-3," + kB + ":5");
  EXPECT_EQ(guessed->expected.gtid, kA + ":11");
  EXPECT_EQ(guessed->expected.version, Version(9));
  const std::string stranger = "5e11fa47-71ca-11e1-9e33-c80aa9429562";
  for (const auto& plain :
       {resume_point(last("", "", 0), set, false, kA), resume_point(last("", "", 0), set, true, stranger),
        resume_point(last("", "", 0), set, true, "")}) {
    EXPECT_FALSE(plain->is_guessed);
    EXPECT_EQ(plain->position, set.text());
    EXPECT_EQ(plain->expected.gtid, "") << "nothing is compared";
  }
}

TEST(SourcesHistory, OnMariaDbHasToReachTheRings) {
  EXPECT_EQ(*lost_by_mariadb("0-1-9", "0-2-9"), "");
  EXPECT_EQ(*lost_by_mariadb("0-1-9", "1-1-3,0-2-12"), "");
  EXPECT_THAT(*lost_by_mariadb("0-1-9", "0-1-8"), HasSubstr("lost transactions"));
  EXPECT_THAT(*lost_by_mariadb("0-1-9", ""), HasSubstr("lost transactions"));
  EXPECT_THAT(*lost_by_mariadb("0-1-9", "1-1-12"), HasSubstr("lost transactions"));
  EXPECT_FALSE(lost_by_mariadb(kA + ":1", "0-1-8"));
}

TEST(SourcesHistory, OnMysqlHasToHoldTheRingsSetAndToHavePurgedNoMore) {
  const auto ring = executed(kA + ":1-9:blue:1");
  const auto same = compare_with_mysql(ring, kA + ":1-12:blue:1,\n" + kB + ":1", kA + ":1-9");
  EXPECT_EQ(same->lost, "");
  EXPECT_EQ(same->purged, "");
  EXPECT_THAT(compare_with_mysql(ring, kA + ":1-8:blue:1", "")->lost, HasSubstr(kA + ":9 "));
  EXPECT_THAT(compare_with_mysql(ring, "", "")->lost, HasSubstr("RESET BINARY LOGS AND GTIDS"));
  EXPECT_THAT(compare_with_mysql(ring, kA + ":1-12", "")->lost, HasSubstr(kA + ":blue:1 "));
  EXPECT_THAT(compare_with_mysql(ring, kA + ":1-20:blue:1", kA + ":1-15")->purged, HasSubstr(kA + ":10-15,"));
  EXPECT_THAT(compare_with_mysql(executed("0-1-9"), kA + ":1", "")->lost, HasSubstr("0-1-9"));
  EXPECT_THAT(same->missing, HasSubstr(kA + ":10-12,"));
  EXPECT_EQ(compare_with_mysql(ring, kA + ":1-9:blue:1", "")->missing, "");
  EXPECT_FALSE(compare_with_mysql(ring, "x", ""));
  EXPECT_FALSE(compare_with_mysql(ring, "", "x"));
}

}  // namespace
}  // namespace ringside::writer
