#include "writer/sql_tokens.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <utility>

#include "writer/charset.h"

namespace ringside::writer {
namespace {

constexpr std::uint64_t kAnsiQuotes = 0x4;
constexpr std::uint64_t kNoBackslashEscapes = 0x100000;

enum class TokenKind : std::uint8_t { kWord, kQuotedName, kString, kSign, kEnd, kBroken };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string_view text;  // of a quoted name: with its quotes still doubled inside
  char quote = 0;         // kQuotedName: which
};

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}
char to_upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
bool equals_word(std::string_view text, std::string_view upper) {
  return text.size() == upper.size() &&
         std::equal(text.begin(), text.end(), upper.begin(), [](char a, char b) { return to_upper(a) == b; });
}

class Tokenizer {
 public:
  Tokenizer(std::string_view sql, std::uint64_t sql_mode) : rest_(sql), sql_mode_(sql_mode) {}

  Token next() {
    if (!skip_to_token()) return broken();
    if (rest_.empty()) return {};
    const char c = rest_.front();
    if (is_word(c)) {
      const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_word);
      return take(TokenKind::kWord, static_cast<std::size_t>(end - rest_.begin()));
    }
    if (c == '`') return quoted(TokenKind::kQuotedName, c, false);
    const bool has_escapes = (sql_mode_ & kNoBackslashEscapes) == 0;
    if (c == '"' && (sql_mode_ & kAnsiQuotes) != 0) return quoted(TokenKind::kQuotedName, c, false);
    if (c == '\'' || c == '"') return quoted(TokenKind::kString, c, has_escapes);
    return take(TokenKind::kSign, 1);
  }

 private:
  Token take(TokenKind kind, std::size_t size) {
    const Token token{kind, rest_.substr(0, size), 0};
    rest_.remove_prefix(size);
    return token;
  }

  // What is broken stays so: nothing behind it can be told apart.
  Token broken() {
    is_broken_ = true;
    return {TokenKind::kBroken, {}, 0};
  }

  Token quoted(TokenKind kind, char quote, bool has_escapes) {
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (has_escapes && rest_[i] == '\\') {
        ++i;
      } else if (rest_[i] == quote) {
        if (i + 1 < rest_.size() && rest_[i + 1] == quote) {
          ++i;
          continue;
        }
        const Token token{kind, rest_.substr(1, i - 1), quote};
        rest_.remove_prefix(i + 1);
        return token;
      }
    }
    return broken();
  }

  void skip_line() {
    const std::size_t end = rest_.find('\n');
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  }

  // The opening of a comment whose inside is text: /*!, /*!50701, /*M!, /*M!100301. Its size; 0 for none.
  std::size_t conditional_opening() const {
    std::size_t size = 0;
    if (rest_.starts_with("/*!")) size = 3;
    if (rest_.starts_with("/*M!")) size = 4;
    if (size == 0) return 0;
    const std::size_t digits = size;
    while (size < rest_.size() && size - digits < 6 && rest_[size] >= '0' && rest_[size] <= '9') ++size;
    return size;
  }

  // Over spaces and comments. False when a comment has no end.
  bool skip_to_token() {
    while (!is_broken_ && !rest_.empty()) {
      if (is_space(rest_.front())) {
        rest_.remove_prefix(1);
      } else if (rest_.front() == '#' ||
                 (rest_.starts_with("--") &&
                  (rest_.size() == 2 || static_cast<unsigned char>(rest_[2]) <= ' ' || rest_[2] == '\x7f'))) {
        skip_line();
      } else if (const std::size_t opening = conditional_opening(); opening != 0) {
        rest_.remove_prefix(opening);
        ++open_conditionals_;
      } else if (rest_.starts_with("/*")) {
        const std::size_t end = rest_.find("*/", 2);
        if (end == std::string_view::npos) return false;
        rest_.remove_prefix(end + 2);
      } else if (open_conditionals_ > 0 && rest_.starts_with("*/")) {
        rest_.remove_prefix(2);
        --open_conditionals_;
      } else {
        return true;
      }
    }
    return !is_broken_ && open_conditionals_ == 0;
  }

  std::string_view rest_;
  std::uint64_t sql_mode_;
  std::size_t open_conditionals_ = 0;
  bool is_broken_ = false;
};

// --- words -------------------------------------------------------------------------------------------------------

bool is_one_of(const Token& token, std::span<const std::string_view> words) {
  return token.kind == TokenKind::kWord &&
         std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return equals_word(token.text, word); });
}
bool is_word_token(const Token& token, std::string_view word) {
  return token.kind == TokenKind::kWord && equals_word(token.text, word);
}
bool is_sign(const Token& token, char sign) {
  return token.kind == TokenKind::kSign && token.text.front() == sign;
}

// Reserved on both servers, so that without quotes they are no names. Only what is frequent: a word that is missing
// here is listed as a name and does no harm.
constexpr auto kReserved = std::to_array<std::string_view>(
    {"ADD",       "ALTER",   "AND",      "AS",         "BETWEEN",   "BIGINT",   "BLOB",     "BY",
     "CASCADE",   "CASE",    "CHANGE",   "CHAR",       "CHECK",     "COLLATE",  "COLUMN",   "CREATE",
     "DATABASE",  "DECIMAL", "DEFAULT",  "DELETE",     "DESC",      "DISTINCT", "DOUBLE",   "DROP",
     "EXISTS",    "FALSE",   "FLOAT",    "FOR",        "FORCE",     "FOREIGN",  "FROM",     "FULLTEXT",
     "GROUP",     "HAVING",  "IF",       "IGNORE",     "IN",        "INDEX",    "INNER",    "INSERT",
     "INT",       "INTO",    "IS",       "JOIN",       "KEY",       "KEYS",     "LEFT",     "LIKE",
     "LIMIT",     "LOAD",    "LONGBLOB", "LONGTEXT",   "MEDIUMINT", "NOT",      "NULL",     "ON",
     "OR",        "ORDER",   "PRIMARY",  "REFERENCES", "RENAME",    "REPLACE",  "RESTRICT", "RIGHT",
     "SCHEMA",    "SELECT",  "SET",      "SMALLINT",   "SPATIAL",   "TABLE",    "THEN",     "TINYINT",
     "TO",        "TRUE",    "UNION",    "UNIQUE",     "UNSIGNED",  "UPDATE",   "USING",    "VALUES",
     "VARBINARY", "VARCHAR", "WHEN",     "WHERE",      "WITH",      "ZEROFILL"});

// Words that can stand between CREATE, ALTER or DROP and what is created.
constexpr auto kModifiers = std::to_array<std::string_view>(
    {"OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "ONLINE", "OFFLINE", "IGNORE", "AGGREGATE"});
// Words that end a long preface (DEFINER=…, ALGORITHM=…, SQL SECURITY …): only things without rows can have one.
constexpr auto kPrefaces = std::to_array<std::string_view>({"DEFINER", "ALGORITHM", "SQL"});

constexpr auto kHarmlessThings = std::to_array<std::string_view>(
    {"VIEW",      "TRIGGER",  "FUNCTION",  "PROCEDURE",  "PACKAGE", "EVENT",   "USER",
     "ROLE",      "SEQUENCE", "SERVER",    "TABLESPACE", "LOGFILE", "UNDO",    "RESOURCE",
     "REFERENCE", "INSTANCE", "TEMPORARY", "PREPARE",    "LIBRARY", "CATALOG", "BINLOG"});

constexpr auto kHarmlessStatements = std::to_array<std::string_view>(
    {"OPTIMIZE", "REPAIR",    "CHECK", "CHECKSUM", "FLUSH",    "GRANT", "REVOKE",   "RESET",     "PURGE",
     "INSTALL",  "UNINSTALL", "LOCK",  "UNLOCK",   "KILL",     "CACHE", "SHUTDOWN", "RESTART",   "USE",
     "BACKUP",   "STOP",      "SHOW",  "EXPLAIN",  "DESCRIBE", "HELP",  "PREPARE",  "DEALLOCATE"});

// CALL, DO and SELECT stand in the binlog only when a function or procedure that they ran has changed rows.
constexpr auto kDmlStatements =
    std::to_array<std::string_view>({"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "MERGE", "CALL", "DO",
                                     "SELECT", "WITH", "VALUES", "TABLE", "EXECUTE"});

class Classifier {
 public:
  Classifier(std::string_view sql, const StatementContext& context, Charset charset)
      : tokens_(sql, context.sql_mode), context_(context), charset_(charset) {}

  Statement run() {
    Statement statement;
    statement.kind = kind();
    const bool has_names = statement.kind == StatementKind::kTableDdl ||
                           statement.kind == StatementKind::kDml ||
                           statement.kind == StatementKind::kDatabaseDdl;
    if (has_names) collect_names(statement.kind == StatementKind::kDatabaseDdl);
    // Also a statement without names has to end properly: otherwise we did not read what the server read.
    while (token_.kind != TokenKind::kEnd && token_.kind != TokenKind::kBroken) advance();
    if (token_.kind == TokenKind::kBroken || is_invalid_ || names_.size() > kMaxNames) return {};
    statement.tables.assign(names_.begin(), names_.end());
    return statement;
  }

 private:
  const Token& advance() { return token_ = tokens_.next(); }
  bool is(std::string_view word) const { return is_word_token(token_, word); }

  StatementKind kind() {
    advance();
    while (is_sign(token_, '(')) advance();
    if (token_.kind == TokenKind::kEnd) return StatementKind::kHarmless;  // nothing but comments
    if (is("BEGIN")) return begin();
    if (is("START")) return start();
    if (is("COMMIT")) return StatementKind::kCommit;
    if (is("ROLLBACK")) return rollback();
    if (is("SAVEPOINT") || is("RELEASE")) return StatementKind::kSavepoint;
    if (is("XA")) return xa();
    if (is("CREATE") || is("ALTER") || is("DROP")) return ddl();
    if (is("RENAME")) return rename();
    if (is("TRUNCATE")) return named(StatementKind::kTableDdl);
    if (is("IMPORT")) return named(StatementKind::kTableDdl);
    if (is("SET")) return set();
    if (is("ANALYZE")) return analyze();
    if (is("CHANGE")) return StatementKind::kHarmless;
    if (is_one_of(token_, kHarmlessStatements)) return StatementKind::kHarmless;
    if (is_one_of(token_, kDmlStatements)) return dml();
    return StatementKind::kUnknown;
  }

  StatementKind named(StatementKind kind) {
    advance();
    return kind;
  }
  StatementKind begin() {
    advance();
    return is("NOT") ? StatementKind::kUnknown : StatementKind::kBegin;  // BEGIN NOT ATOMIC opens a block
  }
  StatementKind start() {
    advance();
    return is("TRANSACTION") ? StatementKind::kBegin : StatementKind::kHarmless;  // START REPLICA
  }
  StatementKind rollback() {
    advance();
    if (is("WORK")) advance();
    return is("TO") ? StatementKind::kRollbackToSavepoint : StatementKind::kRollback;
  }
  StatementKind xa() {
    advance();
    if (is("START") || is("BEGIN")) return StatementKind::kXaStart;
    if (is("END")) return StatementKind::kXaEnd;
    if (is("PREPARE")) return StatementKind::kXaPrepare;
    if (is("COMMIT")) return StatementKind::kXaCommit;
    if (is("ROLLBACK")) return StatementKind::kXaRollback;
    return StatementKind::kUnknown;
  }
  StatementKind ddl() {
    advance();
    while (is_one_of(token_, kModifiers)) advance();
    if (is_one_of(token_, kPrefaces)) return StatementKind::kHarmless;
    if (is("TABLE") || is("TABLES") || is("INDEX")) return named(StatementKind::kTableDdl);
    if (is("DATABASE") || is("SCHEMA")) return named(StatementKind::kDatabaseDdl);
    return is_one_of(token_, kHarmlessThings) ? StatementKind::kHarmless : StatementKind::kUnknown;
  }
  StatementKind rename() {
    advance();
    if (is("TABLE") || is("TABLES")) return named(StatementKind::kTableDdl);
    return is("USER") ? StatementKind::kHarmless : StatementKind::kUnknown;
  }
  StatementKind dml() {
    const bool is_load = is("LOAD");
    advance();
    return is_load && is("INDEX") ? StatementKind::kHarmless : StatementKind::kDml;  // LOAD INDEX INTO CACHE
  }
  StatementKind analyze() {  // MariaDB's ANALYZE UPDATE … runs the statement
    advance();
    while (token_.kind != TokenKind::kEnd && token_.kind != TokenKind::kBroken) {
      if (is("TABLE") || is("TABLES")) return StatementKind::kHarmless;
      if (is_one_of(token_, kDmlStatements)) return dml();
      advance();
    }
    return StatementKind::kUnknown;
  }
  // MariaDB's SET STATEMENT variable = value FOR statement is that statement.
  StatementKind set() {
    advance();
    if (!is("STATEMENT")) return StatementKind::kHarmless;
    int depth = 0;
    while (token_.kind != TokenKind::kEnd && token_.kind != TokenKind::kBroken) {
      if (is_sign(token_, '(')) ++depth;
      if (is_sign(token_, ')')) --depth;
      if (depth == 0 && is("FOR")) return ++nested_ > kMaxNested ? StatementKind::kUnknown : kind();
      advance();
    }
    return StatementKind::kUnknown;
  }

  // --- names ---

  bool is_name() const {
    return token_.kind == TokenKind::kQuotedName ||
           (token_.kind == TokenKind::kWord && (behind_point_ || !is_one_of(token_, kReserved)));
  }

  std::string name_text() {
    std::string raw(token_.text);
    if (token_.kind == TokenKind::kQuotedName) {
      std::string plain;
      for (std::size_t i = 0; i < raw.size(); ++i) {
        plain.push_back(raw[i]);
        if (raw[i] == token_.quote) ++i;  // doubled
      }
      raw = std::move(plain);
    }
    std::string text;
    if (!append_utf8(text, raw, charset_)) is_invalid_ = true;
    return text;
  }

  // Every name and every pair of names with a point between. `a.b.c` gives a, a.b and b.c: one of them is the table.
  void collect_names(bool are_schemas) {
    std::string before;  // the name on the other side of a point
    behind_point_ = false;
    while (token_.kind != TokenKind::kEnd && token_.kind != TokenKind::kBroken &&
           names_.size() <= kMaxNames) {
      if (is_sign(token_, '.')) {
        behind_point_ = true;
      } else if (is_name()) {
        std::string name = name_text();
        if (are_schemas) {
          names_.insert({name, {}});
        } else {
          names_.insert(behind_point_ && !before.empty()
                            ? TableName{before, name}
                            : TableName{std::string(context_.default_schema), name});
        }
        before = std::move(name);
        behind_point_ = false;
      } else {
        before.clear();
        behind_point_ = false;
      }
      advance();
    }
    // ALTER DATABASE without a name means the default one.
    if (are_schemas) names_.insert({std::string(context_.default_schema), {}});
  }

  static constexpr int kMaxNested = 16;

  Tokenizer tokens_;
  const StatementContext& context_;
  Charset charset_;
  Token token_;
  std::set<TableName> names_;
  bool behind_point_ = false;
  bool is_invalid_ = false;
  int nested_ = 0;
};

}  // namespace

std::string_view to_string(StatementKind kind) {
  switch (kind) {
    case StatementKind::kBegin:
      return "BEGIN";
    case StatementKind::kCommit:
      return "COMMIT";
    case StatementKind::kRollback:
      return "ROLLBACK";
    case StatementKind::kSavepoint:
      return "SAVEPOINT";
    case StatementKind::kRollbackToSavepoint:
      return "ROLLBACK TO SAVEPOINT";
    case StatementKind::kXaStart:
      return "XA START";
    case StatementKind::kXaEnd:
      return "XA END";
    case StatementKind::kXaPrepare:
      return "XA PREPARE";
    case StatementKind::kXaCommit:
      return "XA COMMIT";
    case StatementKind::kXaRollback:
      return "XA ROLLBACK";
    case StatementKind::kTableDdl:
      return "table DDL";
    case StatementKind::kDatabaseDdl:
      return "database DDL";
    case StatementKind::kHarmless:
      return "harmless statement";
    case StatementKind::kDml:
      return "rows changed in statement form";
    case StatementKind::kUnknown:
      break;
  }
  return "unknown statement";
}

Statement classify(std::string_view sql, const StatementContext& context) {
  Charset charset =
      context.client_collation == 0 ? Charset::kUtf8mb4 : charset_from_collation_id(context.client_collation);
  const bool is_ascii =
      std::all_of(sql.begin(), sql.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (is_ascii) {
    charset = Charset::kAscii;
  } else if (charset == Charset::kUnsupported || charset == Charset::kBinary) {
    return {};  // in some of them a byte of a character looks like a quote
  }
  return Classifier(sql, context, charset).run();
}

}  // namespace ringside::writer
