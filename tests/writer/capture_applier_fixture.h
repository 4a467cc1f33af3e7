// The applier over a real ring in a directory of its own, fed with events, and what its users do with it.
//
// Threads: one.   Ownership: owns ring and applier.   Errors: gtest expectations.   Limits: none of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/shm/ring_fixture.h"
#include "tests/writer/capture_events.h"
#include "tests/writer/capture_mirror.h"
#include "writer/capture/event_applier.h"

namespace ringside::writer::testing {

class ApplierFixture : public ::testing::Test {
 protected:
  using Outcome = EventApplier::Outcome;
  using Names = std::set<std::string>;

  // A ring at version 10 with the live tables items and notes, both empty; the stream is at its beginning.
  void SetUp() override {
    open({});
    begin_stream();
  }

  virtual shm::Commit first_commit() {
    shm::Commit commit;
    commit.gtid = "0-1-10";
    return commit;
  }
  void open(const std::vector<std::string>& tables) {
    ASSERT_TRUE(writer_.open());
    writer_->describe("history", "shop");
    for (const std::string& name : tables.empty() ? std::vector<std::string>{"items", "notes"} : tables) {
      ASSERT_TRUE(writer_->switch_to(writer_->new_table(shm::items_table(name))));
    }
    ASSERT_TRUE(writer_->commit(Version(10), first_commit()));
    ASSERT_TRUE(writer_.activate());
    make_applier();
  }
  void make_applier() {
    EventApplier::Options options;
    options.database = "shop";
    options.is_chosen = [](std::string_view name) { return !name.starts_with("tmp_"); };
    options.on_marker = [this](Bytes id, Version version, std::string_view gtid) {
      markers_.push_back(std::string(as_text(id)) + "@" + std::to_string(version.value()) + "=" +
                         std::string(gtid));
    };
    applier_ = std::make_unique<EventApplier>(*writer_, std::move(options));
  }
  void begin_stream() {
    applier_->expect(writer_->last_commit());
    EXPECT_EQ(apply(make_.format()), Outcome::kGoOn);
  }
  // As after a lost connection, resumed where the owner would.
  void reconnect() { begin_stream(); }
  // As a writer that was killed and started again.
  void restart() {
    applier_.reset();
    writer_.close();
    ASSERT_TRUE(writer_.open());
    ASSERT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
    make_applier();
    begin_stream();
  }

  Outcome apply(const std::string& event) { return applier_->apply(as_bytes(event)); }
  // Stops at the first event that is not gone on from.
  Outcome apply(const std::vector<std::string>& events) {
    for (const std::string& event : events) {
      if (const Outcome outcome = apply(event); outcome != Outcome::kGoOn) return outcome;
    }
    return Outcome::kGoOn;
  }
  void expect_applied(const std::vector<std::string>& events) {
    EXPECT_EQ(apply(events), Outcome::kGoOn) << applier_->reason();
  }
  // Loads a table with these rows as it would be read at `at`.
  TableId load(const std::string& name, std::uint64_t at, const std::vector<EventMaker::Row>& rows) {
    const TableId id = writer_->new_table(shm::items_table(name));
    for (const auto& [key, value] : rows) {
      EXPECT_TRUE(writer_->load_row(id, Version(at), shm::build_item(row_, key, shm::json_text(value))));
    }
    EXPECT_TRUE(writer_->end_load());
    return id;
  }
  Outcome set_pending(std::uint64_t at, std::vector<TableId> live) {
    PendingSwitch pending;
    pending.at = Version(at);
    pending.live = std::move(live);
    return applier_->set_pending(std::move(pending));
  }

  CaptureMirror mirror() {
    CaptureMirror mirror(directory_.path(), "test");
    EXPECT_TRUE(mirror.follow());
    return mirror;
  }
  std::vector<std::string> lines(std::string_view table) { return mirror().lines(table); }

  shm::RingDirectory directory_;
  shm::TestWriter writer_{directory_.options()};
  shm::RowBuilder row_;
  std::unique_ptr<EventApplier> applier_;
  EventMaker make_;
  std::vector<std::string> markers_;
};

}  // namespace ringside::writer::testing
