#include "tests/shm/interleaving.h"

#include <poll.h>

#include <array>
#include <utility>

#include "base/assert.h"

namespace ringside::shm {
namespace {

// The one that runs: makecontext() passes no pointers.
Interleaving* running = nullptr;

// Of fibers that are gone: thousands of interleavings would spend their time on clearing fresh memory.
std::vector<std::unique_ptr<std::byte[]>> stacks;

}  // namespace

Interleaving::Interleaving(MemoryModel model, std::uint64_t seed) : model_(model), random_(seed) {
  static constexpr std::array<std::uint64_t, 4> kHandshake = {64, 256, 512, 768};
  static constexpr std::array<std::uint64_t, 4> kOther = {0, 1, 8, 64};
  handshake_chance_ = kHandshake[random_.below(kHandshake.size())];
  other_chance_ = kOther[random_.below(kOther.size())];
}

Interleaving::~Interleaving() {
  for (auto& fiber : fibers_) stacks.push_back(std::move(fiber->stack));
}

void Interleaving::add(std::function<void()> body) {
  RINGSIDE_ASSERT(fibers_.size() < SimulatedMemory::kProcesses);
  auto fiber = std::make_unique<Fiber>();
  fiber->body = std::move(body);
  if (stacks.empty()) stacks.emplace_back(new std::byte[kStackBytes]);
  fiber->stack = std::move(stacks.back());
  stacks.pop_back();
  RINGSIDE_ASSERT(::getcontext(&fiber->context) == 0);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  ::makecontext(&fiber->context, &Interleaving::enter, 0);
  fibers_.push_back(std::move(fiber));
}

void Interleaving::enter() {
  Fiber& self = *running->fibers_[running->current_];
  self.body();
  self.is_done = true;
  running->switch_to(running->pick());
  RINGSIDE_ASSERT(false);  // nobody comes back to one that is done
}

void Interleaving::run(const std::function<void()>& idle) {
  RINGSIDE_ASSERT(running == nullptr);
  running = this;
  SimulatedMemory& memory = SimulatedMemory::instance();
  memory.begin(model_, *this, random_);
  for (;;) {
    std::size_t next = pick();
    if (next == kNobody) {
      bool all_done = true;
      for (const auto& fiber : fibers_) all_done = all_done && fiber->is_done;
      if (all_done) break;
      memory.flush();
      idle();
      is_over_ = true;
      next = pick();
    }
    switch_to(next);
  }
  memory.end();
  running = nullptr;
}

void Interleaving::fail(const std::string& what) {
  if (failure_.empty()) failure_ = what;
  is_over_ = true;
}

void Interleaving::yield() {
  if (!is_over_) switch_to(pick());
}

void Interleaving::wait_for(int fd) {
  fibers_[current_]->waits_for = fd;
  switch_to(pick());
  fibers_[current_]->waits_for = -1;
}

void Interleaving::step(bool is_handshake) {
  if (is_over_ || current_ == kNobody) return;
  if (++steps_ > kMaxSteps) return fail("it does not come to an end");
  if (random_.chance(is_handshake ? handshake_chance_ : other_chance_)) switch_to(pick());
}

bool Interleaving::can_run(const Fiber& fiber) const {
  if (fiber.is_done) return false;
  if (fiber.waits_for < 0 || is_over_) return true;
  pollfd fd{fiber.waits_for, POLLIN, 0};
  return ::poll(&fd, 1, 0) == 1;
}

std::size_t Interleaving::pick() {
  std::array<std::size_t, SimulatedMemory::kProcesses> able{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < fibers_.size(); ++i) {
    if (can_run(*fibers_[i])) able[count++] = i;
  }
  return count == 0 ? kNobody : able[random_.below(count)];
}

void Interleaving::switch_to(std::size_t next) {
  if (next == current_) return;
  ++switches_;
  ucontext_t& from = current_ == kNobody ? main_ : fibers_[current_]->context;
  const std::size_t self = current_;
  current_ = next;
  if (next != kNobody) SimulatedMemory::instance().become(next);
  ::swapcontext(&from, next == kNobody ? &main_ : &fibers_[next]->context);
  RINGSIDE_ASSERT(current_ == self);
}

}  // namespace ringside::shm
