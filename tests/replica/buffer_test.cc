#include "replica/buffer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace ringside::replica {
namespace {

TEST(Buffer, HoldsWhatAStringWould) {
  BufferPool pool(std::size_t{1} << 20, 2);
  Buffer buffer(pool);
  std::string model;
  std::mt19937 random(20260108);
  for (int i = 0; i < 20'000; ++i) {
    switch (random() % 4) {
      case 0:
      case 1: {
        const std::string text(random() % 3000, static_cast<char>('a' + random() % 26));
        if (buffer.append(text)) model += text;
        break;
      }
      case 2: {
        const std::size_t size = random() % (model.size() + 1);
        buffer.consume(size);
        model.erase(0, size);
        break;
      }
      default: {
        const std::size_t size = model.size() - random() % (model.size() / 4 + 1);
        buffer.truncate(size);
        model.resize(size);
      }
    }
    ASSERT_EQ(buffer.view(), model) << i;
  }
}

TEST(Buffer, RefusesToPassTheLimitAndKeepsWhatItHas) {
  BufferPool pool(10'000, 0);
  EXPECT_EQ(pool.limit_bytes(), 16384u);
  Buffer buffer(pool);
  EXPECT_TRUE(buffer.append(std::string(16384, 'x')));
  EXPECT_FALSE(buffer.append("y"));
  EXPECT_EQ(buffer.reserve(~std::size_t{0}), nullptr);
  EXPECT_EQ(buffer.size(), 16384u);
  buffer.consume(1);
  EXPECT_TRUE(buffer.append("y")) << "the front's room is used again";
  EXPECT_EQ(buffer.view().back(), 'y');
}

TEST(Buffer, ReturnsItsMemoryForTheNextOne) {
  BufferPool pool(std::size_t{64} << 20, 0);
  const char* memory = nullptr;
  for (int i = 0; i < 10; ++i) {
    Buffer buffer(pool);
    ASSERT_TRUE(buffer.append("x"));
    if (i > 0) {
      EXPECT_EQ(buffer.data(), memory);
    }
    memory = buffer.data();
    buffer.consume(1);
    EXPECT_TRUE(buffer.empty());
  }
  EXPECT_EQ(pool.memory_bytes(), BufferPool::kSmallest);
  {
    Buffer large(pool);
    ASSERT_NE(large.reserve(std::size_t{20} << 20), nullptr);
    EXPECT_GT(pool.memory_bytes(), std::size_t{20} << 20);
    EXPECT_EQ(pool.lent_bytes(), large.capacity());
  }
  EXPECT_EQ(pool.memory_bytes(), BufferPool::kSmallest) << "large blocks are not kept";
  EXPECT_EQ(pool.lent_bytes(), 0u) << "what is kept for the next is not lent";
}

}  // namespace
}  // namespace ringside::replica
