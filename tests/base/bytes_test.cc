#include "base/bytes.h"

#include <gtest/gtest.h>

#include <array>

namespace ringside {
namespace {

TEST(Bytes, LoadsAndStoresBothOrders) {
  std::array<unsigned char, 8> raw{1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(load_le<std::uint32_t>(raw.data()), 0x04030201u);
  EXPECT_EQ(load_be<std::uint32_t>(raw.data()), 0x01020304u);
  store_be<std::uint16_t>(raw.data(), 0xabcd);
  EXPECT_EQ(raw[0], 0xab);
  store_le<std::uint64_t>(raw.data(), 0x0102030405060708u);
  EXPECT_EQ(raw[0], 8);
}

TEST(ByteReader, ReadsFieldsInTurn) {
  ByteReader reader(as_bytes(std::string_view("\x01\x02\x03\x04\x05\x06tail", 10)));
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.uint_le(3), 0x040302u);
  EXPECT_EQ(reader.uint_be(2), 0x0506u);
  EXPECT_EQ(as_text(reader.rest()), "tail");
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.empty());
}

TEST(ByteReader, FailsForGoodPastTheEnd) {
  ByteReader reader(as_bytes("abc"));
  EXPECT_EQ(reader.u32(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0);
  EXPECT_TRUE(reader.take(1).empty());
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace ringside
