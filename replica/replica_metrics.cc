#include "replica/replica_metrics.h"

#include <algorithm>
#include <utility>

namespace ringside::replica {

std::string_view to_string(RouteKind route) {
  switch (route) {
    case RouteKind::kRow:
      return "/v1/{table}/{key}";
    case RouteKind::kRows:
      return "/v1/{table}";
    case RouteKind::kVersion:
      return "/version";
    case RouteKind::kStatus:
      return "/status";
    case RouteKind::kHealthz:
      return "/healthz";
    case RouteKind::kReadyz:
      return "/readyz";
    case RouteKind::kMetrics:
      return "/metrics";
    case RouteKind::kIndex:
      return "/";
    case RouteKind::kOther:
      break;
  }
  return "other";
}

void RequestDurations::answered_later(RouteKind route, std::uint64_t asked_ns, std::uint64_t turn_ns) {
  const std::uint64_t before_turn_ns = turn_ns - std::min(asked_ns, turn_ns);
  if (waited_size_ == kMaxWaited) {
    histograms_[static_cast<std::size_t>(route)].record(before_turn_ns);
  } else {
    waited_[waited_size_++] = Waited{route, before_turn_ns};
  }
}

void RequestDurations::end_turn(std::uint64_t turn_ns, std::uint64_t now_ns) {
  const std::uint64_t turn_took_ns = now_ns - std::min(turn_ns, now_ns);
  for (std::size_t i = 0; i < kTimedRoutes; ++i) {
    if (answered_[i] != 0) histograms_[i].record(turn_took_ns, std::exchange(answered_[i], 0));
  }
  for (std::size_t i = 0; i < waited_size_; ++i) {
    histograms_[static_cast<std::size_t>(waited_[i].route)].record(waited_[i].before_turn_ns + turn_took_ns);
  }
  waited_size_ = 0;
}

}  // namespace ringside::replica
