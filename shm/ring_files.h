// The ring's files: names, creation, space, locks, mappings. Everything here is a system call at start-up or
// when the ring grows; nothing is on a path that answers queries.
//
// Threads: pure functions; the objects as one pleases, one thread at a time.
// Ownership: UniqueFd and MappedFile own.   Errors: kIo with path and errno's text; kLimit when memory is
// full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace ringside::shm {

// <directory>/<name>, and the parts of an epoch below it.
struct RingPath {
  std::string ring;

  RingPath(const std::string& directory, const std::string& name) : ring(directory + "/" + name) {}
  std::string writer_lock() const { return ring + "/writer.lock"; }
  std::string current() const { return ring + "/current"; }
  std::string next_current() const { return current() + ".new"; }  // what becomes `current` by rename(2)
  std::string epoch(Epoch epoch) const;
};
std::string header_path(const std::string& epoch_directory);
std::string catalogue_path(const std::string& epoch_directory);
std::string chunk_path(const std::string& epoch_directory, std::uint64_t first_slot);
std::string reader_path(const std::string& epoch_directory, std::size_t reader);
std::string wake_path(const std::string& epoch_directory, std::size_t reader);

// What kind of file is opened, and how.
enum class Access { kRead, kReadWrite };

Result<UniqueFd> open_file(const std::string& path, Access access);
// Creates the file with these permission bits whatever the umask; fails if it exists.
Result<UniqueFd> create_file(const std::string& path, unsigned mode);
Result<void> create_directory(const std::string& path, unsigned mode);  // fine if it exists
Result<void> create_fifo(const std::string& path, unsigned mode);
Result<std::uint64_t> file_size(int fd, const std::string& path);
// Without memory for it.
Result<void> set_file_size(int fd, const std::string& path, std::uint64_t size);
// Makes sure that the memory of [offset, offset + size) is there; kLimit when it is not to be had.
Result<void> allocate(int fd, const std::string& path, std::uint64_t offset, std::uint64_t size);
// Gives the memory of [0, size) back to the filesystem; the file keeps its size and its mappings. False: it has no way
// to do that.
bool give_back(int fd, std::uint64_t size);
// All of the file's memory is there.
Result<bool> is_allocated(const std::string& path);

// Writes back what the file and its mappings hold, and does not return before it is there.
Result<void> sync_file(int fd, const std::string& path);
// Every file of the epoch, and the names of all.
Result<void> sync_epoch(const RingPath& path, const std::string& epoch_directory);

// OFD locks on the whole file. try_lock: true when this descriptor holds it now.
Result<bool> try_lock(int fd, const std::string& path);
// True when another open file description holds a write lock.
bool is_locked_elsewhere(int fd);

// A file mapped whole (Boost.Interprocess).
class MappedFile {
 public:
  static Result<MappedFile> map(const std::string& path, Access access, std::uint64_t size);
  MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();

  void* data() const { return data_; }
  std::size_t size() const;

 private:
  struct Impl;
  explicit MappedFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  void* data_ = nullptr;  // impl_'s, at hand: it is asked for at every publishing and every look at the ring
};

// Address space for the whole log, reserved once; chunks are mapped into it, so that an address becomes a
// pointer by one addition. One munmap gives everything back (which is why the chunks are not mapped_regions
// of their own: each of those would open a hole at its end that another thread's mmap could take before the
// reservation is given back).
class LogSpace {
 public:
  static Result<LogSpace> reserve(std::uint64_t bytes);
  LogSpace() = default;
  LogSpace(LogSpace&& other) noexcept;
  LogSpace& operator=(LogSpace&& other) noexcept;
  ~LogSpace();

  std::byte* base() const { return base_; }
  std::uint64_t size() const { return size_; }
  // Maps all `size` bytes of the file at `offset` of the space. Precondition: inside, page-aligned.
  Result<void> map(int fd, const std::string& path, Access access, std::uint64_t offset, std::uint64_t size);
  // Enters all pages of a part that is mapped for writing into this process' page table, at a fraction of what their
  // first stores would cost one by one. A kernel that cannot (before 5.14) leaves it to those.
  void populate(std::uint64_t offset, std::uint64_t size);

 private:
  std::byte* base_ = nullptr;
  std::uint64_t size_ = 0;
};

// For programs that only read logs, once, at start: from now on a page of a LogSpace that cannot be had (a hole for which
// the filesystem has no room any more, a file cut short from outside) reads as zeros instead of ending the process by
// SIGBUS. Such a page belongs to a slot that was freed, or to a ring that is being spoilt: whoever reads it finds bytes
// that contradict themselves. Takes the process' SIGBUS handler; any other SIGBUS ends the process as ever.
Result<void> survive_missing_pages();

// Which epoch `current` names. kNotFound when there is none.
Result<Epoch> current_epoch(const RingPath& path);
// Makes `current` name this epoch, atomically.
Result<void> set_current_epoch(const RingPath& path, Epoch epoch);
// Removes an epoch's directory and all in it. Mappings of it live on. Errors: kIo; a missing one is fine.
Result<void> remove_epoch(const RingPath& path, Epoch epoch);
// Every epoch that has a directory, in no order.
Result<std::vector<Epoch>> list_epochs(const RingPath& path);
// Writes a byte into every FIFO of the epoch that a reader has open: for epochs that end, whose writer is
// gone.
void wake_all(const std::string& epoch_directory, std::size_t readers);

// A random number that is not 0.
std::uint64_t random_nonzero();

}  // namespace ringside::shm
