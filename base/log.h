// Logging: one line an event, on standard error, as text for people or as JSON objects for machines.
//
//   log_info("replica is ready", {{"version", 42}, {"rows", rows}});
//   2026-01-08T10:00:00.123Z info replica is ready version=42 rows=63000
//   {"time":"2026-01-08T10:00:00.123Z","level":"info","message":"replica is ready","version":42,"rows":63000}
//
// Not for the hot path: a line costs a lock and a system call. Never hand it a Secret's text.
//
// Threads: any, after init_logging().   Ownership: nothing is kept.
// Errors: none reach the caller; a line that cannot be written is lost.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace ringside {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };

// "text" or "json"; "debug", "info", "warning", "error".
Result<LogFormat> parse_log_format(std::string_view text);
Result<LogLevel> parse_log_level(std::string_view text);

// Call once, before other threads start. Without it: text, from kInfo on.
void init_logging(LogFormat format, LogLevel level);

// A named value of a line. Views must live until the call returns.
struct LogField {
  template <std::integral T>
  LogField(std::string_view field_name, T number) : name(field_name) {
    if constexpr (std::same_as<T, bool>) {
      value = number;
    } else if constexpr (std::unsigned_integral<T>) {
      value = std::uint64_t{number};
    } else {
      value = std::int64_t{number};
    }
  }
  LogField(std::string_view field_name, double number) : name(field_name), value(number) {}
  LogField(std::string_view field_name, std::string_view text) : name(field_name), value(text) {}
  LogField(std::string_view field_name, const char* text) : name(field_name), value(std::string_view(text)) {}
  LogField(std::string_view field_name, const std::string& text)
      : name(field_name), value(std::string_view(text)) {}

  std::string_view name;
  std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool> value;
};
using LogFields = std::initializer_list<LogField>;

void log_line(LogLevel level, std::string_view message, LogFields fields);

inline void log_debug(std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kDebug, message, fields);
}
inline void log_info(std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kInfo, message, fields);
}
inline void log_warning(std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kWarning, message, fields);
}
inline void log_error(std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kError, message, fields);
}

// What log_line() writes, without time and line end; for tests. `text` is the rest of a text line after the
// time, a JSON object's members after "time" otherwise.
std::string format_log_body(LogFormat format, LogLevel level, std::string_view message, LogFields fields);

}  // namespace ringside
