// The sockets a replica listens on: opened, closed without losing whom the kernel has already taken in, handed over.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/log.h"
#include "replica/listener.h"
#include "replica/server.h"

namespace ringside::replica {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kAcceptPauseNs = 100'000'000;
constexpr std::uint64_t kAnswerNs = 10 * kSecondNs;  // the other replica's time to answer

constexpr std::uint32_t number(Place place) {
  return static_cast<std::uint32_t>(place);
}

ListenAddress admin_address(const ServerOptions& options) {
  ListenAddress address;
  address.host = options.config.admin_address;
  address.port = options.admin_port.value_or(0);
  address.is_ipv6 = address.host.find(':') != std::string::npos;
  return address;
}

}  // namespace

void Server::update_listening() {
  const bool should = follower_.is_serving() && !is_draining_;
  if (should && !is_listening_ && predecessor_.fd) {
    ask_for_sockets();
  } else if (should && !is_listening_ && now_ns_ >= next_listen_ns_) {
    const Result<void> listening = start_listening();
    if (listening) {
      has_listened_ = true;
    } else if (!has_listened_) {
      fatal_ = listening.error();
    } else {
      next_listen_ns_ = now_ns_ + kSecondNs;
      log_error("cannot listen again; trying on", {{"reason", listening.error().message}});
    }
  }
  if (!should && is_listening_) stop_listening();
  if (now_ns_ < next_accept_ns_) return;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (listeners_[i].fd && !listeners_[i].is_armed) arm_accept(static_cast<Place>(i));
  }
}

// What it listens on from start to end: the admin port, and where a successor asks. What is there already stays.
Result<void> Server::open_own() {
  if (!options_.handover_name.empty() && !listener(Place::kHandover).fd) {
    RINGSIDE_ASSIGN(listener(Place::kHandover).fd, listen_handover(options_.handover_name));
  }
  if (options_.admin_port) {
    UniqueFd& admin = listener(Place::kAdmin).fd;
    if (!admin) {
      RINGSIDE_ASSIGN(admin,
                      listen_tcp(admin_address(options_), PortUse::kAlone, "replica.admin_port + index"));
    }
    admin_port_ = local_port(admin.get());
  }
  return {};
}

// The data sockets; those that were taken over stay.
Result<void> Server::start_listening() {
  ListenAddress address = options_.config.listen;
  if (address.port == 0) address.port = data_port_;
  UniqueFd tcp;
  UniqueFd local;
  if (!listener(Place::kTcp).fd) {
    RINGSIDE_ASSIGN(tcp, listen_tcp(address, PortUse::kShared, "replica.listen"));
  }
  const std::string path = options_.config.unix_socket_for(options_.index);
  if (!path.empty() && !listener(Place::kUnix).fd) {
    RINGSIDE_ASSIGN(local, listen_unix(path));
  }
  if (tcp) listener(Place::kTcp).fd = std::move(tcp);
  if (local) listener(Place::kUnix).fd = std::move(local);
  data_port_ = local_port(listener(Place::kTcp).fd.get());
  is_listening_ = true;
  address.port = data_port_;
  log_info("listening", {{"address", address.to_string()}, {"unix_socket", path}});
  return {};
}

void Server::stop_listening() {
  // Its name first: who comes now finds nobody, instead of a queue that is about to end.
  if (is_listening_ && listener(Place::kUnix).fd)
    unlink_socket(options_.config.unix_socket_for(options_.index));
  for (const Place place : {Place::kTcp, Place::kUnix}) stop_listening_at(place, false);
  is_listening_ = false;
}

void Server::stop_listening_at(Place place, bool is_handed_over) {
  Listener& ended = listener(place);
  if (!ended.fd) return;
  const std::uint32_t generation = ended.generation;
  closing_.push_back({std::move(ended.fd), place, generation, is_handed_over});
  ended.generation = (generation + 1) & 0xffffff;
  if (std::exchange(ended.is_armed, false)) {
    // The accept holds the socket open, and may be about to accept: what is left is looked at when it is back.
    cancel_accept(place, generation);
  } else {
    finish_closing(place, generation);
  }
}

void Server::arm_accept(Place place) {
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_multishot_accept(sqe, listener(place).fd.get(), nullptr, nullptr, SOCK_CLOEXEC);
  io_uring_sqe_set_data64(sqe, tag(Operation::kAccept, listener(place).generation, number(place)));
  listener(place).is_armed = true;
}

void Server::cancel_accept(Place place, std::uint32_t generation) {
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_cancel64(sqe, tag(Operation::kAccept, generation, number(place)), 0);
  io_uring_sqe_set_data64(sqe, tag(Operation::kIgnored, 0, 0));
}

void Server::on_accept(const io_uring_cqe& cqe, Place place, std::uint32_t generation) {
  if (cqe.res >= 0 && place == Place::kHandover) {
    on_successor(UniqueFd(cqe.res));
  } else if (cqe.res >= 0) {
    take_connection(cqe.res, place);
  }
  if ((cqe.flags & IORING_CQE_F_MORE) != 0) return;
  if (listener(place).generation != generation) return finish_closing(place, generation);
  listener(place).is_armed = false;
  // Out of descriptors or memory: a pause, or this would go round and round.
  const bool pauses = cqe.res < 0 && cqe.res != -ECONNABORTED && cqe.res != -EINTR && cqe.res != -ECANCELED;
  next_accept_ns_ = pauses ? now_ns_ + kAcceptPauseNs : now_ns_;
  if (pauses) note_accept_failure(-cqe.res);
}

void Server::finish_closing(Place place, std::uint32_t generation) {
  const auto at = std::find_if(closing_.begin(), closing_.end(), [&](const ClosingListener& closing) {
    return closing.place == place && closing.generation == generation;
  });
  if (at == closing_.end()) return;
  if (!at->is_handed_over) accept_the_rest(*at);
  closing_.erase(at);
  if (closing_.empty() && successor_.has_taken) drop_peer(successor_);
}

// Whoever is in the queue of a TCP or unix socket that closes would be reset. What remains is whose handshake ends
// between the last look and the close; net.ipv4.tcp_migrate_req=1 leads those to another replica on the port.
void Server::accept_the_rest(const ClosingListener& closing) {
  if (closing.place == Place::kHandover) return;
  const int fd = closing.fd.get();
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return;
  for (int i = 0; i <= 2 * kBacklog; ++i) {
    const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (accepted >= 0) {
      take_connection(accepted, closing.place);
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

Result<void> Server::find_predecessor() {
  RINGSIDE_ASSIGN(predecessor_.fd, connect_handover(options_.handover_name));
  if (!predecessor_.fd) {
    log_info("no replica of this index runs on this ring: nothing to take over");
    return {};
  }
  RINGSIDE_ASSIGN(predecessor_.pid, handover_peer(predecessor_.fd.get()));
  log_info("takes another replica's place when it is ready", {{"pid", predecessor_.pid}});
  poll_peer(predecessor_);
  return {};
}

void Server::poll_peer(HandoverPeer& peer) {
  io_uring_sqe* sqe = uring_->sqe();
  io_uring_prep_poll_add(sqe, peer.fd.get(), POLLIN);
  io_uring_sqe_set_data64(sqe, tag(Operation::kHandover, peer.generation, peer.id));
}

void Server::drop_peer(HandoverPeer& peer) {
  // The poll in the kernel holds the socket: only this tells the other side.
  ::shutdown(peer.fd.get(), SHUT_RDWR);
  peer.fd.reset();
  peer.generation = (peer.generation + 1) & 0xffffff;
  peer.has_asked = peer.has_taken = false;
}

void Server::on_handover(std::uint32_t id, std::uint32_t generation) {
  HandoverPeer& peer = id == predecessor_.id ? predecessor_ : successor_;
  while (peer.fd && peer.generation == generation) {
    HandoverMessage message = receive_handover(peer.fd.get());
    if (message.kind == HandoverMessage::Kind::kNothing) return poll_peer(peer);
    if (&peer == &predecessor_) {
      hear_predecessor(message);
    } else {
      hear_successor(message);
    }
  }
}

void Server::on_successor(UniqueFd fd) {
  const Result<pid_t> pid = handover_peer(fd.get());
  if (!pid || successor_.fd) {
    log_warning("a successor is refused",
                {{"reason", pid ? "another one was here before: process " + std::to_string(successor_.pid)
                                : pid.error().message}});
    return;
  }
  successor_.fd = std::move(fd);
  successor_.pid = *pid;
  poll_peer(successor_);
}

void Server::hear_successor(const HandoverMessage& message) {
  switch (message.kind) {
    case HandoverMessage::Kind::kAsk:
      return offer_sockets();
    case HandoverMessage::Kind::kTaken:
      if (successor_.has_asked && !successor_.has_taken) return hand_over(message);
      break;
    default:
      break;
  }
  if (!successor_.has_taken) {
    log_warning("the successor has gone, or speaks another version: this replica serves on",
                {{"pid", successor_.pid}});
  }
  drop_peer(successor_);
}

void Server::offer_sockets() {
  std::vector<Place> places;
  std::vector<int> fds;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (!listeners_[i].fd) continue;
    places.push_back(static_cast<Place>(i));
    fds.push_back(listeners_[i].fd.get());
  }
  const Result<void> sent = send_handover(successor_.fd.get(), HandoverMessage::Kind::kSockets, places, fds);
  if (sent) {
    successor_.has_asked = true;
    return;
  }
  log_warning("the sockets cannot be handed over", {{"reason", sent.error().message}});
  drop_peer(successor_);
}

void Server::hand_over(const HandoverMessage& message) {
  log_info("a successor has taken over", {{"pid", successor_.pid}});
  if (!is_draining_) start_draining();
  const auto has_taken = [&](Place place) {
    return std::any_of(message.sockets.begin(), message.sockets.end(),
                       [place](const PlacedSocket& socket) { return socket.place == place; });
  };
  if (has_taken(Place::kUnix)) is_listening_ = false;  // the name is the successor's
  for (const Place place : {Place::kTcp, Place::kUnix, Place::kAdmin, Place::kHandover}) {
    if (has_taken(place)) stop_listening_at(place, true);
  }
  stop_listening();
  for (const Place place : {Place::kAdmin, Place::kHandover}) stop_listening_at(place, false);
  successor_.has_taken = true;
  if (closing_.empty()) drop_peer(successor_);
}

void Server::ask_for_sockets() {
  if (predecessor_.has_asked) {
    if (now_ns_ < predecessor_.deadline_ns) return;
    fatal_ = Error{ErrorKind::kUnavailable,
                   "the replica whose place this one takes, process " + std::to_string(predecessor_.pid) +
                       ", does not answer: is it stopped? Kill it and start this one "
                       "again"};
    return;
  }
  const Result<void> asked = send_handover(predecessor_.fd.get(), HandoverMessage::Kind::kAsk);
  predecessor_.has_asked = true;  // failed: the connection's end is about to be heard
  predecessor_.deadline_ns = now_ns_ + kAnswerNs;
  if (!asked) log_warning("cannot ask for the sockets", {{"reason", asked.error().message}});
}

void Server::hear_predecessor(HandoverMessage& message) {
  if (message.kind == HandoverMessage::Kind::kSockets && predecessor_.has_asked && !predecessor_.has_taken) {
    if (!follower_.is_serving() || is_draining_) {
      predecessor_.has_asked = false;  // not now; they are closed here, and asked for again
      return;
    }
    const Result<void> adopted = adopt(message.sockets);
    if (!adopted) fatal_ = adopted.error();
    return;
  }
  const bool has_taken = predecessor_.has_taken;
  const pid_t pid = predecessor_.pid;
  drop_peer(predecessor_);
  if (message.kind != HandoverMessage::Kind::kEnded && !has_taken) {
    fatal_ = Error{ErrorKind::kUnsupported, "process " + std::to_string(pid) +
                                                ", whose place this one takes, speaks another version of the "
                                                "handover: stop it, then start this one"};
    return;
  }
  if (has_taken) {
    // None of its accepts is left. A wake-up that went to one of them is made up for by accepting anew.
    for (std::size_t i = 0; i < kPlaces; ++i) {
      if (listeners_[i].is_armed) cancel_accept(static_cast<Place>(i), listeners_[i].generation);
    }
    return;
  }
  log_warning("the replica whose place this one takes has ended or refuses; starting as ever",
              {{"pid", pid}});
  const Result<void> opened = open_own();
  if (!opened) fatal_ = opened.error();
}

bool Server::is_ours(const PlacedSocket& socket) const {
  switch (socket.place) {
    case Place::kTcp:
      return listens_at(socket.fd.get(), options_.config.listen);
    case Place::kUnix:
      return listens_at(socket.fd.get(), options_.config.unix_socket_for(options_.index));
    case Place::kAdmin:
      return options_.admin_port && listens_at(socket.fd.get(), admin_address(options_));
    case Place::kHandover:
      return true;
  }
  return false;
}

// Whatever can fail comes before the word that ends the other's accepting.
Result<void> Server::adopt(std::vector<PlacedSocket>& sockets) {
  for (PlacedSocket& socket : sockets) {
    // The configuration may name other addresses than the other replica's did: those end with it.
    if (is_ours(socket)) listener(socket.place).fd = std::move(socket.fd);
  }
  std::vector<Place> taken;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (listeners_[i].fd) taken.push_back(static_cast<Place>(i));
  }
  if (listener(Place::kHandover).fd) RINGSIDE_TRY(own_handover(listener(Place::kHandover).fd.get()));
  RINGSIDE_TRY(open_own());
  RINGSIDE_TRY(start_listening());
  has_listened_ = true;
  RINGSIDE_TRY(send_handover(predecessor_.fd.get(), HandoverMessage::Kind::kTaken, taken));
  predecessor_.has_taken = true;
  log_info("has taken over", {{"pid", predecessor_.pid}, {"admin_port", admin_port_}});
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (listeners_[i].fd && !listeners_[i].is_armed) arm_accept(static_cast<Place>(i));
  }
  return {};
}

}  // namespace ringside::replica
