// What a subcommand has found, as people read it and as JSON: named values, tables and lists of further reports, in
// order.
//
//   text:  capture state    streaming          JSON:  {"capture_state":"streaming",
//          slot  run                                   "segments":[{"slot":3,"run":1}]}
//             3    1
//
// A name is JSON's; people read it with spaces for underscores. Whatever comes from a ring is outside input: control
// characters do not reach a terminal, and what is not UTF-8 becomes U+FFFD in JSON.
//
// Threads: values.   Ownership: owns all it holds.   Errors: none; print_* leave it to the stream to remember.
// Limits: held in memory until printed: for what has a bounded number of lines, not for rows.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ringside::tools {

struct Cell {
  std::string text;  // for people
  std::string json;  // one JSON value
  bool is_number = false;
};
Cell number_cell(std::uint64_t number);
Cell signed_cell(std::int64_t number);
Cell hex_cell(std::uint64_t number);  // 16 digits; a text in JSON, whose numbers are doubles to many
Cell size_cell(std::uint64_t bytes);  // "8388608 (8.0 MiB)"; a number in JSON
Cell seconds_cell(std::uint64_t nanoseconds);
Cell share_cell(std::uint64_t part, std::uint64_t whole);  // "42.1 %"; 0.421 in JSON. None of nothing: 0
Cell text_cell(std::string_view text);
Cell flag_cell(bool is_set);  // yes, no
Cell no_cell();               // "-"; null in JSON

// `text` without control characters, and cut to `most` characters (0: whole) with "…" behind.
std::string printable(std::string_view text, std::size_t most = 0);
// As a JSON string.
std::string json_text(std::string_view text);

class Table {
 public:
  explicit Table(std::vector<std::string> columns) : columns_(std::move(columns)) {}
  // Precondition: as many cells as columns.
  void add_row(std::vector<Cell> cells);
  bool is_empty() const { return rows_.empty(); }

 private:
  friend class Report;
  void print_text(std::FILE* out, int indent) const;
  void print_json(std::FILE* out) const;

  std::vector<std::string> columns_;
  std::vector<std::vector<Cell>> rows_;
};

class Report {
 public:
  void add(std::string name, Cell cell);
  void add(std::string name, Table table);
  // Each one an object; people see them one below the other.
  void add(std::string name, std::vector<Report> reports);
  void add(std::string name, Report report);

  void print_text(std::FILE* out) const { print_text(out, 0); }
  void print_json(std::FILE* out) const;

 private:
  struct Nested {
    std::vector<Report> reports;
    bool is_list = false;
  };
  using Member = std::variant<Cell, Table, Nested>;
  void print_text(std::FILE* out, int indent) const;

  std::vector<std::pair<std::string, Member>> members_;
};

}  // namespace ringside::tools
