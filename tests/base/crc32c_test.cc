#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace ringside {
namespace {

TEST(Crc32c, MatchesTheVectorsOfRfc3720) {
  const std::vector<unsigned char> zeros(32, 0x00);
  const std::vector<unsigned char> ones(32, 0xff);
  std::vector<unsigned char> rising(32);
  for (unsigned i = 0; i < 32; ++i) rising[i] = static_cast<unsigned char>(i);
  EXPECT_EQ(crc32c(zeros.data(), zeros.size()), 0x8a9136aau);
  EXPECT_EQ(crc32c(ones.data(), ones.size()), 0x62a8ab43u);
  EXPECT_EQ(crc32c(rising.data(), rising.size()), 0x46dd794eu);
}

TEST(Crc32c, HardwareAndTableAgreeAtEveryLengthAndContinue) {
  std::string data(700, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 37 + 11);
  for (std::size_t size = 0; size <= data.size(); ++size) {
    EXPECT_EQ(crc32c(data.data(), size), crc32c_portable(data.data(), size)) << size;
    const std::size_t half = size / 2;
    EXPECT_EQ(crc32c(data.data(), size), crc32c(data.data() + half, size - half, crc32c(data.data(), half)))
        << size;
  }
}

// Several rounds of three stretches, and every place in a word to begin at.
TEST(Crc32c, HardwareAndTableAgreeOnWhatIsLong) {
  std::string data(20'000, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * i * 31 + i / 251);
  for (std::size_t size : {3071u, 3072u, 3073u, 3080u, 6143u, 6144u, 6200u, 9999u, 19'990u}) {
    for (std::size_t from = 0; from < 9; ++from) {
      EXPECT_EQ(crc32c(data.data() + from, size, 0x12345678),
                crc32c_portable(data.data() + from, size, 0x12345678))
          << size << " from " << from;
    }
  }
}

TEST(Crc32c, OfARecordLeavesOutItsFirstHalfWordAndEndsWithANumber) {
  std::string data(4'096, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * i * 31 + i / 251);
  constexpr std::uint64_t kLast = 0x0123456789abcdef;
  const std::string last("\xef\xcd\xab\x89\x67\x45\x23\x01", 8);
  for (std::size_t size = 8; size <= data.size(); size += 8) {
    const std::string all = data.substr(4, size - 4) + last;
    const std::uint32_t expected = crc32c_portable(all.data(), all.size());
    EXPECT_EQ(crc32c_record(data.data(), size, kLast), expected) << size;
    for (const std::size_t there : {std::size_t{8}, std::size_t{40}, size}) {
      if (there > size) continue;
      std::vector<std::uint64_t> rest((size - there) / 8 + 1, 0x5555555555555555);
      std::memcpy(rest.data(), data.data() + there, size - there);
      std::string copy = data.substr(0, there) + std::string(size - there + 8, '!');
      EXPECT_EQ(crc32c_copy_record(copy.data(), rest.data(), size, there, kLast), expected)
          << size << " of " << there;
      EXPECT_EQ(copy, data.substr(0, size) + "!!!!!!!!");
    }
  }
}

}  // namespace
}  // namespace ringside
