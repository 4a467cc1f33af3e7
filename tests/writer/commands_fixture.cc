#include "tests/writer/commands_fixture.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "writer/commands/bookkeeping.h"
#include "writer/source/connection.h"
#include "writer/source/schema.h"

namespace ringside::testing {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) fail("send");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("socket path too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

// --- HttpClient

HttpClient::HttpClient(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("connect");
  const timeval patience{60, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

void HttpClient::send(std::string_view bytes) {
  write_all(socket_.get(), bytes);
}

bool HttpClient::receive_some() {
  char bytes[16384];
  const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
  if (got < 0 && errno != ECONNRESET) fail("no answer");
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<std::size_t>(got));
  return true;
}

HttpAnswer HttpClient::receive(bool is_head) {
  std::size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!receive_some()) throw std::runtime_error("the connection ended within a head: " + buffer_);
  }
  HttpAnswer answer;
  const std::string head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  answer.status = static_cast<unsigned>(std::stoul(head.substr(9, 3)));
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t line_end = head.find("\r\n", at);
    const std::string line = head.substr(at, line_end - at);
    const std::size_t colon = line.find(": ");
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(std::tolower(c)); });
    answer.headers[name] = line.substr(colon + 2);
    at = line_end + 2;
  }
  if (is_head || answer.status == 100) return answer;
  const std::size_t length = std::stoul(answer.headers.at("content-length"));
  while (buffer_.size() < length) {
    if (!receive_some()) throw std::runtime_error("the connection ended within a body");
  }
  answer.body = buffer_.substr(0, length);
  buffer_.erase(0, length);
  return answer;
}

HttpAnswer HttpClient::request(std::string_view method, std::string_view target, std::string_view body,
                               std::string_view headers) {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n{}", method, target, headers);
  if (!body.empty()) {
    text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  send(text + "\r\n" + std::string(body));
  return receive(method == "HEAD");
}

bool HttpClient::has_bytes(std::chrono::milliseconds patience) {
  pollfd readable{socket_.get(), POLLIN, 0};
  return !buffer_.empty() || ::poll(&readable, 1, static_cast<int>(patience.count())) > 0;
}

void HttpClient::finish_sending() {
  ::shutdown(socket_.get(), SHUT_WR);
}

bool HttpClient::is_closed() {
  return !receive_some() && buffer_.empty();
}

// --- CommitProxy

CommitProxy::CommitProxy(std::string listen_path, std::string server_path)
    : listen_path_(std::move(listen_path)),
      server_path_(std::move(server_path)),
      listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      wake_(::eventfd(0, EFD_CLOEXEC)) {
  const sockaddr_un address = unix_address(listen_path_);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (::listen(listener_.get(), 64) != 0) fail("listen");
  thread_ = std::thread([this] { run(); });
}

CommitProxy::~CommitProxy() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  const std::uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof one) != sizeof one) std::terminate();
  thread_.join();
  ::unlink(listen_path_.c_str());
}

void CommitProxy::cut_next_commit(Cut cut, bool for_good) {
  const std::lock_guard lock(mutex_);
  cut_ = cut;
  for_good_ = for_good;
}

void CommitProxy::heal() {
  const std::lock_guard lock(mutex_);
  refuses_ = false;
}

int CommitProxy::cuts() const {
  const std::lock_guard lock(mutex_);
  return cuts_;
}

// False when the link is to be closed.
bool CommitProxy::forward(Link& link, bool from_client) {
  char bytes[16384];
  const ssize_t got = ::recv(from_client ? link.client.get() : link.server.get(), bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  const std::string_view text(bytes, static_cast<std::size_t>(got));
  const int to = from_client ? link.server.get() : link.client.get();
  if (!from_client) {
    // The server has answered, so it has committed: now the client may lose its connection.
    if (link.discards_answers) return false;
    return ::send(to, text.data(), text.size(), MSG_NOSIGNAL) == got;
  }
  if (text.find("\x03"
                "COMMIT") != std::string_view::npos) {
    const std::lock_guard lock(mutex_);
    const Cut cut = std::exchange(cut_, Cut::kNothing);
    if (cut != Cut::kNothing) {
      ++cuts_;
      refuses_ = for_good_;
    }
    if (cut == Cut::kBeforeCommit) return false;
    link.discards_answers = cut == Cut::kAfterCommit;
  }
  return ::send(to, text.data(), text.size(), MSG_NOSIGNAL) == got;
}

void CommitProxy::run() {
  for (;;) {
    std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const auto& link : links_) {
      polled.push_back({link->client.get(), POLLIN, 0});
      polled.push_back({link->server.get(), POLLIN, 0});
    }
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    {
      const std::lock_guard lock(mutex_);
      if (ends_) return;
    }
    for (std::size_t i = 0, at = 2; at < polled.size(); at += 2) {
      const bool stays = (polled[at].revents == 0 || forward(*links_[i], true)) &&
                         (polled[at + 1].revents == 0 || forward(*links_[i], false));
      if (stays) {
        ++i;
      } else {
        links_.erase(links_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    if (polled[1].revents == 0) continue;
    auto link = std::make_unique<Link>();
    link->client.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    bool refuses = false;
    {
      const std::lock_guard lock(mutex_);
      refuses = refuses_;
    }
    if (refuses) continue;
    link->server.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(server_path_);
    if (::connect(link->server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      links_.push_back(std::move(link));
    }
  }
}

// --- CommandSide

CommandSide::CommandSide(const MysqlConfig& mysql_config, const std::function<void(WriterConfig&)>& tune,
                         writer::HttpLimits limits)
    : mysql(mysql_config) {
  config.listen = {"127.0.0.1", 0, false};
  config.version_wait = std::chrono::milliseconds(0);
  config.sessions = 4;
  if (tune) tune(config);
  {
    writer::initialise_driver();
    writer::Session session(mysql);
    const auto history = writer::ensure_schema(session);
    if (!history) throw std::runtime_error(history.error().message);
  }
  read_schema();
  service = std::make_unique<writer::CommandService>(mysql, config, tracker);
  auto started = writer::HttpServer::start(config, {*service, schema, tracker, status}, limits);
  if (!started) throw std::runtime_error(started.error().message);
  http = std::move(started).value();
}

CommandSide::~CommandSide() {
  http->stop();
  service->stop();
}

void CommandSide::read_schema() {
  auto connection = writer::Connection::open(mysql, {});
  if (!connection) throw std::runtime_error(connection.error().message);
  auto tables = writer::read_schema(**connection, mysql);
  if (!tables) throw std::runtime_error(tables.error().message);
  auto made = std::make_shared<writer::Schema>();
  made->database = mysql.database;
  made->tables = std::move(tables).value();
  static std::uint32_t next_id = 0;  // each reading makes new incarnations
  for (shm::Table& table : made->tables) {
    table.id = TableId(++next_id);
    table.shape.id = ShapeId(next_id);
  }
  schema.set(std::move(made));
}

}  // namespace ringside::testing
