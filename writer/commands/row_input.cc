#include "writer/commands/row_input.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/utf8.h"
#include "http/target.h"
#include "shm/key.h"

namespace ringside::writer {
namespace {

namespace ondemand = simdjson::ondemand;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool is_number(std::string_view text) {
  const auto digits = [&text] {
    const auto end = std::find_if_not(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    const auto count = static_cast<std::size_t>(end - text.begin());
    text.remove_prefix(count);
    return count;
  };
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool leading_zero = text.starts_with('0');
  const std::size_t whole = digits();
  if (whole == 0 || (leading_zero && whole > 1)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  return text.empty();
}

constexpr std::string_view kTooDeep = "the body is nested too deeply";
constexpr std::string_view kBadJson = "the body is not valid JSON";

// Reads a value to its end. Empty when it is valid JSON, else what is wrong. On-demand parsing checks only
// what is asked for, hence the walk over everything.
std::string_view check_value(ondemand::value value, int depth) {
  if (depth > kMaxBodyDepth) return kTooDeep;
  ondemand::json_type type{};
  if (value.type().get(type) != simdjson::SUCCESS) return kBadJson;
  switch (type) {
    case ondemand::json_type::object: {
      ondemand::object object;
      if (value.get_object().get(object) != simdjson::SUCCESS) return kBadJson;
      for (auto each : object) {
        ondemand::field field;
        std::string_view name;
        if (std::move(each).get(field) != simdjson::SUCCESS) return kBadJson;
        if (field.unescaped_key().get(name) != simdjson::SUCCESS) return kBadJson;
        if (const auto wrong = check_value(field.value(), depth + 1); !wrong.empty()) return wrong;
      }
      return {};
    }
    case ondemand::json_type::array: {
      ondemand::array array;
      if (value.get_array().get(array) != simdjson::SUCCESS) return kBadJson;
      for (auto each : array) {
        ondemand::value element;
        if (std::move(each).get(element) != simdjson::SUCCESS) return kBadJson;
        if (const auto wrong = check_value(element, depth + 1); !wrong.empty()) return wrong;
      }
      return {};
    }
    case ondemand::json_type::number:
      // The token, not the parsed number: DECIMAL and JSON columns may have more digits than any machine
      // number.
      return is_number(trim(value.raw_json_token())) ? std::string_view() : kBadJson;
    case ondemand::json_type::string: {
      std::string_view text;
      return value.get_string().get(text) == simdjson::SUCCESS ? std::string_view() : kBadJson;
    }
    case ondemand::json_type::boolean: {
      bool flag = false;
      return value.get_bool().get(flag) == simdjson::SUCCESS ? std::string_view() : kBadJson;
    }
    case ondemand::json_type::null: {
      bool is_null = false;
      return value.is_null().get(is_null) == simdjson::SUCCESS && is_null ? std::string_view() : kBadJson;
    }
  }
  return kBadJson;
}

// Precondition: check_value() found it valid, so that nothing below can fail; what does would leave `json`
// empty, and is reported as bad JSON by the caller all the same.
bool read_value(ondemand::value value, const shm::Column& column, JsonValue& json) {
  ondemand::json_type type{};
  if (value.type().get(type) != simdjson::SUCCESS) return false;
  switch (type) {
    case ondemand::json_type::object: {
      json.type = JsonValue::Type::kObject;
      ondemand::object object;
      std::string_view raw;
      if (value.get_object().get(object) != simdjson::SUCCESS) return false;
      if (object.raw_json().get(raw) != simdjson::SUCCESS) return false;
      json.raw = trim(raw);
      return true;
    }
    case ondemand::json_type::array: {
      json.type = JsonValue::Type::kArray;
      ondemand::array array;
      if (value.get_array().get(array) != simdjson::SUCCESS) return false;
      if (column.kind != shm::ValueKind::kSet) {
        std::string_view raw;
        if (array.raw_json().get(raw) != simdjson::SUCCESS) return false;
        json.raw = trim(raw);
        return true;
      }
      for (auto each : array) {
        std::string_view label;
        if (each.get_string().get(label) == simdjson::SUCCESS) {
          json.labels.emplace_back(label);
        } else {
          json.only_strings = false;
        }
      }
      return true;
    }
    case ondemand::json_type::string: {
      json.type = JsonValue::Type::kString;
      json.raw = trim(value.raw_json_token());
      std::string_view text;
      if (value.get_string().get(text) != simdjson::SUCCESS) return false;
      json.text = text;
      return true;
    }
    case ondemand::json_type::number:
      json.type = JsonValue::Type::kNumber;
      break;
    case ondemand::json_type::boolean:
      json.type = JsonValue::Type::kBoolean;
      break;
    case ondemand::json_type::null:
      json.type = JsonValue::Type::kNull;
      break;
  }
  json.raw = trim(value.raw_json_token());
  return true;
}

// The whole document against the grammar, and the names of its members.
Refusal check_document(ondemand::document& document, std::vector<std::string>& names) {
  ondemand::json_type type{};
  ondemand::object root;
  if (document.type().get(type) != simdjson::SUCCESS) return bad_request(std::string(kBadJson));
  if (type != ondemand::json_type::object)
    return bad_request("the body must be a JSON object: column names to values");
  if (document.get_object().get(root) != simdjson::SUCCESS) return bad_request(std::string(kBadJson));
  for (auto each : root) {
    ondemand::field field;
    std::string_view name;
    if (std::move(each).get(field) != simdjson::SUCCESS) return bad_request(std::string(kBadJson));
    if (field.unescaped_key().get(name) != simdjson::SUCCESS) return bad_request(std::string(kBadJson));
    if (const auto wrong = check_value(field.value(), 1); !wrong.empty())
      return bad_request(std::string(wrong));
    names.emplace_back(name);
  }
  // At the end of the document there is no current location any more.
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
    return bad_request("the body has something behind its JSON object");

  std::vector<std::string_view> sorted(names.begin(), names.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) return bad_request(fmt::format("the member '{}' is there twice", *twice));
  return std::nullopt;
}

}  // namespace

Refusal parse_row(const shm::Table& table, std::string_view body, std::vector<ColumnValue>& out) {
  out.clear();
  ondemand::parser parser;
  const simdjson::padded_string padded(body);
  ondemand::document document;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return bad_request(std::string(kBadJson));
  std::vector<std::string> names;
  if (auto refusal = check_document(document, names)) return refusal;

  document.rewind();
  ondemand::object root;
  if (document.get_object().get(root) != simdjson::SUCCESS) return bad_request(std::string(kBadJson));
  const std::vector<shm::Column>& columns = table.shape.columns;
  auto name = names.begin();
  for (auto each : root) {
    const auto column =
        std::find_if(columns.begin(), columns.end(), [&](const auto& c) { return c.name == *name; });
    if (column == columns.end()) return unknown_column(table.name, *name);
    ++name;
    ondemand::field field;
    JsonValue json;
    if (std::move(each).get(field) != simdjson::SUCCESS || !read_value(field.value(), *column, json)) {
      return bad_request(std::string(kBadJson));
    }
    auto value = sql_value_from_json(*column, json);
    if (!value)
      return bad_value(column->name, fmt::format("column '{}' {}", column->name, value.error().message));
    out.push_back({static_cast<std::uint32_t>(column - columns.begin()), std::move(value).value()});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.column < b.column; });
  return std::nullopt;
}

bool percent_decode(std::string_view raw, std::string& out) {
  std::string buffer(raw.size(), '\0');
  std::string_view decoded;
  if (http::percent_decode(raw, http::PlusMeans::kPlus, buffer, decoded) != http::DecodeStatus::kOk)
    return false;
  out.assign(decoded);
  return is_utf8(out);
}

void append_percent_encoded(std::string_view text, std::string& out) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:";
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}",
                     static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
}

Refusal parse_key(const shm::Table& table, std::string_view raw_key, std::vector<ColumnValue>& out) {
  out.clear();
  const auto normalised =
      std::make_unique<shm::KeyBuffer>();  // 8 KiB: too much for a stack that others share
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    const shm::KeyColumn& key = table.key[i];
    const shm::Column& column = table.shape.columns[key.column];
    const bool is_last = i + 1 == table.key.size();
    const std::size_t comma = raw_key.find(',');
    if ((comma == std::string_view::npos) != is_last) {
      return bad_key(
          fmt::format("the key of '{}' has {} parts, separated by commas (a comma inside one is %2C)",
                      table.name, table.key.size()));
    }
    std::string text;
    if (!percent_decode(raw_key.substr(0, comma), text)) {
      return bad_key("the key is not UTF-8 in percent-encoding");
    }
    if (!is_last) raw_key.remove_prefix(comma + 1);

    switch (shm::append_key_from_text(column, key, is_last, text, *normalised)) {
      case shm::KeyStatus::kOk:
        break;
      case shm::KeyStatus::kNotCanonical:
        return bad_key(fmt::format("'{}' is not in the canonical form of column '{}' ({})", text, column.name,
                                   column.sql_type));
      case shm::KeyStatus::kOutOfRange:
      case shm::KeyStatus::kTooLong:
        return missing_row(table.name);
    }
    if (column.kind == shm::ValueKind::kText && !charset_can_hold(column.collation, text)) {
      return missing_row(table.name);
    }
    auto value = sql_value_from_key(column, text);
    if (!value) return bad_key(fmt::format("column '{}' {}", column.name, value.error().message));
    out.push_back({key.column, std::move(value).value()});
  }
  return std::nullopt;
}

}  // namespace ringside::writer
