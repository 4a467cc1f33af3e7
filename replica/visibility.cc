#include "replica/visibility.h"

namespace ringside::replica {

void VisibilityTimes::shown(const Now& now) {
  // No commit takes longer than this; what seems to has come out of the ring wrong.
  constexpr std::uint64_t kLongestUs = std::uint64_t{1'000'000} * 86'400 * 366 * 100;
  const auto since = [](std::uint64_t now_at, std::uint64_t then) {
    return now_at > then ? now_at - then : 0;
  };
  for (std::size_t i = 0; i < size_; ++i) {
    const Commit& commit = pending_[i];
    const std::uint64_t commit_us = since(now.source_us, commit.commit_time_us);
    if (commit.commit_time_us != 0 && commit_us <= kLongestUs) commit_to_visible_.record(commit_us * 1000);
    if (commit.received_ns != 0) received_to_visible_.record(since(now.monotonic_ns, commit.received_ns));
  }
  size_ = 0;
}

}  // namespace ringside::replica
