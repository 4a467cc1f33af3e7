// RowReader: streams one table's rows through a prepared statement and encodes each as the ring keeps it.
//
// Binary protocol, unbuffered: rows are taken off the socket one by one, values arrive typed, and texts in
// the column's own character set when the session asks for raw text. Every value goes through value_json.h
// and every key through shm/key.h, as the stream's do.
//
// Threads: as the Connection.   Ownership: owns the statement; borrows connection and table, which must
// outlive it. Errors: see next(); statement errors leave their number in connection.last_error(). Limits: a
// value longer than `max_value_bytes` refuses the row. No allocation per row once buffers have grown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "shm/key.h"
#include "shm/record.h"
#include "shm/schema.h"
#include "writer/source/connection.h"

namespace ringside::writer {

class RowReader {
 public:
  enum class Fetch : std::uint8_t {
    kRow,
    kEnd,
    kRefused,  // a value cannot be shown exactly: see refusal(); the rest of the table is of no use
  };

  // Starts the SELECT. Preconditions: a session with raw text, and a table with a key.
  static Result<std::unique_ptr<RowReader>> open(Connection& connection, std::string_view database,
                                                 const shm::Table& table, std::size_t max_value_bytes);
  ~RowReader();
  RowReader(const RowReader&) = delete;
  RowReader& operator=(const RowReader&) = delete;

  // Encodes the next row with its key into `row`. Blocks for it.
  Result<Fetch> next(shm::RowBuilder& row);
  const std::string& refusal() const { return refusal_; }

 private:
  struct Columns;

  RowReader(Connection& connection, const shm::Table& table, std::size_t max_value_bytes);
  Result<void> start(std::string_view database);
  Error statement_error(std::string_view doing);
  Result<void> fetch_rest_of_long_values(bool& is_refused);
  bool encode(shm::RowBuilder& row);
  bool make_key(shm::RowBuilder& row);
  bool refuse(std::size_t column, std::string_view what);

  Connection& connection_;
  const shm::Table& table_;
  std::size_t max_value_bytes_;
  std::unique_ptr<Columns> columns_;
  shm::KeyBuffer key_;
  std::string refusal_;
  bool has_grown_ = false;  // buffers that the library must be told of before the next row
};

}  // namespace ringside::writer
