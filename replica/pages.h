// The answers that are about the replica itself: /status, /healthz, /readyz, /metrics, and a page for people.
//
// Ready means: joined, not draining, and the source's last proof of life not older than replica.max_staleness.
//
// Threads: one.   Ownership: refers to what it shows.
// Errors: none; not being ready is a status of 503 with the reason.   Limits: none of its own; these pages allocate.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"
#include "replica/answers.h"
#include "replica/follower.h"
#include "replica/replica_metrics.h"

namespace ringside::replica {

inline constexpr std::string_view kProgramVersion = RINGSIDE_VERSION;

class ReplicaPages final : public PageSource {
 public:
  ReplicaPages(const ReplicaConfig& config, std::string ring_name, unsigned index, const Follower& follower,
               const ReplicaMetrics& metrics);

  Page page(RouteKind route) override;

  void set_draining() { is_draining_ = true; }
  // Why /readyz is red; empty: it is green.
  std::string unready_reason() const;

 private:
  Page status() const;
  Page metrics() const;
  Page index() const;
  std::string status_json() const;
  double staleness_seconds() const;

  const ReplicaConfig& config_;
  std::string ring_name_;
  unsigned index_;
  const Follower& follower_;
  const ReplicaMetrics& metrics_;
  std::uint64_t started_ns_;
  std::uint64_t started_unix_seconds_;
  bool is_draining_ = false;
};

}  // namespace ringside::replica
