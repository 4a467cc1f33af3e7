// The way from a request's bytes to its answer's allocates nothing once it is warm. A program of its own: it replaces
// operator new to count.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "replica/follower.h"
#include "replica/responder.h"
#include "tests/replica/replica_fixture.h"

namespace {

std::atomic<std::uint64_t> allocations{0};

void* counted(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes);
}
void* operator new[](std::size_t bytes) {
  return counted(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace ringside::replica {
namespace {

constexpr const char* kUuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

class NoPages final : public PageSource {
 public:
  Page page(RouteKind) override { return {200, "text/plain", "page"}; }
};

class Allocations : public ::testing::Test {
 protected:
  void begin() {
    follower_ = std::make_unique<Follower>(ring_.directory(), ring_.name());
    do {
      follower_->turn(monotonic_ns());
    } while (!follower_->is_serving() || follower_->has_work());
    responder_ = std::make_unique<Responder>(ResponderLimits(), pages_, metrics_);
    connection_ = std::make_unique<HttpConnection>(0, inputs_, outputs_);
  }

  // What a turn of the event loop does for these bytes. How much memory was asked for meanwhile: how often.
  std::uint64_t turn(std::string_view bytes, std::uint64_t passed_ns = 1'000) {
    const std::uint64_t before = allocations.load(std::memory_order_relaxed);
    now_ns_ += passed_ns;
    Responder::TurnState state;
    state.tables = &follower_->tables();
    state.version = follower_->tables().visible_version();
    state.now_ns = now_ns_;
    responder_->begin_turn(state);
    if (!bytes.empty()) responder_->receive(*connection_, as_bytes(bytes));
    responder_->end_waits(false);
    responder_->flush();
    responder_->end_turn(now_ns_ + 500);
    sent_ += connection_->output.size();
    connection_->output.release();
    responder_->clear_touched();
    return allocations.load(std::memory_order_relaxed) - before;
  }

  void expect_none(std::string_view request) {
    for (int warm = 0; warm < 3; ++warm) turn(request);
    for (int again = 0; again < 3; ++again) {
      sent_ = 0;
      EXPECT_EQ(turn(request), 0u) << request;
      EXPECT_GT(sent_, 0u) << request;
      EXPECT_FALSE(connection_->is_waiting || connection_->must_close || connection_->is_broken) << request;
    }
  }

  TestRing ring_;
  NoPages pages_;
  ReplicaMetrics metrics_;
  BufferPool inputs_{std::size_t{1} << 20, 0};
  BufferPool outputs_{std::size_t{8} << 20, 0};
  std::unique_ptr<Follower> follower_;
  std::unique_ptr<Responder> responder_;
  std::unique_ptr<HttpConnection> connection_;
  std::uint64_t now_ns_ = 1'000'000'000;
  std::size_t sent_ = 0;
};

TEST_F(Allocations, ThereAreNoneOnTheWayOfAPointRead) {
  ring_.begin(2000, 7);
  begin();
  EXPECT_GT(turn(request("/v1/items/3")), 0u) << "the pool's first buffer: what is counted, is counted";
  for (const std::string_view target :
       {"/v1/items/3", "/v1/items/99999", "/v1/items/3?fields=name", "/v1/items/3?numbers=string",
        "/v1/items?keys=1,2,3,99999", "/v1/items?key=1&key=2", "/v1/items/3?minVersion=7",
        "/v1/items/3?minGtid=0-1-7", "/version", "/v1/nothing/3", "/v1/items/x", "/v1/items/3?what=1",
        "/v1/items/%33"}) {
    expect_none(request(target));
  }
  expect_none(request("/v1/items/3", "HEAD"));
  expect_none(request("/v1/items/3", "OPTIONS"));
  expect_none("GET /v1/items/3 HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\", *\r\n\r\n");
  expect_none("GET /v1/items/3 HTTP/1.1\r\nHost: a\r\nRingside-Min-Version: 7\r\nAccept: */*\r\n\r\n");
  std::string many;
  for (int id = 0; id < 200; ++id) many += request("/v1/items/" + std::to_string(id));
  expect_none(many);
}

TEST_F(Allocations, ThereAreNoneForRequestsThatArriveInPieces) {
  ring_.begin(10, 7);
  begin();
  const std::string whole = request("/v1/items/3");
  const std::string_view text = whole;
  for (int round = 0; round < 6; ++round) {
    for (std::size_t at = 0; at < text.size(); at += 7) {
      const std::uint64_t taken = turn(text.substr(at, 7));
      if (round >= 3) {
        EXPECT_EQ(taken, 0u) << "at " << at;
      }
    }
  }
  EXPECT_GT(sent_, 0u);
}

TEST_F(Allocations, ThereAreNoneForMysqlsGtidsAndForWaits) {
  ring_.load_items(10, 7);
  ring_.commit(7, "", std::string(kUuid) + ":1-5:blue:1-2");
  ASSERT_TRUE(ring_.publisher().activate(nullptr));
  begin();
  const std::string uuid = kUuid;
  expect_none(request("/v1/items/3?minGtid=" + uuid + ":5"));
  expect_none(request("/v1/items/3?minGtid=" + uuid + ":1-5:blue:2"));
  // It waits, and its time passes.
  const std::string waits = request("/v1/items/3?wait=1ms&minGtid=" + uuid + ":6");
  for (int round = 0; round < 6; ++round) {
    sent_ = 0;
    const std::uint64_t taken = turn(waits) + turn("", 2'000'000);
    EXPECT_GT(sent_, 0u);
    if (round >= 3) {
      EXPECT_EQ(taken, 0u);
    }
  }
}

}  // namespace
}  // namespace ringside::replica
