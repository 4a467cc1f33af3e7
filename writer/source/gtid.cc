#include "writer/source/gtid.h"

#include "base/bytes.h"

namespace ringside::writer {
namespace {

void append_le64(std::string& out, std::uint64_t value) {
  char bytes[sizeof value];
  store_le(bytes, value);
  out.append(bytes, sizeof bytes);
}

}  // namespace

Result<std::string> wire_form(const MysqlGtidSet& set) {
  if (set.has_tags()) {
    return Error{
        ErrorKind::kUnsupported,
        "the source's GTIDs have tags, which this version cannot send as a position; use untagged GTIDs "
        "(gtid_next=AUTOMATIC)"};
  }
  std::string out;
  append_le64(out, set.sources().size());
  for (const auto& [source, intervals] : set.sources()) {
    out.append(reinterpret_cast<const char*>(source.uuid.data()), source.uuid.size());
    append_le64(out, intervals.size());
    for (const MysqlGtidSet::Interval& interval : intervals) {
      append_le64(out, interval.first);
      append_le64(out, interval.end);
    }
  }
  return out;
}

}  // namespace ringside::writer
