#include "replica/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace ringside::replica {
namespace {

// A process that was killed gives its sockets back a moment after its death: what io_uring holds is released by the
// kernel's own workers. A replica started again at once waits that moment instead of giving up.
constexpr std::uint64_t kPatienceNs = 3'000'000'000;
constexpr timespec kPause{0, 10'000'000};

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
  sockaddr_un local;
};

Error failed(const std::string& what) {
  const int error = errno;
  const ErrorKind kind = error == EADDRINUSE ? ErrorKind::kBusy : ErrorKind::kIo;
  std::string text = what + ": " + std::strerror(error) + ".";
  if (error == EADDRINUSE) text += " Another program listens there: stop it, or choose another address.";
  if (error == EACCES) text += " Ports below 1024 and other users' directories need the right to use them.";
  if (error == EADDRNOTAVAIL) text += " This machine has no such address.";
  return {kind, std::move(text)};
}

Result<socklen_t> fill(const ListenAddress& address, const std::string& setting, SocketAddress& out) {
  const std::string host =
      address.host == "localhost" ? (address.is_ipv6 ? "::1" : "127.0.0.1") : address.host;
  out = SocketAddress{};
  if (address.is_ipv6) {
    out.v6.sin6_family = AF_INET6;
    out.v6.sin6_port = htons(address.port);
    if (::inet_pton(AF_INET6, host.c_str(), &out.v6.sin6_addr) == 1) return socklen_t{sizeof out.v6};
  } else {
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(address.port);
    if (::inet_pton(AF_INET, host.c_str(), &out.v4.sin_addr) == 1) return socklen_t{sizeof out.v4};
  }
  return Error{ErrorKind::kInvalid, setting + ": '" + address.host + "' is no numeric address"};
}

Result<void> set_option(int fd, int level, int option, const std::string& what) {
  const int on = 1;
  if (::setsockopt(fd, level, option, &on, sizeof on) != 0) return failed(what);
  return {};
}

Result<UniqueFd> try_listen_tcp(const ListenAddress& address, PortUse use, const std::string& setting) {
  const std::string what = "cannot listen on " + address.to_string() + " (" + setting + ")";
  SocketAddress socket_address;
  RINGSIDE_ASSIGN(const socklen_t size, fill(address, setting, socket_address));
  UniqueFd fd(::socket(socket_address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed(what);
  RINGSIDE_TRY(set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, what));
  if (use == PortUse::kShared) RINGSIDE_TRY(set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, what));
  if (address.is_ipv6) RINGSIDE_TRY(set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, what));
  RINGSIDE_TRY(set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, what));
  if (::bind(fd.get(), &socket_address.any, size) != 0 || ::listen(fd.get(), kBacklog) != 0)
    return failed(what);
  return fd;
}

Result<UniqueFd> try_listen_unix(const std::string& path) {
  const std::string what = "cannot listen on the unix socket " + path + " (replica.unix_socket)";
  SocketAddress address{};
  address.local.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.local.sun_path) {
    return Error{ErrorKind::kInvalid, what + ": a socket's path has at most " +
                                          std::to_string(sizeof address.local.sun_path - 1) + " bytes"};
  }
  std::memcpy(address.local.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed(what);
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) return Error{ErrorKind::kInvalid, what + ": there is a file of that name"};
    // A name without an owner refuses connections; only then it may be taken over.
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(probe.get(), &address.any, sizeof address.local) == 0 || errno != ECONNREFUSED) {
      errno = EADDRINUSE;
      return failed(what);
    }
    unlink_socket(path);
  }
  if (::bind(fd.get(), &address.any, sizeof address.local) != 0) return failed(what);
  if (::chmod(path.c_str(), 0660) != 0 || ::listen(fd.get(), kBacklog) != 0) return failed(what);
  return fd;
}

}  // namespace

Result<UniqueFd> with_patience(const std::function<Result<UniqueFd>()>& listen) {
  const std::uint64_t end = monotonic_ns() + kPatienceNs;
  for (;;) {
    Result<UniqueFd> fd = listen();
    if (fd || fd.error().kind != ErrorKind::kBusy || monotonic_ns() >= end) return fd;
    ::nanosleep(&kPause, nullptr);
  }
}

Result<UniqueFd> listen_tcp(const ListenAddress& address, PortUse use, const std::string& setting) {
  return with_patience([&] { return try_listen_tcp(address, use, setting); });
}
Result<UniqueFd> listen_unix(const std::string& path) {
  return with_patience([&] { return try_listen_unix(path); });
}

std::uint16_t local_port(int fd) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, &address.any, &size) != 0) return 0;
  if (address.any.sa_family == AF_INET) return ntohs(address.v4.sin_port);
  if (address.any.sa_family == AF_INET6) return ntohs(address.v6.sin6_port);
  return 0;
}

bool listens_at(int fd, const ListenAddress& address) {
  SocketAddress wanted{};
  SocketAddress actual{};
  socklen_t size = sizeof actual;
  if (!fill(address, "", wanted) || ::getsockname(fd, &actual.any, &size) != 0) return false;
  if (actual.any.sa_family != wanted.any.sa_family) return false;
  if (address.port != 0 && local_port(fd) != address.port) return false;
  return address.is_ipv6
             ? std::memcmp(&actual.v6.sin6_addr, &wanted.v6.sin6_addr, sizeof actual.v6.sin6_addr) == 0
             : actual.v4.sin_addr.s_addr == wanted.v4.sin_addr.s_addr;
}

bool listens_at(int fd, const std::string& path) {
  SocketAddress actual{};
  socklen_t size = sizeof actual;
  if (::getsockname(fd, &actual.any, &size) != 0 || actual.any.sa_family != AF_UNIX) return false;
  return path == actual.local.sun_path;  // listen_unix() takes only paths that leave room for the ending zero
}

void unlink_socket(const std::string& path) {
  ::unlink(path.c_str());
}

}  // namespace ringside::replica
