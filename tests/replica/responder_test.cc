#include "replica/responder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "replica/follower.h"
#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

class NoPages final : public PageSource {
 public:
  Page page(RouteKind) override { return {200, "text/plain", "page"}; }
};

// A responder over a real ring, without any socket.
class ResponderTest : public ::testing::Test {
 protected:
  ResponderTest()
      : inputs_(std::size_t{1} << 20, 0),
        outputs_(std::size_t{8} << 20, 0),
        responder_(limits(), pages_, metrics_) {
    ring_.begin(20, 7);
    follower_ = std::make_unique<Follower>(ring_.directory(), ring_.name());
    turn();
  }
  static ResponderLimits limits() {
    ResponderLimits limits;
    limits.max_connections = 4;
    return limits;
  }
  void turn(std::uint64_t passed_ns = 0) {
    now_ns_ += passed_ns;
    do {
      follower_->turn(monotonic_ns());
    } while (!follower_->is_serving() || follower_->has_work());
    Responder::TurnState state;
    state.tables = &follower_->tables();
    state.version = follower_->tables().visible_version();
    state.now_ns = now_ns_;
    responder_.begin_turn(state);
  }
  std::string receive(HttpConnection& connection, std::string_view bytes) {
    responder_.receive(connection, as_bytes(bytes));
    responder_.flush();
    return take(connection);
  }
  std::string take(HttpConnection& connection) {
    const std::string out(connection.output.view());
    connection.output.release();
    responder_.clear_touched();
    return out;
  }
  static std::vector<int> statuses(std::string bytes) {
    std::vector<int> out;
    HttpAnswer answer;
    while (take_answer(bytes, false, answer)) out.push_back(answer.status);
    EXPECT_EQ(bytes, "");
    return out;
  }
  static std::string get(std::string_view target) {
    return "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  }

  TestRing ring_;
  NoPages pages_;
  ReplicaMetrics metrics_;
  BufferPool inputs_;
  BufferPool outputs_;
  std::unique_ptr<Follower> follower_;
  Responder responder_;
  std::uint64_t now_ns_ = 1'000'000'000;
};

TEST_F(ResponderTest, AnswersTheSameHoweverTheBytesAreCut) {
  const std::string all = get("/v1/items/3") + get("/v1/items/99") + get("/v1/items?keys=1,2") +
                          get("/nothing") + get("/v1/items/5?fields=name");
  HttpConnection whole(0, inputs_, outputs_);
  const std::string expected = receive(whole, all);
  EXPECT_EQ(statuses(expected), (std::vector<int>{200, 404, 200, 404, 200}));
  for (std::size_t first = 1; first < all.size(); ++first) {
    HttpConnection cut(1, inputs_, outputs_);
    std::string out = receive(cut, std::string_view(all).substr(0, first));
    out += receive(cut, std::string_view(all).substr(first));
    ASSERT_EQ(out, expected) << "cut at " << first;
    EXPECT_TRUE(cut.input.empty());
  }
  HttpConnection single(2, inputs_, outputs_);
  std::string out;
  for (const char byte : all) out += receive(single, {&byte, 1});
  EXPECT_EQ(out, expected);
}

TEST_F(ResponderTest, ABatchLargerThanItsRoomIsAnsweredInOrder) {
  std::string all;
  for (std::size_t i = 0; i < 5 * Responder::kBatch + 3; ++i)
    all += get("/v1/items/" + std::to_string(i % 25));
  HttpConnection connection(0, inputs_, outputs_);
  std::string out = receive(connection, all);
  HttpAnswer answer;
  for (std::size_t i = 0; i < 5 * Responder::kBatch + 3; ++i) {
    ASSERT_TRUE(take_answer(out, false, answer));
    ASSERT_EQ(answer.status, i % 25 < 20 ? 200 : 404);
    if (i % 25 < 20) {
      ASSERT_EQ(answer.body.find("{\"id\":" + std::to_string(i % 25) + ","), 0u);
    }
  }
}

TEST_F(ResponderTest, AWaitBlocksItsOwnConnectionOnly) {
  HttpConnection waiting(0, inputs_, outputs_);
  HttpConnection other(1, inputs_, outputs_);
  EXPECT_EQ(receive(waiting, get("/v1/items/1?minVersion=8&wait=50ms") + get("/v1/items/2")), "");
  EXPECT_TRUE(waiting.is_waiting);
  EXPECT_EQ(statuses(receive(other, get("/v1/items/3"))), (std::vector<int>{200}));
  EXPECT_EQ(receive(waiting, get("/v1/items/99")), "") << "behind the wait";
  turn(49'999'999);
  responder_.end_waits(false);
  responder_.flush();
  EXPECT_EQ(take(waiting), "");
  turn(1);
  responder_.end_waits(false);
  responder_.flush();
  EXPECT_EQ(statuses(take(waiting)), (std::vector<int>{503, 200, 404}));
  EXPECT_EQ(metrics_.wait_timeouts, 1u);
  EXPECT_EQ(responder_.waiting(), 0u);
}

TEST_F(ResponderTest, ARequestIsTimedFromItsWholeHeadAndAWaitFromItsBeginning) {
  HttpConnection slow(0, inputs_, outputs_);
  const std::string text = get("/v1/items/1");
  EXPECT_EQ(receive(slow, std::string_view(text).substr(0, 20)), "");
  turn(4'000'000'000);
  EXPECT_EQ(statuses(receive(slow, std::string_view(text).substr(20))), (std::vector<int>{200}));
  responder_.end_turn(now_ns_ + 3000);
  const http::Histogram& row = metrics_.request_durations.of(RouteKind::kRow);
  EXPECT_EQ(row.count(), 1u);
  EXPECT_EQ(row.sum_ns(), 3000u) << "the time in which its head arrived is the client's";

  HttpConnection waiting(1, inputs_, outputs_);
  EXPECT_EQ(receive(waiting, get("/v1/items?keys=1,2&minVersion=8&wait=9s") + get("/v1/items/2")), "");
  responder_.end_turn(now_ns_ + 1000);
  turn(2'000'000);
  ring_.commit(8);
  turn(3'000'000);
  responder_.end_waits(false);
  responder_.flush();
  EXPECT_EQ(statuses(take(waiting)), (std::vector<int>{200, 200}));
  responder_.end_turn(now_ns_ + 4000);
  const http::Histogram& rows = metrics_.request_durations.of(RouteKind::kRows);
  EXPECT_EQ(rows.count(), 1u);
  EXPECT_EQ(rows.sum_ns(), 5'004'000u);
  EXPECT_EQ(row.count(), 2u);
  EXPECT_EQ(row.sum_ns(), 7000u) << "behind a wait it counts from when its turn came";
}

TEST_F(ResponderTest, AVersionEndsTheWaitsThatItFulfilsInOneGo) {
  HttpConnection first(0, inputs_, outputs_);
  HttpConnection second(1, inputs_, outputs_);
  receive(first, get("/v1/items/1?minVersion=8&wait=5s"));
  receive(second, get("/v1/items/1?minVersion=9&wait=5s"));
  ring_.set_item(1, "\"eight\"");
  ring_.commit(8);
  turn(1);
  responder_.end_waits(false);
  responder_.flush();
  EXPECT_EQ(statuses(take(first)), (std::vector<int>{200}));
  EXPECT_EQ(take(second), "");
  responder_.forget(second);
  EXPECT_EQ(responder_.waiting(), 0u);
}

TEST_F(ResponderTest, WhatFollowsTheLastRequestIsNotLookedAt) {
  HttpConnection connection(0, inputs_, outputs_);
  const std::string close = "GET /v1/items/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(statuses(receive(connection, close + get("/v1/items/2"))), (std::vector<int>{200}));
  EXPECT_TRUE(connection.must_close);
  EXPECT_EQ(receive(connection, get("/v1/items/3")), "");
}

TEST_F(ResponderTest, AFullOutputStopsTheReadingUntilItIsTaken) {
  ring_.set_item(3, "\"" + std::string(20'000, 'x') + "\"");
  ring_.commit(8);
  turn(1);
  HttpConnection connection(0, inputs_, outputs_);
  std::string all;
  for (int i = 0; i < 100; ++i) all += get("/v1/items/3");
  std::string out = receive(connection, all);
  EXPECT_TRUE(connection.is_output_full);
  EXPECT_LE(out.size(), Responder::kOutputHighWater + 64 * 1024);
  int rounds = 0;
  while (connection.is_output_full) {
    responder_.resume(connection);
    responder_.flush();
    out += take(connection);
    ++rounds;
  }
  EXPECT_GE(rounds, 6);
  EXPECT_EQ(statuses(out).size(), 100u);
}

TEST_F(ResponderTest, UnreadyAnswersEndTheConnection) {
  HttpConnection connection(0, inputs_, outputs_);
  EXPECT_EQ(statuses(receive(connection, get("/v1/items/1"))), (std::vector<int>{200}));
  Responder::TurnState state;
  state.unready_reason = "it is joining the ring";
  state.version = Version(7);
  state.now_ns = now_ns_;
  responder_.begin_turn(state);
  std::string out = receive(connection, get("/v1/items/1"));
  HttpAnswer answer;
  ASSERT_TRUE(take_answer(out, false, answer));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.field("Connection"), "close");
  EXPECT_NE(answer.body.find("it is joining the ring"), std::string::npos);
  EXPECT_EQ(answer.version(), 7u);
}

TEST_F(ResponderTest, NoConnectionSeesAVersionGoBack) {
  HttpConnection connection(0, inputs_, outputs_);
  connection.last_version = Version(8);
  EXPECT_EQ(receive(connection, get("/v1/items/1")), "");
  EXPECT_TRUE(connection.is_broken);
}

}  // namespace
}  // namespace ringside::replica
