// WriterStatus: what the rest of the writer (capture, ring) contributes to /status, /readyz, /healthz and /metrics.
//
// Threads: every function is called by the HTTP thread, while capture runs.   Ownership: the implementer's.
// Errors: none.   Limits: the texts should stay below a megabyte.
#pragma once

#include <string>

#include "http/metrics_text.h"

namespace ringside::writer {

class WriterStatus {
 public:
  struct Verdict {
    bool good = true;
    std::string reason;  // for people, when not good
  };

  virtual ~WriterStatus() = default;

  // False when only a restart can help: the process should be ended by whoever watches it.
  virtual Verdict health() const = 0;
  // False while capture does not follow the source.
  virtual Verdict readiness() const = 0;
  // Appends members of a JSON object, each with a comma before it: ,"capture":{…},"ring":{…}
  virtual void append_status_members(std::string& out) const = 0;
  virtual void append_metrics(http::MetricsText& metrics) const = 0;
};

}  // namespace ringside::writer
