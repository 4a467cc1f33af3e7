// Row images: the bytes of a rows event to rows as the ring keeps them (shm::RowBuilder with JSON text).
//
//   image  a bitmap of NULLs (one bit for each column present), then each value that is not NULL, packed by its type.
//          An update has two images for each row: before and after.
//
// Only whole images are taken: with some columns left out (binlog_row_image) the row after would have to be guessed.
//
// Threads: a RowDecoder belongs to one thread.   Ownership: views the event's bytes between begin() and the last next().
// Errors: kUnsupported when the image is partial or the shape does not match, kCorrupt when bytes contradict the map.
// Each names the table and, where it is one, the column; the caller quarantines the table.
// Limits: those of the event. No allocation in the steady state but for errors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "shm/record.h"
#include "shm/schema.h"
#include "writer/binlog/event.h"
#include "writer/binlog/table_map.h"
#include "writer/value_json.h"

namespace ringside::writer::binlog {

class RowDecoder {
 public:
  // For the rows that come under `map`, encoded as `shape` says. Fails where matches() does.
  static Result<RowDecoder> make(const shm::Shape& shape, const TableMap& map);

  RowDecoder(RowDecoder&&) noexcept = default;
  RowDecoder& operator=(RowDecoder&&) noexcept = default;

  // Starts on an event of this map's table id.
  Result<void> begin(const RowsEvent& event);

  // The next row: false when there is none. Fills `after` (write, update) and `before` (update, delete) with every
  // column in order, and leaves the other one as begun and empty. Both are started by begin() of theirs; keys are not set.
  Result<bool> next(shm::RowBuilder& before, shm::RowBuilder& after);

 private:
  // All that decoding one column needs, worked out once.
  struct Plan {
    std::string name;
    ColumnType type = ColumnType::kNull;
    shm::ValueKind kind = shm::ValueKind::kInteger;
    std::uint32_t metadata = 0;
    std::uint32_t pad_to = 0;  // BINARY(n): the zeros that the image leaves out
    bool is_unsigned = false;
    bool is_nullable = false;
    Charset charset = Charset::kUnsupported;
    JsonLabels labels;
  };

  RowDecoder() = default;
  Result<void> read_image(shm::RowBuilder& row);
  ValueStatus read_value(const Plan& plan, std::string& out);
  ValueStatus read_integer(const Plan& plan, std::string& out, std::size_t width);
  ValueStatus read_decimal(const Plan& plan, std::string& out);
  ValueStatus read_bytes(const Plan& plan, std::string& out, Bytes bytes);
  ValueStatus read_compressed(const Plan& plan, std::string& out, Bytes bytes);
  Error error(const std::string& what, ErrorKind kind) const;

  std::string table_;
  std::vector<Plan> plans_;
  std::unique_ptr<Inflater> inflater_;  // made when the first compressed column comes; cannot move
  std::string inflated_;
  std::string padded_;

  RowsOperation operation_ = RowsOperation::kWrite;
  ByteReader images_{Bytes{}};
  std::uint64_t row_ = 0;
};

}  // namespace ringside::writer::binlog
