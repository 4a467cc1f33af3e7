// A server follows its ring: it waits for it, joins it again, takes another epoch, says what is stale, sleeps and wakes.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

TEST(Server, WaitsForItsRingWithTheAdminPortUp) {
  TestRing ring;
  const RunningServer server(ring);
  Client admin(server.admin_port());
  EXPECT_EQ(admin.get("/healthz").status, 200);
  const HttpAnswer unready = admin.get("/readyz");
  EXPECT_EQ(unready.status, 503);
  EXPECT_NE(unready.body.find("reason"), std::string::npos);
  EXPECT_EQ(admin.get("/v1/items/1").status, 404) << "the admin port has no data";
  EXPECT_FALSE(Client(server.port()).is_connected());
  ring.begin(3, 5);
  EXPECT_EQ(server.connect().get("/v1/items/2").version(), 5u);
  EXPECT_EQ(admin.get("/readyz").status, 200);
  const HttpAnswer status = admin.get("/status");
  EXPECT_NE(status.body.find("\"name\":\"items\",\"state\":\"live\",\"rows\":3"), std::string::npos)
      << status.body;
  EXPECT_EQ(admin.get("/").field("Content-Type"), "text/html; charset=utf-8");
}

TEST(Server, RefusesAQuarantinedTableAndServesTheOthers) {
  TestRing ring;
  ring.begin(3, 5);
  ring.add_pairs({}, 5);
  ASSERT_TRUE(ring.publisher().quarantine("items", "a column of type GEOMETRY"));
  ring.commit(6);
  const RunningServer server(ring);
  Client client = server.connect();
  const HttpAnswer answer = client.get("/v1/items/1");
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find("a column of type GEOMETRY"), std::string::npos);
  EXPECT_EQ(client.get("/v1/pairs/1,x").status, 404);
  EXPECT_NE(client.get("/metrics").body.find("ringside_replica_table_quarantined{table=\"items\""),
            std::string::npos);
}

TEST(Server, AReloadedTableSwitchesAtOneVersion) {
  TestRing ring;
  ring.begin(50, 5);
  const RunningServer server(ring);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/items/40").status, 200);
  ring.load_items(30, 6);
  EXPECT_EQ(client.get("/v1/items/40").status, 200) << "the new incarnation is not live yet";
  ring.commit(6);
  EXPECT_EQ(client.get("/v1/items/40?minVersion=6").status, 404);
  EXPECT_EQ(client.get("/v1/items/29").status, 200);
  EXPECT_NE(client.get("/metrics").body.find("ringside_replica_table_rows{table=\"items\"} 30\n"),
            std::string::npos);
}

TEST(Server, AnEvictedReplicaSendsNothingOldAndJoinsAgain) {
  shm::PublisherOptions options = shm::RingDirectory().options();
  options.ring.reader_limit_bytes = 1;
  options.ring.reader_grace_ns = 1;
  TestRing ring(options);
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client before = server.connect();
  EXPECT_EQ(before.get("/v1/items/1").version(), 7u);
  // The writer finds the reader behind by a transaction that it has had no time to apply.
  std::uint64_t version = 7;
  std::size_t evicted = 0;
  while (evicted == 0) {
    ring.set_item(1, "\"v" + std::to_string(++version) + "\"");
    ring.commit(version);
    evicted = ring.publisher().ring().check_readers(monotonic_ns());
    evicted += ring.publisher().ring().check_readers(monotonic_ns() + 1'000'000'000);
  }
  server.admin_until("/metrics", "\nringside_replica_evictions_total 1\n");
  const HttpAnswer answer = server.connect().get("/v1/items/1?minVersion=" + std::to_string(version));
  EXPECT_EQ(answer.version(), version);
  EXPECT_EQ(answer.body, "{\"id\":1,\"name\":\"v" + std::to_string(version) + "\"}");
}

TEST(Server, ANewEpochIsJoinedAndNoConnectionSeesAVersionGoBack) {
  TestRing ring;
  ring.begin(10, 70);
  const RunningServer server(ring);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/items/1").version(), 70u);
  const std::unique_ptr<shm::Publisher> before = ring.start_over();
  ring.load_items(20, 60);
  ring.commit(60);
  ASSERT_TRUE(ring.publisher().activate(before.get()));
  server.admin_until("/metrics", "\nringside_replica_joins_total 2\n");
  server.admin_until("/metrics", "\nringside_replica_applied_version 60\n");
  EXPECT_EQ(client.get("/v1/items/15").status, 0) << "70 was seen here: closed rather than gone back";
  const HttpAnswer answer = server.connect().get("/v1/items/15");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.version(), 60u);
}

TEST(Server, MarksWhatItServesAsStaleWhileItsRingIsReplaced) {
  TestRing ring;
  ring.begin(10, 70);
  const RunningServer server(ring);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/items/1").field("Ringside-Stale"), "");
  server.admin_until("/status", "\"stale\":false,\"stale_reason\":null");
  ring.publisher().ring().set_capture_state(shm::CaptureState::kReplacing);
  server.admin_until("/status", "\"stale\":true,\"stale_reason\":\"the source has another history");
  server.admin_until("/metrics", "\nringside_replica_capture_state{state=\"replacing\"} 1\n");
  HttpAnswer answer;
  do {  // the mark is looked up once a second
    answer = client.get("/v1/items/1");
    ASSERT_EQ(answer.status, 200);
  } while (answer.field("Ringside-Stale").empty());
  EXPECT_NE(client.get("/v1/items/999").field("Ringside-Stale"), "") << "problems too";
  EXPECT_NE(client.get("/v1/items?keys=1,2").field("Ringside-Stale"), "");
  const std::unique_ptr<shm::Publisher> before = ring.start_over();
  ring.load_items(20, 80);
  ring.commit(80);
  ASSERT_TRUE(ring.publisher().activate(before.get()));
  answer = client.get("/v1/items/15?minVersion=80&wait=10s");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("Ringside-Stale"), "") << "the new ring is not stale from its first answer on";
}

TEST(Server, MarksWhatItServesAsStaleWhenItIsTooOld) {
  TestRing ring;
  ring.begin(10, 70);
  ReplicaConfig config;
  config.max_staleness = std::chrono::milliseconds(100);
  const RunningServer server(ring, config);
  Client client = server.connect();
  HttpAnswer answer;
  do {
    answer = client.get("/v1/items/1");
    ASSERT_EQ(answer.status, 200);
  } while (answer.field("Ringside-Stale").empty());
  server.admin_until("/status", "\"stale\":true,\"stale_reason\":\"what it serves is");
}

TEST(Server, ASignOfLifeThatIsStillToComeProvesNothing) {
  TestRing ring;
  ring.begin(10, 70);
  ring.publisher().ring().set_source(Version(70), 0, monotonic_ns() + 3'600'000'000'000);
  const RunningServer server(ring);
  const HttpAnswer unready = Client(server.admin_port()).get("/readyz");
  EXPECT_EQ(unready.status, 503);
  EXPECT_NE(unready.body.find("no sign of life"), std::string::npos) << unready.body;
  EXPECT_EQ(server.connect().get("/v1/items/1").status, 200);
  ring.commit(71);
  server.admin_until("/readyz", "true");
}

TEST(Server, SpinsWithoutASystemCallToWakeIt) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.busy_poll = true;
  const RunningServer server(ring, config);
  Client client = server.connect();
  for (std::uint64_t version = 8; version < 40; ++version) {
    ring.set_item(version % 10, "\"v" + std::to_string(version) + "\"");
    ring.commit(version);
    const HttpAnswer answer =
        client.get("/v1/items/" + std::to_string(version % 10) + "?minVersion=" + std::to_string(version));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.version(), version);
  }
}

TEST(Server, IsWokenFromSleepByEveryVersion) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  for (std::uint64_t version = 8; version < 200; ++version) {
    client.send(request("/version?minVersion=" + std::to_string(version) + "&wait=10s"));
    ring.set_item(version % 10, "\"v\"");
    ring.commit(version);
    EXPECT_EQ(client.receive().version(), version);
  }
}

}  // namespace
}  // namespace ringside::replica
