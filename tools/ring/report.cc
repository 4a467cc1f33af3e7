#include "tools/ring/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "http/json_text.h"

namespace ringside::tools {
namespace {

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void put(std::FILE* out, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), out);
}

std::string padded(std::string_view text, std::size_t width, bool is_right) {
  const std::string blanks(width - std::min(width, width_of(text)), ' ');
  return is_right ? blanks + std::string(text) : std::string(text) + blanks;
}

std::string for_people(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

}  // namespace

std::string printable(std::string_view text, std::size_t most) {
  std::string out;
  std::size_t characters = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) != 0x80 && most != 0 && characters++ == most) return out + "…";
    out.push_back(byte < 0x20 || byte == 0x7f ? '?' : c);
  }
  return out;
}

std::string json_text(std::string_view text) {
  std::string out;
  http::append_json_string_lossy(text, out);
  return out;
}

Cell number_cell(std::uint64_t number) {
  return {std::to_string(number), std::to_string(number), true};
}
Cell signed_cell(std::int64_t number) {
  return {std::to_string(number), std::to_string(number), true};
}
Cell hex_cell(std::uint64_t number) {
  const std::string digits = fmt::format("{:016x}", number);
  return {digits, '"' + digits + '"', false};
}
Cell size_cell(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto scaled = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; scaled >= 1024 && unit + 1 < kUnits.size(); ++unit) scaled /= 1024;
  return {unit == 0 ? std::to_string(bytes) : fmt::format("{} ({:.1f} {})", bytes, scaled, kUnits[unit]),
          std::to_string(bytes), true};
}
Cell seconds_cell(std::uint64_t nanoseconds) {
  const std::string seconds = fmt::format("{:.3f}", static_cast<double>(nanoseconds) / 1e9);
  return {seconds + " s", seconds, true};
}
Cell share_cell(std::uint64_t part, std::uint64_t whole) {
  const double share = whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  return {fmt::format("{:.1f} %", share * 100), fmt::format("{:.4f}", share), true};
}
Cell text_cell(std::string_view text) {
  return {printable(text), json_text(text), false};
}
Cell flag_cell(bool is_set) {
  return {is_set ? "yes" : "no", is_set ? "true" : "false", false};
}
Cell no_cell() {
  return {"-", "null", false};
}

void Table::add_row(std::vector<Cell> cells) {
  RINGSIDE_ASSERT(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

void Table::print_text(std::FILE* out, int indent) const {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  std::vector<std::size_t> widths;
  std::vector<bool> is_right;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = width_of(columns_[i]);
    bool has_number = false;
    for (const auto& row : rows_) {
      width = std::max(width, width_of(row[i].text));
      has_number |= row[i].is_number;
    }
    widths.push_back(width);
    is_right.push_back(has_number);
  }
  const auto line = [&](const auto& text_of) {
    std::string text = margin;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) text += "  ";
      text += padded(text_of(i), widths[i], is_right[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    put(out, text + "\n");
  };
  line([&](std::size_t i) { return for_people(columns_[i]); });
  for (const auto& row : rows_) line([&](std::size_t i) { return row[i].text; });
}

void Table::print_json(std::FILE* out) const {
  put(out, "[");
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    put(out, r == 0 ? "\n{" : ",\n{");
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      put(out, (i == 0 ? "" : ",") + json_text(columns_[i]) + ":" + rows_[r][i].json);
    }
    put(out, "}");
  }
  put(out, "]");
}

void Report::add(std::string name, Cell cell) {
  members_.emplace_back(std::move(name), std::move(cell));
}
void Report::add(std::string name, Table table) {
  members_.emplace_back(std::move(name), std::move(table));
}
void Report::add(std::string name, std::vector<Report> reports) {
  members_.emplace_back(std::move(name), Nested{std::move(reports), true});
}
void Report::add(std::string name, Report report) {
  Nested nested;
  nested.reports.push_back(std::move(report));
  members_.emplace_back(std::move(name), std::move(nested));
}

void Report::print_text(std::FILE* out, int indent) const {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  std::size_t width = 0;
  for (const auto& [name, member] : members_) {
    if (std::holds_alternative<Cell>(member)) width = std::max(width, name.size());
  }
  bool is_first = true;
  for (const auto& [name, member] : members_) {
    if (const Cell* cell = std::get_if<Cell>(&member)) {
      put(out, margin + padded(for_people(name), width + 2, false) + cell->text + "\n");
    } else if (const Table* table = std::get_if<Table>(&member)) {
      if (table->is_empty()) continue;
      if (!is_first) put(out, "\n");
      put(out, margin + for_people(name) + ":\n");
      table->print_text(out, indent + 2);
    } else {
      for (const Report& report : std::get_if<Nested>(&member)->reports) {
        if (!is_first) put(out, "\n");
        report.print_text(out, indent);
        is_first = false;
      }
    }
    is_first = false;
  }
}

void Report::print_json(std::FILE* out) const {
  put(out, "{");
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const auto& [name, member] = members_[i];
    put(out, (i == 0 ? "" : ",") + json_text(name) + ":");
    if (const Cell* cell = std::get_if<Cell>(&member)) {
      put(out, cell->json);
    } else if (const Table* table = std::get_if<Table>(&member)) {
      table->print_json(out);
    } else {
      const Nested& nested = *std::get_if<Nested>(&member);
      if (nested.is_list) put(out, "[");
      for (std::size_t r = 0; r < nested.reports.size(); ++r) {
        put(out, r == 0 ? "\n" : ",\n");
        nested.reports[r].print_json(out);
      }
      if (nested.is_list) put(out, "]");
    }
  }
  put(out, "}");
}

}  // namespace ringside::tools
