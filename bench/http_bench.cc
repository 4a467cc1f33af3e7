// What one request costs in http/: parsing its head, reading its query, writing the answer's head, JSON
// strings.
#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <string_view>

#include "http/byte_sink.h"
#include "http/json_text.h"
#include "http/metrics_text.h"
#include "http/request_parser.h"
#include "http/response.h"
#include "http/target.h"

namespace ringside::http {
namespace {

// 79 bytes: about the shortest head that a load generator sends.
constexpr std::string_view kShortGet =
    "GET /v1/products/123456 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: text/json;a\r\n\r\n";

// What a browser-like client sends.
constexpr std::string_view kLongGet =
    "GET /v1/products/123456?fields=name,price&minVersion=123456 HTTP/1.1\r\n"
    "Host: shop.example:8080\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: application/json\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "If-None-Match: \"3f2a-17-9c\"\r\n"
    "Connection: keep-alive\r\n\r\n";

void parse(benchmark::State& state, std::string_view text) {
  RequestParser parser;
  Request request;
  for (auto _ : state) {
    if (parser.parse(text, 8192, request) != ParseStatus::kComplete)
      state.SkipWithError("the request was refused");
    benchmark::DoNotOptimize(request);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
void BM_ParseShortGet(benchmark::State& state) {
  parse(state, kShortGet);
}
BENCHMARK(BM_ParseShortGet);
void BM_ParseLongGet(benchmark::State& state) {
  parse(state, kLongGet);
}
BENCHMARK(BM_ParseLongGet);

void BM_ParseBytewise(benchmark::State& state) {
  RequestParser parser;
  Request request;
  for (auto _ : state) {
    for (std::size_t size = 1; size <= kLongGet.size(); ++size) {
      benchmark::DoNotOptimize(parser.parse(kLongGet.substr(0, size), 8192, request));
    }
  }
}
BENCHMARK(BM_ParseBytewise);

void BM_SplitPathAndDecodeKey(benchmark::State& state) {
  std::array<char, 256> buffer;
  std::string_view path = "/v1/products/123456";
  for (auto _ : state) {
    benchmark::DoNotOptimize(path);
    const PathSegments segments = split_path(path);
    std::string_view key;
    benchmark::DoNotOptimize(percent_decode(segments[2], PlusMeans::kPlus, buffer, key));
    benchmark::DoNotOptimize(key);
  }
}
BENCHMARK(BM_SplitPathAndDecodeKey);

void BM_ParseQuery(benchmark::State& state) {
  std::string_view query = "fields=name,price&minVersion=123456&wait=250ms";
  for (auto _ : state) {
    benchmark::DoNotOptimize(query);
    QueryParameters parameters;
    std::string_view culprit;
    benchmark::DoNotOptimize(parse_query(query, {}, parameters, culprit));
    benchmark::DoNotOptimize(parameters);
  }
}
BENCHMARK(BM_ParseQuery);

void BM_ResponseHead(benchmark::State& state) {
  std::array<char, 512> buffer;
  DateText date;
  std::uint64_t version = 123456;
  for (auto _ : state) {
    ByteSink sink(buffer);
    ResponseHead head;
    head.date = date.text();
    head.content_type = kJsonType;
    head.content_length = 321;
    head.version = ++version;
    head.etag = "\"3f2a-17-9c\"";
    append_head(sink, head);
    benchmark::DoNotOptimize(buffer);
    benchmark::DoNotOptimize(sink.wanted());
  }
}
BENCHMARK(BM_ResponseHead);

void BM_JsonString(benchmark::State& state) {
  std::string text(static_cast<std::size_t>(state.range(0)), 'a');
  std::string out;
  for (auto _ : state) {
    out.clear();
    benchmark::DoNotOptimize(append_json_string(text, out));
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_JsonString)->Arg(8)->Arg(32)->Arg(1000);

void BM_HistogramRecord(benchmark::State& state) {
  Histogram histogram;
  std::uint64_t duration = 1;
  for (auto _ : state) {
    histogram.record(duration);
    duration = (duration * 5 + 777) & 0xffffff;
  }
  benchmark::DoNotOptimize(histogram);
}
BENCHMARK(BM_HistogramRecord);

}  // namespace
}  // namespace ringside::http

BENCHMARK_MAIN();
