#include "shm/ring_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include "base/assert.h"

namespace ringside::shm {
namespace {

Error io_error(const char* what, const std::string& path) {
  const int code = errno;
  const bool lacks_descriptors = code == EMFILE || code == ENFILE;
  const bool is_limit = lacks_descriptors || code == ENOSPC || code == EDQUOT || code == ENOMEM;
  const ErrorKind kind = code == ENOENT ? ErrorKind::kNotFound
                         : is_limit     ? ErrorKind::kLimit
                                        : ErrorKind::kIo;
  return Error{kind, fmt::format("cannot {} {}: {}{}", what, path, std::strerror(code),
                                 lacks_descriptors ? "; raise the limit of open files (LimitNOFILE=)" : "")};
}

bool parse_epoch(const std::string& directory, Epoch& epoch) {
  constexpr std::string_view kPrefix = "epoch-";
  if (directory.size() != kPrefix.size() + 16 || directory.compare(0, kPrefix.size(), kPrefix) != 0)
    return false;
  char* end = nullptr;
  epoch = Epoch(std::strtoull(directory.c_str() + kPrefix.size(), &end, 16));
  return *end == '\0' && epoch.value() != 0;
}

std::string epoch_name(Epoch epoch) {
  return fmt::format("epoch-{:016x}", epoch.value());
}

}  // namespace

std::string RingPath::epoch(Epoch epoch) const {
  return ring + "/" + epoch_name(epoch);
}
std::string header_path(const std::string& epoch_directory) {
  return epoch_directory + "/header";
}
std::string catalogue_path(const std::string& epoch_directory) {
  return epoch_directory + "/catalogue";
}
std::string chunk_path(const std::string& epoch_directory, std::uint64_t first_slot) {
  return fmt::format("{}/chunk.{}", epoch_directory, first_slot);
}
std::string reader_path(const std::string& epoch_directory, std::size_t reader) {
  return fmt::format("{}/readers/{}", epoch_directory, reader);
}
std::string wake_path(const std::string& epoch_directory, std::size_t reader) {
  return fmt::format("{}/readers/{}.wake", epoch_directory, reader);
}

Result<UniqueFd> open_file(const std::string& path, Access access) {
  UniqueFd fd(::open(path.c_str(), (access == Access::kRead ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!fd) return io_error("open", path);
  return fd;
}

Result<UniqueFd> create_file(const std::string& path, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return io_error("create", path);
  if (::fchmod(fd.get(), mode) != 0) return io_error("set the permissions of", path);
  return fd;
}

Result<void> create_directory(const std::string& path, unsigned mode) {
  if (::mkdir(path.c_str(), mode) != 0) {
    if (errno == EEXIST) return {};
    return io_error("create the directory", path);
  }
  if (::chmod(path.c_str(), mode) != 0) return io_error("set the permissions of", path);
  return {};
}

Result<void> create_fifo(const std::string& path, unsigned mode) {
  if (::mkfifo(path.c_str(), mode) != 0) return io_error("create the FIFO", path);
  if (::chmod(path.c_str(), mode) != 0) return io_error("set the permissions of", path);
  return {};
}

Result<std::uint64_t> file_size(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return io_error("read the size of", path);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<void> set_file_size(int fd, const std::string& path, std::uint64_t size) {
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return io_error("set the size of", path);
  return {};
}

Result<void> allocate(int fd, const std::string& path, std::uint64_t offset, std::uint64_t size) {
  int code = 0;
  do {  // tmpfs gives up on any signal
    code = ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(size));
  } while (code == EINTR);
  if (code == 0) return {};
  const bool is_limit = code == ENOSPC || code == EDQUOT || code == ENOMEM;
  return Error{
      is_limit ? ErrorKind::kLimit : ErrorKind::kIo,
      fmt::format("cannot allocate {} bytes for {}: {}; enlarge the filesystem it is on (ring.directory) "
                  "or lower ring.max_size",
                  size, path, std::strerror(code))};
}

Result<bool> is_allocated(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return io_error("look at", path);
  constexpr std::uint64_t kBlock = 512;
  return static_cast<std::uint64_t>(status.st_blocks) * kBlock >= static_cast<std::uint64_t>(status.st_size);
}

bool give_back(int fd, std::uint64_t size) {
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) == 0;
}

Result<void> sync_file(int fd, const std::string& path) {
  if (::fsync(fd) != 0) return io_error("sync", path);
  return {};
}

Result<void> sync_epoch(const RingPath& path, const std::string& epoch_directory) {
  std::vector<std::string> paths;
  std::error_code error;
  std::filesystem::directory_iterator entry(epoch_directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->is_regular_file(error)) paths.push_back(entry->path());
  }
  if (error) return Error{ErrorKind::kIo, "cannot list " + epoch_directory + ": " + error.message()};
  for (const char* directory : {"", "/readers"}) paths.push_back(epoch_directory + directory);
  paths.push_back(path.ring);
  for (const std::string& each : paths) {
    RINGSIDE_ASSIGN(const UniqueFd fd, open_file(each, Access::kRead));
    RINGSIDE_TRY(sync_file(fd.get(), each));
  }
  return {};
}

Result<bool> try_lock(int fd, const std::string& path) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return io_error("lock", path);
}

bool is_locked_elsewhere(int fd) {
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

struct MappedFile::Impl {
  boost::interprocess::mapped_region region;
};

Result<MappedFile> MappedFile::map(const std::string& path, Access access, std::uint64_t size) {
  namespace bi = boost::interprocess;
  const bi::mode_t mode = access == Access::kRead ? bi::read_only : bi::read_write;
  try {
    const bi::file_mapping file(path.c_str(), mode);
    auto impl = std::make_unique<Impl>();
    impl->region = bi::mapped_region(file, mode, 0, size);
    return MappedFile(std::move(impl));
  } catch (const bi::interprocess_exception& e) {
    const int code = e.get_native_error();
    const bool is_limit = code == EMFILE || code == ENFILE || code == ENOMEM;
    return Error{is_limit ? ErrorKind::kLimit : ErrorKind::kIo,
                 fmt::format("cannot map {} bytes of {}: {}", size, path, e.what())};
  }
}
MappedFile::MappedFile() = default;
MappedFile::MappedFile(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), data_(impl_->region.get_address()) {}
MappedFile::MappedFile(MappedFile&&) noexcept = default;
MappedFile& MappedFile::operator=(MappedFile&&) noexcept = default;
MappedFile::~MappedFile() = default;
std::size_t MappedFile::size() const {
  return impl_->region.get_size();
}

namespace {

// The reservations that there are, for a signal handler: a base of 0 is a free entry; the size is stored before it. A
// process has a session or two at a time; what finds no entry is not mended, which is all.
struct Reservation {
  std::atomic<std::uintptr_t> base{0};
  std::atomic<std::uint64_t> size{0};
};
std::array<Reservation, 16> reservations;

void note_reservation(std::byte* base, std::uint64_t size) {
  for (Reservation& entry : reservations) {
    std::uintptr_t free = 0;
    constexpr std::uintptr_t kBeingFilled = 1;  // no address: nothing lies in it
    if (!entry.base.compare_exchange_strong(free, kBeingFilled)) continue;
    entry.size.store(size);
    entry.base.store(reinterpret_cast<std::uintptr_t>(base));
    return;
  }
}

void forget_reservation(std::byte* base) {
  std::uintptr_t mine = reinterpret_cast<std::uintptr_t>(base);
  for (Reservation& entry : reservations) {
    if (entry.base.compare_exchange_strong(mine, 0)) return;
    mine = reinterpret_cast<std::uintptr_t>(base);
  }
}

// Runs in the middle of whatever read the page. Async-signal-safe: lock-free atomics, and mmap, sysconf's answer having
// been fetched before; on Linux mmap(2) is the bare system call, it takes no lock of this process and allocates nothing.
// errno is kept. The page that is put in the place of the missing one reads as zeros, which are no record, so the copy
// that comes of it is refused like any other bytes that contradict themselves.
std::uintptr_t page_mask = 0;
void put_zero_page(int, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const Reservation& entry : reservations) {
    const std::uintptr_t base = entry.base.load();
    if (base <= 1 || address < base || address - base >= entry.size.load()) continue;
    void* const page = reinterpret_cast<void*>(address & page_mask);
    const void* put = ::mmap(page, ~page_mask + 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = saved_errno;
    if (put != MAP_FAILED) return;
    break;
  }
  // Not ours: the instruction is tried again, and now ends the process as it would have.
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGBUS, &plain, nullptr);
}

}  // namespace

Result<void> survive_missing_pages() {
  page_mask = ~(static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)) - 1);
  struct sigaction action {};
  action.sa_sigaction = put_zero_page;
  action.sa_flags = SA_SIGINFO;
  if (::sigaction(SIGBUS, &action, nullptr) != 0) return io_error("handle", "SIGBUS");
  return {};
}

Result<LogSpace> LogSpace::reserve(std::uint64_t bytes) {
  void* base = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return io_error("reserve address space (see ulimit -v) for", fmt::format("{} bytes", bytes));
  LogSpace space;
  space.base_ = static_cast<std::byte*>(base);
  space.size_ = bytes;
  note_reservation(space.base_, bytes);
  return space;
}
LogSpace::LogSpace(LogSpace&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}
LogSpace& LogSpace::operator=(LogSpace&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  return *this;
}
LogSpace::~LogSpace() {
  if (base_ == nullptr) return;
  forget_reservation(base_);
  ::munmap(base_, size_);
}
Result<void> LogSpace::map(int fd, const std::string& path, Access access, std::uint64_t offset,
                           std::uint64_t size) {
  RINGSIDE_ASSERT(offset <= size_ && size <= size_ - offset);
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  if (::mmap(base_ + offset, size, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    return io_error("map", path);
  }
  return {};
}

void LogSpace::populate(std::uint64_t offset, std::uint64_t size) {
  RINGSIDE_ASSERT(offset <= size_ && size <= size_ - offset);
  if (::madvise(base_ + offset, size, MADV_POPULATE_WRITE) != 0) return;
}

Result<Epoch> current_epoch(const RingPath& path) {
  char target[64];
  const ssize_t size = ::readlink(path.current().c_str(), target, sizeof target);
  if (size < 0) return io_error("read the link", path.current());
  Epoch epoch;
  if (!parse_epoch(std::string(target, static_cast<std::size_t>(size)), epoch)) {
    return Error{ErrorKind::kCorrupt, fmt::format("{} does not name an epoch", path.current())};
  }
  return epoch;
}

Result<void> set_current_epoch(const RingPath& path, Epoch epoch) {
  const std::string fresh = path.next_current();
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) return io_error("remove", fresh);
  if (::symlink(epoch_name(epoch).c_str(), fresh.c_str()) != 0) return io_error("create the link", fresh);
  if (::rename(fresh.c_str(), path.current().c_str()) != 0)
    return io_error("replace the link", path.current());
  return {};
}

Result<void> remove_epoch(const RingPath& path, Epoch epoch) {
  std::error_code error;
  std::filesystem::remove_all(path.epoch(epoch), error);
  if (error) {
    return Error{ErrorKind::kIo, fmt::format("cannot remove {}: {}", path.epoch(epoch), error.message())};
  }
  return {};
}

Result<std::vector<Epoch>> list_epochs(const RingPath& path) {
  std::vector<Epoch> epochs;
  DIR* directory = ::opendir(path.ring.c_str());
  if (directory == nullptr) return io_error("list", path.ring);
  const std::unique_ptr<DIR, int (*)(DIR*)> closer(directory, ::closedir);
  while (const dirent* entry = ::readdir(directory)) {
    Epoch epoch;
    if (parse_epoch(entry->d_name, epoch)) epochs.push_back(epoch);
  }
  return epochs;
}

void wake_all(const std::string& epoch_directory, std::size_t readers) {
  for (std::size_t i = 0; i < readers; ++i) {
    // ENXIO: nobody has it open, so nobody sleeps on it.
    const UniqueFd fd(::open(wake_path(epoch_directory, i).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    const char byte = 1;
    if (fd && ::write(fd.get(), &byte, 1) < 0) continue;  // full: as good as a byte written
  }
}

std::uint64_t random_nonzero() {
  std::uint64_t number = 0;
  while (number == 0) RINGSIDE_ASSERT(::getrandom(&number, sizeof number, 0) == sizeof number);
  return number;
}

}  // namespace ringside::shm
