#include "shm/slot_space.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

TEST(SlotSpace, FindsTheLowestRunAsASearchOfAllWould) {
  std::mt19937 random(test_seed(2));
  SlotSpace space;
  std::vector<bool> free;
  std::vector<bool> memory;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> taken;
  const auto search = [&](std::uint32_t run, bool any) -> std::optional<std::uint64_t> {
    for (std::uint64_t first = 0; first + run <= free.size(); ++first) {
      bool fits = true;
      for (std::uint64_t s = first; s < first + run; ++s) fits = fits && free[s] && (any || memory[s]);
      if (fits) return first;
    }
    return std::nullopt;
  };
  for (int i = 0; i < 5000; ++i) {
    const auto run = static_cast<std::uint32_t>(random() % 4 == 0 ? 1 + random() % 7 : 1);
    const bool any = random() % 2 == 0;
    const auto found = space.find(run, any);
    ASSERT_EQ(found, search(run, any)) << run << any;
    if (random() % 2 == 0 && found) {
      for (std::uint64_t s = *found; s < *found + run; ++s) {
        const std::size_t chunk = space.chunk_of(s);
        if (space.chunks()[chunk].has_memory) continue;
        space.set_memory(chunk, true);
        for (std::uint64_t m = 0; m < space.chunks()[chunk].slots; ++m)
          memory[space.chunks()[chunk].first + m] = true;
      }
      space.take(*found, run);
      taken.emplace_back(*found, run);
      for (std::uint64_t s = *found; s < *found + run; ++s) free[s] = false;
    } else if (!taken.empty() && random() % 3 != 0) {
      const auto [slot, length] = taken[random() % taken.size()];
      std::erase(taken, std::pair(slot, length));
      space.release(slot, length);
      for (std::uint64_t s = slot; s < slot + length; ++s) free[s] = true;
    } else if (const auto idle = space.idle(0); idle && random() % 2 == 0) {
      const SlotSpace::Chunk chunk = space.chunks()[*idle];
      space.set_memory(*idle, false);
      for (std::uint64_t s = chunk.first; s < chunk.first + chunk.slots; ++s) {
        ASSERT_TRUE(free[s]);
        memory[s] = false;
      }
    } else if (free.size() < 200) {
      const std::uint64_t slots = 1 + random() % 8;
      space.add_chunk(slots);
      free.resize(free.size() + slots, true);
      memory.resize(free.size(), true);
    }
    std::uint64_t ready = 0;
    std::uint64_t used = 0;
    for (std::size_t s = 0; s < free.size(); ++s) {
      ready += free[s] && memory[s] ? 1 : 0;
      used += free[s] ? 0 : 1;
    }
    ASSERT_EQ(space.ready(), ready);
    ASSERT_EQ(space.taken(), used);
  }
}

}  // namespace
}  // namespace ringside::shm
