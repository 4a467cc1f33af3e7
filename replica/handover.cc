#include "replica/handover.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/assert.h"
#include "base/crc32c.h"
#include "replica/listener.h"

namespace ringside::replica {
namespace {

// The last character is the protocol's version: programs of two releases understand each other or say that they don't.
constexpr std::string_view kMagic = "RSHAND-1";
constexpr int kHandoverBacklog = 4;
constexpr std::size_t kHeadBytes = kMagic.size() + 1;

Error failed(const std::string& what) {
  return {ErrorKind::kIo, what + ": " + std::strerror(errno)};
}

struct AbstractAddress {
  sockaddr_un address{};
  socklen_t size = 0;
  const sockaddr* any() const { return reinterpret_cast<const sockaddr*>(&address); }
};

AbstractAddress abstract_address(const std::string& name) {
  AbstractAddress out;
  out.address.sun_family = AF_UNIX;
  const std::size_t size = std::min(name.size(), sizeof out.address.sun_path - 1);
  std::memcpy(out.address.sun_path + 1, name.data(), size);
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return out;
}

UniqueFd new_socket(int more_flags = 0) {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | more_flags, 0));
}

Result<UniqueFd> try_listen(const std::string& name) {
  UniqueFd fd = new_socket();
  const AbstractAddress address = abstract_address(name);
  if (fd && ::bind(fd.get(), address.any(), address.size) == 0 && ::listen(fd.get(), kHandoverBacklog) == 0)
    return fd;
  if (errno == EADDRINUSE) {
    return Error{ErrorKind::kBusy,
                 "another replica of this index runs on this ring (it holds @" + name +
                     "): take its place with --take-over, stop it, or choose another --index"};
  }
  return failed("cannot listen on @" + name);
}

}  // namespace

std::string handover_name(std::string_view ring_path, unsigned index) {
  constexpr std::size_t kMostPath = 72;  // of 107 bytes for all
  std::string name = "ringside-replica:";
  if (ring_path.size() > kMostPath) {
    name += std::to_string(crc32c(ring_path.data(), ring_path.size())) + ":";
    ring_path.remove_prefix(ring_path.size() - kMostPath);
  }
  return name.append(ring_path).append(":").append(std::to_string(index));
}

Result<UniqueFd> listen_handover(const std::string& name) {
  return with_patience([&] { return try_listen(name); });
}

Result<UniqueFd> connect_handover(const std::string& name) {
  // Not to wait: who holds the name and accepts nobody must not hold up a start.
  UniqueFd fd = new_socket(SOCK_NONBLOCK);
  const AbstractAddress address = abstract_address(name);
  if (fd && ::connect(fd.get(), address.any(), address.size) == 0) return fd;
  if (errno == ECONNREFUSED) return UniqueFd();
  if (errno == EAGAIN) {
    return Error{
        ErrorKind::kUnavailable,
        "whoever holds @" + name + " accepts nobody: is that replica stopped? Kill it and start again"};
  }
  return failed("cannot reach the replica at @" + name);
}

Result<void> own_handover(int fd) {
  if (::listen(fd, kHandoverBacklog) != 0) return failed("cannot take over the handover socket");
  return {};
}

Result<pid_t> handover_peer(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return failed("cannot see whose socket it is");
  if (peer.uid != ::geteuid() && peer.uid != 0) {
    return Error{ErrorKind::kUnsupported, "process " + std::to_string(peer.pid) + " belongs to user " +
                                              std::to_string(peer.uid) + ", this one to user " +
                                              std::to_string(::geteuid()) + ": run both as the same"};
  }
  return peer.pid;
}

Result<void> send_handover(int fd, HandoverMessage::Kind kind, const std::vector<Place>& places,
                           const std::vector<int>& fds) {
  RINGSIDE_ASSERT(places.size() <= kPlaces && (fds.empty() || fds.size() == places.size()));
  std::string text(kMagic);
  text += static_cast<char>(kind);
  for (const Place place : places) text += static_cast<char>(place);
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kPlaces * sizeof(int))> control{};
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  }
  if (::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(text.size())) {
    return failed("cannot send to the other replica");
  }
  return {};
}

namespace {

// Takes the descriptors out of the control bytes; all of them, so that none is left open.
std::vector<UniqueFd> take_descriptors(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

HandoverMessage receive_handover(int fd) {
  using Kind = HandoverMessage::Kind;
  HandoverMessage out;
  std::array<char, kHeadBytes + kPlaces> text{};
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kPlaces * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t received = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return out;
  if (received <= 0) {
    out.kind = Kind::kEnded;
    return out;
  }
  std::vector<UniqueFd> fds = take_descriptors(message);
  out.kind = Kind::kUnknown;
  const auto size = static_cast<std::size_t>(received);
  const std::string_view bytes(text.data(), size);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || size < kHeadBytes || !bytes.starts_with(kMagic))
    return out;
  const auto kind = static_cast<Kind>(bytes[kMagic.size()]);
  if (kind != Kind::kAsk && kind != Kind::kSockets && kind != Kind::kTaken) return out;
  const std::string_view places = bytes.substr(kHeadBytes);
  if (fds.size() != (kind == Kind::kSockets ? places.size() : 0)) return out;
  fds.resize(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto place = static_cast<std::uint8_t>(places[i]);
    if (place >= kPlaces) return out;
    out.sockets.push_back({static_cast<Place>(place), std::move(fds[i])});
  }
  out.kind = kind;
  return out;
}

}  // namespace ringside::replica
