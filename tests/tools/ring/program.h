// Runs the real ringside-ring and reads what it says.
#pragma once

#include <gtest/gtest.h>
#include <simdjson.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace ringside::tools {

struct Answer {
  int code = -1;
  std::string out;  // standard output, and standard error behind it where it was asked for
};

// `arguments` are for a shell.
inline Answer run_ring_program(const std::string& arguments) {
  Answer answer;
  const std::string command = std::string(RINGSIDE_RING_PROGRAM) + " " + arguments;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return answer;
  std::array<char, 4096> piece{};
  for (std::size_t size; (size = std::fread(piece.data(), 1, piece.size(), pipe)) > 0;) {
    answer.out.append(piece.data(), size);
  }
  const int status = ::pclose(pipe);
  answer.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return answer;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// A JSON document that lives as long as its text does.
class Json {
 public:
  explicit Json(const std::string& text) {
    const auto error = parser_.parse(text.data(), text.size(), true).get(root_);
    EXPECT_EQ(error, simdjson::SUCCESS) << text;
  }
  std::uint64_t number(const char* pointer) const {
    std::uint64_t value = 0;
    EXPECT_EQ(root_.at_pointer(pointer).get(value), simdjson::SUCCESS) << pointer;
    return value;
  }
  std::string text(const char* pointer) const {
    std::string_view value;
    EXPECT_EQ(root_.at_pointer(pointer).get(value), simdjson::SUCCESS) << pointer;
    return std::string(value);
  }
  bool flag(const char* pointer) const {
    bool value = false;
    EXPECT_EQ(root_.at_pointer(pointer).get(value), simdjson::SUCCESS) << pointer;
    return value;
  }
  bool is_null(const char* pointer) const {
    simdjson::dom::element element;
    return root_.at_pointer(pointer).get(element) == simdjson::SUCCESS && element.is_null();
  }
  std::size_t size(const char* pointer) const {
    simdjson::dom::array array;
    EXPECT_EQ(root_.at_pointer(pointer).get(array), simdjson::SUCCESS) << pointer;
    return array.size();
  }

 private:
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace ringside::tools
