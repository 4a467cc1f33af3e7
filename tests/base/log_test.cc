#include "base/log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ringside {
namespace {

TEST(Log, TextLineShowsFieldsAndQuotesWhatNeedsIt) {
  EXPECT_EQ(format_log_body(LogFormat::kText, LogLevel::kInfo, "it's \"ready\"",
                            {{"version", 42}, {"name", "shop"}, {"why", "a b"}, {"ok", true}, {"lag", -1.5}}),
            "info it's \"ready\" version=42 name=shop why=\"a b\" ok=true lag=-1.5");
}

TEST(Log, TextLineCannotBeForged) {
  EXPECT_EQ(
      format_log_body(LogFormat::kText, LogLevel::kError, "a\nb\x1b[0m", {{"k", std::string_view("c\nd")}}),
      "error a\\nb\\u001b[0m k=\"c\\nd\"");
}

TEST(Log, JsonLineIsValidWhateverTheBytes) {
  EXPECT_EQ(
      format_log_body(LogFormat::kJson, LogLevel::kWarning, "q\"b\\n\n\xff\xc3\xa9",
                      {{"max", std::numeric_limits<std::uint64_t>::max()},
                       {"min", std::numeric_limits<std::int64_t>::min()},
                       {"nan", std::nan("")},
                       {"flag", false}}),
      "\"level\":\"warning\",\"message\":\"q\\\"b\\\\n\\n\\ufffd\xc3\xa9\",\"max\":18446744073709551615,"
      "\"min\":-9223372036854775808,\"nan\":\"nan\",\"flag\":false");
  EXPECT_EQ(format_log_body(LogFormat::kJson, LogLevel::kDebug, "\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82", {}),
            "\"level\":\"debug\",\"message\":\"\\ufffd\\ufffd\\ufffd\xf0\x9f\x98\x80\\ufffd\\ufffd\"");
}

TEST(Log, WritesWholeLinesToStandardErrorFromItsLevelOn) {
  testing::internal::CaptureStderr();
  init_logging(LogFormat::kJson, LogLevel::kWarning);
  log_info("not shown");
  log_warning("shown {}", {{"a", 1}});
  const std::string written = testing::internal::GetCapturedStderr();
  init_logging(LogFormat::kText, LogLevel::kInfo);
  EXPECT_EQ(written.find("not shown"), std::string::npos);
  ASSERT_GT(written.size(), 35u);
  EXPECT_EQ(written.substr(0, 9), "{\"time\":\"");
  EXPECT_EQ(written.substr(written.find("Z\"") + 2),
            ",\"level\":\"warning\",\"message\":\"shown {}\",\"a\":1}\n");
}

TEST(Log, NamesOfFormatsAndLevels) {
  EXPECT_EQ(*parse_log_format("json"), LogFormat::kJson);
  EXPECT_FALSE(parse_log_format("xml"));
  EXPECT_EQ(*parse_log_level("warning"), LogLevel::kWarning);
  EXPECT_FALSE(parse_log_level("WARN"));
}

}  // namespace
}  // namespace ringside
