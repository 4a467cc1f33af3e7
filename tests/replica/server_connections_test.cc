// What becomes of connections: slow and greedy clients, limits, the unix socket, the end of the server.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

TEST(Server, EndsHeadsThatDoNotArriveAndIdleConnections) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.head_timeout = std::chrono::milliseconds(40);
  config.idle_timeout = std::chrono::milliseconds(80);
  const RunningServer server(ring, config);
  Client slow = server.connect();
  slow.send("GET /v1/items/1 HTT");
  EXPECT_EQ(slow.receive().status, 408);
  EXPECT_TRUE(slow.ends());
  Client idle = server.connect();
  EXPECT_EQ(idle.get("/v1/items/1").status, 200);
  EXPECT_TRUE(idle.ends());
}

TEST(Server, RefusesConnectionsBeyondItsLimitAndTakesThemAgain) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.max_connections = 2;
  const RunningServer server(ring, config);
  {
    Client one = server.connect();
    Client two = server.connect();
    EXPECT_EQ(one.get("/v1/items/1").status, 200);
    EXPECT_EQ(two.get("/v1/items/1").status, 200);
    Client three = server.connect();
    const HttpAnswer refusal = three.receive();
    EXPECT_EQ(refusal.status, 503);
    EXPECT_EQ(refusal.version(), 7u);
  }
  for (;;) {
    Client again = server.connect();
    const HttpAnswer answer = again.get("/v1/items/1");
    if (answer.status == 200) break;  // the two before may not have been noticed gone yet
    ASSERT_TRUE(answer.status == 503 || answer.status == 0);
  }
}

TEST(Server, AnswersAClientThatHasFinishedSending) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  client.send(request("/v1/items/1") + request("/v1/items/2?minVersion=8&wait=30ms") +
              request("/v1/items/3"));
  client.finish_sending();
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_EQ(client.receive().status, 503);
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_TRUE(client.ends());
}

TEST(Server, DoesNotReadAClientThatDoesNotTakeItsAnswers) {
  TestRing ring;
  ring.begin(10, 7);
  ring.set_item(3, "\"" + std::string(100'000, 'x') + "\"");
  ring.commit(8);
  const RunningServer server(ring);
  Client client = server.connect();
  constexpr int kRequests = 3000;  // 300 MB of answers
  std::thread sender([&] {
    std::string some;
    for (int i = 0; i < kRequests; ++i) some += request("/v1/items/3");
    client.send(some);
  });
  // Meanwhile the server serves others, and holds no more than a few answers for this one.
  Client other = server.connect();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(other.get("/v1/items/1").status, 200);
  for (int i = 0; i < kRequests; ++i) ASSERT_EQ(client.receive().body.size(), 100'018u) << i;
  sender.join();
}

// Ten times as many answers are asked for as may wait to be taken, by clients that take none. They are let go, and who
// takes its answers never notices.
TEST(Server, ClientsThatTakeNothingAreLetGoWhenMemoryIsShort) {
  TestRing ring;
  ring.begin(10, 7);
  ring.set_item(3, "\"" + std::string(9000, 'x') + "\"");
  ring.commit(8);
  ReplicaConfig config;
  config.unsent_limit_bytes = std::uint64_t{8} << 20;
  config.response_limit_bytes = std::uint64_t{4} << 20;
  config.unix_socket =
      ring.directory() + "/replica.{index}.sock";  // the kernel keeps less for it than for TCP
  const RunningServer server(ring, config);
  server.admin_until("/readyz", "true");
  std::string many = "/v1/items?keys=3";
  for (int i = 0; i < 99; ++i) many += ",3";
  Client reader = server.connect();
  std::vector<std::unique_ptr<Client>> greedy;
  for (int i = 0; i < 80; ++i) {
    greedy.push_back(std::make_unique<Client>(ring.directory() + "/replica.0.sock"));
    for (int k = 0; k < 4; ++k) greedy.back()->send(request(many));
    const HttpAnswer answer = reader.get("/v1/items/1?minVersion=8");
    ASSERT_EQ(answer.status, 200);
  }
  std::size_t let_go = 0;
  std::size_t served = 0;
  for (const auto& client : greedy) {
    std::size_t answers = 0;
    while (answers < 4 && client->receive().status == 200) ++answers;
    answers == 4 ? ++served : ++let_go;
  }
  EXPECT_GT(let_go, 40u);
  EXPECT_GT(served, 0u) << "who came last still had its time";
  EXPECT_EQ(reader.get("/v1/items?keys=1,2").status, 200);
}

TEST(Server, ServesOnAUnixSocketAndRemovesItsName) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.unix_socket = ring.directory() + "/replica.{index}.sock";
  const std::string path = ring.directory() + "/replica.0.sock";
  {
    const RunningServer server(ring, config);
    server.admin_until("/readyz", "true");
    Client client(path);
    ASSERT_TRUE(client.is_connected());
    EXPECT_EQ(client.get("/v1/items/1").status, 200);
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(Server, DrainsWhatIsInFlightAndFreesItsReader) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.drain_grace = std::chrono::milliseconds(0);
  RunningServer server(ring, config);
  Client waiting = server.connect();
  Client quiet = server.connect();
  EXPECT_EQ(quiet.get("/v1/items/1").status, 200);
  waiting.send(request("/v1/items/1?minVersion=8&wait=10s") + request("/v1/items/2"));
  server.admin_until("/metrics", "\nringside_replica_waiting_requests 1\n");
  server.stop();
  EXPECT_TRUE(quiet.ends());
  EXPECT_FALSE(Client(server.port()).is_connected());
  ring.set_item(1, "\"eight\"");
  ring.commit(8);
  const HttpAnswer answer = waiting.receive();
  EXPECT_EQ(answer.version(), 8u);
  EXPECT_EQ(answer.field("Connection"), "") << "another request has arrived behind it";
  EXPECT_EQ(waiting.receive().field("Connection"), "close");
  EXPECT_TRUE(waiting.ends());
  server.join();
  auto reader = shm::RingReader::attach(ring.directory(), ring.name());
  ASSERT_TRUE(reader);
  ASSERT_TRUE((*reader)->join());
  EXPECT_EQ((*reader)->slot(), 0u);
}

}  // namespace
}  // namespace ringside::replica
