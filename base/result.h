// Result<T>: a value or an Error. The names are std::expected's, which g++ 12 does not have in C++20.
//
// Expected outcomes (empty, not found, need more bytes, evicted) are values of their own types, not Errors.
// An Error's text says what is wrong, where, and how to mend it; building one allocates, so the hot path
// uses enumerations instead.
//
// Threads: values; no shared state.
// Errors: reading the value of a failed Result, or the error of a good one, is a programmer's error
// (asserted).
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace ringside {

// What a caller may want to decide by. Anything finer belongs into the message.
enum class ErrorKind {
  kInvalid,      // the input is wrong: mend it and come again
  kNotFound,     // what was named does not exist
  kUnsupported,  // understood, and refused
  kCorrupt,      // bytes that contradict their own format or checksum
  kLimit,        // a configured or built-in limit was met
  kBusy,         // somebody else holds it
  kUnavailable,  // a peer is gone or not ready; trying again may help
  kIo,           // the operating system refused; the message has errno's text
};

struct Error {
  ErrorKind kind;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    RINGSIDE_ASSERT(has_value());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    RINGSIDE_ASSERT(has_value());
    return *std::get_if<0>(&state_);
  }
  T&& value() && { return std::move(value()); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    RINGSIDE_ASSERT(!has_value());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    RINGSIDE_ASSERT(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }

  const Error& error() const& {
    RINGSIDE_ASSERT(error_.has_value());
    return *error_;
  }
  Error&& error() && {
    RINGSIDE_ASSERT(error_.has_value());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace ringside

#define RINGSIDE_CONCAT_INNER(a, b) a##b
#define RINGSIDE_CONCAT(a, b) RINGSIDE_CONCAT_INNER(a, b)

// RINGSIDE_TRY(expression): returns the error of a failed Result from the enclosing function.
#define RINGSIDE_TRY(expression)                                     \
  do {                                                               \
    auto ringside_result = (expression);                             \
    if (!ringside_result) return std::move(ringside_result).error(); \
  } while (false)

// RINGSIDE_ASSIGN(auto x, expression): as above; otherwise x takes the value.
#define RINGSIDE_ASSIGN(lhs, expression) \
  RINGSIDE_ASSIGN_INNER(RINGSIDE_CONCAT(ringside_result_, __LINE__), lhs, expression)
#define RINGSIDE_ASSIGN_INNER(result, lhs, expression) \
  auto result = (expression);                          \
  if (!result) return std::move(result).error();       \
  lhs = std::move(result).value()
