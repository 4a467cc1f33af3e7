// Simulated processes: fibers of one thread, of which one runs until the scheduler, asked before each access of shared
// memory, lets another go on. Everything is decided by one seed.
//
// Threads: one.   Ownership: owns the fibers' stacks.   Errors: the first fail() ends the run: every fiber then goes on
// undisturbed until it sees is_over() and returns.   Limits: SimulatedMemory::kProcesses fibers, kMaxSteps accesses.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/shm/store_buffer_memory.h"

namespace ringside::shm {

class Interleaving : public Scheduler {
 public:
  Interleaving(MemoryModel model, std::uint64_t seed);
  ~Interleaving() override;
  Interleaving(const Interleaving&) = delete;
  Interleaving& operator=(const Interleaving&) = delete;

  // A process. Its body returns when its work is done, and soon after is_over().
  void add(std::function<void()> body);
  // Runs all to their ends. When those that are left all sleep, and no store is under way any more, `idle` is called
  // to say what is wrong with that, if anything is; then it is over for the sleepers.
  void run(const std::function<void()>& idle);

  // For the bodies.
  Random& random() { return random_; }
  bool is_over() const { return is_over_; }
  void fail(const std::string& what);
  // Lets another process go on.
  void yield();
  // Sleeps until the descriptor is readable, or it is over.
  void wait_for(int fd);

  const std::string& failure() const { return failure_; }
  std::uint64_t steps() const { return steps_; }
  std::uint64_t switches() const { return switches_; }

  void step(bool is_handshake) override;

 private:
  static constexpr std::uint64_t kMaxSteps = 4'000'000;
  static constexpr std::size_t kStackBytes = 256 << 10;
  static constexpr std::size_t kNobody = ~std::size_t{0};

  struct Fiber {
    std::function<void()> body;
    std::unique_ptr<std::byte[]> stack;  // from and to `stacks`
    ucontext_t context{};
    int waits_for = -1;
    bool is_done = false;
  };

  static void enter();
  std::size_t pick();
  bool can_run(const Fiber& fiber) const;
  void switch_to(std::size_t next);

  MemoryModel model_;
  Random random_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  ucontext_t main_{};
  std::size_t current_ = kNobody;
  bool is_over_ = false;
  std::string failure_;
  std::uint64_t steps_ = 0;
  std::uint64_t switches_ = 0;
  std::uint64_t
      handshake_chance_;  // of a switch before a word of a handshake, and before any other; in 1,024
  std::uint64_t other_chance_;
};

}  // namespace ringside::shm
