// Capture against a real server: a bit of the ring flips underneath it.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/writer/capture_fixture.h"

namespace ringside::writer {
namespace {

using ::testing::HasSubstr;

class CaptureIntegrity : public testing::CaptureFixture {
 protected:
  // Flips one bit of the first place in the log that holds this text; false when there is none.
  bool flip(const std::string& text) {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path() + "/test/current/")) {
      if (!entry.path().filename().string().starts_with("chunk.")) continue;
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
      const std::size_t at = bytes.find(text);
      if (at == std::string::npos) continue;
      file.clear();
      file.seekp(static_cast<std::streamoff>(at));
      file.put(static_cast<char>(bytes[at] ^ 1));
      return file.good();
    }
    return false;
  }
};

TEST_P(CaptureIntegrity, ABitThatFlipsInARowMakesTheRingAnew) {
  server_->sql("CREATE TABLE rows_of_it (id INT PRIMARY KEY, t VARCHAR(100))");
  server_->sql("INSERT INTO rows_of_it VALUES (1, 'as it was written'), (2, 'another')");
  start_and_load();
  const std::uint64_t epoch = mirror_.epoch();
  ASSERT_TRUE(flip("as it was written"));
  // Nobody asks for the row: the search in the background finds it.
  ASSERT_TRUE(until([&] { return mirror_.epoch() != epoch; }));
  server_->sql("INSERT INTO rows_of_it VALUES (3, 'and it goes on')");
  expect_equal_version();
  const std::vector<std::string> lines = mirror_.lines("rows_of_it");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], HasSubstr("as it was written"));
}

RINGSIDE_ON_BOTH_SERVERS(CaptureIntegrity);

}  // namespace
}  // namespace ringside::writer
