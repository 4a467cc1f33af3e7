// Commands on any bytes. The first byte chooses: a body, a key in a path, or a request's head.
//
// What is refused is answered with a problem of the 400s that is JSON. A body's values, printed in the ring's form and
// sent again, are the same values; a key that is taken is one that a replica takes as well.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/assert.h"
#include "http/json_text.h"
#include "http/request_parser.h"
#include "shm/key.h"
#include "writer/commands/request_routes.h"
#include "writer/commands/row_input.h"
#include "writer/commands/sql_value.h"
#include "writer/value_json.h"

namespace {

using namespace ringside;
using namespace ringside::writer;
using shm::Column;
using shm::ValueKind;

Column column(std::string name, ValueKind kind, std::uint32_t width = 0, std::uint8_t precision = 0,
              std::uint8_t scale = 0) {
  Column made;
  made.name = std::move(name);
  made.kind = kind;
  made.sql_type = "a type";
  made.nullable = true;
  made.width = width;
  made.precision = precision;
  made.scale = scale;
  if (kind == ValueKind::kText) made.collation = "utf8mb4_bin";
  if (kind == ValueKind::kEnum || kind == ValueKind::kSet) {
    made.labels = {"small", "2",
                   "gr\xc3\xb6\xc3\x9f"
                   "er"};
    made.collation = "utf8mb4_bin";
  }
  return made;
}

// One of every kind.
shm::Table make_table() {
  shm::Table table;
  table.name = "things";
  table.state = shm::TableState::kLive;
  table.shape.columns = {column("i", ValueKind::kInteger, 4),
                         column("u", ValueKind::kUnsigned, 8),
                         column("d", ValueKind::kDecimal, 0, 10, 3),
                         column("f", ValueKind::kFloat),
                         column("r", ValueKind::kDouble),
                         column("t", ValueKind::kText),
                         column("b", ValueKind::kBinary, 6),
                         column("a", ValueKind::kDate),
                         column("m", ValueKind::kTime, 0, 0, 3),
                         column("w", ValueKind::kDatetime, 0, 0, 6),
                         column("s", ValueKind::kTimestamp, 0, 0, 0),
                         column("y", ValueKind::kYear),
                         column("e", ValueKind::kEnum),
                         column("l", ValueKind::kSet),
                         column("n", ValueKind::kBit, 13),
                         column("j", ValueKind::kJson)};
  return table;
}

void set_key(shm::Table& table, std::initializer_list<std::uint32_t> columns) {
  table.key.clear();
  for (const std::uint32_t each : columns)
    table.key.push_back(shm::make_key_column(each, table.shape.columns[each]));
}

void check_json(std::string_view text) {
  std::string copy;
  RINGSIDE_ASSERT(append_json(copy, text) == ValueStatus::kOk);
}

void check_refusal(const Answer& answer) {
  RINGSIDE_ASSERT(answer.status >= 400 && answer.status < 500 && answer.is_problem);
  check_json(answer.body);
}

void check_body(const shm::Table& table, std::string_view body) {
  std::vector<ColumnValue> values;
  if (const Refusal refusal = parse_row(table, body, values)) return check_refusal(*refusal);
  std::string again = "{";
  std::vector<ColumnValue> expected;
  for (const ColumnValue& each : values) {
    RINGSIDE_ASSERT(each.column < table.shape.columns.size());
    RINGSIDE_ASSERT(&each == values.data() || each.column > (&each - 1)->column);
    const Column& of = table.shape.columns[each.column];
    std::string json;
    append_json_of(of, each.value, json);
    check_json(json);
    if (of.kind == ValueKind::kSet) continue;  // printed by its number, taken by its labels
    if (again.size() > 1) again += ',';
    RINGSIDE_ASSERT(http::append_json_string(of.name, again));
    again += ':' + json;
    expected.push_back(each);
  }
  std::vector<ColumnValue> reread;
  RINGSIDE_ASSERT(!parse_row(table, again + "}", reread));
  RINGSIDE_ASSERT(reread == expected);
}

void check_key(const shm::Table& table, std::string_view raw) {
  std::vector<ColumnValue> values;
  if (const Refusal refusal = parse_key(table, raw, values)) return check_refusal(*refusal);
  RINGSIDE_ASSERT(values.size() == table.key.size());
  shm::KeyBuffer key;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Column& of = table.shape.columns[values[i].column];
    std::string json;
    append_json_of(of, values[i].value, json);
    check_json(json);
    std::string text;
    const std::size_t comma = raw.find(',');
    RINGSIDE_ASSERT(percent_decode(raw.substr(0, comma), text));
    const auto status = shm::append_key_from_text(of, table.key[i], i + 1 == values.size(), text, key);
    RINGSIDE_ASSERT(status == shm::KeyStatus::kOk || status == shm::KeyStatus::kTooLong);
    raw = comma == std::string_view::npos ? std::string_view() : raw.substr(comma + 1);
  }
}

void check_head(std::string_view text) {
  http::Request request;
  http::RequestParser parser;
  if (parser.parse(text, 8192, request) != http::ParseStatus::kComplete) return;
  static const std::vector<Secret> tokens = {Secret("0123456789abcdef")};
  for (const bool has_tokens : {false, true}) {
    const ListenAddress listen{"127.0.0.1", 7070, false};
    const auto found = find_route(
        request, {listen, has_tokens ? std::span<const Secret>(tokens) : std::span<const Secret>()});
    if (const auto* answer = std::get_if<Answer>(&found)) {
      RINGSIDE_ASSERT(answer->status == 501 || answer->status < 500);
      RINGSIDE_ASSERT(answer->status >= 200);
      continue;
    }
    const Route& route = std::get<Route>(found);
    RINGSIDE_ASSERT(route.kind != Route::Kind::kCommand || !route.raw_table.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 16384) return 0;
  static shm::Table table = make_table();
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case '1':
      set_key(table, {1});
      check_key(table, text);
      break;
    case '2':
      set_key(table, {5, 2});
      check_key(table, text);
      break;
    case '3':
      set_key(table, {6, 12, 7, 0});
      check_key(table, text);
      break;
    case '4':
      set_key(table, {8, 9, 10, 11, 14});
      check_key(table, text);
      break;
    case 'h':
      check_head(text);
      break;
    default:
      check_body(table, text);
  }
  return 0;
}
