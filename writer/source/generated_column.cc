// is_session_independent(): reads a generated column's expression word by word and accepts nothing it does
// not know.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "writer/source/column_type.h"

namespace ringside::writer {
namespace {

using shm::ValueKind;

// Functions and keywords whose result follows from their arguments alone. Division is missing on purpose: its
// digits depend on div_precision_increment; so are all that read a clock, a time zone, a locale or sql_mode.
constexpr std::array<std::string_view, 62> kKnownWords = {
    "abs",          "and",          "as",         "between",    "bigint",       "binary",
    "case",         "cast",         "ceiling",    "char",       "charset",      "character_length",
    "char_length",  "coalesce",     "collate",    "concat",     "concat_ws",    "crc32",
    "decimal",      "else",         "end",        "false",      "floor",        "from",
    "greatest",     "hex",          "if",         "ifnull",     "in",           "is",
    "json_extract", "json_unquote", "json_valid", "json_value", "lcase",        "least",
    "left",         "length",       "like",       "lower",      "ltrim",        "md5",
    "mod",          "not",          "null",       "nullif",     "octet_length", "or",
    "replace",      "right",        "rtrim",      "sha",        "signed",       "substr",
    "substring",    "then",         "trim",       "true",       "ucase",        "unsigned",
    "upper",        "when",
};

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

bool is_known_word(std::string_view word) {
  const bool is_collation_or_charset = word.starts_with("_utf8") || word.starts_with("_latin1") ||
                                       word.starts_with("utf8") || word.starts_with("latin1") ||
                                       word.starts_with("ascii");
  const bool is_number = std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
  return is_collation_or_charset || is_number ||
         std::find(kKnownWords.begin(), kKnownWords.end(), word) != kKnownWords.end();
}

// Whether a column's value reads the same in every session, also when converted to text or to a number.
bool is_plain(const shm::Column& column) {
  switch (column.kind) {
    case ValueKind::kInteger:
    case ValueKind::kUnsigned:
    case ValueKind::kDecimal:
    case ValueKind::kBit:
    case ValueKind::kYear:
    case ValueKind::kEnum:
    case ValueKind::kSet:
    case ValueKind::kJson:
    case ValueKind::kBinary:
      return true;
    case ValueKind::kText:
      return column.width == 0;  // CHAR: padded or not by sql_mode
    default:
      return false;
  }
}

// The text between quotes, from behind the opening one; `rest` goes behind the closing one.
bool take_quoted(std::string_view& rest, char quote, std::string& text) {
  text.clear();
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == quote && (rest.empty() || rest.front() != quote)) return true;
    const bool is_escape = c == '\\' && quote == '\'';
    if ((c == quote || is_escape) && !rest.empty()) {
      text.push_back(rest.front());
      rest.remove_prefix(1);
    } else {
      text.push_back(c);
    }
  }
  return false;
}

struct Uses {
  bool has_minus = false;
  bool has_unsigned = false;
};

bool check_column(const std::string& name, const std::vector<shm::Column>& columns, Uses& uses,
                  std::string& why_not) {
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&name](const shm::Column& c) { return c.name == name; });
  if (found == columns.end() || !is_plain(*found)) {
    why_not = fmt::format("column `{}`", name);
    return false;
  }
  if (found->kind == ValueKind::kUnsigned) uses.has_unsigned = true;
  return true;
}

bool check_word(std::string_view& rest, std::string& why_not) {
  std::size_t size = 0;
  while (size < rest.size() && is_word_character(rest[size])) ++size;
  std::string word(rest.substr(0, size));
  rest.remove_prefix(size);
  for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (is_known_word(word)) return true;
  why_not = fmt::format("'{}'", word);
  return false;
}

}  // namespace

bool is_session_independent(std::string_view expression, const std::vector<shm::Column>& columns,
                            std::string& why_not) {
  constexpr std::string_view kPlainPunctuation = " \t\n+*%(),=<>!.&|^~";
  std::string_view rest = expression;
  std::string quoted;
  Uses uses;
  while (!rest.empty()) {
    const char c = rest.front();
    if (is_word_character(c)) {
      if (!check_word(rest, why_not)) return false;
      continue;
    }
    rest.remove_prefix(1);
    if (c == '-') {
      uses.has_minus = true;
    } else if (c == '`' || c == '\'') {
      if (!take_quoted(rest, c, quoted)) {
        why_not = "an unfinished quotation";
        return false;
      }
      if (c == '`' && !check_column(quoted, columns, uses, why_not)) return false;
    } else if (kPlainPunctuation.find(c) == std::string_view::npos) {
      why_not = fmt::format("'{}'", c);
      return false;
    }
  }
  // sql_mode NO_UNSIGNED_SUBTRACTION changes the result.
  if (uses.has_minus && uses.has_unsigned) {
    why_not = "a subtraction with an UNSIGNED column";
    return false;
  }
  return true;
}

}  // namespace ringside::writer
