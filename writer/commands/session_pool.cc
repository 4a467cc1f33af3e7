#include "writer/commands/session_pool.h"

#include <mysql_driver.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace ringside::writer {
namespace {

// The client library keeps state per thread.
class ClientThread {
 public:
  ClientThread() { sql::mysql::get_driver_instance()->threadInit(); }
  ~ClientThread() { sql::mysql::get_driver_instance()->threadEnd(); }
  ClientThread(const ClientThread&) = delete;
  ClientThread& operator=(const ClientThread&) = delete;
};

}  // namespace

bool PooledSession::wants_connection() const {
  return !session_.is_connected() && std::chrono::steady_clock::now() >= next_attempt_;
}

DatabaseStatus PooledSession::connect() {
  if (session_.is_connected()) return std::nullopt;
  if (!wants_connection()) return last_error_;
  auto status = session_.connect();
  if (!status) {
    if (pause_.count() != 0) log_info("a command session is connected again");
    pause_ = std::chrono::milliseconds(0);
    next_attempt_ = {};
    return std::nullopt;
  }
  if (pause_.count() == 0) {
    log_warning("a command session cannot connect to the database; trying again",
                {{"mysql_error", status->number}, {"reason", status->message}});
  }
  pause_ = pause_.count() == 0 ? kFirstReconnectPause : std::min(pause_ * 2, kLongestReconnectPause);
  next_attempt_ = std::chrono::steady_clock::now() + pause_;
  last_error_ = *status;
  return status;
}

SessionPool::SessionPool(MysqlConfig config, std::size_t sessions, std::size_t queue_limit)
    : config_(std::move(config)), size_(sessions), queue_limit_(queue_limit) {
  initialise_driver();
  threads_.reserve(sessions);
  for (std::size_t i = 0; i < sessions; ++i) threads_.emplace_back([this] { run(); });
}

SessionPool::~SessionPool() {
  stop();
}

bool SessionPool::submit(Job job) {
  bool has_connected = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= queue_limit_) return false;
    queue_.push_back(std::move(job));
    has_connected = connected_ > 0;
  }
  (has_connected ? wake_ : wake_unconnected_).notify_one();
  return true;
}

void SessionPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  wake_unconnected_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool SessionPool::next(PooledSession& session, Job& job) {
  std::unique_lock lock(mutex_);
  // While one session is connected, those that wait for their next attempt leave the work to it: they could only
  // refuse it. When none is, one of them answers at once that the server cannot be reached.
  const bool is_connected = session.get().is_connected();
  const auto has_work = [&] { return stopping_ || (!queue_.empty() && (is_connected || connected_ == 0)); };
  if (is_connected) {
    wake_.wait(lock, has_work);
  } else {
    wake_unconnected_.wait_until(lock, session.next_attempt(), has_work);
  }
  if (!queue_.empty() && (is_connected || connected_ == 0 || stopping_)) {
    job = std::move(queue_.front());
    queue_.pop_front();
    ++busy_;
    return true;
  }
  return !stopping_;
}

void SessionPool::run() {
  const ClientThread client_thread;
  PooledSession session(config_);
  bool counted = false;
  Job job;
  while (next(session, job)) {
    if (job) {
      job(session);
      job = nullptr;
      const std::lock_guard lock(mutex_);
      --busy_;
    } else {
      // No work, and time to try: the failure is logged, and kept for whoever comes next.
      static_cast<void>(session.connect());
    }
    if (counted != session.get().is_connected()) {
      counted = !counted;
      const std::lock_guard lock(mutex_);
      counted ? ++connected_ : --connected_;
      if (connected_ == 0) wake_unconnected_.notify_all();  // what was left to this session is theirs now
    }
  }
  session.get().disconnect();
}

std::size_t SessionPool::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}
std::size_t SessionPool::busy() const {
  const std::lock_guard lock(mutex_);
  return busy_;
}
std::size_t SessionPool::connected() const {
  const std::lock_guard lock(mutex_);
  return connected_;
}

}  // namespace ringside::writer
