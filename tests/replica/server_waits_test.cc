// Requests that name a version or a GTID, and wait for it.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

TEST(Server, WaitsForAVersionAndKeepsTheOrderBehindIt) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  client.send(request("/v1/items/0") + request("/v1/items/1?minVersion=9&wait=10s") + request("/v1/items/2") +
              request("/version?minVersion=10&wait=10s"));
  EXPECT_EQ(client.receive().version(), 7u);
  ring.set_item(1, "\"eight\"");
  ring.commit(8);
  ring.set_item(1, "\"nine\"");
  ring.commit(9);
  const HttpAnswer waited = client.receive();
  EXPECT_EQ(waited.status, 200);
  EXPECT_EQ(waited.body, "{\"id\":1,\"name\":\"nine\"}");
  EXPECT_EQ(waited.version(), 9u);
  EXPECT_EQ(client.receive().body, "{\"id\":2,\"name\":\"item-2\"}");
  ring.set_item(2, "\"ten\"");
  ring.commit(10);
  const HttpAnswer version = client.receive();
  EXPECT_EQ(version.body, "{\"version\":10,\"gtid\":\"0-1-10\"}");
}

TEST(Server, AWaitThatEndsUnfulfilledIsAProblem) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  for (const std::string_view target :
       {"/v1/items/1?minVersion=8&wait=20ms", "/version?minVersion=99&wait=0ms"}) {
    const HttpAnswer answer = client.get(target);
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.version(), 7u);
    EXPECT_EQ(answer.field("Retry-After"), "1");
    EXPECT_NE(answer.body.find("version-not-reached"), std::string::npos);
  }
  EXPECT_EQ(client.get("/v1/items/1", "Ringside-Min-Version: 7\r\n").status, 200);
  EXPECT_EQ(client.get("/v1/items/1?wait=0ms", "Ringside-Min-Version: 8\r\n").status, 503);
  EXPECT_EQ(client.get("/v1/items/1", "Ringside-Min-Version: -8\r\n").status, 400);
}

TEST(Server, AGtidOfAnotherHistoryIsAConflict) {
  TestRing ring;
  ring.begin(10, 7);
  ring.set_item(1, "\"eight\"");
  ring.commit(8, 3);
  const RunningServer server(ring);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/items/1?minGtid=0-3-8").status, 200);
  EXPECT_EQ(client.get("/v1/items/1", "Ringside-Min-Gtid: 0-3-8\r\n").status, 200);
  EXPECT_EQ(client.get("/v1/items/1?minGtid=0-1-8").status, 409) << "that number came from server 3";
  EXPECT_EQ(client.get("/v1/items/1?minGtid=4-1-2").status, 409) << "another domain";
  EXPECT_EQ(client.get("/v1/items/1?minGtid=0-1-9&wait=1ms").status, 503);
  EXPECT_EQ(client.get("/v1/items/1?minGtid=9").status, 400);
}

constexpr const char* kUuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
constexpr const char* kUuidB = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

// items at the state of a MySQL snapshot of seven transactions.
void begin_mysql(TestRing& ring) {
  ring.load_items(10, 7);
  ring.commit(7, "", std::string(kUuidA) + ":1-5:blue:1-2");
  ASSERT_TRUE(ring.publisher().activate(nullptr));
}

TEST(Server, AMysqlGtidIsReachedWhenTheExecutedSetHoldsIt) {
  TestRing ring;
  begin_mysql(ring);
  ring.set_item(1, "\"eight\"");
  ring.commit(8, std::string(kUuidB) + ":9", "");
  const RunningServer server(ring);
  Client client = server.connect();
  const std::string a = kUuidA;
  const std::string b = kUuidB;
  EXPECT_EQ(client.get("/version").body, "{\"version\":8,\"gtid\":\"" + a + ":1-5:blue:1-2," + b + ":9\"}");
  for (const std::string& there :
       {a + ":5", a + ":1-5", a + ":blue:2", b + ":9", a + ":2:4:Blue:1," + b + ":9", a + "%3A5",
        std::string("3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5"), a + ":1-5:blue:1-2," + b + ":9"}) {
    EXPECT_EQ(client.get("/v1/items/1?wait=0ms&minGtid=" + there).status, 200) << there;
    if (there.find('%') != std::string::npos) continue;
    EXPECT_EQ(client.get("/v1/items/1?wait=0ms", "Ringside-Min-Gtid: " + there + "\r\n").status, 200)
        << there;
  }
  for (const std::string& missing : {a + ":6", a + ":5-6", a + ":red:1", b + ":8", a + ":1-5," + b + ":8-9",
                                     a + ":1-9223372036854775806"}) {
    const HttpAnswer answer = client.get("/v1/items/1?wait=1ms&minGtid=" + missing);
    EXPECT_EQ(answer.status, 503) << missing;
    EXPECT_NE(answer.body.find("version-not-reached"), std::string::npos);
    EXPECT_EQ(client.get("/version?wait=0ms&minGtid=" + missing).status, 503) << missing;
  }
  for (const std::string& wrong : {std::string("0-1-8"), std::string("8"), a, a + ":", a + ":0", a + ":x%20y",
                                   a + ":1," + b, a + ":1;2", std::string(","), a + ":1-0"}) {
    const HttpAnswer answer = client.get("/v1/items/1?minGtid=" + wrong);
    EXPECT_EQ(answer.status, 400) << wrong;
    EXPECT_NE(answer.body.find("uuid:number"), std::string::npos) << answer.body;
  }
}

TEST(Server, AMariaDbReplicaNamesItsOwnFormForAMysqlGtid) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  const HttpAnswer answer = client.get("/v1/items/1?minGtid=" + std::string(kUuidA) + ":5");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("domain-server-sequence"), std::string::npos);
}

// Other transactions come first: the request looks again at each version, and ends when its own is there.
TEST(Server, AWaitForAMysqlGtidLooksAgainAtEachVersion) {
  TestRing ring;
  begin_mysql(ring);
  const RunningServer server(ring);
  const std::string a = kUuidA;
  Client client = server.connect();
  Client hopeless = server.connect();
  client.send("GET /v1/items/1?wait=10s&minGtid=" + a + ":7," + kUuidB + ":1 HTTP/1.1\r\nHost: x\r\n\r\n");
  hopeless.send("GET /version?wait=300ms&minGtid=" + a + ":1000 HTTP/1.1\r\nHost: x\r\n\r\n");
  ring.commit(8, a + ":8", "");
  ring.commit(9, a + ":7", "");
  ring.commit(11, a + ":12", a + ":11-12");
  EXPECT_TRUE(client.is_silent());
  ring.set_item(1, "\"mine\"");
  ring.commit(12, std::string(kUuidB) + ":1", "");
  const HttpAnswer answer = client.receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.version(), 12u);
  EXPECT_NE(answer.body.find("mine"), std::string::npos);
  // Its time is one and the same, however many versions come meanwhile.
  std::uint64_t number = 20;
  while (hopeless.is_silent()) {
    ring.commit(number - 7, a + ":" + std::to_string(number), "");
    ++number;
  }
  EXPECT_EQ(hopeless.receive().status, 503);
}

}  // namespace
}  // namespace ringside::replica
