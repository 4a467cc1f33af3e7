// errno's text, without strerror's shared buffer.
//
// Threads: any.   Errors: none.
#pragma once

#include <string>
#include <system_error>

namespace ringside::bench {

inline std::string errno_text(int error) {
  return std::error_code(error, std::generic_category()).message();
}

}  // namespace ringside::bench
