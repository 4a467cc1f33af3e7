#include "shm/publisher.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

TEST(Publisher, AReasonOfAnyBytesLeavesTheCatalogueReadable) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  // 4,096 bytes would cut the last character in two; and \xff occurs in no UTF-8 text.
  ASSERT_TRUE(writer->quarantine("items", "\xff" + std::string(4094, 'r') + "\xc3\xa9"));
  ASSERT_TRUE(writer.try_commit(2));
  writer->new_table(items_table("others"));
  ASSERT_TRUE(writer.try_commit(3));
  const auto catalogue = writer->ring().read_catalogue();
  ASSERT_TRUE(catalogue) << why(catalogue);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  ASSERT_NE(writer->quarantine_reason("items"), nullptr);
  EXPECT_TRUE(writer->quarantine_reason("items")->starts_with("\xef\xbf\xbdrrr"));
}

TEST(Publisher, AContradictionQuarantinesItsTableInTheTransactionThatShowsIt) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const TableId other = writer->new_table(items_table("other"));
  ASSERT_TRUE(writer->switch_to(other));
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));

  ASSERT_TRUE(writer.insert(1, json_text("one more")));  // is there already
  ASSERT_TRUE(writer.insert(2, json_text("left out")));
  ASSERT_TRUE(writer.insert(9, json_text("nine"), "other"));
  const auto refused = writer.try_commit(3);
  ASSERT_TRUE(refused) << why(refused);
  ASSERT_EQ(refused->size(), 1u);
  EXPECT_EQ(refused->front().first, "items");
  EXPECT_EQ(writer->live_table("items"), nullptr);
  ASSERT_NE(writer->quarantine_reason("items"), nullptr);
  EXPECT_EQ(*writer->quarantine_reason("items"), refused->front().second);
  Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_EQ(mirror.table("items"), nullptr);
  EXPECT_EQ(mirror.quarantined.at("items"), refused->front().second);
  EXPECT_EQ(mirror.table("other")->size(), 1u);
  EXPECT_EQ(mirror.version, Version(3));

  ASSERT_TRUE(writer.update(8, json_text("was never here"), "other"));
  ASSERT_EQ(writer.try_commit(4)->size(), 1u);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_NE(writer->quarantine_reason("items"), nullptr);
  EXPECT_NE(writer->quarantine_reason("other"), nullptr);
  EXPECT_TRUE(writer->usage().empty());
}

TEST(Publisher, NothingIsAddedToAnIncarnationThatTheSameTransactionEnded) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
  const Table before = *writer->live_table("items");
  ASSERT_TRUE(writer->quarantine("items", "reason one"));
  RowBuilder row;
  ASSERT_TRUE(writer->update(before, item_key(1), build_item(row, 1, json_text("late"))));
  const auto refused = writer.try_commit(3);
  ASSERT_TRUE(refused) << why(refused);
  EXPECT_TRUE(refused->empty());
  EXPECT_EQ(*writer->quarantine_reason("items"), "reason one");
  EXPECT_EQ(mirror_of(writer.options().ring).quarantined.at("items"), "reason one");
}

TEST(Publisher, AReloadSwitchesTheNameAtOneVersion) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  for (std::uint64_t id = 0; id < 10; ++id) ASSERT_TRUE(writer.insert(id, json_text("old")));
  ASSERT_TRUE(writer.commit(2));
  const auto reader = join_ring(writer.options().ring);
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  const TableId second = writer->new_table(items_table());
  RowBuilder row;
  for (std::uint64_t id = 100; id < 4000; ++id) {  // several batches
    const auto loaded = writer->load_row(second, Version(2), build_item(row, id, filler(500)));
    ASSERT_TRUE(loaded) << why(loaded);
  }
  ASSERT_TRUE(writer->end_load());
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), 10u) << "a load batch makes nothing visible";
  EXPECT_EQ(mirror.incarnation(second).size(), 3900u);
  EXPECT_EQ(mirror.version, Version(2));
  ASSERT_TRUE(writer.update(3, json_text("changed meanwhile")));
  ASSERT_TRUE(writer.commit(3));
  ASSERT_TRUE(writer->switch_to(second));
  ASSERT_TRUE(writer.commit(4));
  ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
  EXPECT_EQ(mirror.table("items")->size(), 3900u);
  EXPECT_EQ(writer->live_table("items")->id, second);
  ASSERT_EQ(writer->usage().size(), 1u);
  EXPECT_EQ(writer->usage()[0].rows, 3900u);
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->usage().at(0).rows, 3900u);
  EXPECT_EQ(writer->catalogue().tables.size(), 1u);
}

TEST(Publisher, ALoadThatSeesAKeyTwiceIsAbandoned) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  const TableId second = writer->new_table(items_table("second"));
  RowBuilder row;
  ASSERT_TRUE(writer->load_row(second, Version(1), build_item(row, 1, json_text("a"))));
  ASSERT_TRUE(writer->load_row(second, Version(1), build_item(row, 1, json_text("b"))));
  EXPECT_EQ(writer->end_load().error().kind, ErrorKind::kCorrupt);
  ASSERT_TRUE(writer->abandon(second));
  EXPECT_EQ(writer->catalogue().find("second"), nullptr);
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
}

TEST(Publisher, UnfinishedLoadsAreForgottenAtRestartAndTheirIdsNotUsedAgain) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.commit(2));
  ASSERT_TRUE(writer->quarantine("items", "to be loaded again"));
  ASSERT_TRUE(writer.try_commit(3));
  RowBuilder row;
  const TableId again = writer->new_table(items_table());
  ASSERT_TRUE(writer->load_row(again, Version(3), build_item(row, 1, json_text("a"))));
  const TableId fresh = writer->new_table(items_table("fresh"));
  ASSERT_TRUE(writer->load_row(fresh, Version(3), build_item(row, 1, json_text("a"))));
  ASSERT_TRUE(writer->end_load());
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->catalogue().find(again), nullptr);
  EXPECT_EQ(writer->catalogue().find(fresh), nullptr);
  ASSERT_EQ(writer->catalogue().tables.size(), 1u) << "the quarantined one, for its columns";
  EXPECT_EQ(writer->catalogue().tables[0].reason, "to be loaded again");
  const TableId next = writer->new_table(items_table());
  EXPECT_GT(next, fresh);
  ASSERT_TRUE(writer->switch_to(next));
  ASSERT_TRUE(writer.commit(4));
  EXPECT_EQ(writer->quarantine_reason("items"), nullptr);
  EXPECT_EQ(writer->live_table("items")->reason, "");
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->live_table("items")->reason, "");
  EXPECT_EQ(writer->live_table("items")->state, TableState::kLive);
}

TEST(Publisher, ADroppedNameIsGoneWithAllItsIncarnations) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer->quarantine("items", "reason"));
  ASSERT_TRUE(writer.try_commit(2));
  ASSERT_TRUE(writer->drop("items"));
  ASSERT_TRUE(writer.commit(3));
  EXPECT_EQ(writer->quarantine_reason("items"), nullptr);
  EXPECT_EQ(writer->catalogue().find("items"), nullptr);
  // Live and dropped within one transaction: the event names the incarnation that it ends (the mirror checks).
  const TableId id = writer->new_table(items_table());
  ASSERT_TRUE(writer->switch_to(id));
  ASSERT_TRUE(writer->drop("items"));
  ASSERT_TRUE(writer.commit(4));
  const Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_EQ(mirror.table("items"), nullptr);
  EXPECT_TRUE(mirror.quarantined.empty());
}

TEST(Publisher, AKeyThatChangesIsADeletionAndAnInsertion) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("one")));
  ASSERT_TRUE(writer.insert(2, json_text("two")));
  ASSERT_TRUE(writer.commit(2));
  RowBuilder row;
  // 1 → 3, 2 → 1, in one transaction.
  ASSERT_TRUE(
      writer->update(*writer->live_table("items"), item_key(1), build_item(row, 3, json_text("one"))));
  ASSERT_TRUE(
      writer->update(*writer->live_table("items"), item_key(2), build_item(row, 1, json_text("two"))));
  ASSERT_TRUE(writer.commit(3));
  EXPECT_EQ(*mirror_of(writer.options().ring).table("items"),
            (Mirror::Rows{{item_key(1), json_text("two")}, {item_key(3), json_text("one")}}));
}

TEST(Publisher, ARolledBackTransactionLeavesNothing) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  ASSERT_TRUE(writer.insert(1, json_text("never")));
  EXPECT_TRUE(writer->has_changes());
  writer->rollback();
  EXPECT_FALSE(writer->has_changes());
  ASSERT_TRUE(writer.commit(2));
  const Mirror mirror = mirror_of(writer.options().ring);
  EXPECT_TRUE(mirror.table("items")->empty());
  EXPECT_EQ(mirror.gtid, "0-1-2") << "a transaction without changes publishes as well";
}

TEST(Publisher, MysqlGtidsAddUpInCommitsAndCheckpointsAndOverARestart) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  const std::string a = TestWriter::kUuid;
  const std::string b = "4e11fa47-71ca-11e1-9e33-c80aa9429562";
  ASSERT_TRUE(writer.open());
  ASSERT_TRUE(writer->switch_to(writer->new_table(items_table())));
  // A snapshot's state, of which nobody knows what came last.
  const std::string snapshot = a + ":1-5:blue:1-2";
  ASSERT_TRUE(writer->commit(Version(7), Commit{0, 0, 0, "", snapshot}));
  ASSERT_TRUE(writer.activate());
  EXPECT_EQ(writer->executed().text(), snapshot);
  EXPECT_EQ(writer->last_commit().gtid, "");
  const auto commit = [&](std::uint64_t version, const std::string& gtid, const std::string& executed) {
    const auto committed = writer->commit(Version(version), Commit{0, version, 0, gtid, executed});
    EXPECT_TRUE(committed) << why(committed);
  };
  commit(8, b + ":9", "");
  commit(11, a + ":7", a + ":6-7:blue:3");  // published together
  commit(11, a + ":7", "");                 // a table that became live at a version already reached
  EXPECT_EQ(writer->executed().text(), a + ":1-7:blue:1-3," + b + ":9");
  EXPECT_EQ(writer->last_commit().gtid, a + ":7");
  EXPECT_EQ(writer->last_commit().gtid_before, "");
  // Many segments, each with a checkpoint that has to say the same as the commits before it; loads say nothing new.
  std::uint64_t version = 12;
  for (; version < 40; ++version) {
    if (version == 20) {
      RowBuilder row;
      const TableId second = writer->new_table(items_table("second"));
      EXPECT_TRUE(writer->load_row(second, Version(4), build_item(row, 1, filler(9000))));
      EXPECT_TRUE(writer->end_load());
    }
    ASSERT_TRUE(writer.insert(version, filler(3000)));
    commit(version, b + ":" + std::to_string(version), "");
  }
  const std::string text = a + ":1-7:blue:1-3," + b + ":9:12-39";
  EXPECT_EQ(writer->executed().text(), text);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(writer.open());
    ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
    EXPECT_EQ(writer->executed().text(), text);
    EXPECT_EQ(writer->executed().set().version(), writer->last_commit().version);
    EXPECT_EQ(writer->last_commit().gtid, b + ":39");
  }
}

TEST(Publisher, RefusesGtidsThatDoNotGoTogether) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  const std::string uuid = TestWriter::kUuid;
  ASSERT_TRUE(writer.start());
  const auto refused = [&](const std::string& gtid, const std::string& executed) {
    const auto committed = writer->commit(Version(9), Commit{0, 1, 0, gtid, executed});
    return !committed && committed.error().kind == ErrorKind::kInvalid;
  };
  EXPECT_TRUE(refused(uuid + ":1", "")) << "a MySQL GTID in a MariaDB ring";
  EXPECT_TRUE(refused("0-1-9", uuid + ":1"));
  EXPECT_TRUE(refused("0-1-9" + std::string(8192, '9'), "")) << "longer than a segment bears";
  ASSERT_TRUE(writer.commit(2));

  const RingDirectory other;
  TestWriter mysql(other.options());
  mysql.use_mysql_gtids();
  ASSERT_TRUE(mysql.start());
  const auto mysql_refused = [&](const std::string& gtid, const std::string& executed) {
    const auto committed = mysql->commit(Version(9), Commit{0, 1, 0, gtid, executed});
    return !committed && committed.error().kind == ErrorKind::kInvalid;
  };
  EXPECT_TRUE(mysql_refused("0-1-9", ""));
  EXPECT_TRUE(mysql_refused(uuid + ":2:x y", ""));
  EXPECT_TRUE(mysql_refused(uuid + ":2", uuid + ":0"));
  std::string many = uuid;
  for (int n = 0; n < 1200; ++n) many += ":" + std::to_string(1000 + 2 * n);
  EXPECT_TRUE(mysql_refused("", many)) << "a set longer than a segment bears";
  EXPECT_EQ(mysql->executed().text(), uuid + ":1") << "nothing of it was taken";
  ASSERT_TRUE(mysql.commit(2));
}

TEST(Publisher, IdsAreNotGivenAgainWhenNothingElseRemembersThem) {
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.max_bytes = 1024 * 1024;
  TestWriter writer(options);
  ASSERT_TRUE(writer.start());
  std::uint64_t version = 1;
  const TableId gone = writer->new_table(items_table("gone"));
  ASSERT_TRUE(writer->switch_to(gone));
  ASSERT_TRUE(writer.commit(++version));
  ASSERT_TRUE(writer->drop("gone"));
  ASSERT_TRUE(writer.commit(++version));
  for (std::uint64_t id = 0; id < 100; ++id) ASSERT_TRUE(writer.insert(id, filler(900)));
  ASSERT_TRUE(writer.commit(++version));
  for (std::uint64_t i = 0; i < 5000; ++i) {  // until none of its records is left
    ASSERT_TRUE(writer.update(i % 100, filler(900)));
    ASSERT_TRUE(writer.commit(++version));
  }
  ASSERT_TRUE(writer.open());
  ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_GT(writer->new_table(items_table("next")), gone);
}

}  // namespace
}  // namespace ringside::shm
