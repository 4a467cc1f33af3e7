#include "replica/indexed_heap.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace ringside::replica {
namespace {

TEST(IndexedHeap, HasTheSmallestOnTopWhateverIsRemoved) {
  constexpr std::uint32_t kIds = 200;
  IndexedHeap heap(kIds);
  std::map<std::uint32_t, std::uint64_t> model;
  std::mt19937 random(7);
  for (int i = 0; i < 50'000; ++i) {
    const auto id = static_cast<std::uint32_t>(random() % kIds);
    if (heap.contains(id)) {
      heap.erase(id);
      model.erase(id);
    } else {
      const std::uint64_t value = random() % 1000;
      heap.push(id, value);
      model[id] = value;
    }
    ASSERT_EQ(heap.size(), model.size());
    if (model.empty()) continue;
    std::uint64_t least = ~std::uint64_t{0};
    for (const auto& [each, value] : model) least = std::min(least, value);
    ASSERT_EQ(heap.top_value(), least);
    ASSERT_EQ(model[heap.top()], least);
  }
  heap.erase(0);
  heap.erase(0);
  EXPECT_FALSE(heap.contains(0));
}

}  // namespace
}  // namespace ringside::replica
