// The configuration file on any text. The first byte chooses: a whole file, or one size, duration, address or pattern.
// A file that is refused says why in one line, without what stands behind `password`; one that is taken is within the
// bounds that config.h states.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/config.h"

namespace {

using namespace ringside;

constexpr std::string_view kSecret = "S3cretS3cret";  // the password of the seeds

// Does it stand as a password's value, and nowhere else (in a name, say, or in a text of several lines)?
bool has_secret_password(std::string_view text) {
  constexpr std::string_view kBefore = "\npassword=\"";
  const std::size_t at = text.find(kSecret);
  return at != std::string_view::npos && text.find(kSecret, at + 1) == std::string_view::npos &&
         text.substr(0, at).ends_with(kBefore) && text.find("\"\"\"") == std::string_view::npos &&
         text.find("'''") == std::string_view::npos;
}

void check_bounds(const Config& config) {
  RINGSIDE_ASSERT(config.mysql.password_file.empty() || config.mysql.password.empty());
  RINGSIDE_ASSERT(config.mysql.port != 0 && config.mysql.tables.size() <= 1000);
  const RingConfig& ring = config.ring;
  RINGSIDE_ASSERT(!ring.name.empty() && ring.name.size() <= 64 && ring.directory.starts_with('/'));
  RINGSIDE_ASSERT(ring.name.find('/') == std::string::npos && ring.name != "." && ring.name != "..");
  RINGSIDE_ASSERT((ring.segment_size_bytes & (ring.segment_size_bytes - 1)) == 0);
  RINGSIDE_ASSERT(ring.segment_size_bytes >= 65536 && ring.chunk_size_bytes % ring.segment_size_bytes == 0);
  RINGSIDE_ASSERT(ring.max_size_bytes >= 16 * kMiB && ring.max_size_bytes <= 4096 * kGiB);
  RINGSIDE_ASSERT(config.writer.watchdog >= 2 * config.writer.heartbeat);
  RINGSIDE_ASSERT(config.writer.sessions >= 1 && config.writer.sessions <= 256);
  RINGSIDE_ASSERT(config.writer.listen.is_loopback() || !config.writer.token_file.empty());
  RINGSIDE_ASSERT(config.replica.listen.is_loopback() || config.replica.is_public);
  RINGSIDE_ASSERT(config.replica.default_wait <= config.replica.max_wait);
}

void check_file(std::string_view text) {
  const Result<Config> config = parse_config(text, "fuzz.toml");
  if (config) return check_bounds(*config);
  const std::string& message = config.error().message;
  RINGSIDE_ASSERT(!message.empty());
  RINGSIDE_ASSERT(!has_secret_password(text) || message.find(kSecret) == std::string::npos);
  RINGSIDE_ASSERT(message.find('\0') == std::string::npos);
}

void check_address(std::string_view text) {
  const auto address = parse_listen_address(text);
  if (!address) return;
  const auto again = parse_listen_address(address->to_string());
  RINGSIDE_ASSERT(again.has_value() && *again == *address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 16384) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'z':
      if (const auto bytes = parse_size(text))
        RINGSIDE_ASSERT(parse_size(std::to_string(*bytes)).value() == *bytes);
      break;
    case 'd':
      if (const auto time = parse_duration(text)) RINGSIDE_ASSERT(time->count() >= 0);
      break;
    case 'a':
      check_address(text);
      break;
    case 'g': {
      const std::size_t half = text.size() / 2;
      const bool matches = glob_match(text.substr(0, half), text.substr(half));
      RINGSIDE_ASSERT(glob_match("*", text) && glob_match(text.substr(0, half), text.substr(0, half)));
      RINGSIDE_ASSERT(!matches || glob_match(std::string(text.substr(0, half)) + "*", text.substr(half)));
      break;
    }
    default:
      check_file(text);
  }
  return 0;
}
