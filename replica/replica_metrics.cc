#include "replica/replica_metrics.h"

namespace ringside::replica {

std::string_view to_string(RouteKind route) {
  switch (route) {
    case RouteKind::kRow:
      return "row";
    case RouteKind::kRows:
      return "rows";
    case RouteKind::kVersion:
      return "version";
    case RouteKind::kStatus:
      return "status";
    case RouteKind::kHealthz:
      return "healthz";
    case RouteKind::kReadyz:
      return "readyz";
    case RouteKind::kMetrics:
      return "metrics";
    case RouteKind::kIndex:
      return "index";
    case RouteKind::kOther:
      break;
  }
  return "other";
}

}  // namespace ringside::replica
