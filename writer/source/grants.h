// What SHOW GRANTS says a user may do, as far as a source of change is concerned: privileges on everything and on one
// database as a whole. Column and table grants do not count: what is not visible would be missing in silence.
//
// Threads: pure functions and values.   Ownership: values.
// Errors: a line that is not understood grants nothing.   Limits: none of its own.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ringside::writer {

class Grants {
 public:
  // `lines`: the rows of SHOW GRANTS.
  explicit Grants(const std::vector<std::string>& lines);

  // "REPLICATION SLAVE": on *.*, by itself or by ALL PRIVILEGES.
  bool has_global(std::string_view privilege) const;
  // "SELECT" on every table of the database. What is revoked for one database (MySQL's partial_revokes) counts.
  bool has_on_database(std::string_view privilege, std::string_view database) const;

 private:
  struct Grant {
    std::string database_pattern;  // with the server's wildcards and escapes; "*": all
    std::set<std::string, std::less<>> privileges;

    bool names(std::string_view privilege) const;
  };
  void add(std::string_view line, std::string_view verb, std::vector<Grant>& to);

  std::vector<Grant> grants_;
  std::vector<Grant> revokes_;  // out of what is granted on everything; database names, not patterns
};

// The server's pattern of a database grant: % any run, _ any character, \ before a literal one.
bool matches_grant_pattern(std::string_view pattern, std::string_view database);

}  // namespace ringside::writer
