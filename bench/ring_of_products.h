// A ring with one table of product-like rows, in a directory of its own on /dev/shm, for the micro-benchmarks.
//
// Rows have twelve columns and about 330 bytes of values, as a shop's product has; seeded, so that every run has the
// same bytes. Errors end the program: a benchmark over a broken ring would measure nothing.
//
// Threads: one.   Ownership: removes its directory at destruction.   Errors: die() says what failed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "shm/publisher.h"
#include "shm/ring_reader.h"

namespace ringside::bench {

// Prints why and ends the program.
[[noreturn]] void die(std::string_view why);
template <class T>
T or_die(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(result).value();
}
inline void or_die(const Result<void>& result) {
  if (!result) die(result.error().message);
}

// products(id BIGINT UNSIGNED primary key, …)
shm::Table products_table();
std::string product_key(std::uint64_t id);
// Product `id` in its `edition`: another edition has another price and stock.
void build_product(shm::RowBuilder& row, std::uint64_t id, std::uint64_t edition);

class RingOfProducts {
 public:
  // Rows 1 … `rows`, loaded and live at version 1.
  explicit RingOfProducts(std::uint64_t rows);
  ~RingOfProducts();
  RingOfProducts(const RingOfProducts&) = delete;
  RingOfProducts& operator=(const RingOfProducts&) = delete;

  std::uint64_t rows() const { return rows_; }
  const std::string& directory() const { return directory_; }
  const shm::Table& table() const { return *publisher_->live_table("products"); }
  shm::Publisher& publisher() { return *publisher_; }
  // The next edition of one product as a transaction of its own.
  void update(std::uint64_t id);
  // One transaction of so many rows whose ids next() gives: the next edition of products that are there, or new ones.
  template <class Next>
  void update_some(std::uint64_t rows, Next&& next) {
    ++version_;
    for (std::uint64_t i = 0; i < rows; ++i) {
      build_product(row_, next(), version_);
      or_die(publisher_->update(table(), row_.key(), row_));
    }
    commit();
  }
  template <class Next>
  void insert_some(std::uint64_t rows, Next&& next) {
    ++version_;
    for (std::uint64_t i = 0; i < rows; ++i) {
      build_product(row_, next(), version_);
      or_die(publisher_->insert(table(), row_));
    }
    commit();
  }
  // What a live writer's capture does many times a second; else readers would take it for dead.
  void beat(std::uint64_t now_ns);

  // A reader at the oldest segment.
  std::unique_ptr<shm::RingReader> join() const;

 private:
  void commit();

  std::uint64_t rows_;
  std::uint64_t version_ = 1;
  std::string directory_;
  shm::PublisherOptions options_;
  UniqueFd lock_;
  std::unique_ptr<shm::Publisher> publisher_;
  shm::RowBuilder row_;
};

}  // namespace ringside::bench
