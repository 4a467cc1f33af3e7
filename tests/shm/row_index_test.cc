#include "shm/row_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>
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

// Rows that remember which of them were asked for.
struct WatchedRows : PlainRows {
  mutable std::unordered_set<Address> asked;
  mutable std::uint64_t hashed = 0;
  mutable std::uint64_t hashed_unasked = 0;
  void prefetch_key(Address address) const { asked.insert(address); }
  std::uint64_t hash(Address address) const {
    ++hashed;
    if (!asked.contains(address)) ++hashed_unasked;
    return hash_of(address);
  }
};

TEST(RowIndex, ASplitHasAskedForItsRowsBefore) {
  RowIndex index;
  WatchedRows rows;
  constexpr std::uint64_t kRows = 300'000;
  for (std::uint64_t key = 0; key < kRows; ++key) {
    // Asked for long ago is not asked for: the lines have gone again.
    if (key % 100'000 == 0) rows.asked.clear();
    index.insert(PlainRows::hash_of(key), key, rows);
  }
  std::printf("%lu rows hashed by splits, %lu of them not asked for before\n", rows.hashed,
              rows.hashed_unasked);
  EXPECT_GT(rows.hashed, kRows / 2) << "there were splits";
  EXPECT_LT(rows.hashed_unasked, rows.hashed / 10) << "but those that came in between";
}

// The same rows, with the hashes kept for some of the time: no row is read while they are, and none is lost.
TEST(RowIndex, KeptHashesSpareTheRowsUntilTheyAreForgotten) {
  RowIndex index;
  WatchedRows rows;
  std::vector<RowIndex::Handle> handles;
  index.keep_hashes();
  auto grow_to = [&](std::uint64_t end) {
    for (std::uint64_t key = handles.size(); key < end; ++key) {
      handles.push_back(index.insert(PlainRows::hash_of(key), key, rows));
    }
  };
  auto check = [&] {
    for (std::uint64_t key = 0; key < handles.size(); ++key) {
      ASSERT_EQ(find(index, key), handles[key]) << "key " << key;
    }
  };
  grow_to(200'000);
  // A handle given back goes to another row, whose hash takes the place of the old one's.
  for (std::uint64_t key = 0; key < 1000; ++key) {
    ASSERT_TRUE(index.erase(PlainRows::hash_of(key), handles[key]));
  }
  for (std::uint64_t key = 1000; key-- > 0;) {
    handles[key] = index.insert(PlainRows::hash_of(key), key, rows);
  }
  grow_to(300'000);
  EXPECT_EQ(rows.hashed, 0u);
  check();
  const std::size_t with_hashes = index.memory_bytes();
  index.forget_hashes();
  EXPECT_LE(index.memory_bytes() + 4 * handles.size(), with_hashes);
  grow_to(700'000);
  EXPECT_GT(rows.hashed, 300'000u);
  check();
}

// Beyond the size from which it takes its memory in large blocks.
TEST(RowIndex, ALargeOneMovesWhole) {
  RowIndex index;
  const PlainRows rows;
  constexpr std::uint64_t kRows = 4'000'000;
  std::vector<RowIndex::Handle> handles;
  for (std::uint64_t key = 0; key < kRows; ++key) {
    handles.push_back(index.insert(PlainRows::hash_of(key), key, rows));
  }
  ASSERT_GT(index.memory_bytes(), 3 * PageMemory::kLargeBytes);
  RowIndex moved = std::move(index);
  RowIndex other;
  other.insert(PlainRows::hash_of(1), 1, rows);
  other = std::move(moved);
  EXPECT_EQ(other.size(), kRows);
  for (std::uint64_t key = 0; key < kRows; ++key) ASSERT_EQ(find(other, key), handles[key]);
}

TEST(RowIndex, PrefetchingAKeyAsksForItsRowAndChangesNothing) {
  RowIndex index;
  WatchedRows rows;
  constexpr std::uint64_t kRows = 100'000;
  for (std::uint64_t key = 0; key < kRows; ++key) index.insert(PlainRows::hash_of(key), key, rows);
  std::uint64_t missed = 0;
  std::uint64_t asked = 0;
  for (std::uint64_t key = 0; key < 2 * kRows; ++key) {  // the second half is not there
    rows.asked.clear();
    const std::uint64_t hash = PlainRows::hash_of(key);
    index.prefetch(hash);
    index.prefetch_addresses(hash);
    index.prefetch_rows(hash, rows);
    if (key < kRows && !rows.asked.contains(key)) ++missed;
    asked += rows.asked.size();
    ASSERT_EQ(find(index, key) != RowIndex::kNoRow, key < kRows);
  }
  EXPECT_LT(missed, kRows / 20) << "those in long chains alone";
  EXPECT_LT(asked, kRows + 2 * kRows / 5) << "hardly any but those";
}

// A replica's goal is fourteen bytes a row: the mean while a table grows, and not much more at any size.
TEST(RowIndex, ARowCostsAtMostFourteenBytes) {
  RowIndex index;
  const PlainRows rows;
  double sum = 0;
  double peak = 0;
  int looks = 0;
  for (std::uint64_t key = 1; key <= 1'600'000; ++key) {
    index.insert(PlainRows::hash_of(key), key, rows);
    if (key < 200'000 || key % 10'000 != 0) continue;
    const double bytes_per_row = static_cast<double>(index.memory_bytes()) / static_cast<double>(key);
    sum += bytes_per_row;
    peak = std::max(peak, bytes_per_row);
    ++looks;
  }
  const double mean = sum / looks;
  std::printf("%.2f bytes a row, at most %.2f\n", mean, peak);
  RecordProperty("bytes_per_row_x100", static_cast<int>(mean * 100));
  EXPECT_LE(mean, 14.0);
  EXPECT_LE(peak, 15.0);
  EXPECT_GE(mean, 5.0) << "an address alone takes that";
}

}  // namespace
}  // namespace ringside::shm
