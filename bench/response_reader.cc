#include "bench/response_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace ringside::bench {
namespace {

constexpr std::string_view kBlankLine = "\r\n\r\n";

bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() &&
         std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a | 0x20) : a) == b;
         });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool parse_size(std::string_view text, std::size_t& size) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

bool parse_response_head(std::string_view head, Response& response) {
  constexpr std::string_view kProtocol = "HTTP/1.1 ";
  if (!head.starts_with(kProtocol) || head.size() < kProtocol.size() + 3) return false;
  std::size_t status = 0;
  if (!parse_size(head.substr(kProtocol.size(), 3), status) || status < 200 || status > 599) return false;
  response.status = static_cast<int>(status);
  response.head_bytes = head.size();
  response.body_bytes = 0;
  bool has_length = false;
  std::size_t at = head.find("\r\n");
  while (at != std::string_view::npos && at + kBlankLine.size() < head.size()) {
    const std::size_t begin = at + 2;
    at = head.find("\r\n", begin);
    const std::string_view line = head.substr(begin, at - begin);
    // The first letter rules out nearly every header of a point read before its name is looked at.
    if (line.empty() || ((line.front() | 0x20) != 'c' && (line.front() | 0x20) != 't')) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    const std::string_view name = line.substr(0, colon);
    if (equals_ignoring_case(name, "transfer-encoding")) return false;
    if (!equals_ignoring_case(name, "content-length")) continue;
    if (has_length || !parse_size(trimmed(line.substr(colon + 1)), response.body_bytes)) return false;
    has_length = true;
  }
  const bool never_has_body = status == 204 || status == 304;
  if (never_has_body) response.body_bytes = 0;
  return has_length || never_has_body;
}

ReadStep ResponseReader::next(std::string_view& input, Response& response) {
  if (!in_body_) {
    const ReadStep head = take_head(input);
    if (head != ReadStep::kResponse) return head;
  }
  return take_body(input, response);
}

ReadStep ResponseReader::take_head(std::string_view& input) {
  if (input.empty()) return ReadStep::kNeedMore;
  std::string_view head;
  if (carried_ == 0) {
    const std::size_t end = input.find(kBlankLine);
    if (end != std::string_view::npos) head = input.substr(0, end + kBlankLine.size());
  }
  if (!head.empty()) {
    input.remove_prefix(head.size());
  } else {
    // The blank line may straddle the pieces: look again from three bytes before the joint.
    const std::size_t from = carried_ < 3 ? 0 : carried_ - 3;
    const std::size_t taken = std::min(input.size(), carry_.size() - carried_);
    std::memcpy(carry_.data() + carried_, input.data(), taken);
    const std::string_view all(carry_.data(), carried_ + taken);
    const std::size_t end = all.find(kBlankLine, from);
    if (end == std::string_view::npos) {
      if (all.size() == carry_.size()) return ReadStep::kMalformed;
      carried_ = all.size();
      input.remove_prefix(taken);
      return ReadStep::kNeedMore;
    }
    head = all.substr(0, end + kBlankLine.size());
    input.remove_prefix(head.size() - carried_);
    carried_ = 0;
  }
  if (!parse_response_head(head, current_)) return ReadStep::kMalformed;
  in_body_ = true;
  body_left_ = current_.body_bytes;
  return ReadStep::kResponse;
}

ReadStep ResponseReader::take_body(std::string_view& input, Response& response) {
  const std::size_t taken = std::min(input.size(), body_left_);
  input.remove_prefix(taken);
  body_left_ -= taken;
  if (body_left_ != 0) return ReadStep::kNeedMore;
  in_body_ = false;
  response = current_;
  return ReadStep::kResponse;
}

}  // namespace ringside::bench
