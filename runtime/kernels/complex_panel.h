/// Complex matrices applied from the left by real products: y = (R + i I) x = [R I] [x; i x], with numbers as pairs (re, im).
#pragma once

#include <algorithm>

#include "runtime/kernels/vector.h"

namespace trident::cpu {

/// Numbers of a panel's row: the width that a tile of a product takes at once.
template <class T>
inline constexpr std::int64_t kPanelWidth = 2 * kLanes<T>;

/// (re, im) -> (im, re) in every pair.
template <class T>
inline Vector<T> exchanged_pairs(Vector<T> x) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = lane ^ 1;
  return __builtin_shuffle(x, order);
}

/// i x for pairs x: (-im, re).
template <class T>
inline Vector<T> times_i(Vector<T> x) {
  Vector<T> sign;
  for (int lane = 0; lane < kLanes<T>; ++lane) sign[lane] = (lane & 1) == 0 ? T(-1) : T(1);
  return sign * exchanged_pairs<T>(x);
}

/// `width` numbers, at most kPanelWidth, of each of `rows` rows, and below them the same times i; zeros behind them up to whole vectors.
template <class T>
inline void fill_panel(std::int64_t rows, std::int64_t width, const T* from, std::int64_t step, T* panel) {
  constexpr std::int64_t kWidth = kPanelWidth<T>;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t lane = 0; lane < width; lane += kLanes<T>) {
      const Vector<T> x = load_some(from + row * step + lane, width - lane);
      store(panel + row * kWidth + lane, x);
      store(panel + (rows + row) * kWidth + lane, times_i<T>(x));
    }
  }
}

}  // namespace trident::cpu
