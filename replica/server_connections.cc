// What happens to one connection, from accept to close.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/log.h"
#include "http/byte_sink.h"
#include "replica/server.h"

namespace ringside::replica {
namespace {

// Behind a wait or a full output a client may send this much more before it is no longer read.
constexpr std::size_t kInputHighWater = std::size_t{32} << 10;
constexpr std::uint64_t kAcceptQuietNs = 10'000'000'000;  // after which another failure is another occasion

constexpr std::string_view kRefusalHead =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 176\r\n"
    "Retry-After: 1\r\nConnection: close\r\nRingside-Version: ";
constexpr std::string_view kRefusalBody =
    "{\"type\":\"urn:ringside:problem:too-many-connections\",\"title\":\"Too many "
    "connections\",\"status\":503,"
    "\"detail\":\"replica.max_connections is reached. Keep connections and share them.\"}";
static_assert(kRefusalBody.size() == 176);

}  // namespace

void Server::take_connection(int fd, Place place) {
  if (free_slots_.empty() && slots_.size() == options_.config.max_connections) return refuse(fd);
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.push_back(std::make_unique<Connection>(free_slots_.back(), inputs_, outputs_));
  }
  Connection& connection = *slots_[free_slots_.back()];
  free_slots_.pop_back();
  connection.fd = fd;
  connection.active_ns = now_ns_;
  connection.http.reset(place == Place::kAdmin);
  ++metrics_.connections;
  ++metrics_.accepted;
  arm_receive(connection);
}

// Said when it begins: it is tried ten times a second, and succeeds now and then while clients come and go.
void Server::note_accept_failure(int error) {
  const bool is_new = accept_failed_ns_ == 0 || now_ns_ - accept_failed_ns_ > kAcceptQuietNs;
  accept_failed_ns_ = now_ns_;
  if (!is_new) return;
  log_warning("connections cannot be accepted for now; those that are open are served",
              {{"reason", std::strerror(error)},
               {"open_connections", metrics_.connections},
               {"hint", "raise the limit of open files (LimitNOFILE=)"}});
}

// Best effort: the client may close first, and then nothing is lost either.
void Server::refuse(int fd) {
  ++metrics_.refused;
  std::array<char, 512> text;
  http::ByteSink out(text);
  out.append(kRefusalHead);
  const bool is_serving = follower_.is_serving();
  out.append_number((is_serving ? follower_.tables().visible_version() : follower_.last_version()).value());
  out.append("\r\n\r\n");
  out.append(kRefusalBody);
  static_cast<void>(::send(fd, out.view().data(), out.view().size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  ::shutdown(fd, SHUT_WR);
  ::close(fd);
}

Server::Connection* Server::find(std::uint32_t id, std::uint32_t generation) {
  if (id >= slots_.size()) return nullptr;
  Connection& connection = *slots_[id];
  return connection.fd >= 0 && connection.generation == generation ? &connection : nullptr;
}

void Server::arm_receive(Connection& connection) {
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_recv_multishot(sqe, connection.fd, nullptr, 0, 0);
  io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
  sqe->buf_group = receive_buffers_->group();
  io_uring_sqe_set_data64(sqe, tag(Operation::kReceive, connection.generation, connection.http.id));
  connection.is_receiving = true;
}

void Server::cancel_receive(Connection& connection) {
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_cancel64(sqe, tag(Operation::kReceive, connection.generation, connection.http.id), 0);
  io_uring_sqe_set_data64(sqe, tag(Operation::kIgnored, 0, 0));
  connection.is_cancelling = true;
}

void Server::on_receive(const io_uring_cqe& cqe, Connection* connection) {
  const bool has_buffer = (cqe.flags & IORING_CQE_F_BUFFER) != 0;
  const auto buffer = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
  if (connection == nullptr) {
    if (has_buffer) receive_buffers_->recycle(buffer);
    return;
  }
  const bool is_last = (cqe.flags & IORING_CQE_F_MORE) == 0;
  if (is_last) connection->is_receiving = connection->is_cancelling = false;
  HttpConnection& http = connection->http;
  if (cqe.res > 0 && has_buffer && !connection->is_closing && !connection->is_lingering) {
    connection->active_ns = now_ns_;
    responder_.receive(http, receive_buffers_->bytes(buffer, static_cast<std::size_t>(cqe.res)));
    if (outputs_.lent_bytes() > options_.config.unsent_limit_bytes) shed_unsent();
    if (inputs_.lent_bytes() > kMaxStoredInput && http.input.size() > BufferPool::kSmallest) {
      http.is_broken = true;
      responder_.touch(http);
    }
  }
  if (has_buffer) receive_buffers_->recycle(buffer);
  if (cqe.res == 0) {
    connection->has_ended = true;
  } else if (cqe.res < 0 && cqe.res != -ENOBUFS && cqe.res != -ECANCELED && cqe.res != -EINTR &&
             cqe.res != -EAGAIN) {
    connection->has_ended = true;
    http.is_broken = true;  // reset by the client: nothing can be sent any more
  }
  if (is_last || http.input.size() > kInputHighWater) responder_.touch(http);
}

void Server::on_send(const io_uring_cqe& cqe, Connection* connection) {
  if (connection == nullptr) return;
  connection->is_sending = false;
  HttpConnection& http = connection->http;
  if (cqe.res > 0) {
    connection->sending.consume(static_cast<std::size_t>(cqe.res));
    connection->active_ns = connection->taken_ns = now_ns_;
    metrics_.sent_bytes += static_cast<std::uint64_t>(cqe.res);
  } else if (cqe.res != -EINTR && cqe.res != -EAGAIN) {
    http.is_broken = true;
  }
  const bool has_room = http.output.size() <= Responder::kOutputHighWater / 2;
  if (http.is_output_full && has_room && !http.is_broken && !connection->is_closing) responder_.resume(http);
  responder_.touch(http);
}

// Sees to it that what is due happens next: send, receive, or end.
void Server::update(Connection& connection) {
  HttpConnection& http = connection.http;
  if (connection.fd < 0) return;
  if (connection.is_closing) return release_if_done(connection);
  if (http.is_broken) return close(connection);
  if (!connection.is_sending && !(connection.sending.empty() && http.output.empty())) start_send(connection);
  const bool has_room = http.input.size() <= kInputHighWater;
  if (!connection.is_receiving && !connection.has_ended && has_room) arm_receive(connection);
  if (connection.is_receiving && !connection.is_cancelling && !has_room) cancel_receive(connection);
  if (connection.is_sending || http.is_waiting || http.is_output_full) return;
  // Everything that was asked in full has been answered and sent.
  if (connection.has_ended) return close(connection);
  if (connection.is_lingering) return;
  if (http.must_close) return linger(connection);
  if (is_draining_ && drain_turns_ > 1 && now_ns_ >= idle_end_ns_ && http.is_quiet()) close(connection);
}

void Server::start_send(Connection& connection) {
  if (connection.sending.empty()) {
    connection.sending.swap(connection.http.output);
    connection.taken_ns = now_ns_;
  }
  const std::size_t size = std::min(connection.sending.size(), kSendBytes);
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_send(sqe, connection.fd, connection.sending.data(), size, MSG_NOSIGNAL | MSG_WAITALL);
  io_uring_sqe_set_data64(sqe, tag(Operation::kSend, connection.generation, connection.http.id));
  connection.is_sending = true;
}

// Closing with bytes unread would make the kernel reset the connection, and the client lose the answer. So: say that
// no more comes, and throw away what the client still sends until it closes, or has had its time.
void Server::linger(Connection& connection) {
  connection.is_lingering = true;
  connection.active_ns = now_ns_;
  connection.http.input.release();
  ::shutdown(connection.fd, SHUT_WR);
}

// Memory for answers is short: who holds much of it for long, taking nothing, is let go, until a quarter is free again.
void Server::shed_unsent() {
  responder_.flush();  // what is planned belongs to connections that may end here
  const std::size_t goal = options_.config.unsent_limit_bytes / 4 * 3;
  std::size_t excess = outputs_.lent_bytes() - std::min(goal, outputs_.lent_bytes());
  const auto held_by = [](const Connection& connection) {
    return connection.sending.capacity() + connection.http.output.capacity();
  };
  std::vector<Connection*> holders;
  for (const std::unique_ptr<Connection>& slot : slots_) {
    const std::size_t held = held_by(*slot);
    if (slot->is_closing) {
      excess -= std::min(excess, held);  // is on its way back
    } else if (held != 0 && slot->fd >= 0) {
      holders.push_back(slot.get());
    }
  }
  // Much for long: neither a small answer that waits its turn, nor a large one that is being taken.
  const auto weight = [&](const Connection& connection) {
    const std::uint64_t since = connection.is_sending ? connection.taken_ns : now_ns_;
    return held_by(connection) * (1 + (now_ns_ - std::min(now_ns_, since)) / 1'000'000);
  };
  std::sort(holders.begin(), holders.end(),
            [&](const Connection* a, const Connection* b) { return weight(*a) > weight(*b); });
  for (Connection* connection : holders) {
    if (excess == 0) break;
    excess -= std::min(excess, held_by(*connection));
    ++metrics_.stalled_closed;
    close(*connection);
  }
}

void Server::close(Connection& connection) {
  connection.is_closing = true;
  responder_.forget(connection.http);
  connection.http.output.release();  // the kernel knows of `sending` alone
  connection.http.input.release();
  // Makes operations in the kernel come back.
  if (connection.is_receiving || connection.is_sending) ::shutdown(connection.fd, SHUT_RDWR);
  release_if_done(connection);
}

void Server::release_if_done(Connection& connection) {
  if (connection.is_receiving || connection.is_sending) return;
  ::close(connection.fd);
  connection.fd = -1;
  connection.generation = (connection.generation + 1) & 0xffffff;
  connection.is_cancelling = connection.has_ended = connection.is_lingering = connection.is_closing = false;
  connection.sending.release();
  const bool is_listed = connection.http.is_listed;
  connection.http.reset(false);
  connection.http.is_listed = is_listed;  // still in touched(); nothing will be done for it
  free_slots_.push_back(connection.http.id);
  --metrics_.connections;
}

// Coarse on purpose: a time-out may be a sweep late, and no request pays for a timer.
void Server::sweep() {
  next_sweep_ns_ = now_ns_ + sweep_interval_ns_;
  if (metrics_.connections == 0) return;
  const auto idle_ns = static_cast<std::uint64_t>(options_.config.idle_timeout.count()) * 1'000'000;
  const auto head_ns = static_cast<std::uint64_t>(options_.config.head_timeout.count()) * 1'000'000;
  for (const std::unique_ptr<Connection>& slot : slots_) {
    Connection& connection = *slot;
    HttpConnection& http = connection.http;
    if (connection.fd < 0 || connection.is_closing) continue;
    const std::uint64_t silent_ns = now_ns_ - std::min(now_ns_, connection.active_ns);
    if (connection.is_lingering) {
      if (silent_ns > kLingerNs) close(connection);
    } else if (connection.is_sending) {
      if (now_ns_ - std::min(now_ns_, connection.taken_ns) <= idle_ns) continue;
      ++metrics_.stalled_closed;
      close(connection);
    } else if (http.has_partial_head() && !http.must_close) {
      if (now_ns_ - std::min(now_ns_, http.started_ns) > head_ns) responder_.time_out_head(http);
    } else if (http.is_quiet() && silent_ns > idle_ns) {
      ++metrics_.idle_closed;
      close(connection);
    }
  }
}

}  // namespace ringside::replica
