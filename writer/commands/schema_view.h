// SchemaView: the newest known schema, handed from the capture thread to the command side.
//
// Capture learns of every change of the tables; a command only needs a consistent picture of them at its
// start. The schema is immutable and shared: a command keeps the one it began with.
//
// Threads: any may call both functions.
// Ownership: readers share the schema; it lives as long as the last of them needs it.
// Errors: none. get() is null until capture has read the schema for the first time.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shm/schema.h"

namespace ringside::writer {

struct Schema {
  std::string database;
  std::array<std::byte, 16> history{};  // ringside.history: identifies the history that versions belong to
  std::vector<shm::Table> tables;

  // Null when the name is none of the mirrored tables. Names compare exactly.
  const shm::Table* find(std::string_view name) const {
    const auto it =
        std::find_if(tables.begin(), tables.end(), [&](const shm::Table& t) { return t.name == name; });
    return it == tables.end() ? nullptr : &*it;
  }
};

class SchemaView {
 public:
  void set(std::shared_ptr<const Schema> schema) {
    const std::lock_guard lock(mutex_);
    schema_ = std::move(schema);
  }
  std::shared_ptr<const Schema> get() const {
    const std::lock_guard lock(mutex_);
    return schema_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Schema> schema_;  // under mutex_
};

}  // namespace ringside::writer
