#include "replica/visible_addresses.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>

namespace ringside::replica {
namespace {

TEST(VisibleAddresses, KeepsTheFirstOfEachRowAndForgetsInSmallSteps) {
  std::mt19937_64 random(3);
  // Few, as many as stand in one table, and more; twice each, since what is left over must not be met again.
  for (const std::uint64_t rows : {1u, 100u, 4096u, 4097u, 60'000u, 60'000u, 5u}) {
    SCOPED_TRACE(rows);
    VisibleAddresses addresses;
    for (int round = 0; round < 2; ++round) {
      std::unordered_map<std::uint64_t, shm::Address> model;
      for (std::uint64_t i = 0; i < 2 * rows; ++i) {
        const std::uint64_t row = (random() % 3) << 32 | random() % rows;
        addresses.add(row, i + 1);
        model.emplace(row, i + 1);
      }
      for (std::uint64_t table = 0; table < 3; ++table) {
        for (std::uint64_t i = 0; i < rows; ++i) {
          const auto expected = model.find(table << 32 | i);
          const shm::Address* found = addresses.find(table << 32 | i);
          ASSERT_EQ(found != nullptr, expected != model.end());
          if (found != nullptr) {
            ASSERT_EQ(*found, expected->second);
          }
        }
      }
      std::uint64_t calls = 0;
      for (; !addresses.is_empty(); ++calls) {
        std::size_t limit = 32;
        addresses.remove_some(limit);
        ASSERT_TRUE(limit == 0 || addresses.is_empty());
      }
      EXPECT_GE(calls, model.size() / 32);
      EXPECT_LE(calls, (model.size() + VisibleAddresses::kParts) / 32 + 1);
      EXPECT_EQ(addresses.find(0), nullptr);
    }
  }
}

}  // namespace
}  // namespace ringside::replica
