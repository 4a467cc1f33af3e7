// A ring with one table of product-like rows, in a directory of its own on /dev/shm, for the micro-benchmarks.
//
// Rows have twelve columns and about 330 bytes of values, as a shop's product has; or, where the index is what counts,
// two columns and 64 bytes in all (RowKind). Every run has the same bytes. Errors end the program: a benchmark over a
// broken ring would measure nothing.
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

enum class RowKind : std::uint8_t {
  kProduct,  // products(id BIGINT UNSIGNED primary key, …): loaded in the order of their ids
  kStock,    // stock(product_id BIGINT UNSIGNED primary key, quantity INT): loaded in no order
};

// products(id BIGINT UNSIGNED primary key, …)
shm::Table products_table();
// stock(product_id BIGINT UNSIGNED primary key, quantity INT)
shm::Table stock_table();
std::string product_key(std::uint64_t id);
// Product `id` in its `edition`: another edition has another price and stock.
void build_product(shm::RowBuilder& row, std::uint64_t id, std::uint64_t edition);
// The stock of product `id`: another edition is another quantity.
void build_stock(shm::RowBuilder& row, std::uint64_t id, std::uint64_t edition);

class RingOfProducts {
 public:
  // Rows 1 … `rows`, loaded and live at version 1.
  explicit RingOfProducts(std::uint64_t rows, RowKind kind = RowKind::kProduct,
                          std::uint64_t transaction_buffer_bytes = std::uint64_t{64} << 20);
  ~RingOfProducts();
  RingOfProducts(const RingOfProducts&) = delete;
  RingOfProducts& operator=(const RingOfProducts&) = delete;

  std::uint64_t rows() const { return rows_; }
  const std::string& directory() const { return directory_; }
  const shm::Table& table() const {
    return *publisher_->live_table(kind_ == RowKind::kProduct ? "products" : "stock");
  }
  shm::Publisher& publisher() { return *publisher_; }
  // A restart, in two steps: the writer ends, and another one continues its ring. Between them there is no publisher.
  void close() { publisher_.reset(); }
  void reopen();
  // The next edition of one product as a transaction of its own.
  void update(std::uint64_t id);
  // One transaction of so many rows whose ids next() gives: the next edition of products that are there, or new ones.
  template <class Next>
  void update_some(std::uint64_t rows, Next&& next) {
    ++version_;
    for (std::uint64_t i = 0; i < rows; ++i) {
      build(next(), version_);
      or_die(publisher_->update(table(), row_.key(), row_));
    }
    commit();
  }
  template <class Next>
  void insert_some(std::uint64_t rows, Next&& next) {
    ++version_;
    for (std::uint64_t i = 0; i < rows; ++i) {
      build(next(), version_);
      or_die(publisher_->insert(table(), row_));
    }
    commit();
  }
  // A transaction that changes every row: the lower half is updated; in the upper half two of four are updated, one is deleted
  // (the next time: inserted again), one gets another key (the next time: its own again). commit() publishes it.
  void collect_change_of_all();
  void commit();
  // What a live writer's capture does many times a second; else readers would take it for dead.
  void beat(std::uint64_t now_ns);

  // A reader at the oldest segment.
  std::unique_ptr<shm::RingReader> join() const;

 private:
  void build(std::uint64_t id, std::uint64_t edition);

  std::uint64_t rows_;
  RowKind kind_;
  std::uint64_t version_ = 1;
  bool is_changed_ = false;  // the upper half
  std::string directory_;
  shm::PublisherOptions options_;
  UniqueFd lock_;
  std::unique_ptr<shm::Publisher> publisher_;
  shm::RowBuilder row_;
};

}  // namespace ringside::bench
