// What tests of the replica share: a ring with tables of its own, a server on a thread, and a client over a real socket.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "replica/server.h"
#include "shm/key.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::replica {

inline shm::Column column(std::string name, shm::ValueKind kind, std::string sql_type,
                          std::uint32_t width = 0) {
  shm::Column out;
  out.name = std::move(name);
  out.kind = kind;
  out.sql_type = std::move(sql_type);
  out.width = width;
  return out;
}

// pairs(a INT, b VARCHAR _bin, price DECIMAL(10,2), big BIGINT; primary key (a, b))
inline shm::Table pairs_table() {
  shm::Table table;
  table.name = "pairs";
  table.key_name = "PRIMARY";
  shm::Column b = column("b", shm::ValueKind::kText, "varchar(40)");
  b.collation = "utf8mb4_bin";
  shm::Column price = column("price", shm::ValueKind::kDecimal, "decimal(10,2)");
  price.precision = 10;
  price.scale = 2;
  table.shape.columns = {column("a", shm::ValueKind::kInteger, "int(11)", 4), b, price,
                         column("big", shm::ValueKind::kInteger, "bigint(20)", 8)};
  table.key = {shm::make_key_column(0, table.shape.columns[0]),
               shm::make_key_column(1, table.shape.columns[1])};
  return table;
}

// A writer's side: publishes what a test tells it to.
class TestRing {
 public:
  TestRing() : TestRing(shm::RingDirectory().options()) {}
  explicit TestRing(shm::PublisherOptions options) : options_(std::move(options)) {
    options_.ring.directory = directory_.path();
    start();
  }

  const std::string& directory() const { return directory_.path(); }
  const std::string& name() const { return options_.ring.name; }
  shm::Publisher& publisher() { return *publisher_; }
  shm::RowBuilder& row() { return row_; }

  // Opens the ring; a fresh one gets no tables and is not in force before activate().
  void start() {
    if (!lock_) {
      auto lock = shm::lock_ring(options_.ring);
      ASSERT_TRUE(lock) << lock.error().message;
      lock_ = std::move(*lock);
    }
    auto publisher = shm::Publisher::open(options_, lock_);
    ASSERT_TRUE(publisher) << publisher.error().message;
    publisher_ = std::move(*publisher);
    publisher_->describe("history-1", "shop");
  }
  // A new epoch beside the one in force; the publisher is its one from now on.
  std::unique_ptr<shm::Publisher> start_over() {
    auto publisher = shm::Publisher::create(options_, lock_);
    EXPECT_TRUE(publisher) << publisher.error().message;
    std::unique_ptr<shm::Publisher> before = std::exchange(publisher_, std::move(*publisher));
    publisher_->describe("history-1", "shop");
    return before;
  }
  // items 0 … count-1 named "item-<id>", at this version; nothing is shown before commit().
  void load_items(std::uint64_t count, std::uint64_t version) {
    TableId items;
    load_items(count, version, items);
    ASSERT_TRUE(publisher_->switch_to(items));
  }
  void load_items(std::uint64_t count, std::uint64_t version, TableId& items) {
    items = publisher_->new_table(shm::items_table());
    for (std::uint64_t id = 0; id < count; ++id) {
      const std::string name = "\"item-" + std::to_string(id) + "\"";
      const auto loaded = publisher_->load_row(items, Version(version), shm::build_item(row_, id, name));
      ASSERT_TRUE(loaded) << loaded.error().message;
    }
    ASSERT_TRUE(publisher_->end_load());
  }
  // The usual beginning: `count` items at `version`, in force.
  void begin(std::uint64_t count, std::uint64_t version) {
    load_items(count, version);
    commit(version);
    ASSERT_TRUE(publisher_->activate(nullptr));
  }
  void set_item(std::uint64_t id, const std::string& json, bool exists = true) {
    const shm::Table* items = publisher_->live_table("items");
    ASSERT_NE(items, nullptr);
    shm::build_item(row_, id, json);
    const auto changed =
        exists ? publisher_->update(*items, shm::item_key(id), row_) : publisher_->insert(*items, row_);
    ASSERT_TRUE(changed) << changed.error().message;
  }
  void erase_item(std::uint64_t id) {
    ASSERT_TRUE(publisher_->erase(*publisher_->live_table("items"), shm::item_key(id)));
  }
  void commit(std::uint64_t version, std::uint32_t server = 1) {
    commit(version, "0-" + std::to_string(server) + "-" + std::to_string(version), {});
  }
  void commit(std::uint64_t version, const std::string& gtid, const std::string& executed_with) {
    const auto committed =
        publisher_->commit(Version(version), shm::Commit{1'000'000, version, 0, gtid, executed_with});
    ASSERT_TRUE(committed) << committed.error().message;
    publisher_->ring().set_source(Version(version), 0, monotonic_ns());
    publisher_->ring().set_capture_state(shm::CaptureState::kStreaming);
  }
  // Makes the pairs table live with rows given as (a, b, price, big).
  void add_pairs(const std::vector<std::array<std::string, 4>>& rows, std::uint64_t version) {
    const TableId id = publisher_->new_table(pairs_table());
    const shm::Table* table = publisher_->catalogue().find(id);
    ASSERT_NE(table, nullptr);
    for (const auto& values : rows) {
      row_.begin();
      for (const std::string& value : values) row_.add(value);
      shm::KeyBuffer key;
      for (std::size_t i = 0; i < 2; ++i) {
        ASSERT_EQ(shm::append_key_from_json(table->shape.columns[i], table->key[i], i == 1, values[i], key),
                  shm::KeyStatus::kOk);
      }
      row_.set_key(key.bytes());
      ASSERT_TRUE(publisher_->load_row(id, Version(version), row_));
    }
    ASSERT_TRUE(publisher_->end_load());
    ASSERT_TRUE(publisher_->switch_to(id));
  }

 private:
  shm::RingDirectory directory_;
  shm::PublisherOptions options_;
  UniqueFd lock_;
  std::unique_ptr<shm::Publisher> publisher_;
  shm::RowBuilder row_;
};

// The least that is a request.
inline std::string request(std::string_view target, std::string_view method = "GET") {
  return std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

struct HttpAnswer {
  int status = 0;
  std::string head;
  std::string body;
  // The field's value; empty when it is not there.
  std::string field(std::string_view name) const {
    const std::string line = "\r\n" + std::string(name) + ": ";
    const std::size_t at = head.find(line);
    if (at == std::string::npos) return {};
    const std::size_t begin = at + line.size();
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
  std::uint64_t version() const {
    std::uint64_t number = 0;
    const std::string text = field("Ringside-Version");
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
  }
};

// Takes one answer off the front of `bytes`; `is_head`: it answers a HEAD and has no body. False: not whole yet.
inline bool take_answer(std::string& bytes, bool is_head, HttpAnswer& answer) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  answer.head = bytes.substr(0, end + 2);
  answer.status = std::stoi(answer.head.substr(9, 3));
  const std::string length = answer.field("Content-Length");
  const std::size_t body = is_head || answer.status == 304 || length.empty() ? 0 : std::stoul(length);
  if (bytes.size() < end + 4 + body) return false;
  answer.body = bytes.substr(end + 4, body);
  bytes.erase(0, end + 4 + body);
  return true;
}

class Client {
 public:
  explicit Client(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect_to(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  explicit Client(const std::string& unix_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    unix_path.copy(address.sun_path, sizeof address.sun_path - 1);
    connect_to(AF_UNIX, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  bool is_connected() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t size = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(size));
    }
  }
  void finish_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  // Waits for one answer. status 0: the connection ended, or a minute has passed.
  HttpAnswer receive(bool is_head = false) {
    HttpAnswer answer;
    while (!take_answer(bytes_, is_head, answer)) {
      if (!read_more()) return {};
    }
    return answer;
  }
  // True when nothing has come yet that receive() would take. Gives the other side a millisecond.
  bool is_silent() {
    pollfd waited{fd_.get(), POLLIN, 0};
    return bytes_.empty() && ::poll(&waited, 1, 1) == 0;
  }
  // True when the server closes without another byte.
  bool ends() { return bytes_.empty() && !read_more() && bytes_.empty(); }
  HttpAnswer get(std::string_view target, std::string_view fields = {}) {
    send("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n");
    return receive();
  }

 private:
  void connect_to(int family, const sockaddr* address, socklen_t size) {
    fd_.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval limit{60, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::connect(fd_.get(), address, size) != 0) fd_.reset();
  }
  bool read_more() {
    char buffer[16384];
    const ssize_t size = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return false;
    bytes_.append(buffer, static_cast<std::size_t>(size));
    return true;
  }

  UniqueFd fd_;
  std::string bytes_;
};

// A replica's server on a thread of its own.
class RunningServer {
 public:
  // `options`: where a handover is asked for, and whether it takes one; then config.listen is the other's.
  explicit RunningServer(const TestRing& ring, ReplicaConfig config = {}, ServerOptions options = {})
      : stop_(::eventfd(0, EFD_CLOEXEC)) {
    if (options.takes_over) {
      port_ = config.listen.port;
    } else {
      config.listen.port = port_ = reserve_port();
    }
    options.ring_directory = ring.directory();
    options.ring_name = ring.name();
    options.config = config;
    options.admin_port = std::uint16_t{0};
    options.stop_fd = stop_.get();
    // One thread submits: it has to be the one that creates.
    std::atomic<int> admin{-1};
    thread_ = std::thread([this, options, &admin] {
      auto server = Server::create(options);
      if (!server) {
        ADD_FAILURE() << server.error().message;
        admin = 0;
        return;
      }
      admin = (*server)->admin_port();
      const Result<void> ended = (*server)->run();
      EXPECT_TRUE(ended) << ended.error().message;
    });
    while (admin.load() < 0) ::sched_yield();
    admin_port_ = static_cast<std::uint16_t>(admin.load());
  }
  ~RunningServer() {
    stop();
    if (thread_.joinable()) thread_.join();
  }

  std::uint16_t port() const { return port_; }
  std::uint16_t admin_port() const { return admin_port_; }
  void stop() {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  void join() { thread_.join(); }
  // Tries until somebody listens.
  Client connect() const {
    for (;;) {
      Client client(port_);
      if (client.is_connected()) return client;
      ::sched_yield();
    }
  }
  // Asks the admin port until the answer's body has `text`.
  HttpAnswer admin_until(std::string_view target, std::string_view text) const {
    Client client(admin_port_);
    for (;;) {
      const HttpAnswer answer = client.get(target);
      if (answer.status == 0 || answer.body.find(text) != std::string::npos) return answer;
    }
  }

 private:
  // Bound and never listening: keeps the port for the server, which shares it.
  std::uint16_t reserve_port() {
    reserved_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(reserved_.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(reserved_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ::getsockname(reserved_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }

  UniqueFd stop_;
  UniqueFd reserved_;
  std::uint16_t port_ = 0;
  std::uint16_t admin_port_ = 0;
  std::thread thread_;
};

}  // namespace ringside::replica
