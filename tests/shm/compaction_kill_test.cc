// kill -9 at random moments of a writer that updates, inserts, deletes and changes keys in a ring four fifths live, while
// it is compacted; the next one continues. A process that follows all the time, one that joins while it is written, and
// one that joins after each kill find rows that prove themselves: those of the version that was acknowledged, or of one
// more.
//
// RINGSIDE_KILLS: how many (40).
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>

#include "base/clock.h"
#include "tests/shm/proven_rows.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kKeys = 2000;
constexpr std::uint64_t kSegmentBytes = 8192;

// Shared between the test, the writers that it kills and the process that follows.
struct Shared {
  std::atomic<std::uint64_t> acknowledged{0};  // commit() has returned
  std::atomic<std::uint64_t> committing{0};    // commit() has been called
  std::atomic<std::uint64_t> followed{0};      // the version that the follower has proven
  std::atomic<bool> is_over{false};
};

[[noreturn]] void give_up(const char* who, const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", who, why.c_str());
  ::_exit(1);
}

// The child that writes: continues from what the ring holds, until it is killed.
[[noreturn]] void write_until_killed(const PublisherOptions& options, Shared& shared, std::uint64_t seed) {
  TestWriter writer(options);
  if (!writer.open() || writer->is_fresh()) give_up("writer", "it does not continue the ring");
  std::string wrong;
  ProvenRows rows = proven_rows_of(mirror_of(options.ring), wrong);
  if (!wrong.empty()) give_up("writer", wrong);
  ProvenChanges<TestWriter> changes(writer, rows, kKeys);
  std::mt19937_64 random(seed);
  for (std::uint64_t version = writer->last_commit().version.value() + 1;; ++version) {
    if (!changes.change(version, random)) give_up("writer", "a change was refused");
    shared.committing = version;
    auto committed = writer.try_commit(version);
    while (!committed && committed.error().kind == ErrorKind::kLimit &&
           (writer->room_state() == RoomState::kSoon || writer->room_state() == RoomState::kReaders)) {
      if (!writer->tend(monotonic_ns())) give_up("writer", "it cannot compact");
      writer->ring().check_readers(monotonic_ns());
      if (writer->room_state() == RoomState::kReaders) ::sched_yield();
      committed = writer.try_commit(version);
    }
    if (!committed) give_up("writer", committed.error().message);
    if (!committed->empty()) give_up("writer", committed->front().second);
    shared.acknowledged = version;
    if (random() % 4 == 0 && !writer->tend(monotonic_ns())) give_up("writer", "it cannot compact");
  }
}

// The child that follows throughout, asleep when there is nothing.
[[noreturn]] void follow_until_over(const RingOptions& options, Shared& shared) {
  const std::unique_ptr<RingReader> reader = join_ring(options);
  if (reader == nullptr) give_up("follower", "it cannot join");
  Mirror mirror;
  while (!shared.is_over) {
    const Step step = mirror.follow(*reader);
    if (step != Step::kCaughtUp) give_up("follower", "step " + std::to_string(static_cast<int>(step)));
    std::string wrong;
    proven_rows_of(mirror, wrong);
    if (!wrong.empty()) give_up("follower", wrong);
    shared.followed = mirror.version.value();
    if (!reader->prepare_sleep()) continue;
    pollfd fd{reader->wake_fd(), POLLIN, 0};
    ::poll(&fd, 1, 20);  // the end is not told through the ring
    reader->awake();
    char bytes[64];
    while (::read(reader->wake_fd(), bytes, sizeof bytes) > 0) {
    }
  }
  ::_exit(::testing::Test::HasFailure() ? 1 : 0);
}

// What one that joins now finds: the version, or 0 after a failed expectation.
std::uint64_t proven_version(const RingOptions& options) {
  const Mirror mirror = mirror_of(options);
  std::string wrong;
  proven_rows_of(mirror, wrong);
  EXPECT_EQ(wrong, "");
  return wrong.empty() ? mirror.version.value() : 0;
}

// A child that is killed with the object, however the test ends.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) { EXPECT_GE(pid, 0); }
  ~Child() {
    if (pid_ > 0 && !has_ended()) end(SIGKILL);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool has_ended() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = 0;
    return pid_ == 0;
  }
  // How it ended; `signal`: that it is sent before, or 0.
  int end(int signal) {
    if (signal != 0) {
      EXPECT_EQ(::kill(pid_, signal), 0);
    }
    EXPECT_EQ(::waitpid(pid_, &status_, 0), pid_);
    pid_ = 0;
    return status_;
  }

 private:
  pid_t pid_;
  int status_ = 0;
};

TEST(CompactionCrash, AWriterKilledAtRandomLosesNothingAcknowledgedAndShowsNothingElse) {
  const std::uint32_t seed = test_seed(20260313);
  std::mt19937_64 random(seed);
  const RingDirectory directory;
  PublisherOptions options = directory.options();
  options.ring.segment_bytes = kSegmentBytes;
  options.ring.chunk_bytes = 4 * kSegmentBytes;
  options.ring.reserve_bytes = 0;
  options.ring.reader_grace_ns = 120'000'000'000;  // however slow the machine: nobody is stopped here
  options.ring.reader_wait_ns = 120'000'000'000;
  void* page = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto& shared = *new (page) Shared;
  {
    TestWriter writer(options);
    ASSERT_TRUE(writer.start());
    ProvenRows rows;
    ProvenChanges<TestWriter> changes(writer, rows, kKeys);
    std::uint64_t version = 2;
    ASSERT_TRUE(changes.fill(version) && writer.commit(version));
    while (version < 2000) {
      ++version;
      ASSERT_TRUE(changes.change(version, random) && writer.commit(version));
    }
    const std::uint64_t live = writer->ring().usage().live_bytes;
    options.ring.max_bytes = (live * 5 / 4 + kSegmentBytes - 1) / kSegmentBytes * kSegmentBytes;
    shared.acknowledged = shared.committing = version;
  }
  const pid_t following = ::fork();
  if (following == 0) follow_until_over(options.ring, shared);
  Child follower(following);

  const std::uint64_t kills = kills_wanted(40);
  const std::uint64_t began = shared.acknowledged;
  for (std::uint64_t round = 0; round < kills && !::testing::Test::HasFailure(); ++round) {
    const std::uint64_t target = shared.acknowledged + random() % 300;
    const pid_t writing = ::fork();
    if (writing == 0) write_until_killed(options, shared, seed + round);
    Child writer(writing);
    while (shared.acknowledged < target && !writer.has_ended()) {
      if (random() % 4 == 0) {
        proven_version(options.ring);
      } else {
        ::sched_yield();
      }
    }
    ASSERT_FALSE(writer.has_ended()) << "by itself";
    const std::uint64_t until_ns = monotonic_ns() + random() % 3'000'000;
    while (monotonic_ns() < until_ns) {
    }
    ASSERT_TRUE(WIFSIGNALED(writer.end(SIGKILL))) << "it had ended by itself";
    const std::uint64_t version = proven_version(options.ring);
    EXPECT_GE(version, shared.acknowledged) << "what was acknowledged is there";
    EXPECT_LE(version, shared.committing) << "what was not begun is not";
    shared.acknowledged = version;
    while (shared.followed < version && !follower.has_ended()) ::sched_yield();
    ASSERT_FALSE(follower.has_ended()) << "by itself";
    EXPECT_EQ(shared.followed, version);
  }
  shared.is_over = true;
  ASSERT_FALSE(follower.has_ended());
  const int status = follower.end(0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  TestWriter writer(options);
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  std::printf("%lu kills, %lu transactions, log of %lu bytes in a ring of %lu\n", kills,
              shared.acknowledged - began, writer->ring().usage().committed.value(), options.ring.max_bytes);
  EXPECT_GT(writer->ring().usage().committed.value(), 2 * options.ring.max_bytes) << "it was compacted";
  ::munmap(page, sizeof(Shared));
}

}  // namespace
}  // namespace ringside::shm
