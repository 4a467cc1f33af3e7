#include "writer/capture/live_settings.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/log.h"

namespace ringside::writer {
namespace {

constexpr std::array<std::string_view, 6> kLive = {"ring.max_size",     "ring.transaction_reserve",
                                                   "ring.on_full",      "ring.reader_limit",
                                                   "ring.reader_grace", "ring.reader_wait"};

bool is_live(std::string_view name) {
  return std::find(kLive.begin(), kLive.end(), name) != kLive.end();
}

}  // namespace

std::optional<RingConfig> LiveSettings::reload() {
  const Result<Config> read = load_config(running_.file);
  if (!read) {
    log_error("the configuration is not valid, nothing of it changes", {{"reason", read.error().message}});
    return std::nullopt;
  }
  // The file is right in itself; what counts from now on is a mixture of it and of what it was.
  const RingConfig& ring = read->ring;
  const std::uint64_t least = std::max(running_.ring.chunk_size_bytes, running_.ring.max_record_size_bytes);
  if (ring.max_size_bytes < least) {
    log_error("ring.max_size cannot be so low before a restart, nothing of the configuration changes",
              {{"ring.max_size", ring.max_size_bytes},
               {"ring.chunk_size", running_.ring.chunk_size_bytes},
               {"ring.max_record_size", running_.ring.max_record_size_bytes}});
    return std::nullopt;
  }
  const std::vector<SettingChange> changes = changed_settings(running_, *read);
  log_info("the configuration was read again", {{"file", running_.file}, {"differing", changes.size()}});
  bool has_changed = false;
  for (const SettingChange& change : changes) {
    if (!is_live(change.name)) {
      log_warning("a setting that was changed needs a restart of the writer",
                  {{"setting", change.name}, {"running", change.before}, {"file", change.after}});
      continue;
    }
    log_info("a setting changes",
             {{"setting", change.name}, {"before", change.before}, {"after", change.after}});
    has_changed = true;
    for (auto& [name, value] : running_.settings) {
      if (name == change.name) value = change.after;
    }
  }
  if (!has_changed) return std::nullopt;
  running_.ring.max_size_bytes = ring.max_size_bytes;
  running_.ring.transaction_reserve_bytes = ring.transaction_reserve_bytes;
  running_.ring.on_full = ring.on_full;
  running_.ring.reader_limit_bytes = ring.reader_limit_bytes;
  running_.ring.reader_grace = ring.reader_grace;
  running_.ring.reader_wait = ring.reader_wait;
  return running_.ring;
}

}  // namespace ringside::writer
