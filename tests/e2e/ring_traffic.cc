// ring-traffic: stands in for the writer where only the ring matters. Changes rows that prove themselves
// (tests/shm/proven_rows.h) in a ring four fifths live, without end and at full speed, and compacts it, as capture does.
//
//   ring-traffic DIRECTORY NAME KEYS GRACE_MS WAIT_MS
//
// Prints a line of JSON every 20 ms or so, and ends at SIGTERM, or with 1 and a reason when anything is not as it should
// be. A ring that is there already is continued.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

#include "base/clock.h"
#include "tests/shm/proven_rows.h"

namespace ringside::shm {
namespace {

constexpr std::uint64_t kSegmentBytes = 16384;
constexpr std::uint64_t kReportNs = 20'000'000;
constexpr std::uint64_t kWarmUp = 1000;  // transactions, after which there are rows of all lengths

std::atomic<bool> is_over{false};

int fail(const std::string& why) {
  std::fprintf(stderr, "ring-traffic: %s\n", why.c_str());
  return 1;
}

struct Report {
  std::uint64_t evicted = 0;
  std::uint64_t longest_wait_ns = 0;
  std::uint64_t next_ns = 0;

  void print(TestWriter& writer, std::uint64_t version, std::uint64_t now_ns) {
    if (now_ns < next_ns) return;
    next_ns = now_ns + kReportNs;
    const RingUsage usage = writer->ring().usage();
    std::printf(
        "{\"pid\":%d,\"version\":%lu,\"committed\":%lu,\"limit\":%lu,\"freed\":%lu,\"readers\":%zu,"
        "\"evicted\":%lu,"
        "\"longest_wait_ms\":%.1f}\n",
        static_cast<int>(::getpid()), version, usage.committed.value(), usage.limit_bytes,
        usage.segments_freed, writer->ring().readers().size(), evicted,
        static_cast<double>(longest_wait_ns) / 1e6);
    std::fflush(stdout);
  }
};

// One transaction, however long it waits for room. False: it cannot be committed.
bool commit(TestWriter& writer, std::uint64_t version, Report& report) {
  const std::uint64_t from_ns = monotonic_ns();
  for (;;) {
    const auto committed = writer.try_commit(version);
    const std::uint64_t now_ns = monotonic_ns();
    report.longest_wait_ns = std::max(report.longest_wait_ns, now_ns - from_ns);
    writer->ring().beat(now_ns);
    report.evicted += writer->ring().check_readers(now_ns);
    report.print(writer, committed ? version : version - 1, now_ns);
    if (committed) {
      writer->ring().set_source(Version(version), 0, now_ns);
      return committed->empty();
    }
    const RoomState state = writer->room_state();
    if (state != RoomState::kSoon && state != RoomState::kReaders) {
      fail(committed.error().message);
      return false;
    }
    if (is_over) return true;
    if (!writer->tend(now_ns)) return false;
    if (state == RoomState::kReaders) std::this_thread::yield();
  }
}

int run(const PublisherOptions& options, std::uint64_t keys) {
  // For the words with which it is refused; the writer takes it again.
  if (const Result<UniqueFd> lock = lock_ring(options.ring); !lock) return fail(lock.error().message);
  TestWriter writer(options);
  if (!writer.open()) return 1;
  ProvenRows rows;
  ProvenChanges<TestWriter> changes(writer, rows, keys);
  std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()) ^ monotonic_ns());
  Report report;
  if (writer->is_fresh()) {
    if (!writer.start() || !changes.fill(2) || !writer.commit(2)) return 1;
    for (std::uint64_t version = 3; version <= kWarmUp; ++version) {
      if (!changes.change(version, random) || !writer.commit(version)) return 1;
    }
  } else {
    std::string wrong;
    rows = proven_rows_of(mirror_of(options.ring), wrong);
    if (!wrong.empty()) return fail(wrong);
  }
  const std::uint64_t live = writer->ring().usage().live_bytes;
  if (!writer->ring().set_limits((live * 5 / 4 / kSegmentBytes + 1) * kSegmentBytes, 0)) return 1;
  writer->ring().set_capture_state(CaptureState::kStreaming);
  for (std::uint64_t version = writer->last_commit().version.value() + 1; !is_over; ++version) {
    if (!changes.change(version, random) || !commit(writer, version, report)) return 1;
    if (!writer->tend(monotonic_ns())) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace ringside::shm

int main(int count, char** arguments) {
  using namespace ringside::shm;
  if (count != 6) return fail("DIRECTORY NAME KEYS GRACE_MS WAIT_MS");
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::signal(SIGTERM, [](int) { is_over = true; });
  PublisherOptions options;
  options.ring.directory = arguments[1];
  options.ring.name = arguments[2];
  options.ring.segment_bytes = kSegmentBytes;
  options.ring.chunk_bytes = 4 * kSegmentBytes;
  options.ring.max_bytes = std::uint64_t{64} << 20;
  options.ring.reserve_bytes = 0;
  options.ring.reader_limit_bytes = std::uint64_t{1} << 20;
  options.ring.reader_grace_ns = std::strtoull(arguments[4], nullptr, 10) * 1'000'000;
  options.ring.reader_wait_ns = std::strtoull(arguments[5], nullptr, 10) * 1'000'000;
  return run(options, std::strtoull(arguments[3], nullptr, 10));
}
