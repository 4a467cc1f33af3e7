#include "base/program.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/assert.h"
#include "base/log.h"

namespace ringside {
namespace {

int cannot_go_on(const CLI::App& app, const std::string& reason) {
  log_error(app.get_name() + " cannot go on", {{"reason", reason}});
  return 1;
}

Result<UniqueFd> receive(std::initializer_list<int> numbers) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : numbers) ::sigaddset(&signals, number);
  if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0) {
    UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (fd) return fd;
  }
  return Error{ErrorKind::kIo, std::string("cannot receive signals: ") + std::strerror(errno)};
}

}  // namespace

int run_program(CLI::App& app, const std::string& version, int argc, const char* const* argv,
                const std::function<Result<void>(Config)>& run) {
  std::string file;
  std::string log_format = "text";
  std::string log_level = "info";
  app.add_option("--config", file, "The configuration file (TOML), the same for writer and replicas")
      ->required()
      ->type_name("FILE");
  app.add_option("--log-format", log_format, "Of standard error")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));
  app.add_option("--log-level", log_level, "The least that is logged")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.set_version_flag("--version", app.get_name() + " " + version);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);  // --help and --version as well
  }
  const Result<LogFormat> format = parse_log_format(log_format);
  const Result<LogLevel> level = parse_log_level(log_level);
  RINGSIDE_ASSERT(format && level);
  init_logging(*format, *level);
  try {
    Result<Config> config = load_config(file);
    if (!config) return cannot_go_on(app, config.error().message);
    const Result<void> ended = run(std::move(*config));
    return ended ? 0 : cannot_go_on(app, ended.error().message);
  } catch (const std::exception& error) {
    return cannot_go_on(app, error.what());
  }
}

Result<UniqueFd> stop_signals() {
  return receive({SIGTERM, SIGINT});
}

Result<UniqueFd> stop_and_reload_signals() {
  return receive({SIGTERM, SIGINT, SIGHUP});
}

int next_signal(const UniqueFd& signals) {
  signalfd_siginfo info{};
  return ::read(signals.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace ringside
