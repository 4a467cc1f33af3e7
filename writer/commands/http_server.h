// HttpServer: the writer's HTTP side on Boost.Asio, one thread.
//
//   POST /v1/{table} · GET, PUT, PATCH, DELETE /v1/{table}/{key} (or ?key=…) · GET /status /healthz /readyz /metrics ·
//   HEAD as GET · OPTIONS: which methods there are
//
// A connection has one request under way at a time; pipelined ones wait in its buffer. A command goes to the session
// pool; when it is committed, the answer waits for its marker row in the stream, at most writer.version_wait, without
// holding a session. A client that hangs up changes nothing about a command that has begun.
//
// Threads: one of its own. start(), stop() and the destructor: one other thread.
// Ownership: refers to everything in Wiring, which must outlive it. Stop the server before the service.
// Errors: start() names the address and the setting. Of requests: problems (answer.h).
// Limits: HttpLimits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/config.h"
#include "base/result.h"
#include "writer/commands/command_service.h"
#include "writer/commands/command_tracker.h"
#include "writer/commands/schema_view.h"
#include "writer/commands/writer_status.h"

namespace ringside::writer {

struct HttpLimits {
  std::uint32_t head_bytes = 8192;
  std::size_t connections = 1024;  // one more is answered 503 and closed
  std::uint64_t bodies_bytes = std::uint64_t{256}
                               << 20;  // of all requests under way; one more is answered 503
  std::chrono::milliseconds idle{60'000};
  std::chrono::milliseconds head{5'000};    // from a request's first byte to its whole head
  std::chrono::milliseconds body{30'000};   // to its whole body
  std::chrono::milliseconds write{30'000};  // to the whole answer taken
  std::chrono::milliseconds drain{15'000};  // stop(): for commands under way
};

class HttpCore;  // Asio stays out of this header

class HttpServer {
 public:
  struct Wiring {
    CommandService& service;
    const SchemaView& schema;
    CommandTracker& tracker;
    const WriterStatus& status;
  };

  // Listens, and serves from a thread of its own. `config` is copied.
  static Result<std::unique_ptr<HttpServer>> start(const WriterConfig& config, Wiring wiring,
                                                   HttpLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens; the kernel's choice when the configuration says port 0.
  std::uint16_t port() const;

  // Accepts nothing more, answers what is under way (at most HttpLimits::drain), closes everything, and returns when
  // no command refers to the server any more. Idempotent.
  void stop();

 private:
  explicit HttpServer(std::unique_ptr<HttpCore> core);

  std::unique_ptr<HttpCore> core_;
};

}  // namespace ringside::writer
