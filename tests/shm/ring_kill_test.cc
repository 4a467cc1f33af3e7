// The writer dies by SIGKILL: at random moments of publishing, and before system calls of beginning, replacing,
// growing, giving back and recovering an epoch. Nothing committed is lost, nothing uncommitted is seen, and no file is
// left over.
//
// RINGSIDE_KILLS: how many at random moments (60).
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <set>
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

// --- at random moments of publishing

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
  const std::uint64_t rounds = kills_wanted(60);
  for (std::uint64_t round = 0; round < rounds; ++round) {
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

    EXPECT_FALSE(reader->is_superseded());
    EXPECT_FALSE(reader->writer_is_alive());
    ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
    const std::uint64_t shown = mirror.version.value();
    {
      TestWriter next(options);  // makes up for a P3 that was just about to be
      ASSERT_TRUE(next.open());
      ASSERT_FALSE(next->is_fresh()) << next->why_fresh();
    }
    ASSERT_EQ(mirror.follow(*reader), Step::kCaughtUp);
    ASSERT_LE(mirror.version.value(), shown + 1);
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
  EXPECT_GT(version, rounds) << "the writers got somewhere";
  EXPECT_EQ(*mirror_of(options.ring).table("items"), model) << "a joiner finds the same";
  ::munmap(page, sizeof(SharedWords));
}

// --- before system calls

constexpr std::uint64_t kNoCall = ~std::uint64_t{0};  // at a stop behind one

// Runs `act` in a child process, which is killed at its stop number `stop`: before or after a system call. `calls`
// receives the number of the call at each stop before one.
enum class Fate { kEnded, kKilled, kUntraceable };
Fate run_up_to(std::size_t stop, const std::function<void()>& act, std::vector<std::uint64_t>& calls) {
  calls.clear();
  const pid_t child = ::fork();
  EXPECT_GE(child, 0);
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
    ::raise(SIGSTOP);
    act();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  for (;;) {
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      if (WEXITSTATUS(status) == 77) return Fate::kUntraceable;
      EXPECT_EQ(WEXITSTATUS(status), 0);
      return Fate::kEnded;
    }
    if (!WIFSTOPPED(status)) {
      ADD_FAILURE() << "the child ended by signal " << WTERMSIG(status);
      return Fate::kEnded;
    }
    if (calls.empty()) {
      const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
      EXPECT_EQ(::ptrace(PTRACE_SETOPTIONS, child, nullptr, options), 0);
    }
    if (calls.size() == stop) {
      EXPECT_EQ(::kill(child, SIGKILL), 0);
      EXPECT_EQ(::waitpid(child, &status, 0), child);
      return Fate::kKilled;
    }
    __ptrace_syscall_info call{};
    const long size = ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof call, &call);
    calls.push_back(size > 0 && call.op == PTRACE_SYSCALL_INFO_ENTRY ? call.entry.nr : kNoCall);
    EXPECT_EQ(::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr), 0);
  }
}

// Where to kill: before and behind every call to `always`, before every call of a kind that is rare, and at some of the
// others (each reader's files are made and removed like all others'). Everywhere when RINGSIDE_CRASH_EVERY is set.
std::vector<std::size_t> stops_of(const std::vector<std::uint64_t>& calls, std::uint64_t always,
                                  std::uint32_t seed) {
  constexpr std::size_t kRare = 6;
  constexpr std::size_t kSome = 61;
  std::map<std::uint64_t, std::size_t> count;
  for (const std::uint64_t call : calls) ++count[call];
  const bool every = std::getenv("RINGSIDE_CRASH_EVERY") != nullptr;
  std::vector<std::size_t> stops;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const bool is_asked_for = always != kNoCall && (calls[i] == always || (i > 0 && calls[i - 1] == always));
    if (every || is_asked_for || count[calls[i]] <= kRare || i % kSome == seed % kSome) stops.push_back(i);
  }
  return stops;
}

// Every file of the ring is one that it should have.
void expect_no_leftovers(const RingOptions& options, Epoch epoch) {
  namespace fs = std::filesystem;
  const RingPath path(options.directory, options.name);
  std::set<std::string> ring;
  for (const auto& entry : fs::directory_iterator(path.ring)) ring.insert(entry.path().filename());
  EXPECT_EQ(ring, (std::set<std::string>{"current", "writer.lock",
                                         fs::path(path.epoch(epoch)).filename().string()}));
  std::uint64_t chunk_bytes = 0;
  std::size_t others = 0;
  for (const auto& entry : fs::directory_iterator(path.epoch(epoch))) {
    if (entry.path().filename().string().starts_with("chunk.")) {
      chunk_bytes += entry.file_size();
    } else {
      ++others;
    }
  }
  EXPECT_EQ(others, 3u) << "header, catalogue, readers";
  TestWriter writer{PublisherOptions{options, std::uint64_t{1} << 20, "/tmp"}};
  ASSERT_TRUE(writer.open());
  EXPECT_EQ(writer->ring().usage().slots * options.segment_bytes, chunk_bytes)
      << "no chunk that the ring does not count";
}

// Prepares a ring, kills a process that acts on it at one stop after the other, and checks what it has left.
void kill_at_stops(const std::function<void(const PublisherOptions&)>& prepare,
                   const std::function<void(const PublisherOptions&)>& act,
                   const std::function<void(const PublisherOptions&, bool killed)>& check,
                   std::uint64_t always = kNoCall) {
  const std::uint32_t seed = test_seed(20261123);
  std::vector<std::uint64_t> calls;
  const auto run = [&](std::size_t stop) {
    const RingDirectory directory;
    const PublisherOptions options = small_ring(directory);
    prepare(options);
    std::vector<std::uint64_t> seen;
    const Fate fate = run_up_to(
        stop, [&] { act(options); }, seen);
    if (calls.empty()) calls = seen;
    if (fate != Fate::kUntraceable) check(options, fate == Fate::kKilled);
    return fate;
  };
  if (run(~std::size_t{0}) == Fate::kUntraceable)
    GTEST_SKIP() << "this process may trace no other: nothing is shown";
  std::size_t killed = 0;
  const std::vector<std::size_t> stops = stops_of(calls, always, seed);
  for (const std::size_t stop : stops) {
    if (run(stop) == Fate::kKilled) ++killed;
    ASSERT_FALSE(::testing::Test::HasFailure()) << "at stop " << stop << " of " << calls.size();
  }
  std::printf("%zu kills at %zu stops\n", killed, calls.size());
  EXPECT_GT(killed, 20u);
}

void write_one(const PublisherOptions& options, std::uint64_t version, const std::string& json) {
  TestWriter writer(options);
  ASSERT_TRUE(version == 1 ? writer.start() && writer.insert(1, json) && writer.commit(1)
                           : writer.open() && writer.update(1, json) && writer.commit(version));
}

void load_new_epoch(const PublisherOptions& options, const UniqueFd& lock, Publisher* previous) {
  auto fresh = Publisher::create(options, lock);
  ASSERT_TRUE(fresh) << why(fresh);
  (*fresh)->describe("history", "test");
  const TableId id = (*fresh)->new_table(items_table());
  RowBuilder row;
  ASSERT_TRUE((*fresh)->load_row(id, Version(3), build_item(row, 1, json_text("new"))));
  ASSERT_TRUE((*fresh)->switch_to(id));
  ASSERT_TRUE((*fresh)->commit(Version(3), Commit{0, 1, 0, "0-1-3"}));
  ASSERT_TRUE((*fresh)->activate(previous));
}

TEST(RingCrash, AWriterKilledAtAnySystemCallOfTheFirstEpochLeavesNoneOrAWholeOne) {
  const auto begin = [](const PublisherOptions& options) {
    TestWriter writer(options);
    ASSERT_TRUE(writer.open());
    if (!writer->is_fresh()) return;
    writer.close();
    const Result<UniqueFd> lock = lock_ring(options.ring);
    ASSERT_TRUE(lock);
    load_new_epoch(options, *lock, nullptr);
  };
  kill_at_stops([](const PublisherOptions&) {}, begin,
                [&](const PublisherOptions& options, bool) {
                  begin(options);
                  TestWriter writer(options);
                  ASSERT_TRUE(writer.open());
                  EXPECT_FALSE(writer->is_fresh());
                  EXPECT_EQ(mirror_of(options.ring).table("items")->at(item_key(1)), json_text("new"));
                  const Epoch epoch = writer->ring().epoch();
                  writer.close();
                  expect_no_leftovers(options.ring, epoch);
                });
}

TEST(RingCrash, AWriterKilledAtAnySystemCallOfReplacingTheEpochLeavesOneOfTheTwo) {
  std::unique_ptr<RingReader> reader;
  kill_at_stops(
      [&](const PublisherOptions& options) {
        reader.reset();
        write_one(options, 1, json_text("old"));
        reader = join_ring(options.ring);
        ASSERT_NE(reader, nullptr);
      },
      [](const PublisherOptions& options) {
        TestWriter writer(options);
        ASSERT_TRUE(writer.open());
        load_new_epoch(options, writer.lock(), &*writer);
      },
      [&](const PublisherOptions& options, bool killed) {
        TestWriter writer(options);
        ASSERT_TRUE(writer.open());
        ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
        const Epoch epoch = writer->ring().epoch();
        const bool is_old = epoch == reader->epoch();
        EXPECT_TRUE(killed || !is_old);
        EXPECT_EQ(reader->is_superseded(), !is_old);
        EXPECT_EQ(mirror_of(options.ring).table("items")->at(item_key(1)), json_text(is_old ? "old" : "new"));
        Mirror old;  // unlinked files live as long as they are mapped
        EXPECT_EQ(old.follow(*reader), Step::kCaughtUp);
        EXPECT_EQ(old.table("items")->at(item_key(1)), json_text("old"));
        writer.close();
        expect_no_leftovers(options.ring, epoch);
      });
}

// Chunks of both kinds are made, a spill file is written, tables come and go.
TEST(RingCrash, AWriterKilledAtAnySystemCallOfGrowingLosesAndShowsNothing) {
  constexpr std::uint64_t kVersions = 12;
  const auto rows_at = [](std::uint64_t version) {
    Mirror::Rows rows;
    rows[item_key(1)] = json_text("one");
    for (std::uint64_t v = 2; v <= version; ++v) {
      for (std::uint64_t i = 0; i < v; ++i)
        rows[item_key(100 * v + i)] = json_text(std::string(900 * (1 + v % 6), 'x'));
    }
    return rows;
  };
  kill_at_stops([](const PublisherOptions& options) { write_one(options, 1, json_text("one")); },
                [](const PublisherOptions& given) {
                  PublisherOptions options = given;
                  options.transaction_buffer_bytes = 8192;
                  TestWriter writer(options);
                  ASSERT_TRUE(writer.open());
                  for (std::uint64_t v = 2; v <= kVersions; ++v) {
                    for (std::uint64_t i = 0; i < v; ++i) {
                      ASSERT_TRUE(writer.insert(100 * v + i, json_text(std::string(900 * (1 + v % 6), 'x'))));
                    }
                    ASSERT_TRUE(writer.commit(v));
                  }
                  EXPECT_GT(writer->spilled_bytes(), 0u);
                },
                [&](const PublisherOptions& options, bool killed) {
                  TestWriter writer(options);
                  ASSERT_TRUE(writer.open());
                  ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
                  const std::uint64_t version = writer->last_commit().version.value();
                  EXPECT_TRUE(killed || version == kVersions);
                  EXPECT_EQ(*mirror_of(options.ring).table("items"), rows_at(version))
                      << "at version " << version;
                  ASSERT_TRUE(writer.insert(99, json_text("goes on")) && writer.commit(version + 1));
                  const Epoch epoch = writer->ring().epoch();
                  writer.close();
                  expect_no_leftovers(options.ring, epoch);
                });
}

// The database shrinks, so that chunks are given back, and grows again, so that they are taken again: both by fallocate.
TEST(RingCrash, AWriterKilledAtAnySystemCallOfGivingBackLosesAndShowsNothing) {
  constexpr std::uint64_t kRows = 60;
  const auto rows_at = [](std::uint64_t version) {
    Mirror::Rows rows;
    rows[item_key(1)] = json_text("one");
    for (std::uint64_t i = 0; i < kRows && version != 3; ++i)
      rows[item_key(100 + i)] = filler(900, version == 2 ? 'x' : 'y');
    return rows;
  };
  const auto insert_all = [](TestWriter& writer, char c) {
    for (std::uint64_t i = 0; i < kRows; ++i) ASSERT_TRUE(writer.insert(100 + i, filler(900, c)));
  };
  kill_at_stops(
      [&](const PublisherOptions& options) {
        write_one(options, 1, json_text("one"));
        TestWriter writer(options);
        ASSERT_TRUE(writer.open());
        insert_all(writer, 'x');
        ASSERT_TRUE(writer.commit(2));
      },
      [&](const PublisherOptions& options) {
        TestWriter writer(options);
        ASSERT_TRUE(writer.open());
        for (std::uint64_t i = 0; i < kRows; ++i) ASSERT_TRUE(writer.erase(100 + i));
        ASSERT_TRUE(writer.commit(3));
        for (std::uint64_t now = 1; now < 10'000; ++now) {
          const Result<bool> more = writer->tend(now);
          ASSERT_TRUE(more) << why(more);
          if (!*more) break;
        }
        EXPECT_GT(writer->ring().usage().chunks_given_back, 3u);
        insert_all(writer, 'y');
        ASSERT_TRUE(writer.commit(4));
      },
      [&](const PublisherOptions& options, bool killed) {
        TestWriter writer(options);
        ASSERT_TRUE(writer.open());
        ASSERT_FALSE(writer->is_fresh()) << writer->why_fresh();
        const std::uint64_t version = writer->last_commit().version.value();
        EXPECT_TRUE(killed || version == 4);
        EXPECT_EQ(*mirror_of(options.ring).table("items"), rows_at(version)) << "at version " << version;
        ASSERT_TRUE(writer.insert(99, json_text("goes on")) && writer.commit(version + 1));
        const Epoch epoch = writer->ring().epoch();
        writer.close();
        expect_no_leftovers(options.ring, epoch);
      },
      SYS_fallocate);
}

}  // namespace
}  // namespace ringside::shm
