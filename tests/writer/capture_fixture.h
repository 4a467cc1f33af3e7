// A real server, capture in a thread of this process, and a mirror of the ring that capture writes.
//
// Threads: one; capture runs in its own.   Ownership: owns server, ring directory and capture.
// Errors: gtest expectations.   Limits: waits at most kPatienceNs for a condition.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "tests/shm/ring_fixture.h"
#include "tests/support/both_servers.h"
#include "tests/writer/capture_mirror.h"
#include "writer/capture/capture.h"
#include "writer/capture/history.h"
#include "writer/commands/session.h"
#include "writer/source/connection.h"
#include "writer/source/gtid.h"

namespace ringside::writer::testing {

using ringside::testing::DatabaseServer;
using ringside::testing::MysqlServer;
using ringside::testing::ServerChoice;

inline constexpr std::uint64_t kPatienceNs = 60'000'000'000;
inline constexpr int kStepMs = 3;  // between two looks at a condition

// The tests of a suite share a server, each beginning with an empty one and an empty binlog; one that failed, or said
// spoils_server(), leaves the next a fresh one.
class CaptureFixture : public ::testing::TestWithParam<ServerChoice> {
 public:
  static void SetUpTestSuite() { initialise_driver(); }
  static void TearDownTestSuite() { server_.reset(); }

 protected:
  void SetUp() override {
    if (is_mysql() && !MysqlServer::is_there()) GTEST_SKIP() << MysqlServer::how_to_get_it();
    if (server_ == nullptr) server_ = ringside::testing::start_server(GetParam());
    for (const char* name : {"shop", "other", "ringside"})
      server_->sql(fmt::format("DROP DATABASE IF EXISTS {}", name));
    server_->sql(is_mysql() ? "RESET BINARY LOGS AND GTIDS" : "RESET MASTER");
    config_.mysql = server_->config("shop");
    config_.ring.directory = directory_.path();
    config_.ring.name = "test";
    config_.ring.segment_size_bytes = 64 * 1024;
    config_.ring.chunk_size_bytes = 256 * 1024;
    config_.ring.max_size_bytes = 64 * kMiB;
    config_.ring.transaction_reserve_bytes = 64 * kMiB;
    config_.writer.heartbeat = std::chrono::milliseconds(100);
    history_ = [this](const std::string& lost) { return source_history(config_.mysql, lost); };
    server_->sql_all({"CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "USE shop"});
  }
  void TearDown() override {
    stop();
    if (HasFailure() || is_spoilt_) server_.reset();
  }
  void spoils_server() { is_spoilt_ = true; }

  void start() {
    stop();
    auto lock = shm::lock_ring({config_.ring.directory, config_.ring.name});
    ASSERT_TRUE(lock) << lock.error().message;
    tracker_ = std::make_unique<CommandTracker>();
    capture_ = std::make_unique<Capture>(config_, std::move(*lock),
                                         Capture::Dependencies{tracker_.get(), &schema_, history_});
    thread_ = std::thread([this] {
      ended_ = capture_->run();
      has_ended_.store(true, std::memory_order_release);
    });
  }
  // Stops capture; false when it had failed.
  bool stop() {
    if (!capture_) return true;
    capture_->stop();
    return join();
  }
  // Waits for capture to end by itself.
  bool join() {
    thread_.join();
    capture_.reset();
    has_ended_.store(false, std::memory_order_relaxed);
    return ended_.has_value();
  }
  void start_and_load() {
    start();
    expect_equal_version();
    EXPECT_TRUE(
        until_status([](const CaptureStatus& s) { return s.state == shm::CaptureState::kStreaming; }));
  }

  // Follows the ring until the condition holds; false when it does not in time.
  template <class Condition>
  bool until(Condition condition) {
    const std::uint64_t deadline = monotonic_ns() + kPatienceNs;
    while (monotonic_ns() < deadline) {
      mirror_.follow();
      if (condition()) return true;
      if (capture_ && has_ended_.load(std::memory_order_acquire)) {
        ADD_FAILURE() << "capture ended: " << (ended_ ? "stopped" : ended_.error().message);
        return false;
      }
      ::poll(nullptr, 0, kStepMs);
    }
    if (capture_) {
      const CaptureStatus status = capture_->status();
      ADD_FAILURE() << "waited in vain; capture's state " << static_cast<int>(status.state) << ": "
                    << status.reason << "; version " << mirror_.version;
    }
    return false;
  }
  bool is_mysql() const { return GetParam() == ServerChoice::kMySql; }
  // What the server has executed, as the ring says it.
  std::string source_position() { return position_of(*server_); }
  static std::string position_of(DatabaseServer& server) {
    if (!server.is_mysql()) return server.query_value("SELECT @@gtid_binlog_pos");
    const auto set = MysqlGtidSet::parse(server.query_value("SELECT @@GLOBAL.gtid_executed"));
    return set ? set->to_string() : set.error().message;
  }
  std::uint64_t source_version() {
    const std::string position = source_position();
    if (is_mysql()) return MysqlGtidSet::parse(position)->count();
    const auto gtid = parse_mariadb_gtid(position);
    return gtid ? gtid->sequence : 0;
  }
  // A derived table of the numbers 1 to `count` (at most 10,000), its column named seq.
  static std::string sequence(unsigned count) {
    const std::string digits =
        "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION "
        "ALL "
        "SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) AS ";
    return "(SELECT d1.d + 10 * d2.d + 100 * d3.d + 1000 * d4.d + 1 AS seq FROM " + digits + "d1, " + digits +
           "d2, " + digits + "d3, " + digits + "d4 WHERE d1.d + 10 * d2.d + 100 * d3.d + 1000 * d4.d < " +
           std::to_string(count) + ") AS numbers";
  }
  // The ring has reached what the server has committed by now.
  void expect_equal_version() {
    const std::uint64_t version = source_version();
    EXPECT_TRUE(until([&] { return mirror_.version >= version; })) << "version " << version;
  }
  // The table is served, and is what SELECT shows. `select`: one column, the row's JSON values with tabs between.
  void expect_equal(const std::string& table, const std::string& select) {
    std::vector<std::string> expected;
    for (const auto& row : server_->query(select + " FROM shop.`" + table + "`")) expected.push_back(row[0]);
    std::sort(expected.begin(), expected.end());
    EXPECT_TRUE(until([&] { return mirror_.lines(table) == expected; }))
        << table << ": " << ::testing::PrintToString(mirror_.lines(table)) << " instead of "
        << ::testing::PrintToString(expected);
  }
  // Of a table (id INT PRIMARY KEY, v INT).
  void expect_equal_pairs(const std::string& table) {
    expect_equal(table, "SELECT CONCAT_WS('\t', id, IFNULL(v, 'NULL'))");
  }
  CaptureStatus status() { return capture_->status(); }
  // Waits for a status; it is a copy of some time ago.
  template <class Condition>
  bool until_status(Condition condition) {
    return until([&] { return condition(capture_->status()); });
  }
  std::string history_id() {
    const auto schema = schema_.get();
    return schema == nullptr ? "" : std::string(as_text(schema->history));
  }

  static inline std::unique_ptr<DatabaseServer> server_;
  bool is_spoilt_ = false;  // its settings, its session
  shm::RingDirectory directory_;
  Config config_;
  SchemaView schema_;
  std::unique_ptr<CommandTracker> tracker_;
  std::function<Result<std::string>(const std::string&)> history_;
  std::unique_ptr<Capture> capture_;
  std::thread thread_;
  Result<void> ended_;
  std::atomic<bool> has_ended_{false};  // release: ended_ is written
  CaptureMirror mirror_{directory_.path(), "test"};
};

// Another program's session with the server, for a thread of its own.
class OtherSession {
 public:
  explicit OtherSession(const MysqlConfig& config) : config_(config) {}
  // False when the server is not there, or was lost meanwhile.
  bool run(const std::string& sql) {
    if (!connection_) {
      auto opened = Connection::open(config_, {});
      if (!opened) return false;
      connection_ = std::move(*opened);
      if (!connection_->execute("USE shop")) return lose();
    }
    if (connection_->execute(sql)) return true;
    error = connection_->last_error().text;
    return connection_->last_error().is_lost_connection() ? lose() : false;
  }
  std::string error;

 private:
  bool lose() {
    connection_.reset();
    return false;
  }
  MysqlConfig config_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace ringside::writer::testing
