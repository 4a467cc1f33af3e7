#include "shm/boot.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "shm/ring_files.h"
#include "shm/row_index.h"

namespace ringside::shm {

Result<std::uint64_t> read_boot_id(const std::string& path) {
  const Result<UniqueFd> fd = open_file(path, Access::kRead);
  char text[128];
  const ssize_t size = fd ? ::read(fd->get(), text, sizeof text) : -1;
  if (size <= 0) {
    return Error{
        ErrorKind::kIo,
        fmt::format("cannot tell which boot of the host this is: {}; /proc/sys has to be readable "
                    "(with systemd: no ProcSubset=pid)",
                    fd ? fmt::format("cannot read {}: {}", path, std::strerror(errno)) : fd.error().message)};
  }
  const std::uint64_t id = key_hash(as_bytes(std::string_view(text, static_cast<std::size_t>(size))));
  return id == 0 ? 1 : id;
}

}  // namespace ringside::shm
