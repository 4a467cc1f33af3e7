// The real ringside-ring on real rings: what it says as text and as JSON, its exit codes, and beside a writer that goes on.
#include "tests/tools/ring/program.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "shm/ring_files.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::tools {
namespace {

using shm::filler;
using shm::json_text;

class RingProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(writer_.start());
    for (std::uint64_t id = 1; id <= 60; ++id) ASSERT_TRUE(writer_.insert(id, json_text(std::to_string(id))));
    ASSERT_TRUE(writer_.insert(61, ""));
    ASSERT_TRUE(writer_.commit(2));
    for (std::uint64_t id = 1; id <= 60; ++id) ASSERT_TRUE(writer_.update(id, filler(1000)));
    ASSERT_TRUE(writer_.commit(3));
    ASSERT_TRUE(writer_.erase(5));
    ASSERT_TRUE(writer_.commit(4));
  }

  Answer run(const std::string& arguments) const {
    return run_ring_program("--ring " + directory_.path() + "/test " + arguments);
  }
  Answer run_with_errors(const std::string& arguments) const { return run(arguments + " 2>&1"); }

  shm::RingDirectory directory_;
  shm::TestWriter writer_{directory_.options()};
};

TEST_F(RingProgram, HeaderSaysWhoWritesAndWhatTheSourceWas) {
  writer_->ring().set_capture_state(shm::CaptureState::kReconnecting);
  const Answer text = run("header");
  EXPECT_EQ(text.code, 0);
  EXPECT_NE(text.out.find("capture state"), std::string::npos) << text.out;
  const Answer answer = run("header --json");
  ASSERT_EQ(answer.code, 0);
  const Json json(answer.out);
  EXPECT_EQ(json.text("/capture_state"), "reconnecting");
  EXPECT_TRUE(json.flag("/writer_alive"));
  EXPECT_EQ(json.number("/writer_pid"), static_cast<std::uint64_t>(::getpid()));
  EXPECT_EQ(json.number("/committed_position"), writer_->ring().committed_position().value());
  EXPECT_EQ(json.number("/segment_bytes"), directory_.options().ring.segment_bytes);
  EXPECT_EQ(json.number("/limit_bytes"), directory_.options().ring.max_bytes);
  EXPECT_TRUE(json.is_null("/superseded_by"));
  writer_.close();
  const Json gone(run("header --json").out);
  EXPECT_FALSE(gone.flag("/writer_alive"));
  EXPECT_TRUE(gone.is_null("/writer_pid"));
}

TEST_F(RingProgram, SegmentsAndTheirSummaryAgree) {
  const Json segments(run("segments --json").out);
  const Json summary(run("--json segments --summary").out);
  const std::size_t count = segments.size("/segments");
  EXPECT_GT(count, 2u);
  EXPECT_EQ(segments.number("/totals/segments"), count);
  EXPECT_EQ(segments.number("/totals/rows"), 121u);
  EXPECT_EQ(segments.number("/totals/tombstones"), 1u);
  EXPECT_EQ(segments.number("/segments/0/start_position"), directory_.options().ring.segment_bytes);
  std::uint64_t live = 0;
  for (std::size_t i = 0; i < count; ++i) {
    live += segments.number(("/segments/" + std::to_string(i) + "/live_bytes").c_str());
  }
  EXPECT_EQ(segments.number("/totals/live_bytes"), live);
  EXPECT_EQ(summary.number("/totals/live_bytes"), live);
  EXPECT_EQ(summary.size("/utilisation"), 10u);
  EXPECT_EQ(summary.number("/tables/0/rows"), 60u);
  const Answer text = run("segments");
  EXPECT_EQ(lines_of(text.out)[1].find("slot"), 2u) << text.out;
}

TEST_F(RingProgram, ReadersAreShownWithWhatTheyHoldBack) {
  EXPECT_EQ(Json(run("readers --json").out).size("/readers"), 0u);
  auto reader = shm::join_ring(directory_.options().ring);
  const Json joining(run("readers --json").out);
  ASSERT_EQ(joining.size("/readers"), 1u);
  EXPECT_EQ(joining.text("/readers/0/state"), "joining");
  EXPECT_EQ(joining.number("/readers/0/pid"), static_cast<std::uint64_t>(::getpid()));
  EXPECT_EQ(joining.number("/readers/0/lag_bytes"),
            joining.number("/committed_position") - directory_.options().ring.segment_bytes);
  shm::Mirror mirror;
  ASSERT_EQ(mirror.follow(*reader), shm::Step::kCaughtUp);
  ASSERT_TRUE(reader->prepare_sleep());
  const Json following(run("readers --json").out);
  EXPECT_EQ(following.text("/readers/0/state"), "following");
  EXPECT_TRUE(following.flag("/readers/0/asleep"));
  EXPECT_TRUE(following.flag("/readers/0/alive"));
  EXPECT_EQ(following.number("/readers/0/lag_bytes"), 0u);
  reader.reset();
  EXPECT_EQ(Json(run("readers --json").out).size("/readers"), 0u);
  EXPECT_EQ(Json(run("readers --all --json").out).size("/readers"), shm::kMaxReaders);
}

TEST_F(RingProgram, CatalogueHasTablesKeysAndColumns) {
  const Json json(run("catalogue --json").out);
  EXPECT_EQ(json.text("/database"), "test");
  EXPECT_EQ(json.text("/tables/0/table"), "items");
  EXPECT_EQ(json.text("/tables/0/state"), "live");
  EXPECT_EQ(json.text("/tables/0/key/0/key_column"), "id");
  EXPECT_EQ(json.text("/tables/0/columns/1/type"), "varchar(100)");
  EXPECT_TRUE(json.flag("/tables/0/columns/1/nullable"));
  EXPECT_NE(run("catalogue").out.find("bigint(20) unsigned"), std::string::npos);
}

TEST_F(RingProgram, DumpHasEveryRowAtOneVersion) {
  const Answer answer = run("dump --table items");
  ASSERT_EQ(answer.code, 0) << answer.out;
  const std::vector<std::string> lines = lines_of(answer.out);
  ASSERT_EQ(lines.size(), 61u);
  const Json head(lines[0]);
  EXPECT_EQ(head.number("/version"), 4u);
  EXPECT_EQ(head.text("/gtid"), "0-1-4");
  EXPECT_EQ(head.number("/rows"), 60u);
  std::set<std::uint64_t> ids;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const Json row(lines[i]);
    const std::uint64_t id = row.number("/id");
    ids.insert(id);
    if (id == 61) {
      EXPECT_TRUE(row.is_null("/name"));
    } else {
      EXPECT_EQ(row.text("/name").size(), 1000u) << id;
    }
  }
  EXPECT_EQ(ids.size(), 60u);
  EXPECT_FALSE(ids.contains(5));
  EXPECT_TRUE(writer_->ring().readers().empty()) << "it gives its reader slot back";
}

TEST_F(RingProgram, DumpOfOneRowAndOfSome) {
  std::vector<std::string> lines = lines_of(run("dump --table items --key 61").out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "{\"id\":61,\"name\":null}");
  for (const char* absent : {"5", "62", "99999999999999999999"}) {
    const Answer answer = run(std::string("dump --table items --key ") + absent);
    EXPECT_EQ(answer.code, 0);
    lines = lines_of(answer.out);
    ASSERT_EQ(lines.size(), 1u) << absent;
    EXPECT_EQ(Json(lines[0]).number("/rows"), 0u);
  }
  lines = lines_of(run("dump --table items --limit 7").out);
  EXPECT_EQ(lines.size(), 8u);
  EXPECT_EQ(Json(lines[0]).number("/rows"), 60u);
}

TEST_F(RingProgram, AFlippedBitIsFoundByVerify) {
  const Answer clean = run("verify --json");
  EXPECT_EQ(clean.code, 0) << clean.out;
  EXPECT_TRUE(Json(clean.out).flag("/clean"));
  // In the payload of the first row of a segment.
  const Json segments(run("segments --json").out);
  const std::uint64_t slot = segments.number("/segments/1/slot");
  const std::uint64_t chunk = segments.number("/segments/1/chunk");
  const std::uint64_t at = (slot - chunk) * directory_.options().ring.segment_bytes + 1000;
  const auto epoch = shm::current_epoch(shm::RingPath(directory_.path(), "test"));
  ASSERT_TRUE(epoch);
  {
    std::fstream file(shm::chunk_path(shm::RingPath(directory_.path(), "test").epoch(*epoch), chunk),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }
  const Answer answer = run("verify --json");
  EXPECT_EQ(answer.code, 1);
  const Json json(answer.out);
  EXPECT_FALSE(json.flag("/clean"));
  ASSERT_EQ(json.number("/finding_count"), 1u);
  EXPECT_EQ(json.text("/findings/0/file"), "chunk." + std::to_string(chunk));
  EXPECT_EQ(json.number("/findings/0/slot"), slot);
  EXPECT_LE(json.number("/findings/0/offset"), at);
  const Answer text = run("verify");
  EXPECT_EQ(text.code, 1);
  EXPECT_NE(text.out.find("checksum"), std::string::npos) << text.out;
  const Answer dump = run_with_errors("dump --table items");
  EXPECT_EQ(dump.code, 1) << dump.out;
  EXPECT_NE(dump.out.find("see verify"), std::string::npos) << dump.out;
}

TEST_F(RingProgram, WhatCannotBeLookedAtIsSaidSo) {
  const struct {
    std::string arguments;
    std::string says;
  } kCases[] = {
      {"dump --table nothing", "there is no table 'nothing' in the ring; there are: items."},
      {"dump --table items --key x", "not in its canonical form"},
      {"dump --table items --key 1,2", "a key of 'items' has 1 column"},
  };
  for (const auto& each : kCases) {
    const Answer answer = run_with_errors(each.arguments);
    EXPECT_EQ(answer.code, 2) << each.arguments;
    EXPECT_NE(answer.out.find(each.says), std::string::npos) << answer.out;
  }
  for (const char* subcommand :
       {"header", "segments", "readers", "catalogue", "verify", "dump --table items"}) {
    const Answer answer = run_ring_program("--ring " + directory_.path() + "/other " + subcommand + " 2>&1");
    EXPECT_EQ(answer.code, 2) << subcommand;
    EXPECT_NE(answer.out.find("there is no ring"), std::string::npos) << answer.out;
  }
  EXPECT_GT(run_ring_program("header 2>&1").code, 100);
  EXPECT_GT(run_with_errors("").code, 100);
  EXPECT_GT(run_with_errors("dump").code, 100);
}

TEST_F(RingProgram, AnotherLayoutIsNamed) {
  const auto epoch = shm::current_epoch(shm::RingPath(directory_.path(), "test"));
  ASSERT_TRUE(epoch);
  const std::string header = shm::header_path(shm::RingPath(directory_.path(), "test").epoch(*epoch));
  {
    std::fstream file(header, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8);
    file.put(1);
  }
  for (const char* subcommand : {"header", "verify", "dump --table items"}) {
    const Answer answer = run_with_errors(subcommand);
    EXPECT_EQ(answer.code, 2) << answer.out;
    EXPECT_NE(answer.out.find("has layout 1"), std::string::npos) << answer.out;
  }
}

TEST_F(RingProgram, TheRingIsFoundByTheConfigurationFileToo) {
  const std::string file = directory_.path() + "/ringside.toml";
  std::ofstream(file) << "[ring]\nname = \"test\"\ndirectory = \"" << directory_.path() << "\"\n";
  const Answer answer = run_ring_program("--config " + file + " catalogue --json");
  EXPECT_EQ(answer.code, 0);
  EXPECT_EQ(Json(answer.out).text("/database"), "test");
}

TEST_F(RingProgram, AQuarantinedTableIsRefusedWithItsReason) {
  ASSERT_TRUE(writer_->quarantine("items", "for a \x1b[31mtest"));
  ASSERT_TRUE(writer_.commit(5));
  const Answer answer = run_with_errors("dump --table items");
  EXPECT_EQ(answer.code, 2);
  EXPECT_NE(answer.out.find("'items' is quarantined: for a ?[31mtest"), std::string::npos) << answer.out;
  EXPECT_EQ(Json(run("catalogue --json").out).text("/tables/0/state"), "quarantined");
}

// While a writer commits and compaction frees and reuses segments underneath, verify finds nothing, segments add up, and
// every dump is of one version: all its rows say the same.
TEST_F(RingProgram, ALiveRingIsLookedAtWithoutFalseAlarm) {
  constexpr std::uint64_t kRows = 60;
  writer_.options().ring.max_bytes = std::uint64_t{1} << 20;
  ASSERT_TRUE(writer_.open());
  std::mt19937_64 random(shm::test_seed(43));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> freed{0};
  std::uint64_t version = 4;
  ASSERT_TRUE(writer_.insert(5, ""));
  ASSERT_TRUE(writer_.erase(61));
  for (std::uint64_t id = 1; id <= kRows; ++id) ASSERT_TRUE(writer_.update(id, json_text("5:")));
  ASSERT_TRUE(writer_.commit(++version));
  std::thread writing([&] {
    while (!stop) {
      ++version;
      const std::string text = json_text(std::to_string(version) + ":" + std::string(random() % 300, 'z'));
      for (std::uint64_t id = 1; id <= kRows; ++id) {
        if (!writer_.update(id, text)) return;
      }
      // A dump may hold what is needed: then the same commit is tried again until the dump has ended.
      while (!stop && !writer_->commit(Version(version),
                                       shm::Commit{version, version, 0, "0-1-" + std::to_string(version)})) {
        if (!writer_->tend(monotonic_ns())) return;
      }
      if (!writer_->tend(monotonic_ns())) return;
      freed = writer_->ring().usage().segments_freed;
    }
  });
  for (int round = 0; round < 3; ++round) {
    const Answer verified = run("verify --json");
    EXPECT_EQ(verified.code, 0) << verified.out;
    EXPECT_EQ(run("verify --hold --json 2>/dev/null").code, 0);
    const Answer surveyed = run("segments --summary --json");
    EXPECT_EQ(Json(surveyed.out).number("/tables/0/rows"), kRows);
    EXPECT_EQ(Json(surveyed.out).number("/totals/corrupt"), 0u);
    const Answer dumped = run("dump --table items");
    EXPECT_EQ(dumped.code, 0);
    const std::vector<std::string> lines = lines_of(dumped.out);
    EXPECT_EQ(lines.size(), 1 + kRows);
    if (lines.empty()) break;
    std::set<std::string> texts;
    for (std::size_t i = 1; i < lines.size(); ++i) texts.insert(Json(lines[i]).text("/name"));
    EXPECT_EQ(texts.size(), 1u);
    const std::string of_version = std::to_string(Json(lines[0]).number("/version")) + ":";
    for (const std::string& text : texts) EXPECT_EQ(text.substr(0, of_version.size()), of_version);
  }
  const std::uint64_t before = freed;
  for (int i = 0; i < 1000 && freed < before + 100; ++i) EXPECT_EQ(run("verify >/dev/null").code, 0);
  EXPECT_GE(freed, before + 100) << "segments were reused while it was looked at";
  stop = true;
  writing.join();
}

}  // namespace
}  // namespace ringside::tools
