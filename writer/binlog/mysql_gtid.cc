#include "writer/binlog/mysql_gtid.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

namespace ringside::writer::binlog {
namespace {

Error cut_short(std::string_view type, std::size_t size) {
  return {ErrorKind::kCorrupt, "binlog event " + std::string(type) + ": its " + std::to_string(size) +
                                   " bytes of body contradict its own lengths"};
}

// The varying-length integer of MySQL's serialisation library: as many 1 bits as bytes follow, least significant
// first, then the value.
std::uint64_t read_varlen(ByteReader& reader) {
  const std::uint8_t first = reader.u8();
  const auto more = static_cast<std::size_t>(__builtin_ctz(~static_cast<unsigned>(first)));
  const std::uint64_t tail = more == 0 ? 0 : reader.uint_le(more);
  if (more >= 8) return tail;
  return static_cast<std::uint64_t>(first) >> (more + 1) | tail << (7 - more);
}

std::int64_t read_signed_varlen(ByteReader& reader) {
  const std::uint64_t value = read_varlen(reader);
  const auto magnitude = static_cast<std::int64_t>(value >> 1);
  return (value & 1) != 0 ? -magnitude - 1 : magnitude;
}

// The rest of a tagged GTID, from the field behind its tag on. Fields that say what can be had elsewhere are left out by
// the server, and none of these must be understood: what is not as expected is not read.
std::uint64_t tagged_commit_time(ByteReader& reader) {
  constexpr std::uint64_t kLastCommitted = 4;
  constexpr std::uint64_t kSequenceNumber = 5;
  constexpr std::uint64_t kImmediateCommitTime = 6;
  constexpr std::uint64_t kOriginalCommitTime = 7;  // only where it is another than the one before
  std::uint64_t time_us = 0;
  while (reader.ok() && !reader.empty()) {
    const std::uint64_t id = read_varlen(reader);
    if (id < kLastCommitted || id > kOriginalCommitTime) break;
    if (id == kLastCommitted || id == kSequenceNumber) {
      read_signed_varlen(reader);
      continue;
    }
    const std::uint64_t value = read_varlen(reader);
    if (reader.ok() && (id == kImmediateCommitTime || id == kOriginalCommitTime)) time_us = value;
  }
  return time_us;
}

}  // namespace

Result<EventBody> decode_mysql_gtid(Bytes body) {
  ByteReader reader(body);
  MysqlGtid gtid;
  gtid.flags = reader.u8();
  const Bytes uuid = reader.take(gtid.uuid.size());
  if (reader.ok()) std::copy(uuid.begin(), uuid.end(), gtid.uuid.begin());
  gtid.number = reader.u64();
  if (gtid.number == 0 ||
      gtid.number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return cut_short("GTID", body.size());
  }
  // Logical clocks, then the time of commit here; its top bit says that the time at the first server follows.
  constexpr std::size_t kLogicalClockBytes = 1 + 8 + 8;
  constexpr std::size_t kTimeBytes = 7;
  constexpr std::uint64_t kIsElsewhere = std::uint64_t{1} << 55;
  if (reader.remaining() >= kLogicalClockBytes + kTimeBytes) {
    reader.skip(kLogicalClockBytes);
    gtid.commit_time_us = reader.uint_le(kTimeBytes);
    if ((gtid.commit_time_us & kIsElsewhere) != 0) gtid.commit_time_us = reader.uint_le(kTimeBytes);
  }
  if (!reader.ok()) return cut_short("GTID", body.size());
  return EventBody(gtid);
}

// Fields come in ascending order of their numbers.
Result<EventBody> decode_tagged_mysql_gtid(Bytes body) {
  constexpr std::uint64_t kKnownVersion = 1;
  constexpr std::uint64_t kMaxTag = 32;
  ByteReader reader(body);
  MysqlGtid gtid;
  if (read_varlen(reader) != kKnownVersion) {
    return EventBody(Unsupported{"a tagged GTID event of unknown layout"});
  }
  read_varlen(reader);  // size of the message
  read_varlen(reader);  // the last field that must be understood
  bool has_number = false;
  for (int field = 0; field < 4 && reader.ok(); ++field) {
    const std::uint64_t id = read_varlen(reader);
    if (id != static_cast<std::uint64_t>(field)) return cut_short("GTID_TAGGED", body.size());
    if (id == 0) gtid.flags = static_cast<std::uint8_t>(read_varlen(reader));
    if (id == 1) {
      for (std::byte& byte : gtid.uuid) byte = static_cast<std::byte>(read_varlen(reader));
    }
    if (id == 2) {
      const std::int64_t number = read_signed_varlen(reader);
      has_number = number > 0;
      gtid.number = static_cast<std::uint64_t>(number);
    }
    if (id == 3) {
      const std::uint64_t size = read_varlen(reader);
      if (size > kMaxTag) return cut_short("GTID_TAGGED", body.size());
      gtid.tag = reader.text(static_cast<std::size_t>(size));
    }
  }
  if (!has_number || !reader.ok()) return cut_short("GTID_TAGGED", body.size());
  gtid.commit_time_us = tagged_commit_time(reader);
  return EventBody(gtid);
}

}  // namespace ringside::writer::binlog
