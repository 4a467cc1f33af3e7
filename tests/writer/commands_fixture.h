// What the tests of the command side share: a MariaDB of their own, the command side over it as the writer wires it,
// and a small HTTP client.
//
// Threads: as each class says.   Ownership: each owns its sockets, threads and processes.
// Errors: std::runtime_error.   Limits: an answer is awaited for a minute.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/config.h"
#include "base/unique_fd.h"
#include "tests/support/mariadb_server.h"
#include "writer/commands/command_service.h"
#include "writer/commands/http_server.h"

namespace ringside::testing {

struct HttpAnswer {
  unsigned status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// One connection to 127.0.0.1. One thread at a time.
class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port);

  // Extra header lines end in CRLF. A body makes Content-Length and Content-Type.
  HttpAnswer request(std::string_view method, std::string_view target, std::string_view body = {},
                     std::string_view headers = {});
  void send(std::string_view bytes);
  HttpAnswer receive(bool is_head = false);
  // The server has closed the connection and sent nothing more.
  bool is_closed();
  // Something can be received now, or within the time.
  bool has_bytes(std::chrono::milliseconds patience);
  // As a client does that has nothing more to ask.
  void finish_sending();
  void hang_up() { socket_.reset(); }

 private:
  bool receive_some();

  UniqueFd socket_;
  std::string buffer_;
};

// Stands between the pool and the server, and cuts a connection at its COMMIT when told. One thread inside.
class CommitProxy {
 public:
  enum class Cut : std::uint8_t {
    kNothing,
    kBeforeCommit,  // the server never sees it
    kAfterCommit,   // the server commits, its answer is lost
  };

  CommitProxy(std::string listen_path, std::string server_path);
  ~CommitProxy();
  CommitProxy(const CommitProxy&) = delete;
  CommitProxy& operator=(const CommitProxy&) = delete;

  const std::string& path() const { return listen_path_; }
  // The next COMMIT is cut once; with `for_good` all connections after it are refused until heal().
  void cut_next_commit(Cut cut, bool for_good = false);
  void heal();
  // How many were cut so far.
  int cuts() const;

 private:
  struct Link {
    UniqueFd client;
    UniqueFd server;
    bool discards_answers = false;
  };
  void run();
  bool forward(Link& link, bool from_client);

  std::string listen_path_;
  std::string server_path_;
  UniqueFd listener_;
  UniqueFd wake_;
  std::vector<std::unique_ptr<Link>> links_;  // the thread's

  mutable std::mutex mutex_;
  // Under mutex_:
  Cut cut_ = Cut::kNothing;
  bool for_good_ = false;
  bool refuses_ = false;
  bool ends_ = false;
  int cuts_ = 0;

  std::thread thread_;  // last: uses all of the above
};

class HealthyStatus : public writer::WriterStatus {
 public:
  Verdict health() const override { return {}; }
  Verdict readiness() const override { return ready; }
  void append_status_members(std::string& out) const override { out += R"(,"capture":{"state":"testing"})"; }
  void append_metrics(http::MetricsText& metrics) const override {
    metrics.gauge("ringside_testing", "A metric of the rest of the writer.");
    metrics.sample({}, 1);
  }
  Verdict ready;
};

// The command side over a server's database, as the writer's main wires it.
class CommandSide {
 public:
  // `tune` may change the configuration (port 0, version_wait 0 and 4 sessions before).
  explicit CommandSide(const MysqlConfig& mysql, const std::function<void(WriterConfig&)>& tune = {},
                       writer::HttpLimits limits = {});
  ~CommandSide();

  std::uint16_t port() const { return http->port(); }
  HttpClient client() const { return HttpClient(port()); }
  HttpAnswer request(std::string_view method, std::string_view target, std::string_view body = {},
                     std::string_view headers = {}) const {
    return client().request(method, target, body, headers);
  }
  // Reads the tables again, as capture does after DDL.
  void read_schema();

  MysqlConfig mysql;
  WriterConfig config;
  writer::SchemaView schema;
  writer::CommandTracker tracker;
  HealthyStatus status;
  std::unique_ptr<writer::CommandService> service;
  std::unique_ptr<writer::HttpServer> http;
};

}  // namespace ringside::testing
