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

// Of a record, whose first half word is the checksum itself: the checksum of bytes 4 … size of `data`, and of `last` behind
// them, low byte first. Whole words are read as whole words, which matters to data just copied by words: a load across two
// fresh stores waits for both. Precondition: size is a multiple of 8, and at least 8.
std::uint32_t crc32c_record(const void* data, std::size_t size, std::uint64_t last);
// The same of a record of which `there` bytes are in `data` already, while the rest is copied behind them from `rest`: each
// word is read once, with acquire semantics, since another process may be storing it. Precondition: as above, also for
// `there`; `rest` is aligned to 8.
std::uint32_t crc32c_copy_record(void* data, const void* rest, std::size_t size, std::size_t there,
                                 std::uint64_t last);

// The table form, always there; the faster forms are tested against it.
std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t crc = 0);

}  // namespace ringside
