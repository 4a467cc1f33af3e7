// Asking the processor for a cache line that will be needed soon.
//
// Threads: any.   Ownership: none.   Errors: none: an address that is not mapped does nothing.   No allocation.
#pragma once

namespace ringside {

// The line with this address, for reading. The empty statement keeps the compiler from taking a function that does nothing
// but prefetch for one without any effect: GCC removes the calls of such functions (seen with GCC 12 at -O2).
[[gnu::always_inline]] inline void prefetch_line(const void* address) {
  __builtin_prefetch(address);
  asm volatile("");
}
// For writing.
[[gnu::always_inline]] inline void prefetch_line_to_write(const void* address) {
  __builtin_prefetch(address, 1);
  asm volatile("");
}

}  // namespace ringside
