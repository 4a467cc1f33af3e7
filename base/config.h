// The configuration file: every setting of every program, with its default and bounds, read strictly.
//
// TOML in four tables. An unknown key or table, a value of the wrong type or outside its bounds, and a
// combination that is unsafe are errors that name the setting, the file and the line, and say how to mend it.
// Sizes are written "64MiB" or as a number of bytes, durations "250ms", "5s", "10m", "24h". All programs read
// the same file; what only the writer may know (passwords, tokens) is fetched by prepare_writer() alone, so a
// replica needs no access to it.
//
// Threads: values; no shared state.
// Ownership: a Config owns all it holds. A Secret's text is reached by reveal() alone and never printed.
// Errors: kInvalid for what the file says, kIo when a file cannot be read, kUnsupported for what this version
// lacks. Limits: a file has at most kMaxConfigBytes; each setting's own bounds stand beside it as [low,
// high].
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ringside {

inline constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;
inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// A text that must not be shown. Streams, and so test failures and logs, see "(secret)".
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}

  // The one way to the text: call it where the text is handed to its consumer, and nowhere else.
  const std::string& reveal() const { return text_; }
  bool empty() const { return text_.empty(); }
  // Compares in a time that depends on the lengths only.
  bool equals(std::string_view candidate) const;

 private:
  std::string text_;
};
std::ostream& operator<<(std::ostream& out, const Secret& secret);

// "host:port" with a numeric host, "[::1]:port", or "localhost:port". Port 0: the kernel chooses (for tests).
struct ListenAddress {
  std::string host;  // without brackets
  std::uint16_t port = 0;
  bool is_ipv6 = false;

  bool is_loopback() const;
  std::string to_string() const;
  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

// [mysql]: the writer alone reads this. Either a socket or a host.
struct MysqlConfig {
  std::string socket;         // "/run/mysqld/mysqld.sock" unless host is given
  std::string host;           // "": the socket is used
  std::uint16_t port = 3306;  // [1, 65535], with host only
  std::string user = "ringside";
  Secret password;  // from `password`, else password_file, else RINGSIDE_MYSQL_PASSWORD; may be empty
  std::string password_file;  // "": none; together with `password` an error
  std::string database;       // required (checked by prepare_writer when there is no [mysql] at all)
  std::vector<std::string> tables = {"*"};  // patterns with * and ?; at most 1,000 of at most 64 characters
  std::vector<std::string> exclude;         // patterns; they win over `tables`
  bool tls = false;                         // with host only: refuse a connection that is not encrypted
  std::string tls_ca;                       // PEM file; with it the server's certificate is verified

  // Is this table chosen by `tables` and not by `exclude`? Case counts.
  bool is_chosen(std::string_view table) const;
};

// What becomes of a transaction that fits the ring in no way, however long is waited.
enum class OnFull : std::uint8_t {
  kPause,    // capture waits until a limit is raised
  kRebuild,  // a new ring is made from the database, which holds its outcome only
};

// [ring]: writer and replicas.
struct RingConfig {
  std::string name;  // required: a directory's name, [A-Za-z0-9_.-]{1,64}
  std::string directory =
      "/dev/shm";  // absolute; a tmpfs, or a disk where it is to outlive the host's restart
  std::uint64_t max_size_bytes = 4 * kGiB;  // max_size [16MiB, 4TiB]: the steady state
  // transaction_reserve [1MiB, 4TiB]: on top, for the largest transaction. Not given: as much as max_size.
  std::uint64_t transaction_reserve_bytes = 4 * kGiB;
  OnFull on_full = OnFull::kPause;                  // on_full = "pause" | "rebuild"
  std::uint64_t segment_size_bytes = kMiB;          // segment_size [64KiB, 64MiB]: a power of two
  std::uint64_t chunk_size_bytes = 8 * kMiB;        // chunk_size [64KiB, 1GiB]: a multiple of segment_size
  std::uint64_t max_record_size_bytes = 64 * kMiB;  // max_record_size [64KiB, 1GiB]
  std::uint64_t reader_limit_bytes =
      256 * kMiB;  // reader_limit [1MiB, 4TiB]: held back without progress: evicted
  std::chrono::milliseconds reader_grace{5000};  // [100ms, 10m]
  std::chrono::milliseconds reader_wait{30000};  // [1s, 1h]: for room that a slow reader holds; then evicted
};

// [writer]
struct WriterConfig {
  ListenAddress listen{"127.0.0.1", 7070, false};
  std::string token_file;      // "": none; required outside loopback. One bearer token a line
  std::vector<Secret> tokens;  // filled by prepare_writer
  std::uint64_t transaction_buffer_bytes = 64 * kMiB;  // transaction_buffer [64KiB, 64GiB]: above it, spilled
  std::string spill_directory = "/tmp";                // absolute
  std::chrono::milliseconds version_wait{1000};        // [0, 60s]: how long an answer waits for its version
  std::uint32_t sessions = 8;                          // [1, 256]: MySQL sessions for commands
  std::uint32_t queue = 1024;                          // [1, 1000000]: commands waiting for a session
  std::uint64_t body_limit_bytes = kMiB;               // body_limit [1KiB, 1GiB]
  std::chrono::milliseconds heartbeat{1000};           // [10ms, 60s]: asked of an idle source
  std::chrono::milliseconds watchdog{
      4000};  // [20ms, 10m]: silence that ends a connection; at least 2 × heartbeat
  std::chrono::milliseconds commands_retention{std::chrono::hours(24)};  // [1m, 8760h]
};

// [replica]
struct ReplicaConfig {
  ListenAddress listen{"127.0.0.1", 8080, false};
  bool is_public = false;                   // public: must be true to listen outside loopback
  std::string unix_socket;                  // "": none; absolute; {index} is replaced by the replica's index
  std::uint16_t admin_port = 9100;          // [0, 65535]; 0: none. A replica's own is this plus its index
  std::string admin_address = "127.0.0.1";  // numeric; outside loopback a deliberate choice
  bool busy_poll = false;
  std::uint32_t max_connections = 10'000;          // [1, 1000000]
  std::chrono::milliseconds idle_timeout{60'000};  // [10ms, 24h]
  std::chrono::milliseconds head_timeout{5'000};   // [10ms, 5m]: to a whole request head
  std::chrono::milliseconds drain_grace{2'000};    // [0, 5m]: idle connections are kept so long at the end
  std::uint32_t head_limit_bytes = 8192;           // head_limit [512, 64KiB]
  std::uint32_t max_keys = 1000;                   // [1, 100000]: keys of one request
  std::uint64_t response_limit_bytes = 64 * kMiB;  // response_limit [4KiB, 4GiB]
  std::uint64_t unsent_limit_bytes = 512 * kMiB;   // unsent_limit [1MiB, 1TiB]: answers not yet taken, of all
  std::chrono::milliseconds default_wait{1000};    // [0, 10m], at most max_wait
  std::chrono::milliseconds max_wait{10'000};      // [0, 10m]
  std::chrono::milliseconds max_staleness{30'000};  // [100ms, 168h]: then /readyz turns red
  bool numbers_as_strings = false;                  // numbers = "number" | "string"

  // unix_socket with {index} replaced.
  std::string unix_socket_for(unsigned index) const;
};

struct Config {
  MysqlConfig mysql;
  RingConfig ring;
  WriterConfig writer;
  ReplicaConfig replica;
  std::string file;  // where it was read from; empty: from no file
  // Every setting of it as it counts, given or by default, by name; but for secrets. See changed_settings().
  std::vector<std::pair<std::string, std::string>> settings;
};

struct SettingChange {
  std::string name;    // "ring.max_size"
  std::string before;  // as the file would say it; "(secret)" for what must not be shown
  std::string after;
};

// What counts differently in the one than in the other, in the order in which the settings are read. Both as
// load_config() or parse_config() made them.
std::vector<SettingChange> changed_settings(const Config& before, const Config& after);

// Reads and checks a file. Touches no other file and no environment.
Result<Config> load_config(const std::string& path);
// The same for a text; `source_name` stands in errors where the file's name would.
Result<Config> parse_config(std::string_view text, std::string_view source_name);

// What the writer needs beyond the file: the password from mysql.password_file or RINGSIDE_MYSQL_PASSWORD,
// the tokens of writer.token_file. Errors: no mysql.database; a file that cannot be read; a token shorter
// than 16 characters.
Result<void> prepare_writer(Config& config);

// "64MiB" or "1024": bytes. kInvalid with the accepted forms.
Result<std::uint64_t> parse_size(std::string_view text);
// "250ms", "5s", "10m", "24h". kInvalid with the accepted forms.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);
// "127.0.0.1:80", "[::1]:80", "localhost:80".
Result<ListenAddress> parse_listen_address(std::string_view text);

// Does the whole text match the pattern, in which * stands for any run and ? for any one byte? No
// backtracking blow-up: O(pattern × text) at worst.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace ringside
