#include "writer/commands/database_errors.h"

#include <fmt/format.h>

#include "writer/commands/session.h"

namespace ringside::writer {
namespace {

ErrorClass classify_number(int number) {
  switch (number) {
    case 1022:  // ER_DUP_KEY
    case 1062:  // ER_DUP_ENTRY
    case 1169:  // ER_DUP_UNIQUE
    case 1586:  // ER_DUP_ENTRY_WITH_KEY_NAME
      return ErrorClass::kDuplicateKey;
    case 1216:  // ER_NO_REFERENCED_ROW
    case 1217:  // ER_ROW_IS_REFERENCED
    case 1451:  // ER_ROW_IS_REFERENCED_2
    case 1452:  // ER_NO_REFERENCED_ROW_2
    case 1761:  // ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO
    case 1762:  // ER_FOREIGN_DUPLICATE_KEY_WITHOUT_CHILD_INFO
      return ErrorClass::kForeignKey;
    case 1048:  // ER_BAD_NULL_ERROR
    case 1264:  // ER_WARN_DATA_OUT_OF_RANGE
    case 1265:  // WARN_DATA_TRUNCATED
    case 1292:  // ER_TRUNCATED_WRONG_VALUE
    case 1300:  // ER_INVALID_CHARACTER_STRING
    case 1364:  // ER_NO_DEFAULT_FOR_FIELD
    case 1366:  // ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
    case 1367:  // ER_ILLEGAL_VALUE_FOR_TYPE
    case 1406:  // ER_DATA_TOO_LONG
    case 1411:  // ER_WRONG_VALUE_FOR_TYPE
    case 1441:  // ER_DATETIME_FUNCTION_OVERFLOW
    case 1525:  // ER_WRONG_VALUE
    case 1644:  // ER_SIGNAL_EXCEPTION: a trigger's own refusal
    case 1690:  // ER_DATA_OUT_OF_RANGE
    case 1906:  // ER_WARNING_NON_DEFAULT_VALUE_FOR_VIRTUAL_COLUMN (MariaDB)
    case 3105:  // ER_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN (MySQL)
    case 3140:  // ER_INVALID_JSON_TEXT (MySQL)
    case 3819:  // ER_CHECK_CONSTRAINT_VIOLATED (MySQL)
    case 4025:  // ER_CONSTRAINT_FAILED (MariaDB)
      return ErrorClass::kBadValue;
    case 1213:  // ER_LOCK_DEADLOCK
      return ErrorClass::kDeadlock;
    case 1205:  // ER_LOCK_WAIT_TIMEOUT
    case 3572:  // ER_LOCK_NOWAIT
      return ErrorClass::kLockWait;
    case 1317:  // ER_QUERY_INTERRUPTED
    case 1969:  // ER_STATEMENT_TIMEOUT (MariaDB)
    case 3024:  // ER_QUERY_TIMEOUT (MySQL)
      return ErrorClass::kInterrupted;
    case 1053:  // ER_SERVER_SHUTDOWN
    case 1077:  // ER_NORMAL_SHUTDOWN
    case 1152:  // ER_ABORTING_CONNECTION
    case 1158:  // ER_NET_READ_ERROR
    case 1159:  // ER_NET_READ_INTERRUPTED
    case 1160:  // ER_NET_ERROR_ON_WRITE
    case 1161:  // ER_NET_WRITE_INTERRUPTED
    case 1184:  // ER_NEW_ABORTING_CONNECTION
    case 1927:  // ER_CONNECTION_KILLED (MariaDB)
    case 2002:  // CR_CONNECTION_ERROR
    case 2003:  // CR_CONN_HOST_ERROR
    case 2006:  // CR_SERVER_GONE_ERROR
    case 2013:  // CR_SERVER_LOST
    case 2014:  // CR_COMMANDS_OUT_OF_SYNC: nothing on this connection can be trusted any more
    case 2026:  // CR_SSL_CONNECTION_ERROR
    case 2027:  // CR_MALFORMED_PACKET
    case 2055:  // CR_SERVER_LOST_EXTENDED
    case 4031:  // ER_CLIENT_INTERACTION_TIMEOUT (MySQL)
      return ErrorClass::kLost;
    case 1223:  // ER_CANT_UPDATE_WITH_READLOCK
    case 1290:  // ER_OPTION_PREVENTS_STATEMENT: --read-only
    case 1792:  // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    case 1836:  // ER_READ_ONLY_MODE
      return ErrorClass::kReadOnly;
    case 1049:  // ER_BAD_DB_ERROR
    case 1054:  // ER_BAD_FIELD_ERROR
    case 1091:  // ER_CANT_DROP_FIELD_OR_KEY
    case 1136:  // ER_WRONG_VALUE_COUNT_ON_ROW
    case 1146:  // ER_NO_SUCH_TABLE
    case 1412:  // ER_TABLE_DEF_CHANGED
    case 1615:  // ER_NEED_REPREPARE
      return ErrorClass::kSchemaChanged;
    case 1153:  // ER_NET_PACKET_TOO_LARGE
    case 2020:  // CR_NET_PACKET_TOO_LARGE
      return ErrorClass::kTooLarge;
    case 1044:  // ER_DBACCESS_DENIED_ERROR
    case 1045:  // ER_ACCESS_DENIED_ERROR
    case 1142:  // ER_TABLEACCESS_DENIED_ERROR
    case 1143:  // ER_COLUMNACCESS_DENIED_ERROR
    case 1227:  // ER_SPECIFIC_ACCESS_DENIED_ERROR
    case 1370:  // ER_PROCACCESS_DENIED_ERROR
      return ErrorClass::kNotAllowed;
    default:
      return ErrorClass::kOther;
  }
}

}  // namespace

ErrorClass classify(const DatabaseError& error) {
  const ErrorClass by_number = classify_number(error.number);
  if (by_number != ErrorClass::kOther) return by_number;
  // The classes of SQLSTATE, for numbers of other servers and versions.
  if (error.sql_state.starts_with("08")) return ErrorClass::kLost;
  if (error.sql_state.starts_with("22")) return ErrorClass::kBadValue;
  if (error.sql_state.starts_with("23")) return ErrorClass::kConstraint;
  if (error.sql_state == "40001") return ErrorClass::kDeadlock;
  if (error.sql_state == "45000") return ErrorClass::kBadValue;
  return ErrorClass::kOther;
}

Answer answer_for(const DatabaseError& error, std::string_view table) {
  const auto problem = [&](unsigned status, std::string_view type, std::string_view title,
                           std::string detail) {
    return make_problem({.status = status,
                         .type = type,
                         .title = title,
                         .detail = std::move(detail),
                         .mysql_error = error.number});
  };
  switch (classify(error)) {
    case ErrorClass::kDuplicateKey:
      return problem(409, "duplicate-key", "A row with this key is there already", error.message);
    case ErrorClass::kForeignKey:
      return problem(409, "foreign-key", "A foreign key does not allow this", error.message);
    case ErrorClass::kConstraint:
      return problem(409, "constraint", "A constraint does not allow this", error.message);
    case ErrorClass::kBadValue:
      return bad_value("", error.message, error.number);
    case ErrorClass::kDeadlock:
    case ErrorClass::kLockWait:
      return unavailable("row-locked", "Other transactions hold the row",
                         "nothing was changed; the command was tried several times: " + error.message, 1,
                         error.number);
    case ErrorClass::kInterrupted:
      return unavailable("interrupted", "The statement was interrupted",
                         "nothing was changed: " + error.message, 1, error.number);
    case ErrorClass::kLost:
      return unavailable("database-unavailable", "The database cannot be reached",
                         "nothing was changed: " + error.message, 1, error.number);
    case ErrorClass::kReadOnly:
      return unavailable("database-read-only", "The database takes no changes",
                         "nothing was changed: " + error.message, 5, error.number);
    case ErrorClass::kSchemaChanged:
      return unavailable("schema-changed", "The table is being changed",
                         fmt::format("nothing was changed; table '{}' is not the one the writer knows: {}",
                                     table, error.message),
                         1, error.number);
    case ErrorClass::kTooLarge:
      return problem(413, "too-large", "The server does not take so much at once",
                     "raise the server's max_allowed_packet, or send less: " + error.message);
    case ErrorClass::kNotAllowed:
      return problem(
          500, "not-allowed", "The writer's database user lacks a privilege",
          "GRANT SELECT, INSERT, UPDATE, DELETE on the database, and on `ringside`.*, to mysql.user: " +
              error.message);
    case ErrorClass::kOther:
      break;
  }
  return problem(500, "database-error", "The database refused the statement", error.message);
}

}  // namespace ringside::writer
