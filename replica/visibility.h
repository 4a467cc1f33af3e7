// VisibilityTimes: how long commits took until this replica showed them, measured twice.
//
//   commit to visible      from the source's commit to here: the source's clock now, less the commit's time. It can be
//                          no finer than the source's commit times (MariaDB: whole seconds, cut, so that every
//                          duration is up to 1 s too long; MySQL: microseconds) and no truer than the clocks.
//   received to visible    from the writer's receiving the commit to here: CLOCK_MONOTONIC of the one host.
//
// The source's clock is this host's CLOCK_MONOTONIC plus the offset that the writer has measured: that somebody sets this
// host's time of day changes nothing.
//
// Threads: one.   Ownership: values.   Errors: none; times that cannot be (negative, unknown) count as none or 0.
// Limits: kMaxPending commits a slice; no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "http/metrics_text.h"

namespace ringside::replica {

class VisibilityTimes {
 public:
  static constexpr std::size_t kMaxPending = 128;

  // The clocks at one moment.
  struct Now {
    std::uint64_t monotonic_ns = 0;
    std::uint64_t source_us = 0;  // the source's clock, since 1970
  };

  // A commit was applied. Either time may be unknown: 0. False: is_full(), and it was not taken.
  bool committed(std::uint64_t commit_time_us, std::uint64_t received_ns) {
    if (is_full()) return false;
    pending_[size_++] = Commit{commit_time_us, received_ns};
    return true;
  }
  bool is_empty() const { return size_ == 0; }
  bool is_full() const { return size_ == kMaxPending; }
  // All of them can be seen from now on.
  void shown(const Now& now);

  const http::Histogram& commit_to_visible() const { return commit_to_visible_; }
  const http::Histogram& received_to_visible() const { return received_to_visible_; }

 private:
  struct Commit {
    std::uint64_t commit_time_us;
    std::uint64_t received_ns;
  };
  std::array<Commit, kMaxPending> pending_{};
  std::size_t size_ = 0;
  http::Histogram commit_to_visible_;
  http::Histogram received_to_visible_;
};

}  // namespace ringside::replica
