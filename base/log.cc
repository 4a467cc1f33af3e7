#include "base/log.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>

#include "base/utf8.h"

namespace ringside {
namespace {

LogFormat g_format = LogFormat::kText;  // written by init_logging only, before other threads start
std::once_flag g_default_once;

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  RINGSIDE_ASSERT(false);
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  RINGSIDE_ASSERT(false);
}

enum class Quotes { kEscape, kKeep };

// A JSON string's inside, of whatever bytes: what is not UTF-8 becomes U+FFFD, so that the line stays
// readable. A text line's message keeps its quotes, but not its control characters: they could forge a line.
void append_escaped(std::string& out, std::string_view text, Quotes quotes) {
  constexpr char kHex[] = "0123456789abcdef";
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const std::size_t length = utf8_sequence_length(text);
    if (length == 0) {
      out += "\\ufffd";
    } else if (quotes == Quotes::kEscape && (byte == '"' || byte == '\\')) {
      out += '\\';
      out += text[0];
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 0x0f];
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_escaped(out, text, Quotes::kEscape);
  out += '"';
}

// A value of a text line is quoted when it could be taken for more than one word, or could break the line.
bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == '"' || c == '=' || c == '\\' || c == 0x7f) return true;
  }
  return false;
}

void append_value(std::string& out, LogFormat format, const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    if (format == LogFormat::kJson || needs_quotes(*text)) {
      append_quoted(out, *text);
    } else {
      out += *text;
    }
  } else if (const auto* flag = std::get_if<bool>(&field.value)) {
    out += *flag ? "true" : "false";
  } else if (const auto* real = std::get_if<double>(&field.value)) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, *real).ptr;
    if (std::isfinite(*real)) {
      out.append(buffer, end);
    } else {
      append_quoted(out, {buffer, static_cast<std::size_t>(end - buffer)});  // JSON has no such numbers
    }
  } else if (const auto* signed_number = std::get_if<std::int64_t>(&field.value)) {
    out += std::to_string(*signed_number);
  } else {
    out += std::to_string(std::get<std::uint64_t>(field.value));
  }
}

std::string now_text(std::chrono::system_clock::time_point now) {
  const auto since_epoch = now.time_since_epoch();
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count() % 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char buffer[64];
  const std::size_t size = std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string text(buffer, size);
  text += '.';
  text += static_cast<char>('0' + milliseconds / 100);
  text += static_cast<char>('0' + milliseconds / 10 % 10);
  text += static_cast<char>('0' + milliseconds % 10);
  text += 'Z';
  return text;
}

// Puts the time and the frame around a body that format_log_body() has made.
class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    std::string line;
    const std::string_view body(message.payload.data(), message.payload.size());
    if (format_ == LogFormat::kJson) {
      line.append("{\"time\":\"").append(now_text(message.time)).append("\",").append(body).append("}\n");
    } else {
      line.append(now_text(message.time)).append(" ").append(body).append("\n");
    }
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_);
  }

 private:
  LogFormat format_;
};

std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance;
  return instance;
}

void install(LogFormat format, LogLevel level) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto made = std::make_shared<spdlog::logger>("ringside", std::move(sink));
  made->set_formatter(std::make_unique<LineFormatter>(format));
  made->set_level(to_spdlog(level));
  made->flush_on(spdlog::level::trace);
  g_format = format;
  logger() = std::move(made);
}

}  // namespace

Result<LogFormat> parse_log_format(std::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return Error{ErrorKind::kInvalid,
               "the log format '" + std::string(text) + "' is not known: use text or json"};
}

Result<LogLevel> parse_log_level(std::string_view text) {
  for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (text == level_name(level)) return level;
  }
  return Error{ErrorKind::kInvalid,
               "the log level '" + std::string(text) + "' is not known: use debug, info, warning or error"};
}

void init_logging(LogFormat format, LogLevel level) {
  // Uses up the once-flag, so that the first line does not put the default back.
  std::call_once(g_default_once, [] {});
  install(format, level);
}

void log_line(LogLevel level, std::string_view message, LogFields fields) {
  std::call_once(g_default_once, [] { install(LogFormat::kText, LogLevel::kInfo); });
  if (!logger()->should_log(to_spdlog(level))) return;
  const std::string body = format_log_body(g_format, level, message, fields);
  logger()->log(to_spdlog(level), spdlog::string_view_t(body.data(), body.size()));
}

std::string format_log_body(LogFormat format, LogLevel level, std::string_view message, LogFields fields) {
  std::string body;
  if (format == LogFormat::kJson) {
    body.append("\"level\":\"").append(level_name(level)).append("\",\"message\":");
    append_quoted(body, message);
    for (const LogField& field : fields) {
      body += ',';
      append_quoted(body, field.name);
      body += ':';
      append_value(body, format, field);
    }
    return body;
  }
  body.append(level_name(level)).append(" ");
  append_escaped(body, message, Quotes::kKeep);
  for (const LogField& field : fields) {
    body.append(" ").append(field.name).append("=");
    append_value(body, format, field);
  }
  return body;
}

}  // namespace ringside
