// The two events that open a transaction on MySQL: GTID (33), and GTID_TAGGED (42), which is written by MySQL's own
// serialisation library: fields with numbers, integers of varying length.
//
// Threads: pure functions.   Ownership: a tag views the body.
// Errors: kCorrupt for a body that contradicts itself; Unsupported for a tagged one of another layout.   Limits: none.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "writer/binlog/event.h"

namespace ringside::writer::binlog {

Result<EventBody> decode_mysql_gtid(Bytes body);
Result<EventBody> decode_tagged_mysql_gtid(Bytes body);

}  // namespace ringside::writer::binlog
