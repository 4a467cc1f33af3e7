// The metrics that every program of ours has: what was built, and what its process takes. Their names are Prometheus' own,
// the same as those of other programs, so that dashboards made for these work.
//
// Threads: any.   Ownership: none.   Errors: what is not known is left out.   Limits: none.
#pragma once

#include <string_view>

#include "base/process_usage.h"
#include "http/metrics_text.h"

namespace ringside::http {

struct BuildInfo {
  std::string_view program;  // "ringside-replica"
  std::string_view version;
  std::string_view commit;  // of the source tree; "unknown" when it was built outside of one
};

void append_build_info(MetricsText& metrics, const BuildInfo& build);
void append_process_metrics(MetricsText& metrics, const ProcessUsage& usage);

}  // namespace ringside::http
