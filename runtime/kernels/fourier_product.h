/// The products of one axis of a Fourier transform with fields side by side in the lanes of vectors. Mirrored entries are added and
/// subtracted on their way into a tile of sums and on their way out of it, so that nothing passes through memory between.
#pragma once

#include "runtime/kernels/fourier_axis.h"

namespace trident::cpu {

/// What goes in and comes out: a vector for a real number, one of real parts and one of imaginary parts for a complex number or a mode.
enum class Entries { points_to_modes, modes_to_points, complex };

/// Columns of numbers around an axis: where the first begins, and the steps from one to the next and from entry to entry of the axis.
template <class T>
struct Columns {
  T* data;
  std::int64_t next = 0, step = 0;

  Columns from(std::int64_t column) const { return {data + column * next, next, step}; }
};

/// H entries (or pairs) from `row` on of what comes out: of V columns, or of one column of complex numbers, V being 2.
template <Entries kEntries, int H, int V, class T>
inline void tile_of_axis(const AxisMatrices<T>& axis, std::int64_t row, const Columns<const T>& from, const Columns<T>& to) {
  constexpr std::int64_t L = kLanes<T>;
  const auto place = [](const auto& columns, std::int64_t entry, int v) {
    return columns.data + entry * columns.step + v * (kEntries == Entries::complex ? L : columns.next);
  };
  const T* factors = axis.factors + row * axis.factors_of_one();
  Vector<T> a[H][V] = {}, b[H][V] = {};  // sums with cosines and with sines
  const auto add = [&](Vector<T>(&sums)[H][V], const Vector<T>(&x)[V]) {
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[h][v] += factors[h] * x[v];
    }
    factors += H;
  };
  for (std::int64_t i = 0; i < axis.depth(); ++i) {
    const auto [plus, minus] = axis.in[static_cast<std::size_t>(i)];
    Vector<T> sum[V], difference[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const T* first = place(from, plus, v);
      if (kEntries == Entries::modes_to_points) {
        sum[v] = load(first), difference[v] = load(first + L);
      } else if (minus < 0) {
        sum[v] = difference[v] = load(first);
      } else {
        const Vector<T> second = load(place(from, minus, v));
        sum[v] = load(first) + second, difference[v] = load(first) - second;
      }
    }
    add(a, sum);
    if (i >= axis.in_even) add(b, difference);
  }
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    const auto [plus, minus] = axis.out[static_cast<std::size_t>(row + h)];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* first = place(to, plus, v);
      if (kEntries == Entries::points_to_modes) {
        store(first, a[h][v]);
        store(first + L, b[h][v]);
        continue;
      }
      // i b of a complex number is (-im, re).
      const Vector<T> turned = kEntries == Entries::complex ? (v == 0 ? -b[h][V - 1] : b[h][0]) : -b[h][v];
      store<T>(first, a[h][v] + turned);
      if (minus >= 0) store<T>(place(to, minus, v), a[h][v] - turned);
    }
  }
}

template <Entries kEntries, int V, class T, int H = kTilePairs>
inline void tile_of_height(std::int64_t height, const AxisMatrices<T>& axis, std::int64_t row, const Columns<const T>& from,
                           const Columns<T>& to) {
  if constexpr (H > 1) {
    if (height < H) return tile_of_height<kEntries, V, T, H - 1>(height, axis, row, from, to);
  }
  tile_of_axis<kEntries, H, V>(axis, row, from, to);
}

/// `count` columns through an axis.
template <Entries kEntries, class T>
inline void through_axis(const AxisMatrices<T>& axis, std::int64_t count, const Columns<const T>& from, const Columns<T>& to) {
  constexpr std::int64_t kTogether = kEntries == Entries::complex ? 1 : 2;
  for (std::int64_t column = 0; column < count; column += kTogether) {
    for (std::int64_t tile = 0; tile < axis.tiles(); ++tile) {
      const std::int64_t row = axis.begin_of(tile), height = axis.begin_of(tile + 1) - row;
      if (kEntries == Entries::complex || column + 1 < count) {
        tile_of_height<kEntries, 2>(height, axis, row, from.from(column), to.from(column));
      } else {
        tile_of_height<kEntries, 1>(height, axis, row, from.from(column), to.from(column));
      }
    }
  }
}

}  // namespace trident::cpu
