#include "writer/binlog/event.h"

#include <utility>

#include "writer/binlog/mysql_gtid.h"
#include "writer/binlog/payload.h"

namespace ringside::writer::binlog {
namespace {

// Event types, by the number on the wire. 1 to 42 are MySQL's, 160 and above MariaDB's.
enum Type : std::uint8_t {
  kQuery = 2,
  kStop = 3,
  kRotate = 4,
  kIntvar = 5,
  kLoad = 6,
  kSlave = 7,
  kCreateFile = 8,
  kAppendBlock = 9,
  kExecLoad = 10,
  kDeleteFile = 11,
  kNewLoad = 12,
  kRand = 13,
  kUserVar = 14,
  kFormatDescription = 15,
  kXid = 16,
  kBeginLoadQuery = 17,
  kExecuteLoadQuery = 18,
  kTableMap = 19,
  kWriteRowsV1 = 23,
  kUpdateRowsV1 = 24,
  kDeleteRowsV1 = 25,
  kIncident = 26,
  kHeartbeat = 27,
  kIgnorable = 28,
  kRowsQuery = 29,
  kWriteRows = 30,
  kUpdateRows = 31,
  kDeleteRows = 32,
  kGtid = 33,
  kAnonymousGtid = 34,
  kPreviousGtids = 35,
  kTransactionContext = 36,
  kViewChange = 37,
  kXaPrepare = 38,
  kPartialUpdateRows = 39,
  kTransactionPayload = 40,
  kHeartbeatV2 = 41,
  kGtidTagged = 42,
  kAnnotateRows = 160,
  kBinlogCheckpoint = 161,
  kMariadbGtid = 162,
  kMariadbGtidList = 163,
  kStartEncryption = 164,
  kQueryCompressed = 165,
  kWriteRowsCompressedV1 = 166,
  kUpdateRowsCompressedV1 = 167,
  kDeleteRowsCompressedV1 = 168,
  kWriteRowsCompressed = 169,
  kUpdateRowsCompressed = 170,
  kDeleteRowsCompressed = 171,
};

constexpr std::uint16_t kInUseFlag = 0x01;  // of a format description: its file is still being written
constexpr std::uint16_t kIgnorableFlag =
    0x80;  // an event that a reader may pass over when it does not know it
constexpr std::uint64_t kEndOfStatementTable = 0xffffff;  // a rows event that carries only flags

bool checksum_matches(Bytes event) {
  const Bytes covered = event.first(event.size() - kChecksumBytes);
  const auto stored = load_le<std::uint32_t>(event.data() + covered.size());
  const auto* data = reinterpret_cast<const Bytef*>(covered.data());
  if (std::to_integer<std::uint8_t>(event[4]) != kFormatDescription) {
    return ::crc32_z(0, data, covered.size()) == stored;
  }
  // The server computes it with the in-use flag off, and sets the flag afterwards.
  constexpr std::size_t kFlagsOffset = 17;
  const auto cleared = static_cast<Bytef>(data[kFlagsOffset] & ~kInUseFlag);
  uLong crc = ::crc32_z(0, data, kFlagsOffset);
  crc = ::crc32_z(crc, &cleared, 1);
  return ::crc32_z(crc, data + kFlagsOffset + 1, covered.size() - kFlagsOffset - 1) == stored;
}

Error cut_short(std::uint8_t type, std::size_t size) {
  return {ErrorKind::kCorrupt, "binlog event " + event_type_name(type) + ": its " + std::to_string(size) +
                                   " bytes of body contradict its own lengths"};
}

Result<EventBody> checked(const ByteReader& reader, std::uint8_t type, std::size_t size, EventBody body) {
  if (!reader.ok()) return cut_short(type, size);
  return body;
}

// --- the simple ones ---------------------------------------------------------------------------------------------

Result<EventBody> decode_mariadb_gtid(Bytes body) {
  constexpr std::uint8_t kHasCommitId = 0x02;
  constexpr std::uint8_t kHasXid = 0x40 | 0x80;
  ByteReader reader(body);
  MariadbGtid gtid;
  gtid.sequence = reader.u64();
  gtid.domain = reader.u32();
  gtid.flags = reader.u8();
  if ((gtid.flags & kHasCommitId) != 0) gtid.commit_id = reader.u64();
  if ((gtid.flags & kHasXid) != 0) {
    gtid.xid_format = reader.u32();
    const std::size_t gtrid = reader.u8();
    const std::size_t bqual = reader.u8();
    gtid.xid_gtrid = reader.text(gtrid);
    gtid.xid_bqual = reader.text(bqual);
  }
  if (!reader.empty()) gtid.extra_flags = reader.u8();  // otherwise padding, or an older server
  return checked(reader, kMariadbGtid, body.size(), gtid);
}

Result<EventBody> decode_gtid_list(Bytes body) {
  constexpr std::uint32_t kCountMask = 0x0fffffff;
  constexpr std::size_t kEntryBytes = 16;
  ByteReader reader(body);
  const std::size_t count = reader.u32() & kCountMask;
  if (count > reader.remaining() / kEntryBytes) return cut_short(kMariadbGtidList, body.size());
  return EventBody(MariadbGtidList(reader.take(count * kEntryBytes)));
}

Result<EventBody> decode_heartbeat_v2(Bytes body) {
  ByteReader reader(body);
  Heartbeat heartbeat;
  while (!reader.empty()) {
    const std::uint8_t field = reader.u8();
    if (field == 0) break;
    std::uint64_t size = 0;
    if (!read_lenenc(reader, size) || size > reader.remaining()) return cut_short(kHeartbeatV2, body.size());
    ByteReader value(reader.take(static_cast<std::size_t>(size)));
    if (field == 1) heartbeat.file = as_text(value.rest());
    if (field == 2 && !read_lenenc(value, heartbeat.position)) return cut_short(kHeartbeatV2, body.size());
  }
  return checked(reader, kHeartbeatV2, body.size(), heartbeat);
}

Result<EventBody> decode_xa_prepare(Bytes body) {
  ByteReader reader(body);
  XaPrepare prepare;
  prepare.is_one_phase = reader.u8() != 0;
  prepare.format = reader.u32();
  const std::uint32_t gtrid = reader.u32();
  const std::uint32_t bqual = reader.u32();
  prepare.gtrid = reader.text(gtrid);
  prepare.bqual = reader.text(bqual);
  return checked(reader, kXaPrepare, body.size(), prepare);
}

// The variables before a query come in a fixed order; those up to the character set are of known length.
void read_status_variables(Bytes variables, Query& query) {
  ByteReader reader(variables);
  while (!reader.empty()) {
    switch (reader.u8()) {
      case 0:
        reader.skip(4);
        break;  // session flags
      case 1:
        query.sql_mode = reader.u64();
        break;
      case 2:
        reader.skip(std::size_t{reader.u8()} + 1);
        break;  // catalogue, ends with 0
      case 3:
        reader.skip(4);
        break;  // auto_increment_increment and _offset
      case 6:
        reader.skip(reader.u8());
        break;  // catalogue, no 0
      case 4:
        query.client_collation = reader.u16();
        return;
      default:
        return;
    }
  }
}

RowsOperation operation_of(std::uint8_t type) {
  switch (type) {
    case kWriteRowsV1:
    case kWriteRows:
    case kWriteRowsCompressedV1:
    case kWriteRowsCompressed:
      return RowsOperation::kWrite;
    case kUpdateRowsV1:
    case kUpdateRows:
    case kUpdateRowsCompressedV1:
    case kUpdateRowsCompressed:
      return RowsOperation::kUpdate;
    default:
      return RowsOperation::kDelete;
  }
}

bool is_second_version(std::uint8_t type) {
  return (type >= kWriteRows && type <= kDeleteRows) ||
         (type >= kWriteRowsCompressed && type <= kDeleteRowsCompressed);
}

bool is_compressed_rows(std::uint8_t type) {
  return type >= kWriteRowsCompressedV1 && type <= kDeleteRowsCompressed;
}

// The types of which nothing is read: those that change nothing, and those that cannot be followed.
EventBody without_content(const EventHeader& header) {
  switch (header.type) {
    case kStop:
    case kIntvar:
    case kRand:
    case kUserVar:
    case kIgnorable:
    case kRowsQuery:
    case kPreviousGtids:
    case kTransactionContext:
    case kViewChange:
    case kBinlogCheckpoint:
    case kStartEncryption:
      return Ignored{};
    case kPartialUpdateRows:
      return Unsupported{
          "a partial JSON update (PARTIAL_UPDATE_ROWS): binlog_row_value_options is PARTIAL_JSON in some "
          "session"};
    case kAnonymousGtid:
      return Unsupported{"a transaction without a GTID: gtid_mode is not ON"};
    case kLoad:
    case kSlave:
    case kCreateFile:
    case kAppendBlock:
    case kExecLoad:
    case kDeleteFile:
    case kNewLoad:
    case kBeginLoadQuery:
    case kExecuteLoadQuery:
      return Unsupported{"a LOAD DATA statement in statement form: binlog_format is not ROW in some session"};
    default:
      break;
  }
  if ((header.flags & kIgnorableFlag) != 0) return Ignored{};
  return Unsupported{"an event of a type that this version does not know"};
}

}  // namespace

MariadbGtidList::Entry MariadbGtidList::operator[](std::size_t index) const {
  RINGSIDE_ASSERT(index < size());
  const std::byte* at = entries_.data() + 16 * index;
  return {load_le<std::uint32_t>(at), load_le<std::uint32_t>(at + 4), load_le<std::uint64_t>(at + 8)};
}

std::optional<EventHeader> read_event_header(Bytes bytes) {
  if (bytes.size() < kEventHeaderBytes) return std::nullopt;
  ByteReader reader(bytes);
  EventHeader header;
  header.timestamp = reader.u32();
  header.type = reader.u8();
  header.server_id = reader.u32();
  header.size = reader.u32();
  header.end_position = reader.u32();
  header.flags = reader.u16();
  return header;
}

Result<Event> EventDecoder::decode(Bytes event) {
  const std::optional<EventHeader> header = read_event_header(event);
  if (!header || header->size != event.size()) {
    return Error{ErrorKind::kCorrupt, "binlog event of " + std::to_string(event.size()) +
                                          " bytes: its header is cut short or names another size"};
  }
  if (header->type == kFormatDescription) {
    RINGSIDE_ASSIGN(EventBody body, decode_format(event));
    return Event{*header, body};
  }
  RINGSIDE_ASSIGN(const Bytes whole, without_checksum(*header, event));
  RINGSIDE_ASSIGN(EventBody body, decode_body(*header, whole.subspan(kEventHeaderBytes)));
  return Event{*header, body};
}

Result<Event> EventDecoder::decode_inner(Bytes event) {
  const std::optional<EventHeader> header = read_event_header(event);
  const bool is_whole = header && header->size == event.size();
  const bool is_outside =
      is_whole && (header->type == kFormatDescription || header->type == kRotate || header->type == kGtid ||
                   header->type == kGtidTagged || header->type == kAnonymousGtid ||
                   header->type == kTransactionPayload || header->type >= kAnnotateRows);  // MariaDB's
  if (!is_whole || is_outside) {
    return Error{ErrorKind::kCorrupt, "binlog event TRANSACTION_PAYLOAD: holds what cannot stand in it" +
                                          (is_whole ? ": " + event_type_name(header->type) : std::string())};
  }
  RINGSIDE_ASSIGN(EventBody body, decode_body(*header, event.subspan(kEventHeaderBytes)));
  return Event{*header, body};
}

Result<Bytes> EventDecoder::without_checksum(const EventHeader& header, Bytes event) const {
  const bool has_room = event.size() >= kEventHeaderBytes + kChecksumBytes;
  // A ROTATE can come in front of the format description that says whether it has a checksum: look.
  if (!has_format_ || header.type == kRotate) {
    return has_room && checksum_matches(event) ? event.first(event.size() - kChecksumBytes) : event;
  }
  if (!has_checksums_) return event;
  if (!has_room || !checksum_matches(event)) {
    return Error{ErrorKind::kCorrupt,
                 "binlog event " + event_type_name(header.type) + " ending at " +
                     std::to_string(header.end_position) +
                     ": its CRC-32 does not match; the connection or the file is damaged"};
  }
  return event.first(event.size() - kChecksumBytes);
}

Result<EventBody> EventDecoder::decode_format(Bytes event) {
  constexpr std::size_t kFixedBytes = 2 + 50 + 4 + 1;
  constexpr std::size_t kTailBytes = 1 + kChecksumBytes;  // algorithm and checksum, both always there
  const Bytes body = event.subspan(kEventHeaderBytes);
  if (body.size() < kFixedBytes + kTailBytes) return cut_short(kFormatDescription, body.size());
  ByteReader reader(body);
  const std::uint16_t layout = reader.u16();
  FormatDescription format;
  const std::string_view version = reader.text(50);
  format.server_version = version.substr(0, version.find('\0'));
  reader.skip(4);
  const std::uint8_t header_bytes = reader.u8();
  const Bytes post_headers = reader.take(body.size() - kFixedBytes - kTailBytes);
  const std::uint8_t algorithm = reader.u8();
  const auto has_post_header = [&](std::uint8_t type, std::uint8_t size) {
    const std::uint8_t told =
        post_headers.size() < type ? 0 : std::to_integer<std::uint8_t>(post_headers[type - 1u]);
    return told == 0 || told == size;  // 0: the server does not write such events
  };
  const bool is_known = layout == 4 && header_bytes == kEventHeaderBytes &&
                        post_headers.size() >= kDeleteRowsV1 && has_post_header(kQuery, 13) &&
                        has_post_header(kTableMap, 8) && has_post_header(kWriteRowsV1, 8) &&
                        has_post_header(kWriteRows, 10);
  if (!is_known || algorithm > 1) {
    return Error{ErrorKind::kUnsupported, "binlog of server version \"" + std::string(format.server_version) +
                                              "\": its format description (layout " + std::to_string(layout) +
                                              ", checksum algorithm " + std::to_string(algorithm) +
                                              ") is not one that is known; MariaDB 10.11 and MySQL 9.7 are"};
  }
  if (algorithm == 1 && !checksum_matches(event)) {
    return Error{ErrorKind::kCorrupt, "binlog format description: its CRC-32 does not match"};
  }
  format.flavour =
      format.server_version.find("MariaDB") != std::string_view::npos ? Flavour::kMariadb : Flavour::kMysql;
  format.has_checksums = algorithm == 1;
  has_format_ = true;
  flavour_ = format.flavour;
  has_checksums_ = format.has_checksums;
  return EventBody(format);
}

Result<EventBody> EventDecoder::decode_body(const EventHeader& header, Bytes body) {
  ByteReader reader(body);
  switch (header.type) {
    case kQuery:
      return decode_query(body, false);
    case kQueryCompressed:
      return decode_query(body, true);
    case kWriteRowsV1:
    case kUpdateRowsV1:
    case kDeleteRowsV1:
    case kWriteRows:
    case kUpdateRows:
    case kDeleteRows:
    case kWriteRowsCompressedV1:
    case kUpdateRowsCompressedV1:
    case kDeleteRowsCompressedV1:
    case kWriteRowsCompressed:
    case kUpdateRowsCompressed:
    case kDeleteRowsCompressed:
      return decode_rows(header.type, body);
    case kTableMap: {
      TableMapEvent map;
      map.table_id = reader.uint_le(6);
      map.flags = reader.u16();
      map.flavour = flavour_;
      map.body = reader.rest();
      return checked(reader, header.type, body.size(), map);
    }
    case kRotate: {
      const std::uint64_t position = reader.u64();
      return checked(reader, header.type, body.size(), Rotate{position, as_text(reader.rest())});
    }
    case kXid:
      return checked(reader, header.type, body.size(), Xid{reader.u64()});
    case kMariadbGtid:
      return decode_mariadb_gtid(body);
    case kMariadbGtidList:
      return decode_gtid_list(body);
    case kGtid:
      return decode_mysql_gtid(body);
    case kGtidTagged:
      return decode_tagged_mysql_gtid(body);
    case kXaPrepare:
      return decode_xa_prepare(body);
    case kAnnotateRows:
      return EventBody(AnnotateRows{as_text(body)});
    case kHeartbeat:
      return EventBody(Heartbeat{as_text(body), header.end_position});
    case kHeartbeatV2:
      return decode_heartbeat_v2(body);
    case kTransactionPayload:
      return decode_payload(body);
    case kIncident: {
      const std::uint16_t number = reader.u16();
      const std::size_t size = reader.empty() ? 0 : reader.u8();
      return checked(reader, header.type, body.size(), Incident{number, reader.text(size)});
    }
    default:
      return without_content(header);
  }
}

Result<EventBody> EventDecoder::decode_query(Bytes body, bool is_compressed) {
  const std::uint8_t type = is_compressed ? kQueryCompressed : kQuery;
  ByteReader reader(body);
  Query query;
  query.thread_id = reader.u32();
  reader.skip(4);  // how long it ran
  const std::size_t schema_bytes = reader.u8();
  query.error_code = reader.u16();
  const std::size_t variable_bytes = reader.u16();
  read_status_variables(reader.take(variable_bytes), query);
  query.schema = reader.text(schema_bytes);
  if (reader.u8() != 0 || !reader.ok()) return cut_short(type, body.size());
  const Bytes text = reader.rest();
  query.sql = as_text(text);
  if (is_compressed && !unpack(text, query.sql)) return cut_short(type, body.size());
  return EventBody(query);
}

Result<EventBody> EventDecoder::decode_rows(std::uint8_t type, Bytes body) {
  ByteReader reader(body);
  RowsEvent rows;
  rows.operation = operation_of(type);
  rows.table_id = reader.uint_le(6);
  rows.flags = reader.u16();
  if (is_second_version(type)) {
    const std::size_t extra = reader.u16();  // counts itself
    if (extra < 2) return cut_short(type, body.size());
    reader.skip(extra - 2);
  }
  if (!reader.ok() || !read_lenenc(reader, rows.column_count)) return cut_short(type, body.size());
  if (rows.table_id == kEndOfStatementTable) return EventBody(Ignored{});
  if (rows.column_count == 0 || rows.column_count > reader.remaining() * 8)
    return cut_short(type, body.size());
  const auto bitmap_bytes = static_cast<std::size_t>((rows.column_count + 7) / 8);
  rows.present = reader.take(bitmap_bytes);
  if (rows.operation == RowsOperation::kUpdate) rows.present_after = reader.take(bitmap_bytes);
  rows.images = reader.rest();
  if (!reader.ok()) return cut_short(type, body.size());
  if (is_compressed_rows(type)) {
    std::string_view images;
    if (!unpack(rows.images, images)) return cut_short(type, body.size());
    rows.images = as_bytes(images);
  }
  return EventBody(rows);
}

// MariaDB's compressed part: 0x80 | algorithm << 4 | length bytes, the original length (big-endian), a zlib stream.
bool EventDecoder::unpack(Bytes packed, std::string_view& text) {
  ByteReader reader(packed);
  const std::uint8_t head = reader.u8();
  const std::size_t width = head & 0x07u;
  if ((head & 0xf8u) != 0x80 || width < 1 || width > 4) return false;
  const std::uint64_t size = reader.uint_be(width);
  if (!reader.ok() || !inflater_.inflate(reader.rest(), size, Inflater::Format::kZlib, unpacked_))
    return false;
  text = unpacked_;
  return true;
}

std::string event_type_name(std::uint8_t type) {
  static constexpr std::pair<std::uint8_t, const char*> kNames[] = {
      {kQuery, "QUERY"},
      {kStop, "STOP"},
      {kRotate, "ROTATE"},
      {kFormatDescription, "FORMAT_DESCRIPTION"},
      {kXid, "XID"},
      {kExecuteLoadQuery, "EXECUTE_LOAD_QUERY"},
      {kTableMap, "TABLE_MAP"},
      {kWriteRowsV1, "WRITE_ROWS_V1"},
      {kUpdateRowsV1, "UPDATE_ROWS_V1"},
      {kDeleteRowsV1, "DELETE_ROWS_V1"},
      {kIncident, "INCIDENT"},
      {kHeartbeat, "HEARTBEAT"},
      {kRowsQuery, "ROWS_QUERY"},
      {kWriteRows, "WRITE_ROWS"},
      {kUpdateRows, "UPDATE_ROWS"},
      {kDeleteRows, "DELETE_ROWS"},
      {kGtid, "GTID"},
      {kAnonymousGtid, "ANONYMOUS_GTID"},
      {kPreviousGtids, "PREVIOUS_GTIDS"},
      {kXaPrepare, "XA_PREPARE"},
      {kPartialUpdateRows, "PARTIAL_UPDATE_ROWS"},
      {kTransactionPayload, "TRANSACTION_PAYLOAD"},
      {kHeartbeatV2, "HEARTBEAT_V2"},
      {kGtidTagged, "GTID_TAGGED"},
      {kAnnotateRows, "ANNOTATE_ROWS"},
      {kBinlogCheckpoint, "BINLOG_CHECKPOINT"},
      {kMariadbGtid, "MARIADB_GTID"},
      {kMariadbGtidList, "MARIADB_GTID_LIST"},
      {kStartEncryption, "START_ENCRYPTION"},
      {kQueryCompressed, "QUERY_COMPRESSED"},
      {kWriteRowsCompressedV1, "WRITE_ROWS_COMPRESSED_V1"},
      {kUpdateRowsCompressedV1, "UPDATE_ROWS_COMPRESSED_V1"},
      {kDeleteRowsCompressedV1, "DELETE_ROWS_COMPRESSED_V1"},
  };
  for (const auto& [number, name] : kNames) {
    if (number == type) return name;
  }
  return "type " + std::to_string(type);
}

}  // namespace ringside::writer::binlog
