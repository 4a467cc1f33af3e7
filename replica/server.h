// Server: the replica's event loop. One thread, one io_uring; everything else in this folder is called from here.
//
//   turn:  apply what the ring published ─► work off completions (requests are planned) ─► answer, end waits
//          ─► is everything that was copied still valid? ─► submit all sends and wait, in one system call
//
// It listens on the data addresses only while it is serving; the admin port answers always. One that takes another's
// place (handover.h) has no address of its own until it serves, and then all of the other's. A connection is a slot of
// a table: its operations carry the slot's number and generation, so that a late completion finds nobody. A slot
// is free again only when none of its operations is left in the kernel.
//
// Threads: the one that calls create() and run().
// Ownership: owns sockets, connections, buffers, and the follower of the ring.
// Errors: create() and run() return what cannot be gone on from, with what to do about it. A client's errors end its
// own connection only.
// Limits: ReplicaConfig's; kReceiveBuffers; kMaxStoredInput for all unread requests together (beyond it a connection that
// needs more than the smallest buffer is ended).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "replica/buffer.h"
#include "replica/follower.h"
#include "replica/handover.h"
#include "replica/pages.h"
#include "replica/replica_metrics.h"
#include "replica/responder.h"
#include "replica/uring.h"

namespace ringside::replica {

struct ServerOptions {
  std::string ring_directory;
  std::string ring_name;
  ReplicaConfig config;
  std::string commit = "unknown";           // of the source tree that was built
  unsigned index = 0;                       // of this replica among those of the host
  std::optional<std::uint16_t> admin_port;  // of this very replica; 0: the kernel chooses (for tests)
  int stop_fd =
      -1;  // readable: drain and end; readable again: end at once. A signalfd, or a pipe. The caller's.
  std::string handover_name;  // where a successor asks for the sockets; "": nowhere
  bool takes_over = false;    // the place of whoever answers there; when nobody does, starts as ever
};

class Server {
 public:
  static Result<std::unique_ptr<Server>> create(const ServerOptions& options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves until it is stopped. Returns then, or with what it cannot go on from.
  Result<void> run();

  // The port it listens on; 0: none.
  std::uint16_t admin_port() const { return admin_port_; }

 private:
  // The kernel goes round them in turn, so few and small ones stay in the cache; the odd number of cache lines spreads
  // their beginnings over its sets. Running out costs arming a receive again.
  static constexpr unsigned kReceiveBuffers = 256;
  static constexpr std::size_t kReceiveBufferBytes = 33 * 64;
  static constexpr std::size_t kSendBytes = std::size_t{1} << 20;  // of one operation, so that progress shows
  static constexpr std::size_t kMaxStoredInput = std::size_t{64} << 20;
  static constexpr std::uint64_t kLingerNs = 1'000'000'000;

  enum class Operation : std::uint8_t { kIgnored, kAccept, kReceive, kSend, kWakePoll, kStopPoll, kHandover };

  struct Listener {
    UniqueFd fd;
    bool is_armed = false;  // an accept is in the kernel
    std::uint32_t generation = 0;
  };

  // Out of use, but an accept is still in the kernel. When that is back: are the waiting connections still ours?
  struct ClosingListener {
    UniqueFd fd;
    Place place;
    std::uint32_t generation;
    bool is_handed_over;
  };

  // The other side of a handover. Its number is its place in a completion's tag.
  struct HandoverPeer {
    explicit HandoverPeer(std::uint32_t its_id) : id(its_id) {}
    std::uint32_t id;
    UniqueFd fd;
    pid_t pid = 0;
    std::uint32_t generation = 0;
    bool has_asked = false;
    bool has_taken = false;
    std::uint64_t deadline_ns = 0;  // of what was asked
  };

  // A slot of the connection table.
  struct Connection {
    Connection(std::uint32_t id, BufferPool& inputs, BufferPool& outputs)
        : http(id, inputs, outputs), sending(outputs) {}
    int fd = -1;  // -1: free
    std::uint32_t generation = 0;
    bool is_receiving = false;   // a receive is in the kernel
    bool is_cancelling = false;  // and is being taken back
    bool is_sending = false;     // a send is in the kernel
    bool has_ended = false;      // the client sends no more
    bool is_lingering = false;   // we send no more; what the client sends is thrown away until it closes
    bool is_closing = false;     // waits for its operations to come back
    std::uint64_t active_ns = 0;
    std::uint64_t taken_ns = 0;  // when the client last took some of what is sent, or was first sent it
    HttpConnection http;
    Buffer sending;
  };

  explicit Server(const ServerOptions& options);
  Result<void> set_up();

  // server.cc: the loop.
  void turn();
  void begin_responder_turn();
  std::optional<std::uint64_t> stale_seconds(std::uint64_t unix_seconds);
  void complete(const io_uring_cqe& cqe);
  void finish_turn();
  void sleep();
  std::uint64_t wait_ns() const;
  bool must_end() const;
  void on_stop(std::int32_t result);
  void start_draining();
  void arm_wake_poll();
  void on_wake(const io_uring_cqe& cqe);
  void sweep();
  static std::uint64_t tag(Operation operation, std::uint32_t generation, std::uint32_t id) {
    return std::uint64_t{static_cast<std::uint8_t>(operation)} << 56 |
           std::uint64_t{generation & 0xffffff} << 32 | id;
  }

  // server_listening.cc: the sockets that listen, and their handover.
  Listener& listener(Place place) { return listeners_[static_cast<std::size_t>(place)]; }
  void update_listening();
  Result<void> open_own();
  Result<void> start_listening();
  void stop_listening();
  void stop_listening_at(Place place, bool is_handed_over);
  void arm_accept(Place place);
  void cancel_accept(Place place, std::uint32_t generation);
  void on_accept(const io_uring_cqe& cqe, Place place, std::uint32_t generation);
  void finish_closing(Place place, std::uint32_t generation);
  void accept_the_rest(const ClosingListener& closing);
  Result<void> find_predecessor();
  void poll_peer(HandoverPeer& peer);
  void drop_peer(HandoverPeer& peer);
  void on_handover(std::uint32_t id, std::uint32_t generation);
  void on_successor(UniqueFd fd);
  void hear_successor(const HandoverMessage& message);
  void offer_sockets();
  void hand_over(const HandoverMessage& message);
  void hear_predecessor(HandoverMessage& message);
  void ask_for_sockets();
  Result<void> adopt(std::vector<PlacedSocket>& sockets);
  bool is_ours(const PlacedSocket& socket) const;

  // server_connections.cc: what happens to one connection.
  void take_connection(int fd, Place place);
  void on_receive(const io_uring_cqe& cqe, Connection* connection);
  void on_send(const io_uring_cqe& cqe, Connection* connection);
  void note_accept_failure(int error);
  void refuse(int fd);
  Connection* find(std::uint32_t id, std::uint32_t generation);
  Connection& of(HttpConnection& http) { return *slots_[http.id]; }
  void arm_receive(Connection& connection);
  void cancel_receive(Connection& connection);
  void update(Connection& connection);
  void start_send(Connection& connection);
  void linger(Connection& connection);
  void shed_unsent();
  void close(Connection& connection);
  void release_if_done(Connection& connection);

  ServerOptions options_;
  std::unique_ptr<Uring> uring_;
  std::unique_ptr<BufferRing> receive_buffers_;
  BufferPool inputs_;
  BufferPool outputs_;
  ReplicaMetrics metrics_;
  Follower follower_;
  ReplicaPages pages_;
  Responder responder_;

  std::array<Listener, kPlaces> listeners_;
  std::vector<ClosingListener> closing_;
  HandoverPeer predecessor_{0};
  HandoverPeer successor_{1};
  std::uint16_t admin_port_ = 0;
  std::uint16_t data_port_ = 0;  // chosen by the kernel the first time, kept when it listens again
  bool is_listening_ = false;
  bool has_listened_ = false;
  std::uint64_t next_listen_ns_ = 0;
  std::uint64_t next_accept_ns_ = 0;
  std::uint64_t accept_failed_ns_ = 0;  // last time
  std::optional<Error> fatal_;

  std::vector<std::unique_ptr<Connection>> slots_;
  std::vector<std::uint32_t> free_slots_;

  std::uint64_t now_ns_ = 0;
  std::uint64_t sweep_interval_ns_ = 0;
  std::uint64_t next_sweep_ns_ = 0;
  // The mark of stale answers, and for when and which ring it was looked up.
  std::optional<std::uint64_t> stale_seconds_;
  std::uint64_t stale_as_of_ = 0;
  std::uint64_t stale_serial_ = 0;
  std::uint64_t wake_serial_ = 0;  // of the FIFO that is polled; 0: none
  unsigned stops_ = 0;
  bool is_draining_ = false;
  unsigned drain_turns_ = 0;
  std::uint64_t idle_end_ns_ = 0;  // while draining: from then on whoever asks nothing is let go
  std::uint64_t drain_deadline_ns_ = 0;
  std::array<char, 256> wake_bytes_{};
};

}  // namespace ringside::replica
