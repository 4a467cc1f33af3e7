// Events that no recording holds, byte by byte: heartbeats, incidents, made-up rotates, and what contradicts itself.

#include <gtest/gtest.h>
#include <zlib.h>

#include <string>
#include <string_view>

#include "shm/record.h"
#include "writer/binlog/event.h"
#include "writer/binlog/rows.h"
#include "writer/binlog/table_map.h"
#include "writer/binlog/wire.h"

namespace ringside::writer::binlog {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

std::string event_of(std::uint8_t type, std::string_view body, std::uint16_t flags = 0,
                     bool has_checksum = false) {
  std::string event(kEventHeaderBytes, '\0');
  event[4] = static_cast<char>(type);
  store_le<std::uint32_t>(
      event.data() + 9, static_cast<std::uint32_t>(kEventHeaderBytes + body.size() + (has_checksum ? 4 : 0)));
  store_le<std::uint32_t>(event.data() + 13, 77);
  store_le<std::uint16_t>(event.data() + 17, flags);
  event.append(body);
  if (has_checksum) {
    char crc[4];
    store_le<std::uint32_t>(crc, static_cast<std::uint32_t>(::crc32_z(
                                     0, reinterpret_cast<const Bytef*>(event.data()), event.size())));
    event.append(crc, 4);
  }
  return event;
}

std::string format_description(std::string_view version, bool has_checksums) {
  std::string body(57, '\0');
  body[0] = 4;
  version.copy(body.data() + 2, version.size());
  body[56] = static_cast<char>(kEventHeaderBytes);
  body.append(40, '\0');
  body.push_back(has_checksums ? '\1' : '\0');
  if (has_checksums) return event_of(15, body, 0, true);
  return event_of(15, body + std::string(4, '\0'));
}

class Events : public ::testing::Test {
 protected:
  Result<Event> decode(std::string bytes) {
    bytes_ = std::move(bytes);
    return decoder_.decode(as_bytes(bytes_));
  }
  // The body of an event that must be good and of this type.
  template <class Body>
  Body get(std::string bytes) {
    const Result<Event> event = decode(std::move(bytes));
    EXPECT_TRUE(event.has_value()) << event.error().message;
    const Body* body = event ? std::get_if<Body>(&event->body) : nullptr;
    EXPECT_NE(body, nullptr);
    return body == nullptr ? Body{} : *body;
  }
  bool is_corrupt(std::string bytes) {
    const Result<Event> event = decode(std::move(bytes));
    return !event && event.error().kind == ErrorKind::kCorrupt;
  }

  std::string bytes_;
  EventDecoder decoder_;
};

TEST_F(Events, AFormatDescriptionTellsFlavourAndChecksums) {
  EXPECT_EQ(get<FormatDescription>(format_description("10.11.19-MariaDB-log", true)).flavour,
            Flavour::kMariadb);
  EXPECT_TRUE(decoder_.has_checksums());
  EXPECT_EQ(get<FormatDescription>(format_description("9.7.4", false)).server_version, "9.7.4");
  EXPECT_FALSE(decoder_.has_checksums());
  EXPECT_EQ(decoder_.flavour(), Flavour::kMysql);
}

TEST_F(Events, AnUnknownFormatIsRefused) {
  std::string other = format_description("9.7.4", false);
  other[kEventHeaderBytes] = 3;
  const Result<Event> layout = decode(other);
  ASSERT_FALSE(layout.has_value());
  EXPECT_EQ(layout.error().kind, ErrorKind::kUnsupported);
  other = format_description("9.7.4", false);
  other[other.size() - 5] = 2;  // a checksum algorithm of the future
  EXPECT_FALSE(decode(other).has_value());
  other = format_description("9.7.4", false);
  other[kEventHeaderBytes + 57 + 18] = 6;  // table maps as MySQL 5.0 wrote them
  EXPECT_FALSE(decode(other).has_value());
}

TEST_F(Events, ARotateMayComeBeforeTheFormat) {
  const std::string_view body = "\x04\0\0\0\0\0\0\0binlog.000002"sv;
  for (const bool has_checksum : {false, true}) {
    const auto rotate = get<Rotate>(event_of(4, body, 0x20, has_checksum));
    EXPECT_EQ(rotate.position, 4u);
    EXPECT_EQ(rotate.file, "binlog.000002");
  }
}

TEST_F(Events, OnceChecksumsAreOnEveryEventNeedsOne) {
  get<FormatDescription>(format_description("9.7.4", true));
  EXPECT_EQ(get<Xid>(event_of(16, "\x07\0\0\0\0\0\0\0"sv, 0, true)).number, 7u);
  EXPECT_TRUE(is_corrupt(event_of(16, "\x07\0\0\0\0\0\0\0"sv)));
  EXPECT_TRUE(is_corrupt(event_of(16, ""sv)));
}

TEST_F(Events, BothHeartbeatsTellWhereTheStreamStands) {
  const auto first = get<Heartbeat>(event_of(27, "binlog.000003"sv));
  EXPECT_EQ(first.file, "binlog.000003");
  EXPECT_EQ(first.position, 77u);
  const auto second = get<Heartbeat>(event_of(41,
                                              "\x01\x03"
                                              "abc"
                                              "\x02\x03\xfc\x00\x01"
                                              "\x00"sv));
  EXPECT_EQ(second.file, "abc");
  EXPECT_EQ(second.position, 256u);
  EXPECT_TRUE(is_corrupt(event_of(41,
                                  "\x01\x05"
                                  "abc"sv)));
}

TEST_F(Events, AnIncidentIsNoEventToPassOver) {
  const auto incident = get<Incident>(event_of(26, "\x01\0\x04lost"sv));
  EXPECT_EQ(incident.number, 1u);
  EXPECT_EQ(incident.message, "lost");
}

TEST_F(Events, UnknownTypesAreUnsupportedUnlessTheyMayBeIgnored) {
  EXPECT_NE(get<Unsupported>(event_of(99, "x"sv)).reason.find("does not know"), std::string_view::npos);
  get<Ignored>(event_of(99, "x"sv, 0x80));
  EXPECT_NE(get<Unsupported>(event_of(34, "x"sv)).reason.find("gtid_mode"), std::string_view::npos);
  EXPECT_NE(get<Unsupported>(event_of(18, "x"sv)).reason.find("LOAD DATA"), std::string_view::npos);
  get<Ignored>(event_of(3, ""sv));
  get<Ignored>(event_of(164, "x"sv));
}

TEST_F(Events, AMariadbGtidHasItsParts) {
  const auto plain = get<MariadbGtid>(event_of(162, "\x2a\0\0\0\0\0\0\0\x05\0\0\0\x21\0\0\0\0\0\0"sv));
  EXPECT_EQ(plain.sequence, 42u);
  EXPECT_EQ(plain.domain, 5u);
  EXPECT_TRUE(plain.is_standalone());
  EXPECT_TRUE(plain.is_ddl());
  EXPECT_FALSE(plain.is_alter_start());
  const auto grouped =
      get<MariadbGtid>(event_of(162, "\x2a\0\0\0\0\0\0\0\0\0\0\0\x02\x09\0\0\0\0\0\0\0\x02"sv));
  EXPECT_EQ(grouped.commit_id, 9u);
  EXPECT_TRUE(grouped.is_alter_start());
  EXPECT_TRUE(is_corrupt(event_of(162, "\x2a\0\0\0\0\0\0\0\0\0\0\0\x42\x09\0\0"sv)));
}

TEST_F(Events, AMysqlGtidSaysWhenItsTransactionWasCommittedFirst) {
  const std::string head = "\x01"s + std::string(16, 'u') + "\x2a\0\0\0\0\0\0\0"s;
  const std::string clocks = "\x02"s + std::string(16, '\1');
  const auto bare = get<MysqlGtid>(event_of(33, head));
  EXPECT_EQ(bare.number, 42u);
  EXPECT_EQ(bare.commit_time_us, 0u);
  EXPECT_EQ(get<MysqlGtid>(event_of(33, head + clocks + "\x10\0\0\0\0\0\0"s)).commit_time_us, 16u);
  const auto replicated = get<MysqlGtid>(event_of(33, head + clocks + "\x10\0\0\0\0\0\x80\x07\0\0\0\0\0\0"s));
  EXPECT_EQ(replicated.commit_time_us, 7u);
  EXPECT_TRUE(is_corrupt(event_of(33, head + clocks + "\x10\0\0\0\0\0\x80\x07"s)));
  // Tagged: flags 0, uuid, number 1, tag "t", then clocks, the time here (16) and at the first server (7).
  const std::string tagged = "\x02\0\0\0\0\x02"s + std::string(16, '\2') + "\x04\x04\x06\x02t"s;
  EXPECT_EQ(get<MysqlGtid>(event_of(42, tagged + "\x08\x04\x0a\x04\x0c\x20\x10\x02"s)).commit_time_us, 16u);
  EXPECT_EQ(get<MysqlGtid>(event_of(42, tagged + "\x08\x04\x0a\x04\x0c\x20\x0e\x0e\x10\x02"s)).commit_time_us,
            7u);
  const auto untimed = get<MysqlGtid>(event_of(42, tagged));
  EXPECT_EQ(untimed.tag, "t");
  EXPECT_EQ(untimed.number, 1u);
  EXPECT_EQ(untimed.commit_time_us, 0u);
}

TEST_F(Events, AGtidListIsReadEntryByEntry) {
  const auto list = get<MariadbGtidList>(event_of(163,
                                                  "\x02\0\0\x10\0\0\0\0\x01\0\0\0\x2a\0\0\0\0\0\0\0"
                                                  "\x07\0\0\0\x02\0\0\0\x2b\0\0\0\0\0\0\0"sv));
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].sequence, 42u);
  EXPECT_EQ(list[1].domain, 7u);
  EXPECT_EQ(list[1].server_id, 2u);
  EXPECT_TRUE(is_corrupt(event_of(163, "\xff\xff\xff\x0f\0\0\0\0"sv)));
}

TEST_F(Events, AQuerySaysItsModeAndCharacterSet) {
  const auto query = get<Query>(event_of(2,
                                         "\x09\0\0\0\0\0\0\0\x04\0\0\x1a\0"
                                         "\x00\x01\x02\x03\x04"
                                         "\x01\x04\0\x10\0\0\0\0\0"
                                         "\x06\x03std"
                                         "\x04\x08\0\x08\0\x08\0"
                                         "shop\0DROP TABLE t"sv));
  EXPECT_EQ(query.schema, "shop");
  EXPECT_EQ(query.sql, "DROP TABLE t");
  EXPECT_EQ(query.sql_mode, 0x100004u);
  EXPECT_EQ(query.client_collation, 8u);
  EXPECT_EQ(query.thread_id, 9u);
  EXPECT_TRUE(is_corrupt(event_of(2, "\x09\0\0\0\0\0\0\0\x04\0\0\xff\0shop"sv)));
}

TEST_F(Events, TheEndOfAStatementWithoutRowsIsNoRowsEvent) {
  get<Ignored>(event_of(23, "\xff\xff\xff\0\0\0\x01\0\x01\x01\0"sv));
}

TEST_F(Events, ARowsEventWiderThanItsBitmapIsCorrupt) {
  EXPECT_TRUE(is_corrupt(event_of(23, "\x01\0\0\0\0\0\x01\0\xfc\xff\xff\x01"sv)));
  EXPECT_TRUE(is_corrupt(event_of(23, "\x01\0\0\0\0\0\x01\0\0"sv)));
  EXPECT_TRUE(is_corrupt(event_of(30, "\x01\0\0\0\0\0\x01\0\x01\0\x01\x01"sv)));  // an extra part of length 1
}

TEST_F(Events, ACompressedPartMustBeWhole) {
  const auto packed = [](std::uint8_t head, std::uint32_t size, std::string_view text) {
    std::string stream(::compressBound(text.size()), '\0');
    uLongf bytes = stream.size();
    EXPECT_EQ(::compress(reinterpret_cast<Bytef*>(stream.data()), &bytes,
                         reinterpret_cast<const Bytef*>(text.data()), text.size()),
              Z_OK);
    std::string out{static_cast<char>(head), static_cast<char>(size >> 8), static_cast<char>(size)};
    return out + stream.substr(0, bytes);
  };
  const std::string head("\x01\0\0\0\0\0\x01\0\x01\x01", 10);
  const std::string images =
      "\xfe"
      "some images";
  const auto size = static_cast<std::uint32_t>(images.size());
  EXPECT_EQ(as_text(get<RowsEvent>(event_of(166, head + packed(0x82, size, images))).images), images);
  EXPECT_TRUE(is_corrupt(event_of(166, head + packed(0x82, size - 1, images))));
  EXPECT_TRUE(is_corrupt(event_of(166, head + packed(0x82, size + 1, images))));
  EXPECT_TRUE(is_corrupt(event_of(166, head + packed(0x92, size, images))));  // another algorithm
  EXPECT_TRUE(is_corrupt(event_of(166, head + packed(0x82, size, images) + "x")));
  std::string cut = head + packed(0x82, size, images);
  cut.pop_back();
  EXPECT_TRUE(is_corrupt(event_of(166, cut)));
  // A size that no stream of these bytes can have takes no memory.
  EXPECT_TRUE(is_corrupt(event_of(166, head + std::string("\x84\x3f\xff\xff\xff\x78\x9c", 7))));
}

// --- row images --------------------------------------------------------------------------------------------------

// (a INT UNSIGNED NOT NULL, b BINARY(4))
class Rows : public ::testing::Test {
 protected:
  void SetUp() override {
    map_.schema = "s";
    map_.table = "t";
    map_.has_full_metadata = true;
    map_.columns.resize(2);
    map_.columns[0].name = "a";
    map_.columns[0].type = ColumnType::kLong;
    map_.columns[0].is_unsigned = true;
    map_.columns[1].name = "b";
    map_.columns[1].type = ColumnType::kString;
    map_.columns[1].metadata = 4;
    map_.columns[1].is_nullable = true;
    map_.columns[1].collation_id = 63;
    for (const MapColumn& column : map_.columns) {
      auto told = column_from_map(column);
      ASSERT_TRUE(told.has_value());
      shape_.columns.push_back(*told);
    }
    event_.operation = RowsOperation::kWrite;
    event_.column_count = 2;
    event_.present = as_bytes(present_);
    event_.present_after = as_bytes(present_);
  }

  // The rows of an image as text; the error's message ends them.
  std::string decode(std::string_view images) {
    event_.images = as_bytes(images);
    auto decoder = RowDecoder::make(shape_, map_);
    if (!decoder) return decoder.error().message;
    if (const auto begun = decoder->begin(event_); !begun) return begun.error().message;
    shm::RowBuilder before;
    shm::RowBuilder after;
    std::string out;
    while (true) {
      const Result<bool> more = decoder->next(before, after);
      if (!more) return out + more.error().message;
      if (!*more) return out;
      for (const shm::RowBuilder* row : {&before, &after}) {
        for (std::size_t i = 0; i < row->column_count(); ++i) {
          out += row->value(i).empty() ? std::string_view("NULL") : row->value(i);
          out += ' ';
        }
      }
    }
  }

  std::string present_ = "\xff";
  TableMap map_;
  shm::Shape shape_;
  RowsEvent event_;
};

TEST_F(Rows, BinaryIsPaddedBackToItsLength) {
  EXPECT_EQ(decode("\0\x07\0\0\0\x02"
                   "ab"
                   "\x02\xff\xff\xff\xff"sv),
            "7 \"YWIAAA==\" 4294967295 NULL ");
}

TEST_F(Rows, AnUpdateHasBothImages) {
  event_.operation = RowsOperation::kUpdate;
  EXPECT_EQ(decode("\x02\x01\0\0\0\x02\x02\0\0\0"sv), "1 NULL 2 NULL ");
  EXPECT_EQ(decode("\x02\x01\0\0\0"sv), "row event of table `s`.`t`: row 1 is cut short");
}

TEST_F(Rows, ACutImageNamesRowAndColumn) {
  EXPECT_EQ(decode("\x02\x01\0\0\0\0\x02\0\0\0\x04"
                   "ab"sv),
            "1 NULL row event of table `s`.`t`: row 2 is cut short in column `b`");
}

TEST_F(Rows, NullInANotNullColumnIsRefused) {
  EXPECT_EQ(decode("\x03"sv), "row event of table `s`.`t`: column `a` is NOT NULL, and row 1 has NULL in it");
}

TEST_F(Rows, APartialImageIsRefused) {
  present_ = "\x01";
  event_.present = as_bytes(present_);
  EXPECT_NE(decode("\0\x01\0\0\0"sv).find("binlog_row_image is not FULL"), std::string::npos);
}

TEST_F(Rows, AnotherNumberOfColumnsIsRefused) {
  event_.column_count = 3;
  EXPECT_EQ(decode(""sv), "row event of table `s`.`t`: 3 columns, where its table map has 2");
}

TEST_F(Rows, MetadataThatATypeCannotHaveIsRefused) {
  map_.columns[0].type = ColumnType::kDecimal;
  map_.columns[0].metadata = 70u << 8 | 2;
  map_.columns[0].is_unsigned = false;
  shape_.columns[0] = *column_from_map(map_.columns[0]);
  EXPECT_NE(decode(""sv).find("metadata that it cannot have"), std::string::npos);
}

TEST_F(Rows, ATextThatIsNotValidNamesItsColumn) {
  map_.columns[1].collation_id = 46;  // utf8mb4_bin
  map_.columns[1].metadata = 16;
  shape_.columns[1] = *column_from_map(map_.columns[1]);
  shape_.columns[1].collation = "utf8mb4_bin";
  EXPECT_EQ(
      decode("\0\x01\0\0\0\x02\xc3\x28"sv),
      "row event of table `s`.`t`: the value of column `b` in row 1 has bytes that are not valid in its "
      "character set");
}

TEST(Lenenc, HasFourWidthsAndTwoForbiddenBytes) {
  const auto read = [](std::string_view bytes, std::uint64_t& value) {
    ByteReader reader(as_bytes(bytes));
    return read_lenenc(reader, value);
  };
  std::uint64_t value = 0;
  EXPECT_TRUE(read("\xfa"sv, value));
  EXPECT_EQ(value, 250u);
  EXPECT_TRUE(read("\xfc\x01\x02"sv, value));
  EXPECT_EQ(value, 0x201u);
  EXPECT_TRUE(read("\xfd\x01\x02\x03"sv, value));
  EXPECT_EQ(value, 0x30201u);
  EXPECT_TRUE(read("\xfe\x01\0\0\0\0\0\0\x80"sv, value));
  EXPECT_EQ(value, 0x8000000000000001u);
  for (const std::string_view bad : {"\xfb"sv, "\xff"sv, ""sv, "\xfc\x01"sv, "\xfe\x01"sv})
    EXPECT_FALSE(read(bad, value));
}

}  // namespace
}  // namespace ringside::writer::binlog
