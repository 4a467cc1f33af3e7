#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

std::string request(std::string_view target, std::string_view method = "GET") {
  return std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

TEST(Server, AnswersRowsByKeyOverOneConnection) {
  TestRing ring;
  ring.begin(100, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  for (int id = 0; id < 100; ++id) {
    const HttpAnswer answer = client.get("/v1/items/" + std::to_string(id));
    ASSERT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body,
              "{\"id\":" + std::to_string(id) + ",\"name\":\"item-" + std::to_string(id) + "\"}");
    EXPECT_EQ(answer.version(), 7u);
    EXPECT_EQ(answer.field("Content-Type"), "application/json");
    EXPECT_FALSE(answer.field("Date").empty());
    EXPECT_FALSE(answer.field("ETag").empty());
  }
  const HttpAnswer missing = client.get("/v1/items/100");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.version(), 7u);
  EXPECT_NE(missing.body.find("urn:ringside:problem:row-not-found"), std::string::npos);
}

TEST(Server, AnswersPipelinedRequestsInOrderHoweverTheyAreCut) {
  TestRing ring;
  ring.begin(100, 7);
  const RunningServer server(ring);
  std::string all;
  std::vector<int> ids;
  for (int i = 0; i < 300; ++i) {
    ids.push_back(i * 37 % 110);
    all += request("/v1/items/" + std::to_string(ids.back()));
  }
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{7}, std::size_t{61}, std::size_t{4096}, all.size()}) {
    Client client = server.connect();
    std::thread sender([&] {
      for (std::size_t at = 0; at < all.size(); at += piece)
        client.send(std::string_view(all).substr(at, piece));
    });
    for (const int id : ids) {
      const HttpAnswer answer = client.receive();
      if (id < 100) {
        ASSERT_EQ(answer.status, 200);
        ASSERT_EQ(answer.body.find("{\"id\":" + std::to_string(id) + ","), 0u) << answer.body;
      } else {
        ASSERT_EQ(answer.status, 404);
      }
    }
    sender.join();
  }
}

TEST(Server, ManyKeysAreAnsweredInOrderWithNullForTheMissing) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/items?keys=3,99,1&fields=name").body,
            "{\"data\":[{\"name\":\"item-3\"},null,{\"name\":\"item-1\"}]}");
  EXPECT_EQ(client.get("/v1/items?key=3&key=3").body,
            "{\"data\":[{\"id\":3,\"name\":\"item-3\"},{\"id\":3,\"name\":\"item-3\"}]}");
  const HttpAnswer first = client.get("/v1/items?keys=1,2");
  EXPECT_EQ(client.get("/v1/items?keys=1,2", "If-None-Match: " + first.field("ETag") + "\r\n").status, 304);
  EXPECT_EQ(client.get("/v1/items?keys=2,1", "If-None-Match: " + first.field("ETag") + "\r\n").status, 200);
}

TEST(Server, RefusesMoreKeysThanTheLimit) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.max_keys = 3;
  const RunningServer server(ring, config);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/items?keys=1,2,3").status, 200);
  EXPECT_EQ(client.get("/v1/items?keys=1,2,3,4").status, 400);
  EXPECT_EQ(client.get("/v1/items/1").status, 200) << "the connection goes on";
}

TEST(Server, AnAnswerBeyondTheLimitIsAProblem) {
  TestRing ring;
  ring.begin(10, 7);
  ring.set_item(3, "\"" + std::string(9000, 'x') + "\"");
  ring.commit(8);
  ReplicaConfig config;
  config.response_limit_bytes = 20'000;
  config.max_keys = 100'000;
  config.head_limit_bytes = 65536;
  const RunningServer server(ring, config);
  Client client = server.connect();
  std::string keys = "3";
  for (int i = 0; i < 2000; ++i) keys += ",3";
  const HttpAnswer answer = client.get("/v1/items?keys=" + keys);
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("response-too-large"), std::string::npos) << answer.body;
  EXPECT_EQ(client.get("/v1/items/3").body.size(), 9018u);
}

TEST(Server, CompositeKeysProjectionsAndNumbersAsStrings) {
  TestRing ring;
  TableId items;
  ring.load_items(1, 7, items);
  ring.add_pairs(
      {{{"-5", "\"x,y\"", "12.50", "9007199254740993"}}, {{"6", "\"\"", "0.05", "9007199254740992"}}}, 7);
  ASSERT_TRUE(ring.publisher().switch_to(items));
  ring.commit(7);
  ASSERT_TRUE(ring.publisher().activate(nullptr));
  const RunningServer server(ring);
  Client client = server.connect();
  EXPECT_EQ(client.get("/v1/pairs/-5,x%2Cy").body,
            "{\"a\":-5,\"b\":\"x,y\",\"price\":12.50,\"big\":9007199254740993}");
  EXPECT_EQ(client.get("/v1/pairs/-5,x%2Cy?numbers=string").body,
            "{\"a\":-5,\"b\":\"x,y\",\"price\":\"12.50\",\"big\":\"9007199254740993\"}");
  EXPECT_EQ(client.get("/v1/pairs?key=6,&numbers=string&fields=big,a").body,
            "{\"data\":[{\"big\":9007199254740992,\"a\":6}]}");
  EXPECT_EQ(client.get("/v1/pairs/-5").status, 400);
  EXPECT_EQ(client.get("/v1/pairs/-05,x").status, 400);
  EXPECT_EQ(client.get("/v1/pairs/-5,x%2Cy?fields=c").status, 400);
  EXPECT_EQ(client.get("/v1/pairs?keys=1").status, 400);
  EXPECT_EQ(client.get("/v1/nothing/1").status, 404);
  EXPECT_EQ(client.get("/v1/pairs/99999999999,x").status, 404) << "no INT has it";
}

TEST(Server, ConditionalRequestsKnowRowAndRepresentation) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  const std::string tag = client.get("/v1/items/1").field("ETag");
  const auto status = [&](std::string_view target, const std::string& condition) {
    return client.get(target, "If-None-Match: " + condition + "\r\n").status;
  };
  EXPECT_EQ(status("/v1/items/1", tag), 304);
  EXPECT_EQ(status("/v1/items/1", "\"other\", W/" + tag), 304);
  EXPECT_EQ(status("/v1/items/1", "*"), 304);
  EXPECT_EQ(status("/v1/items/1", "\"other\""), 200);
  EXPECT_EQ(status("/v1/items/1?fields=name", tag), 200) << "another representation";
  EXPECT_EQ(status("/v1/items/1?numbers=string", tag), 200);
  EXPECT_EQ(status("/v1/items/99", "*"), 404);
  ring.set_item(1, "\"new\"");
  ring.commit(8);
  const HttpAnswer changed = client.get("/v1/items/1?minVersion=8", "If-None-Match: " + tag + "\r\n");
  EXPECT_EQ(changed.status, 200);
  EXPECT_EQ(changed.body, "{\"id\":1,\"name\":\"new\"}");
}

TEST(Server, HeadIsTheSameWithoutTheBody) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  client.send(request("/v1/items/1", "HEAD") + request("/v1/items/99", "HEAD") +
              request("/v1/items?keys=1", "HEAD") + request("/v1/items/2"));
  const HttpAnswer head = client.receive(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), "24");
  EXPECT_EQ(client.receive(true).status, 404);
  EXPECT_EQ(client.receive(true).status, 200);
  EXPECT_EQ(client.receive().body, "{\"id\":2,\"name\":\"item-2\"}");
}

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

TEST(Server, RefusesWhatIsNoQuestion) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring);
  Client client = server.connect();
  client.send("POST /v1/items HTTP/1.1\r\nHost: a\r\n\r\n");
  const HttpAnswer answer = client.receive();
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.field("Allow"), "GET, HEAD, OPTIONS");
  for (const char* target : {"*", "/v1/items/1", "/nothing"}) {
    client.send(request(target, "OPTIONS"));
    const HttpAnswer options = client.receive(true);
    EXPECT_EQ(options.status, 204) << target;
    EXPECT_EQ(options.field("Allow"), "GET, HEAD, OPTIONS");
    EXPECT_EQ(options.field("Content-Length"), "") << "RFC 9110 8.6";
    EXPECT_EQ(options.version(), 7u);
  }
  client.send(request("/v1/items/1", "BREW"));
  EXPECT_EQ(client.receive().status, 501);
  EXPECT_EQ(client.get("/nothing").status, 404);
  EXPECT_EQ(client.get("/v1/items?name=x").status, 400);
  EXPECT_EQ(client.get("/v1/items").status, 400);
  EXPECT_EQ(client.get("/v1/items/1/2").status, 404);
  EXPECT_EQ(client.get("/v1/items/%2E%2E").status, 400);
  client.send(
      "GET /v1/items/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /v1/items/1 HTTP/1.1\r\n\r\n");
  const HttpAnswer body = client.receive();
  EXPECT_EQ(body.status, 413);
  EXPECT_EQ(body.field("Connection"), "close");
  EXPECT_TRUE(client.ends()) << "body bytes are not taken for a request";
  Client other = server.connect();
  other.send("GET  /v1/items/1 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(other.receive().status, 400);
  EXPECT_TRUE(other.ends());
}

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
