// The binlog stream against a real server: resuming, ending, interrupting, silence, and each refusal by its
// kind.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "base/clock.h"
#include "tests/support/mariadb_server.h"
#include "tests/support/stalling_proxy.h"
#include "writer/source/binlog_stream.h"
#include "writer/source/gtid.h"

namespace ringside::writer {
namespace {

using testing::MariadbServer;
using testing::StallingProxy;
using Outcome = BinlogStream::Outcome;

constexpr std::uint64_t kPatienceNs = 30'000'000'000;
constexpr std::size_t kHeader = 19;
constexpr unsigned kGtidEvent = 162;

unsigned type_of(Bytes event) {
  return std::to_integer<unsigned>(event[4]);
}
std::uint64_t sequence_of(Bytes gtid_event) {
  return load_le<std::uint64_t>(gtid_event.data() + kHeader);
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
    if (type_of(packet.event) == kGtidEvent) sequences.push_back(sequence_of(packet.event));
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

std::uint64_t last_sequence(MariadbServer& server) {
  return parse_mariadb_gtid(server.query_value("SELECT @@gtid_binlog_pos"))->sequence;
}

class SourceStream : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.sql_all({"CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)"});
  }
  void insert(int id) { server_.sql("INSERT INTO shop.t VALUES (" + std::to_string(id) + ", 0)"); }

  MariadbServer server_;
};

TEST_F(SourceStream, StartsAtTheFirstTransactionAndResumesAfterAnyOther) {
  for (int i = 1; i <= 8; ++i) insert(i);
  const std::uint64_t last = last_sequence(server_);
  auto stream = open_stream(server_.config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  const auto all = read_until(*stream, last);
  ASSERT_EQ(all.size(), last);
  for (std::uint64_t known = 1; known < last; ++known) {
    stream = open_stream(server_.config("shop"), options_from("0-1-" + std::to_string(known),
                                                              static_cast<std::uint32_t>(7001 + known)));
    ASSERT_NE(stream, nullptr);
    const auto rest = read_until(*stream, last);
    EXPECT_EQ(rest, std::vector<std::uint64_t>(all.begin() + static_cast<std::ptrdiff_t>(known), all.end()));
  }
}

TEST_F(SourceStream, SurvivesItsServersRestartByResuming) {
  insert(1);
  const std::uint64_t before = last_sequence(server_);
  auto stream = open_stream(server_.config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  read_until(*stream, before);
  server_.kill();
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kLostConnection);
  const auto refused = BinlogStream::open(server_.config("shop"), options_from(""));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  server_.start();
  insert(2);
  stream = open_stream(server_.config("shop"), options_from("0-1-" + std::to_string(before)));
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(read_until(*stream, before + 1), std::vector<std::uint64_t>{before + 1});
}

TEST_F(SourceStream, EndsWhenTheServerShutsDown) {
  auto stream = open_stream(server_.config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence(server_));
  server_.stop();
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kLostConnection);
}

TEST_F(SourceStream, AnIdleSourceSendsHeartbeats) {
  auto stream =
      open_stream(server_.config("shop"), options_from(server_.query_value("SELECT @@gtid_binlog_pos")));
  ASSERT_NE(stream, nullptr);
  int heartbeats = 0;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (heartbeats < 3) {
    const auto packet = stream->read_packet(deadline);
    ASSERT_TRUE(packet.outcome == Outcome::kEvent || packet.outcome == Outcome::kHeartbeat);
    if (packet.outcome == Outcome::kHeartbeat) ++heartbeats;
  }
}

TEST_F(SourceStream, AnExpiredDeadlineReadsOnlyWhatIsThere) {
  StreamOptions options = options_from(server_.query_value("SELECT @@gtid_binlog_pos"));
  options.heartbeat = std::chrono::milliseconds(4000);
  auto stream = open_stream(server_.config("shop"), options);
  ASSERT_NE(stream, nullptr);
  // The preamble comes at once, then nothing for the heartbeat's time.
  const std::uint64_t deadline = monotonic_ns() + 1'000'000'000;
  while (stream->read_packet(deadline).outcome == Outcome::kEvent) {
  }
  EXPECT_EQ(stream->read_packet(0).outcome, Outcome::kTimeout);
}

TEST_F(SourceStream, SaysThatDataIsWaitingUntilTheLastQueuedEventIsRead) {
  for (int i = 1; i <= 300; ++i) insert(i);  // far more than one read of the library takes off the socket
  const std::uint64_t last = last_sequence(server_);
  auto stream = open_stream(server_.config("shop"), options_from(""));
  ASSERT_NE(stream, nullptr);
  // After a packet of which the next has surely arrived (its transaction's end follows in the same write).
  std::uint64_t waiting = 0;
  std::uint64_t seen = 0;
  const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
  while (seen < last) {
    const auto packet = stream->read_packet(deadline);
    ASSERT_TRUE(packet.outcome == Outcome::kEvent || packet.outcome == Outcome::kHeartbeat);
    if (type_of(packet.event) == kGtidEvent) seen = sequence_of(packet.event);
    if (stream->data_is_waiting()) {
      ++waiting;
      const auto outcome = stream->read_packet(0).outcome;  // so it must be there now
      ASSERT_TRUE(outcome == Outcome::kEvent || outcome == Outcome::kHeartbeat);
    }
  }
  EXPECT_GT(waiting, 0u);
}

TEST_F(SourceStream, InterruptEndsABlockingRead) {
  StreamOptions options = options_from("");
  options.heartbeat = std::chrono::milliseconds(20'000);
  options.watchdog = std::chrono::milliseconds(60'000);
  auto stream = open_stream(server_.config("shop"), options);
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence(server_));
  std::thread other([&stream] { stream->interrupt(); });
  Outcome outcome{};
  const bool has_ended = read_to_the_end(*stream, outcome);
  other.join();
  ASSERT_TRUE(has_ended);
  EXPECT_EQ(outcome, Outcome::kFailed);
  EXPECT_EQ(stream->failure(), StreamFailure::kInterrupted);
  EXPECT_EQ(stream->read_packet(0).outcome, Outcome::kFailed);
}

TEST_F(SourceStream, SilenceBeyondTheWatchdogIsHalfDead) {
  StallingProxy proxy(server_.directory() / "proxy", server_.socket());
  MysqlConfig config = server_.config("shop");
  config.socket = proxy.path();
  StreamOptions options = options_from("");
  options.watchdog = std::chrono::milliseconds(600);
  auto stream = open_stream(config, options);
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence(server_));
  proxy.stall();
  const std::uint64_t stalled = monotonic_ns();
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kHalfDead);
  EXPECT_GE(monotonic_ns() - stalled, std::uint64_t{400'000'000});  // not before its time
  EXPECT_NE(stream->error().message.find("writer.watchdog"), std::string::npos);
}

TEST_F(SourceStream, SilenceInTheMiddleOfAnEventIsHalfDead) {
  StallingProxy proxy(server_.directory() / "proxy", server_.socket());
  MysqlConfig config = server_.config("shop");
  config.socket = proxy.path();
  StreamOptions options = options_from(server_.query_value("SELECT @@gtid_binlog_pos"));
  options.watchdog = std::chrono::milliseconds(600);
  auto stream = open_stream(config, options);
  ASSERT_NE(stream, nullptr);
  // Larger than all that comes before it and than any buffer on the way.
  proxy.stall_after(200'000);
  server_.sql_all({"CREATE TABLE shop.big (id INT PRIMARY KEY, v LONGTEXT)",
                   "INSERT INTO shop.big VALUES (1, REPEAT('x', 8000000))"});
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kHalfDead) << stream->error().message;
}

TEST_F(SourceStream, EventsLargerThanAPacketArriveWhole) {
  const std::string before = server_.query_value("SELECT @@gtid_binlog_pos");
  server_.sql_all(
      {"SET GLOBAL max_allowed_packet=1073741824", "CREATE TABLE shop.big (id INT PRIMARY KEY, v LONGTEXT)"});
  MysqlConfig config = server_.config("shop");
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

TEST_F(SourceStream, AFrozenServerIsHalfDead) {
  StreamOptions options = options_from("");
  options.watchdog = std::chrono::milliseconds(600);
  auto stream = open_stream(server_.config("shop"), options);
  ASSERT_NE(stream, nullptr);
  read_until(*stream, last_sequence(server_));
  server_.freeze();
  Outcome outcome{};
  const bool has_ended = read_to_the_end(*stream, outcome);
  server_.thaw();
  ASSERT_TRUE(has_ended);
  EXPECT_EQ(stream->failure(), StreamFailure::kHalfDead);
}

TEST_F(SourceStream, AnotherReaderOfTheSameIdIsNoticed) {
  auto first = open_stream(server_.config("shop"), options_from("", 7002));
  ASSERT_NE(first, nullptr);
  read_until(*first, last_sequence(server_));
  auto second = open_stream(server_.config("shop"), options_from("", 7002));
  ASSERT_NE(second, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*first, outcome));
  EXPECT_EQ(first->failure(), StreamFailure::kReplacedId) << first->error().message;
  EXPECT_EQ(read_until(*second, last_sequence(server_)).back(), last_sequence(server_));
}

TEST_F(SourceStream, APurgedPositionIsLostHistory) {
  insert(1);
  server_.purge_binlogs();
  insert(2);
  auto stream = open_stream(server_.config("shop"), options_from("0-1-1"));
  ASSERT_NE(stream, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kPurged) << stream->error().message;
}

TEST_F(SourceStream, APositionAheadOfTheServerIsDiverged) {
  auto stream = open_stream(server_.config("shop"), options_from("0-1-4711"));
  ASSERT_NE(stream, nullptr);
  Outcome outcome{};
  ASSERT_TRUE(read_to_the_end(*stream, outcome));
  EXPECT_EQ(stream->failure(), StreamFailure::kDiverged) << stream->error().message;
}

TEST_F(SourceStream, MissingPrivilegeAndWrongPasswordAreSaid) {
  server_.sql_all({"CREATE USER reader IDENTIFIED BY 'right'", "GRANT SELECT ON shop.* TO reader"});
  MysqlConfig config = server_.config("shop");
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

TEST(SourceStreamErrors, AreClassifiedByNumberAndText) {
  EXPECT_EQ(classify_stream_error(2013, "Lost connection"), StreamFailure::kLostConnection);
  EXPECT_EQ(classify_stream_error(1227, "Access denied"), StreamFailure::kPrivilege);
  EXPECT_EQ(classify_stream_error(4052, ""), StreamFailure::kReplacedId);
  EXPECT_EQ(classify_stream_error(1236, "A replica with the same server_uuid/server_id as this replica"),
            StreamFailure::kReplacedId);
  EXPECT_EQ(classify_stream_error(1236, "Cannot replicate because the source purged required binary logs."),
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
