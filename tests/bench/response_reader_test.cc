#include "bench/response_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ringside::bench {
namespace {

std::vector<Response> read_in_pieces(std::string_view bytes, std::size_t piece_bytes) {
  ResponseReader reader;
  std::vector<Response> responses;
  for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
    std::string_view piece = bytes.substr(at, piece_bytes);
    Response response;
    for (;;) {
      const ReadStep step = reader.next(piece, response);
      EXPECT_NE(step, ReadStep::kMalformed) << "in pieces of " << piece_bytes;
      if (step != ReadStep::kResponse) break;
      responses.push_back(response);
    }
    EXPECT_TRUE(piece.empty());
  }
  EXPECT_FALSE(reader.is_inside());
  return responses;
}

TEST(ResponseReader, FindsTheSameResponsesHoweverTheBytesArrive) {
  const std::string bytes =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 12\r\n\r\n{\"a\":\"\r\n\r\n\"}"
      "HTTP/1.1 404 Not Found\r\nContent-Length:0\r\nRingside-Version: 7\r\n\r\n"
      "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"
      "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2 \r\n\r\n{}";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    const std::vector<Response> responses = read_in_pieces(bytes, piece);
    ASSERT_EQ(responses.size(), 4u) << piece;
    EXPECT_EQ(responses[0].status, 200);
    EXPECT_EQ(responses[0].body_bytes, 12u);
    EXPECT_EQ(responses[1].status, 404);
    EXPECT_EQ(responses[1].body_bytes, 0u);
    EXPECT_EQ(responses[2].status, 304);
    EXPECT_EQ(responses[3].body_bytes, 2u);
    std::size_t total = 0;
    for (const Response& response : responses) total += response.head_bytes + response.body_bytes;
    EXPECT_EQ(total, bytes.size());
  }
}

TEST(ResponseReader, KnowsThatItIsInsideAnAnswer) {
  ResponseReader reader;
  Response response;
  std::string_view head = "HTTP/1.1 200 OK\r\nContent-";
  EXPECT_EQ(reader.next(head, response), ReadStep::kNeedMore);
  EXPECT_TRUE(reader.is_inside());
  std::string_view rest = "Length: 5\r\n\r\nabc";
  EXPECT_EQ(reader.next(rest, response), ReadStep::kNeedMore);
  EXPECT_TRUE(reader.is_inside());
  std::string_view body = "de";
  EXPECT_EQ(reader.next(body, response), ReadStep::kResponse);
  EXPECT_FALSE(reader.is_inside());
}

TEST(ResponseReader, RefusesWhatHasNoKnownLength) {
  for (const std::string_view head :
       {"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n", "nonsense\r\n\r\n"}) {
    ResponseReader reader;
    Response response;
    std::string_view input = head;
    EXPECT_EQ(reader.next(input, response), ReadStep::kMalformed) << head;
  }
}

TEST(ResponseReader, RefusesAHeadWithoutEnd) {
  ResponseReader reader;
  Response response;
  const std::string piece(1000, 'a');
  ReadStep step = ReadStep::kNeedMore;
  std::size_t fed = 0;
  while (step == ReadStep::kNeedMore && fed < 2 * ResponseReader::kMaxHeadBytes) {
    std::string_view input = piece;
    step = reader.next(input, response);
    fed += piece.size();
  }
  EXPECT_EQ(step, ReadStep::kMalformed);
  EXPECT_LE(fed, ResponseReader::kMaxHeadBytes + piece.size());
}

}  // namespace
}  // namespace ringside::bench
