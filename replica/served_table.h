// One incarnation of a table as a replica serves it: the index of its rows, and everything about its columns that a
// response needs, made once.
//
// A response is the shape's name fragments and the row's value slices laid in turn: `{"id":` 7 `,"name":` "Ada" `}`.
//
// Threads: one.   Ownership: owns index and fragments; rows lie in the ring.
// Errors: none; the catalogue was validated when it was read.
// Allocation: at construction; the index when rows are added.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "replica/name_table.h"
#include "shm/row_index.h"
#include "shm/schema.h"

namespace ringside::replica {

class ServedTable {
 public:
  // `history_hash` goes into every entity tag: equal tags must mean equal answers, on all hosts.
  ServedTable(const shm::Table& description, std::uint64_t history_hash);
  ServedTable(const ServedTable&) = delete;
  ServedTable& operator=(const ServedTable&) = delete;

  const shm::Table& description() const { return description_; }
  TableId id() const { return description_.id; }
  std::size_t column_count() const { return description_.shape.columns.size(); }
  const shm::Column& column(std::size_t i) const { return description_.shape.columns[i]; }

  // `,"name":` with the name as a JSON string: what goes in front of the column's value, unless it is the object's
  // first. kSlack readable bytes follow it.
  std::string_view name_fragment(std::size_t column) const {
    return std::string_view(fragments_)
        .substr(fragment_ends_[column], fragment_ends_[column + 1] - fragment_ends_[column]);
  }
  // All of them together, with the closing brace.
  std::size_t fragment_bytes() const { return fragment_ends_.back() + 1; }
  // NameTable::kNone when there is no such column.
  std::uint32_t find_column(std::string_view name) const { return columns_by_name_.find(name); }
  // With numbers=string: is this column's value quoted when it is beyond what a double holds, or always?
  static constexpr std::size_t kSlack = 32;
  enum class Quote : std::uint8_t { kNever, kWhenLarge, kAlways };
  Quote quote(std::size_t column) const { return quotes_[column]; }

  // Of the column list as far as it shows in answers, and of the history.
  std::uint64_t representation_hash() const { return representation_hash_; }

  shm::RowIndex index;
  // Live rows and the bytes of their records.
  std::uint64_t row_count = 0;
  std::uint64_t row_bytes = 0;
  // Of any record seen of it: bounds what one row adds to an answer.
  std::uint32_t largest_record = 0;
  bool is_live = false;

 private:
  shm::Table description_;
  std::string fragments_;
  std::vector<std::size_t> fragment_ends_;
  std::vector<Quote> quotes_;
  NameTable columns_by_name_;
  std::uint64_t representation_hash_ = 0;
};

}  // namespace ringside::replica
