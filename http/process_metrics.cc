#include "http/process_metrics.h"

namespace ringside::http {

void append_build_info(MetricsText& metrics, const BuildInfo& build) {
  metrics.gauge("ringside_build_info", "1, labelled with what was built.");
  metrics.sample({{"program", build.program}, {"version", build.version}, {"commit", build.commit}}, 1u);
}

void append_process_metrics(MetricsText& metrics, const ProcessUsage& usage) {
  if (usage.cpu_seconds) {
    metrics.counter("process_cpu_seconds_total",
                    "Processor time of all threads, user and system, in seconds.");
    metrics.sample({}, *usage.cpu_seconds);
  }
  if (usage.start_time_seconds) {
    metrics.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.");
    metrics.sample({}, *usage.start_time_seconds);
  }
  if (usage.resident_bytes) {
    metrics.gauge("process_resident_memory_bytes",
                  "Resident memory; the pages of the ring that were touched are part of it.");
    metrics.sample({}, *usage.resident_bytes);
  }
  if (usage.virtual_bytes) {
    metrics.gauge("process_virtual_memory_bytes",
                  "Address space; most of it is reserved for the ring and costs nothing.");
    metrics.sample({}, *usage.virtual_bytes);
  }
  if (usage.threads) {
    metrics.gauge("process_threads", "Threads, those of the kernel's io_uring workers too.");
    metrics.sample({}, *usage.threads);
  }
  if (usage.open_files) {
    metrics.gauge("process_open_fds", "Open file descriptors.");
    metrics.sample({}, *usage.open_files);
  }
  if (usage.max_files) {
    metrics.gauge("process_max_fds", "Open file descriptors that the process may have.");
    metrics.sample({}, *usage.max_files);
  }
}

}  // namespace ringside::http
