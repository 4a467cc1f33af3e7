// HttpConnection: one client of the writer. Bytes go through http/request_parser.h and http/body_reader.h, the grammar
// that replicas have too; Asio moves them.
//
//   await_request ─► read_head ─► on_head ─► read_body ─► on_body ─┬─ a page ──────────────────────────► respond
//                       │            │           │                 └─ a command ─► pool ─► its version ──►   │
//                       └────────────┴───────────┴── refused, malformed, too late ───────────────────────►   │
//   ▲                                                                                                        │
//   └──────────────────────────────────── or the end ◄───────────────────────────────────────────────────────┘
//
// Threads: the HTTP thread.   Ownership: owns itself through its handlers; refers to the core, which outlives it.
// Errors: answers; a client that has gone ends its connection only.
// Limits: HttpLimits. One request at a time; what is pipelined waits in the buffer, which has room for kBufferBytes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include "http/body_reader.h"
#include "http/request_parser.h"
#include "writer/commands/command_metrics.h"
#include "writer/commands/command_runner.h"
#include "writer/commands/http_core.h"
#include "writer/commands/request_routes.h"

namespace ringside::writer {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpCore& core, boost::asio::ip::tcp::socket socket);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void await_request();
  // For a connection that is one too many.
  void refuse(Answer answer);
  // The server stops: the request under way is answered, then the connection ends.
  void finish();
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  using Next = void (HttpConnection::*)();
  static constexpr std::size_t kBufferBytes = std::size_t{64} << 10;
  static constexpr std::size_t kReadBytes = std::size_t{16} << 10;

  void read_more(Next next);
  void read_failed();
  void read_head();
  void on_head(const http::Request& request);
  void say_continue();
  void read_body();
  void on_body();
  void begin_command();
  void on_finished(Finished finished);
  void await_version();
  void on_version(CommittedAs version);
  void on_late();
  void succeed(const std::optional<CommittedAs>& version);
  void respond_to_command(Answer answer, CommandResult result);
  void refuse_malformed(const http::ParseFailure& failure);
  void refuse_request(Answer answer);
  void respond(Answer answer);
  void write_head(const Answer& answer);
  void on_written();
  void linger(std::size_t left);
  void give_back_body();

  void expire_after(std::chrono::milliseconds time);
  void never_expire() { expires_at_ = Clock::time_point::max(); }
  void arm_timer();
  void on_timer();

  HttpCore& core_;
  boost::asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_{kBufferBytes};  // received and not yet looked at, or a part of a head
  bool is_idle_ = false;                            // between requests
  bool is_last_ = false;                            // close after the answer

  // One timer, armed anew only for an earlier time: most requests end long before.
  boost::asio::steady_timer timer_;
  Clock::time_point expires_at_ = Clock::time_point::max();
  bool is_timing_ = false;
  bool has_expired_ = false;

  // The request under way.
  http::RequestParser parser_;
  http::BodyReader body_reader_;
  std::string body_;
  std::size_t body_bytes_ = 0;  // taken from the core's
  bool body_follows_ = false;   // not all of it has been read
  bool keep_alive_ = true;
  bool is_http_1_0_ = false;
  bool head_only_ = false;

  // Its answer.
  std::string head_;
  std::string answer_;

  // The command under way.
  Route route_;
  Command command_;
  Finished finished_;
  std::uint64_t started_ns_ = 0;
  bool awaits_version_ = false;
  boost::asio::steady_timer version_timer_;
};

}  // namespace ringside::writer
