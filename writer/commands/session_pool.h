// SessionPool: a fixed number of MySQL sessions, one thread each, fed from one bounded queue.
//
// A job runs to its end on one session. The threads connect when they start and again, with a growing pause
// between attempts, after a loss; a job that finds its session unconnected asks for the connection itself
// (connect_now) and is told at once when the last attempt has just failed, so that a server that is down
// makes quick errors, not long queues.
//
// Threads: submit(), stop() and the figures: any. Jobs run on the pool's threads.
// Ownership: owns threads and sessions. A job is destroyed on the thread that ran it.
// Errors: submit() says false; a job reports its own. A job must not throw anything but what ends the
// process. Limits: `queue_limit` waiting jobs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/config.h"
#include "writer/commands/session.h"

namespace ringside::writer {

inline constexpr std::chrono::milliseconds kFirstReconnectPause{100};
inline constexpr std::chrono::milliseconds kLongestReconnectPause{5000};

// A session with its pauses between attempts to connect.
class PooledSession {
 public:
  explicit PooledSession(const MysqlConfig& config) : session_(config) {}

  Session& get() { return session_; }
  // Connects unless connected. After a failed attempt the same error comes back without another one until the
  // pause is over.
  [[nodiscard]] DatabaseStatus connect();
  // True when an attempt makes sense now.
  bool wants_connection() const;
  std::chrono::steady_clock::time_point next_attempt() const { return next_attempt_; }

 private:
  Session session_;
  DatabaseError last_error_;
  std::chrono::milliseconds pause_{0};  // 0: the last attempt succeeded
  std::chrono::steady_clock::time_point next_attempt_{};
};

class SessionPool {
 public:
  using Job = std::function<void(PooledSession&)>;

  // Starts the threads; they connect on their own.
  SessionPool(MysqlConfig config, std::size_t sessions, std::size_t queue_limit);
  ~SessionPool();
  SessionPool(const SessionPool&) = delete;
  SessionPool& operator=(const SessionPool&) = delete;

  // False when the queue is full, or the pool has been stopped.
  [[nodiscard]] bool submit(Job job);
  // Takes nothing more, runs what is queued, ends the threads. Idempotent.
  void stop();

  std::size_t size() const { return size_; }
  std::size_t queued() const;
  std::size_t busy() const;
  std::size_t connected() const;

 private:
  void run();
  // Waits for work or the time of the next attempt to connect. False: stopped, and nothing is left to do.
  bool next(PooledSession& session, Job& job);

  const MysqlConfig config_;
  const std::size_t size_;
  const std::size_t queue_limit_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;              // for connected sessions
  std::condition_variable wake_unconnected_;  // for those that wait for their next attempt to connect
  // Under mutex_:
  std::deque<Job> queue_;
  std::size_t busy_ = 0;
  std::size_t connected_ = 0;
  bool stopping_ = false;

  std::vector<std::thread> threads_;  // touched by constructor and stop() alone
};

}  // namespace ringside::writer
