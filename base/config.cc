#include "base/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <system_error>

#include <toml++/toml.h>

#include "base/assert.h"
#include "base/unique_fd.h"

namespace ringside {
namespace {

using std::chrono::milliseconds;

Error invalid(std::string message) {
  return Error{ErrorKind::kInvalid, std::move(message)};
}

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

std::string errno_text(int error) {
  return std::error_code(error, std::generic_category()).message();
}

// Levenshtein's distance, to find the name that was meant. Names are short: O(a × b) is nothing.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// " (did you mean 'x'?)" for the nearest name, when one is near at all; else the list of what there is.
std::string suggestion(std::string_view wrong, const std::vector<std::string_view>& known) {
  std::string_view nearest;
  std::size_t best = std::max<std::size_t>(2, wrong.size() / 2) + 1;
  for (const std::string_view name : known) {
    const std::size_t distance = edit_distance(wrong.substr(0, 64), name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  if (!nearest.empty()) return "; did you mean " + quoted(nearest) + "?";
  std::string text = "; there are:";
  for (const std::string_view name : known) text.append(" ").append(name);
  return text;
}

std::string duration_text(milliseconds value) {
  const auto count = value.count();
  if (count % 3'600'000 == 0 && count > 0) return std::to_string(count / 3'600'000) + "h";
  if (count % 60'000 == 0 && count > 0) return std::to_string(count / 60'000) + "m";
  if (count % 1000 == 0) return std::to_string(count / 1000) + "s";
  return std::to_string(count) + "ms";
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits{"", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + std::string(kUnits[unit]);
}

std::string list_text(const std::vector<std::string>& list) {
  std::string text = "[";
  for (const std::string& each : list) text.append(text.size() > 1 ? ", " : "").append(quoted(each));
  return text + "]";
}

// Reads the settings of one table. Keeps the first error: readers may go on and ask at the end. A setting is
// known by being asked for, so the list of known names cannot drift from what is read.
class Settings {
 public:
  Settings(const toml::table& root, std::string_view name, std::string_view source)
      : name_(name), source_(source) {
    const toml::node* node = root.get(name);
    if (node == nullptr) return;
    table_ = node->as_table();
    if (table_ == nullptr) fail(*node, name_ + " is not a table; write [" + name_ + "]");
  }

  bool is_present() const { return table_ != nullptr; }
  bool has(std::string_view key) const { return table_ != nullptr && table_->contains(key); }

  void text(std::string_view key, std::string& out) {
    const toml::node* node = find(key, [&out] { return out; });
    if (node != nullptr) text_of(key, *node, out);
  }
  void secret(std::string_view key, Secret& out) {
    std::string value;
    const toml::node* node = find(key, nullptr);
    if (node != nullptr) text_of(key, *node, value);
    if (!value.empty()) out = Secret(std::move(value));
  }
  void flag(std::string_view key, bool& out) {
    const toml::node* node = find(key, [&out] { return std::string(out ? "true" : "false"); });
    if (node == nullptr) return;
    const auto* value = node->as_boolean();
    if (value == nullptr) return fail(*node, full(key) + " must be true or false");
    out = value->get();
  }
  template <class Number>
  void number(std::string_view key, Number& out, std::int64_t low, std::int64_t high) {
    const toml::node* node = find(key, [&out] { return std::to_string(out); });
    if (node == nullptr) return;
    const auto* value = node->as_integer();
    if (value == nullptr || value->get() < low || value->get() > high) {
      return fail(*node, full(key) + " must be a whole number from " + std::to_string(low) + " to " +
                             std::to_string(high));
    }
    out = static_cast<Number>(value->get());
  }
  template <class Number>
  void size(std::string_view key, Number& out, std::uint64_t low, std::uint64_t high) {
    const toml::node* node = find(key, [&out] { return size_text(out); });
    if (node == nullptr) return;
    Result<std::uint64_t> value = invalid("write it like \"64MiB\", or as a number of bytes");
    if (const auto* text = node->as_string()) value = parse_size(text->get());
    if (const auto* bytes = node->as_integer(); bytes != nullptr && bytes->get() >= 0) {
      value = static_cast<std::uint64_t>(bytes->get());
    }
    if (!value) return fail(*node, full(key) + ": " + value.error().message);
    if (*value < low || *value > high) {
      return fail(*node, full(key) + " must be from " + size_text(low) + " to " + size_text(high));
    }
    out = static_cast<Number>(*value);
  }
  void duration(std::string_view key, milliseconds& out, milliseconds low, milliseconds high) {
    const toml::node* node = find(key, [&out] { return duration_text(out); });
    if (node == nullptr) return;
    const auto* text = node->as_string();
    if (text == nullptr)
      return fail(*node, full(key) + " must be a duration in quotes, like \"250ms\" or \"5s\"");
    const Result<milliseconds> value = parse_duration(text->get());
    if (!value) return fail(*node, full(key) + ": " + value.error().message);
    if (*value < low || *value > high) {
      return fail(*node, full(key) + " must be from " + duration_text(low) + " to " + duration_text(high));
    }
    out = *value;
  }
  void address(std::string_view key, ListenAddress& out) {
    const toml::node* node = find(key, [&out] { return out.to_string(); });
    if (node == nullptr) return;
    std::string value;
    text_of(key, *node, value);
    if (error_) return;
    Result<ListenAddress> parsed = parse_listen_address(value);
    if (!parsed) return fail(key, parsed.error().message);
    out = std::move(parsed).value();
  }
  void patterns(std::string_view key, std::vector<std::string>& out) {
    const toml::node* node = find(key, [&out] { return list_text(out); });
    if (node == nullptr) return;
    const toml::array* list = node->as_array();
    if (list == nullptr)
      return fail(*node, full(key) + " must be a list of names, like [\"orders\", \"item_*\"]");
    if (list->size() > 1000) return fail(*node, full(key) + " has more than 1000 entries");
    out.clear();
    for (const toml::node& entry : *list) {
      const auto* value = entry.as_string();
      if (value == nullptr || value->get().empty() || value->get().size() > 64) {
        return fail(
            entry,
            full(key) +
                " must hold names in quotes of 1 to 64 characters, where * and ? may stand for others");
      }
      out.push_back(value->get());
    }
  }

  // The value is of the right type but wrong. Names the setting and, when it is in the file, its line.
  void fail(std::string_view key, std::string_view what) {
    const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
    if (node != nullptr) return fail(*node, full(key) + ": " + std::string(what));
    if (!error_) error_ = invalid(source_ + ": " + full(key) + ": " + std::string(what));
  }

  // Call when all settings have been asked for and before the rules are checked: a misspelt name should be
  // reported as that, not as a missing one.
  void refuse_unknown() {
    if (table_ == nullptr) return;
    for (const auto& [key, node] : *table_) {
      if (std::find(known_.begin(), known_.end(), key.str()) != known_.end()) continue;
      fail(node, full(key.str()) + " is not a setting" + suggestion(key.str(), known_));
    }
  }
  // What was wrong first. Else adds all settings as they count now, when defaults that depend on others are known.
  Result<void> finish(Config& config) {
    if (error_) return *error_;
    for (std::size_t i = 0; i < known_.size(); ++i) {
      if (shown_[i]) config.settings.emplace_back(full(known_[i]), shown_[i]());
    }
    return {};
  }

 private:
  using Shown = std::function<std::string()>;  // what counts, as a file would say it; none: not to be shown

  const toml::node* find(std::string_view key, Shown shown) {
    known_.push_back(key);
    shown_.push_back(std::move(shown));
    return table_ == nullptr ? nullptr : table_->get(key);
  }
  void text_of(std::string_view key, const toml::node& node, std::string& out) {
    const auto* value = node.as_string();
    if (value == nullptr) return fail(node, full(key) + " must be a text in quotes");
    if (value->get().find('\0') != std::string::npos)
      return fail(node, full(key) + " contains a NUL character");
    out = value->get();
  }
  std::string full(std::string_view key) const { return name_ + "." + std::string(key); }
  void fail(const toml::node& node, std::string message) {
    if (!error_) error_ = invalid(source_ + ":" + std::to_string(node.source().begin.line) + ": " + message);
  }

  std::string name_;
  std::string source_;
  const toml::table* table_ = nullptr;
  std::vector<std::string_view> known_;
  std::vector<Shown> shown_;  // of each in known_
  std::optional<Error> error_;
};

// sockaddr_un's path, less the terminating zero.
constexpr std::size_t kMaxSocketPath = 107;

void check_path(Settings& settings, std::string_view key, const std::string& path) {
  if (!path.empty() && path[0] != '/') settings.fail(key, "must be an absolute path");
}

void check_socket_path(Settings& settings, std::string_view key, const std::string& path) {
  check_path(settings, key, path);
  if (path.size() > kMaxSocketPath) {
    settings.fail(
        key, "is longer than the " + std::to_string(kMaxSocketPath) + " bytes a unix socket's path may have");
  }
}

Result<void> read_mysql(const toml::table& root, std::string_view source, Config& config) {
  MysqlConfig& out = config.mysql;
  Settings settings(root, "mysql", source);
  settings.text("socket", out.socket);
  settings.text("host", out.host);
  settings.number("port", out.port, 1, 65535);
  settings.text("user", out.user);
  settings.secret("password", out.password);
  settings.text("password_file", out.password_file);
  settings.text("database", out.database);
  settings.patterns("tables", out.tables);
  settings.patterns("exclude", out.exclude);
  settings.flag("tls", out.tls);
  settings.text("tls_ca", out.tls_ca);
  settings.refuse_unknown();

  if (!out.socket.empty() && !out.host.empty())
    settings.fail("host", "mysql.socket is set as well; leave one of them out");
  if (out.host.empty()) {
    if (settings.has("port"))
      settings.fail("port", "has no meaning without mysql.host; set it or leave the port out");
    if (out.tls) settings.fail("tls", "has no meaning on a unix socket; set mysql.host or leave it out");
    if (out.socket.empty()) out.socket = "/run/mysqld/mysqld.sock";
  }
  check_socket_path(settings, "socket", out.socket);
  check_path(settings, "password_file", out.password_file);
  check_path(settings, "tls_ca", out.tls_ca);
  if (!out.tls_ca.empty() && !out.tls) settings.fail("tls_ca", "is set but mysql.tls is not; add tls = true");
  if (settings.has("password") && settings.has("password_file")) {
    settings.fail("password_file", "mysql.password is set as well; leave one of them out");
  }
  if (out.user.empty()) settings.fail("user", "must not be empty");
  if (settings.is_present() && out.database.empty()) {
    settings.fail("database", "is required: the schema whose tables are mirrored, e.g. database = \"shop\"");
  }
  if (out.database.size() > 64) settings.fail("database", "is longer than the 64 characters a name may have");
  if (out.tables.empty())
    settings.fail("tables", "is empty, so nothing would be mirrored; leave it out to mirror all");
  return settings.finish(config);
}

bool is_ring_name(std::string_view name) {
  if (name.empty() || name.size() > 64 || name == "." || name == "..") return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

Result<void> read_ring(const toml::table& root, std::string_view source, Config& config) {
  RingConfig& out = config.ring;
  constexpr std::uint64_t kKiB = 1024;
  constexpr std::uint64_t kLargest =
      4096 * kGiB;  // an address reaches 8 TiB: the steady state plus the reserve
  Settings settings(root, "ring", source);
  std::string on_full = "pause";
  settings.text("name", out.name);
  settings.text("directory", out.directory);
  settings.size("max_size", out.max_size_bytes, 16 * kMiB, kLargest);
  out.transaction_reserve_bytes = out.max_size_bytes;
  settings.size("transaction_reserve", out.transaction_reserve_bytes, kMiB, kLargest);
  settings.text("on_full", on_full);
  settings.size("segment_size", out.segment_size_bytes, 64 * kKiB, 64 * kMiB);
  settings.size("chunk_size", out.chunk_size_bytes, 64 * kKiB, kGiB);
  settings.size("max_record_size", out.max_record_size_bytes, 64 * kKiB, kGiB);
  settings.size("reader_limit", out.reader_limit_bytes, kMiB, kLargest);
  settings.duration("reader_grace", out.reader_grace, milliseconds(100), std::chrono::minutes(10));
  settings.duration("reader_wait", out.reader_wait, milliseconds(1000), std::chrono::hours(1));
  settings.refuse_unknown();

  if (on_full != "pause" && on_full != "rebuild")
    settings.fail("on_full", "must be \"pause\" or \"rebuild\"");
  out.on_full = on_full == "rebuild" ? OnFull::kRebuild : OnFull::kPause;
  if (!is_ring_name(out.name)) {
    settings.fail("name", out.name.empty()
                              ? "is required: a directory's name, e.g. name = \"shop\""
                              : "may hold 1 to 64 of A-Z a-z 0-9 _ . - only, and not be . or ..");
  }
  if (out.directory.empty() || out.directory[0] != '/')
    settings.fail("directory", "must be an absolute path");
  if (!std::has_single_bit(out.segment_size_bytes)) settings.fail("segment_size", "must be a power of two");
  if (out.chunk_size_bytes % out.segment_size_bytes != 0) {
    settings.fail("chunk_size",
                  "must be a multiple of ring.segment_size (" + size_text(out.segment_size_bytes) + ")");
  }
  if (out.chunk_size_bytes > out.max_size_bytes) settings.fail("chunk_size", "is larger than ring.max_size");
  if (out.max_record_size_bytes > out.max_size_bytes) {
    settings.fail(
        settings.has("max_record_size") ? "max_record_size" : "max_size",
        "ring.max_record_size (" + size_text(out.max_record_size_bytes) + ") is larger than ring.max_size");
  }
  return settings.finish(config);
}

Result<void> read_writer(const toml::table& root, std::string_view source, Config& config) {
  WriterConfig& out = config.writer;
  Settings settings(root, "writer", source);
  settings.address("listen", out.listen);
  settings.text("token_file", out.token_file);
  settings.size("transaction_buffer", out.transaction_buffer_bytes, 64 * 1024, 64 * kGiB);
  settings.text("spill_directory", out.spill_directory);
  settings.duration("version_wait", out.version_wait, milliseconds(0), std::chrono::seconds(60));
  settings.number("sessions", out.sessions, 1, 256);
  settings.number("queue", out.queue, 1, 1'000'000);
  settings.size("body_limit", out.body_limit_bytes, 1024, kGiB);
  settings.duration("heartbeat", out.heartbeat, milliseconds(10), std::chrono::seconds(60));
  settings.duration("watchdog", out.watchdog, milliseconds(20), std::chrono::minutes(10));
  settings.duration("commands_retention", out.commands_retention, std::chrono::minutes(1),
                    std::chrono::hours(8760));
  settings.refuse_unknown();

  check_path(settings, "token_file", out.token_file);
  if (out.spill_directory.empty() || out.spill_directory[0] != '/') {
    settings.fail("spill_directory", "must be an absolute path");
  }
  if (out.watchdog < 2 * out.heartbeat) {
    settings.fail(settings.has("watchdog") ? "watchdog" : "heartbeat",
                  "writer.watchdog (" + duration_text(out.watchdog) +
                      ") must be at least twice writer.heartbeat (" + duration_text(out.heartbeat) +
                      "), or an idle source would be taken for a dead one");
  }
  if (!out.listen.is_loopback() && out.token_file.empty()) {
    settings.fail("listen",
                  out.listen.to_string() +
                      " can be reached from other machines; set writer.token_file to a file of bearer "
                      "tokens, or listen on 127.0.0.1");
  }
  return settings.finish(config);
}

void check_replica(Settings& settings, const ReplicaConfig& out, const std::string& numbers) {
  if (!out.listen.is_loopback() && !out.is_public) {
    settings.fail("listen",
                  out.listen.to_string() +
                      " can be reached from other machines, and a replica asks nobody for a password; "
                      "set replica.public = true if that is meant, or listen on 127.0.0.1");
  }
  check_socket_path(settings, "unix_socket", out.unix_socket_for(9999));
  const Result<ListenAddress> admin = parse_listen_address(out.admin_address.find(':') == std::string::npos
                                                               ? out.admin_address + ":0"
                                                               : "[" + out.admin_address + "]:0");
  if (!admin)
    settings.fail("admin_address", "must be a numeric address without a port, like \"127.0.0.1\" or \"::1\"");
  if (out.default_wait > out.max_wait) {
    settings.fail(settings.has("default_wait") ? "default_wait" : "max_wait",
                  "replica.default_wait (" + duration_text(out.default_wait) +
                      ") is longer than replica.max_wait (" + duration_text(out.max_wait) + ")");
  }
  if (numbers != "number" && numbers != "string")
    settings.fail("numbers", "must be \"number\" or \"string\"");
}

Result<void> read_replica(const toml::table& root, std::string_view source, Config& config) {
  ReplicaConfig& out = config.replica;
  Settings settings(root, "replica", source);
  std::string numbers = "number";
  settings.address("listen", out.listen);
  settings.flag("public", out.is_public);
  settings.text("unix_socket", out.unix_socket);
  settings.number("admin_port", out.admin_port, 0, 65535);
  settings.text("admin_address", out.admin_address);
  settings.flag("busy_poll", out.busy_poll);
  settings.number("max_connections", out.max_connections, 1, 1'000'000);
  settings.duration("idle_timeout", out.idle_timeout, milliseconds(10), std::chrono::hours(24));
  settings.duration("head_timeout", out.head_timeout, milliseconds(10), std::chrono::minutes(5));
  settings.duration("drain_grace", out.drain_grace, milliseconds(0), std::chrono::minutes(5));
  settings.size("head_limit", out.head_limit_bytes, 512, 64 * 1024);
  settings.number("max_keys", out.max_keys, 1, 100'000);
  settings.size("response_limit", out.response_limit_bytes, 4096, 4 * kGiB);
  settings.size("unsent_limit", out.unsent_limit_bytes, kMiB, 1024 * kGiB);
  settings.duration("default_wait", out.default_wait, milliseconds(0), std::chrono::minutes(10));
  settings.duration("max_wait", out.max_wait, milliseconds(0), std::chrono::minutes(10));
  settings.duration("max_staleness", out.max_staleness, milliseconds(100), std::chrono::hours(168));
  settings.text("numbers", numbers);
  settings.refuse_unknown();
  check_replica(settings, out, numbers);
  out.numbers_as_strings = numbers == "string";
  return settings.finish(config);
}

Result<void> check_tables(const toml::table& root, std::string_view source) {
  const std::vector<std::string_view> known{"mysql", "ring", "writer", "replica"};
  for (const auto& [key, node] : root) {
    const std::string where = std::string(source) + ":" + std::to_string(node.source().begin.line) + ": ";
    if (key.str() == "view") {
      return Error{ErrorKind::kUnsupported,
                   where + "views are not supported by this version; remove the [[view]] tables"};
    }
    if (std::find(known.begin(), known.end(), key.str()) == known.end()) {
      const char* kind =
          node.is_table() ? " is not a known table" : " is not a setting; settings stand in tables";
      return invalid(where + quoted(key.str()) + kind + suggestion(key.str(), known));
    }
  }
  return {};
}

// The parser's message may quote the text it stumbled over. In a setting of a password (which may span lines)
// it is left out.
std::string syntax_error_text(std::string_view text, const toml::parse_error& error) {
  const std::size_t error_line = error.source().begin.line;
  std::string_view setting;  // the last line with a '=', up to the error's
  std::size_t line = 1;
  for (std::string_view rest = text; !rest.empty() && line <= error_line; ++line) {
    const std::size_t end = std::min(rest.find('\n'), rest.size() - 1);
    if (rest.substr(0, end).find('=') != std::string_view::npos) setting = rest.substr(0, end);
    rest.remove_prefix(end + 1);
  }
  if (setting.find("password") != std::string_view::npos) {
    return "not valid TOML (a password is set here, so no more is shown); texts stand in double quotes";
  }
  return "not valid TOML: " + std::string(error.description());
}

// A whole file of at most `limit` bytes.
Result<std::string> read_file(const std::string& path, std::string_view purpose, std::size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const std::string what = std::string(purpose) + " " + quoted(path);
  if (!fd) return Error{ErrorKind::kIo, "cannot open the " + what + ": " + errno_text(errno)};
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
    if (size == 0) return text;
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return Error{ErrorKind::kIo, "cannot read the " + what + ": " + errno_text(errno)};
    text.append(buffer.data(), static_cast<std::size_t>(size));
    if (text.size() > limit) {
      return Error{ErrorKind::kLimit, "the " + what + " is longer than " + size_text(limit)};
    }
  }
}

std::string_view without_line_end(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

// One token a line; empty lines and lines that begin with # are passed over. Errors name the line, never the
// token.
Result<std::vector<Secret>> read_tokens(const std::string& path) {
  constexpr std::size_t kShortestToken = 16;
  RINGSIDE_ASSIGN(const std::string text, read_file(path, "file of writer.token_file", kMaxConfigBytes));
  std::vector<Secret> tokens;
  std::size_t line_number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    ++line_number;
    const std::size_t end = std::min(rest.find('\n'), rest.size() - 1);
    const std::string_view line = without_line_end(rest.substr(0, end + 1));
    rest.remove_prefix(end + 1);
    if (line.empty() || line[0] == '#') continue;
    const std::string where = path + ":" + std::to_string(line_number) + ": the token ";
    if (line.size() < kShortestToken) {
      return invalid(where + "is shorter than 16 characters; make one with: openssl rand -hex 32");
    }
    if (!std::all_of(line.begin(), line.end(), [](char c) { return c > 0x20 && c < 0x7f; })) {
      return invalid(where +
                     "holds a space, or what is not visible ASCII; make one with: openssl rand -hex 32");
    }
    tokens.emplace_back(std::string(line));
  }
  if (tokens.empty())
    return invalid(path + " holds no token; write one a line, made with: openssl rand -hex 32");
  return tokens;
}

}  // namespace

Result<Config> parse_config(std::string_view text, std::string_view source_name) {
  toml::table root;
  try {
    root = toml::parse(text, source_name);
  } catch (const toml::parse_error& error) {
    return invalid(std::string(source_name) + ":" + std::to_string(error.source().begin.line) + ": " +
                   syntax_error_text(text, error));
  }
  Config config;
  RINGSIDE_TRY(check_tables(root, source_name));
  RINGSIDE_TRY(read_mysql(root, source_name, config));
  RINGSIDE_TRY(read_ring(root, source_name, config));
  RINGSIDE_TRY(read_writer(root, source_name, config));
  RINGSIDE_TRY(read_replica(root, source_name, config));
  return config;
}

Result<Config> load_config(const std::string& path) {
  RINGSIDE_ASSIGN(const std::string text, read_file(path, "configuration file", kMaxConfigBytes));
  RINGSIDE_ASSIGN(Config config, parse_config(text, path));
  config.file = path;
  return config;
}

std::vector<SettingChange> changed_settings(const Config& before, const Config& after) {
  std::vector<SettingChange> changes;
  // The same settings in the same order, whatever the files say.
  RINGSIDE_ASSERT(before.settings.size() == after.settings.size());
  for (std::size_t i = 0; i < before.settings.size(); ++i) {
    const auto& [name, value] = before.settings[i];
    if (value != after.settings[i].second) changes.push_back({name, value, after.settings[i].second});
  }
  if (!before.mysql.password.equals(after.mysql.password.reveal())) {
    changes.push_back({"mysql.password", "(secret)", "(secret)"});
  }
  return changes;
}

Result<void> prepare_writer(Config& config) {
  MysqlConfig& mysql = config.mysql;
  if (mysql.database.empty()) {
    return invalid(
        "mysql.database is required by the writer: add [mysql] with database = \"…\" to the configuration");
  }
  if (!mysql.password_file.empty()) {
    RINGSIDE_ASSIGN(const std::string text,
                    read_file(mysql.password_file, "file of mysql.password_file", 4096));
    mysql.password = Secret(std::string(without_line_end(text)));
    if (mysql.password.empty())
      return invalid(mysql.password_file + " (mysql.password_file) is empty; write the password into it");
  } else if (const char* from_environment = std::getenv("RINGSIDE_MYSQL_PASSWORD");
             mysql.password.empty() && from_environment != nullptr) {
    mysql.password = Secret(from_environment);
  }
  if (!config.writer.token_file.empty()) {
    RINGSIDE_ASSIGN(config.writer.tokens, read_tokens(config.writer.token_file));
  }
  return {};
}

}  // namespace ringside
