// The binlog decoder on any bytes: events, table maps, row images, statement text.
//
// Input: one byte for the flavour (odd: MariaDB), then events, each a type, a length (u16, little-endian) and so many
// bytes of body. Before them the decoder gets a format description without checksums and a sound table map of id 1, so
// that row events need not invent one. The shape of every table is what its map tells, as the catalogue would have it.
// Whatever is decoded must be JSON, and every value that can be a key must have one.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "base/assert.h"
#include "shm/key.h"
#include "shm/record.h"
#include "writer/binlog/event.h"
#include "writer/binlog/payload.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"
#include "writer/charset.h"
#include "writer/sql_tokens.h"
#include "writer/value_json.h"

namespace {

using namespace ringside;
using namespace ringside::writer;
using namespace ringside::writer::binlog;

std::string event_of(std::uint8_t type, std::string_view body) {
  std::string event(kEventHeaderBytes, '\0');
  event[4] = static_cast<char>(type);
  store_le<std::uint32_t>(event.data() + 9, static_cast<std::uint32_t>(kEventHeaderBytes + body.size()));
  event.append(body);
  return event;
}

std::string format_description(bool is_mariadb) {
  std::string body(2 + 50 + 4 + 1, '\0');
  body[0] = 4;
  const std::string_view version = is_mariadb ? "10.11.19-MariaDB-log" : "9.7.4";
  version.copy(body.data() + 2, version.size());
  body[56] = static_cast<char>(kEventHeaderBytes);
  body.append(32, '\0');  // post headers: this server says nothing of them
  body.append(1 + kChecksumBytes, '\0');
  return event_of(15, body);
}

// (a INT, b VARCHAR(20), c DECIMAL(5,2), d TIME(3), e ENUM('x','y'), f JSON), utf8mb4.
std::string sound_table_map() {
  using namespace std::string_view_literals;
  return event_of(19,
                  "\x01\0\0\0\0\0\x01\0"
                  "\x01s\0\x01t\0"
                  "\x06\x03\x0f\xf6\x13\xfe\xf5"
                  "\x08\x50\0\x05\x02\x03\xf7\x01\x04"
                  "\x3f"
                  "\x01\x01\0"
                  "\x02\x01\x2d"
                  "\x0a\x01\x2d"
                  "\x04\x0c\x01"
                  "a\x01"
                  "b\x01"
                  "c\x01"
                  "d\x01"
                  "e\x01"
                  "f"
                  "\x06\x05\x02\x01x\x01y"sv);
}

shm::Shape shape_of(const TableMap& map, bool& is_decodable) {
  shm::Shape shape;
  is_decodable = map.has_full_metadata;
  for (const MapColumn& column : map.columns) {
    Result<shm::Column> told = column_from_map(column);
    if (!told) {
      is_decodable = false;
      return shape;
    }
    const Charset charset = charset_from_collation_id(column.collation_id);
    told->collation = charset == Charset::kBinary ? "binary" : std::string(to_string(charset)) + "_bin";
    shape.columns.push_back(*std::move(told));
  }
  return shape;
}

void check_row(const shm::Shape& shape, const shm::RowBuilder& row) {
  RINGSIDE_ASSERT(row.column_count() == shape.columns.size());
  std::string scratch;
  static const auto key = std::make_unique<shm::KeyBuffer>();
  for (std::size_t i = 0; i < row.column_count(); ++i) {
    const std::string_view value = row.value(i);
    const shm::Column& column = shape.columns[i];
    if (value.empty()) {
      RINGSIDE_ASSERT(column.nullable);
      continue;
    }
    scratch.clear();
    RINGSIDE_ASSERT(append_json(scratch, value) == ValueStatus::kOk);
    if (!shm::can_be_key(column)) continue;
    key->clear();
    const auto rule = shm::make_key_column(static_cast<std::uint32_t>(i), column);
    const auto status = shm::append_key_from_json(column, rule, i % 2 == 0, value, *key);
    RINGSIDE_ASSERT(status == shm::KeyStatus::kOk || status == shm::KeyStatus::kTooLong);
  }
}

class Consumer {
 public:
  void feed(std::string_view event) {
    // An exact copy, so that AddressSanitizer sees a read behind it.
    const std::unique_ptr<char[]> copy(new char[event.size()]);
    event.copy(copy.get(), event.size());
    take(decoder_.decode(as_bytes({copy.get(), event.size()})));
  }

 private:
  void take(const Result<Event>& decoded) {
    if (!decoded) {
      RINGSIDE_ASSERT(!decoded.error().message.empty());
      return;
    }
    std::visit([this](const auto& body) { on(body); }, decoded->body);
  }

  template <class Body>
  void on(const Body&) {}
  void on(const TransactionPayload& payload) {
    // zstd packs zeros 30,000 to 1: what is larger only takes the fuzzer's time.
    if (payload.size > (std::size_t{1} << 20) || !payload_.begin(payload)) return;
    std::uint64_t taken = 0;
    while (true) {
      const auto bytes = payload_.next();
      if (!bytes || !*bytes) {
        RINGSIDE_ASSERT(!bytes || taken == payload.size);
        return;
      }
      taken += (*bytes)->size();
      RINGSIDE_ASSERT(taken <= payload.size);
      take(decoder_.decode_inner(**bytes));
    }
  }
  void on(const FormatDescription&) { maps_.clear(); }
  void on(const MariadbGtidList& list) {
    for (std::size_t i = 0; i < list.size(); ++i) list[i];
  }
  void on(const Query& query) {
    const Statement statement = classify(query.sql, {query.schema, query.sql_mode, query.client_collation});
    RINGSIDE_ASSERT(statement.kind != StatementKind::kUnknown || statement.tables.empty());
  }
  void on(const TableMapEvent& event) {
    const auto put = maps_.put(event);
    // The first one is ours.
    if (++table_maps_ > 1) return;
    RINGSIDE_ASSERT(put.has_value());
    bool is_decodable = false;
    const shm::Shape shape = shape_of((*put)->map, is_decodable);
    RINGSIDE_ASSERT(is_decodable && RowDecoder::make(shape, (*put)->map).has_value());
  }
  void on(const RowsEvent& event) {
    const TableMap* map = maps_.find(event.table_id);
    if (map == nullptr) return;
    bool is_decodable = false;
    const shm::Shape shape = shape_of(*map, is_decodable);
    if (!is_decodable) return;
    auto decoder = RowDecoder::make(shape, *map);
    if (!decoder || !decoder->begin(event)) return;
    shm::RowBuilder before;
    shm::RowBuilder after;
    while (true) {
      const Result<bool> more = decoder->next(before, after);
      if (!more || !*more) return;
      if (event.operation != RowsOperation::kWrite) check_row(shape, before);
      if (event.operation != RowsOperation::kDelete) check_row(shape, after);
    }
  }

  EventDecoder decoder_;
  PayloadReader payload_;
  TableMaps maps_;
  std::size_t table_maps_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 65536) return 0;
  Consumer consumer;
  consumer.feed(format_description((data[0] & 1) != 0));
  consumer.feed(sound_table_map());
  ByteReader reader(as_bytes({reinterpret_cast<const char*>(data) + 1, size - 1}));
  while (!reader.empty()) {
    const std::uint8_t type = reader.u8();
    const std::size_t length = reader.u16();
    consumer.feed(event_of(type, reader.text(std::min(length, reader.remaining()))));
  }
  return 0;
}
