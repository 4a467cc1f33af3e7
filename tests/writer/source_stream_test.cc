// The binlog stream against a real server: resuming, ending, interrupting, silence, and each refusal by its
// kind.
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "base/clock.h"
#include "tests/support/both_servers.h"
#include "tests/support/stalling_proxy.h"
#include "writer/binlog/event.h"
#include "writer/source/binlog_stream.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

using testing::BothServers;
using testing::DatabaseServer;
using testing::StallingProxy;
using Outcome = BinlogStream::Outcome;

constexpr std::uint64_t kPatienceNs = 30'000'000'000;
constexpr std::size_t kHeader = 19;
constexpr unsigned kMariadbGtidEvent = 162;
constexpr unsigned kMysqlGtidEvent = 33;

unsigned type_of(Bytes event) {
  return std::to_integer<unsigned>(event[4]);
}
bool is_gtid(Bytes event) {
  return type_of(event) == kMariadbGtidEvent || type_of(event) == kMysqlGtidEvent;
}
std::uint64_t sequence_of(Bytes gtid_event) {
  // MySQL's has flags and the server's UUID before it.
  const std::size_t at = type_of(gtid_event) == kMysqlGtidEvent ? kHeader + 17 : kHeader;
  return load_le<std::uint64_t>(gtid_event.data() + at);
}

StreamOptions options_from(std::string position, std::uint32_t server_id = 7001) {
  StreamOptions options;
  options.position = std::move(position);
  options.server_id = server_id;
  options.heartbeat = std::chrono::milliseconds(100);
  options.watchdog = std::chrono::milliseconds(5000);
  return options;
}

std::unique_ptr<BinlogStream> open_stream(const MysqlConfig& config, const StreamOptions& options) {
  auto stream = BinlogStream::open(config, options);
  if (!stream) {
    ADD_FAILURE() << stream.error().message;
    return nullptr;
  }
  return std::move(*stream);
}

// The sequence numbers of the GTID events up to and including `last`.
std::vector<std::uint64_t> read_until(BinlogStream& stream, std::uint64_t last) {
  std::vector<std::uint64_t> sequences;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (sequences.empty() || sequences.back() != last) {
    const BinlogStream::Packet packet = stream.read_packet(deadline);
    if (packet.outcome == Outcome::kHeartbeat) continue;
    if (packet.outcome != Outcome::kEvent) {
      ADD_FAILURE() << "no event: "
                    << (packet.outcome == Outcome::kTimeout ? "time-out" : stream.error().message);
      break;
    }
    if (is_gtid(packet.event)) sequences.push_back(sequence_of(packet.event));
  }
  return sequences;
}

// Reads until the stream ends or fails; false on time-out.
bool read_to_the_end(BinlogStream& stream, Outcome& outcome) {
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (true) {
    outcome = stream.read_packet(deadline).outcome;
    if (outcome == Outcome::kTimeout) return false;
    if (outcome == Outcome::kEnd || outcome == Outcome::kFailed) return true;
  }
}

class SourceStream : public BothServers {
 protected:
  void SetUp() override {
    BothServers::SetUp();
    if (!IsSkipped()) server().sql("CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)");
  }
  void insert(int id) { server().sql("INSERT INTO shop.t VALUES (" + std::to_string(id) + ", 0)"); }
  // Of this test's transactions, which have no holes.
  std::uint64_t last_sequence() {
    const std::string text = position();
    return std::stoull(text.substr(text.rfind('-') + 1));
  }
};
RINGSIDE_ON_BOTH_SERVERS(SourceStream);

TEST_P(SourceStream, StartsAtTheFirstTransactionAndResumesAfterAnyOther) {
  for (int i = 1; i <= 8; ++i) insert(i);
  const std::uint64_t last = last_sequence();
  auto stream = open_stream(server().config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  const auto all = read_until(*stream, last);
  ASSERT_EQ(all.size(), last);
  for (std::uint64_t known = 1; known < last; ++known) {
    stream = open_stream(server().config("shop"),
                         options_from(position_after(known), static_cast<std::uint32_t>(7001 + known)));
    ASSERT_NE(stream, nullptr);
    const auto rest = read_until(*stream, last);
    EXPECT_EQ(rest, std::vector<std::uint64_t>(all.begin() + static_cast<std::ptrdiff_t>(known), all.end()));
  }
}

TEST_P(SourceStream, SurvivesItsServersRestartByResuming) {
  insert(1);
  const std::uint64_t before = last_sequence();
  auto stream = open_stream(server().config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  read_until(*stream, before);
  server().kill();
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kLostConnection);
  const auto refused = BinlogStream::open(server().config("shop"), options_from(""));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  server().start();
  insert(2);
  stream = open_stream(server().config("shop"), options_from(position_after(before)));
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(read_until(*stream, before + 1), std::vector<std::uint64_t>{before + 1});
}

TEST_P(SourceStream, EndsWhenTheServerShutsDown) {
  auto stream = open_stream(server().config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence());
  server().stop();
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  // MariaDB drops the connection; MySQL says goodbye.
  EXPECT_EQ(outcome, is_mysql() ? Outcome::kEnd : Outcome::kFailed);
  EXPECT_EQ(stream->failure(), StreamFailure::kLostConnection);
}

TEST_P(SourceStream, AnIdleSourceSendsHeartbeats) {
  auto stream = open_stream(server().config("shop"), options_from(position()));
  ASSERT_NE(stream, nullptr);
  int heartbeats = 0;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (heartbeats < 3) {
    const auto packet = stream->read_packet(deadline);
    ASSERT_TRUE(packet.outcome == Outcome::kEvent || packet.outcome == Outcome::kHeartbeat);
    if (packet.outcome != Outcome::kHeartbeat) continue;
    ++heartbeats;
    EXPECT_EQ(type_of(packet.event), is_mysql() ? 41u : 27u);
  }
}

TEST_P(SourceStream, AnExpiredDeadlineReadsOnlyWhatIsThere) {
  StreamOptions options = options_from(position());
  options.heartbeat = std::chrono::milliseconds(4000);
  auto stream = open_stream(server().config("shop"), options);
  ASSERT_NE(stream, nullptr);
  // The preamble comes at once, then nothing for the heartbeat's time.
  const std::uint64_t deadline = monotonic_ns() + 1'000'000'000;
  while (stream->read_packet(deadline).outcome == Outcome::kEvent) {
  }
  EXPECT_EQ(stream->read_packet(0).outcome, Outcome::kTimeout);
}

TEST_P(SourceStream, SaysThatDataIsWaitingUntilTheLastQueuedEventIsRead) {
  for (int i = 1; i <= 300; ++i) insert(i);  // far more than one read of the library takes off the socket
  const std::uint64_t last = last_sequence();
  auto stream = open_stream(server().config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  // After a packet of which the next has surely arrived (its transaction's end follows in the same write).
  std::uint64_t waiting = 0;
  std::uint64_t seen = 0;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (seen < last) {
    const auto packet = stream->read_packet(deadline);
    ASSERT_TRUE(packet.outcome == Outcome::kEvent || packet.outcome == Outcome::kHeartbeat);
    if (is_gtid(packet.event)) seen = sequence_of(packet.event);
    if (stream->data_is_waiting()) {
      ++waiting;
      const auto outcome = stream->read_packet(0).outcome;  // so it must be there now
      ASSERT_TRUE(outcome == Outcome::kEvent || outcome == Outcome::kHeartbeat);
    }
  }
  EXPECT_GT(waiting, 0u);
}

TEST_P(SourceStream, InterruptEndsABlockingRead) {
  StreamOptions options = options_from("");
  options.heartbeat = std::chrono::milliseconds(20'000);
  options.watchdog = std::chrono::milliseconds(60'000);
  auto stream = open_stream(server().config("shop"), options);
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence());
  std::thread other([&stream] { stream->interrupt(); });
  Outcome outcome{};
  const bool has_ended = read_to_the_end(*stream, outcome);
  other.join();
  ASSERT_TRUE(has_ended);
  EXPECT_EQ(outcome, Outcome::kFailed);
  EXPECT_EQ(stream->failure(), StreamFailure::kInterrupted);
  EXPECT_EQ(stream->read_packet(0).outcome, Outcome::kFailed);
}

TEST_P(SourceStream, SilenceBeyondTheWatchdogIsHalfDead) {
  StallingProxy proxy(server().directory() / "proxy", server().socket());
  MysqlConfig config = server().config("shop");
  config.socket = proxy.path();
  StreamOptions options = options_from("");
  options.watchdog = std::chrono::milliseconds(600);
  auto stream = open_stream(config, options);
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence());
  proxy.stall();
  const std::uint64_t stalled = monotonic_ns();
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kHalfDead);
  EXPECT_GE(monotonic_ns() - stalled, std::uint64_t{400'000'000});  // not before its time
  EXPECT_NE(stream->error().message.find("writer.watchdog"), std::string::npos);
}

TEST_P(SourceStream, SilenceInTheMiddleOfAnEventIsHalfDead) {
  StallingProxy proxy(server().directory() / "proxy", server().socket());
  MysqlConfig config = server().config("shop");
  config.socket = proxy.path();
  StreamOptions options = options_from(position());
  options.watchdog = std::chrono::milliseconds(600);
  auto stream = open_stream(config, options);
  ASSERT_NE(stream, nullptr);
  // Larger than all that comes before it and than any buffer on the way.
  proxy.stall_after(200'000);
  server().sql_all({"CREATE TABLE shop.big (id INT PRIMARY KEY, v LONGTEXT)",
                    "INSERT INTO shop.big VALUES (1, REPEAT('x', 8000000))"});
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kHalfDead) << stream->error().message;
}

TEST_P(SourceStream, EventsLargerThanAPacketArriveWhole) {
  const std::string before = position();
  server().sql_all(
      {"SET GLOBAL max_allowed_packet=1073741824", "CREATE TABLE shop.big (id INT PRIMARY KEY, v LONGTEXT)"});
  MysqlConfig config = server().config("shop");
  auto session = Connection::open(config, {});
  ASSERT_TRUE(session);
  ASSERT_TRUE((*session)->execute("INSERT INTO shop.big VALUES (1, REPEAT('x', 40000000))"));
  auto stream = open_stream(config, options_from(before));
  ASSERT_NE(stream, nullptr);
  std::size_t largest = 0;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (largest < 40'000'000) {
    const auto packet = stream->read_packet(deadline);
    ASSERT_TRUE(packet.outcome == Outcome::kEvent || packet.outcome == Outcome::kHeartbeat);
    // The event's own size field must agree with the bytes that came.
    ASSERT_EQ(load_le<std::uint32_t>(packet.event.data() + 9), packet.event.size());
    largest = std::max(largest, packet.event.size());
  }
}

TEST_P(SourceStream, AFrozenServerIsHalfDead) {
  StreamOptions options = options_from("");
  options.watchdog = std::chrono::milliseconds(600);
  auto stream = open_stream(server().config("shop"), options);
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence());
  server().freeze();
  Outcome outcome{};
  const bool has_ended = read_to_the_end(*stream, outcome);
  server().thaw();
  ASSERT_TRUE(has_ended);
  EXPECT_EQ(stream->failure(), StreamFailure::kHalfDead);
}

TEST_P(SourceStream, AnotherReaderOfTheSameIdIsNoticed) {
  auto first = open_stream(server().config("shop"), options_from("", 7002));
  ASSERT_NE(first, nullptr);
  read_until(*first, last_sequence());
  auto second = open_stream(server().config("shop"), options_from("", 7002));
  ASSERT_NE(second, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*first, outcome));
  EXPECT_EQ(first->failure(), StreamFailure::kReplacedId) << first->error().message;
  EXPECT_EQ(read_until(*second, last_sequence()).back(), last_sequence());
}

TEST_P(SourceStream, APurgedPositionIsLostHistory) {
  insert(1);
  server().purge_binlogs();
  insert(2);
  auto stream = open_stream(server().config("shop"), options_from(position_after(1)));
  ASSERT_NE(stream, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kPurged) << stream->error().message;
}

TEST_P(SourceStream, APositionAheadOfTheServerIsDiverged) {
  StreamOptions options = options_from(position_after(4711));
  options.watchdog = std::chrono::milliseconds(1000);  // MySQL is asked for half of it
  auto stream = open_stream(server().config("shop"), options);
  ASSERT_NE(stream, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kDiverged) << stream->error().message;
}

// MySQL would accept it, since it looks for its own transactions only.
TEST_P(SourceStream, APositionOfAnotherServersTransactionsIsDiverged) {
  if (!is_mysql()) GTEST_SKIP() << "MariaDB's positions name a domain, whoever wrote in it";
  StreamOptions options = options_from(position_after(2) + ",11111111-2222-3333-4444-555555555555:1-9");
  options.watchdog = std::chrono::milliseconds(1000);
  auto stream = open_stream(server().config("shop"), options);
  ASSERT_NE(stream, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kDiverged) << stream->error().message;
  EXPECT_NE(stream->error().message.find("11111111-2222-3333-4444-555555555555:1-9"), std::string::npos);
}

TEST_P(SourceStream, MissingPrivilegeAndWrongPasswordAreSaid) {
  server().sql_all({"DROP USER IF EXISTS reader", "CREATE USER reader IDENTIFIED BY 'right'",
                    "GRANT SELECT ON shop.* TO reader"});
  MysqlConfig config = server().config("shop");
  config.user = "reader";
  config.password = Secret("right");
  auto stream = open_stream(config, options_from(""));
  ASSERT_NE(stream, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kPrivilege) << stream->error().message;
  config.password = Secret("not-this-one");
  const auto refused = BinlogStream::open(config, options_from(""));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(refused.error().message.find("not-this-one"), std::string::npos);
}

// The GTIDs of the stream up to and including `last`, as the server prints them.
std::vector<std::string> read_gtids_until(BinlogStream& stream, const std::string& last) {
  std::vector<std::string> gtids;
  binlog::EventDecoder decoder;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (gtids.empty() || gtids.back() != last) {
    const BinlogStream::Packet packet = stream.read_packet(deadline);
    if (packet.outcome != Outcome::kEvent && packet.outcome != Outcome::kHeartbeat) {
      ADD_FAILURE() << "no event: " << stream.error().message;
      break;
    }
    const auto event = decoder.decode(packet.event);
    if (!event) {
      ADD_FAILURE() << event.error().message;
      break;
    }
    const auto* gtid = std::get_if<binlog::MysqlGtid>(&event->body);
    if (gtid == nullptr) continue;
    MysqlGtidSet::Source source;
    std::memcpy(source.uuid.data(), gtid->uuid.data(), source.uuid.size());
    EXPECT_TRUE(gtid->tag.empty() || source.tag.assign(gtid->tag));
    gtids.push_back(shm::to_string(source, gtid->number));
  }
  return gtids;
}

// Any position, with tags or without, brings exactly what is not in it.
TEST_P(SourceStream, TaggedGtidsAreResumedFromAnyOfThem) {
  if (!is_mysql()) GTEST_SKIP() << "tags are MySQL's";
  const std::string uuid = server().query_value("SELECT @@server_uuid");
  const std::string other = "11111111-2222-3333-4444-555555555555";
  std::vector<std::string> expected = {uuid + ":1", uuid + ":2"};  // database and table
  int id = 0;
  for (const std::string next :
       {"AUTOMATIC:blue", "AUTOMATIC", "AUTOMATIC:a_longer_tag_of_32_characters_00", "AUTOMATIC:blue",
        "11111111-2222-3333-4444-555555555555:7", "11111111-2222-3333-4444-555555555555:zz:9", "AUTOMATIC"}) {
    server().sql("SET gtid_next='" + next + "'");
    insert(++id);
  }
  server().sql("SET gtid_next='AUTOMATIC'");
  for (const std::string& gtid : {uuid + ":blue:1", uuid + ":3", uuid + ":a_longer_tag_of_32_characters_00:1",
                                  uuid + ":blue:2", other + ":7", other + ":zz:9", uuid + ":4"}) {
    expected.push_back(gtid);
  }
  MysqlGtidSet known;
  std::uint32_t server_id = 7100;
  for (std::size_t first = 0; first < expected.size(); ++first) {
    auto stream = open_stream(server().config("shop"), options_from(known.to_string(), ++server_id));
    ASSERT_NE(stream, nullptr);
    EXPECT_EQ(read_gtids_until(*stream, expected.back()),
              std::vector<std::string>(expected.begin() + static_cast<std::ptrdiff_t>(first), expected.end()))
        << known.to_string();
    known.add(*MysqlGtidSet::parse(expected[first]));
  }
  EXPECT_EQ(known, *MysqlGtidSet::parse(position()));
}

TEST(SourceStreamErrors, AreClassifiedByNumberAndText) {
  EXPECT_EQ(classify_stream_error(2013, "Lost connection"), StreamFailure::kLostConnection);
  EXPECT_EQ(classify_stream_error(2026, "TLS/SSL error: unexpected eof while reading"),
            StreamFailure::kLostConnection);
  EXPECT_EQ(classify_stream_error(1236,
                                  "Cannot replicate anonymous transaction when AUTO_POSITION = 1, at file "
                                  "./binlog.000003, position 244."),
            StreamFailure::kDiverged);
  EXPECT_EQ(classify_stream_error(1227, "Access denied"), StreamFailure::kPrivilege);
  EXPECT_EQ(classify_stream_error(4052, ""), StreamFailure::kReplacedId);
  EXPECT_EQ(classify_stream_error(1236, "A replica with the same server_uuid/server_id as this replica"),
            StreamFailure::kReplacedId);
  EXPECT_EQ(classify_stream_error(
                1236,
                "Cannot replicate because the source purged required binary logs. Replicate the missing "
                "transactions from elsewhere, or provision a new replica from backup."),
            StreamFailure::kPurged);
  EXPECT_EQ(classify_stream_error(
                1236, "Replica has more GTIDs than the source has, using the source's SERVER_UUID."),
            StreamFailure::kDiverged);
  EXPECT_EQ(classify_stream_error(1236, "event read from binlog did not pass crc check"),
            StreamFailure::kOther);
  EXPECT_EQ(classify_stream_error(1064, "syntax"), StreamFailure::kOther);
}

TEST(SourceStreamOptions, AreChecked) {
  MysqlConfig config;
  StreamOptions options = options_from("");
  options.server_id = 0;
  EXPECT_FALSE(BinlogStream::open(config, options));
  options.server_id = 1;
  options.watchdog = options.heartbeat;
  EXPECT_FALSE(BinlogStream::open(config, options));
}

}  // namespace
}  // namespace ringside::writer
