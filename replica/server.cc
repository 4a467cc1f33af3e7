#include "replica/server.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "replica/listener.h"

namespace ringside::replica {
namespace {

constexpr unsigned kEntries = 2048;
constexpr unsigned kCompletions = 16384;
constexpr std::size_t kInputLimit = std::size_t{8} << 20;
constexpr std::size_t kWarmBuffers = 256;
constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kMillisecondNs = 1'000'000;
// Files that are not client connections: the ring's chunks are mapped and closed, so these are few.
constexpr rlim_t kOtherFiles = 256;

std::uint64_t to_ns(std::chrono::milliseconds duration) {
  return static_cast<std::uint64_t>(duration.count()) * kMillisecondNs;
}

ResponderLimits limits_of(const ReplicaConfig& config) {
  ResponderLimits limits;
  limits.max_connections = config.max_connections;
  limits.head_limit_bytes = config.head_limit_bytes;
  limits.response_limit_bytes = config.response_limit_bytes;
  limits.unsent_limit_bytes = config.unsent_limit_bytes;
  limits.plan.max_keys = config.max_keys;
  limits.plan.default_wait_ms = static_cast<std::uint32_t>(config.default_wait.count());
  limits.plan.max_wait_ms = static_cast<std::uint32_t>(config.max_wait.count());
  limits.plan.numbers_as_strings = config.numbers_as_strings;
  return limits;
}

// Raises the limit of open files to what max_connections needs; lowers max_connections to what there is.
void fit_to_open_files(ReplicaConfig& config) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t needed = config.max_connections + kOtherFiles;
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min(needed, limit.rlim_max);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  const rlim_t left = limit.rlim_cur > 2 * kOtherFiles ? limit.rlim_cur - kOtherFiles : limit.rlim_cur / 2;
  log_warning("replica.max_connections is more than the open files allowed: raise the limit (LimitNOFILE=)",
              {{"max_connections", config.max_connections}, {"used", static_cast<std::uint64_t>(left)}});
  config.max_connections = static_cast<std::uint32_t>(std::max<rlim_t>(left, 1));
}

}  // namespace

Server::Server(const ServerOptions& options)
    : options_(options),
      inputs_(kInputLimit, kWarmBuffers / 4),
      outputs_(2 * options.config.response_limit_bytes + 4 * Responder::kOutputHighWater, kWarmBuffers),
      follower_(options.ring_directory, options.ring_name),
      pages_(options_.config, options.ring_name, options.index, options.commit, follower_, metrics_),
      responder_(limits_of(options_.config), pages_, metrics_) {
  slots_.reserve(options_.config.max_connections);
  free_slots_.reserve(options_.config.max_connections);
  const std::uint64_t shortest =
      std::min(to_ns(options_.config.idle_timeout), to_ns(options_.config.head_timeout));
  sweep_interval_ns_ = std::clamp(shortest / 8, 10 * kMillisecondNs, kSecondNs);
}

Server::~Server() {
  for (const std::unique_ptr<Connection>& connection : slots_) {
    if (connection->fd >= 0) ::close(connection->fd);
  }
  if (is_listening_ && !options_.config.unix_socket.empty()) {
    unlink_socket(options_.config.unix_socket_for(options_.index));
  }
  // The kernel lets go of all buffers before they are freed.
  receive_buffers_.reset();
  uring_.reset();
}

Result<std::unique_ptr<Server>> Server::create(const ServerOptions& options) {
  ServerOptions fitted = options;
  fit_to_open_files(fitted.config);
  std::unique_ptr<Server> server(new Server(fitted));
  RINGSIDE_TRY(server->set_up());
  return server;
}

Result<void> Server::set_up() {
  RINGSIDE_ASSIGN(uring_, Uring::create(kEntries, kCompletions, options_.config.busy_poll));
  RINGSIDE_ASSIGN(receive_buffers_, BufferRing::create(*uring_, 0, kReceiveBuffers, kReceiveBufferBytes));
  if (options_.takes_over) RINGSIDE_TRY(find_predecessor());
  if (!predecessor_.fd) RINGSIDE_TRY(open_own());
  if (options_.stop_fd >= 0) {
    io_uring_sqe* sqe = uring_->sqe();
    io_uring_prep_poll_add(sqe, options_.stop_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, tag(Operation::kStopPoll, 0, 0));
  }
  return {};
}

Result<void> Server::run() {
  for (;;) {
    turn();
    if (fatal_) return *fatal_;
    if (must_end()) break;
    sleep();
  }
  log_info("replica ends", {{"open_connections", metrics_.connections}});
  return {};
}

void Server::turn() {
  now_ns_ = monotonic_ns();
  const bool has_followed = follower_.turn(now_ns_);
  update_listening();
  begin_responder_turn();
  arm_wake_poll();
  const unsigned completions = uring_->reap([this](const io_uring_cqe& cqe) { complete(cqe); });
  responder_.end_waits(!follower_.is_serving());
  responder_.flush();
  if (now_ns_ >= next_sweep_ns_) sweep();
  responder_.flush();
  const bool has_answered = !responder_.touched().empty();
  finish_turn();
  if (!has_followed && completions == 0 && !has_answered) {
    ++metrics_.idle_turns;
    return;
  }
  // The turn's second look at the clock, for everything that it did.
  const std::uint64_t ended_ns = monotonic_ns();
  responder_.end_turn(ended_ns);
  metrics_.turn_duration.record(ended_ns - now_ns_);
}

void Server::begin_responder_turn() {
  Responder::TurnState state;
  state.now_ns = now_ns_;
  state.unix_seconds = clock_ns(CLOCK_REALTIME_COARSE) / kSecondNs;
  state.is_draining = is_draining_;
  state.version = follower_.last_version();
  if (follower_.is_serving()) {
    state.tables = &follower_.tables();
    state.version = state.tables->visible_version();
    state.stale_seconds = stale_seconds(state.unix_seconds);
  } else {
    state.unready_reason = follower_.reason();
  }
  responder_.begin_turn(state);
}

// Looked up once a second and for every ring that is joined: it reads words that the writer's core is writing.
std::optional<std::uint64_t> Server::stale_seconds(std::uint64_t unix_seconds) {
  if (unix_seconds != stale_as_of_ || follower_.wake_serial() != stale_serial_) {
    stale_as_of_ = unix_seconds;
    stale_serial_ = follower_.wake_serial();
    stale_seconds_ = pages_.stale_seconds();
  }
  return stale_seconds_;
}

void Server::complete(const io_uring_cqe& cqe) {
  const std::uint64_t data = cqe.user_data;
  const auto id = static_cast<std::uint32_t>(data);
  const auto generation = static_cast<std::uint32_t>(data >> 32 & 0xffffff);
  switch (static_cast<Operation>(data >> 56)) {
    case Operation::kReceive:
      return on_receive(cqe, find(id, generation));
    case Operation::kSend:
      return on_send(cqe, find(id, generation));
    case Operation::kAccept:
      return on_accept(cqe, static_cast<Place>(id), generation);
    case Operation::kWakePoll:
      return on_wake(cqe);
    case Operation::kStopPoll:
      return on_stop(cqe.res);
    case Operation::kHandover:
      return on_handover(id, generation);
    case Operation::kIgnored:
      return;
  }
}

// Everything was copied: is it still what it was? Then it may be sent.
void Server::finish_turn() {
  const bool is_lost = responder_.take_lost();
  if (is_lost) follower_.mark_lost();
  if (is_lost || (responder_.has_answered_from_ring() && !follower_.is_still_valid())) {
    ++metrics_.discarded_turns;
    for (HttpConnection* http : responder_.touched()) http->is_broken = true;
  }
  for (HttpConnection* http : responder_.touched()) update(of(*http));
  responder_.clear_touched();
  if (is_draining_ && ++drain_turns_ > 1 && now_ns_ >= idle_end_ns_) {
    // One turn at least was for what had already arrived; now whoever asks nothing is let go.
    for (const std::unique_ptr<Connection>& connection : slots_) {
      if (connection->fd >= 0) update(*connection);
    }
  }
  if (outputs_.lent_bytes() > options_.config.unsent_limit_bytes) shed_unsent();
  metrics_.waiting = responder_.waiting();
  receive_buffers_->publish();
}

void Server::sleep() {
  const std::uint64_t timeout_ns = wait_ns();
  const bool spins = options_.config.busy_poll && follower_.is_serving();
  if (spins) {
    uring_->poll();
  } else if (timeout_ns == 0 || !follower_.prepare_sleep()) {
    uring_->wait(0);
  } else {
    uring_->wait(timeout_ns);
    follower_.awake();
  }
}

std::uint64_t Server::wait_ns() const {
  if (follower_.has_work()) return 0;
  std::uint64_t until = now_ns_ + kSecondNs;
  until = std::min(until, responder_.next_deadline_ns());
  until = std::min(until, follower_.wakes_at_ns());
  if (metrics_.connections != 0) until = std::min(until, next_sweep_ns_);
  if (follower_.is_serving() && !is_listening_ && !is_draining_) {
    until = std::min(until, predecessor_.fd ? predecessor_.deadline_ns : next_listen_ns_);
  }
  for (const Listener& listener : listeners_) {
    if (listener.fd && !listener.is_armed) until = std::min(until, next_accept_ns_);
  }
  if (is_draining_) {
    until = std::min(until, drain_deadline_ns_);
    if (drain_turns_ < 2) until = now_ns_;
    if (now_ns_ < idle_end_ns_) until = std::min(until, idle_end_ns_);
  }
  const std::uint64_t now = monotonic_ns();
  return until <= now ? 0 : until - now;
}

bool Server::must_end() const {
  if (!is_draining_) return false;
  if (stops_ > 1 || now_ns_ >= drain_deadline_ns_) return true;
  return drain_turns_ > 1 && metrics_.connections == 0 && closing_.empty();
}

void Server::on_stop(std::int32_t result) {
  if (result < 0) return;
  std::array<char, 512> bytes;
  const ssize_t size = ::read(options_.stop_fd, bytes.data(), bytes.size());
  if (size <= 0) return;
  if (++stops_ == 1 && !is_draining_) {
    start_draining();
    stop_listening();
  }
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_poll_add(sqe, options_.stop_fd, POLLIN);
  io_uring_sqe_set_data64(sqe, tag(Operation::kStopPoll, 0, 0));
}

void Server::start_draining() {
  log_info("draining: no new connections, what is in flight is answered",
           {{"open_connections", metrics_.connections}});
  is_draining_ = true;
  idle_end_ns_ = now_ns_ + to_ns(options_.config.drain_grace);
  drain_deadline_ns_ = idle_end_ns_ + to_ns(options_.config.max_wait) + to_ns(options_.config.head_timeout);
  pages_.set_draining();
}

// Polls the FIFO of the reader in use; a reader that is gone leaves its poll to be taken back.
void Server::arm_wake_poll() {
  const std::uint64_t serial = follower_.wake_serial();
  if (serial == wake_serial_) return;
  if (wake_serial_ != 0) {
    io_uring_sqe* sqe = uring_->sqe();
    io_uring_prep_cancel64(sqe, tag(Operation::kWakePoll, static_cast<std::uint32_t>(wake_serial_), 0), 0);
    io_uring_sqe_set_data64(sqe, tag(Operation::kIgnored, 0, 0));
  }
  wake_serial_ = serial;
  if (serial == 0) return;
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_poll_multishot(sqe, follower_.wake_fd(), POLLIN);
  io_uring_sqe_set_data64(sqe, tag(Operation::kWakePoll, static_cast<std::uint32_t>(serial), 0));
}

void Server::on_wake(const io_uring_cqe& cqe) {
  const auto serial = static_cast<std::uint32_t>(cqe.user_data >> 32 & 0xffffff);
  if (wake_serial_ == 0 || serial != (wake_serial_ & 0xffffff)) return;
  if (cqe.res > 0) {
    // Read away in the submission that this turn makes anyway; that the read itself completed is of no interest.
    io_uring_sqe* sqe = uring_->sqe();
    io_uring_prep_read(sqe, follower_.wake_fd(), wake_bytes_.data(),
                       static_cast<unsigned>(wake_bytes_.size()), 0);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data64(sqe, tag(Operation::kIgnored, 0, 0));
  }
  if ((cqe.flags & IORING_CQE_F_MORE) == 0) wake_serial_ = 0;  // armed again in the next turn
}

}  // namespace ringside::replica
