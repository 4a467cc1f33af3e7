// CaptureStatusPage: what capture and ring contribute to the writer's /status, /readyz, /healthz and /metrics.
//
// Threads: the HTTP thread, while capture runs in its own.   Ownership: borrows the capture.   Errors: none.
#pragma once

#include <string>
#include <utility>

#include "http/process_metrics.h"
#include "writer/capture/capture.h"
#include "writer/commands/writer_status.h"

namespace ringside::writer {

// "starting", "streaming", … as /status and the metrics say it.
std::string_view to_string(shm::CaptureState state);
// "" (not full), "readers", "max_size", "transaction_reserve", "space".
std::string_view to_string(FullCause cause);

// What is running, for the labels of the info metrics.
struct WriterIdentity {
  http::BuildInfo build;
  std::string ring;
  std::string database;
};

class CaptureStatusPage final : public WriterStatus {
 public:
  CaptureStatusPage(const Capture& capture, WriterIdentity identity)
      : capture_(capture), identity_(std::move(identity)) {}

  Verdict health() const override;
  Verdict readiness() const override;
  void append_status_members(std::string& out) const override;
  void append_metrics(http::MetricsText& metrics) const override;

 private:
  const Capture& capture_;
  WriterIdentity identity_;
};

}  // namespace ringside::writer
