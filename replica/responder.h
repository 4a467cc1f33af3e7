// Responder: the replica's side of HTTP for all connections, without any I/O. Bytes in, requests planned and looked
// up together, bytes out.
//
//   receive(connection, bytes) ─► parse ─► plan ─► batch ─┐          one turn of the event loop
//   receive(connection, bytes) ─► parse ─► plan ─► batch ─┤
//                                                   flush() ─► each connection's output, in order
//
// Planning asks the processor for the index's cache lines; by the time a batch is answered they are there.
// A request that waits for a version is put back: its bytes stay in the connection's input and are planned again
// when the version is there or the time is up. So answers keep their order, and a wait holds no thread and no
// allocation but the connection's own input.
//
// Threads: one.   Ownership: connections are the caller's and must stay where they are until forget().
// Errors: a connection says what it needs next (HttpConnection's flags); take_lost() says that the ring changed
// underneath.
// Limits: ResponderLimits; a connection whose answers are not taken is not read (kOutputHighWater). Who keeps to the
// unsent limit is the server; within a turn it may be passed by as much again: then a connection is broken when it would
// hold more than kSmallOutput.
// No allocation on the way of a row (the buffers' pool apart), no exception, no system call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "http/request_parser.h"
#include "replica/answers.h"
#include "replica/buffer.h"
#include "replica/indexed_heap.h"
#include "replica/plan.h"
#include "replica/replica_metrics.h"

namespace ringside::replica {

// One connection as HTTP sees it. The flags are the responder's word to whoever moves the bytes.
struct HttpConnection {
  HttpConnection(std::uint32_t connection_id, BufferPool& inputs, BufferPool& outputs)
      : id(connection_id), input(inputs), output(outputs) {}

  // Ready for the next client.
  void reset(bool admin_port) {
    parser.reset();
    input.release();
    output.release();
    is_admin = admin_port;
    is_waiting = wait_is_over = must_close = is_broken = is_output_full = is_listed = false;
    last_version = Version();
    started_ns = asked_ns = 0;
    queued_bytes = 0;
  }
  // In the middle of a request's head.
  bool has_partial_head() const { return !input.empty() && !is_waiting && !is_output_full; }
  // Nothing was asked that has not been answered.
  bool is_quiet() const { return input.empty() && output.empty() && !is_waiting; }

  std::uint32_t id;
  bool is_admin = false;
  bool is_waiting = false;       // its next request waits for a version
  bool wait_is_over = false;     // it has waited; whatever is visible now decides
  bool must_close = false;       // close when the output has been sent; read nothing more
  bool is_broken = false;        // close at once: the output must not be sent
  bool is_output_full = false;   // resume() when the output has been sent
  bool is_listed = false;        // in Responder::touched()
  Version last_version;          // as last told to this client
  std::uint64_t started_ns = 0;  // when the request in the input began to arrive; 0: none has
  std::uint64_t asked_ns =
      0;  // when the turn began that had the whole head of a request that waits; 0: none does
  std::size_t queued_bytes = 0;  // what the queries of the batch may add to the output, about
  http::RequestParser parser;
  Buffer input;   // received and not yet planned: a partial head, or what stands behind a wait
  Buffer output;  // answered and not yet sent
};

struct ResponderLimits {
  std::uint32_t max_connections = 10'000;
  std::size_t head_limit_bytes = 8192;
  std::size_t response_limit_bytes = std::size_t{64} << 20;
  std::size_t unsent_limit_bytes = std::size_t{512} << 20;  // see Responder::answer()
  PlanLimits plan;
};

class Responder {
 public:
  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kOutputHighWater = std::size_t{256} << 10;
  static constexpr std::size_t kSmallOutput = std::size_t{64} << 10;  // is written however short memory is

  Responder(const ResponderLimits& limits, PageSource& pages, ReplicaMetrics& metrics);
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  // Before anything else in a turn, and again after records were applied. `tables` nullptr: not serving, for
  // `unready_reason`. is_draining: a request behind which no other has arrived is a connection's last, and its
  // answer says so.
  struct TurnState {
    const TableStore* tables = nullptr;
    std::string_view unready_reason;
    Version version;
    bool is_draining = false;
    std::uint64_t now_ns = 0;
    std::uint64_t unix_seconds = 0;
    std::optional<std::uint64_t> stale_seconds;  // what is served is stale
  };
  void begin_turn(const TurnState& state);

  // Bytes arrived. They may be gone when it returns.
  void receive(HttpConnection& connection, Bytes bytes);
  // Goes on with what is in the input: the output has been sent, or a wait is over.
  void resume(HttpConnection& connection);
  // The request's head took too long: 408, and the end.
  void time_out_head(HttpConnection& connection);
  // Ends the waits whose version is there or whose time is up, all of them at `all`.
  void end_waits(bool all);
  // Answers what is planned.
  void flush();
  // All answers of this turn are about to be handed to the kernel.
  void end_turn(std::uint64_t now_ns) { metrics_.request_durations.end_turn(state_.now_ns, now_ns); }
  // The connection is gone.
  void forget(HttpConnection& connection);

  // Connections with something to be done since the last clear_touched(): output to send, or an end.
  const std::vector<HttpConnection*>& touched() const { return touched_; }
  void touch(HttpConnection& connection);
  void clear_touched();
  // A lookup met bytes that are not what they were. Reset by asking.
  bool take_lost();
  // Did this turn's answers come from the ring?
  bool has_answered_from_ring() const { return has_answered_from_ring_; }

  // The earliest deadline of a wait, CLOCK_MONOTONIC; UINT64_MAX: nobody waits.
  std::uint64_t next_deadline_ns() const;
  std::size_t waiting() const { return by_version_.size(); }

 private:
  std::size_t process(HttpConnection& connection, std::string_view input);
  void process_stored(HttpConnection& connection);
  bool take(HttpConnection& connection, const http::Request& request, bool is_last);
  void begin_wait(HttpConnection& connection, const Wait& wait);
  Query& next_query();
  void enqueue(HttpConnection& connection);
  void answer(const Query& query);
  bool is_blocked(const HttpConnection& connection) const {
    return connection.is_waiting || connection.is_output_full || connection.must_close ||
           connection.is_broken;
  }

  ResponderLimits limits_;
  ReplicaMetrics& metrics_;
  Planner planner_;
  Answers answers_;
  Arena arena_;
  TurnState state_;
  bool is_lost_ = false;
  bool has_answered_from_ring_ = false;

  std::array<Query, kBatch> batch_;
  std::size_t batch_size_ = 0;
  std::vector<HttpConnection*> connections_;  // by id, of those seen
  std::vector<HttpConnection*> touched_;

  // Connections whose next request waits, by what they wait for and by until when.
  IndexedHeap by_version_;
  IndexedHeap by_deadline_;
};

}  // namespace ringside::replica
