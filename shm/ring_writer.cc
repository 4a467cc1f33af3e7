#include "shm/ring_writer_impl.h"

namespace ringside::shm {

Result<UniqueFd> lock_ring(const RingOptions& options) {
  const RingPath path(options.directory, options.name);
  RINGSIDE_TRY(create_directory(path.ring, 0770));
  UniqueFd fd(::open(path.writer_lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (!fd) return Error{ErrorKind::kIo, "cannot open " + path.writer_lock()};
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
  const std::string pid = fmt::format("{}", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return Error{ErrorKind::kIo, "cannot write " + path.writer_lock()};
  }
  return fd;
}

template class BasicRingWriter<ProcessMemory>;

}  // namespace ringside::shm
