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

std::string wire_form(const MysqlGtidSet& set) {
  const bool is_tagged = set.has_tags();
  // The marks stand in the lowest and the highest byte of the number, which is far smaller than what is between.
  constexpr std::uint64_t kTaggedMarks = std::uint64_t{1} << 56 | 1;
  const std::uint64_t sources = set.sources().size();
  std::string out;
  append_le64(out, is_tagged ? sources << 8 | kTaggedMarks : sources);
  for (const auto& [source, intervals] : set.sources()) {
    out.append(reinterpret_cast<const char*>(source.uuid.data()), source.uuid.size());
    if (is_tagged) {
      // The server's variable-length number: below 128 it is one byte, whose lowest bit says so by being 0.
      out.push_back(static_cast<char>(source.tag.view().size() * 2));
      out.append(source.tag.view());
    }
    append_le64(out, intervals.size());
    for (const MysqlGtidSet::Interval& interval : intervals) {
      append_le64(out, interval.first);
      append_le64(out, interval.end);
    }
  }
  return out;
}

}  // namespace ringside::writer
