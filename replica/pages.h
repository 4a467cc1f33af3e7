// The answers that are about the replica itself: /status, /healthz, /readyz, /metrics, and a page for people.
//
// Ready means: joined, not draining, and the source's last proof of life not older than replica.max_staleness. Stale is
// what is served when it is older than that, or when the writer says that its history is over: it is served all the
// same, until there is something newer, and every answer is marked with Ringside-Stale.
//
// Threads: one.   Ownership: refers to what it shows.
// Errors: none; not being ready is a status of 503 with the reason.   Limits: none of its own; these pages allocate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/config.h"
#include "replica/answers.h"
#include "replica/follower.h"
#include "replica/replica_metrics.h"

namespace ringside::replica {

inline constexpr std::string_view kProgramVersion = RINGSIDE_VERSION;

class ReplicaPages final : public PageSource {
 public:
  // `commit`: of the source tree that was built, for the metrics.
  ReplicaPages(const ReplicaConfig& config, std::string ring_name, unsigned index, std::string commit,
               const Follower& follower, const ReplicaMetrics& metrics);

  Page page(RouteKind route) override;

  void set_draining() { is_draining_ = true; }
  // Why /readyz is red; empty: it is green.
  std::string unready_reason() const;
  // Why what is served must be marked as stale; empty: it need not.
  bool is_stale() const;
  std::string stale_reason() const;
  // Whole seconds for the mark, where there is one.
  std::optional<std::uint64_t> stale_seconds() const;

 private:
  Page status() const;
  Page metrics() const;
  Page index() const;
  std::string status_json() const;
  double staleness_seconds() const;
  bool is_too_old() const;
  std::string too_old_reason() const;

  const ReplicaConfig& config_;
  std::string ring_name_;
  unsigned index_;
  std::string commit_;
  const Follower& follower_;
  const ReplicaMetrics& metrics_;
  std::uint64_t started_ns_;
  bool is_draining_ = false;
};

}  // namespace ringside::replica
