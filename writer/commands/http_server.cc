#include "writer/commands/http_server.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "http/json_text.h"
#include "http/response.h"
#include "writer/commands/command_metrics.h"
#include "writer/commands/request_routes.h"

namespace ringside::writer {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace beast_http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr std::chrono::seconds kPrunePause{60};
constexpr std::chrono::milliseconds kAcceptPause{100};  // after a failure: out of descriptors, mostly
constexpr std::chrono::seconds kLinger{1};  // for what the client still sends after the last answer
constexpr std::size_t kLingerBytes = std::size_t{4} << 20;
constexpr std::size_t kBufferBytes = std::size_t{64} << 10;

}  // namespace

class HttpConnection;

class HttpCore {
 public:
  HttpCore(const WriterConfig& writer_config, HttpServer::Wiring parts, HttpLimits bounds)
      : config(writer_config),
        wiring(parts),
        limits(bounds),
        acceptor_(context),
        accept_timer_(context),
        prune_timer_(context),
        drain_timer_(context) {}
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
  asio::io_context context{1};

 private:
  void accept();
  void prune_later();
  void begin_stop();

  tcp::acceptor acceptor_;
  asio::steady_timer accept_timer_;
  asio::steady_timer prune_timer_;
  asio::steady_timer drain_timer_;
  std::set<HttpConnection*> connections_;  // each lives through its own handlers
  bool is_stopping_ = false;
  std::uint16_t port_ = 0;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable released_;
  std::size_t held_ = 0;  // under mutex_
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpCore& core, tcp::socket socket)
      : core_(core), stream_(std::move(socket)), version_timer_(core.context) {
    core_.add(this);
  }
  ~HttpConnection() { core_.remove(this); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void await_request();
  // For a connection that is one too many.
  void refuse(Answer answer) {
    is_last_ = true;
    respond(std::move(answer));
  }
  // The server stops: the request under way is answered, then the connection ends.
  void finish();
  void close();

 private:
  using Parser = beast_http::request_parser<beast_http::string_body>;

  void read_head();
  void on_head(error_code error);
  void read_body();
  void on_body(error_code error);
  void begin_command();
  void on_finished(Finished finished);
  void await_version();
  void on_version(CommittedAs version);
  void on_late();
  void succeed(const std::optional<CommittedAs>& version);
  void respond_to_command(const Answer& answer, CommandResult result);
  void refuse_request(Answer answer);
  void read_failed(error_code error);
  void respond(Answer answer);
  void on_written(error_code error);
  void linger(std::size_t left);

  HttpCore& core_;
  beast::tcp_stream stream_;
  asio::steady_timer version_timer_;
  beast::flat_buffer buffer_{kBufferBytes};
  std::optional<Parser> parser_;  // of the request under way
  beast_http::response<beast_http::string_body> response_;
  bool is_idle_ = false;  // between requests
  bool is_last_ = false;  // close after the answer
  bool head_only_ = false;

  // The command under way.
  Route route_;
  Command command_;
  Finished finished_;
  std::uint64_t started_ns_ = 0;
  bool awaits_version_ = false;
};

// --- reading

void HttpConnection::await_request() {
  if (core_.is_stopping() || is_last_) return close();
  if (buffer_.size() > 0) return read_head();
  is_idle_ = true;
  stream_.expires_after(core_.limits.idle);
  stream_.async_read_some(buffer_.prepare(4096),
                          [self = shared_from_this()](error_code error, std::size_t size) {
                            self->is_idle_ = false;
                            if (error) return self->close();
                            self->buffer_.commit(size);
                            self->read_head();
                          });
}

void HttpConnection::read_head() {
  parser_.emplace();
  parser_->header_limit(core_.limits.head_bytes);
  parser_->body_limit(core_.config.body_limit_bytes);
  head_only_ = false;
  stream_.expires_after(core_.limits.head);
  beast_http::async_read_header(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](error_code error, std::size_t) { self->on_head(error); });
}

void HttpConnection::on_head(error_code error) {
  if (error) return read_failed(error);
  const auto& request = parser_->get();
  head_only_ = request.method() == beast_http::verb::head;
  RequestHead head;
  head.method = {request.method_string().data(), request.method_string().size()};
  head.target = {request.target().data(), request.target().size()};
  head.has_body = !parser_->is_done();
  for (const auto& field : request) {
    const std::string_view value{field.value().data(), field.value().size()};
    switch (field.name()) {
      case beast_http::field::host:
        head.hosts.push_back(value);
        break;
      case beast_http::field::authorization:
        head.authorizations.push_back(value);
        break;
      case beast_http::field::content_type:
        head.content_types.push_back(value);
        break;
      default:
        break;
    }
  }
  auto found = find_route(head, {core_.config.listen, core_.config.tokens});
  if (auto* refusal = std::get_if<Answer>(&found)) return refuse_request(std::move(*refusal));
  route_ = std::get<Route>(std::move(found));

  const auto expect = request[beast_http::field::expect];
  if (expect.empty()) return read_body();
  if (!beast::iequals(expect, "100-continue")) {
    return refuse_request(make_problem(
        {.status = 417, .type = "expectation-failed", .title = "Only Expect: 100-continue is understood"}));
  }
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  stream_.expires_after(core_.limits.write);
  asio::async_write(stream_, asio::buffer(kContinue),
                    [self = shared_from_this()](error_code failed, std::size_t) {
                      if (failed) return self->close();
                      self->read_body();
                    });
}

void HttpConnection::read_body() {
  if (parser_->is_done()) return on_body({});
  stream_.expires_after(core_.limits.body);
  beast_http::async_read(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](error_code error, std::size_t) { self->on_body(error); });
}

void HttpConnection::read_failed(error_code error) {
  if (error == beast_http::error::header_limit || error == beast_http::error::buffer_overflow) {
    return refuse_request(make_problem({.status = 431,
                                        .type = "head-too-large",
                                        .title = "The request's head is too large",
                                        .detail = fmt::format("at most {} bytes", core_.limits.head_bytes)}));
  }
  if (error == beast_http::error::body_limit) {
    return refuse_request(make_problem(
        {.status = 413,
         .type = "body-too-large",
         .title = "The request's body is too large",
         .detail = fmt::format("at most {} bytes (writer.body_limit)", core_.config.body_limit_bytes)}));
  }
  const bool is_grammar =
      error.category() == beast_http::make_error_code(beast_http::error::bad_method).category();
  if (is_grammar && error != beast_http::error::end_of_stream &&
      error != beast_http::error::partial_message) {
    return refuse_request(bad_request("the request is no HTTP/1.1: " + error.message()));
  }
  close();  // the client has gone, or was too slow: Beast has closed the socket then
}

// Before the whole request has been read: what is left of it cannot be told from a next one, so this is the last.
void HttpConnection::refuse_request(Answer answer) {
  core_.metrics.refused(answer.status);
  if (!parser_->is_done()) is_last_ = true;
  respond(std::move(answer));
}

// --- answering

void HttpConnection::on_body(error_code error) {
  if (error) return read_failed(error);
  if (route_.kind != Route::Kind::kCommand) return respond(core_.page(route_));
  begin_command();
}

void HttpConnection::begin_command() {
  started_ns_ = monotonic_ns();
  command_ = {};
  command_.received = std::chrono::steady_clock::now();
  auto refusal = prepare(route_.operation, core_.wiring.schema.get(), route_.raw_table, route_.raw_key,
                         parser_->get().body(), command_);
  if (refusal && command_.table == nullptr) return refuse_request(*std::move(refusal));
  if (refusal) {
    const CommandResult result = result_of(*refusal);
    return respond_to_command(*refusal, result);
  }

  stream_.expires_never();
  core_.hold();
  const bool queued = core_.wiring.service.submit(
      command_, [self = shared_from_this(), &core = core_](Finished finished) mutable {
        asio::post(core.context, [self = std::move(self), finished = std::move(finished)]() mutable {
          self->on_finished(std::move(finished));
        });
        core.release();
      });
  if (queued) return;
  core_.release();
  respond_to_command(
      unavailable("busy", "The writer is busy",
                  "nothing was changed; too many commands wait for a session (writer.queue)", 1),
      CommandResult::kUnavailable);
}

void HttpConnection::on_finished(Finished finished) {
  finished_ = std::move(finished);
  if (!finished_.id) return respond_to_command(finished_.answer, result_of(finished_.answer));
  if (finished_.version) return succeed(finished_.version);
  await_version();
}

void HttpConnection::await_version() {
  CommandTracker& tracker = core_.wiring.tracker;
  const auto wait = core_.config.version_wait;
  if (wait.count() == 0 || tracker.stream_state() == StreamState::kStopped)
    return succeed(tracker.find(*finished_.id));
  awaits_version_ = true;
  version_timer_.expires_after(wait);
  version_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->on_late();
  });
  core_.hold();
  tracker.await(
      *finished_.id, [self = shared_from_this(), &core = core_](const CommittedAs& version) mutable {
        asio::post(core.context,
                   [self = std::move(self), version]() mutable { self->on_version(std::move(version)); });
        core.release();
      });
}

void HttpConnection::on_version(CommittedAs version) {
  if (!awaits_version_) return;
  awaits_version_ = false;
  version_timer_.cancel();
  succeed(std::move(version));
}

void HttpConnection::on_late() {
  // When it cannot be cancelled, the marker is here just now: on_version() is on its way.
  if (!awaits_version_ || !core_.wiring.tracker.cancel(*finished_.id)) return;
  core_.release();
  awaits_version_ = false;
  succeed(std::nullopt);
}

void HttpConnection::succeed(const std::optional<CommittedAs>& version) {
  respond_to_command(success_answer(finished_, version, core_.wiring.tracker.stream_state()),
                     version ? CommandResult::kOk : CommandResult::kVersionLate);
}

void HttpConnection::respond_to_command(const Answer& answer, CommandResult result) {
  core_.metrics.command(command_.table->name, route_.operation, result, monotonic_ns() - started_ns_);
  respond(answer);
}

void HttpConnection::respond(Answer answer) {
  is_last_ = is_last_ || answer.close || core_.is_stopping() ||
             (parser_ && !(parser_->keep_alive() && parser_->get().version() == 11));
  response_ = {};
  response_.version(11);
  response_.result(answer.status);
  core_.date.refresh(wall_ns() / 1'000'000'000);
  const auto set = [&](beast_http::field name, std::string_view value) {
    response_.set(name, beast::string_view(value.data(), value.size()));
  };
  set(beast_http::field::date, core_.date.text());
  set(beast_http::field::content_type, answer.content_type.empty()
                                           ? (answer.is_problem ? http::kProblemType : http::kJsonType)
                                           : answer.content_type);
  set(beast_http::field::cache_control, "no-store");
  if (answer.retry_after_s > 0) set(beast_http::field::retry_after, std::to_string(answer.retry_after_s));
  if (!answer.location.empty()) set(beast_http::field::location, answer.location);
  if (!answer.allow.empty()) set(beast_http::field::allow, answer.allow);
  if (answer.ask_for_token) set(beast_http::field::www_authenticate, "Bearer");
  response_.keep_alive(!is_last_);
  response_.content_length(answer.body.size());
  if (!head_only_) response_.body() = std::move(answer.body);
  stream_.expires_after(core_.limits.write);
  beast_http::async_write(stream_, response_, [self = shared_from_this()](error_code error, std::size_t) {
    self->on_written(error);
  });
}

void HttpConnection::on_written(error_code error) {
  if (error) return close();
  if (!is_last_) return await_request();
  // Closing at once, with unread bytes of the client's in our buffer, would make the kernel reset the connection and
  // take the answer away from the client.
  stream_.socket().shutdown(tcp::socket::shutdown_send, error);
  if (error) return close();
  stream_.expires_after(kLinger);
  linger(kLingerBytes);
}

void HttpConnection::linger(std::size_t left) {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(kBufferBytes),
                          [self = shared_from_this(), left](error_code error, std::size_t size) {
                            if (error || size >= left) return self->close();
                            self->linger(left - size);
                          });
}

void HttpConnection::finish() {
  is_last_ = true;
  if (is_idle_) close();
}

void HttpConnection::close() {
  error_code ignored;  // nobody is left to be told
  stream_.socket().close(ignored);
  version_timer_.cancel();
  if (awaits_version_ && core_.wiring.tracker.cancel(*finished_.id)) core_.release();
  awaits_version_ = false;
}

// --- the server

Result<void> HttpCore::listen() {
  const ListenAddress& address = config.listen;
  error_code error;
  const auto ip = asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, error);
  const tcp::endpoint endpoint(ip, address.port);
  if (!error) acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (!error) port_ = acceptor_.local_endpoint(error).port();
  if (error) {
    return Error{ErrorKind::kIo,
                 fmt::format("writer.listen: cannot listen on {}: {}. Is another writer running? Else "
                             "choose a free port of this machine",
                             address.to_string(), error.message())};
  }
  accept();
  prune_later();
  return {};
}

void HttpCore::accept() {
  acceptor_.async_accept(context, [this](error_code error, tcp::socket socket) {
    if (is_stopping_) return;
    if (error) {
      log_warning("a connection could not be accepted", {{"reason", error.message()}});
      accept_timer_.expires_after(kAcceptPause);
      accept_timer_.async_wait([this](error_code cancelled) {
        if (!cancelled) accept();
      });
      return;
    }
    socket.set_option(tcp::no_delay(true), error);  // without it answers only come later
    const bool has_room = connections_.size() < limits.connections;
    const auto connection = std::make_shared<HttpConnection>(*this, std::move(socket));
    if (has_room) {
      connection->await_request();
    } else {
      metrics.refused(503);
      connection->refuse(unavailable("too-many-connections", "The writer has too many connections",
                                     fmt::format("at most {}", limits.connections), 1));
    }
    accept();
  });
}

void HttpCore::prune_later() {
  prune_timer_.expires_after(kPrunePause);
  prune_timer_.async_wait([this](error_code cancelled) {
    if (cancelled) return;
    wiring.service.prune();
    prune_later();
  });
}

void HttpCore::remove(HttpConnection* connection) {
  connections_.erase(connection);
  if (is_stopping_ && connections_.empty()) drain_timer_.cancel();
}

Answer HttpCore::page(const Route& route) {
  Answer answer;
  const auto verdict = [&](const WriterStatus::Verdict& of, std::string_view type, std::string_view title) {
    if (of.good) {
      answer.body = R"({"ok":true})";
    } else {
      answer = unavailable(type, title, of.reason, 0);
    }
  };
  switch (route.kind) {
    case Route::Kind::kHealth:
      verdict(wiring.status.health(), "unhealthy", "The writer must be restarted");
      break;
    case Route::Kind::kReady: {
      WriterStatus::Verdict of = wiring.status.readiness();
      if (of.good && is_stopping_) of = {false, "the writer is stopping"};
      if (of.good && !wiring.service.is_connected()) of = {false, "no session is connected to the database"};
      verdict(of, "not-ready", "The writer is not ready");
      break;
    }
    case Route::Kind::kStatus:
      answer.body = R"({"commands":{)";
      wiring.service.append_status(answer.body);
      fmt::format_to(std::back_inserter(answer.body), R"(,"connections":{}}})", connections_.size());
      wiring.status.append_status_members(answer.body);
      answer.body += '}';
      break;
    case Route::Kind::kMetrics: {
      http::MetricsText text(answer.body);
      metrics.append_to(text);
      wiring.service.append_metrics(text);
      text.gauge("ringside_writer_connections", "Open HTTP connections.");
      text.sample({}, connections_.size());
      wiring.status.append_metrics(text);
      answer.content_type = http::kMetricsType;
      break;
    }
    case Route::Kind::kCommand:
      break;  // never here
  }
  return answer;
}

void HttpCore::begin_stop() {
  is_stopping_ = true;
  error_code ignored;  // a listener that cannot be closed is closed by the destructor
  acceptor_.close(ignored);
  accept_timer_.cancel();
  prune_timer_.cancel();
  if (connections_.empty()) return;
  drain_timer_.expires_after(limits.drain);
  drain_timer_.async_wait([this](error_code cancelled) {
    if (cancelled) return;
    log_warning("closing connections whose commands are still under way",
                {{"connections", connections_.size()}});
    const std::set<HttpConnection*> remaining = connections_;
    for (HttpConnection* connection : remaining) connection->close();
  });
  const std::set<HttpConnection*> open = connections_;
  for (HttpConnection* connection : open) connection->finish();
}

void HttpCore::stop() {
  if (!thread_.joinable()) return;
  asio::post(context, [this] { begin_stop(); });
  thread_.join();
  // Handlers that were posted after the loop had run empty still refer to connections: they end here, with the pool's
  // last callbacks.
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      released_.wait(lock, [this] { return held_ == 0; });
    }
    context.restart();
    if (context.run() == 0) return;
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const WriterConfig& config, Wiring wiring,
                                                      HttpLimits limits) {
  auto core = std::make_unique<HttpCore>(config, wiring, limits);
  RINGSIDE_TRY(core->listen());
  core->run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(core)));
}

HttpServer::HttpServer(std::unique_ptr<HttpCore> core) : core_(std::move(core)) {}
HttpServer::~HttpServer() {
  stop();
}
std::uint16_t HttpServer::port() const {
  return core_->port();
}
void HttpServer::stop() {
  core_->stop();
}

}  // namespace ringside::writer
