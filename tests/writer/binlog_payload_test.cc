// Compressed transactions: what a damaged or lying one may not do. What a server writes is in the recording
// mysql/compressed.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/writer/capture_events.h"
#include "tests/writer/recording.h"
#include "writer/binlog/payload.h"

namespace ringside::writer::binlog {
namespace {

using testing::EventMaker;
using testing::Recording;

TransactionPayload plain(std::string_view events) {
  return {TransactionPayload::Compression::kNone, events.size(), as_bytes(events)};
}

struct Taken {
  std::vector<std::string> events;
  std::string problem;  // empty: to the end
  ErrorKind kind = ErrorKind::kInvalid;
};

Taken take(PayloadReader& reader, const TransactionPayload& payload) {
  Taken taken;
  const auto fails = [&taken](const Error& error) {
    taken.problem = error.message;
    taken.kind = error.kind;
    return taken;
  };
  if (const auto begun = reader.begin(payload); !begun) return fails(begun.error());
  while (true) {
    const auto bytes = reader.next();
    if (!bytes) return fails(bytes.error());
    if (!*bytes) return taken;
    taken.events.emplace_back(as_text(**bytes));
  }
}

// The first payload of a recording of a server.
struct Recorded {
  Recorded() : recording("mysql/compressed") {
    for (const Bytes bytes : recording.events) {
      const auto event = decoder.decode(bytes);
      if (!event || !std::holds_alternative<TransactionPayload>(event->body)) continue;
      payload = std::get<TransactionPayload>(event->body);
      return;
    }
    ADD_FAILURE() << "no payload was recorded";
  }
  Recording recording;
  EventDecoder decoder;
  TransactionPayload payload;
};

TEST(Payload, HasItsEventsOneByOne) {
  const EventMaker make;
  const std::vector<std::string> events{make.query("BEGIN"), make.map(7, "items"),
                                        make.write(7, {{1, "one"}}), make.xid()};
  std::string all;
  for (const std::string& event : events) all += event;
  PayloadReader reader;
  EXPECT_EQ(take(reader, plain(all)).events, events);
  EXPECT_EQ(take(reader, plain(all)).events, events);  // and again, from the beginning
  EXPECT_TRUE(take(reader, plain("")).events.empty());
}

TEST(Payload, OfAServerIsWholeAndADamagedOneBetweenDoesNotMatter) {
  const Recorded recorded;
  PayloadReader reader;
  const Taken whole = take(reader, recorded.payload);
  EXPECT_EQ(whole.problem, "");
  EXPECT_GE(whole.events.size(), 3u);
  TransactionPayload damaged = recorded.payload;
  damaged.packed = damaged.packed.subspan(1);
  EXPECT_NE(take(reader, damaged).problem, "");
  EXPECT_EQ(take(reader, recorded.payload).events, whole.events);
}

TEST(Payload, EveryTruncationIsRefused) {
  const Recorded recorded;
  PayloadReader reader;
  for (std::size_t size = 0; size < recorded.payload.packed.size(); ++size) {
    TransactionPayload shorter = recorded.payload;
    shorter.packed = shorter.packed.first(size);
    const Taken taken = take(reader, shorter);
    ASSERT_NE(taken.problem, "") << size;
    EXPECT_EQ(taken.kind, ErrorKind::kCorrupt);
  }
}

TEST(Payload, AnyFlippedBitGivesNoMoreThanWasAnnounced) {
  const Recorded recorded;
  std::string packed(as_text(recorded.payload.packed));
  PayloadReader reader;
  for (std::size_t i = 0; i < packed.size(); ++i) {
    packed[i] = static_cast<char>(packed[i] ^ 1 << i % 8);
    TransactionPayload damaged = recorded.payload;
    damaged.packed = as_bytes(packed);
    std::uint64_t bytes = 0;
    for (const std::string& event : take(reader, damaged).events) bytes += event.size();
    EXPECT_LE(bytes, damaged.size);
    packed[i] = static_cast<char>(packed[i] ^ 1 << i % 8);
  }
}

TEST(Payload, ASizeThatIsNotTrueIsRefused) {
  const Recorded recorded;
  PayloadReader reader;
  for (const std::int64_t off : {-1, 1, -19, 19}) {
    TransactionPayload other = recorded.payload;
    other.size += static_cast<std::uint64_t>(off);
    const Taken taken = take(reader, other);
    EXPECT_EQ(taken.kind, ErrorKind::kCorrupt) << off << " " << taken.problem;
    EXPECT_NE(taken.problem, "") << off;
  }
  TransactionPayload huge = recorded.payload;
  huge.size = kMaxPayloadBytes + 1;
  EXPECT_EQ(take(reader, huge).kind, ErrorKind::kLimit);
}

TEST(Payload, AnEventThatNamesAnotherSizeIsRefused) {
  const EventMaker make;
  for (const std::uint32_t size : {0u, 18u, 28u, 0x7fffffffu, 0xffffffffu}) {
    std::string event = make.xid();  // 27 bytes
    store_le<std::uint32_t>(event.data() + 9, size);
    PayloadReader reader;
    EXPECT_EQ(take(reader, plain(event)).kind, ErrorKind::kCorrupt) << size;
  }
}

TEST(Payload, WhatCannotStandInOneIsRefused) {
  const EventMaker make;
  EventDecoder decoder;
  EXPECT_TRUE(decoder.decode_inner(as_bytes(make.xid())).has_value());
  for (const std::string& event :
       {make.format(), make.gtid(5), make.event(4, std::string(9, 'r')),
        make.event(33, std::string(42, '\1')), make.event(40, std::string(1, '\0'))}) {
    const auto refused = decoder.decode_inner(as_bytes(event));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
  }
}

// Fields: 1 the packed size, 2 the method, 3 the unpacked size; 0 ends them.
TEST(Payload, FieldsThatContradictTheEventAreRefused) {
  using namespace std::string_literals;
  EXPECT_TRUE(decode_payload(as_bytes("\1\1\2\2\3\374\377\0\0ab"s)).has_value());  // method 255 as 252 255 0
  EXPECT_FALSE(
      decode_payload(as_bytes("\1\1\3\2\3\374\377\0\0ab"s)).has_value());  // three bytes, where there are two
  EXPECT_FALSE(decode_payload(as_bytes("\1\1\2\2\1\0\0ab"s)).has_value());  // zstd without the unpacked size
  EXPECT_FALSE(decode_payload(as_bytes("\1\1\2\2\1\0\3\1"s)).has_value());  // no end
  EXPECT_FALSE(decode_payload(as_bytes("\1\11\2"s)).has_value());
  const auto other = decode_payload(as_bytes("\1\1\2\2\1\7\3\1\11\0ab"s));
  ASSERT_TRUE(other.has_value());
  EXPECT_TRUE(std::holds_alternative<Unsupported>(*other));
}

}  // namespace
}  // namespace ringside::writer::binlog
