// Which boot of the host this is: the conditions under which a ring's files may be gone on with after a restart
// (docs/ring-format.md, "Restart of the host").
//
// Threads: any.   Ownership: none.   Errors: kIo. Reads a file: for start-up.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "shm/layout.h"
#include "shm/twin_word.h"

namespace ringside::shm {

inline constexpr const char* kBootIdPath = "/proc/sys/kernel/random/boot_id";

// A number for the boot that the file's text names, never 0. Another boot has another one.
Result<std::uint64_t> read_boot_id(const std::string& path);

// Whether the pages of an epoch's files may be taken for those of one moment: they were written in this boot (the page
// cache is what it was), or synced as they are before the last one ended.
template <class Memory>
bool may_be_whole(const RingHeader& header, std::uint64_t boot) {
  std::uint64_t written_in = 0;
  std::uint64_t is_synced = 0;
  const bool is_this_boot = load_twin<Memory>(header.boot_id, written_in) && written_in == boot;
  return is_this_boot || (load_twin<Memory>(header.clean_stop, is_synced) && is_synced == 1);
}

}  // namespace ringside::shm
