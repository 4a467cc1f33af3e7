#include "shm/ring_writer_impl.h"

namespace ringside::shm {

Result<UniqueFd> lock_ring(const RingOptions& options) {
  const RingPath path(options.directory, options.name);
  if (const Result<void> made = create_directory(path.ring, 0770); !made) {
    if (made.error().kind != ErrorKind::kNotFound) return made.error();
    // Not made here: what is meant is a tmpfs, and one that is mounted later would hide the ring.
    return Error{ErrorKind::kNotFound,
                 fmt::format("{}; mount a tmpfs at ring.directory, or choose another", made.error().message)};
  }
  UniqueFd fd(::open(path.writer_lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (!fd) {
    return Error{errno == ENOSPC ? ErrorKind::kLimit : ErrorKind::kIo,
                 fmt::format("cannot open {}: {}", path.writer_lock(), std::strerror(errno))};
  }
  RINGSIDE_ASSIGN(const bool locked, try_lock(fd.get(), path.writer_lock()));
  if (!locked) {
    char pid[32] = {};
    const ssize_t size = ::pread(fd.get(), pid, sizeof pid - 1, 0);
    return Error{
        ErrorKind::kBusy,
        fmt::format("another writer (pid {}) holds the ring {}: stop it first, or give this one "
                    "another ring.name",
                    size > 0 ? std::string(pid, static_cast<std::size_t>(size)) : "unknown", path.ring)};
  }
  // For people; a full tmpfs must not keep the writer from a ring that it could go on with.
  const std::string pid = fmt::format("{}", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 ||
      (::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0 && errno != ENOSPC && errno != EDQUOT)) {
    return Error{ErrorKind::kIo,
                 fmt::format("cannot write {}: {}", path.writer_lock(), std::strerror(errno))};
  }
  return fd;
}

template class BasicRingWriter<ProcessMemory>;

}  // namespace ringside::shm
