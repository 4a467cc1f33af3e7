// The catalogue: which tables there are, as the ring's records describe them. A small file of its own, whole
// and double-buffered: generation g stands in half g % 2, and the active generation moves when the half is
// complete.
//
//   offset 0  u64 magic   8  u64 bytes of a half   16  u64 active generation (0: none yet)
//   4096 + half * i:  u64 generation   u64 length   u64 crc32c   then the JSON text, padded to 8 bytes
//
// It holds every incarnation whose records may still be in the log and is not dropped, so that a newer
// generation serves a reader of an older log position: a TableId that it does not know has been dropped
// since, and its records are passed over.
//
// The text is JSON (simdjson reads it), because it is read seldom, is worth reading by people, and is outside
// input to a reader: {"format":1,"generation":7,"next_table":9,"next_shape":9,"history":"…","database":"shop","tables":[…]}.
//
// Threads: values and pure functions; CatalogueFile: one writer thread, any number of reading processes.
// Errors: kCorrupt for bytes that contradict themselves, kLimit beyond a half's size, kIo.
// Limits: kMaxCatalogueBytes for the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "shm/schema.h"

namespace ringside::shm {

inline constexpr std::size_t kMaxCatalogueBytes = std::size_t{32} << 20;

struct Catalogue {
  std::uint64_t generation = 0;
  std::string history;   // identifies the source's history, the same on every host; part of every ETag
  std::string database;  // the source's database
  // Ids from these on have never been given, also when nothing else in the ring remembers those below any more.
  std::uint32_t next_table = 1;
  std::uint32_t next_shape = 1;
  std::vector<Table> tables;

  const Table* find(TableId id) const;
  // The newest incarnation of that name, or nullptr.
  const Table* find(std::string_view name) const;

  friend bool operator==(const Catalogue&, const Catalogue&) = default;
};

// The JSON text and back. parse: every index, width and name is checked, so that what comes out can be relied
// on.
std::string catalogue_to_json(const Catalogue& catalogue);
// `text` as UTF-8 of at most `max_bytes`: U+FFFD for every byte that belongs to no well-formed sequence. For
// texts of other people's making (a reason may quote what a server said), one byte of which would otherwise
// make a whole catalogue unreadable; to_json does it with all of them.
std::string valid_utf8(std::string_view text, std::size_t max_bytes);
Result<Catalogue> parse_catalogue(std::string_view json);

}  // namespace ringside::shm
