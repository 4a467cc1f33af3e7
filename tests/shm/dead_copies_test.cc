#include "shm/dead_copies.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

TEST(DeadCopies, CountsAsAMapWould) {
  std::mt19937 random(test_seed(4));
  DeadCopies dead;
  std::map<RowIndex::Handle, std::uint32_t> model;
  for (int i = 0; i < 200'000; ++i) {
    // A few rows that change all the time, so that their counts leave a byte and come back to it.
    const auto handle = static_cast<RowIndex::Handle>(random() % 10 == 0 ? random() % 100'000 : random() % 8);
    const bool grows = i % 20'000 < 12'000 ? random() % 4 != 0 : random() % 4 == 0;
    if (grows) {
      dead.add(handle);
      ++model[handle];
    } else if (model[handle] > 0) {
      ASSERT_EQ(dead.remove(handle), --model[handle]);
    }
    ASSERT_EQ(dead.count(handle), model[handle]);
  }
  for (const auto& [handle, count] : model) ASSERT_EQ(dead.count(handle), count);
  EXPECT_EQ(dead.count(5'000'000), 0u);
}

}  // namespace
}  // namespace ringside::shm
