// LiveSettings: the settings of a running writer that change when its configuration file is read again (SIGHUP).
//
// What may change while it runs: ring.max_size, ring.transaction_reserve, ring.on_full, ring.reader_limit, ring.reader_grace,
// ring.reader_wait. Each change is a line of the log, and so is every other setting that differs from what counts:
// it needs a restart. A file that cannot be read or is not valid changes nothing, and is one line.
//
// Threads: one.   Ownership: keeps a copy of what counts.   Errors: in the log.   Limits: load_config()'s; reads a file.
#pragma once

#include <optional>
#include <utility>

#include "base/config.h"

namespace ringside::writer {

class LiveSettings {
 public:
  // `running`: as load_config() made it, before prepare_writer().
  explicit LiveSettings(Config running) : running_(std::move(running)) {}

  // Reads the file again. What counts from now on, when any of it has changed.
  std::optional<RingConfig> reload();

 private:
  Config running_;
};

}  // namespace ringside::writer
