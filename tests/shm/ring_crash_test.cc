// The writer dies: at every single store of a scripted workload, and by SIGKILL at random moments. Nothing
// committed is lost, nothing uncommitted is seen, and the next writer goes on in the same epoch.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "shm/publisher_impl.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "tests/shm/fault_memory.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

PublisherOptions small_ring(const RingDirectory& directory) {
  PublisherOptions options = directory.options();
  options.ring.segment_bytes = 4096;
  options.ring.chunk_bytes = 8192;
  options.ring.max_bytes = std::uint64_t{8} << 20;
  return options;
}

// --- a fault at every store

using FaultWriter = BasicTestWriter<FaultMemory>;

std::string filler(std::size_t size) {
  return json_text(std::string(size, 'x'));
}

// What the ring must hold at each version of the script.
struct Expected {
  Mirror::Rows items;
  bool has_second = false;
  Mirror::Rows second;
  bool is_quarantined = false;  // items
};

constexpr std::uint64_t kLastScripted = 9;

// The transaction of this version, collected and published; and what it does to the rows.
void run_step(FaultWriter& writer, std::uint64_t version) {
  switch (version) {
    case 2:  // behind the tail
      writer.insert(10, json_text("ten"));
      writer.update(1, json_text("one again"));
      break;
    case 3:  // changes segments, takes a new chunk
      for (std::uint64_t id = 20; id < 28; ++id) writer.insert(id, filler(900));
      break;
    case 4:  // jumbo, and a small one behind it
      writer.insert(30, filler(5000));
      writer.erase(10);
      writer.insert(31, json_text("behind"));
      break;
    case 5: {  // a load of its own batch, then live: catalogue and events
      RowBuilder row;
      const TableId second = writer->new_table(items_table("second"));
      EXPECT_TRUE(writer->load_row(second, Version(4), build_item(row, 1, json_text("loaded"))));
      EXPECT_TRUE(writer->end_load());
      EXPECT_TRUE(writer->switch_to(second));
      break;
    }
    case 6:  // a transaction without changes
      break;
    case 7:
      writer.erase(30);
      writer.update(31, filler(2000));
      break;
    case 8:  // the row is there already: quarantined on the way
      writer.insert(31, json_text("twice"));
      EXPECT_TRUE(writer.try_commit(version));
      return;
    case kLastScripted:
      EXPECT_TRUE(writer->drop("second"));
      break;
    default:
      FAIL() << "no step " << version;
  }
  EXPECT_TRUE(writer.commit(version));
}

Expected expected_at(std::uint64_t version) {
  Expected e;
  e.items[item_key(1)] = json_text("one");
  if (version >= 2) {
    e.items[item_key(1)] = json_text("one again");
    e.items[item_key(10)] = json_text("ten");
  }
  if (version >= 3) {
    for (std::uint64_t id = 20; id < 28; ++id) e.items[item_key(id)] = filler(900);
  }
  if (version >= 4) {
    e.items[item_key(30)] = filler(5000);
    e.items.erase(item_key(10));
    e.items[item_key(31)] = json_text("behind");
  }
  if (version >= 5 && version < 9) {
    e.has_second = true;
    e.second[item_key(1)] = json_text("loaded");
  }
  if (version >= 7) {
    e.items.erase(item_key(30));
    e.items[item_key(31)] = filler(2000);
  }
  e.is_quarantined = version >= 8;
  return e;
}

void expect_contents(const Mirror& mirror, std::uint64_t version) {
  const Expected expected = expected_at(version);
  EXPECT_EQ(mirror.version, Version(version));
  EXPECT_EQ(mirror.quarantined.contains("items"), expected.is_quarantined);
  if (expected.is_quarantined) {
    EXPECT_EQ(mirror.table("items"), nullptr);
  } else if (mirror.table("items") == nullptr) {
    ADD_FAILURE() << "items is not served";
  } else {
    EXPECT_EQ(*mirror.table("items"), expected.items);
  }
  ASSERT_EQ(mirror.table("second") != nullptr, expected.has_second);
  if (expected.has_second) {
    EXPECT_EQ(*mirror.table("second"), expected.second);
  }
}

// One run of the script that dies before store number `fault`. False when the script ended before.
bool dies_and_is_continued(std::uint64_t fault) {
  const RingDirectory directory;
  FaultWriter writer(small_ring(directory));
  writer.use_mysql_gtids();
  FaultMemory::disarm();
  if (!writer.open()) return false;
  writer->describe("history", "test");
  EXPECT_TRUE(writer->switch_to(writer->new_table(items_table())));
  EXPECT_TRUE(writer.commit(1) && writer.activate());
  EXPECT_TRUE(writer.insert(1, json_text("one")) && writer.commit(1));
  const Epoch epoch = writer->ring().epoch();
  const std::unique_ptr<RingReader> reader = join_ring(writer.options().ring);
  if (reader == nullptr) return false;
  Mirror follower;

  std::uint64_t done = 1;
  bool died = false;
  FaultMemory::arm(fault);
  try {
    while (done < kLastScripted) {
      run_step(writer, done + 1);
      ++done;
    }
  } catch (const FaultPoint&) {
    died = true;
  }
  // Before anybody continues: whole transactions only.
  EXPECT_EQ(follower.follow(*reader), Step::kCaughtUp);
  expect_contents(follower, follower.version.value());
  FaultMemory::disarm();
  if (!writer.open()) return false;
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(writer->ring().epoch(), epoch);
  const std::uint64_t version = writer->last_commit().version.value();
  EXPECT_TRUE(version == done || (died && version == done + 1)) << version << " after " << done;
  EXPECT_EQ(follower.version, Version(version));
  EXPECT_EQ(writer->executed().set().version(), Version(version)) << writer->executed().text();
  expect_contents(mirror_of(writer.options().ring), version);
  // And it goes on, to the script's end.
  for (std::uint64_t next = version + 1; next <= kLastScripted; ++next) run_step(writer, next);
  EXPECT_EQ(follower.follow(*reader), Step::kCaughtUp);
  expect_contents(follower, kLastScripted);
  expect_contents(mirror_of(writer.options().ring), kLastScripted);
  return died;
}

TEST(RingCrash, AWriterThatDiesAtAnyStoreLosesAndShowsNothing) {
  std::uint64_t fault = 0;
  while (dies_and_is_continued(fault)) {
    ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
    ++fault;
  }
  ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
  EXPECT_GT(fault, 1000u);
  ::testing::Test::RecordProperty("fault_points", static_cast<int>(fault));
}

// A new epoch beside the one in force, up to its activation.
bool replacing_dies(std::uint64_t fault) {
  const RingDirectory directory;
  FaultMemory::disarm();
  FaultWriter writer(small_ring(directory));
  if (!writer.start()) return false;
  EXPECT_TRUE(writer.insert(1, json_text("old")) && writer.commit(2));
  const std::unique_ptr<RingReader> reader = join_ring(writer.options().ring);
  if (reader == nullptr) return false;
  bool died = false;
  std::unique_ptr<BasicPublisher<FaultMemory>> fresh;
  FaultMemory::arm(fault);
  try {
    auto created = BasicPublisher<FaultMemory>::create(writer.options(), writer.lock());
    EXPECT_TRUE(created) << why(created);
    fresh = std::move(*created);
    const TableId id = fresh->new_table(items_table());
    RowBuilder row;
    EXPECT_TRUE(fresh->load_row(id, Version(3), build_item(row, 1, json_text("new"))));
    EXPECT_TRUE(fresh->switch_to(id));
    EXPECT_TRUE(fresh->commit(Version(3), Commit{0, 1, 0, "0-1-3"}));
    EXPECT_TRUE(fresh->activate(&*writer));
  } catch (const FaultPoint&) {
    died = true;
  }
  FaultMemory::disarm();
  fresh.reset();
  if (!writer.open()) return false;
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  const Mirror now = mirror_of(writer.options().ring);
  const bool is_old = writer->ring().epoch() == reader->epoch();
  EXPECT_TRUE(died || !is_old);
  EXPECT_EQ(now.version, Version(is_old ? 2 : 3));
  EXPECT_EQ(now.table("items")->at(item_key(1)), json_text(is_old ? "old" : "new"));
  EXPECT_EQ(reader->is_superseded(), !is_old) << "a reader knows whether its epoch is in force";
  const auto epochs = list_epochs(RingPath(directory.path(), "test"));
  EXPECT_EQ(epochs->size(), 1u);
  return died;
}

TEST(RingCrash, AWriterThatDiesWhileItReplacesTheEpochLeavesOneOfTheTwo) {
  std::uint64_t fault = 0;
  while (replacing_dies(fault)) {
    ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
    ++fault;
  }
  ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
  EXPECT_GT(fault, 50u);
}

// --- SIGKILL

// Shared between the test and the writers that it kills.
struct SharedWords {
  std::atomic<std::uint64_t> stores{0};
  std::atomic<std::uint64_t> committing{1};  // the version that the writer is about to publish
  std::atomic<std::uint64_t> committed{1};   // the one whose commit() has returned
};

// The transaction of a version is a function of the seed, the version and the rows before it; so the test's
// model and the writer (which knows the rows from the ring) do the same.
struct Change {
  enum Kind { kInsert, kUpdate, kErase } kind;
  std::uint64_t id;
  std::string json;
};
std::vector<Change> changes_of(std::uint32_t seed, std::uint64_t version, const Mirror::Rows& rows) {
  std::mt19937_64 random(seed * 1'000'003 + version);
  std::vector<Change> changes;
  std::map<std::uint64_t, bool> present;
  const std::uint64_t count = random() % 8 == 0 ? 60 : random() % 5;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t id = random() % 200;
    const auto known = present.find(id);
    const bool is_here = known != present.end() ? known->second : rows.contains(item_key(id));
    const std::size_t size = random() % 50 == 0 ? 4000 + random() % 6000 : random() % 300;
    const std::string json = json_text(std::to_string(version) + ":" + std::string(size, 'y'));
    const bool erases = is_here && random() % 3 == 0;
    changes.push_back({erases ? Change::kErase : is_here ? Change::kUpdate : Change::kInsert, id, json});
    present[id] = !erases;
  }
  return changes;
}
void apply_changes(const std::vector<Change>& changes, Mirror::Rows& rows) {
  for (const Change& change : changes) {
    if (change.kind == Change::kErase) {
      rows.erase(item_key(change.id));
    } else {
      rows[item_key(change.id)] = change.json;
    }
  }
}

// The child: continues the ring and publishes until it is killed. Exits with 1 when anything is not as it
// should be.
[[noreturn]] void write_until_killed(const PublisherOptions& options, SharedWords& shared, std::uint32_t seed,
                                     std::uint64_t version, Mirror::Rows rows) {
  CountingMemory::counter = &shared.stores;
  BasicTestWriter<CountingMemory> writer(options);
  if (!writer.open() || writer->is_fresh() || writer->last_commit().version != Version(version)) ::_exit(1);
  for (;;) {
    const std::vector<Change> changes = changes_of(seed, ++version, rows);
    for (const Change& change : changes) {
      const bool ok = change.kind == Change::kErase    ? writer.erase(change.id)
                      : change.kind == Change::kUpdate ? writer.update(change.id, change.json)
                                                       : writer.insert(change.id, change.json);
      if (!ok) ::_exit(1);
    }
    shared.committing.store(version);
    const auto refused = writer.try_commit(version);
    if (!refused && refused.error().kind == ErrorKind::kLimit) ::_exit(2);
    if (!refused || !refused->empty()) ::_exit(1);
    shared.committed.store(version);
    apply_changes(changes, rows);
  }
}

TEST(RingCrash, AKilledWriterLosesNothingCommittedAndShowsNothingElse) {
  const std::uint32_t seed = test_seed(20260108);
  std::mt19937 random(seed);
  const RingDirectory directory;
  PublisherOptions options = small_ring(directory);
  options.ring.max_bytes = std::uint64_t{512} << 20;
  void* page =
      ::mmap(nullptr, sizeof(SharedWords), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto& shared = *new (page) SharedWords;
  {
    TestWriter writer(options);
    ASSERT_TRUE(writer.start());
  }
  const std::unique_ptr<RingReader> reader = join_ring(options.ring);
  ASSERT_NE(reader, nullptr);
  Mirror mirror;
  Mirror::Rows model;
  std::uint64_t version = 1;
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t target = shared.stores.load() + 200 + random() % 20000;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(options, shared, seed, version, model);
    int status = 0;
    pid_t ended = 0;
    while (shared.stores.load() < target && (ended = ::waitpid(child, &status, WNOHANG)) == 0) {
      ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
      ::sched_yield();
    }
    ASSERT_EQ(ended, 0) << "the writer ended by itself, with " << WEXITSTATUS(status);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));

    ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
    EXPECT_FALSE(reader->is_superseded());
    EXPECT_FALSE(reader->writer_is_alive());
    const std::uint64_t now = mirror.version.value();
    ASSERT_GE(now, shared.committed.load()) << "what was committed is there";
    ASSERT_LE(now, shared.committing.load()) << "what was not is not";
    while (version < now) {
      ++version;
      apply_changes(changes_of(seed, version, model), model);
    }
    ASSERT_EQ(*mirror.table("items"), model) << "at version " << version;
    shared.committed.store(version);
    shared.committing.store(version);
  }
  EXPECT_GT(version, static_cast<std::uint64_t>(kRounds)) << "the writers got somewhere";
  EXPECT_EQ(*mirror_of(options.ring).table("items"), model) << "a joiner finds the same";
  ::munmap(page, sizeof(SharedWords));
}

}  // namespace
}  // namespace ringside::shm
