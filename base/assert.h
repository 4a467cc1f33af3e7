// RINGSIDE_ASSERT: a programmer's error ends the process, in release builds as well.
//
// Only for what the code itself guarantees. What comes from outside (a client's bytes, binlog bytes, shared
// memory) is validated and yields a Result, never an assertion.
//
// Threads: any.   Errors: a failed assertion ends the process.
#pragma once

namespace ringside {

// Prints the place and the condition to standard error and aborts.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace ringside

#define RINGSIDE_ASSERT(condition)                   \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::ringside::assertion_failed(#condition, __FILE__, __LINE__))
