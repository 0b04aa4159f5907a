/// Memory asked for before it is read: more streams than the machine foresees by itself. It goes to the second level of the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/kernels/vector.h"

namespace trident::cpu {

template <class T>
inline void fetch_line(const T* line) {
  constexpr int kSecondLevel = 2;
  __builtin_prefetch(line, 0, kSecondLevel);
}

/// Asks for `rows` of `numbers` at once.
template <class T>
inline void fetch(const T* from, std::int64_t step, std::int64_t rows, std::int64_t numbers) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < numbers; i += kLanes<T>) fetch_line(from + row * step + i);
  }
}

/// What is needed next, asked for line by line while something else is computed.
template <class T>
class Ahead {
 public:
  void add(const T* from, std::int64_t step, std::int64_t rows, std::int64_t numbers) {
    for (std::int64_t row = 0; row < rows; ++row) rows_.push_back({from + row * step, from + row * step + numbers});
  }
  /// Asks for a line, if there is one left.
  void ask() {
    if (at_.next >= at_.end) {
      if (rows_.empty()) return;
      at_ = rows_.back();
      rows_.pop_back();
    }
    fetch_line(at_.next);
    at_.next += kLanes<T>;
  }

 private:
  struct Row {
    const T *next = nullptr, *end = nullptr;
  };
  Row at_;
  std::vector<Row> rows_;
};

}  // namespace trident::cpu
