#include "writer/charset.h"

#include <gtest/gtest.h>

#include <string>

#include "shm/key.h"
#include "tests/writer/recording.h"

namespace ringside::writer {
namespace {

// Every collation of both servers, as their information_schema lists it.
TEST(Charset, KnowsTheCollationsOfBothServers) {
  for (const std::string server : {"mariadb", "mysql"}) {
    std::size_t supported = 0;
    for (const auto& line :
         testing::read_tsv(std::string(RINGSIDE_FIXTURES) + "/" + server + "/collations.tsv")) {
      ASSERT_EQ(line.size(), 4u);
      const auto id = static_cast<std::uint32_t>(std::stoul(line[0]));
      const std::string& collation = line[1];
      const Charset expected = charset_from_name(line[2]);
      EXPECT_EQ(charset_from_collation_id(id), expected) << server << " " << collation;
      if (expected == Charset::kUnsupported) continue;
      ++supported;
      EXPECT_EQ(charset_from_collation(collation), expected) << collation;
      EXPECT_EQ(to_string(expected), line[2]);
      EXPECT_EQ(shm::is_pad_space(collation), line[3] == "PAD SPACE") << server << " " << collation;
    }
    EXPECT_GT(supported, 100u) << server;
  }
}

TEST(Charset, UnknownNumbersAndNamesAreUnsupported) {
  for (const std::uint32_t id : {0u, 1u, 4u, 7u, 64u, 248u, 254u, 324u, 1000u, 2047u, 2560u, 0xffffffffu}) {
    EXPECT_EQ(charset_from_collation_id(id), Charset::kUnsupported) << id;
  }
  EXPECT_EQ(charset_from_name("koi8r"), Charset::kUnsupported);
  EXPECT_EQ(charset_from_name(""), Charset::kUnsupported);
  EXPECT_EQ(charset_from_name("utf8"), Charset::kUtf8mb3);
  EXPECT_EQ(charset_from_collation("utf8_bin"), Charset::kUtf8mb3);
  EXPECT_EQ(to_string(Charset::kUnsupported), "unsupported");
}

TEST(Charset, TellsByteWiseCollations) {
  for (const char* name : {"binary", "utf8mb4_bin", "latin1_nopad_bin", "utf8mb4_0900_bin"}) {
    EXPECT_TRUE(shm::is_bin(name)) << name;
  }
  for (const char* name : {"utf8mb4_general_ci", "latin1_general_cs", ""})
    EXPECT_FALSE(shm::is_bin(name)) << name;
}

std::string utf8(std::string_view text, Charset charset) {
  std::string out;
  return append_utf8(out, text, charset) ? out : "(invalid)";
}

// What MariaDB's and MySQL's CONVERT(… USING utf8mb4) make of the same bytes.
TEST(Charset, Latin1IsTheServersLatin1) {
  EXPECT_EQ(utf8("\x80\x81\x8d\x8f\x90\x9d\xa0", Charset::kLatin1),
            "\xe2\x82\xac\xc2\x81\xc2\x8d\xc2\x8f\xc2\x90\xc2\x9d\xc2\xa0");
  EXPECT_EQ(utf8("A\x7f\x9f\xff", Charset::kLatin1), "A\x7f\xc5\xb8\xc3\xbf");
}

TEST(Charset, TextIsValidatedInItsOwnCharacterSet) {
  EXPECT_EQ(utf8("abc", Charset::kAscii), "abc");
  EXPECT_EQ(utf8("ab\x80", Charset::kAscii), "(invalid)");
  EXPECT_EQ(utf8("\xe2\x82\xac", Charset::kUtf8mb3), "\xe2\x82\xac");
  EXPECT_EQ(utf8("\xf0\x9f\x98\x80", Charset::kUtf8mb3), "(invalid)");
  EXPECT_EQ(utf8("\xf0\x9f\x98\x80", Charset::kUtf8mb4), "\xf0\x9f\x98\x80");
  for (const char* bad : {"\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    EXPECT_EQ(utf8(bad, Charset::kUtf8mb4), "(invalid)");
  }
  EXPECT_EQ(utf8("a", Charset::kBinary), "(invalid)");
  EXPECT_EQ(utf8("a", Charset::kUnsupported), "(invalid)");
}

}  // namespace
}  // namespace ringside::writer
