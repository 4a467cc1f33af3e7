#include "base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace ringside {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kLeast = "[mysql]\ndatabase = \"shop\"\n[ring]\nname = \"shop\"\n";

std::string error_of(const std::string& text) {
  const Result<Config> config = parse_config(text, "test.toml");
  return config ? "(no error)" : config.error().message;
}
// The least configuration with lines put under one of its tables.
std::string error_with(const std::string& table, const std::string& lines) {
  if (table == "mysql")
    return error_of("[mysql]\ndatabase = \"shop\"\n" + lines + "\n[ring]\nname = \"shop\"\n");
  if (table == "ring") return error_of("[ring]\nname = \"shop\"\n" + lines + "\n");
  return error_of(std::string(kLeast) + "[" + table + "]\n" + lines + "\n");
}

// A directory that is removed with the files made in it.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = "/tmp/ringside-config-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDirectory() {
    for (const std::string& file : files_) ::unlink(file.c_str());
    ::rmdir(path_.c_str());
  }
  std::string write(const std::string& name, const std::string& text) {
    files_.push_back(path_ + "/" + name);
    std::ofstream(files_.back()) << text;
    return files_.back();
  }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

TEST(Config, LeastFileHasTheDocumentedDefaults) {
  const Result<Config> parsed = parse_config(kLeast, "test.toml");
  ASSERT_TRUE(parsed) << parsed.error().message;
  const Config& config = *parsed;
  EXPECT_EQ(config.mysql.socket, "/run/mysqld/mysqld.sock");
  EXPECT_EQ(config.mysql.port, 3306);
  EXPECT_EQ(config.mysql.user, "ringside");
  EXPECT_EQ(config.ring.directory, "/dev/shm");
  EXPECT_EQ(config.ring.max_size_bytes, std::uint64_t{4} << 30);
  EXPECT_EQ(config.ring.segment_size_bytes, std::uint64_t{1} << 20);
  EXPECT_EQ(config.ring.transaction_reserve_bytes, config.ring.max_size_bytes);
  EXPECT_EQ(config.ring.on_full, OnFull::kPause);
  EXPECT_EQ(config.ring.reader_grace, milliseconds(5000));
  EXPECT_EQ(config.ring.reader_wait, milliseconds(30'000));
  EXPECT_EQ(config.writer.listen.to_string(), "127.0.0.1:7070");
  EXPECT_EQ(config.writer.commands_retention, milliseconds(86'400'000));
  EXPECT_EQ(config.replica.listen.to_string(), "127.0.0.1:8080");
  EXPECT_EQ(config.replica.head_limit_bytes, 8192u);
  EXPECT_FALSE(config.replica.numbers_as_strings);
  EXPECT_TRUE(config.mysql.is_chosen("anything"));
}

TEST(Config, EverySettingIsRead) {
  const Result<Config> parsed = parse_config(R"(
[mysql]
host = "db.example"
port = 3307
user = "u"
password = "hunter2hunter2"
database = "d"
tables = ["order*", "item_?"]
exclude = ["*_old"]
tls = true
tls_ca = "/etc/ca.pem"
[ring]
name = "r-1"
directory = "/run/shm"
max_size = "64MiB"
transaction_reserve = 1048576
segment_size = "256KiB"
chunk_size = "1MiB"
max_record_size = "1MiB"
reader_limit = "8MiB"
reader_grace = "250ms"
reader_wait = "1s"
on_full = "rebuild"
[writer]
listen = "[::1]:1"
token_file = "/etc/tokens"
transaction_buffer = "1MiB"
spill_directory = "/var/tmp"
version_wait = "0s"
sessions = 2
queue = 3
body_limit = "2KiB"
heartbeat = "100ms"
watchdog = "200ms"
commands_retention = "10m"
[replica]
listen = "0.0.0.0:80"
public = true
unix_socket = "/run/r.{index}.sock"
admin_port = 0
admin_address = "::1"
busy_poll = true
max_connections = 4
idle_timeout = "2s"
head_timeout = "3s"
drain_grace = "4s"
head_limit = "1KiB"
max_keys = 5
response_limit = "1MiB"
unsent_limit = "32MiB"
default_wait = "1ms"
max_wait = "2ms"
max_staleness = "1h"
numbers = "string"
)",
                                             "test.toml");
  ASSERT_TRUE(parsed) << parsed.error().message;
  const Config& c = *parsed;
  EXPECT_EQ(c.mysql.host, "db.example");
  EXPECT_EQ(c.mysql.socket, "");
  EXPECT_EQ(c.mysql.port, 3307);
  EXPECT_EQ(c.mysql.password.reveal(), "hunter2hunter2");
  EXPECT_TRUE(c.mysql.is_chosen("orders"));
  EXPECT_TRUE(c.mysql.is_chosen("item_1"));
  EXPECT_FALSE(c.mysql.is_chosen("item_12"));
  EXPECT_FALSE(c.mysql.is_chosen("orders_old"));
  EXPECT_TRUE(c.mysql.tls);
  EXPECT_EQ(c.mysql.tls_ca, "/etc/ca.pem");
  EXPECT_EQ(c.ring.name, "r-1");
  EXPECT_EQ(c.ring.directory, "/run/shm");
  EXPECT_EQ(c.ring.max_size_bytes, std::uint64_t{64} << 20);
  EXPECT_EQ(c.ring.transaction_reserve_bytes, std::uint64_t{1} << 20);
  EXPECT_EQ(c.ring.segment_size_bytes, 256u * 1024);
  EXPECT_EQ(c.ring.chunk_size_bytes, 1024u * 1024);
  EXPECT_EQ(c.ring.max_record_size_bytes, 1024u * 1024);
  EXPECT_EQ(c.ring.reader_limit_bytes, 8u * 1024 * 1024);
  EXPECT_EQ(c.ring.reader_grace, milliseconds(250));
  EXPECT_EQ(c.ring.reader_wait, milliseconds(1000));
  EXPECT_EQ(c.ring.on_full, OnFull::kRebuild);
  EXPECT_EQ(c.writer.listen, (ListenAddress{"::1", 1, true}));
  EXPECT_EQ(c.writer.token_file, "/etc/tokens");
  EXPECT_EQ(c.writer.transaction_buffer_bytes, 1024u * 1024);
  EXPECT_EQ(c.writer.spill_directory, "/var/tmp");
  EXPECT_EQ(c.writer.version_wait, milliseconds(0));
  EXPECT_EQ(c.writer.sessions, 2u);
  EXPECT_EQ(c.writer.queue, 3u);
  EXPECT_EQ(c.writer.body_limit_bytes, 2048u);
  EXPECT_EQ(c.writer.heartbeat, milliseconds(100));
  EXPECT_EQ(c.writer.watchdog, milliseconds(200));
  EXPECT_EQ(c.writer.commands_retention, milliseconds(600'000));
  EXPECT_EQ(c.replica.listen.to_string(), "0.0.0.0:80");
  EXPECT_TRUE(c.replica.is_public);
  EXPECT_EQ(c.replica.unix_socket_for(7), "/run/r.7.sock");
  EXPECT_EQ(c.replica.admin_port, 0);
  EXPECT_EQ(c.replica.admin_address, "::1");
  EXPECT_TRUE(c.replica.busy_poll);
  EXPECT_EQ(c.replica.max_connections, 4u);
  EXPECT_EQ(c.replica.idle_timeout, milliseconds(2000));
  EXPECT_EQ(c.replica.head_timeout, milliseconds(3000));
  EXPECT_EQ(c.replica.drain_grace, milliseconds(4000));
  EXPECT_EQ(c.replica.head_limit_bytes, 1024u);
  EXPECT_EQ(c.replica.max_keys, 5u);
  EXPECT_EQ(c.replica.response_limit_bytes, 1024u * 1024);
  EXPECT_EQ(c.replica.unsent_limit_bytes, 32u * 1024 * 1024);
  EXPECT_EQ(c.replica.default_wait, milliseconds(1));
  EXPECT_EQ(c.replica.max_wait, milliseconds(2));
  EXPECT_EQ(c.replica.max_staleness, milliseconds(3'600'000));
  EXPECT_TRUE(c.replica.numbers_as_strings);
}

TEST(Config, UnknownNamesAreRefusedWithTheNearestOneAndTheLine) {
  EXPECT_THAT(
      error_with("ring", "max_sise = \"1GiB\""),
      AllOf(HasSubstr("test.toml:3:"), HasSubstr("ring.max_sise"), HasSubstr("did you mean 'max_size'?")));
  EXPECT_THAT(error_of("[mysql]\ndatabse = \"shop\"\n[ring]\nname = \"shop\"\n"),
              HasSubstr("did you mean 'database'?"));
  EXPECT_THAT(error_of(std::string(kLeast) + "[replicas]\n"),
              AllOf(HasSubstr("test.toml:5:"), HasSubstr("'replica'")));
  EXPECT_THAT(error_of("name = 1\n" + std::string(kLeast)), HasSubstr("settings stand in tables"));
  EXPECT_THAT(error_with("writer", "zzzzzzzz = 1"), HasSubstr("there are: listen token_file"));
  EXPECT_THAT(error_with("mysql", "[mysql.socket]\npath = \"x\""), HasSubstr("mysql.socket must be a text"));
}

TEST(Config, ViewsAreRefusedForNow) {
  EXPECT_THAT(error_of(std::string(kLeast) + "[[view]]\nname = \"v\"\n"),
              HasSubstr("views are not supported by this version"));
}

TEST(Config, WrongTypesAndBoundsNameTheSetting) {
  EXPECT_THAT(error_with("mysql", "port = \"3306\"\nhost = \"h\""),
              HasSubstr("mysql.port must be a whole number"));
  EXPECT_THAT(error_with("mysql", "port = 0\nhost = \"h\""), HasSubstr("from 1 to 65535"));
  EXPECT_THAT(error_with("mysql", "tables = \"*\""), HasSubstr("must be a list"));
  EXPECT_THAT(error_with("mysql", "tables = []"), HasSubstr("nothing would be mirrored"));
  EXPECT_THAT(error_with("mysql", "tables = [1]"), HasSubstr("mysql.tables must hold names"));
  EXPECT_THAT(error_with("ring", "max_size = \"1MB\""), HasSubstr("is not a size"));
  EXPECT_THAT(error_with("ring", "max_size = -1"), HasSubstr("ring.max_size"));
  EXPECT_THAT(error_with("ring", "max_size = \"1MiB\""), HasSubstr("from 16MiB to 4TiB"));
  EXPECT_THAT(error_with("ring", "segment_size = 100000"), HasSubstr("power of two"));
  EXPECT_THAT(error_with("ring", "chunk_size = \"1536KiB\""),
              HasSubstr("multiple of ring.segment_size (1MiB)"));
  EXPECT_THAT(error_with("ring", "max_size = \"16MiB\""), HasSubstr("larger than ring.max_size"));
  EXPECT_THAT(error_with("ring", "directory = \"shm\""), HasSubstr("absolute"));
  EXPECT_THAT(error_with("ring", "on_full = \"stop\""), HasSubstr("\"pause\" or \"rebuild\""));
  EXPECT_THAT(error_with("ring", "reader_wait = \"999ms\""), HasSubstr("from 1s to 1h"));
  EXPECT_THAT(error_with("writer", "heartbeat = 5"), HasSubstr("duration in quotes"));
  EXPECT_THAT(error_with("writer", "watchdog = \"1500ms\""),
              HasSubstr("at least twice writer.heartbeat (1s)"));
  EXPECT_THAT(error_with("writer", "sessions = 0"), HasSubstr("writer.sessions"));
  EXPECT_THAT(error_with("replica", "busy_poll = 1"), HasSubstr("true or false"));
  EXPECT_THAT(error_with("replica", "default_wait = \"11s\""),
              HasSubstr("longer than replica.max_wait (10s)"));
  EXPECT_THAT(error_with("replica", "numbers = \"big\""), HasSubstr("\"number\" or \"string\""));
  EXPECT_THAT(error_with("replica", "admin_address = \"admin.example\""), HasSubstr("numeric address"));
  EXPECT_THAT(error_with("replica", "unix_socket = \"" + std::string("/") + std::string(110, 'x') + "\""),
              HasSubstr("107 bytes"));
  EXPECT_THAT(error_with("replica", "listen = \"localhost\""), HasSubstr("is not an address"));
}

TEST(Config, RequiredSettings) {
  EXPECT_THAT(error_of("[mysql]\ndatabase = \"shop\"\n"), HasSubstr("ring.name: is required"));
  EXPECT_THAT(error_of("[ring]\nname = \"..\"\n"), HasSubstr("ring.name"));
  EXPECT_THAT(error_of("[ring]\nname = \"a/b\"\n"), HasSubstr("ring.name"));
  EXPECT_THAT(error_of("[mysql]\n[ring]\nname = \"shop\"\n"), HasSubstr("mysql.database: is required"));
  Result<Config> replica_only = parse_config("[ring]\nname = \"shop\"\n", "test.toml");
  ASSERT_TRUE(replica_only);
  EXPECT_THAT(prepare_writer(*replica_only).error().message, HasSubstr("mysql.database"));
}

TEST(Config, ListeningBeyondLoopbackMustBeMeant) {
  EXPECT_THAT(error_with("writer", "listen = \"0.0.0.0:7070\""),
              AllOf(HasSubstr("writer.listen"), HasSubstr("set writer.token_file")));
  EXPECT_EQ(error_with("writer", "listen = \"0.0.0.0:7070\"\ntoken_file = \"/etc/t\""), "(no error)");
  EXPECT_THAT(error_with("replica", "listen = \"[::]:8080\""),
              AllOf(HasSubstr("replica.listen"), HasSubstr("replica.public = true")));
  EXPECT_EQ(error_with("replica", "listen = \"192.168.0.1:8080\"\npublic = true"), "(no error)");
  EXPECT_EQ(error_with("replica", "listen = \"127.8.8.8:8080\""), "(no error)");
}

TEST(Config, ContradictionsOfMysqlAreRefused) {
  EXPECT_THAT(error_with("mysql", "socket = \"/s\"\nhost = \"h\""), HasSubstr("leave one of them out"));
  EXPECT_THAT(error_with("mysql", "password = \"a\"\npassword_file = \"/f\""),
              HasSubstr("mysql.password is set as well"));
  EXPECT_THAT(error_with("mysql", "tls = true"), HasSubstr("no meaning on a unix socket"));
  EXPECT_THAT(error_with("mysql", "port = 3306"), HasSubstr("without mysql.host"));
  EXPECT_THAT(error_with("mysql", "host = \"h\"\ntls_ca = \"/ca\""), HasSubstr("add tls = true"));
}

TEST(Config, SecretsAreNeverShown) {
  std::ostringstream shown;
  shown << Secret("hunter2");
  EXPECT_EQ(shown.str(), "(secret)");
  for (const char* line : {"password = hunter2", "password = \"hunter2", "password = truehunter2",
                           "password = 7hunter2", "password = [\"hunter2\"]", "password = [\nhunter2\n]",
                           "password = \"hunter2\"\npassword_file = \"/f\""}) {
    EXPECT_THAT(error_with("mysql", line),
                AllOf(HasSubstr("test.toml:"), HasSubstr("password"), Not(HasSubstr("hunter"))))
        << line;
  }
}

TEST(Config, TheReserveIsAsMuchAsMaxSizeUnlessItIsGiven) {
  const std::string small = std::string(kLeast) + "max_size = \"64MiB\"\n";
  const Result<Config> config = parse_config(small, "test.toml");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->ring.transaction_reserve_bytes, std::uint64_t{64} << 20);
  const Result<Config> given = parse_config(small + "transaction_reserve = \"1MiB\"\n", "test.toml");
  ASSERT_TRUE(given);
  EXPECT_EQ(given->ring.transaction_reserve_bytes, std::uint64_t{1} << 20);
}

std::string changes_between(const std::string& before, const std::string& after) {
  const Result<Config> first = parse_config(before, "before.toml");
  const Result<Config> second = parse_config(after, "after.toml");
  std::string text;
  for (const SettingChange& change : changed_settings(first.value(), second.value())) {
    text += change.name + ": " + change.before + " -> " + change.after + "\n";
  }
  return text;
}

TEST(Config, ChangesAreOfWhatCountsNotOfHowItIsWritten) {
  const std::string least(kLeast);
  EXPECT_EQ(changes_between(least, least + "max_size = 4294967296\nreader_grace = \"5000ms\"\n[writer]\n"),
            "");
  EXPECT_EQ(changes_between(least, least + "max_size = \"5GiB\"\non_full = \"rebuild\"\n"),
            "ring.max_size: 4GiB -> 5GiB\nring.transaction_reserve: 4GiB -> 5GiB\nring.on_full: pause -> "
            "rebuild\n");
  EXPECT_EQ(changes_between(least, least + "[writer]\nsessions = 9\nlisten = \"127.0.0.1:1\"\n"
                                           "[replica]\nbusy_poll = true\nnumbers = \"string\"\n"),
            "writer.listen: 127.0.0.1:7070 -> 127.0.0.1:1\nwriter.sessions: 8 -> 9\n"
            "replica.busy_poll: false -> true\nreplica.numbers: number -> string\n");
  const std::string other =
      "[mysql]\ndatabase = \"shop\"\ntables = [\"a\", \"b*\"]\n[ring]\nname = \"shop\"\n";
  EXPECT_EQ(changes_between(least, other), "mysql.tables: ['*'] -> ['a', 'b*']\n");
}

TEST(Config, APasswordThatChangesIsNamedAndNotShown) {
  const auto with = [](const std::string& password) {
    return "[mysql]\ndatabase = \"shop\"\npassword = \"" + password + "\"\n[ring]\nname = \"shop\"\n";
  };
  EXPECT_EQ(changes_between(with("hunter2"), with("hunter2")), "");
  EXPECT_EQ(changes_between(with("hunter2"), with("hunter3")), "mysql.password: (secret) -> (secret)\n");
}

TEST(Config, SyntaxErrorsNameTheLine) {
  EXPECT_THAT(error_of("[ring]\nname = shop\n"),
              AllOf(HasSubstr("test.toml:2:"), HasSubstr("not valid TOML")));
  EXPECT_THAT(error_of("[ring"), HasSubstr("test.toml:1:"));
}

TEST(Config, LoadNamesTheMissingFile) {
  const Result<Config> config = load_config("/nonexistent/ringside.toml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::kIo);
  EXPECT_THAT(config.error().message, HasSubstr("/nonexistent/ringside.toml"));
}

TEST(Config, WriterFetchesPasswordAndTokens) {
  TempDirectory directory;
  const std::string password = directory.write("password", "from file\n");
  const std::string tokens = directory.write("tokens", "# comment\n\n0123456789abcdef\r\nfedcba9876543210");
  const std::string path = directory.write(
      "ringside.toml", "[mysql]\ndatabase = \"d\"\npassword_file = \"" + password +
                           "\"\n[ring]\nname = \"d\"\n[writer]\ntoken_file = \"" + tokens + "\"\n");
  Result<Config> config = load_config(path);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->mysql.password.empty());
  ASSERT_EQ(::setenv("RINGSIDE_MYSQL_PASSWORD", "from environment", 1), 0);
  ASSERT_TRUE(prepare_writer(*config));
  EXPECT_EQ(config->mysql.password.reveal(), "from file");
  ASSERT_EQ(config->writer.tokens.size(), 2u);
  EXPECT_TRUE(config->writer.tokens[0].equals("0123456789abcdef"));
  EXPECT_FALSE(config->writer.tokens[0].equals("0123456789abcdeg"));
  EXPECT_FALSE(config->writer.tokens[0].equals("0123456789abcde"));
  EXPECT_TRUE(config->writer.tokens[1].equals("fedcba9876543210"));

  Config bare = *parse_config(kLeast, "test.toml");
  ASSERT_TRUE(prepare_writer(bare));
  EXPECT_EQ(bare.mysql.password.reveal(), "from environment");
  ASSERT_EQ(::unsetenv("RINGSIDE_MYSQL_PASSWORD"), 0);
}

TEST(Config, BadTokenFilesAreRefusedWithoutShowingThem) {
  TempDirectory directory;
  const auto error = [&](const std::string& name, const std::string& text) {
    Config config = *parse_config(kLeast, "test.toml");
    config.writer.token_file = directory.write(name, text);
    const Result<void> prepared = prepare_writer(config);
    return prepared ? std::string("(no error)") : prepared.error().message;
  };
  EXPECT_THAT(error("short", "0123456789abcdef\nhunter2\n"),
              AllOf(HasSubstr(":2:"), HasSubstr("shorter than 16"), Not(HasSubstr("hunter2"))));
  EXPECT_THAT(error("space", "hunter2 hunter2 hunter2\n"),
              AllOf(HasSubstr(":1:"), Not(HasSubstr("hunter2"))));
  EXPECT_THAT(error("empty", "# nothing\n"), HasSubstr("holds no token"));
  EXPECT_THAT(error("large", std::string(kMaxConfigBytes + 1, 'x')), HasSubstr("longer than 1MiB"));
}

TEST(ConfigValues, Sizes) {
  EXPECT_EQ(*parse_size("0"), 0u);
  EXPECT_EQ(*parse_size("1024"), 1024u);
  EXPECT_EQ(*parse_size("3KiB"), 3072u);
  EXPECT_EQ(*parse_size("1TiB"), std::uint64_t{1} << 40);
  for (const char* text :
       {"", "KiB", "1 KiB", "1kib", "1MB", "-1", "+1", "1.5GiB", "99999999999999999999", "20000000TiB"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(ConfigValues, Durations) {
  EXPECT_EQ(*parse_duration("0ms"), milliseconds(0));
  EXPECT_EQ(*parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(*parse_duration("24h"), std::chrono::hours(24));
  for (const char* text : {"", "5", "s", "1.5s", "-1s", "5 s", "1d", "99999999999h"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(ConfigValues, ListenAddresses) {
  EXPECT_EQ(parse_listen_address("localhost:80")->to_string(), "127.0.0.1:80");
  EXPECT_EQ(parse_listen_address("[2001:db8::1]:0")->to_string(), "[2001:db8::1]:0");
  EXPECT_FALSE(parse_listen_address("[2001:db8::1]:0")->is_loopback());
  EXPECT_TRUE(parse_listen_address("[::1]:8")->is_loopback());
  for (const char* text : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:8x", "::1:80",
                           "[::1]", "[127.0.0.1]:80", "example.org:80", "127.1:80", "[localhost]:80"}) {
    EXPECT_FALSE(parse_listen_address(text)) << text;
  }
}

TEST(ConfigValues, GlobsMatchTheWholeName) {
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("a*c", "abbbc"));
  EXPECT_TRUE(glob_match("a*b*c", "a--b--b--c"));
  EXPECT_TRUE(glob_match("?b?", "abc"));
  EXPECT_FALSE(glob_match("?", ""));
  EXPECT_FALSE(glob_match("a*c", "abcd"));
  EXPECT_FALSE(glob_match("orders", "Orders"));
  EXPECT_FALSE(glob_match("*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

}  // namespace
}  // namespace ringside
