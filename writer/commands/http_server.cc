#include "writer/commands/http_server.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>

#include "base/log.h"
#include "writer/commands/http_connection.h"
#include "writer/commands/http_core.h"

namespace ringside::writer {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr std::chrono::seconds kPrunePause{60};
constexpr std::chrono::milliseconds kAcceptPause{100};  // after a failure: out of descriptors, mostly
constexpr std::chrono::seconds kAcceptQuiet{10};        // after which another failure is another occasion

// Files that are not client connections: sessions, the ring's files, spill files, logs.
constexpr rlim_t kOtherFiles = 1024;

// Raises the soft limit of open files to what all connections need beside everything else, as far as the hard one goes:
// a usual 1,024 would let clients take the descriptors that capture needs.
void make_room_for(std::size_t connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t needed = connections + kOtherFiles;
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min(needed, limit.rlim_max);
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= needed) return;
  log_warning("the limit of open files is low for the connections allowed: raise it (LimitNOFILE=)",
              {{"limit", static_cast<std::uint64_t>(limit.rlim_cur)},
               {"needed", static_cast<std::uint64_t>(needed)}});
}

}  // namespace

HttpCore::HttpCore(const WriterConfig& writer_config, HttpServer::Wiring parts, HttpLimits bounds)
    : config(writer_config),
      wiring(parts),
      limits(bounds),
      acceptor_(context),
      accept_timer_(context),
      prune_timer_(context),
      drain_timer_(context) {}

Result<void> HttpCore::listen() {
  make_room_for(limits.connections + kMaxRefusals);
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
      // Said when it begins: it is tried ten times a second, and succeeds now and then while clients come and go.
      const auto now = std::chrono::steady_clock::now();
      if (now - std::exchange(accept_failed_, now) > kAcceptQuiet) {
        log_warning("connections cannot be accepted for now; those that are open are served",
                    {{"reason", error.message()},
                     {"open_connections", connections_.size()},
                     {"hint", "raise the limit of open files (LimitNOFILE=)"}});
      }
      accept_timer_.expires_after(kAcceptPause);
      accept_timer_.async_wait([this](error_code cancelled) {
        if (!cancelled) accept();
      });
      return;
    }
    take_connection(std::move(socket));
    accept();
  });
}

void HttpCore::take_connection(tcp::socket socket) {
  const std::size_t open = connections_.size();
  if (open >= limits.connections) metrics.refused(503);
  if (open >= limits.connections + kMaxRefusals) return;
  error_code ignored;  // without it answers only come later
  socket.set_option(tcp::no_delay(true), ignored);
  const auto connection = std::make_shared<HttpConnection>(*this, std::move(socket));
  if (open < limits.connections) return connection->await_request();
  connection->refuse(unavailable("too-many-connections", "The writer has too many connections",
                                 fmt::format("at most {}", limits.connections), 1));
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

bool HttpCore::take_body_bytes(std::size_t bytes) {
  // One body always has room, whatever its limit.
  const std::uint64_t most = std::max(limits.bodies_bytes, config.body_limit_bytes);
  if (bytes > most - body_bytes_) return false;
  body_bytes_ += bytes;
  return true;
}

WriterStatus::Verdict HttpCore::readiness() const {
  const WriterStatus::Verdict of = wiring.status.readiness();
  if (!of.good) return of;
  if (is_stopping_) return {false, "the writer is stopping"};
  if (!wiring.service.is_connected()) return {false, "no session is connected to the database"};
  return of;
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
    case Route::Kind::kReady:
      verdict(readiness(), "not-ready", "The writer is not ready");
      break;
    case Route::Kind::kStatus:
      answer.body = R"({"commands":{)";
      wiring.service.append_status(answer.body);
      fmt::format_to(std::back_inserter(answer.body), R"(,"connections":{},"body_bytes":{}}})",
                     connections_.size(), body_bytes_);
      wiring.status.append_status_members(answer.body);
      answer.body += '}';
      break;
    case Route::Kind::kMetrics: {
      http::MetricsText text(answer.body);
      metrics.append_to(text);
      wiring.service.append_metrics(text);
      text.gauge("ringside_writer_ready", "1 when /readyz is green.");
      text.sample({}, readiness().good ? 1u : 0u);
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
