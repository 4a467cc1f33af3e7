#include "shm/catalogue.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <iterator>
#include <unordered_set>

#include "base/utf8.h"
#include "shm/record.h"

namespace ringside::shm {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

void append_string(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const char c = text.front();
    const auto byte = static_cast<unsigned char>(c);
    const std::size_t length = utf8_sequence_length(text);
    if (length == 0) {
      out += kReplacement;
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  out.push_back('"');
}

void append_member(std::string& out, std::string_view name, std::string_view text) {
  if (out.back() != '{') out.push_back(',');
  append_string(out, name);
  out.push_back(':');
  append_string(out, text);
}

void append_member(std::string& out, std::string_view name, std::uint64_t number) {
  fmt::format_to(std::back_inserter(out), "{}\"{}\":{}", out.back() == '{' ? "" : ",", name, number);
}

void append_column(std::string& out, const Column& column) {
  out.push_back('{');
  append_member(out, "name", column.name);
  append_member(out, "kind", to_string(column.kind));
  append_member(out, "sql_type", column.sql_type);
  append_member(out, "collation", column.collation);
  append_member(out, "nullable", column.nullable ? 1 : 0);
  append_member(out, "width", column.width);
  append_member(out, "precision", column.precision);
  append_member(out, "scale", column.scale);
  if (!column.labels.empty()) {
    out += ",\"labels\":[";
    for (std::size_t i = 0; i < column.labels.size(); ++i) {
      if (i > 0) out.push_back(',');
      append_string(out, column.labels[i]);
    }
    out.push_back(']');
  }
  out.push_back('}');
}

void append_table(std::string& out, const Table& table) {
  out.push_back('{');
  append_member(out, "id", table.id.value());
  append_member(out, "name", table.name);
  append_member(out, "state", to_string(table.state));
  append_member(out, "reason", table.reason);
  append_member(out, "key_name", table.key_name);
  append_member(out, "shape", table.shape.id.value());
  out += ",\"key\":[";
  for (std::size_t i = 0; i < table.key.size(); ++i) {
    out += i > 0 ? ",{" : "{";
    append_member(out, "column", table.key[i].column);
    append_member(out, "rule", to_string(table.key[i].rule));
    append_member(out, "pad_space", table.key[i].pad_space ? 1 : 0);
    out.push_back('}');
  }
  out += "],\"columns\":[";
  for (std::size_t i = 0; i < table.shape.columns.size(); ++i) {
    if (i > 0) out.push_back(',');
    append_column(out, table.shape.columns[i]);
  }
  out += "]}";
}

// Reads members; remembers whether all were there and in range, so that a whole object is read before one
// asks.
class Fields {
 public:
  explicit Fields(simdjson::dom::object object) : object_(object) {}

  std::uint64_t number(const char* name, std::uint64_t max) {
    std::uint64_t value = 0;
    if (object_[name].get_uint64().get(value) != simdjson::SUCCESS || value > max) fail(name);
    return value;
  }
  std::string text(const char* name) {
    std::string_view value;
    if (object_[name].get_string().get(value) != simdjson::SUCCESS) fail(name);
    return std::string(value);
  }
  // The objects of an array; none, and failed, when it is missing or holds anything else.
  std::vector<simdjson::dom::object> objects(const char* name) {
    std::vector<simdjson::dom::object> all;
    simdjson::dom::array value;
    if (object_[name].get_array().get(value) != simdjson::SUCCESS) {
      fail(name);
      return all;
    }
    for (const simdjson::dom::element element : value) {
      simdjson::dom::object each;
      if (element.get_object().get(each) != simdjson::SUCCESS) fail(name);
      all.push_back(each);
    }
    return failed_.empty() ? all : std::vector<simdjson::dom::object>();
  }
  std::vector<std::string> texts(const char* name) {
    std::vector<std::string> all;
    simdjson::dom::array value;
    if (object_[name].get_array().get(value) != simdjson::SUCCESS) {
      fail(name);
      return all;
    }
    for (const simdjson::dom::element element : value) {
      std::string_view text;
      if (element.get_string().get(text) != simdjson::SUCCESS) fail(name);
      all.emplace_back(text);
    }
    return all;
  }
  template <class E>
  E choice(const char* name) {
    E value{};
    if (!from_string(text(name), value)) fail(name);
    return value;
  }
  bool has(const char* name) const { return object_[name].error() == simdjson::SUCCESS; }

  const std::string& failed() const { return failed_; }

 private:
  void fail(const char* name) {
    if (failed_.empty()) failed_ = name;
  }

  simdjson::dom::object object_;
  std::string failed_;
};

Error malformed(std::string_view where, std::string_view what) {
  return Error{ErrorKind::kCorrupt, fmt::format("catalogue: {}: {} is missing or out of range", where, what)};
}

Result<Column> parse_column(simdjson::dom::object object) {
  Fields fields(object);
  Column column;
  column.name = fields.text("name");
  column.kind = fields.choice<ValueKind>("kind");
  column.sql_type = fields.text("sql_type");
  column.collation = fields.text("collation");
  column.nullable = fields.number("nullable", 1) != 0;
  column.width = static_cast<std::uint32_t>(fields.number("width", 0xffffffffu));
  column.precision = static_cast<std::uint8_t>(fields.number("precision", 255));
  column.scale = static_cast<std::uint8_t>(fields.number("scale", 255));
  if (fields.has("labels")) column.labels = fields.texts("labels");
  if (!fields.failed().empty()) return malformed("column " + column.name, fields.failed());
  return column;
}

Result<Table> parse_table(simdjson::dom::object object) {
  Fields fields(object);
  Table table;
  table.id = TableId(static_cast<std::uint32_t>(fields.number("id", 0xffffffffu)));
  table.name = fields.text("name");
  table.state = fields.choice<TableState>("state");
  table.reason = fields.text("reason");
  table.key_name = fields.text("key_name");
  table.shape.id = ShapeId(static_cast<std::uint32_t>(fields.number("shape", 0xffffffffu)));
  for (const simdjson::dom::object each : fields.objects("columns")) {
    RINGSIDE_ASSIGN(Column column, parse_column(each));
    table.shape.columns.push_back(std::move(column));
  }
  if (table.shape.columns.size() > kMaxColumns) return malformed("table " + table.name, "columns");
  for (const simdjson::dom::object each : fields.objects("key")) {
    Fields part(each);
    KeyColumn key;
    key.column = static_cast<std::uint32_t>(part.number("column", kMaxColumns));
    key.rule = part.choice<KeyRule>("rule");
    key.pad_space = part.number("pad_space", 1) != 0;
    if (!part.failed().empty() || key.column >= table.shape.columns.size()) {
      return malformed("table " + table.name, "key");
    }
    table.key.push_back(key);
  }
  if (!fields.failed().empty()) return malformed("table " + table.name, fields.failed());
  if (table.name.empty()) return malformed("a table", "name");
  if (table.id.value() == 0) return malformed("table " + table.name, "id");
  if (table.shape.id.value() == 0) return malformed("table " + table.name, "shape");
  if (table.state != TableState::kQuarantined && table.key.empty())
    return malformed("table " + table.name, "key");
  return table;
}

}  // namespace

const Table* Catalogue::find(TableId id) const {
  const auto found =
      std::find_if(tables.begin(), tables.end(), [&](const Table& table) { return table.id == id; });
  return found == tables.end() ? nullptr : &*found;
}

const Table* Catalogue::find(std::string_view name) const {
  const Table* newest = nullptr;
  for (const Table& table : tables) {
    if (table.name == name && (newest == nullptr || newest->id < table.id)) newest = &table;
  }
  return newest;
}

std::string valid_utf8(std::string_view text, std::size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    const std::string_view next = length == 0 ? kReplacement : text.substr(0, length);
    if (out.size() + next.size() > max_bytes) break;
    out += next;
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string catalogue_to_json(const Catalogue& catalogue) {
  std::string out = "{";
  append_member(out, "format", 1);
  append_member(out, "generation", catalogue.generation);
  append_member(out, "next_table", catalogue.next_table);
  append_member(out, "next_shape", catalogue.next_shape);
  append_member(out, "history", catalogue.history);
  append_member(out, "database", catalogue.database);
  out += ",\"tables\":[";
  for (std::size_t i = 0; i < catalogue.tables.size(); ++i) {
    out += i > 0 ? ",\n" : "\n";
    append_table(out, catalogue.tables[i]);
  }
  out += "\n]}";
  return out;
}

Result<Catalogue> parse_catalogue(std::string_view json) {
  if (json.empty()) return Error{ErrorKind::kCorrupt, "catalogue: it is empty"};
  simdjson::dom::parser parser(kMaxCatalogueBytes + simdjson::SIMDJSON_PADDING);
  simdjson::dom::object root;
  if (const auto error = parser.parse(json.data(), json.size()).get_object().get(root);
      error != simdjson::SUCCESS) {
    return Error{ErrorKind::kCorrupt, fmt::format("catalogue: {}", simdjson::error_message(error))};
  }
  Fields fields(root);
  if (fields.number("format", 1) != 1) return malformed("the whole", "format");
  Catalogue catalogue;
  catalogue.generation = fields.number("generation", ~std::uint64_t{0});
  catalogue.next_table = static_cast<std::uint32_t>(fields.number("next_table", ~std::uint32_t{0}));
  catalogue.next_shape = static_cast<std::uint32_t>(fields.number("next_shape", ~std::uint32_t{0}));
  catalogue.history = fields.text("history");
  catalogue.database = fields.text("database");
  std::unordered_set<TableId> ids;
  for (const simdjson::dom::object each : fields.objects("tables")) {
    RINGSIDE_ASSIGN(Table table, parse_table(each));
    if (!ids.insert(table.id).second) return malformed("table " + table.name, "an id of its own");
    catalogue.tables.push_back(std::move(table));
  }
  if (!fields.failed().empty()) return malformed("the whole", fields.failed());
  return catalogue;
}

}  // namespace ringside::shm
