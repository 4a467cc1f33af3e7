// The applier over a real ring: rows, versions, resuming; recorded binlogs and events made by hand.
#include <algorithm>

#include "tests/writer/capture_applier_fixture.h"
#include "tests/writer/recording.h"

namespace ringside::writer {
namespace {

using testing::ApplierFixture;
using testing::CaptureMirror;
using ::testing::ElementsAre;
using testing::EventMaker;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Recording;

class CaptureApplier : public ApplierFixture {};

// --- rows

TEST_F(CaptureApplier, RowsOfEveryKindReachTheRingAtTheirVersion) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}, {2, "two"}, {3, "three"}}));
  expect_applied({make_.gtid(12), make_.map(7, "items"), make_.update(7, {{1, "one"}, {1, "uno"}}),
                  make_.update(7, {{2, "two"}, {20, "two"}}), make_.erase(7, {{3, "three"}}), make_.xid()});
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("items"), ElementsAre("1\t\"uno\"", "20\t\"two\""));
  EXPECT_THAT(seen.versions, ElementsAre(10, 11, 12));
  EXPECT_EQ(seen.gtid, "0-1-12");
  EXPECT_EQ(applier_->counters().rows, 6u);
}

// A compressed transaction is what its events are, and has their checksum: a source may be switched between the two.
TEST_F(CaptureApplier, ACompressedTransactionIsItsEvents) {
  const std::vector<std::string> events{make_.query("BEGIN"), make_.map(7, "items"),
                                        make_.write(7, {{1, "one"}, {2, "two"}}),
                                        make_.erase(7, {{1, "one"}}), make_.xid()};
  std::string inside;
  for (const std::string& event : events) inside += event;
  ASSERT_LT(inside.size(), 1u << 16);
  const auto payload = [this](std::string_view packed) {
    std::string body("\x02\x03\xfc\xff\x00", 5);  // not packed
    body += std::string("\x01\x03\xfc", 3);
    testing::put_le(body, static_cast<std::uint16_t>(packed.size()));
    return make_.event(40, body + '\0' + std::string(packed));
  };
  expect_applied({make_.gtid(11), payload(inside)});
  EXPECT_FALSE(applier_->is_inside_transaction());
  EXPECT_THAT(lines("items"), ElementsAre("2\t\"two\""));
  reconnect();
  std::vector<std::string> singly = events;
  singly.insert(singly.begin(), make_.gtid(11));
  expect_applied(singly);
  EXPECT_FALSE(applier_->is_expecting());

  // Damage shows nothing of the transaction.
  const std::string half = inside.substr(0, inside.size() - 5);
  EXPECT_EQ(apply({make_.gtid(12), payload(half)}), Outcome::kLater);
  EXPECT_THAT(applier_->reason(), HasSubstr("TRANSACTION_PAYLOAD"));
  reconnect();
  EXPECT_THAT(lines("items"), ElementsAre("2\t\"two\""));
}

TEST_F(CaptureApplier, NothingIsShownBeforeTheTransactionsEnd) {
  expect_applied({make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "one"}})});
  EXPECT_TRUE(applier_->is_inside_transaction());
  EXPECT_THAT(lines("items"), IsEmpty());
  reconnect();
  expect_applied(make_.insertion(11, "items", {{2, "two"}}));
  EXPECT_THAT(lines("items"), ElementsAre("2\t\"two\""));
}

TEST_F(CaptureApplier, ARolledBackTransactionLeavesNothingButItsVersion) {
  expect_applied(
      {make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "one"}}), make_.query("ROLLBACK")});
  EXPECT_EQ(applier_->flush(), Outcome::kGoOn);
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("items"), IsEmpty());
  EXPECT_EQ(seen.version, 11u);
}

TEST_F(CaptureApplier, OtherDatabasesAndTablesThatAreNotChosenAreNoConcern) {
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  expect_applied(
      {make_.gtid(12), make_.strange_map(8, "maps", '\x7e'), make_.write(8, {{1, "x"}}), make_.xid()});
  make_.schema = "shop";
  expect_applied(make_.insertion(13, "tmp_load", {{1, "one"}}));
  EXPECT_EQ(applier_->flush(), Outcome::kGoOn);
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.lines("items"), IsEmpty());
  EXPECT_EQ(seen.version, 13u);
  EXPECT_TRUE(seen.quarantined.empty());
  EXPECT_FALSE(applier_->has_reloads());
}

TEST_F(CaptureApplier, VersionsWithoutChangesArePutOffAndPublishedAsOne) {
  make_.schema = "elsewhere";
  for (std::uint64_t v = 11; v <= 15; ++v) expect_applied(make_.insertion(v, "x", {{v, "x"}}));
  EXPECT_TRUE(applier_->has_put_off());
  EXPECT_THAT(mirror().versions, ElementsAre(10));
  EXPECT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_THAT(mirror().versions, ElementsAre(10, 15));
  EXPECT_FALSE(applier_->has_put_off());
  expect_applied(make_.insertion(16, "x", {{16, "x"}}));
  make_.schema = "shop";
  expect_applied(make_.insertion(17, "items", {{1, "one"}}));
  EXPECT_THAT(mirror().versions, ElementsAre(10, 15, 17));
  EXPECT_FALSE(applier_->has_put_off());
}

TEST_F(CaptureApplier, AManyTimesRenewedTableIdIsForgottenInTheEnd) {
  make_.schema = "elsewhere";
  for (std::uint64_t v = 11; v < 11 + 2 * EventApplier::kMaxTargets; ++v) {
    expect_applied({make_.gtid(v), make_.map(v, "x"), make_.write(v, {{v, "x"}}), make_.xid()});
  }
  make_.schema = "shop";
  expect_applied(make_.insertion(100'000, "items", {{1, "one"}}));
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\""));
}

TEST_F(CaptureApplier, MarkersAreReportedWithTheirVersionWhenTheyAreCommitted) {
  const std::string id = "0123456789abcdef";
  expect_applied({make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "one"}}), make_.marker_map(8),
                  make_.marker_row(8, id)});
  EXPECT_THAT(markers_, IsEmpty());
  expect_applied({make_.xid()});
  EXPECT_THAT(markers_, ElementsAre(id + "@11=0-1-11"));
  EXPECT_THAT(mirror().versions, ElementsAre(10, 11));
}

TEST_F(CaptureApplier, ATableOfCommandsThatCannotBeReadStopsNothing) {
  make_.schema = "ringside";
  expect_applied({make_.gtid(11), make_.map(7, "commands"), make_.write(7, {{1, "one"}}), make_.xid()});
  make_.schema = "shop";
  expect_applied(make_.insertion(12, "items", {{1, "one"}}));
  EXPECT_THAT(markers_, IsEmpty());
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\""));
}

// --- resuming

TEST_F(CaptureApplier, TheLastTransactionIsPassedOverWhenItIsTheSame) {
  const auto first = make_.insertion(11, "items", {{1, "one"}});
  const auto last = make_.insertion(12, "items", {{2, "two"}});
  expect_applied(first);
  expect_applied(last);
  for (const bool is_new_process : {false, true}) {
    is_new_process ? restart() : reconnect();
    EXPECT_TRUE(applier_->is_expecting());
    EXPECT_EQ(writer_->last_commit().gtid_before, "0-1-11");
    expect_applied(last);
    EXPECT_FALSE(applier_->is_expecting());
    EXPECT_THAT(mirror().versions, ElementsAre(10, 11, 12));
  }
  expect_applied(make_.insertion(13, "items", {{3, "three"}}));
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\"", "2\t\"two\"", "3\t\"three\""));
}

TEST_F(CaptureApplier, AllThatWasPublishedAsOneIsPassedOver) {
  make_.schema = "elsewhere";
  for (std::uint64_t v = 11; v <= 13; ++v) expect_applied(make_.insertion(v, "x", {{v, "x"}}));
  ASSERT_EQ(applier_->flush(), Outcome::kGoOn);
  reconnect();
  for (std::uint64_t v = 11; v <= 13; ++v) {
    EXPECT_TRUE(applier_->is_expecting());
    expect_applied(make_.insertion(v, "x", {{v, "x"}}));
  }
  EXPECT_FALSE(applier_->is_expecting());
  EXPECT_FALSE(applier_->has_put_off());
}

TEST_F(CaptureApplier, WhatWasPutOffComesAgainAfterAReconnect) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(12, "x", {{1, "x"}}));
  make_.schema = "shop";
  reconnect();
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(12, "x", {{1, "x"}}));
  EXPECT_EQ(applier_->flush(), Outcome::kGoOn);
  EXPECT_THAT(mirror().versions, ElementsAre(10, 11, 12));
}

// Each way in which another history's transaction of the same GTID can differ.
TEST_F(CaptureApplier, AnotherTransactionUnderTheSameGtidIsALostHistory) {
  expect_applied({make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "one"}}), make_.xid()});
  EventMaker later = make_;
  later.timestamp += 1;
  const std::vector<std::vector<std::string>> others = {
      {make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "One"}}), make_.xid()},
      {make_.gtid(11), make_.map(7, "items"), make_.erase(7, {{1, "one"}}), make_.xid()},
      {make_.gtid(11), make_.map(7, "notes"), make_.write(7, {{1, "one"}}), make_.xid()},
      {make_.gtid(11), make_.map(7, "items"), make_.map(8, "notes"), make_.write(8, {{1, "one"}}),
       make_.xid()},
      {make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "one"}, {2, "two"}}), make_.xid()},
      {make_.gtid(11), make_.map(7, "items"), later.write(7, {{1, "one"}}), make_.xid()},
      {make_.gtid(11, 1), make_.query("DROP VIEW v")},
  };
  for (std::size_t i = 0; i < others.size(); ++i) {
    reconnect();
    EXPECT_EQ(apply(others[i]), Outcome::kLostHistory) << i;
    EXPECT_THAT(applier_->reason(), HasSubstr("another history")) << i;
  }
  EventMaker other_server = make_;
  other_server.server_id = 2;
  reconnect();
  EXPECT_EQ(apply(other_server.insertion(11, "items", {{1, "one"}})), Outcome::kLostHistory);
  reconnect();
  expect_applied({make_.gtid(11), make_.map(9, "items"), make_.write(9, {{1, "one"}}), make_.xid()});
}

// A replica that takes the source's place may have cut the rows into events of another size.
TEST_F(CaptureApplier, HowRowsAreCutIntoEventsIsNoDifference) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}, {2, "two"}, {3, "three"}}));
  reconnect();
  expect_applied({make_.gtid(11), make_.map(55, "items"), make_.write(55, {{1, "one"}}),
                  make_.write(55, {{2, "two"}, {3, "three"}}), make_.xid()});
}

TEST_F(CaptureApplier, AStreamThatBeginsBehindTheLastTransactionIsALostHistory) {
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  reconnect();
  EXPECT_EQ(apply(make_.gtid(12)), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("0-1-12 where 0-1-11 had to come again"));
}

TEST_F(CaptureApplier, ASequenceThatGoesBackIsALostHistory) {
  expect_applied(make_.insertion(20, "items", {{1, "one"}}));
  EXPECT_EQ(apply(make_.gtid(15)), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("gtid_strict_mode"));
  reconnect();
  make_.schema = "elsewhere";
  EXPECT_EQ(apply(make_.gtid(20)), Outcome::kGoOn);
}

TEST_F(CaptureApplier, ASequenceThatGoesBackBehindVersionsPutOffIsALostHistory) {
  make_.schema = "elsewhere";
  expect_applied(make_.insertion(20, "x", {{1, "one"}}));
  EXPECT_EQ(apply(make_.gtid(20)), Outcome::kLostHistory);
}

// The ring of a fresh snapshot does not know the checksum of its only transaction; when that is sent, it learns it.
TEST_F(CaptureApplier, TheChecksumOfASnapshotsTransactionIsLearnt) {
  const auto last = make_.insertion(10, "items", {{1, "one"}});
  ASSERT_EQ(writer_->last_commit().events_checksum, 0u);
  expect_applied(make_.insertion(9, "items", {{9, "nine"}}));
  expect_applied(last);
  EXPECT_NE(writer_->last_commit().events_checksum, 0u);
  EXPECT_EQ(writer_->last_commit().gtid_before, "");
  EXPECT_THAT(lines("items"), IsEmpty());
  restart();
  EXPECT_TRUE(applier_->is_expecting());
  EXPECT_EQ(apply(make_.insertion(10, "items", {{1, "uno"}})), Outcome::kLostHistory);
  restart();
  expect_applied(last);
  expect_applied(make_.insertion(11, "items", {{2, "two"}}));
  EXPECT_THAT(lines("items"), ElementsAre("2\t\"two\""));
}

TEST_F(CaptureApplier, AMysqlSourceCannotGoOnFromIt) {
  const testing::MysqlEventMaker mysql;
  EXPECT_EQ(apply(mysql.gtid(11)), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("another server"));
}

TEST_F(CaptureApplier, AnotherDomainIsNamed) {
  EXPECT_EQ(apply(make_.gtid(11, 0, 7)), Outcome::kLostHistory);
  EXPECT_THAT(applier_->reason(), HasSubstr("7-1-11 in domain 7, but domain 0"));
  EXPECT_THAT(applier_->reason(), HasSubstr("SET GLOBAL gtid_domain_id = 0"));
}

TEST_F(CaptureApplier, AnIncidentIsALostHistory) {
  EXPECT_EQ(apply(make_.event(26, std::string("\x01\x00\x04lost", 7))), Outcome::kLostHistory);
}

TEST_F(CaptureApplier, ATransactionThatTheSourceCrashedInIsForgotten) {
  expect_applied({make_.gtid(11), make_.map(7, "items"), make_.write(7, {{1, "torn"}})});
  expect_applied({make_.format()});
  EXPECT_FALSE(applier_->is_inside_transaction());
  expect_applied(make_.insertion(11, "items", {{2, "whole"}}));
  EXPECT_THAT(lines("items"), ElementsAre("2\t\"whole\""));
}

TEST_F(CaptureApplier, DamagedBytesAreAskedForAgain) {
  std::string damaged = make_.gtid(11);
  damaged.resize(25);
  EXPECT_EQ(apply(damaged), Outcome::kLater);
}

TEST_F(CaptureApplier, ChangesOutsideOfATransactionAreRefused) {
  EXPECT_EQ(apply(make_.map(7, "items")), Outcome::kFailed);
  EXPECT_EQ(apply(make_.write(7, {{1, "one"}})), Outcome::kFailed);
  EXPECT_EQ(apply(make_.query("TRUNCATE TABLE items")), Outcome::kFailed);
  EXPECT_EQ(apply(make_.xid()), Outcome::kFailed);
  expect_applied({make_.gtid(11)});
  EXPECT_EQ(apply(make_.write(7, {{1, "one"}})), Outcome::kFailed) << "rows without a map";
  EXPECT_EQ(apply(make_.gtid(12)), Outcome::kFailed) << "a transaction inside another";
}

// --- no room

class CaptureApplierFull : public CaptureApplier {
 protected:
  void SetUp() override {
    writer_.options().ring.max_bytes = 4 * writer_.options().ring.segment_bytes;
    CaptureApplier::SetUp();
  }
  // Fills the ring; the transaction that did not fit, and is kept by the applier.
  std::uint64_t fill() {
    for (std::uint64_t v = 11; v < 2000; ++v) {
      const Outcome outcome = apply(make_.insertion(v, "items", {{v, std::string(200, 'x')}}));
      if (outcome == Outcome::kRingFull) return v;
      EXPECT_EQ(outcome, Outcome::kGoOn);
    }
    ADD_FAILURE() << "the ring is never full";
    return 0;
  }
};

TEST_F(CaptureApplierFull, NothingOfATransactionWithoutRoomIsShown) {
  const std::uint64_t refused = fill();
  EXPECT_EQ(applier_->commit_again(), Outcome::kRingFull);
  const CaptureMirror seen = mirror();
  EXPECT_EQ(seen.version, refused - 1);
  EXPECT_EQ(seen.lines("items").size(), refused - 11);
  EXPECT_TRUE(applier_->is_inside_transaction());
  // A writer with more room goes on where this one stopped.
  writer_.options().ring.max_bytes *= 4;
  restart();
  expect_applied(make_.insertion(refused - 1, "items", {{refused - 1, std::string(200, 'x')}}));
  expect_applied(make_.insertion(refused, "items", {{refused, std::string(200, 'x')}}));
  EXPECT_EQ(lines("items").size(), refused - 10);
}

TEST_F(CaptureApplier, AFullSpillDiskNeverCommitsHalfATransaction) {
  applier_.reset();
  writer_.options().transaction_buffer_bytes = 4096;
  writer_.options().spill_directory = directory_.path() + "/none";
  restart();
  expect_applied({make_.gtid(11), make_.map(7, "items")});
  Outcome outcome = Outcome::kGoOn;
  for (std::uint64_t id = 1; id < 100 && outcome == Outcome::kGoOn; ++id) {
    outcome = apply(make_.write(7, {{id, std::string(200, 'x')}}));
  }
  EXPECT_EQ(outcome, Outcome::kSpillFull);
  EXPECT_THAT(applier_->reason(), HasSubstr("writer.spill_directory"));
  reconnect();
  EXPECT_TRUE(mirror().quarantined.empty());
  expect_applied(make_.insertion(11, "items", {{1, "one"}}));
  EXPECT_THAT(lines("items"), ElementsAre("1\t\"one\""));
}

// --- recordings

shm::Table table_from(const Recording& recording, const std::string& name, const binlog::TableMap& map) {
  shm::Table table;
  table.name = name;
  table.key_name = "PRIMARY";
  table.shape = recording.shapes.at(name);
  for (const binlog::PrimaryKeyPart& part : map.primary_key) {
    const auto column = static_cast<std::uint32_t>(part.column);
    table.key.push_back(shm::make_key_column(column, table.shape.columns[column]));
  }
  return table;
}

// Of a MySQL server's recording; else empty.
std::string uuid_of(const Recording& recording) {
  binlog::EventDecoder decoder;
  for (const Bytes bytes : recording.events) {
    const auto event = decoder.decode(bytes);
    if (!event) continue;
    if (const auto* gtid = std::get_if<binlog::MysqlGtid>(&event->body)) {
      shm::MysqlGtidSet::Source source;
      for (std::size_t i = 0; i < source.uuid.size(); ++i) {
        source.uuid[i] = std::to_integer<std::uint8_t>(gtid->uuid[i]);
      }
      const std::string text = to_string(source, 1);
      return text.substr(0, text.find(':'));
    }
  }
  return {};
}

class CaptureRecorded : public CaptureApplier, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {}
};

// Each table is loaded empty when its CREATE asks for it; all rows come from the events.
TEST_P(CaptureRecorded, RowsReachTheRingAsSelectShowedThem) {
  const Recording recording(GetParam());
  std::map<std::string, binlog::TableMap> maps;
  binlog::EventDecoder decoder;
  for (const Bytes bytes : recording.events) {
    const auto event = decoder.decode(bytes);
    ASSERT_TRUE(event);
    if (const auto* body = std::get_if<binlog::TableMapEvent>(&event->body)) {
      auto map = binlog::parse_table_map(*body);
      ASSERT_TRUE(map);
      maps.insert_or_assign(map->table, *map);
    }
  }
  writer_.options().ring.segment_bytes = 65536;
  ASSERT_TRUE(writer_.open());
  writer_->describe("history", "shop");
  // What the server executed before its recording began.
  std::string before;
  shm::Commit commit;
  commit.gtid = "0-1-1";
  if (const std::string uuid = uuid_of(recording); !uuid.empty()) {
    before = uuid + ":1";
    commit.gtid = {};
    commit.executed = before;
  }
  ASSERT_TRUE(writer_->commit(Version(1), commit));
  ASSERT_TRUE(writer_.activate());
  make_applier();
  applier_->expect(writer_->last_commit());
  for (const Bytes bytes : recording.events) {
    ASSERT_EQ(applier_->apply(bytes), Outcome::kGoOn) << applier_->reason();
    if (applier_->is_inside_transaction() || !applier_->has_reloads()) continue;
    PendingSwitch created;
    created.at = applier_->newest();
    if (writer_->executed().is_mysql()) {
      ASSERT_EQ(applier_->flush(), Outcome::kGoOn);
      created.position = writer_->executed().text();
    }
    for (const std::string& name : applier_->take_reloads().names) {
      if (recording.shapes.contains(name) && writer_->live_table(name) == nullptr) {
        created.live.push_back(writer_->new_table(table_from(recording, name, maps.at(name))));
      }
    }
    ASSERT_EQ(applier_->set_pending(std::move(created)), Outcome::kGoOn) << applier_->reason();
  }
  const CaptureMirror seen = mirror();
  EXPECT_THAT(seen.quarantined, IsEmpty());
  ASSERT_FALSE(recording.rows.empty());
  for (const auto& [name, expected] : recording.rows) {
    std::vector<std::string> sorted = expected;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(seen.lines(name), sorted) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Mariadb, CaptureRecorded,
                         ::testing::Values("mariadb/types", "mariadb/texts", "mariadb/compressed"));

INSTANTIATE_TEST_SUITE_P(Mysql, CaptureRecorded, ::testing::Values("mysql/types", "mysql/texts"));

}  // namespace
}  // namespace ringside::writer
