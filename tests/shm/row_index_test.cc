#include "shm/row_index.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

// Rows whose address is their key, as 8 bytes.
struct PlainRows {
  static std::uint64_t hash_of(std::uint64_t key) {
    std::byte raw[8];
    std::memcpy(raw, &key, 8);
    return key_hash(raw);
  }
  bool equals(Address address, Bytes key) const {
    return key.size() == 8 && load_le<std::uint64_t>(key.data()) == address;
  }
  std::uint64_t hash(Address address) const { return hash_of(address); }
};

RowIndex::Handle find(const RowIndex& index, std::uint64_t key) {
  std::byte raw[8];
  std::memcpy(raw, &key, 8);
  return index.find(key_hash(raw), raw, PlainRows());
}

TEST(RowIndex, HoldsWhatAnUnorderedMapHolds) {
  std::mt19937_64 random(test_seed(3));
  RowIndex index;
  std::unordered_map<std::uint64_t, RowIndex::Handle> model;
  const PlainRows rows;
  for (int i = 0; i < 2'000'000; ++i) {
    // The table grows for the first half and shrinks in the second.
    const std::uint64_t key = random() % 200'000;
    const bool grows = i < 1'000'000 ? random() % 4 != 0 : random() % 4 == 0;
    const auto known = model.find(key);
    const RowIndex::Handle found = find(index, key);
    ASSERT_EQ(found, known == model.end() ? RowIndex::kNoRow : known->second);
    if (grows && known == model.end()) {
      model[key] = index.insert(PlainRows::hash_of(key), key, rows);
    } else if (!grows && known != model.end()) {
      ASSERT_TRUE(index.erase(PlainRows::hash_of(key), known->second));
      ASSERT_FALSE(index.erase(PlainRows::hash_of(key), known->second)) << "twice";
      model.erase(known);
    }
    ASSERT_EQ(index.size(), model.size());
  }
  std::size_t visited = 0;
  index.for_each([&](RowIndex::Handle handle, Address address) {
    ++visited;
    const auto known = model.find(address);
    ASSERT_NE(known, model.end());
    EXPECT_EQ(known->second, handle);
  });
  EXPECT_EQ(visited, model.size());
}

TEST(RowIndex, HandlesStayWhileRowsMove) {
  RowIndex index;
  std::unordered_map<Address, std::uint64_t> key_at;  // where each row is now
  struct MovingRows {
    const std::unordered_map<Address, std::uint64_t>& key_at;
    bool equals(Address address, Bytes key) const {
      return key_at.at(address) == load_le<std::uint64_t>(key.data());
    }
    std::uint64_t hash(Address address) const { return PlainRows::hash_of(key_at.at(address)); }
  };
  const MovingRows rows{key_at};
  std::vector<RowIndex::Handle> handles;
  constexpr std::uint64_t kRows = 10'000;
  for (std::uint64_t key = 0; key < kRows; ++key) {
    key_at[key] = key;
    handles.push_back(index.insert(PlainRows::hash_of(key), key, rows));
  }
  EXPECT_EQ(std::set<RowIndex::Handle>(handles.begin(), handles.end()).size(), kRows);
  constexpr Address kHigh = std::uint64_t{1} << 39;  // addresses have 40 bits
  for (std::uint64_t key = 0; key < kRows; ++key) {
    key_at[kHigh + key] = key;
    index.set_address(handles[key], kHigh + key);
  }
  for (std::uint64_t key = kRows; key < 2 * kRows; ++key) {  // splits buckets of rows that have moved
    key_at[key] = key;
    index.insert(PlainRows::hash_of(key), key, rows);
  }
  for (std::uint64_t key = 0; key < kRows; ++key) {
    std::byte raw[8];
    std::memcpy(raw, &key, 8);
    ASSERT_EQ(index.find(key_hash(raw), raw, rows), handles[key]);
    ASSERT_EQ(index.address(handles[key]), kHigh + key);
  }
}

// All rows in one chain: as slow as it must be, and as right.
TEST(RowIndex, KeysOfOneHashAreToldApart) {
  struct CollidingRows {
    bool equals(Address address, Bytes key) const { return load_le<std::uint64_t>(key.data()) == address; }
    std::uint64_t hash(Address) const { return 0x1234; }
  };
  RowIndex index;
  const CollidingRows rows;
  std::vector<RowIndex::Handle> handles;
  for (std::uint64_t key = 0; key < 500; ++key) handles.push_back(index.insert(0x1234, key, rows));
  for (std::uint64_t key = 0; key < 500; key += 2) ASSERT_TRUE(index.erase(0x1234, handles[key]));
  for (std::uint64_t key = 0; key < 500; ++key) {
    std::byte raw[8];
    std::memcpy(raw, &key, 8);
    EXPECT_EQ(index.find(0x1234, raw, rows), key % 2 == 0 ? RowIndex::kNoRow : handles[key]);
  }
}

TEST(RowIndex, ARowCostsAtMostSixteenBytes) {
  RowIndex index;
  const PlainRows rows;
  constexpr std::uint64_t kRows = 1'000'000;
  for (std::uint64_t key = 0; key < kRows; ++key) index.insert(PlainRows::hash_of(key), key, rows);
  const double bytes_per_row = static_cast<double>(index.memory_bytes()) / static_cast<double>(kRows);
  std::printf("%.2f bytes a row at %lu rows\n", bytes_per_row, kRows);
  RecordProperty("bytes_per_row_x100", static_cast<int>(bytes_per_row * 100));
  EXPECT_LE(bytes_per_row, 16.0);
  EXPECT_GE(bytes_per_row, 5.0) << "an address alone takes that";
}

}  // namespace
}  // namespace ringside::shm
