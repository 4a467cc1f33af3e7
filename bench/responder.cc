#include "bench/responder.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <vector>

#include "base/bytes.h"
#include "bench/errno_text.h"
#include "bench/uring.h"

namespace ringside::bench {
namespace {

constexpr std::string_view kBlankLine = "\r\n\r\n";
// One send carries the answers to all requests of one receive, up to this many bytes.
constexpr std::size_t kMaxSendBytes = std::size_t{256} << 10;

Error io_error(std::string_view what, int error) {
  return {ErrorKind::kIo, fmt::format("{}: {}", what, errno_text(error))};
}

// One byte at a time: for the joint between two receives, and where there is no SSE2.
std::size_t count_slowly(std::string_view bytes, unsigned& matched) {
  std::size_t ends = 0;
  for (const char c : bytes) {
    if (c == kBlankLine[matched]) {
      if (++matched == kBlankLine.size()) {
        ++ends;
        matched = 0;
      }
    } else {
      matched = c == '\r' ? 1 : 0;
    }
  }
  return ends;
}

}  // namespace

Result<std::string> constant_response(std::size_t bytes) {
  constexpr std::string_view kHead = "HTTP/1.1 200 OK\r\nContent-Length: ";
  // The body's length has as many digits as it has: find the one length that makes the whole come out right.
  for (std::size_t digits = 1; digits <= 9; ++digits) {
    const std::size_t head = kHead.size() + digits + kBlankLine.size();
    if (bytes < head) break;
    const std::string length = fmt::format("{:0{}}", bytes - head, digits);
    if (length.size() != digits) continue;
    std::string response(kHead);
    response += length;
    response += kBlankLine;
    response.append(bytes - head, 'x');
    return response;
  }
  return Error{ErrorKind::kInvalid, fmt::format("a response of {} bytes: it must have {} to 999999999", bytes,
                                                kHead.size() + 1 + kBlankLine.size())};
}

std::size_t count_request_ends(std::string_view bytes, unsigned& matched) {
  std::size_t ends = 0;
#ifdef __SSE2__
  // Sixteen places at once: four loads, each a byte further, compared with one character each. What the bytes
  // before left begun is finished the slow way first, and so is a tail too short for a load.
  std::size_t at = 0;
  if (matched != 0) {
    const std::size_t joint = std::min<std::size_t>(bytes.size(), 16);
    ends += count_slowly(bytes.substr(0, joint), matched);
    at = joint;
    while (matched != 0 && at < bytes.size()) ends += count_slowly(bytes.substr(at++, 1), matched);
  }
  const __m128i cr = _mm_set1_epi8('\r');
  const __m128i lf = _mm_set1_epi8('\n');
  while (at + 19 <= bytes.size()) {
    const char* from = bytes.data() + at;
    const auto load = [from](int offset) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + offset));
    };
    const __m128i hits =
        _mm_and_si128(_mm_and_si128(_mm_cmpeq_epi8(load(0), cr), _mm_cmpeq_epi8(load(1), lf)),
                      _mm_and_si128(_mm_cmpeq_epi8(load(2), cr), _mm_cmpeq_epi8(load(3), lf)));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(hits));
    if (mask == 0) {
      at += 16;
    } else {
      ++ends;
      at += static_cast<std::size_t>(std::countr_zero(mask)) + kBlankLine.size();
    }
  }
  return ends + count_slowly(bytes.substr(at), matched);
#else
  return count_slowly(bytes, matched);
#endif
}

namespace {

enum class Op : std::uint8_t { kAccept, kReceive, kSend, kClose, kStop };

std::uint64_t tag(Op op, std::uint32_t connection = 0) {
  return std::uint64_t{static_cast<std::uint8_t>(op)} << 32 | connection;
}

struct Connection {
  std::size_t owed = 0;  // bytes of responses not handed to the kernel yet
  std::size_t sent = 0;  // bytes of the send in flight that are gone
  std::size_t sending = 0;
  unsigned matched = 0;
  bool open = false;
  bool receiving = false;
};

// One run of the responder: what lives as long as the ring.
class Loop {
 public:
  Loop(std::unique_ptr<Uring> ring, std::unique_ptr<BufferRing> buffers, int listener, int stop_event,
       const std::string& response)
      : listener_(listener),
        stop_event_(stop_event),
        response_bytes_(response.size()),
        connections_(Responder::kMaxConnections),
        ring_(std::move(ring)),
        buffers_(std::move(buffers)) {
    const std::size_t copies = std::max<std::size_t>(1, kMaxSendBytes / response.size());
    responses_.reserve(copies * response.size());
    for (std::size_t i = 0; i < copies; ++i) responses_ += response;
  }

  Result<void> run() {
    arm_accept();
    io_uring_sqe* sqe = ring_->sqe();
    io_uring_prep_poll_add(sqe, stop_event_, POLLIN);
    io_uring_sqe_set_data64(sqe, tag(Op::kStop));
    while (!stopped_) {
      const int result = io_uring_submit_and_wait(ring_->get(), 1);
      if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN) {
        return io_error("io_uring_enter", -result);
      }
      unsigned head = 0;
      unsigned count = 0;
      io_uring_cqe* cqe = nullptr;
      io_uring_for_each_cqe(ring_->get(), head, cqe) {
        RINGSIDE_TRY(complete(*cqe));
        ++count;
      }
      io_uring_cq_advance(ring_->get(), count);
      buffers_->publish();
    }
    return {};
  }

  std::uint64_t requests() const { return requests_; }

 private:
  Result<void> complete(const io_uring_cqe& cqe) {
    const auto op = static_cast<Op>(cqe.user_data >> 32);
    const auto slot = static_cast<std::uint32_t>(cqe.user_data);
    switch (op) {
      case Op::kAccept:
        return accepted(cqe);
      case Op::kReceive:
        received(slot, cqe);
        break;
      case Op::kSend:
        sent(slot, cqe.res);
        break;
      case Op::kStop:
        stopped_ = true;
        break;
      case Op::kClose:
        break;
    }
    return {};
  }

  Result<void> accepted(const io_uring_cqe& cqe) {
    if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm_accept();
    // ENFILE: no free slot; the client was closed. The others are a client that left before it was accepted.
    if (cqe.res == -ENFILE || cqe.res == -ECONNABORTED || cqe.res == -EINTR) return {};
    if (cqe.res < 0) return io_error("accept", -cqe.res);
    const auto slot = static_cast<std::uint32_t>(cqe.res);
    connections_[slot] = Connection{};
    connections_[slot].open = true;
    arm_receive(slot);
    return {};
  }

  void received(std::uint32_t slot, const io_uring_cqe& cqe) {
    Connection& connection = connections_[slot];
    connection.receiving = (cqe.flags & IORING_CQE_F_MORE) != 0;
    if (cqe.res > 0) {
      const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
      const std::size_t ends =
          count_request_ends({buffers_->buffer(id), static_cast<std::size_t>(cqe.res)}, connection.matched);
      buffers_->recycle(id);
      requests_ += ends;
      connection.owed += ends * response_bytes_;
      if (connection.sending == 0 && connection.owed != 0) arm_send(slot);
    } else if (cqe.res != -ENOBUFS) {
      // ENOBUFS: all buffers were in use in this turn; they are back when it ends. All else is the end of
      // requests; after an orderly one (0) the answers that are owed still go out.
      connection.open = false;
      if (cqe.res < 0) connection.owed = 0;
    }
    settle(slot);
  }

  void sent(std::uint32_t slot, int result) {
    Connection& connection = connections_[slot];
    if (result <= 0) {
      connection.open = false;
      connection.sending = 0;
      connection.owed = 0;
    } else {
      connection.sent += static_cast<std::size_t>(result);
      if (connection.sent < connection.sending) {
        prepare_send(slot);
      } else {
        connection.sending = 0;
        if (connection.owed != 0) arm_send(slot);
      }
    }
    settle(slot);
  }

  // Receives again, or closes when nothing of the connection is in flight any more.
  void settle(std::uint32_t slot) {
    Connection& connection = connections_[slot];
    if (connection.open) {
      if (!connection.receiving) arm_receive(slot);
      return;
    }
    if (connection.sending != 0) return;
    io_uring_sqe* sqe = ring_->sqe();
    if (connection.receiving) {
      // A failed send with the receive still armed: shutting down ends the receive, and that closes.
      io_uring_prep_shutdown(sqe, static_cast<int>(slot), SHUT_RDWR);
      sqe->flags |= IOSQE_FIXED_FILE;
    } else {
      io_uring_prep_close_direct(sqe, slot);
    }
    io_uring_sqe_set_data64(sqe, tag(Op::kClose, slot));
  }

  void arm_accept() {
    io_uring_sqe* sqe = ring_->sqe();
    io_uring_prep_multishot_accept_direct(sqe, listener_, nullptr, nullptr, 0);
    io_uring_sqe_set_data64(sqe, tag(Op::kAccept));
  }

  void arm_receive(std::uint32_t slot) {
    io_uring_sqe* sqe = ring_->sqe();
    io_uring_prep_recv_multishot(sqe, static_cast<int>(slot), nullptr, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    io_uring_sqe_set_data64(sqe, tag(Op::kReceive, slot));
    connections_[slot].receiving = true;
  }

  void arm_send(std::uint32_t slot) {
    Connection& connection = connections_[slot];
    connection.sending = std::min(connection.owed, responses_.size());
    connection.owed -= connection.sending;
    connection.sent = 0;
    prepare_send(slot);
  }

  void prepare_send(std::uint32_t slot) {
    const Connection& connection = connections_[slot];
    io_uring_sqe* sqe = ring_->sqe();
    io_uring_prep_send(sqe, static_cast<int>(slot), responses_.data() + connection.sent,
                       connection.sending - connection.sent, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, tag(Op::kSend, slot));
  }

  const int listener_;
  const int stop_event_;
  const std::size_t response_bytes_;
  std::string responses_;  // the response, again and again
  std::vector<Connection> connections_;
  std::uint64_t requests_ = 0;
  bool stopped_ = false;
  // Last, so first to go: sends in flight point into responses_.
  std::unique_ptr<Uring> ring_;
  std::unique_ptr<BufferRing> buffers_;
};

}  // namespace

Result<std::unique_ptr<Responder>> Responder::create(const ResponderOptions& options) {
  if (!std::has_single_bit(options.receive_buffers) || options.receive_buffers > 32768 ||
      options.receive_buffer_bytes == 0 || options.receive_buffer_bytes > (std::size_t{1} << 20)) {
    return Error{ErrorKind::kInvalid, "receive buffers: a power of two up to 32768, of 1 byte to 1 MiB"};
  }
  std::unique_ptr<Responder> responder(new Responder);
  responder->options_ = options;
  RINGSIDE_ASSIGN(responder->response_, constant_response(options.response_bytes));
  responder->listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int fd = responder->listener_.get();
  if (fd < 0) return io_error("socket", errno);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // accepted connections inherit it
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(options.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, 4096) != 0) {
    return io_error(fmt::format("listen on 127.0.0.1:{}", options.port), errno);
  }
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return io_error("getsockname", errno);
  responder->port_ = ntohs(address.sin_port);
  responder->stop_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!responder->stop_event_) return io_error("eventfd", errno);
  return responder;
}

Result<void> Responder::run() {
  RINGSIDE_ASSIGN(std::unique_ptr<Uring> ring, Uring::create(1024, 8192));
  RINGSIDE_ASSIGN(std::unique_ptr<BufferRing> buffers,
                  BufferRing::create(*ring, options_.receive_buffers, options_.receive_buffer_bytes));
  if (const int result = io_uring_register_files_sparse(ring->get(), kMaxConnections); result != 0) {
    return io_error("io_uring_register_files_sparse (ulimit -n may be too low)", -result);
  }
  Loop loop(std::move(ring), std::move(buffers), listener_.get(), stop_event_.get(), response_);
  Result<void> result = loop.run();
  requests_ = loop.requests();
  return result;
}

void Responder::stop() const {
  const std::uint64_t one = 1;
  // It can only fail when the counter is full, and then the loop is being woken already.
  [[maybe_unused]] const ssize_t written = ::write(stop_event_.get(), &one, sizeof one);
}

}  // namespace ringside::bench
