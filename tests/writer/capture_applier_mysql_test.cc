// The applier fed as MySQL does it: GTID sets of several servers and tags, what ends a transaction, XA, resuming.
#include "tests/writer/capture_applier_fixture.h"
#include "writer/capture/resume_point.h"

namespace ringside::writer {
namespace {

using testing::ApplierFixture;
using testing::CaptureMirror;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MysqlEventMaker;

class MysqlApplier : public ApplierFixture {
 protected:
  // Ten transactions were executed before the snapshot.
  void SetUp() override {
    open({});
    resume(false);
  }
  shm::Commit first_commit() override {
    shm::Commit commit;
    commit.executed = before_;
    return commit;
  }

  // The server's binlog: what was sent before comes again as far as it is asked for.
  void commit(const std::string& gtid, const std::vector<std::string>& events) {
    log_.emplace_back(gtid, events);
    expect_applied(events);
  }
  void insert(std::uint64_t number, std::string_view table, const std::vector<MysqlEventMaker::Row>& rows) {
    commit(mysql_.name(number), mysql_.insertion(number, table, rows));
  }
  void elsewhere(std::uint64_t number) {
    mysql_.schema = "elsewhere";
    insert(number, "x", {{number, "x"}});
    mysql_.schema = "shop";
  }
  // As after a lost connection: at the right place, and then all that the position does not have.
  Outcome resume(bool may_guess = true) {
    const auto point = resume_point(writer_->last_commit(), writer_->executed(), may_guess, mysql_.uuid());
    EXPECT_TRUE(point);
    applier_->expect(point->expected);
    if (const Outcome outcome = apply(mysql_.format()); outcome != Outcome::kGoOn) return outcome;
    const auto position = shm::MysqlGtidSet::parse(point->position);
    EXPECT_TRUE(position);
    for (const auto& [gtid, events] : log_) {
      if (position->contains(*shm::MysqlGtidSet::parse(gtid))) continue;
      if (const Outcome outcome = apply(events); outcome != Outcome::kGoOn) return outcome;
    }
    return Outcome::kGoOn;
  }
  void restart_writer() {
    applier_.reset();
    writer_.close();
    ASSERT_TRUE(writer_.open());
    ASSERT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
    make_applier();
  }
  Outcome set_pending_at(const std::string& position, std::vector<TableId> live) {
    PendingSwitch pending;
    pending.position = position;
    pending.at = shm::MysqlGtidSet::parse(position)->version();
    pending.live = std::move(live);
    return applier_->set_pending(std::move(pending));
  }

  MysqlEventMaker mysql_;
  const std::string a_ = MysqlEventMaker().uuid();
  const std::string b_ = "3e11fa47-71ca-11e1-9e33-000000000002";
  const std::string before_ = a_ + ":1-10";
  std::vector<std::pair<std::string, std::vector<std::string>>> log_;
};

// --- versions

TEST_F(MysqlApplier, TheVersionIsTheSizeOfTheExecutedSet) {
  insert(11, "items", {{1, "one"}});
  mysql_.uuid_end = 2;  // promoted: transactions go on under another server's name
  insert(1, "items", {{2, "two"}});
  mysql_.tag = "blue";
  insert(300, "items", {{3, "three"}});
  mysql_.tag.clear();
  mysql_.uuid_end = 1;
  insert(15, "items", {{4, "four"}});  // with a gap before it
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.versions, ElementsAre(10, 11, 12, 13, 14));
  EXPECT_EQ(seen.gtid, a_ + ":1-11:15," + b_ + ":1:blue:300");
  EXPECT_EQ(writer_->last_commit().gtid, a_ + ":15");
  EXPECT_EQ(applier_->newest(), Version(14));
  EXPECT_EQ(seen.lines("items").size(), 4u);
}

TEST_F(MysqlApplier, TheCommitTimeIsTheGtidEventsToTheMicrosecond) {
  elsewhere(11);
  EXPECT_EQ(applier_->source_time_us(), mysql_.commit_time_us);
  mysql_.tag = "blue";  // as made here, without a time: the event's own second counts
  elsewhere(1);
  EXPECT_EQ(applier_->source_time_us(), std::uint64_t{mysql_.timestamp} * 1'000'000);
}

TEST_F(MysqlApplier, VersionsWithoutChangesArePublishedAsOneWithAllTheirGtids) {
  for (std::uint64_t n = 11; n <= 13; ++n) elsewhere(n);
  mysql_.uuid_end = 2;
  elsewhere(7);
  mysql_.uuid_end = 1;
  EXPECT_TRUE(applier_->has_put_off());
  EXPECT_THAT(mirror().versions, ElementsAre(10));
  ASSERT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_THAT(mirror().versions, ElementsAre(10, 14));
  EXPECT_EQ(mirror().gtid, a_ + ":1-13," + b_ + ":7");
  elsewhere(14);
  elsewhere(16);
  insert(17, "items", {{1, "one"}});
  EXPECT_THAT(mirror().versions, ElementsAre(10, 14, 17));
  EXPECT_EQ(mirror().gtid, a_ + ":1-14:16-17," + b_ + ":7");
  elsewhere(18);  // one alone
  ASSERT_EQ(applier_->flush(), Outcome::kGoOn);
  restart_writer();
  EXPECT_EQ(writer_->executed().text(), a_ + ":1-14:16-18," + b_ + ":7");
  EXPECT_EQ(resume(), Outcome::kGoOn) << applier_->reason();
  EXPECT_FALSE(applier_->is_expecting());
  insert(19, "items", {{2, "two"}});
  EXPECT_THAT(mirror().versions, ElementsAre(10, 14, 17, 18, 19));
}

TEST_F(MysqlApplier, MarkersAreReportedWithTheTransactionsOwnGtid) {
  const std::string id = "0123456789abcdef";
  commit(mysql_.name(11),
         {mysql_.gtid(11), mysql_.begin(), mysql_.marker_map(8), mysql_.marker_row(8, id), mysql_.xid()});
  EXPECT_THAT(markers_, ElementsAre(id + "@11=" + a_ + ":11"));
}

// --- what ends a transaction

TEST_F(MysqlApplier, AStatementInPlaceOfBeginIsAllOfItsTransaction) {
  commit(mysql_.name(11), mysql_.ddl(11, "TRUNCATE TABLE items"));
  EXPECT_FALSE(applier_->is_inside_transaction());
  EXPECT_THAT(applier_->take_reloads().names, ElementsAre("items"));
  commit(mysql_.name(12), mysql_.ddl(12, "CREATE USER somebody"));
  insert(13, "notes", {{1, "one"}});
  EXPECT_THAT(mirror().versions, ElementsAre(10, 11, 13));
  EXPECT_EQ(mirror().gtid, a_ + ":1-13");
}

TEST_F(MysqlApplier, ATransactionMayEndWithCommitOrRollbackInWords) {
  commit(mysql_.name(11), {mysql_.gtid(11), mysql_.begin(), mysql_.map(7, "items"),
                           mysql_.write(7, {{1, "one"}}), mysql_.query("COMMIT")});
  commit(mysql_.name(12), {mysql_.gtid(12), mysql_.begin(), mysql_.map(7, "items"),
                           mysql_.update(7, {{1, "one"}, {1, "uno"}}), mysql_.query("ROLLBACK")});
  commit(mysql_.name(13),
         {mysql_.gtid(13), mysql_.begin(), mysql_.query("COMMIT")});  // an injected empty one
  ASSERT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\""));
  EXPECT_EQ(mirror().version, 13u);
}

TEST_F(MysqlApplier, TablesOfAnXaTransactionAreRefusedUntilItIsDecided) {
  const std::string xid = "order-7";
  const std::vector<std::string> prepare = {mysql_.gtid(11),        mysql_.xid_start(xid),
                                            mysql_.map(7, "items"), mysql_.write(7, {{1, "one"}}),
                                            mysql_.xa_end(xid),     mysql_.xa_prepare(xid)};
  commit(mysql_.name(11), prepare);
  EXPECT_FALSE(applier_->is_inside_transaction());
  EXPECT_THAT(lines("items"), ElementsAre("not served"));
  EXPECT_FALSE(applier_->has_reloads());
  insert(12, "notes", {{1, "one"}});
  commit(mysql_.name(13), mysql_.ddl(13, "XA COMMIT " + MysqlEventMaker::xa_name("another")));
  EXPECT_TRUE(applier_->take_reloads().all) << "of unknown contents";
  commit(mysql_.name(14), mysql_.ddl(14, "XA ROLLBACK " + MysqlEventMaker::xa_name(xid)));
  EXPECT_THAT(applier_->take_reloads().names, ElementsAre("items"));
}

// --- resuming

TEST_F(MysqlApplier, TheLastTransactionComesAgainAndMustBeTheSame) {
  insert(11, "items", {{1, "one"}});
  mysql_.uuid_end = 2;
  insert(5, "items", {{2, "two"}});
  mysql_.uuid_end = 1;
  for (const bool is_new_process : {false, true}) {
    if (is_new_process) restart_writer();
    EXPECT_EQ(resume(), Outcome::kGoOn) << applier_->reason();
    EXPECT_FALSE(applier_->is_expecting());
    EXPECT_THAT(mirror().versions, ElementsAre(10, 11, 12));
  }
  const auto same = log_;
  log_.back().second = mysql_.insertion(5, "items", {{2, "zwei"}});
  log_.back().second.front() = same.back().second.front();
  EXPECT_EQ(resume(), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr(b_ + ":5 is not the one that the ring holds"));
  // A server that does not have it, and goes on.
  log_ = same;
  log_.back() = {b_ + ":6", mysql_.insertion(12, "items", {{3, "three"}})};
  EXPECT_EQ(resume(), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("where " + b_ + ":5 had to come again"));
}

TEST_F(MysqlApplier, WhatWasPutOffComesAgain) {
  insert(11, "items", {{1, "one"}});
  elsewhere(12);
  elsewhere(13);
  EXPECT_EQ(resume(), Outcome::kGoOn) << applier_->reason();
  EXPECT_EQ(applier_->newest(), Version(13));
  ASSERT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_EQ(mirror().gtid, a_ + ":1-13");
  EXPECT_THAT(mirror().versions, ElementsAre(10, 11, 13));
}

TEST_F(MysqlApplier, TheChecksumOfASnapshotsTransactionIsLearnt) {
  log_.emplace_back(a_ + ":10", mysql_.insertion(10, "items", {{9, "nine"}}));
  EXPECT_EQ(resume(), Outcome::kGoOn) << applier_->reason();
  EXPECT_EQ(writer_->last_commit().gtid, a_ + ":10");
  EXPECT_NE(writer_->last_commit().events_checksum, 0u);
  EXPECT_EQ(writer_->executed().text(), before_);
  EXPECT_THAT(lines("items"), IsEmpty()) << "the snapshot has it, or the table was not there";
  restart_writer();
  EXPECT_EQ(resume(), Outcome::kGoOn) << applier_->reason();
  restart_writer();
  log_.front().second = mysql_.insertion(10, "items", {{9, "neun"}});
  EXPECT_EQ(resume(), Outcome::kLostHistory);
}

TEST_F(MysqlApplier, ATransactionThatTheRingHasAlreadyIsALostHistory) {
  insert(11, "items", {{1, "one"}});
  EXPECT_EQ(apply(mysql_.gtid(3)), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("RESET BINARY LOGS AND GTIDS"));
  EXPECT_EQ(resume(), Outcome::kGoOn) << applier_->reason();
  elsewhere(12);
  EXPECT_EQ(apply(mysql_.gtid(12)), Outcome::kLostHistory) << "put off, and not forgotten";
}

TEST_F(MysqlApplier, AMariaDbSourceCannotGoOnFromIt) {
  EXPECT_EQ(apply(make_.gtid(11)), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("another server"));
}

TEST_F(MysqlApplier, ATransactionWithoutAGtidNamesTheSetting) {
  EXPECT_EQ(apply(mysql_.event(34, std::string(42, '\0'))), Outcome::kFailed);
  EXPECT_THAT(applier_->reason(), HasSubstr("gtid_mode"));
}

TEST_F(MysqlApplier, AnImpossibleGtidIsRefused) {
  EXPECT_EQ(apply(mysql_.gtid(std::uint64_t{1} << 63)), Outcome::kLater) << "damaged";
  EXPECT_FALSE(applier_->is_inside_transaction());
}

// --- tables loaded beside the stream

TEST_F(MysqlApplier, ALoadTakesEffectWhereItsSetIsReached) {
  const TableId id = load("items", 12, {{1, "loaded"}});
  ASSERT_EQ(set_pending_at(a_ + ":1-11," + b_ + ":1", {id}), Outcome::kGoOn);
  insert(11, "notes", {{1, "one"}});
  EXPECT_TRUE(applier_->has_pending());
  mysql_.uuid_end = 2;
  elsewhere(1);
  mysql_.uuid_end = 1;
  EXPECT_FALSE(applier_->has_pending());
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"loaded\""));
  EXPECT_EQ(mirror().version, 12u);
}

TEST_F(MysqlApplier, ALoadOfWhatIsThereTakesEffectAtOnce) {
  elsewhere(11);
  const TableId id = load("items", 11, {{1, "loaded"}});
  ASSERT_EQ(set_pending_at(a_ + ":1-11", {id}), Outcome::kGoOn) << applier_->reason();
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"loaded\""));
  EXPECT_EQ(writer_->executed().text(), a_ + ":1-11");
}

// As many transactions, but not the same ones: gtid_purged was set by hand, or commits have another order than the binlog.
TEST_F(MysqlApplier, ALoadOfAnotherSetOfThatSizeIsALostHistory) {
  const TableId id = load("items", 12, {{1, "loaded"}});
  ASSERT_EQ(set_pending_at(a_ + ":1-11," + b_ + ":1", {id}), Outcome::kGoOn);
  insert(11, "notes", {{1, "one"}});
  EXPECT_EQ(apply(mysql_.insertion(12, "notes", {{2, "two"}})), Outcome::kLostHistory);
  EXPECT_THAT(lines("items"), IsEmpty());
}

TEST_F(MysqlApplier, ALoadAtAnotherSetThanIsThereIsALostHistory) {
  elsewhere(11);
  const TableId id = load("items", 11, {{1, "loaded"}});
  EXPECT_EQ(set_pending_at(a_ + ":1-10," + b_ + ":1", {id}), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("gtid_purged"));
  EXPECT_THAT(lines("items"), IsEmpty());
}

}  // namespace
}  // namespace ringside::writer
