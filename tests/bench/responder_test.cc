#include "bench/responder.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "bench/response_reader.h"

namespace ringside::bench {
namespace {

TEST(ConstantResponse, HasExactlyTheSizeAskedForAndParses) {
  EXPECT_FALSE(constant_response(37));
  for (std::size_t bytes = 38; bytes < 2500; ++bytes) {
    const Result<std::string> text = constant_response(bytes);
    ASSERT_TRUE(text) << bytes;
    ASSERT_EQ(text->size(), bytes);
    std::string_view input = *text;
    ResponseReader reader;
    Response response;
    ASSERT_EQ(reader.next(input, response), ReadStep::kResponse) << *text;
    ASSERT_EQ(response.head_bytes + response.body_bytes, bytes);
    ASSERT_TRUE(input.empty());
  }
}

TEST(CountRequestEnds, AgreesWithACountByHandHoweverTheBytesAreCut) {
  std::mt19937 random(7);
  // Mostly line ends, so that blank lines begin, break off and overlap at every place.
  constexpr std::string_view kLetters = "\r\n\r\n\r\nab";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t i = random() % 200; i > 0; --i) text += kLetters[random() % kLetters.size()];
    std::size_t expected = 0;
    for (std::size_t at = text.find("\r\n\r\n"); at != std::string::npos; at = text.find("\r\n\r\n", at + 4))
      ++expected;
    unsigned matched = 0;
    std::size_t counted = 0;
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t piece = std::min<std::size_t>(rest.size(), 1 + random() % 60);
      counted += count_request_ends(rest.substr(0, piece), matched);
      rest.remove_prefix(piece);
    }
    ASSERT_EQ(counted, expected) << "round " << round;
  }
}

TEST(Responder, RefusesOptionsThatCannotWork) {
  ResponderOptions options;
  options.response_bytes = 10;
  EXPECT_FALSE(Responder::create(options));
  options.response_bytes = 100;
  options.receive_buffers = 100;
  EXPECT_FALSE(Responder::create(options));
}

}  // namespace
}  // namespace ringside::bench
