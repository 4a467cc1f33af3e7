#include "writer/capture/live_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace ringside::writer {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class LiveSettingsTest : public testing::Test {
 protected:
  LiveSettingsTest() { write("", ""); }
  ~LiveSettingsTest() override { ::unlink(file_.c_str()); }

  void write(const std::string& ring, const std::string& writer) const {
    std::ofstream(file_) << "[mysql]\ndatabase = \"shop\"\n[ring]\nname = \"shop\"\n"
                         << ring << "\n[writer]\n"
                         << writer << "\n";
  }
  Config loaded() const { return load_config(file_).value(); }
  // Reads the file again; what is logged about it is in log_.
  std::optional<RingConfig> reload(LiveSettings& settings) {
    testing::internal::CaptureStderr();
    std::optional<RingConfig> ring = settings.reload();
    log_ = testing::internal::GetCapturedStderr();
    return ring;
  }

  const std::string file_ = testing::TempDir() + "live_settings_test." + std::to_string(::getpid()) + ".toml";
  std::string log_;
};

TEST_F(LiveSettingsTest, LimitsOfTheRingCountAtOnceAndEachIsALine) {
  LiveSettings settings(loaded());
  write(
      "max_size = \"5GiB\"\ntransaction_reserve = \"1GiB\"\non_full = \"rebuild\"\nreader_limit = \"1MiB\"\n"
      "reader_grace = \"1s\"\nreader_wait = \"2s\"",
      "");
  const std::optional<RingConfig> ring = reload(settings);
  ASSERT_TRUE(ring);
  EXPECT_EQ(ring->max_size_bytes, 5 * kGiB);
  EXPECT_EQ(ring->transaction_reserve_bytes, kGiB);
  EXPECT_EQ(ring->on_full, OnFull::kRebuild);
  EXPECT_EQ(ring->reader_limit_bytes, kMiB);
  EXPECT_EQ(ring->reader_grace, std::chrono::seconds(1));
  EXPECT_EQ(ring->reader_wait, std::chrono::seconds(2));
  for (const char* line :
       {"a setting changes setting=ring.max_size before=4GiB after=5GiB",
        "setting=ring.transaction_reserve before=4GiB after=1GiB",
        "setting=ring.on_full before=pause after=rebuild",
        "setting=ring.reader_limit before=256MiB after=1MiB", "setting=ring.reader_grace before=5s after=1s",
        "setting=ring.reader_wait before=30s after=2s"}) {
    EXPECT_THAT(log_, HasSubstr(line));
  }
  // What counts by now is no change any more.
  EXPECT_FALSE(reload(settings));
  EXPECT_THAT(log_, Not(HasSubstr("setting=")));
}

TEST_F(LiveSettingsTest, EverythingElseNeedsARestartAndSaysSoEachTime) {
  LiveSettings settings(loaded());
  write("segment_size = \"512KiB\"\nmax_size = \"5GiB\"", "sessions = 9");
  ASSERT_TRUE(reload(settings));
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(
        log_,
        AllOf(HasSubstr("needs a restart of the writer setting=ring.segment_size running=1MiB file=512KiB"),
              HasSubstr("setting=writer.sessions running=8 file=9")));
    EXPECT_FALSE(reload(settings));
  }
}

TEST_F(LiveSettingsTest, AFileThatIsNotValidChangesNothingAndIsOneLine) {
  LiveSettings settings(loaded());
  write("max_size = \"5GiB\"\nreader_wait = 3", "");
  EXPECT_FALSE(reload(settings));
  EXPECT_THAT(log_, AllOf(HasSubstr("error"), HasSubstr(file_ + ":6:"), HasSubstr("ring.reader_wait")));
  EXPECT_EQ(std::count(log_.begin(), log_.end(), '\n'), 1);
  ::unlink(file_.c_str());
  EXPECT_FALSE(reload(settings));
  EXPECT_THAT(log_, HasSubstr(file_));
  write("max_size = \"5GiB\"", "");
  EXPECT_TRUE(reload(settings));  // it was not taken in part before
}

TEST_F(LiveSettingsTest, AMaxSizeThatContradictsWhatRunsIsRefused) {
  LiveSettings settings(loaded());
  write("max_size = \"16MiB\"\nmax_record_size = \"1MiB\"",
        "");  // right in itself, but 64MiB records are allowed now
  EXPECT_FALSE(reload(settings));
  EXPECT_THAT(log_, HasSubstr("cannot be so low before a restart"));
}

}  // namespace
}  // namespace ringside::writer
