#include "writer/commands/http_connection.h"

#include <fmt/format.h>

#include <array>
#include <utility>
#include <variant>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "base/assert.h"
#include "base/clock.h"
#include "http/byte_sink.h"
#include "http/response.h"

namespace ringside::writer {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr std::chrono::seconds kLinger{1};  // for what the client still sends after the last answer
constexpr std::size_t kLingerBytes = std::size_t{4} << 20;
// All lines of an answer's head but Location.
constexpr std::size_t kHeadBytes = 768;

std::string_view view(const boost::beast::flat_buffer& buffer) {
  return {static_cast<const char*>(buffer.data().data()), buffer.size()};
}

}  // namespace

HttpConnection::HttpConnection(HttpCore& core, tcp::socket socket)
    : core_(core), socket_(std::move(socket)), timer_(core.context), version_timer_(core.context) {
  core_.add(this);
}

HttpConnection::~HttpConnection() {
  give_back_body();
  core_.remove(this);
}

// --- time

void HttpConnection::expire_after(std::chrono::milliseconds time) {
  expires_at_ = Clock::now() + time;
  has_expired_ = false;
  if (!is_timing_ || timer_.expiry() > expires_at_) arm_timer();
}

void HttpConnection::arm_timer() {
  is_timing_ = true;
  timer_.expires_at(expires_at_);
  // Weak: a timer is no reason to live on.
  timer_.async_wait([weak = weak_from_this()](error_code cancelled) {
    const auto self = weak.lock();
    if (!cancelled && self) self->on_timer();
  });
}

void HttpConnection::on_timer() {
  is_timing_ = false;
  if (expires_at_ == Clock::time_point::max()) return;
  if (Clock::now() < expires_at_) return arm_timer();
  has_expired_ = true;
  error_code
      ignored;  // an operation that cannot be cancelled has ended, and its handler looks at has_expired_
  socket_.cancel(ignored);
}

// --- reading

void HttpConnection::await_request() {
  if (core_.is_stopping() || is_last_) return close();
  if (buffer_.size() > 0) {
    expire_after(core_.limits.head);
    return read_head();
  }
  if (buffer_.capacity() > kReadBytes) buffer_.shrink_to_fit();
  is_idle_ = true;
  expire_after(core_.limits.idle);
  socket_.async_read_some(buffer_.prepare(kReadBytes / 4),
                          [self = shared_from_this()](error_code error, std::size_t size) {
                            self->is_idle_ = false;
                            if (error) return self->close();
                            self->buffer_.commit(size);
                            self->expire_after(self->core_.limits.head);
                            self->read_head();
                          });
}

void HttpConnection::read_more(Next next) {
  if (has_expired_) return read_failed();
  socket_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this(), next](error_code error, std::size_t size) {
                            if (error) return self->read_failed();
                            self->buffer_.commit(size);
                            (self.get()->*next)();
                          });
}

// The client has gone, or was too slow.
void HttpConnection::read_failed() {
  if (!has_expired_) return close();
  is_last_ = true;
  refuse_request(make_problem({.status = 408,
                               .type = "request-timeout",
                               .title = "Request timeout",
                               .detail = body_follows_ ? "the request's body did not arrive in time"
                                                       : "the request's head did not arrive in time"}));
}

void HttpConnection::read_head() {
  http::Request request;
  switch (parser_.parse(view(buffer_), core_.limits.head_bytes, request)) {
    case http::ParseStatus::kNeedMore:
      return read_more(&HttpConnection::read_head);
    case http::ParseStatus::kFailed:
      head_only_ = parser_.is_head();
      return refuse_malformed(parser_.failure());
    case http::ParseStatus::kComplete:
      return on_head(request);
  }
}

void HttpConnection::on_head(const http::Request& request) {
  head_only_ = request.method == http::Method::kHead;
  keep_alive_ = request.keep_alive;
  is_http_1_0_ = request.minor_version == 0;
  const bool expects_continue = request.expects_continue;
  auto found = find_route(request, {core_.config.listen, core_.config.tokens});
  const http::ParseStatus body = body_reader_.begin(request, core_.config.body_limit_bytes);
  body_follows_ = body != http::ParseStatus::kComplete;
  buffer_.consume(request.head_bytes);  // nothing refers to the head any more
  if (auto* refusal = std::get_if<Answer>(&found)) return refuse_request(std::move(*refusal));
  route_ = std::get<Route>(std::move(found));
  if (body == http::ParseStatus::kFailed) return refuse_malformed(body_reader_.failure());
  if (!body_follows_) return on_body();
  if (expects_continue) return say_continue();
  expire_after(core_.limits.body);
  read_body();
}

void HttpConnection::say_continue() {
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  expire_after(core_.limits.write);
  asio::async_write(socket_, asio::buffer(kContinue),
                    [self = shared_from_this()](error_code error, std::size_t) {
                      if (error) return self->close();
                      self->expire_after(self->core_.limits.body);
                      self->read_body();
                    });
}

void HttpConnection::read_body() {
  std::string_view input = view(buffer_);
  const std::size_t received = input.size();
  http::ParseStatus status = http::ParseStatus::kNeedMore;
  bool has_room = true;
  while (status == http::ParseStatus::kNeedMore && !input.empty() && has_room) {
    std::string_view piece;
    status = body_reader_.read(input, piece);
    has_room = core_.take_body_bytes(piece.size());
    if (has_room) body_bytes_ += piece.size();
    if (has_room) body_.append(piece);
  }
  buffer_.consume(received - input.size());
  if (!has_room) {
    return refuse_request(unavailable("busy", "The writer is busy",
                                      "nothing was changed; too many request bodies are under way", 1));
  }
  switch (status) {
    case http::ParseStatus::kNeedMore:
      return read_more(&HttpConnection::read_body);
    case http::ParseStatus::kFailed:
      return refuse_malformed(body_reader_.failure());
    case http::ParseStatus::kComplete:
      body_follows_ = false;
      return on_body();
  }
}

// Where the next request would begin is unknown: this was the last.
void HttpConnection::refuse_malformed(const http::ParseFailure& failure) {
  is_last_ = true;
  if (failure.status == 413) {
    return refuse_request(make_problem(
        {.status = 413,
         .type = "body-too-large",
         .title = "The request's body is too large",
         .detail = fmt::format("at most {} bytes (writer.body_limit)", core_.config.body_limit_bytes)}));
  }
  refuse_request(make_problem({.status = failure.status,
                               .type = "malformed-request",
                               .title = "Malformed request",
                               .detail = std::string(failure.reason)}));
}

// Before the whole request has been read: what is left of it cannot be told from a next one, so this is the last.
void HttpConnection::refuse_request(Answer answer) {
  if (answer.status >= 400) core_.metrics.refused(answer.status);
  if (body_follows_) is_last_ = true;
  respond(std::move(answer));
}

// --- commands

void HttpConnection::on_body() {
  if (route_.kind != Route::Kind::kCommand) return respond(core_.page(route_));
  begin_command();
}

void HttpConnection::begin_command() {
  started_ns_ = monotonic_ns();
  command_ = {};
  command_.received = std::chrono::steady_clock::now();
  auto refusal =
      prepare(route_.operation, core_.wiring.schema.get(), route_.raw_table, route_.raw_key, body_, command_);
  body_ = {};
  if (refusal && command_.table == nullptr) return refuse_request(*std::move(refusal));
  if (refusal) {
    const CommandResult result = result_of(*refusal);
    return respond_to_command(*std::move(refusal), result);
  }

  never_expire();
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
  if (!finished_.id) {
    const CommandResult result = result_of(finished_.answer);
    return respond_to_command(std::move(finished_.answer), result);
  }
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

void HttpConnection::respond_to_command(Answer answer, CommandResult result) {
  core_.metrics.command(command_.table->name, route_.operation, result, monotonic_ns() - started_ns_);
  respond(std::move(answer));
}

// --- answering

void HttpConnection::refuse(Answer answer) {
  is_last_ = true;
  respond(std::move(answer));
}

void HttpConnection::respond(Answer answer) {
  give_back_body();
  is_last_ = is_last_ || answer.close || core_.is_stopping() || !keep_alive_;
  write_head(answer);
  answer_ = head_only_ ? std::string() : std::move(answer.body);
  expire_after(core_.limits.write);
  const std::array<asio::const_buffer, 2> parts{asio::buffer(head_), asio::buffer(answer_)};
  asio::async_write(socket_, parts, [self = shared_from_this()](error_code error, std::size_t) {
    if (error) return self->close();
    self->on_written();
  });
}

void HttpConnection::write_head(const Answer& answer) {
  core_.date.refresh(wall_ns() / 1'000'000'000);
  std::string more = "Cache-Control: no-store\r\n";
  if (!answer.location.empty()) more += fmt::format("Location: {}\r\n", answer.location);
  if (!answer.allow.empty()) more += fmt::format("Allow: {}\r\n", answer.allow);
  if (answer.ask_for_token) more += "WWW-Authenticate: Bearer\r\n";
  http::ResponseHead head;
  head.status = static_cast<std::uint16_t>(answer.status);
  head.date = core_.date.text();
  if (answer.status != 204) {
    const std::string_view type = answer.is_problem ? http::kProblemType : http::kJsonType;
    head.content_type = answer.content_type.empty() ? type : answer.content_type;
    head.content_length = answer.body.size();
  }
  if (answer.retry_after_s > 0) head.retry_after_s = answer.retry_after_s;
  head.is_http_1_0 = is_http_1_0_;
  head.keep_alive = !is_last_;
  head.more = more;
  head_.resize(kHeadBytes + more.size());
  http::ByteSink out(head_);
  http::append_head(out, head);
  RINGSIDE_ASSERT(!out.overflowed());
  head_.resize(out.wanted());
}

void HttpConnection::on_written() {
  answer_ = {};
  if (!is_last_) return await_request();
  // Closing at once, with unread bytes of the client's in our buffer, would make the kernel reset the connection and
  // take the answer away from the client.
  error_code error;
  socket_.shutdown(tcp::socket::shutdown_send, error);
  if (error) return close();
  expire_after(kLinger);
  linger(kLingerBytes);
}

void HttpConnection::linger(std::size_t left) {
  buffer_.clear();
  if (has_expired_) return close();
  socket_.async_read_some(buffer_.prepare(kReadBytes),
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
  socket_.close(ignored);
  timer_.cancel();
  version_timer_.cancel();
  give_back_body();
  if (awaits_version_ && core_.wiring.tracker.cancel(*finished_.id)) core_.release();
  awaits_version_ = false;
}

void HttpConnection::give_back_body() {
  core_.give_body_bytes(std::exchange(body_bytes_, 0));
  body_ = {};
}

}  // namespace ringside::writer
