// ByteSink: appends to a buffer of fixed size and never beyond it; knows afterwards what would have been
// needed.
//
// Threads: belongs to one owner at a time.   Ownership: the buffer is the caller's.
// Errors: once something did not fit, nothing more is written and overflowed() stays true; wanted() goes on
// counting,
//   so that a pass over an empty buffer measures.   Limits: the buffer. No allocation, no exception.
#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace ringside::http {

class ByteSink {
 public:
  explicit ByteSink(std::span<char> buffer) : data_(buffer.data()), capacity_(buffer.size()) {}

  void append(std::string_view text) {
    if (wanted_ <= capacity_ && text.size() <= capacity_ - wanted_ && !text.empty()) {
      std::memcpy(data_ + wanted_, text.data(), text.size());
    }
    wanted_ += text.size();
  }
  void append(char c) {
    if (wanted_ < capacity_) data_[wanted_] = c;
    ++wanted_;
  }
  template <std::integral T>
  requires(!std::same_as<T, char> && !std::same_as<T, bool>) void append_number(T number) {
    char digits[24];
    append({digits,
            static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits)});
  }

  bool overflowed() const { return wanted_ > capacity_; }
  // The bytes appended, whether or not they fitted.
  std::size_t wanted() const { return wanted_; }
  // The bytes written: all of them, or none once it has overflowed, so that half an answer is never sent.
  std::string_view view() const {
    return overflowed() ? std::string_view() : std::string_view(data_, wanted_);
  }

 private:
  char* data_;
  std::size_t capacity_;
  std::size_t wanted_ = 0;
};

}  // namespace ringside::http
