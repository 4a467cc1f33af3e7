// The identities that every part of Ringside speaks of.
//
// Threads: values; no shared state.   Errors: none.
#pragma once

#include <cstdint>

#include "base/strong.h"

namespace ringside {

// A transaction's ordinal, derived from its GTID alone (MariaDB: the sequence number of the replicated
// domain). The same on every host that follows the same source. 0: before the first transaction.
using Version = Strong<struct VersionTag, std::uint64_t>;

// Order in the ring's log since its epoch began, in bytes; grows for ever, never reused.
using Position = Strong<struct PositionTag, std::uint64_t>;

// Incarnation of a ring: random, never 0. Another epoch means: start over.
using Epoch = Strong<struct EpochTag, std::uint64_t>;

// One incarnation of a table's contents. 0: no table. Never reused within an epoch.
using TableId = Strong<struct TableIdTag, std::uint32_t>;

// One column list of a table. Never reused within an epoch.
using ShapeId = Strong<struct ShapeIdTag, std::uint32_t>;

}  // namespace ringside
