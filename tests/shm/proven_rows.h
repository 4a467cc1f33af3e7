// Rows that prove themselves, and one row that proves them all: whoever has read a table up to a version can tell by
// itself that no row is missing, twice, old, or back from the dead.
//
//   "key:generation:proof:fill"   the generation is the version of the last change; the proof a checksum of both
//   kSumKey: "version:rows:sum"   written by every transaction: how many rows there are, and all their proofs added up
//
// Threads: one an object.   Ownership: values.   Errors: texts that say what is wrong; empty: nothing.
// Limits: keys below kSumKey.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>

#include "base/crc32c.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {

inline constexpr std::uint64_t kSumKey = std::uint64_t{1} << 40;

inline std::uint32_t proof_of(std::uint64_t key, std::uint64_t generation) {
  const std::uint64_t both[2] = {key, generation};
  return crc32c(both, sizeof both);
}

// Of a length that depends on the generation.
inline std::string proven_row(std::uint64_t key, std::uint64_t generation) {
  return json_text(std::to_string(key) + ':' + std::to_string(generation) + ':' +
                   std::to_string(proof_of(key, generation)) + ':' +
                   std::string(generation * 37 % 900, static_cast<char>('a' + generation % 26)));
}

// The numbers that a JSON text begins with, each with a colon behind it; all zero when it does not.
inline std::array<std::uint64_t, 3> numbers_of(std::string_view json) {
  std::string_view rest = json.substr(std::min<std::size_t>(json.size(), 1));
  std::array<std::uint64_t, 3> numbers{};
  for (std::uint64_t& number : numbers) {
    const char* const end = rest.data() + rest.size();
    const auto [at, error] = std::from_chars(rest.data(), end, number);
    if (error != std::errc() || at == end || *at != ':') return {};
    rest.remove_prefix(static_cast<std::size_t>(at - rest.data()) + 1);
  }
  return numbers;
}

// The generation of a row that proves itself to be of this key; 0 when it does not.
inline std::uint64_t generation_of(std::uint64_t key, std::string_view json) {
  const auto [its_key, generation, proof] = numbers_of(json);
  return its_key == key && json == proven_row(key, generation) ? generation : 0;
}

// The rows that there are, by their generations.
class ProvenRows {
 public:
  const std::map<std::uint64_t, std::uint64_t>& generations() const { return generations_; }
  bool contains(std::uint64_t key) const { return generations_.contains(key); }
  void put(std::uint64_t key, std::uint64_t generation) {
    erase(key);
    generations_[key] = generation;
    sum_ += proof_of(key, generation);
  }
  void erase(std::uint64_t key) {
    const auto found = generations_.find(key);
    if (found == generations_.end()) return;
    sum_ -= proof_of(key, found->second);
    generations_.erase(found);
  }
  std::string sum_row(std::uint64_t version) const {
    return json_text(std::to_string(version) + ':' + std::to_string(generations_.size()) + ':' +
                     std::to_string(sum_) + ':');
  }

  // One row as it was read, in any order; then what is wrong with all of them, and the version that they prove.
  bool read(std::uint64_t key, std::string_view json) {
    if (key == kSumKey) {
      read_sum_ = json;
      return true;
    }
    const std::uint64_t generation = generation_of(key, json);
    if (generation != 0) put(key, generation);
    return generation != 0;
  }
  std::string what_is_wrong(std::uint64_t version) const {
    if (read_sum_ == sum_row(version)) return {};
    return "at version " + std::to_string(version) + " there are " + sum_row(version) +
           " where there should be " + read_sum_;
  }

 private:
  std::map<std::uint64_t, std::uint64_t> generations_;
  std::uint64_t sum_ = 0;
  std::string read_sum_;
};

// What a mirror holds, proven; `why` stays empty when all is well.
inline ProvenRows proven_rows_of(const Mirror& mirror, std::string& why) {
  ProvenRows rows;
  const Mirror::Rows* items = mirror.table("items");
  if (items == nullptr) {
    why = "there is no table";
    return rows;
  }
  for (const auto& [key, json] : *items) {
    if (!rows.read(load_be<std::uint64_t>(key.data()), json)) why = "a row does not prove itself: " + json;
  }
  if (why.empty()) why = rows.what_is_wrong(mirror.version.value());
  return rows;
}

// Fills the table, and changes it at random: inserts, updates, deletes, key changes, one to six a transaction.
template <class Writer>
class ProvenChanges {
 public:
  // Of `keys` keys about five in six are there.
  ProvenChanges(Writer& writer, ProvenRows& rows, std::uint64_t keys)
      : writer_(writer), rows_(rows), keys_(keys) {}

  // All keys, at this version. False after a failed expectation.
  bool fill(std::uint64_t version) {
    bool good = true;
    for (std::uint64_t key = 0; key < keys_; ++key) good = put(key, version) && good;
    good = writer_.insert(kSumKey, rows_.sum_row(version)) && good;
    return good;
  }
  // The changes of a transaction; to be committed by the caller.
  bool change(std::uint64_t version, std::mt19937_64& random) {
    bool good = true;
    for (std::uint64_t changes = 1 + random() % 6; changes-- > 0;) {
      const std::uint64_t key = random() % keys_;
      const std::uint64_t kind = random() % 12;
      // The generation is the version: a row changed twice in a transaction could not be told from one changed once.
      if (rows_.contains(key) && rows_.generations().at(key) == version) continue;
      if (kind == 0 && rows_.contains(key)) {
        good = writer_.erase(key) && good;
        rows_.erase(key);
      } else if (kind == 1 && rows_.contains(key)) {
        good = move(key, random() % keys_, version) && good;
      } else {
        good = put(key, version) && good;
      }
    }
    return writer_.update(kSumKey, rows_.sum_row(version)) && good;
  }

 private:
  bool put(std::uint64_t key, std::uint64_t version) {
    const std::string json = proven_row(key, version);
    const bool is_there = rows_.contains(key);
    rows_.put(key, version);
    return is_there ? writer_.update(key, json) : writer_.insert(key, json);
  }
  bool move(std::uint64_t from, std::uint64_t to, std::uint64_t version) {
    if (rows_.contains(to)) return true;
    rows_.erase(from);
    rows_.put(to, version);
    RowBuilder row;
    return writer_
        ->update(*writer_->live_table("items"), item_key(from), build_item(row, to, proven_row(to, version)))
        .has_value();
  }

  Writer& writer_;
  ProvenRows& rows_;
  std::uint64_t keys_;
};

}  // namespace ringside::shm
