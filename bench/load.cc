#include "bench/load.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <memory>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "bench/errno_text.h"
#include "bench/process_cpu.h"
#include "bench/response_reader.h"
#include "bench/uring.h"

namespace ringside::bench {
namespace {

enum class Op : std::uint8_t { kReceive, kSend, kTick };

// The window ends in time even when the server has gone silent: nothing sleeps longer than this.
constexpr long long kTickNs = 20'000'000;

std::uint64_t tag(Op op, std::uint32_t connection = 0) {
  return std::uint64_t{static_cast<std::uint8_t>(op)} << 32 | connection;
}

// xorshift64*: cheap, and good enough to spread keys.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed | 1) {}
  std::uint64_t below(std::uint64_t bound) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    // The high half of a 128-bit product spreads evenly without a division.
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(Wide{state_ * 0x2545f4914f6cdd1dULL} * bound >> 64);
  }

 private:
  std::uint64_t state_;
};

struct Connection {
  UniqueFd fd;
  ResponseReader reader;
  std::vector<char> requests;             // bytes of the send in flight
  std::vector<std::uint64_t> started_ns;  // of the requests in flight, a ring of `pipeline` entries
  std::size_t request_bytes = 0;
  std::size_t sent_bytes = 0;
  unsigned first_in_flight = 0;
  unsigned in_flight = 0;
  bool sending = false;
  bool queued = false;  // open loop: in the list of those that may send
  bool failed = false;
};

class Load {
 public:
  Load(const RequestPlan& plan, const LoadOptions& options, std::unique_ptr<Uring> ring,
       std::unique_ptr<BufferRing> buffers)
      : plan_(plan),
        options_(options),
        random_(options.seed),
        ring_(std::move(ring)),
        buffers_(std::move(buffers)) {}

  Result<void> connect();
  Result<LoadReport> run();

 private:
  Result<void> turn(std::uint64_t now);
  void complete(const io_uring_cqe& cqe, std::uint64_t now);
  void received(std::uint32_t index, const io_uring_cqe& cqe, std::uint64_t now);
  void answered(Connection& connection, const Response& response, std::uint64_t now);
  void sent(std::uint32_t index, int result);
  void fail(Connection& connection, std::string_view why);
  void note(std::string_view what);

  void arm_tick();
  void arm_receive(std::uint32_t index);
  void fill(std::uint32_t index);
  void add_request(Connection& connection, std::uint64_t started_ns);
  void prepare_send(std::uint32_t index);

  bool is_open_loop() const { return options_.rate > 0; }
  std::uint64_t intended_ns(std::uint64_t number) const {
    return start_ns_ +
           static_cast<std::uint64_t>(std::llround(static_cast<double>(number) * 1e9 / options_.rate));
  }
  void dispatch(std::uint64_t now);
  void offer(std::uint32_t index);

  std::size_t next_key() {
    if (!options_.sequential) return random_.below(plan_.keys());
    if (next_key_ == plan_.keys()) next_key_ = 0;
    return next_key_++;
  }

  const RequestPlan& plan_;
  const LoadOptions& options_;
  Random random_;
  std::size_t next_key_ = 0;
  std::vector<Connection> connections_;
  std::size_t alive_ = 0;
  std::uint64_t start_ns_ = 0;
  std::uint64_t intended_ = 0;       // open loop: requests sent or taken up so far
  std::vector<std::uint32_t> idle_;  // open loop: connections with room for a request, first in first out
  std::size_t idle_head_ = 0;
  std::size_t idle_size_ = 0;
  __kernel_timespec tick_{0, kTickNs};
  bool measuring_ = false;
  LoadReport report_;
  // Last, so first to go: what is in flight points into the connections.
  std::unique_ptr<Uring> ring_;
  std::unique_ptr<BufferRing> buffers_;
};

Result<void> Load::connect() {
  connections_.resize(options_.connections);
  idle_.resize(options_.connections);
  std::vector<int> fds;
  fds.reserve(options_.connections);
  for (Connection& connection : connections_) {
    RINGSIDE_ASSIGN(const int fd, plan_.endpoint().connect());
    connection.fd.reset(fd);
    connection.requests.resize(plan_.longest_request() * options_.pipeline);
    connection.started_ns.resize(options_.pipeline);
    fds.push_back(fd);
  }
  if (const int result = io_uring_register_files(ring_->get(), fds.data(), static_cast<unsigned>(fds.size()));
      result != 0) {
    return Error{ErrorKind::kIo, fmt::format("registering {} connections (ulimit -n may be too low): {}",
                                             fds.size(), errno_text(-result))};
  }
  alive_ = connections_.size();
  return {};
}

void Load::arm_tick() {
  io_uring_sqe* sqe = ring_->sqe();
  io_uring_prep_timeout(sqe, &tick_, 0, 0);
  io_uring_sqe_set_data64(sqe, tag(Op::kTick));
}

void Load::arm_receive(std::uint32_t index) {
  io_uring_sqe* sqe = ring_->sqe();
  io_uring_prep_recv_multishot(sqe, static_cast<int>(index), nullptr, 0, 0);
  sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
  sqe->buf_group = 0;
  io_uring_sqe_set_data64(sqe, tag(Op::kReceive, index));
}

void Load::prepare_send(std::uint32_t index) {
  Connection& connection = connections_[index];
  io_uring_sqe* sqe = ring_->sqe();
  io_uring_prep_send(sqe, static_cast<int>(index), connection.requests.data() + connection.sent_bytes,
                     connection.request_bytes - connection.sent_bytes, MSG_NOSIGNAL | MSG_WAITALL);
  sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data64(sqe, tag(Op::kSend, index));
  connection.sending = true;
}

void Load::add_request(Connection& connection, std::uint64_t started_ns) {
  connection.request_bytes += plan_.write(next_key(), connection.requests.data() + connection.request_bytes);
  connection.started_ns[(connection.first_in_flight + connection.in_flight) % options_.pipeline] = started_ns;
  ++connection.in_flight;
}

// Closed loop: sends as many requests as there is room for in the pipeline.
void Load::fill(std::uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.failed || connection.sending || connection.in_flight == options_.pipeline) return;
  connection.request_bytes = 0;
  connection.sent_bytes = 0;
  const std::uint64_t now = monotonic_ns();
  while (connection.in_flight < options_.pipeline) add_request(connection, now);
  prepare_send(index);
}

// Open loop: this connection can take a request.
void Load::offer(std::uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.failed || connection.queued || connection.sending ||
      connection.in_flight == options_.pipeline)
    return;
  connection.queued = true;
  idle_[(idle_head_ + idle_size_++) % idle_.size()] = index;
}

// Open loop: hands every request whose time has come to a connection, as long as one has room.
void Load::dispatch(std::uint64_t now) {
  while (idle_size_ != 0 && intended_ns(intended_) <= now) {
    const std::uint32_t index = idle_[idle_head_];
    idle_head_ = (idle_head_ + 1) % idle_.size();
    --idle_size_;
    Connection& connection = connections_[index];
    connection.queued = false;
    if (connection.failed) continue;
    connection.request_bytes = 0;
    connection.sent_bytes = 0;
    add_request(connection, intended_ns(intended_++));
    prepare_send(index);
  }
}

void Load::note(std::string_view what) {
  if (report_.first_error.empty()) report_.first_error = what;
}

void Load::fail(Connection& connection, std::string_view why) {
  if (connection.failed) return;
  connection.failed = true;
  --alive_;
  ++report_.failed_connections;
  note(why);
}

void Load::answered(Connection& connection, const Response& response, std::uint64_t now) {
  const std::uint64_t started = connection.started_ns[connection.first_in_flight];
  connection.first_in_flight = (connection.first_in_flight + 1) % options_.pipeline;
  --connection.in_flight;
  if (!measuring_) return;
  ++report_.requests;
  report_.bytes += response.head_bytes + response.body_bytes;
  report_.latency_ns.record(now > started ? now - started : 0);
  if (response.status != 200) {
    ++report_.wrong_status;
    note(fmt::format("status {} instead of 200", response.status));
  } else if (response.body_bytes < options_.min_body_bytes) {
    ++report_.short_bodies;
    note(fmt::format("a body of {} bytes, at least {} expected", response.body_bytes,
                     options_.min_body_bytes));
  }
}

void Load::received(std::uint32_t index, const io_uring_cqe& cqe, std::uint64_t now) {
  Connection& connection = connections_[index];
  if (cqe.res > 0) {
    const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    std::string_view input(buffers_->buffer(id), static_cast<std::size_t>(cqe.res));
    Response response;
    while (!connection.failed && !input.empty()) {
      const ReadStep step = connection.reader.next(input, response);
      if (step == ReadStep::kNeedMore) break;
      if (step == ReadStep::kMalformed) {
        fail(connection, "an answer that is no HTTP/1.1 response with Content-Length");
      } else if (connection.in_flight == 0) {
        fail(connection, "an answer that nobody asked for");
      } else {
        answered(connection, response, now);
      }
    }
    buffers_->recycle(id);
  } else if (cqe.res != -ENOBUFS) {
    fail(connection, connection.reader.is_inside() ? "the server closed a connection within an answer"
                                                   : "the server closed a connection");
  }
  if (connection.failed) return;
  if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm_receive(index);
  if (is_open_loop()) {
    offer(index);
  } else {
    fill(index);
  }
}

void Load::sent(std::uint32_t index, int result) {
  Connection& connection = connections_[index];
  connection.sending = false;
  if (result <= 0) {
    fail(connection, fmt::format("sending: {}", errno_text(-result)));
    return;
  }
  connection.sent_bytes += static_cast<std::size_t>(result);
  if (connection.sent_bytes < connection.request_bytes) {
    prepare_send(index);
  } else if (is_open_loop()) {
    offer(index);
  } else {
    fill(index);
  }
}

void Load::complete(const io_uring_cqe& cqe, std::uint64_t now) {
  const auto index = static_cast<std::uint32_t>(cqe.user_data);
  switch (static_cast<Op>(cqe.user_data >> 32)) {
    case Op::kReceive:
      received(index, cqe, now);
      break;
    case Op::kSend:
      sent(index, cqe.res);
      break;
    case Op::kTick:
      arm_tick();
      break;
  }
}

// Submits, waits (open loop: no longer than to the next intended time), and works off what has completed.
Result<void> Load::turn(std::uint64_t now) {
  int result = 0;
  // Sleeping costs more than this to come back from; until then it is better to look again.
  constexpr std::uint64_t kTooSoonToSleepNs = 60'000;
  const bool waits_for_clock = is_open_loop() && idle_size_ != 0;
  const std::uint64_t due = waits_for_clock ? intended_ns(intended_) : 0;
  if (options_.spin || (waits_for_clock && due < now + kTooSoonToSleepNs)) {
    result = io_uring_submit_and_get_events(ring_->get());
  } else if (waits_for_clock) {
    const std::uint64_t pause = std::min<std::uint64_t>(due - now - kTooSoonToSleepNs / 2, kTickNs);
    __kernel_timespec timeout{0, static_cast<long long>(pause)};
    io_uring_cqe* first = nullptr;
    result = io_uring_submit_and_wait_timeout(ring_->get(), &first, 1, &timeout, nullptr);
  } else {
    result = io_uring_submit_and_wait(ring_->get(), 1);
  }
  if (result < 0 && result != -EINTR && result != -ETIME && result != -EBUSY && result != -EAGAIN) {
    return Error{ErrorKind::kIo, fmt::format("io_uring_enter: {}", errno_text(-result))};
  }
  const std::uint64_t reaped = monotonic_ns();
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(ring_->get(), head, cqe) {
    complete(*cqe, reaped);
    ++count;
  }
  io_uring_cq_advance(ring_->get(), count);
  buffers_->publish();
  return {};
}

Result<LoadReport> Load::run() {
  start_ns_ = monotonic_ns();
  arm_tick();
  for (std::uint32_t i = 0; i < connections_.size(); ++i) {
    arm_receive(i);
    if (is_open_loop()) {
      offer(i);
    } else {
      fill(i);
    }
  }
  std::uint64_t window_ns = 0;
  std::uint64_t server_before = 0;
  std::uint64_t client_before = 0;
  std::uint64_t now = start_ns_;
  while (alive_ != 0) {
    if (!measuring_ && now - start_ns_ >= options_.warmup_ns) {
      RINGSIDE_ASSIGN(server_before, process_cpu_ns(options_.server_pids));
      client_before = thread_cpu_ns();
      measuring_ = true;
      window_ns = now = monotonic_ns();
    }
    if (measuring_ && now - window_ns >= options_.measure_ns) break;
    if (is_open_loop()) dispatch(now);
    RINGSIDE_TRY(turn(now));
    now = monotonic_ns();
  }
  if (alive_ == 0) {
    return Error{ErrorKind::kUnavailable, fmt::format("{}: every connection has failed, the first with: {}",
                                                      plan_.endpoint().name(), report_.first_error)};
  }
  RINGSIDE_ASSIGN(const std::uint64_t server_after, process_cpu_ns(options_.server_pids));
  report_.server_cpu_ns = server_after - server_before;
  report_.client_cpu_ns = thread_cpu_ns() - client_before;
  report_.seconds = static_cast<double>(now - window_ns) / 1e9;
  if (is_open_loop()) {
    const auto due = static_cast<std::uint64_t>(static_cast<double>(now - start_ns_) * options_.rate / 1e9);
    report_.overdue = due > intended_ ? due - intended_ : 0;
  }
  return std::move(report_);
}

}  // namespace

Result<LoadReport> run_load(const RequestPlan& plan, const LoadOptions& options) {
  if (options.connections == 0 || options.connections > kMaxConnections || options.pipeline == 0 ||
      options.pipeline > kMaxPipeline) {
    return Error{ErrorKind::kLimit, fmt::format("connections must be 1 to {}, the pipeline 1 to {}",
                                                kMaxConnections, kMaxPipeline)};
  }
  if (options.rate < 0 || options.rate > 1e8) {
    return Error{ErrorKind::kInvalid, "the rate must be 0 (closed loop) to 100000000 requests a second"};
  }
  // The default slack of 50 µs would round every sleep of the open loop up.
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  const unsigned completions = std::max(1024u, std::bit_ceil(options.connections * 4));
  RINGSIDE_ASSIGN(std::unique_ptr<Uring> ring, Uring::create(std::min(4096u, completions), completions));
  const unsigned buffer_count = std::clamp(std::bit_ceil(options.connections * 2), 256u, 4096u);
  RINGSIDE_ASSIGN(std::unique_ptr<BufferRing> buffers, BufferRing::create(*ring, buffer_count, 8192));
  Load load(plan, options, std::move(ring), std::move(buffers));
  RINGSIDE_TRY(load.connect());
  return load.run();
}

}  // namespace ringside::bench
