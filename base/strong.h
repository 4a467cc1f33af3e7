// Strong types: a number with a meaning, so that mixing two meanings does not compile.
//
// Threads: values; no shared state.   Errors: none.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>

namespace ringside {

// A number of type `Rep` that means `Tag`. Ordered and hashable; no arithmetic: take value() and say what you
// mean.
template <class Tag, class Rep>
class Strong {
 public:
  using rep = Rep;

  constexpr Strong() = default;
  constexpr explicit Strong(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  friend constexpr bool operator==(Strong, Strong) = default;
  friend constexpr auto operator<=>(Strong, Strong) = default;

 private:
  Rep value_{};
};

}  // namespace ringside

template <class Tag, class Rep>
struct std::hash<ringside::Strong<Tag, Rep>> {
  std::size_t operator()(ringside::Strong<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value());
  }
};
