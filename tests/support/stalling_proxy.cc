#include "tests/support/stalling_proxy.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace ringside::testing {
namespace {

[[noreturn]] void fail_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

UniqueFd unix_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) fail_errno("socket");
  return fd;
}

UniqueFd event_fd() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC));
  if (!fd) fail_errno("eventfd");
  return fd;
}

void signal_event(const UniqueFd& fd) {
  if (::eventfd_write(fd.get(), 1) != 0) fail_errno("eventfd_write");
}

void wait_event(const UniqueFd& fd) {
  eventfd_t count = 0;
  if (::eventfd_read(fd.get(), &count) != 0) fail_errno("eventfd_read");
}

}  // namespace

StallingProxy::StallingProxy(std::string listen_path, std::string server_path)
    : listen_path_(std::move(listen_path)),
      server_path_(std::move(server_path)),
      listener_(unix_socket()),
      wake_(event_fd()),
      stalled_(event_fd()) {
  const sockaddr_un address = unix_address(listen_path_);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail_errno("bind");
  if (::listen(listener_.get(), 64) != 0) fail_errno("listen");
  thread_ = std::thread([this] { run(); });
}

StallingProxy::~StallingProxy() {
  ends_.store(true, std::memory_order_relaxed);
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
  ::unlink(listen_path_.c_str());
}

void StallingProxy::stall() {
  signal_event(wake_);
  wait_event(stalled_);
}

void StallingProxy::accept_one() {
  UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) return;
  UniqueFd server = unix_socket();
  const sockaddr_un address = unix_address(server_path_);
  if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
  links_.push_back({std::move(client), std::move(server)});
}

std::size_t StallingProxy::forward(int from, int to, std::size_t limit) {
  std::array<char, 16384> bytes;
  const ssize_t size = ::recv(from, bytes.data(), std::min(bytes.size(), limit), 0);
  for (ssize_t sent = 0; sent < size;) {
    const ssize_t part = ::send(to, bytes.data() + sent, static_cast<std::size_t>(size - sent), MSG_NOSIGNAL);
    if (part <= 0) return 0;
    sent += part;
  }
  return size > 0 ? static_cast<std::size_t>(size) : 0;
}

bool StallingProxy::forward_from_server(const Link& link) {
  const std::size_t left = server_bytes_left_.load(std::memory_order_relaxed);
  const std::size_t size = forward(link.server.get(), link.client.get(), left);
  if (left != std::numeric_limits<std::size_t>::max())
    server_bytes_left_.fetch_sub(size, std::memory_order_relaxed);
  return size > 0;
}

void StallingProxy::run() {
  while (true) {
    std::vector<pollfd> waited = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Link& link : links_) {
      waited.push_back({link.client.get(), POLLIN, 0});
      waited.push_back({link.server.get(), POLLIN, 0});
    }
    if (server_bytes_left_.load(std::memory_order_relaxed) == 0)
      waited.resize(1);  // stalled: only the end counts
    if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return;
    if (waited[0].revents != 0) {
      wait_event(wake_);
      if (ends_.load(std::memory_order_relaxed)) return;
      signal_event(stalled_);
      wait_event(wake_);  // stalled until the end
      return;
    }
    if (waited.size() == 1) continue;
    for (std::size_t i = links_.size(); i-- > 0;) {
      Link& link = links_[i];
      bool lives = true;
      if (waited[2 + 2 * i].revents != 0) lives = forward(link.client.get(), link.server.get(), 16384) > 0;
      if (lives && waited[3 + 2 * i].revents != 0) lives = forward_from_server(link);
      if (!lives) links_.erase(links_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (waited[1].revents != 0) accept_one();
  }
}

}  // namespace ringside::testing
