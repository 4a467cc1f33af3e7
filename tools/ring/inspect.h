// The subcommands `header`, `readers`, `catalogue`.
//
// Threads: one.   Ownership: none.   Errors: kIo for files that cannot be read, kCorrupt for a catalogue that cannot.
// Limits: as many lines as there are readers, tables and columns.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "tools/ring/report.h"
#include "tools/ring/ring_view.h"

namespace ringside::tools {

// `now_ns`: CLOCK_MONOTONIC.
Report header_report(const RingView& ring, std::uint64_t now_ns);
// `is_all`: also the slots that nobody has.
Result<Report> readers_report(const RingView& ring, bool is_all);
// The file says which incarnations there are and what their rows look like; whether one is served, the log's table events say, so all
// of the log is read for them.
Result<Report> catalogue_report(const RingView& ring);

}  // namespace ringside::tools
