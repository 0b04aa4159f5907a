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
    for (k = 0; k < kept && end - pairs >= 2 * (k + L); k += L)
      store(parts + kept + k, odds<T>(load(pairs + 2 * k), load(pairs + 2 * k + L)));
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

/// The lanes from the last to the first.
template <class T>
inline Vector<T> reversed(Vector<T> x) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = kLanes<T> - 1 - lane;
  return __builtin_shuffle(x, places);
}

/// Of the points n of an axis, how many have another one, points - n, that mirrors them.
inline std::int64_t mirrored_points(std::int64_t points, std::int64_t pairs) { return pairs == points ? 0 : (points - 1) / 2; }

/// `pairs` sums x[n] + x[points - n] and differences, of numbers that lie `step` apart; x[n] itself twice where it is alone. Writes whole
/// vectors.
template <class T>
inline void fold_row(std::int64_t points, std::int64_t pairs, const T* x, std::int64_t step, T* sums, T* differences) {
  constexpr std::int64_t L = kLanes<T>;
  const std::int64_t mirrored = mirrored_points(points, pairs);
  std::int64_t n = 0;
  if (step == 1 && points >= L) {
    // The vector that mirrors x[n...] ends in x[points - n]. Sums first: their last vector may reach into the differences.
    const auto minus = [&](std::int64_t first) { return reversed<T>(load(x + points - first - (L - 1))); };
    for (n = 1; n <= mirrored; n += L) store<T>(sums + n, load_some(x + n, points - n) + minus(n));
    for (n = 1; n <= mirrored; n += L) store<T>(differences + n, load_some(x + n, points - n) - minus(n));
  } else {
    for (n = 1; n <= mirrored; ++n) {
      const T plus = x[n * step], minus = x[(points - n) * step];
      sums[n] = plus + minus;
      differences[n] = plus - minus;
    }
  }
  sums[0] = differences[0] = x[0];
  for (n = mirrored + 1; n < pairs; ++n) sums[n] = differences[n] = x[n * step];
}

/// x[n] = a[n] + sign b[n] and, where points are paired, x[points - n] = a[n] - sign b[n]. Reads whole vectors.
template <class T>
inline void unfold_row(std::int64_t points, std::int64_t pairs, T sign, const T* a, const T* b, T* x, std::int64_t step) {
  constexpr std::int64_t L = kLanes<T>;
  const std::int64_t mirrored = mirrored_points(points, pairs);
  if (step == 1 && points >= L) {
    // The last mirrored vector reaches into the other half, which is written after it.
    for (std::int64_t n = 1; n <= mirrored; n += L) store(x + points - n - (L - 1), reversed<T>(load(a + n) - sign * load(b + n)));
    for (std::int64_t n = 0; n < pairs; n += L) store_some<T>(x + n, load(a + n) + sign * load(b + n), pairs - n);
    return;
  }
  for (std::int64_t n = 0; n < pairs; ++n) x[n * step] = a[n] + sign * b[n];
  for (std::int64_t n = 1; n <= mirrored; ++n) x[(points - n) * step] = a[n] - sign * b[n];
}

/// Rows of `kept` real and `kept` imaginary parts around a middle axis of (before, entries, inner) rows: where some of them begin, and the
/// step from entry to entry.
struct Columns {
  std::vector<std::int64_t> begins;
  std::int64_t step = 0, kept = 0;

  /// `count` of the rows (before, inner) from `first` on.
  void place(std::int64_t first, std::int64_t count, std::int64_t entries, std::int64_t inner, std::int64_t row_step) {
    step = inner * row_step;
    begins.resize(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      begins[static_cast<std::size_t>(i)] = ((first + i) / inner * entries * inner + (first + i) % inner) * row_step;
    }
  }
};

/// A row of sums and one of differences for every pair of entries, the columns side by side.
template <class T>
inline void fold_columns(const std::vector<Pair>& pairs, const Columns& columns, const T* x, Rows<T> sums, Rows<T> differences) {
  const std::int64_t numbers = 2 * columns.kept;
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    T *sum = sums.data + static_cast<std::int64_t>(pair) * sums.step,
      *difference = differences.data + static_cast<std::int64_t>(pair) * differences.step;
    for (const std::int64_t begin : columns.begins) {
      const T* plus = x + begin + pairs[pair].plus * columns.step;
      const T* minus = x + begin + pairs[pair].minus * columns.step;
      if (pairs[pair].minus < 0) {
        for (std::int64_t i = 0; i < numbers; i += kLanes<T>) {
          store(sum + i, load(plus + i));
          store(difference + i, load(plus + i));
        }
      } else {
        for (std::int64_t i = 0; i < numbers; i += kLanes<T>) {
          store(sum + i, load(plus + i) + load(minus + i));
          store(difference + i, load(plus + i) - load(minus + i));
        }
      }
      sum += numbers, difference += numbers;
    }
  }
}

/// The entries a + sign i b and, of pairs, a - sign i b.
template <class T>
inline void unfold_columns(const std::vector<Pair>& pairs, T sign, const Columns& columns, Rows<const T> a, Rows<const T> b, T* x) {
  constexpr std::int64_t L = kLanes<T>;
  const std::int64_t kept = columns.kept;
  const auto entry = [&](T s, const T* cosines, const T* sines, T* target) {  // real parts first: their last vector reaches into the others
    for (std::int64_t i = 0; i < kept; i += L) store(target + i, load(cosines + i) - s * load(sines + kept + i));
    for (std::int64_t i = 0; i < kept; i += L) store(target + kept + i, load(cosines + kept + i) + s * load(sines + i));
  };
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    const T *cosines = a.data + static_cast<std::int64_t>(pair) * a.step, *sines = b.data + static_cast<std::int64_t>(pair) * b.step;
    for (const std::int64_t begin : columns.begins) {
      entry(sign, cosines, sines, x + begin + pairs[pair].plus * columns.step);
      if (pairs[pair].minus >= 0) entry(-sign, cosines, sines, x + begin + pairs[pair].minus * columns.step);
      cosines += 2 * kept, sines += 2 * kept;
    }
  }
}

}  // namespace trident::cpu
