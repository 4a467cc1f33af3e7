#include "replica/served_table.h"

#include "base/bytes.h"
#include "http/json_text.h"

namespace ringside::replica {
namespace {

ServedTable::Quote quote_of(const shm::Column& column) {
  switch (column.kind) {
    case shm::ValueKind::kDecimal:
      return ServedTable::Quote::kAlways;
    case shm::ValueKind::kInteger:
    case shm::ValueKind::kUnsigned:
    case shm::ValueKind::kBit:
      return ServedTable::Quote::kWhenLarge;
    default:
      return ServedTable::Quote::kNever;
  }
}

}  // namespace

ServedTable::ServedTable(const shm::Table& description, std::uint64_t history_hash)
    : description_(description) {
  std::vector<std::string_view> names;
  // Everything that decides how a value looks: two hosts with the same text show the same bytes.
  std::string shape_text = std::to_string(history_hash) + '\n' + description_.name + '\n';
  fragment_ends_.push_back(0);
  for (const shm::Column& column : description_.shape.columns) {
    fragments_ += ',';
    http::append_json_string_lossy(column.name, fragments_);
    fragments_ += ':';
    fragment_ends_.push_back(fragments_.size());
    quotes_.push_back(quote_of(column));
    names.push_back(column.name);
    shape_text += column.name + '\n' + column.sql_type + '\n' + column.collation + '\n';
    for (const std::string& label : column.labels) shape_text += label + ',';
  }
  fragments_.append(kSlack, ' ');
  columns_by_name_.build(names);
  representation_hash_ = shm::key_hash(as_bytes(shape_text));
}

}  // namespace ringside::replica
