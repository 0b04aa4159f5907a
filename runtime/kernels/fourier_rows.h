/// What surrounds the products of a Fourier transform: adding and subtracting mirrored entries, and (re, im) pairs to parts and back.
#pragma once

#include <vector>

#include "runtime/kernels/fourier_axis.h"

namespace trident::cpu {

/// The real parts of two vectors of pairs, and the imaginary ones; and back.
template <class T>
inline Vector<T> evens(Vector<T> a, Vector<T> b) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = 2 * lane;
  return __builtin_shuffle(a, b, places);
}
template <class T>
inline Vector<T> odds(Vector<T> a, Vector<T> b) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = 2 * lane + 1;
  return __builtin_shuffle(a, b, places);
}
template <class T>
inline Vector<T> interleaved(Vector<T> re, Vector<T> im, int half) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = (lane & 1) * kLanes<T> + lane / 2 + half * kLanes<T> / 2;
  return __builtin_shuffle(re, im, places);
}

/// Rows of `kept` pairs, one after the other, to rows of real parts and then imaginary ones.
template <class T>
inline void split_rows(std::int64_t rows, std::int64_t kept, const T* pairs, T* parts, std::int64_t step) {
  constexpr std::int64_t L = kLanes<T>;
  const T* end = pairs + rows * 2 * kept;
  for (std::int64_t row = 0; row < rows; ++row, pairs += 2 * kept, parts += step) {
    std::int64_t k = 0;
    // Vectors may reach into the next rows' pairs, and from the real parts into the imaginary ones, which come later.
    for (; k < kept && end - pairs >= 2 * (k + L); k += L) store(parts + k, evens<T>(load(pairs + 2 * k), load(pairs + 2 * k + L)));
    for (; k < kept; ++k) parts[k] = pairs[2 * k];
    for (k = 0; k < kept && end - pairs >= 2 * (k + L); k += L) store(parts + kept + k, odds<T>(load(pairs + 2 * k), load(pairs + 2 * k + L)));
    for (; k < kept; ++k) parts[kept + k] = pairs[2 * k + 1];
  }
}

/// And back.
template <class T>
inline void join_rows(std::int64_t rows, std::int64_t kept, const T* parts, std::int64_t step, T* pairs) {
  constexpr std::int64_t L = kLanes<T>;
  const T* end = pairs + rows * 2 * kept;
  for (std::int64_t row = 0; row < rows; ++row, pairs += 2 * kept, parts += step) {
    std::int64_t k = 0;
    for (; k < kept && end - pairs >= 2 * (k + L); k += L) {
      const Vector<T> re = load(parts + k), im = load(parts + kept + k);
      store(pairs + 2 * k, interleaved<T>(re, im, 0));
      store(pairs + 2 * k + L, interleaved<T>(re, im, 1));
    }
    for (; k < kept; ++k) pairs[2 * k] = parts[k], pairs[2 * k + 1] = parts[kept + k];
  }
}

/// `pairs` sums x[n] + x[points - n] and differences, of numbers that lie `step` apart; x[n] itself twice where it is alone.
template <class T>
inline void fold_row(std::int64_t points, std::int64_t pairs, const T* x, std::int64_t step, T* sums, T* differences) {
  const std::int64_t mirrored = pairs == points ? 0 : (points - 1) / 2;
  const auto fold = [&](auto distance) {
    sums[0] = differences[0] = x[0];
#pragma omp simd
    for (std::int64_t n = 1; n <= mirrored; ++n) {
      const T plus = x[n * distance], minus = x[(points - n) * distance];
      sums[n] = plus + minus;
      differences[n] = plus - minus;
    }
    for (std::int64_t n = mirrored + 1; n < pairs; ++n) sums[n] = differences[n] = x[n * distance];
  };
  if (step == 1) {
    fold(std::integral_constant<std::int64_t, 1>{});
  } else {
    fold(step);
  }
}

/// x[n] = a[n] + sign b[n] and, where points are paired, x[points - n] = a[n] - sign b[n].
template <class T>
inline void unfold_row(std::int64_t points, std::int64_t pairs, T sign, const T* a, const T* b, T* x, std::int64_t step) {
  const std::int64_t mirrored = pairs == points ? 0 : (points - 1) / 2;
  const auto unfold = [&](auto distance) {
#pragma omp simd
    for (std::int64_t n = 0; n < pairs; ++n) x[n * distance] = a[n] + sign * b[n];
#pragma omp simd
    for (std::int64_t n = 1; n <= mirrored; ++n) x[(points - n) * distance] = a[n] - sign * b[n];
  };
  if (step == 1) {
    unfold(std::integral_constant<std::int64_t, 1>{});
  } else {
    unfold(step);
  }
}

/// `count` of the rows (before, inner) around a middle axis, from `first` on.
struct Columns {
  std::int64_t first = 0, count = 0, inner = 1;
};
/// (before, entries, inner) rows of `kept` real and `kept` imaginary parts.
struct PlanarRows {
  std::int64_t entries = 0, kept = 0, step = 0;
  std::int64_t at(const Columns& columns, std::int64_t column, std::int64_t entry) const {
    const std::int64_t i = columns.first + column;
    return ((i / columns.inner * entries + entry) * columns.inner + i % columns.inner) * step;
  }
};

/// A row of sums and one of differences for every pair of entries, the columns side by side.
template <class T>
inline void fold_columns(const std::vector<Pair>& pairs, const Columns& columns, const PlanarRows& rows, const T* x, Rows<T> sums, Rows<T> differences) {
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    T *sum = sums.data + static_cast<std::int64_t>(pair) * sums.step, *difference = differences.data + static_cast<std::int64_t>(pair) * differences.step;
    for (std::int64_t column = 0; column < columns.count; ++column, sum += 2 * rows.kept, difference += 2 * rows.kept) {
      const T* plus = x + rows.at(columns, column, pairs[pair].plus);
      if (pairs[pair].minus < 0) {
        for (std::int64_t i = 0; i < 2 * rows.kept; i += kLanes<T>) {
          store(sum + i, load(plus + i));
          store(difference + i, load(plus + i));
        }
        continue;
      }
      const T* minus = x + rows.at(columns, column, pairs[pair].minus);
      for (std::int64_t i = 0; i < 2 * rows.kept; i += kLanes<T>) {
        store(sum + i, load(plus + i) + load(minus + i));
        store(difference + i, load(plus + i) - load(minus + i));
      }
    }
  }
}

/// The entries a + sign i b and, of pairs, a - sign i b.
template <class T>
inline void unfold_columns(const std::vector<Pair>& pairs, T sign, const Columns& columns, const PlanarRows& rows, Rows<const T> a, Rows<const T> b, T* x) {
  constexpr std::int64_t L = kLanes<T>;
  const std::int64_t kept = rows.kept;
  const auto entry = [&](T s, const T* cosines, const T* sines, T* target) {  // real parts first: their last vector reaches into the others
    for (std::int64_t i = 0; i < kept; i += L) store(target + i, load(cosines + i) - s * load(sines + kept + i));
    for (std::int64_t i = 0; i < kept; i += L) store(target + kept + i, load(cosines + kept + i) + s * load(sines + i));
  };
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    const T *cosines = a.data + static_cast<std::int64_t>(pair) * a.step, *sines = b.data + static_cast<std::int64_t>(pair) * b.step;
    for (std::int64_t column = 0; column < columns.count; ++column, cosines += 2 * kept, sines += 2 * kept) {
      entry(sign, cosines, sines, x + rows.at(columns, column, pairs[pair].plus));
      if (pairs[pair].minus >= 0) entry(-sign, cosines, sines, x + rows.at(columns, column, pairs[pair].minus));
    }
  }
}

}  // namespace trident::cpu
