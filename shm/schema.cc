#include "shm/schema.h"

#include <array>
#include <utility>

namespace ringside::shm {
namespace {

template <class E, std::size_t N>
std::string_view name_of(const std::array<std::pair<E, std::string_view>, N>& names, E value) {
  for (const auto& [each, name] : names) {
    if (each == value) return name;
  }
  return "unknown";
}
template <class E, std::size_t N>
bool value_of(const std::array<std::pair<E, std::string_view>, N>& names, std::string_view text, E& value) {
  for (const auto& [each, name] : names) {
    if (name == text) {
      value = each;
      return true;
    }
  }
  return false;
}

constexpr std::array<std::pair<ValueKind, std::string_view>, 16> kValueKinds{{
    {ValueKind::kInteger, "integer"},
    {ValueKind::kUnsigned, "unsigned"},
    {ValueKind::kDecimal, "decimal"},
    {ValueKind::kFloat, "float"},
    {ValueKind::kDouble, "double"},
    {ValueKind::kText, "text"},
    {ValueKind::kBinary, "binary"},
    {ValueKind::kDate, "date"},
    {ValueKind::kTime, "time"},
    {ValueKind::kDatetime, "datetime"},
    {ValueKind::kTimestamp, "timestamp"},
    {ValueKind::kYear, "year"},
    {ValueKind::kEnum, "enum"},
    {ValueKind::kSet, "set"},
    {ValueKind::kBit, "bit"},
    {ValueKind::kJson, "json"},
}};
constexpr std::array<std::pair<KeyRule, std::string_view>, 3> kKeyRules{
    {{KeyRule::kOrdered, "ordered"}, {KeyRule::kEqual, "equal"}, {KeyRule::kExact, "exact"}}};
constexpr std::array<std::pair<TableState, std::string_view>, 3> kTableStates{
    {{TableState::kLoading, "loading"},
     {TableState::kLive, "live"},
     {TableState::kQuarantined, "quarantined"}}};

}  // namespace

std::string_view to_string(ValueKind kind) {
  return name_of(kValueKinds, kind);
}
bool from_string(std::string_view name, ValueKind& kind) {
  return value_of(kValueKinds, name, kind);
}
std::string_view to_string(KeyRule rule) {
  return name_of(kKeyRules, rule);
}
bool from_string(std::string_view name, KeyRule& rule) {
  return value_of(kKeyRules, name, rule);
}
std::string_view to_string(TableState state) {
  return name_of(kTableStates, state);
}
bool from_string(std::string_view name, TableState& state) {
  return value_of(kTableStates, name, state);
}

}  // namespace ringside::shm
