// An epoch's directory as the writer makes it (N1) and as it is retired (N5): what stands around the log. A template over
// the memory policy, since fault points lie between its stores as well.
//
// Threads: the writer's.   Ownership: none: files and their mappings are let go of again.
// Errors: kIo with path and errno's text, kLimit when memory is full; what was made until then is for
// retire_other_epochs() to remove.   Limits: RingOptions; kMaxReaders readers.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/ring_files.h"
#include "shm/ring_writer.h"
#include "shm/twin_word.h"

namespace ringside::shm {

// The number in an epoch directory's name, which its header does not have before it is put in force.
inline Epoch epoch_of(const std::string& directory) {
  return Epoch(std::strtoull(directory.c_str() + directory.size() - 16, nullptr, 16));
}

// Makes the files of an epoch that nobody sees yet: header without epoch word, catalogue, readers.
template <class Memory>
Result<void> make_epoch(const RingOptions& options, const std::string& where) {
  RINGSIDE_TRY(create_directory(where, 0770));
  RINGSIDE_TRY(create_directory(where + "/readers", 0770));
  const std::uint64_t room = options.max_bytes + options.reserve_bytes;
  // Four times what the limits allow: address space costs nothing, and the limits may be raised later.
  const std::uint64_t slots =
      std::min(4 * (room / options.segment_bytes + 1), kMaxLogBytes / options.segment_bytes);
  const std::string path = header_path(where);
  {
    RINGSIDE_ASSIGN(const UniqueFd fd, create_file(path, 0640));
    // In this order: a header of its full size is one whose first bytes may be touched, whatever became of its maker.
    RINGSIDE_TRY(allocate(fd.get(), path, 0, slot_table_bytes(0)));
    RINGSIDE_TRY(set_file_size(fd.get(), path, slot_table_bytes(slots)));
  }
  RINGSIDE_ASSIGN(const MappedFile file, MappedFile::map(path, Access::kReadWrite, kHeaderBytes));
  auto& header = *static_cast<RingHeader*>(file.data());
  const std::uint64_t identity[5] = {kRingMagic, kLayoutVersion, options.segment_bytes, options.chunk_bytes,
                                     slots};
  copy_in<Memory>(&header.magic, identity, sizeof identity);
  Memory::store_release(&header.identity_crc, crc32c(identity, sizeof identity));
  for (std::size_t i = 0; i < kMaxReaders; ++i) {
    RINGSIDE_ASSIGN(const UniqueFd fd, create_file(reader_path(where, i), 0660));
    RINGSIDE_TRY(allocate(fd.get(), reader_path(where, i), 0, kReaderFileBytes));
    RINGSIDE_TRY(create_fifo(wake_path(where, i), 0660));
  }
  return {};
}

// N5 for every epoch but `keep`: whatever became of its writer, its readers learn that it is superseded, and
// its files go. So does a link that was about to become `current`.
template <class Memory>
Result<void> retire_other_epochs(const RingPath& path, Epoch keep, Epoch superseded_by) {
  if (::unlink(path.next_current().c_str()) != 0 && errno != ENOENT) {
    return Error{ErrorKind::kIo, "cannot remove " + path.next_current()};
  }
  RINGSIDE_ASSIGN(const std::vector<Epoch> epochs, list_epochs(path));
  for (const Epoch epoch : epochs) {
    if (epoch == keep) continue;
    const std::string header = header_path(path.epoch(epoch));
    if (const Result<UniqueFd> fd = open_file(header, Access::kReadWrite)) {
      RINGSIDE_ASSIGN(const std::uint64_t size, file_size(fd->get(), header));
      if (size >= kHeaderBytes) {
        RINGSIDE_ASSIGN(const MappedFile file, MappedFile::map(header, Access::kReadWrite, kHeaderBytes));
        store_twin_seq_cst<Memory>(static_cast<RingHeader*>(file.data())->superseded_by,
                                   superseded_by.value());
        wake_all(path.epoch(epoch), kMaxReaders);
      }
    } else if (fd.error().kind != ErrorKind::kNotFound) {
      return fd.error();
    }
    RINGSIDE_TRY(remove_epoch(path, epoch));
  }
  return {};
}

}  // namespace ringside::shm
