// StallingProxy: stands between a client and a server's unix socket and, when told, forwards nothing more
// while both connections stay open. What a frozen host or a forgetful firewall looks like from the client.
//
// Threads: one inside; every public function may be called from the test's thread.
// Ownership: owns its sockets, thread and socket file.   Errors: std::system_error.   Limits: 64 connections.
#pragma once

#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace ringside::testing {

class StallingProxy {
 public:
  StallingProxy(std::string listen_path, std::string server_path);
  ~StallingProxy();
  StallingProxy(const StallingProxy&) = delete;
  StallingProxy& operator=(const StallingProxy&) = delete;

  const std::string& path() const { return listen_path_; }
  // From its return on no byte passes in either direction.
  void stall();
  // The same after so many more bytes from the server: in the middle of a packet, if it is larger. Does not wait.
  void stall_after(std::size_t bytes) { server_bytes_left_.store(bytes, std::memory_order_relaxed); }

 private:
  struct Link {
    UniqueFd client;
    UniqueFd server;
  };

  void run();
  void accept_one();
  // Forwards at most `limit` bytes. 0 when the connection has ended.
  static std::size_t forward(int from, int to, std::size_t limit);
  bool forward_from_server(const Link& link);

  std::string listen_path_;
  std::string server_path_;
  UniqueFd listener_;
  UniqueFd wake_;
  UniqueFd stalled_;
  std::atomic<bool> ends_{false};
  // Set by the test before the bytes it is about are asked for; a moment late or early does not matter.
  std::atomic<std::size_t> server_bytes_left_{std::numeric_limits<std::size_t>::max()};
  std::vector<Link> links_;  // the thread's
  std::thread thread_;
};

}  // namespace ringside::testing
