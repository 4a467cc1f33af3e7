#include "replica/handover.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <vector>

#include "replica/listener.h"
#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

using Kind = HandoverMessage::Kind;
using std::chrono::milliseconds;

std::string own_name(const TestRing& ring) {
  return handover_name(ring.directory() + "/" + ring.name(), 0);
}

ServerOptions at(const std::string& name, bool takes_over = false) {
  ServerOptions options;
  options.handover_name = name;
  options.takes_over = takes_over;
  return options;
}

UniqueFd connect_to(const std::string& name) {
  for (;;) {
    auto fd = connect_handover(name);
    EXPECT_TRUE(fd) << fd.error().message;
    if (!fd || *fd) return fd ? std::move(*fd) : UniqueFd();
    ::sched_yield();
  }
}

HandoverMessage wait_for_message(int fd) {
  pollfd readable{fd, POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 60'000), 1);
  return receive_handover(fd);
}

struct Pair {
  Pair() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    one.reset(fds[0]);
    other.reset(fds[1]);
  }
  UniqueFd one;
  UniqueFd other;
};

TEST(HandoverMessages, ArriveWithTheirSocketsInOrder) {
  const Pair pair;
  ListenAddress address{"127.0.0.1", 0, false};
  const auto tcp = listen_tcp(address, PortUse::kShared, "test");
  ASSERT_TRUE(tcp);
  ASSERT_TRUE(send_handover(pair.one.get(), Kind::kSockets, {Place::kAdmin, Place::kTcp},
                            {pair.one.get(), tcp->get()}));
  ASSERT_TRUE(send_handover(pair.one.get(), Kind::kTaken, {Place::kUnix}));
  const HandoverMessage sockets = receive_handover(pair.other.get());
  ASSERT_EQ(sockets.kind, Kind::kSockets);
  ASSERT_EQ(sockets.sockets.size(), 2u);
  EXPECT_EQ(sockets.sockets[1].place, Place::kTcp);
  EXPECT_EQ(local_port(sockets.sockets[1].fd.get()), local_port(tcp->get()));
  EXPECT_TRUE(listens_at(sockets.sockets[1].fd.get(), address));
  address.port = static_cast<std::uint16_t>(local_port(tcp->get()) + 1);
  EXPECT_FALSE(listens_at(sockets.sockets[1].fd.get(), address));
  const HandoverMessage taken = receive_handover(pair.other.get());
  EXPECT_EQ(taken.kind, Kind::kTaken);
  ASSERT_EQ(taken.sockets.size(), 1u);
  EXPECT_EQ(taken.sockets[0].place, Place::kUnix);
  EXPECT_EQ(receive_handover(pair.other.get()).kind, Kind::kNothing);
}

TEST(HandoverMessages, AreCheckedAndNothingElseIsFollowed) {
  Pair pair;
  for (const std::string_view text :
       {std::string_view("RSHAND-1"), std::string_view("RSHAND-2\1", 9), std::string_view("RSHAND-1\7", 9),
        std::string_view("RSHAND-1\1\0\1\2\3\4\5\6", 16), std::string_view("RSHAND-1\3\x4", 10),
        std::string_view("RSHAND-1\2\0", 10), std::string_view("x")}) {
    ASSERT_GT(::send(pair.one.get(), text.data(), text.size(), 0), 0);
    EXPECT_EQ(receive_handover(pair.other.get()).kind, Kind::kUnknown) << text;
  }
  pair.one.reset();
  EXPECT_EQ(receive_handover(pair.other.get()).kind, Kind::kEnded);
}

TEST(HandoverMessages, ANameTellsRingAndIndexAndFits) {
  EXPECT_NE(handover_name("/dev/shm/a", 1), handover_name("/dev/shm/a", 11));
  const std::string tail(200, 'x');
  const std::string one = handover_name("/one/" + tail, 63);
  EXPECT_NE(one, handover_name("/two/" + tail, 63));
  EXPECT_LE(one.size(), 107u);
}

TEST(HandoverMessages, WhoeverAcceptsNobodyHoldsUpNoStart) {
  const TestRing ring;
  const auto held = listen_handover(own_name(ring));
  ASSERT_TRUE(held) << held.error().message;
  std::vector<UniqueFd> queue;
  for (int i = 0; i < 64; ++i) {
    auto fd = connect_handover(own_name(ring));
    if (!fd) {
      EXPECT_EQ(fd.error().kind, ErrorKind::kUnavailable);
      EXPECT_NE(fd.error().message.find("accepts nobody"), std::string::npos) << fd.error().message;
      return;
    }
    queue.push_back(std::move(*fd));
  }
  FAIL() << "its queue has no end";
}

TEST(Handover, ASuccessorGetsTheSocketsAndTheOtherEnds) {
  TestRing ring;
  ring.begin(10, 7);
  RunningServer old(ring, {}, at(own_name(ring)));
  Client kept = old.connect();
  EXPECT_EQ(kept.get("/v1/items/1").status, 200);
  ReplicaConfig config;
  config.listen.port = old.port();
  const RunningServer successor(ring, config, at(own_name(ring), true));
  // Every request on the kept connection is answered; one of the answers says that it is the last.
  for (;;) {
    const HttpAnswer answer = kept.get("/v1/items/2");
    ASSERT_EQ(answer.status, 200);
    if (answer.field("Connection") == "close") break;
  }
  EXPECT_TRUE(kept.ends());
  old.join();
  // Same data port, same admin port, same name for the next successor.
  EXPECT_EQ(old.connect().get("/v1/items/3").status, 200);
  EXPECT_EQ(Client(old.admin_port()).get("/readyz").status, 200);
  EXPECT_TRUE(connect_to(own_name(ring)));
}

TEST(Handover, ASuccessorThatGoesBeforeItTakesChangesNothing) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring, {}, at(own_name(ring)));
  EXPECT_EQ(server.connect().get("/v1/items/1").status, 200);
  for (int i = 0; i < 3; ++i) {
    UniqueFd peer;
    HandoverMessage message;
    do {  // the one before may still be there for a moment
      peer = connect_to(own_name(ring));
      if (send_handover(peer.get(), Kind::kAsk)) message = wait_for_message(peer.get());
    } while (message.kind != Kind::kSockets);
    EXPECT_EQ(message.sockets.size(), 3u);
    // A second one meanwhile is sent away.
    const UniqueFd late = connect_to(own_name(ring));
    EXPECT_EQ(wait_for_message(late.get()).kind, Kind::kEnded);
    EXPECT_EQ(server.connect().get("/v1/items/1").field("Connection"), "");
  }
  EXPECT_EQ(Client(server.admin_port()).get("/readyz").status, 200);
}

TEST(Handover, WhatIsNotUnderstoodIsNotFollowed) {
  TestRing ring;
  ring.begin(10, 7);
  const RunningServer server(ring, {}, at(own_name(ring)));
  Client client = server.connect();
  {
    const UniqueFd peer = connect_to(own_name(ring));
    ASSERT_EQ(::send(peer.get(), "hello", 5, 0), 5);
    EXPECT_EQ(wait_for_message(peer.get()).kind, Kind::kEnded);
  }
  {
    // Taken without having been asked for.
    const UniqueFd peer = connect_to(own_name(ring));
    ASSERT_TRUE(send_handover(peer.get(), Kind::kTaken, {Place::kTcp}));
    EXPECT_EQ(wait_for_message(peer.get()).kind, Kind::kEnded);
  }
  EXPECT_EQ(client.get("/v1/items/1").field("Connection"), "");
}

TEST(Drain, IdleConnectionsAreToldWithTheirNextAnswer) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.drain_grace = milliseconds(60'000);
  RunningServer server(ring, config);
  Client quiet = server.connect();
  EXPECT_EQ(quiet.get("/v1/items/1").field("Connection"), "");
  Client admin(server.admin_port());
  EXPECT_EQ(admin.get("/readyz").status, 200);
  server.stop();
  // Until it has seen the word to stop it answers as ever.
  HttpAnswer last;
  do {
    last = admin.get("/readyz");
    ASSERT_NE(last.status, 0);
  } while (last.field("Connection") != "close");
  EXPECT_NE(last.body.find("draining"), std::string::npos);
  const HttpAnswer answer = quiet.get("/v1/items/2");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("Connection"), "close");
  EXPECT_TRUE(quiet.ends());
  server.join();
}

TEST(Drain, WhoeverHasConnectedIsAnswered) {
  TestRing ring;
  ring.begin(10, 7);
  ReplicaConfig config;
  config.drain_grace = milliseconds(60'000);
  config.unix_socket = ring.directory() + "/replica.sock";
  for (int round = 0; round < 10; ++round) {
    RunningServer server(ring, config);
    EXPECT_EQ(server.connect().get("/v1/items/1").status, 200);
    std::vector<Client> clients;
    for (int i = 0; i < 40; ++i) {
      Client client = i % 2 == 0 ? Client(server.port()) : Client(config.unix_socket);
      ASSERT_TRUE(client.is_connected());
      clients.push_back(std::move(client));
    }
    server.stop();
    for (Client& client : clients) {
      EXPECT_EQ(client.get("/v1/items/1").status, 200) << "connected, and not answered";
    }
    clients.clear();
    server.join();
  }
}

}  // namespace
}  // namespace ringside::replica
