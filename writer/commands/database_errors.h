// What a server's error number means for a command: whether to try again, and what to answer.
//
// Threads: pure functions.   Ownership: values.   Errors: an unknown number is ErrorClass::kOther.
#pragma once

#include <cstdint>
#include <string_view>

#include "writer/commands/answer.h"

namespace ringside::writer {

struct DatabaseError;

enum class ErrorClass : std::uint8_t {
  kDuplicateKey,   // 409
  kForeignKey,     // 409
  kConstraint,     // 409: another rule about rows beside each other
  kBadValue,       // 422
  kDeadlock,       // tried again, then 503
  kLockWait,       // tried again, then 503
  kInterrupted,    // the statement was killed, the session lives: tried again, then 503
  kLost,           // the connection is gone: tried again, then 503
  kReadOnly,       // 503
  kSchemaChanged,  // the table is not what capture knows (yet): 503
  kTooLarge,       // 413: the server's max_allowed_packet
  kNotAllowed,     // 500: the writer's user lacks a privilege
  kOther,          // 500
};

ErrorClass classify(const DatabaseError& error);

// The answer for an error of a statement on `table`. The transaction has been rolled back, or will be.
Answer answer_for(const DatabaseError& error, std::string_view table);

}  // namespace ringside::writer
