#include "base/program.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ringside {
namespace {

class Program : public testing::Test {
 protected:
  Program() { std::ofstream(file_) << "[ring]\nname = \"shop\"\n"; }
  ~Program() override { ::unlink(file_.c_str()); }

  // The exit code of a program that is called so, and does what `run_` says.
  int call(const std::vector<std::string>& arguments) {
    std::vector<const char*> argv{"anything"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    CLI::App app("A program", "ringside-test");
    return run_program(app, "1.2.3", static_cast<int>(argv.size()), argv.data(),
                       [this](const Config& config) {
                         ring_ = config.ring.name;
                         return run_();
                       });
  }

  const std::string file_ = testing::TempDir() + "program_test." + std::to_string(::getpid()) + ".toml";
  std::function<Result<void>()> run_ = [] { return Result<void>(); };
  std::string ring_;  // empty: it was not run
};

TEST_F(Program, RunsWithItsConfigurationAndEndsInOrder) {
  EXPECT_EQ(call({"--config", file_, "--log-format", "json", "--log-level", "warning"}), 0);
  EXPECT_EQ(ring_, "shop");
}

TEST_F(Program, SaysInItsLastLineWhyItCannotGoOn) {
  testing::internal::CaptureStderr();
  run_ = [] { return Result<void>(Error{ErrorKind::kIo, "the disk is gone"}); };
  EXPECT_EQ(call({"--config", file_, "--log-format", "text"}), 1);
  run_ = []() -> Result<void> { throw std::runtime_error("thrown"); };
  EXPECT_EQ(call({"--config", file_, "--log-format", "text"}), 1);
  ring_.clear();
  EXPECT_EQ(call({"--config", file_ + ".absent", "--log-format", "text"}), 1);
  EXPECT_EQ(ring_, "");
  const std::string text = testing::internal::GetCapturedStderr();
  for (const std::string reason : {"the disk is gone", "thrown", ".absent"}) {
    EXPECT_NE(text.find(reason), std::string::npos) << text;
  }
  EXPECT_NE(text.find("ringside-test cannot go on"), std::string::npos) << text;
}

TEST_F(Program, AWrongCommandLineRunsNothing) {
  testing::internal::CaptureStderr();
  EXPECT_GT(call({}), 100);
  EXPECT_GT(call({"--config", file_, "--log-format", "xml"}), 100);
  EXPECT_GT(call({"--config", file_, "--log-level", "loud"}), 100);
  EXPECT_GT(call({"--config", file_, "--unknown"}), 100);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("xml"), std::string::npos);
  EXPECT_EQ(ring_, "");
}

TEST_F(Program, TellsItsVersionAndItsOptions) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(call({"--version"}), 0);
  EXPECT_EQ(call({"--help"}), 0);
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_TRUE(text.starts_with("ringside-test 1.2.3\n")) << text;
  EXPECT_NE(text.find("{text,json}"), std::string::npos) << text;
  EXPECT_EQ(ring_, "");
}

TEST(StopSignals, ComeByADescriptor) {
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
  const Result<UniqueFd> signals = stop_signals();
  ASSERT_TRUE(signals) << signals.error().message;
  signalfd_siginfo info{};
  EXPECT_LT(::read(signals->get(), &info, sizeof info), 0) << "nothing has come, and it does not wait";
  ASSERT_EQ(::raise(SIGTERM), 0);
  ASSERT_EQ(::read(signals->get(), &info, sizeof info), static_cast<ssize_t>(sizeof info));
  EXPECT_EQ(info.ssi_signo, static_cast<unsigned>(SIGTERM));
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

}  // namespace
}  // namespace ringside
