#include "base/process_usage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"

namespace ringside {
namespace {

TEST(ProcessUsage, TellsWhatThisProcessTakes) {
  const ProcessUsage before = read_process_usage();
  ASSERT_TRUE(before.cpu_seconds && before.start_time_seconds && before.resident_bytes &&
              before.virtual_bytes && before.threads && before.open_files);
  EXPECT_EQ(*before.threads, 1u);
  EXPECT_GT(*before.virtual_bytes, *before.resident_bytes);
  const double now = static_cast<double>(wall_ns()) / 1e9;
  EXPECT_LE(*before.start_time_seconds, now + 1);
  EXPECT_GT(*before.start_time_seconds, now - 86'400);

  std::vector<UniqueFd> files;
  for (int i = 0; i < 100; ++i) files.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  constexpr std::size_t kTaken = std::size_t{64} << 20;
  void* memory = ::mmap(nullptr, kTaken, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 1, kTaken);
  const std::uint64_t cpu_ns = thread_cpu_ns();
  while (thread_cpu_ns() < cpu_ns + 50'000'000) {
  }
  const ProcessUsage after = read_process_usage();
  EXPECT_EQ(*after.open_files, *before.open_files + 100);
  EXPECT_GE(*after.resident_bytes, *before.resident_bytes + kTaken / 2);
  EXPECT_GE(*after.virtual_bytes, *before.virtual_bytes + kTaken);
  EXPECT_GE(*after.cpu_seconds, *before.cpu_seconds + 0.03);  // counted in ticks of 10 ms
  EXPECT_EQ(*after.start_time_seconds, *before.start_time_seconds) << "does not move";
  ::munmap(memory, kTaken);
}

}  // namespace
}  // namespace ringside
