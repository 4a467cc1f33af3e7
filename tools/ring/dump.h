// The subcommand `dump`: a table's rows at one version, as lines of JSON.
//
//   {"ring":"/dev/shm/shop","table":"products","id":3,"version":42,"gtid":"0-1-42","rows":2,…}
//   {"id":1,"name":"a"}
//   {"id":2,"name":null}
//
// It joins the ring like a replica, up to the position that was committed when it began, and so holds everything until it
// ends: the writer frees nothing meanwhile, and evicts it when it needs the room or the dump stands still (because nobody takes
// its output, for example). Then the dump ends with an error; lines that were printed are right.
//
// Threads: one.   Ownership: none.
// Errors: kNotFound: no such table; kUnsupported: it is quarantined, with the reason; kUnavailable: it is being loaded, was
// replaced meanwhile, or the ring is not there; kInvalid: the key; kBusy: no reader slot; kLimit: evicted; kCorrupt; kIo.
// Limits: memory: an index over the rows of one table, about 20 bytes a row; with a key none.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "base/result.h"
#include "shm/key.h"
#include "shm/schema.h"
#include "tools/ring/ring_view.h"

namespace ringside::tools {

struct DumpOptions {
  std::string table;
  std::optional<std::string> key;      // as in a URL's path: parts between commas, percent-encoded
  std::optional<std::uint64_t> limit;  // rows
};

Result<void> dump_table(const RingName& name, const DumpOptions& options, std::FILE* out);

// The normalised key that this text, as it stands in a URL's path, names. kInvalid: it is none of this table's. False: it is
// one, and no row can have it.
Result<bool> normalise_key(const shm::Table& table, std::string_view text, shm::KeyBuffer& key);

}  // namespace ringside::tools
