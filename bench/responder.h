// Responder: the yardstick. A bare io_uring HTTP responder that does what no server can do without: it
// receives, finds where each request ends (a blank line, nothing else is looked at), and sends a constant
// response.
//
// One thread, multishot accept and receive, provided buffers, registered files, one submission per turn. What
// a real server takes beyond this is the cost of its parsing, lookup and response.
//
// Threads: create() and stop() from any thread, run() from one; stop() may be called from a signal handler.
// Ownership: owns its sockets.   Errors: of creation and of the ring; a client's error closes its connection.
// Limits: kMaxConnections; further clients are closed at once. No allocation in run() once it serves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringside::bench {

struct ResponderOptions {
  std::uint16_t port = 0;            // on 127.0.0.1; 0: one that is free
  std::size_t response_bytes = 256;  // the whole response, head and body
  unsigned receive_buffers = 256;    // a power of two
  std::size_t receive_buffer_bytes = 4096;
};

// A valid 200 response of exactly `bytes` in all. Errors: kInvalid when its head alone is longer.
Result<std::string> constant_response(std::size_t bytes);

// How many requests end in `bytes`. `matched` carries how much of a blank line the bytes before ended with (0
// to 3; 0 at a connection's begin). Exposed for its test.
std::size_t count_request_ends(std::string_view bytes, unsigned& matched);

class Responder {
 public:
  static constexpr unsigned kMaxConnections = 4096;

  // Binds and listens, so that clients may connect from here on.
  static Result<std::unique_ptr<Responder>> create(const ResponderOptions& options);

  std::uint16_t port() const { return port_; }

  // Serves until stop(). Returns early only with an error.
  Result<void> run();
  void stop() const;

  // What run() has answered. Read it after run() has returned.
  std::uint64_t requests() const { return requests_; }

 private:
  Responder() = default;

  ResponderOptions options_;
  std::string response_;
  UniqueFd listener_;
  UniqueFd stop_event_;
  std::uint16_t port_ = 0;
  std::uint64_t requests_ = 0;
};

}  // namespace ringside::bench
