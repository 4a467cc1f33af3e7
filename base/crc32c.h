// CRC-32C (Castagnoli), the checksum of everything in shared memory.
//
// Reflected polynomial 0x82f63b78, initial value and final xor 0xffffffff (RFC 3720, appendix B.4 has
// vectors). SSE4.2 (three stretches side by side with PCLMULQDQ) or the ARMv8 CRC instructions where the processor has
// them, otherwise a table.
//
// Threads: any.   Errors: none.   No allocation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringside {

// The checksum of `size` bytes, continued from `crc` (0 to begin). crc32c(b, crc32c(a)) == crc32c(ab).
std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc = 0);

// The table form, always there; the faster forms are tested against it.
std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t crc = 0);

}  // namespace ringside
