#include "writer/source/grants.h"

#include <algorithm>

namespace ringside::writer {
namespace {

// "SELECT, INSERT (a, b), CREATE VIEW" → SELECT and CREATE VIEW; what has a column list is left out.
std::set<std::string, std::less<>> parse_privileges(std::string_view text) {
  std::set<std::string, std::less<>> privileges;
  std::string current;
  int depth = 0;
  bool has_columns = false;
  const auto finish = [&] {
    const std::size_t first = current.find_first_not_of(' ');
    const std::size_t last = current.find_last_not_of(' ');
    if (first != std::string::npos && !has_columns)
      privileges.insert(current.substr(first, last - first + 1));
    current.clear();
    has_columns = false;
  };
  for (const char c : text) {
    if (c == '(') {
      ++depth;
      has_columns = true;
    } else if (c == ')') {
      --depth;
    } else if (c == ',' && depth == 0) {
      finish();
    } else if (depth == 0) {
      current.push_back(c);
    }
  }
  finish();
  return privileges;
}

// Takes "*" or a quoted name off the front.
bool take_name(std::string_view& rest, std::string& name) {
  name.clear();
  if (rest.starts_with("*")) {
    name = "*";
    rest.remove_prefix(1);
    return true;
  }
  if (!rest.starts_with("`")) return false;
  rest.remove_prefix(1);
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c != '`') {
      name.push_back(c);
    } else if (rest.starts_with("`")) {
      name.push_back('`');
      rest.remove_prefix(1);
    } else {
      return true;
    }
  }
  return false;
}

}  // namespace

Grants::Grants(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    add(line, "GRANT ", grants_);
    add(line, "REVOKE ", revokes_);
  }
}

void Grants::add(std::string_view line, std::string_view verb, std::vector<Grant>& to) {
  constexpr std::string_view kOn = " ON ";
  if (!line.starts_with(verb)) return;
  line.remove_prefix(verb.size());
  const std::size_t on = line.find(kOn);
  if (on == std::string_view::npos) return;  // a role: its own grants have lines of their own
  const std::string_view privileges = line.substr(0, on);
  line.remove_prefix(on + kOn.size());
  Grant grant;
  std::string table;
  if (!take_name(line, grant.database_pattern) || !line.starts_with(".")) return;
  line.remove_prefix(1);
  if (!take_name(line, table) || table != "*") return;
  grant.privileges = parse_privileges(privileges);
  to.push_back(std::move(grant));
}

bool Grants::Grant::names(std::string_view privilege) const {
  return privileges.contains(privilege) || privileges.contains("ALL PRIVILEGES");
}

bool Grants::has_global(std::string_view privilege) const {
  return std::any_of(grants_.begin(), grants_.end(), [privilege](const Grant& grant) {
    return grant.database_pattern == "*" && grant.names(privilege);
  });
}

bool Grants::has_on_database(std::string_view privilege, std::string_view database) const {
  const bool is_revoked = std::any_of(revokes_.begin(), revokes_.end(), [=](const Grant& revoke) {
    return revoke.database_pattern == database && revoke.names(privilege);
  });
  return std::any_of(grants_.begin(), grants_.end(), [=](const Grant& grant) {
    const bool applies =
        grant.database_pattern == "*" ? !is_revoked : matches_grant_pattern(grant.database_pattern, database);
    return applies && grant.names(privilege);
  });
}

bool matches_grant_pattern(std::string_view pattern, std::string_view database) {
  // The usual greedy matching with one place to go back to: O(pattern × text).
  constexpr std::size_t kNone = std::string_view::npos;
  std::size_t p = 0;
  std::size_t d = 0;
  std::size_t back_p = kNone;
  std::size_t back_d = 0;
  while (d < database.size()) {
    const bool is_escape = p + 1 < pattern.size() && pattern[p] == '\\';
    const char want = p < pattern.size() ? pattern[is_escape ? p + 1 : p] : '\0';
    if (p < pattern.size() && !is_escape && want == '%') {
      back_p = ++p;
      back_d = d;
    } else if (p < pattern.size() && ((!is_escape && want == '_') || want == database[d])) {
      p += is_escape ? 2 : 1;
      ++d;
    } else if (back_p != kNone) {
      p = back_p;
      d = ++back_d;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '%') ++p;
  return p == pattern.size();
}

}  // namespace ringside::writer
