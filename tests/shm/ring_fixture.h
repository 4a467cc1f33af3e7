// What tests of the ring share: a ring of small segments in a directory of its own on /dev/shm, and a
// one-table schema whose rows carry their own proof.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "shm/publisher.h"
#include "shm/ring_reader.h"
#include "shm/ring_writer.h"

namespace ringside::shm {

// A directory on /dev/shm that goes away with the object.
class RingDirectory {
 public:
  RingDirectory() {
    char path[] = "/dev/shm/ringside-test-XXXXXX";
    EXPECT_NE(::mkdtemp(path), nullptr);
    path_ = path;
  }
  ~RingDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  RingDirectory(const RingDirectory&) = delete;
  RingDirectory& operator=(const RingDirectory&) = delete;

  const std::string& path() const { return path_; }
  PublisherOptions options() const {
    PublisherOptions options;
    options.ring.directory = path_;
    options.ring.name = "test";
    options.ring.segment_bytes = 16384;
    options.ring.chunk_bytes = 65536;
    options.ring.max_bytes = std::uint64_t{64} << 20;
    options.ring.reserve_bytes = std::uint64_t{16} << 20;
    options.transaction_buffer_bytes = std::uint64_t{1} << 20;
    return options;
  }

 private:
  std::string path_;
};

// items(id BIGINT UNSIGNED primary key, name VARCHAR)
inline Table items_table(std::string name = "items") {
  Table table;
  table.name = std::move(name);
  table.key_name = "PRIMARY";
  Column id;
  id.name = "id";
  id.kind = ValueKind::kUnsigned;
  id.width = 8;
  id.sql_type = "bigint(20) unsigned";
  Column text;
  text.name = "name";
  text.kind = ValueKind::kText;
  text.nullable = true;
  text.collation = "utf8mb4_bin";
  text.sql_type = "varchar(100)";
  table.shape.columns = {id, text};
  table.key = {KeyColumn{0, KeyRule::kOrdered, false}};
  return table;
}

inline std::string item_key(std::uint64_t id) {
  char raw[8];
  store_be<std::uint64_t>(raw, id);
  return {raw, 8};
}

// The row (id, json) in `row`.
inline RowBuilder& build_item(RowBuilder& row, std::uint64_t id, std::string_view json) {
  row.begin();
  row.add(std::to_string(id));
  if (json.empty()) {
    row.add_null();
  } else {
    row.add(json);
  }
  const std::string key = item_key(id);
  row.set_key(as_bytes(key));
  return row;
}

}  // namespace ringside::shm
