// What tests of compaction share: a ring of 64 segments of 16 KiB that is soon full, and what becomes of its memory.
//
// Threads: one.   Ownership: none.   Errors: gtest expectations.   Limits: none of its own.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {

inline constexpr std::uint64_t kKiB = 1024;

inline PublisherOptions small_ring(const RingDirectory& directory) {
  PublisherOptions options = directory.options();
  options.ring.max_bytes = 1024 * kKiB;
  options.ring.reserve_bytes = 0;
  return options;
}

// Works off whatever there is to compact, at that time; how many steps, or -1 when there was no end to it.
inline int tend_until_idle(TestWriter& writer, std::uint64_t now_ns = 1) {
  for (int i = 0; i < 100'000; ++i) {
    const Result<bool> more = writer->tend(now_ns);
    EXPECT_TRUE(more) << why(more);
    if (!more || !*more) return i;
  }
  return -1;
}

// What the filesystem has given for the log.
inline std::uint64_t memory_of_chunks(const std::string& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat status {};
    if (!entry.path().filename().string().starts_with("chunk.")) continue;
    if (::stat(entry.path().c_str(), &status) == 0)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

}  // namespace ringside::shm
