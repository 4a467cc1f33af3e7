// Asking the processor for a cache line that will be needed soon.
//
// Threads: any.   Ownership: none.   Errors: none: an address that is not mapped does nothing.   No allocation.
#pragma once

namespace ringside {

// The line with this address, for reading. The empty statement keeps the compiler from taking a function that does nothing
// but prefetch for one without any effect: GCC removes the calls of such functions (seen with GCC 12 at -O2).
[[gnu::always_inline]] inline void prefetch_line(const void* address) {
  __builtin_prefetch(address);
  asm("");
}
// For writing: no other core holds it any more when it comes. (GCC makes a prefetch for reading of it unless it is told that
// the processor has PREFETCHW, which older ones take for nothing to do.)
[[gnu::always_inline]] inline void prefetch_line_to_write(const void* address) {
#if defined(__x86_64__)
  asm("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, 1);
  asm("");
#endif
}

}  // namespace ringside
