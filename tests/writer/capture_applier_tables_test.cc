// The applier and tables: what is refused, statements, loads, XA.
#include "tests/writer/capture_applier_fixture.h"

namespace ringside::writer {
namespace {

using testing::ApplierFixture;
using testing::CaptureMirror;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class CaptureApplierTables : public ApplierFixture {};

// --- what is refused

TEST_F(CaptureApplierTables, ARowThatContradictsTheRingRefusesItsTableOnlyAndInThatVersion) {
  expect_applied({make_.gtid(11), make_.map(7, "items"), make_.map(8, "notes"), make_.write(8, {{1, "note"}}),
                  make_.erase(7, {{5, "never was"}}), make_.xid()});
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("notes"), ElementsAre("1\t\"note\""));
  EXPECT_THAT(seen.lines("items"), ElementsAre("not served"));
  EXPECT_THAT(seen.refused_at.at(11), ElementsAre("items"));
  EXPECT_EQ(applier_->counters().quarantines, 1u);
  expect_applied(make_.insertion(12, "items", {{5, "ignored"}}));
  expect_applied(make_.insertion(13, "notes", {{2, "note"}}));
  EXPECT_THAT(lines("notes"), ElementsAre("1\t\"note\"", "2\t\"note\""));
  EXPECT_EQ(applier_->take_reloads().names, Names{"items"});
}

TEST_F(CaptureApplierTables, AMapThatIsNotTheCataloguesRefusesItsTable) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  expect_applied({make_.gtid(12), make_.map(7, "items", "ident"), make_.write(7, {{2, "two"}}), make_.xid()});
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.refused_at.at(12), ElementsAre("items"));
  EXPECT_THAT(seen.quarantined.at("items"), HasSubstr("differs in its name"));
  EXPECT_EQ(applier_->take_reloads().names, Names{"items"});
}

// A load has made tables and ended them again, and with them moved those that the stream's rows go to.
TEST_F(CaptureApplierTables, RowsFindTheirTableAfterALoadThatFailed) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  expect_applied(make_.insertion(12, "notes", {{1, "note"}}));
  std::vector<TableId> made;
  for (int i = 0; i < 100; ++i)
    made.push_back(writer_->new_table(shm::items_table("more" + std::to_string(i))));
  for (const TableId id : made) ASSERT_TRUE(writer_->abandon(id));
  applier_->request_reloads(Reloads{{"more0"}, false});
  expect_applied(make_.insertion(13, "items", {{2, "two"}}));
  expect_applied(make_.insertion(14, "notes", {{2, "note two"}}));
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\"", "2\t\"two\""));
  EXPECT_THAT(lines("notes"), ElementsAre("1\t\"note\"", "2\t\"note two\""));
}

// A mismatch that reading the table again does not mend must not have it read for ever.
TEST_F(CaptureApplierTables, ATableIsLoadedOnceForTheSameReason) {
  const auto mismatch = [this](std::uint64_t version) {
    return std::vector<std::string>{make_.gtid(version), make_.map(7, "items", "ident"),
                                    make_.write(7, {{2, "two"}}), make_.xid()};
  };
  expect_applied(mismatch(11));
  EXPECT_EQ(applier_->take_reloads().names, Names{"items"});
  ASSERT_EQ(set_pending(11, {load("items", 11, {{1, "one"}})}), Outcome::kGoOn);
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\""));
  expect_applied(mismatch(12));
  EXPECT_THAT(lines("items"), ElementsAre("not served"));
  EXPECT_FALSE(applier_->has_reloads());
  expect_applied(make_.ddl(13, "ALTER TABLE items CHANGE id ident BIGINT"));
  EXPECT_EQ(applier_->take_reloads().names, Names({"items", "id", "ident"}));
  expect_applied(mismatch(14));
}

TEST_F(CaptureApplierTables, ATypeThatIsNotKnownRefusesItsTable) {
  expect_applied(
      {make_.gtid(11), make_.strange_map(7, "items", '\x7e'), make_.write(7, {{1, "one"}}), make_.xid()});
  EXPECT_THAT(mirror().quarantined.at("items"), HasSubstr("type 126 is not known"));
  expect_applied(make_.insertion(12, "notes", {{1, "one"}}));
  EXPECT_THAT(lines("notes"), ElementsAre("1\t\"one\""));
}

TEST_F(CaptureApplierTables, ARowLargerThanARecordMayBeRefusesItsTable) {
  applier_.reset();
  writer_.options().ring.max_record_bytes = 128;
  restart();
  expect_applied(make_.insertion(11, "items", {{1, std::string(200, 'x')}}));
  EXPECT_THAT(mirror().quarantined.at("items"), HasSubstr("ring.max_record_size"));
}

TEST_F(CaptureApplierTables, AnEventThatIsNotUnderstoodHasEverythingLoadedAnew) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  expect_applied({make_.gtid(12), make_.event(18, "load data"), make_.xid()});
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.refused_at.at(12), UnorderedElementsAre("items", "notes"));
  EXPECT_TRUE(applier_->take_reloads().all);
  expect_applied(make_.insertion(13, "items", {{1, "one"}}));
}

// --- statements

TEST_F(CaptureApplierTables, DdlRefusesTheTablesItNamesFromItsVersionOn) {
  expect_applied(make_.ddl(11, "ALTER TABLE items ADD COLUMN stock INT"));
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.refused_at.at(11), ElementsAre("items"));
  EXPECT_THAT(seen.lines("notes"), IsEmpty());
  EXPECT_EQ(applier_->take_reloads().names, Names({"items", "stock"}));
  EXPECT_FALSE(applier_->has_reloads());
}

TEST_F(CaptureApplierTables, DdlIsRecognisedInEverySpelling) {
  const std::vector<std::string> statements = {
      "TRUNCATE `items`",
      "truncate table Items",
      "DROP TABLE IF EXISTS shop.ITEMS /* generated by server */",
      "RENAME TABLE other TO `SHOP`.`iTems`",
      "/*!50000 ALTER TABLE items*/ ENGINE=InnoDB",
      "CREATE OR REPLACE TABLE items LIKE notes2",
      "CREATE UNIQUE INDEX u ON items (name)",
      "SET STATEMENT lock_wait_timeout=5 FOR ALTER TABLE items FORCE",
  };
  std::uint64_t version = 11;
  for (const std::string& sql : statements) {
    expect_applied(make_.ddl(version, sql));
    EXPECT_TRUE(mirror().refused_at.contains(version)) << sql;
    EXPECT_TRUE(applier_->take_reloads().names.contains("items")) << sql;
    ASSERT_EQ(set_pending(version, {load("items", version, {})}), Outcome::kGoOn);
    ++version;
  }
}

TEST_F(CaptureApplierTables, DdlOfOtherTablesAndDatabasesRefusesNothing) {
  expect_applied(make_.ddl(11, "CREATE TABLE elsewhere.items (id INT)"));
  EXPECT_EQ(mirror().quarantined.size(), 0u);
  EXPECT_FALSE(applier_->take_reloads().all);
  expect_applied(make_.ddl(12, "DROP VIEW items"));
  expect_applied({make_.gtid(13, 1), make_.query("DROP DATABASE elsewhere", "elsewhere")});
  expect_applied(make_.ddl(14, "CREATE TABLE tmp_x (id INT)"));
  EXPECT_EQ(mirror().quarantined.size(), 0u);
  EXPECT_FALSE(applier_->has_reloads() && applier_->take_reloads().names.contains("tmp_x"));
}

TEST_F(CaptureApplierTables, ATableThatIsFilledAsItIsCreatedIsLoaded) {
  expect_applied({make_.gtid(11), make_.query("CREATE TABLE `copy` (id BIGINT UNSIGNED)"),
                  make_.map(7, "copy"), make_.write(7, {{1, "one"}}), make_.xid()});
  EXPECT_TRUE(applier_->take_reloads().names.contains("copy"));
  ASSERT_EQ(set_pending(11, {load("copy", 11, {{1, "one"}})}), Outcome::kGoOn);
  EXPECT_THAT(lines("copy"), ElementsAre("1\t\"one\""));
  expect_applied({make_.gtid(12), make_.map(7, "copy"), make_.write(7, {{2, "two"}}), make_.xid()});
  EXPECT_THAT(lines("copy"), ElementsAre("1\t\"one\"", "2\t\"two\""));
}

TEST_F(CaptureApplierTables, RowsOfATableThatNobodyKnowsHaveItLoadedOnce) {
  expect_applied(make_.insertion(11, "secret", {{1, "one"}}));
  EXPECT_EQ(applier_->take_reloads().names, Names{"secret"});
  expect_applied(make_.insertion(12, "secret", {{2, "one"}}));
  EXPECT_FALSE(applier_->has_reloads());
}

// Triggers and functions of a statement change tables that it does not name.
TEST_F(CaptureApplierTables, RowsChangedInStatementFormHaveEverythingLoadedAnew) {
  expect_applied({make_.gtid(11), make_.query("INSERT INTO notes VALUES (1, RAND())"), make_.xid()});
  EXPECT_THAT(mirror().refused_at.at(11), UnorderedElementsAre("items", "notes"));
  EXPECT_TRUE(applier_->take_reloads().all);
}

TEST_F(CaptureApplierTables, AStatementThatIsNotUnderstoodHasEverythingLoadedAnew) {
  expect_applied(make_.ddl(11, "MANGLE items"));
  EXPECT_THAT(mirror().refused_at.at(11), UnorderedElementsAre("items", "notes"));
  EXPECT_TRUE(applier_->take_reloads().all);
  expect_applied(make_.ddl(12, "ALTER DATABASE shop CHARACTER SET latin1"));
  EXPECT_TRUE(applier_->take_reloads().all);
}

// --- loads

TEST_F(CaptureApplierTables, ALoadTakesEffectWithTheTransactionOfItsVersion) {
  expect_applied(make_.ddl(11, "ALTER TABLE items FORCE"));
  applier_->take_reloads();
  ASSERT_EQ(set_pending(13, {load("items", 13, {{1, "one"}, {3, "three"}})}), Outcome::kGoOn);
  EXPECT_TRUE(applier_->has_pending());
  expect_applied(make_.insertion(12, "items", {{1, "one"}}));
  EXPECT_THAT(lines("items"), ElementsAre("not served"));
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(13, "x", {{1, "one"}}));
  make_.schema = "shop";
  EXPECT_FALSE(applier_->has_pending());
  expect_applied(make_.insertion(14, "items", {{4, "four"}}));
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("items"), ElementsAre("1\t\"one\"", "3\t\"three\"", "4\t\"four\""));
  EXPECT_THAT(seen.versions, ElementsAre(10, 11, 13, 14));
}

TEST_F(CaptureApplierTables, ALoadOfTheVersionThatIsReachedTakesEffectAtOnce) {
  expect_applied(make_.ddl(11, "ALTER TABLE items FORCE"));
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(12, "x", {{1, "x"}}));
  make_.schema = "shop";
  ASSERT_TRUE(applier_->has_put_off());
  ASSERT_EQ(set_pending(12, {load("items", 12, {{1, "one"}})}), Outcome::kGoOn);
  EXPECT_FALSE(applier_->has_pending());
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("items"), ElementsAre("1\t\"one\""));
  EXPECT_EQ(seen.version, 12u);
  EXPECT_EQ(writer_->last_commit().gtid_before, "0-1-11");
  reconnect();
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(12, "x", {{1, "x"}}));
}

TEST_F(CaptureApplierTables, ATableChangedAgainBeforeItsLoadCountsIsLoadedAgain) {
  expect_applied(make_.ddl(11, "ALTER TABLE items FORCE"));
  applier_->take_reloads();
  const TableId first = load("items", 13, {{1, "stale"}});
  ASSERT_EQ(set_pending(13, {first, load("notes", 13, {{7, "seven"}})}), Outcome::kGoOn);
  expect_applied(make_.ddl(12, "TRUNCATE TABLE items"));
  EXPECT_EQ(writer_->catalogue().find(first), nullptr) << "what was loaded for nothing is given back";
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(13, "x", {{1, "x"}}));
  make_.schema = "shop";
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("items"), ElementsAre("not served"));
  EXPECT_THAT(seen.lines("notes"), ElementsAre("7\t\"seven\""));
  EXPECT_EQ(applier_->take_reloads().names, Names{"items"});
}

TEST_F(CaptureApplierTables, ALoadSurvivesALostConnection) {
  expect_applied(make_.ddl(11, "ALTER TABLE items FORCE"));
  applier_->take_reloads();
  ASSERT_EQ(set_pending(12, {load("items", 12, {{1, "one"}})}), Outcome::kGoOn);
  reconnect();
  expect_applied(make_.ddl(11, "ALTER TABLE items FORCE"));
  EXPECT_FALSE(applier_->has_reloads()) << "what is passed over has been seen";
  expect_applied(make_.insertion(12, "items", {{1, "one"}}));
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\""));
}

TEST_F(CaptureApplierTables, AVersionThatNeverComesIsALostHistory) {
  expect_applied(make_.ddl(11, "ALTER TABLE items FORCE"));
  ASSERT_EQ(set_pending(13, {load("items", 13, {{1, "one"}})}), Outcome::kGoOn);
  EXPECT_EQ(apply(make_.insertion(14, "notes", {{1, "one"}})), Outcome::kLostHistory);
}

// --- XA

TEST_F(CaptureApplierTables, APreparedTransactionsTablesAreNotServedUntilItIsDecided) {
  expect_applied({make_.gtid(11, 0x40, 0, "x1"), make_.map(7, "items"), make_.write(7, {{1, "one"}}),
                  make_.xa_prepare("x1")});
  CaptureMirror seen = mirror();
  EXPECT_THAT(seen.refused_at.at(11), ElementsAre("items"));
  EXPECT_FALSE(applier_->has_reloads());
  expect_applied({make_.gtid(12, 0x81, 0, "x1"), make_.query("XA COMMIT 'x1'")});
  EXPECT_EQ(applier_->take_reloads().names, Names{"items"});
}

// The table can be back while its transaction is still prepared: the commit then changes it.
TEST_F(CaptureApplierTables, ACommitOfWhatWasPreparedRefusesATableThatIsBack) {
  expect_applied({make_.gtid(11, 0x40, 0, "x1"), make_.map(7, "items"), make_.write(7, {{1, "one"}}),
                  make_.xa_prepare("x1")});
  ASSERT_EQ(set_pending(11, {load("items", 11, {})}), Outcome::kGoOn);
  expect_applied({make_.gtid(12, 0x81, 0, "x1"), make_.query("XA COMMIT 'x1'")});
  EXPECT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_THAT(mirror().refused_at.at(12), ElementsAre("items"));
}

TEST_F(CaptureApplierTables, WhatWasPreparedBeforeTheWriterStartedIsDecidedKnowingNothing) {
  expect_applied({make_.gtid(11, 0x81, 0, "old"), make_.query("XA ROLLBACK 'old'")});
  EXPECT_FALSE(applier_->has_reloads());
  expect_applied({make_.gtid(12, 0x81, 0, "old"), make_.query("XA COMMIT 'old'")});
  EXPECT_TRUE(applier_->take_reloads().all);
  EXPECT_THAT(mirror().refused_at.at(12), UnorderedElementsAre("items", "notes"));
}

TEST_F(CaptureApplierTables, AMarkerThatIsOnlyPreparedIsNotReported) {
  expect_applied({make_.gtid(11, 0x40, 0, "x1"), make_.marker_map(8), make_.marker_row(8, "0123456789abcdef"),
                  make_.xa_prepare("x1")});
  EXPECT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_THAT(markers_, IsEmpty());
}

}  // namespace
}  // namespace ringside::writer
