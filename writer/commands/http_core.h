// HttpCore: what all connections of the writer's HTTP side share: the listener, the loop, the limits, the pages.
//
// Threads: run() starts the HTTP thread; stop(), hold() and release() may be called from any, all else is that thread's.
// Ownership: connections (http_connection.h) own themselves through their handlers, and are listed here.
// Errors: listen() names the address and the setting.
// Limits: HttpLimits; kMaxRefusals connections that are being told there are too many.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "http/response.h"
#include "writer/commands/command_metrics.h"
#include "writer/commands/http_server.h"
#include "writer/commands/request_routes.h"

namespace ringside::writer {

class HttpConnection;

class HttpCore {
 public:
  // Told of the limit and let go in their own time; those beyond are closed without a word.
  static constexpr std::size_t kMaxRefusals = 64;

  HttpCore(const WriterConfig& writer_config, HttpServer::Wiring parts, HttpLimits bounds);
  ~HttpCore() { stop(); }
  HttpCore(const HttpCore&) = delete;
  HttpCore& operator=(const HttpCore&) = delete;

  Result<void> listen();
  void run() {
    thread_ = std::thread([this] { context.run(); });
  }
  std::uint16_t port() const { return port_; }
  void stop();

  // --- the HTTP thread alone
  void add(HttpConnection* connection) { connections_.insert(connection); }
  void remove(HttpConnection* connection);
  bool is_stopping() const { return is_stopping_; }
  Answer page(const Route& route);
  WriterStatus::Verdict readiness() const;
  // Room for bytes of bodies, of all connections together. False: there is none, and nothing was taken.
  bool take_body_bytes(std::size_t bytes);
  void give_body_bytes(std::size_t bytes) { body_bytes_ -= bytes; }

  // A callback into this server is outstanding: in the pool or in the tracker. Any thread.
  void hold() {
    const std::lock_guard lock(mutex_);
    ++held_;
  }
  void release() {
    // Notified under the lock: stop() may destroy the condition as soon as it can take it.
    const std::lock_guard lock(mutex_);
    --held_;
    released_.notify_all();
  }

  const WriterConfig config;
  const HttpServer::Wiring wiring;
  const HttpLimits limits;
  CommandMetrics metrics;
  http::DateText date;
  boost::asio::io_context context{1};

 private:
  void accept();
  void take_connection(boost::asio::ip::tcp::socket socket);
  void prune_later();
  void begin_stop();

  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer accept_timer_;
  boost::asio::steady_timer prune_timer_;
  boost::asio::steady_timer drain_timer_;
  std::set<HttpConnection*> connections_;  // each lives through its own handlers
  std::uint64_t body_bytes_ = 0;
  bool is_stopping_ = false;
  std::chrono::steady_clock::time_point accept_failed_{};  // last time
  std::uint16_t port_ = 0;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable released_;
  std::size_t held_ = 0;  // under mutex_
};

}  // namespace ringside::writer
