// Requests and their answers over a real socket.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

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

}  // namespace
}  // namespace ringside::replica
