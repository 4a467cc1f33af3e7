// Capture against a real server: snapshot and stream, lost connections, lost histories. (No room: capture_room_test.cc.)
#include <filesystem>
#include <fstream>

#include "tests/support/stalling_proxy.h"
#include "tests/writer/capture_fixture.h"
#include "writer/source/binlog_stream.h"

namespace ringside::writer {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using testing::CaptureFixture;
using testing::CaptureMirror;
using testing::DatabaseServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::OtherSession;

class CaptureStream : public CaptureFixture {
 protected:
  void SetUp() override {
    CaptureFixture::SetUp();
    if (IsSkipped()) return;
    server_->sql_all(
        {"CREATE TABLE a (id INT PRIMARY KEY, v INT)", "CREATE TABLE b (id INT PRIMARY KEY, v INT)"});
  }
  void insert(int from, int to) {
    for (int id = from; id <= to; ++id) server_->sql("INSERT INTO a VALUES (" + std::to_string(id) + ", 0)");
  }
};

class CaptureStreamOfMariadb : public CaptureStream {};
class CaptureStreamOfMysql : public CaptureStream {};

// Money moves between two tables; at every version the ring's total must be the same.
TEST_P(CaptureStream, SnapshotAndStreamAreExactUnderConcurrentWriters) {
  constexpr int kAccounts = 20;
  constexpr long kTotal = 2 * kAccounts * 100;
  for (int id = 1; id <= kAccounts; ++id) {
    server_->sql_all({"INSERT INTO a VALUES (" + std::to_string(id) + ", 100)",
                      "INSERT INTO b VALUES (" + std::to_string(id) + ", 100)"});
  }
  std::size_t checked = 0;
  mirror_.on_commit = [&](const CaptureMirror& mirror) {
    if (mirror.table("a") == nullptr || mirror.table("b") == nullptr) return;
    long total = 0;
    for (const char* name : {"a", "b"}) {
      for (const auto& [key, values] : *mirror.table(name)) total += std::stol(values[1]);
    }
    EXPECT_EQ(total, kTotal) << "at version " << mirror.version;
    ++checked;
  };
  std::atomic<bool> ends{false};
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 3; ++writer) {
    writers.emplace_back([&, writer] {
      OtherSession session(server_->config("shop"));
      for (int i = 0; i < 4000 && !ends.load(std::memory_order_relaxed); ++i) {
        const std::string from = std::to_string(1 + (i * 7 + writer) % kAccounts);
        const std::string to = std::to_string(1 + (i * 3 + 5 * writer) % kAccounts);
        const std::string amount = std::to_string(1 + i % 5);
        // Deadlocks are rolled back by the server, and are no transaction.
        if (!session.run("BEGIN") || !session.run("UPDATE a SET v = v - " + amount + " WHERE id = " + from) ||
            !session.run("UPDATE b SET v = v + " + amount + " WHERE id = " + to) || !session.run("COMMIT")) {
          session.run("ROLLBACK");
        }
      }
    });
  }
  start();
  EXPECT_TRUE(until([&] { return checked >= 200; }));
  ends.store(true, std::memory_order_relaxed);
  for (std::thread& writer : writers) writer.join();
  expect_equal_version();
  expect_equal_pairs("a");
  expect_equal_pairs("b");
  EXPECT_EQ(status().snapshots, 1u);
  EXPECT_TRUE(mirror_.quarantined.empty());
}

TEST_P(CaptureStream, NothingIsLostWhenTheServerStopsOrCrashesWhileWriting) {
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  std::atomic<bool> ends{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    OtherSession session(server_->config("shop"));
    for (int id = 1; !ends.load(std::memory_order_relaxed); ++id) {
      if (session.run("INSERT INTO a VALUES (" + std::to_string(id) + ", " + std::to_string(id) + ")"))
        ++written;
    }
  });
  for (int round = 0; round < 3; ++round) {
    const int before = written.load();
    EXPECT_TRUE(until([&] { return written.load() > before + 20; }));
    round == 1 ? server_->stop() : server_->kill();
    server_->start();
  }
  const int before = written.load();
  EXPECT_TRUE(until([&] { return written.load() > before + 20; }));
  ends.store(true);
  writer.join();
  expect_equal_version();
  expect_equal_pairs("a");
  EXPECT_EQ(mirror_.epoch(), epoch);
  EXPECT_EQ(status().snapshots, 1u);
  EXPECT_FALSE(status().reconnects.empty());
  EXPECT_TRUE(mirror_.quarantined.empty());
}

TEST_P(CaptureStream, AConnectionThatStallsIsNoticedAndReplaced) {
  const std::string path = server_->directory() / "proxy";
  auto proxy = std::make_unique<ringside::testing::StallingProxy>(path, server_->socket());
  config_.mysql.socket = path;
  config_.writer.watchdog = std::chrono::milliseconds(500);
  start_and_load();
  proxy->stall();
  insert(1, 1);
  EXPECT_TRUE(
      until_status([](const CaptureStatus& s) { return s.reconnects.contains("half-dead connection"); }));
  EXPECT_TRUE(
      until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kReconnecting; }));
  EXPECT_THAT(status().reason, HasSubstr("writer.watchdog"));
  proxy.reset();
  proxy = std::make_unique<ringside::testing::StallingProxy>(path, server_->socket());
  expect_equal_version();
  expect_equal_pairs("a");
  EXPECT_EQ(status().snapshots, 1u);
}

// In mid-snapshot, and while the source says nothing at all.
TEST_P(CaptureStream, StopsWhateverItIsBlockedIn) {
  server_->sql("CREATE TABLE big (id INT PRIMARY KEY, t TEXT)");
  server_->sql("INSERT INTO big SELECT seq, REPEAT('x', 1000) FROM " + sequence(3000));
  const std::string path = server_->directory() / "proxy";
  {
    ringside::testing::StallingProxy proxy(path, server_->socket());
    config_.mysql.socket = path;
    history_ = [this](const std::string& lost) { return source_history(server_->config("shop"), lost); };
    proxy.stall_after(1'500'000);
    start();
    // Wherever it is then: mostly in the table's rows, of which it has got half.
    EXPECT_TRUE(until([&] { return status().reason.starts_with("loading a snapshot"); }));
    EXPECT_TRUE(stop()) << ended_.error().message;
  }
  config_.mysql.socket = server_->socket();
  start_and_load();
  EXPECT_EQ(mirror_.lines("big").size(), 3000u);
  server_->freeze();
  EXPECT_TRUE(stop());
  server_->thaw();
}

// --- restarts

TEST_P(CaptureStream, AWriterStartedAgainGoesOnWithoutASnapshot) {
  insert(1, 5);
  start_and_load();
  insert(6, 10);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  ASSERT_TRUE(stop());
  insert(11, 15);
  server_->sql("UPDATE a SET v = 7 WHERE id < 4");
  start();
  expect_equal_version();
  expect_equal_pairs("a");
  EXPECT_EQ(status().snapshots, 0u);
  EXPECT_EQ(status().table_loads, 0u);
  EXPECT_EQ(mirror_.epoch(), epoch);
  EXPECT_EQ(history_id(), history);
}

TEST_P(CaptureStream, ARestartBeforeTheFirstTransactionGoesOnToo) {
  insert(1, 5);
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  ASSERT_TRUE(stop());
  start();
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
  insert(6, 7);
  expect_equal_version();
  expect_equal_pairs("a");
  EXPECT_EQ(status().snapshots, 0u);
  EXPECT_EQ(mirror_.epoch(), epoch);
}

TEST_P(CaptureStream, TablesChangedWhileNobodyLookedAreFound) {
  server_->sql("CREATE TABLE c (id INT PRIMARY KEY, v INT)");
  config_.mysql.exclude = {"b"};
  start_and_load();
  EXPECT_EQ(mirror_.table("b"), nullptr);
  ASSERT_TRUE(stop());
  // Behind the binlog's back, and by the configuration.
  server_->sql_all({"SET sql_log_bin = 0", "ALTER TABLE a ADD COLUMN w INT DEFAULT 5",
                    "INSERT INTO a VALUES (1, 1, 1)", "SET sql_log_bin = 1", "INSERT INTO b VALUES (3, 4)"});
  config_.mysql.exclude = {"c"};
  start();
  expect_equal("a", "SELECT CONCAT_WS('\t', id, v, w)");
  expect_equal_pairs("b");
  EXPECT_TRUE(until([&] { return mirror_.table("c") == nullptr && !mirror_.quarantined.contains("c"); }));
  EXPECT_EQ(status().snapshots, 0u);
  server_->sql("INSERT INTO a VALUES (2, 2, 2)");
  expect_equal("a", "SELECT CONCAT_WS('\t', id, v, w)");
}

TEST_P(CaptureStream, AnotherDatabaseIsAnotherRing) {
  start_and_load();
  ASSERT_TRUE(stop());
  server_->sql_all({"CREATE DATABASE other", "CREATE TABLE other.a (id INT PRIMARY KEY, v INT)"});
  config_.mysql.database = "other";
  start();
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.snapshots == 1; }));
  EXPECT_TRUE(until([&] { return mirror_.live.size() == 1; }));
}

// --- lost histories

class CaptureHistory : public CaptureStream {
 protected:
  // A copy of the server as it is now.
  void save() {
    server_->stop();
    std::filesystem::copy(server_->data_directory(), server_->directory() / "saved",
                          std::filesystem::copy_options::recursive);
    server_->start();
    server_->sql("USE shop");
  }
  void restore() {
    server_->kill();
    std::filesystem::remove_all(server_->data_directory());
    std::filesystem::rename(server_->directory() / "saved", server_->data_directory());
    server_->start();
    server_->sql("USE shop");
  }
  void expect_new_history(std::uint64_t old_epoch, const std::string& old_history) {
    EXPECT_TRUE(until([&] { return mirror_.epoch() != 0 && mirror_.epoch() != old_epoch; }));
    expect_equal_version();
    expect_equal_pairs("a");
    EXPECT_EQ(mirror_.superseded, 1) << "readers of the old epoch are told";
    EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.snapshots == 1; }));
    EXPECT_NE(history_id(), old_history);
  }
};

TEST_P(CaptureHistory, OtherTransactionsUnderTheSameGtidsAreNoticed) {
  insert(1, 3);
  start_and_load();
  save();
  insert(4, 6);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  ASSERT_TRUE(stop());
  restore();
  insert(104, 107);  // one more than the ring has seen: the protocol would accept its position
  start();
  expect_new_history(epoch, history);
  insert(108, 109);
  expect_equal_pairs("a");
}

TEST_P(CaptureHistory, AServerThatWentBackAndFellSilentIsNoticed) {
  insert(1, 3);
  start_and_load();
  save();
  insert(4, 6);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  ASSERT_TRUE(stop());
  restore();
  start();
  expect_new_history(epoch, history);
}

// The ring has nothing but its snapshot yet.
TEST_P(CaptureHistory, IsComparedFromTheFirstTransactionOn) {
  insert(1, 3);
  start();
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
  ASSERT_TRUE(stop());
  save();
  insert(4, 6);
  start_and_load();
  ASSERT_TRUE(stop());
  mirror_.detach();
  std::filesystem::remove_all(directory_.path() + "/test");
  start();  // a new ring at the newest transaction
  EXPECT_TRUE(
      until_status([](const CaptureStatus& s) { return s.snapshots == 1 && s.counters.transactions > 0; }));
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  ASSERT_TRUE(stop());
  restore();
  insert(104, 107);
  start();
  expect_new_history(epoch, history);
}

TEST_P(CaptureHistory, APurgedBinlogMeansANewRingOfTheSameHistory) {
  start_and_load();
  insert(1, 3);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  ASSERT_TRUE(stop());
  insert(4, 6);
  server_->purge_binlogs();
  insert(7, 9);
  start();
  EXPECT_TRUE(until([&] { return mirror_.epoch() != epoch && mirror_.epoch() != 0; }));
  expect_equal_version();
  expect_equal_pairs("a");
  EXPECT_EQ(history_id(), history);
  EXPECT_EQ(status().reconnects.count("binlog purged"), 1u);
}

TEST_P(CaptureStreamOfMysql, GtidsOfSeveralServersAndTagsAreFollowedAndResumedFrom) {
  start_and_load();
  const std::string other = "11111111-2222-3333-4444-555555555555";
  insert(1, 2);
  // As a promotion leaves it, out of order and with gaps.
  server_->sql_all({"SET gtid_next = '" + other + ":7'", "INSERT INTO a VALUES (10, 0)",
                    "SET gtid_next = '" + other + ":3'", "INSERT INTO a VALUES (11, 0)",
                    "SET gtid_next = 'AUTOMATIC:blue'", "INSERT INTO a VALUES (12, 0)",
                    "SET gtid_next = '" + other + ":4'", "BEGIN", "COMMIT", "SET gtid_next = 'AUTOMATIC'"});
  EXPECT_TRUE(until([&] { return mirror_.gtid == source_position(); })) << mirror_.gtid;
  const std::uint64_t epoch = mirror_.epoch();
  for (const std::string& gtid : {other + ":9", "AUTOMATIC:blue"s, "AUTOMATIC"s}) {
    server_->sql_all({"SET gtid_next = '" + gtid + "'", "UPDATE a SET v = v + 1 WHERE id = 10",
                      "SET gtid_next = 'AUTOMATIC'"});
    expect_equal_version();
    ASSERT_TRUE(stop());
    start();
    EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.counters.transactions > 0; })) << gtid;
    EXPECT_EQ(status().snapshots, 0u);
    EXPECT_EQ(mirror_.epoch(), epoch);
  }
  expect_equal_pairs("a");
  EXPECT_EQ(mirror_.gtid, source_position());
}

TEST_P(CaptureStreamOfMysql, AResetOfAllGtidsIsALostHistory) {
  insert(1, 3);
  start_and_load();
  insert(4, 5);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  ASSERT_TRUE(stop());
  server_->sql("RESET BINARY LOGS AND GTIDS");
  insert(6, 7);
  start();
  EXPECT_TRUE(until([&] { return mirror_.epoch() != 0 && mirror_.epoch() != epoch; }));
  expect_equal_pairs("a");
  EXPECT_TRUE(until([&] { return history_id() != history; })) << "told behind the new epoch";
  EXPECT_EQ(mirror_.gtid, source_position());
}

// The server goes on to send heartbeats for the file that it has removed, and nothing else.
TEST_P(CaptureStreamOfMysql, AResetUnderTheStreamIsNoticed) {
  start_and_load();
  insert(1, 3);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  const std::string history = history_id();
  server_->sql("RESET BINARY LOGS AND GTIDS");
  EXPECT_TRUE(until([&] { return mirror_.epoch() != 0 && mirror_.epoch() != epoch; }));
  insert(4, 5);
  EXPECT_TRUE(until([&] { return mirror_.gtid == source_position(); })) << mirror_.gtid;
  expect_equal_pairs("a");
  EXPECT_TRUE(until([&] { return history_id() != history; })) << "told behind the new epoch";
}

// The same set afterwards, as somebody may put it back: only what comes then is missing.
TEST_P(CaptureStreamOfMysql, AStreamThatShowsNoMoreIsLeft) {
  start_and_load();
  insert(1, 9);
  expect_equal_version();
  const std::string before = source_position();
  server_->sql_all({"RESET BINARY LOGS AND GTIDS", "SET GLOBAL gtid_purged = '" + before + "'"});
  insert(10, 10);
  EXPECT_TRUE(until([&] { return mirror_.gtid == source_position(); })) << mirror_.gtid;
  expect_equal_pairs("a");
}

// Counted as executed and in no binlog: the ring cannot have them, and a table loaded beside the stream is at another set.
TEST_P(CaptureStreamOfMysql, GtidsCountedByHandMeanANewRing) {
  start_and_load();
  insert(1, 3);
  expect_equal_version();
  const std::uint64_t epoch = mirror_.epoch();
  server_->sql("SET GLOBAL gtid_purged = '+11111111-2222-3333-4444-555555555555:1-5'");
  server_->sql_all({"TRUNCATE TABLE b", "INSERT INTO b VALUES (1, 1)"});
  for (int i = 100; i < 110; ++i) insert(i, i);
  EXPECT_TRUE(until([&] { return mirror_.epoch() != 0 && mirror_.epoch() != epoch; }));
  EXPECT_TRUE(until([&] { return mirror_.gtid == source_position(); })) << mirror_.gtid;
  expect_equal_pairs("a");
  expect_equal_pairs("b");
}

TEST_P(CaptureHistory, AnotherHistoryIdMeansANewRing) {
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  ASSERT_TRUE(stop());
  server_->sql("DROP TABLE ringside.history");
  start();
  EXPECT_TRUE(until([&] { return mirror_.epoch() != epoch && mirror_.epoch() != 0; }));
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
}

// The same transactions in another server's binlog are the same history, though it has cut and timed them in its own way.
TEST_P(CaptureHistory, AReplicaThatTakesTheSourcesPlaceIsFollowed) {
  DatabaseServer::Options options;
  options.tcp = true;
  const auto source_server = ringside::testing::start_server(GetParam(), options);
  DatabaseServer& source = *source_server;
  options.tcp = false;
  options.settings = {"server-id=2", "log-slave-updates=ON", "binlog-row-event-max-size=256",
                      is_mysql() ? "binlog-transaction-compression=ON" : "log-bin-compress=ON"};
  const auto replica_server = ringside::testing::start_server(GetParam(), options);
  DatabaseServer& replica = *replica_server;
  const std::string port = std::to_string(source.port());
  // In one order on both, before the first is followed.
  replica.sql_all({is_mysql()
                       ? "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=" + port +
                             ", SOURCE_USER='repl', SOURCE_PASSWORD='secret', SOURCE_AUTO_POSITION=1, "
                             "GET_SOURCE_PUBLIC_KEY=1"
                       : "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=" + port +
                             ", MASTER_USER='repl', MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos"});
  source.sql_all({"CREATE DATABASE shop", "USE shop", "CREATE TABLE a (id INT PRIMARY KEY, v INT)",
                  "CREATE USER repl@'%' IDENTIFIED BY 'secret'",
                  "GRANT REPLICATION SLAVE ON *.* TO repl@'%'"});
  replica.sql(is_mysql() ? "START REPLICA" : "START SLAVE");
  config_.mysql = source.config("shop");
  start();
  EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
  std::uint64_t epoch = 0;
  const std::vector<std::vector<std::string>> transactions = {
      {"INSERT INTO a SELECT seq, seq FROM " + sequence(200) + " ORDER BY seq"},
      {"BEGIN", "UPDATE a SET v = 0 WHERE id < 100", "DELETE FROM a WHERE id > 150", "COMMIT"},
      {"ALTER TABLE a COMMENT 'changed'"},
      {"XA START 'x'", "INSERT INTO a VALUES (1000, 1)", "XA END 'x'", "XA PREPARE 'x'"},
      {"XA COMMIT 'x'"},
  };
  for (const std::vector<std::string>& transaction : transactions) {
    source.sql("SET timestamp = 1700000000");
    source.sql_all(transaction);
    const std::string gtid = position_of(source);
    EXPECT_TRUE(until([&] { return mirror_.gtid == gtid; })) << mirror_.gtid << " instead of " << gtid;
    EXPECT_TRUE(until([&] { return position_of(replica) == gtid; })) << position_of(replica);
    if (epoch == 0) epoch = mirror_.epoch();
    for (const DatabaseServer* other : {&replica, &source}) {
      ASSERT_TRUE(stop());
      config_.mysql = other->config("shop");
      start();
      EXPECT_TRUE(until_status([](const CaptureStatus& s) { return s.counters.transactions > 0; }));
      EXPECT_EQ(status().snapshots, 0u) << transaction.front();
      EXPECT_EQ(mirror_.epoch(), epoch) << transaction.front();
    }
  }
  ASSERT_TRUE(stop());
  source.kill();
  replica.sql_all({is_mysql() ? "STOP REPLICA" : "STOP SLAVE", "INSERT INTO shop.a VALUES (2000, 2000)"});
  config_.mysql = replica.config("shop");
  start();
  EXPECT_TRUE(until([&] { return mirror_.lines("a").size() == 152; }));
  EXPECT_EQ(mirror_.epoch(), epoch);
  EXPECT_EQ(status().snapshots, 0u);
}

TEST_P(CaptureStream, ATakenServerIdIsReplaced) {
  start_and_load();
  std::filesystem::path header;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path() + "/test")) {
    if (entry.path().filename().string().starts_with("epoch-")) header = entry.path() / "header";
  }
  const auto server_id = [&] {
    std::ifstream in(header, std::ios::binary);
    char bytes[8] = {};
    in.seekg(offsetof(shm::RingHeader, server_id));
    in.read(bytes, sizeof bytes);
    return load_le<std::uint64_t>(bytes);
  };
  const std::uint64_t taken = server_id();
  ASSERT_NE(taken, 0u);
  StreamOptions options;
  options.position = source_position();
  options.server_id = static_cast<std::uint32_t>(taken);
  const auto rival = BinlogStream::open(server_->config("shop"), options);
  ASSERT_TRUE(rival) << rival.error().message;
  EXPECT_TRUE(until([&] { return server_id() != taken; }));
  insert(1, 3);
  expect_equal_version();
  expect_equal_pairs("a");
  EXPECT_EQ(status().reconnects.count("server_id taken by another reader"), 1u);
}

// --- room

TEST_P(CaptureStream, RefusesToStartNamingEveryWrongSetting) {
  spoils_server();
  server_->restart({"binlog-format=MIXED", "binlog-row-image=MINIMAL",
                    is_mysql() ? "binlog-row-metadata=MINIMAL" : "binlog-row-metadata=NO_LOG",
                    is_mysql() ? "binlog-order-commits=OFF" : "gtid-strict-mode=OFF"});
  start();
  EXPECT_FALSE(join());
  EXPECT_EQ(ended_.error().kind, ErrorKind::kInvalid);
  EXPECT_THAT(ended_.error().message, AllOf(HasSubstr("SET GLOBAL binlog_format = 'ROW'"),
                                            HasSubstr("SET GLOBAL binlog_row_image = 'FULL'"),
                                            HasSubstr("SET GLOBAL binlog_row_metadata = 'FULL'"),
                                            HasSubstr(is_mysql() ? "SET GLOBAL binlog_order_commits = 'ON'"
                                                                 : "SET GLOBAL gtid_strict_mode = 'ON'")));
}

TEST_P(CaptureStreamOfMariadb, ASecondDomainEndsCaptureByName) {
  spoils_server();
  start_and_load();
  server_->sql_all({"SET gtid_domain_id = 7", "INSERT INTO a VALUES (1, 1)"});
  EXPECT_FALSE(join());
  EXPECT_THAT(ended_.error().message, HasSubstr("DELETE_DOMAIN_ID=(7)"));
}

TEST_P(CaptureStream, AnExceptionEndsCaptureWithItsCause) {
  history_ = [](const std::string&) -> Result<std::string> { throw std::runtime_error("out of luck"); };
  start();
  std::atomic<bool> failed{false};
  EXPECT_TRUE(([&] {
    const std::uint64_t deadline = monotonic_ns() + testing::kPatienceNs;
    while (monotonic_ns() < deadline && !failed)
      failed = capture_->status().state == shm::CaptureState::kFailed;
    return failed.load();
  }()));
  EXPECT_THAT(capture_->status().reason, HasSubstr("out of luck"));
  EXPECT_EQ(tracker_->stream_state(), StreamState::kStopped);
  EXPECT_FALSE(join());
}

RINGSIDE_ON_BOTH_SERVERS(CaptureStream);
RINGSIDE_ON_BOTH_SERVERS(CaptureHistory);
INSTANTIATE_TEST_SUITE_P(MariaDb, CaptureStreamOfMariadb, ::testing::Values(testing::ServerChoice::kMariaDb));
INSTANTIATE_TEST_SUITE_P(MySql, CaptureStreamOfMysql, ::testing::Values(testing::ServerChoice::kMySql));

}  // namespace
}  // namespace ringside::writer
