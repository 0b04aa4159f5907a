/// The products of one axis of a Fourier transform with fields side by side in the lanes of vectors. Mirrored entries are added and
/// subtracted on their way into a tile of sums and on their way out of it, so that nothing passes through memory between.
#pragma once

#include <type_traits>

#include "runtime/kernels/fourier_axis.h"

namespace trident::cpu {

/// The points' numbers: real ones are a vector each; complex ones, as modes always, a vector of real parts and one of imaginary parts.
enum class Points { real, complex };

/// Columns of numbers around an axis: where the first begins, and the steps from one to the next and from entry to entry of the axis.
template <class T>
struct Columns {
  T* data;
  std::int64_t next = 0, step = 0;

  Columns from(std::int64_t column) const { return {data + column * next, next, step}; }
};

/// Vector v of an entry: of column v if points are real, else of the real or of the imaginary parts.
template <Points kPoints, class T>
inline T* place(const Columns<T>& columns, std::int64_t entry, int v) {
  return columns.data + entry * columns.step + v * (kPoints == Points::complex ? kLanes<std::remove_const_t<T>> : columns.next);
}

/// What goes in: of two mirrored entries, or more, what the cosines take and what the sines take.
template <int V, class T>
struct Mirrored {
  Vector<T> sum[V], difference[V];
};
template <Points kPoints, int V, class T>
[[gnu::always_inline]] inline Mirrored<V, T> mirrored(const Columns<const T>& from, std::int64_t plus, std::int64_t minus) {
  Mirrored<V, T> x;
#pragma GCC unroll 2
  for (int v = 0; v < V; ++v) {
    const Vector<T> first = load(place<kPoints>(from, plus, v));
    if (minus < 0) {
      x.sum[v] = x.difference[v] = first;
    } else {
      const Vector<T> second = load(place<kPoints>(from, minus, v));
      x.sum[v] = first + second, x.difference[v] = first - second;
    }
  }
  return x;
}

/// H sums of V vectors with cosines, a, and with sines, b.
template <int H, int V, class T>
struct Sums {
  Vector<T> a[H][V] = {}, b[H][V] = {};

  [[gnu::always_inline]] void add(const Mirrored<V, T>& x, const T* factors) {
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) a[h][v] += factors[h] * x.sum[v];
    }
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) b[h][v] += factors[H + h] * x.difference[v];
    }
  }
};

/// i b, or of a real number what remains of it: b stands for an imaginary number there.
template <Points kPoints, int V, class T>
inline Vector<T> turned(const Vector<T> (&b)[V], int v) {
  return kPoints == Points::complex && v == 1 ? b[0] : -b[kPoints == Points::complex ? V - 1 : v];
}

/// H modes, or pairs of them, from points.
template <Points kPoints, Parity kParity, int H, int V, class T>
inline void tile_of_modes(const AxisMatrices<T>& axis, std::int64_t tile_first, const Columns<const T>& from, const Columns<T>& to) {
  const T* factors = axis.factors + 2 * tile_first * static_cast<std::int64_t>(axis.points.size());
  Sums<H, V, T> sums;
  for (const PointQuad& quad : axis.points) {
    Mirrored<V, T> x = mirrored<kPoints, V, T>(from, quad.plus, quad.minus);
    if (quad.half_minus >= 0) {
      const Mirrored<V, T> half = mirrored<kPoints, V, T>(from, quad.half_minus, quad.half_plus);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        x.sum[v] = kParity == Parity::even ? x.sum[v] + half.sum[v] : x.sum[v] - half.sum[v];
        x.difference[v] = kParity == Parity::even ? x.difference[v] - half.difference[v] : x.difference[v] + half.difference[v];
      }
    }
    sums.add(x, factors);
    factors += 2 * H;
  }
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    const auto [plus, minus] = axis.modes[static_cast<std::size_t>(tile_first + h)];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* first = place<kPoints>(to, plus, v);
      if (kPoints == Points::real) {
        store(first, sums.a[h][v]);
        store(first + kLanes<T>, sums.b[h][v]);
        continue;
      }
      const Vector<T> b = turned<kPoints, V, T>(sums.b[h], v);
      store<T>(first, sums.a[h][v] + b);
      if (minus >= 0) store<T>(place<kPoints>(to, minus, v), sums.a[h][v] - b);
    }
  }
}

/// H quads of points from modes.
template <Points kPoints, int H, int V, class T>
inline void tile_of_points(const AxisMatrices<T>& axis, std::int64_t tile_first, const Columns<const T>& from, const Columns<T>& to) {
  const auto modes = static_cast<std::int64_t>(axis.modes.size());
  const T* factors = axis.factors + 2 * tile_first * modes;
  const auto read = [&](std::int64_t mode) __attribute__((always_inline)) {
    const auto [plus, minus] = axis.modes[static_cast<std::size_t>(mode)];
    if constexpr (kPoints == Points::complex) {
      return mirrored<kPoints, V, T>(from, plus, minus);
    } else {
      Mirrored<V, T> x;
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        const T* parts = place<kPoints>(from, plus, v);
        x.sum[v] = load(parts), x.difference[v] = load(parts + kLanes<T>);
      }
      return x;
    }
  };
  Sums<H, V, T> even, odd;
  for (std::int64_t mode = 0; mode < axis.even_modes; ++mode, factors += 2 * H) even.add(read(mode), factors);
  for (std::int64_t mode = axis.even_modes; mode < modes; ++mode, factors += 2 * H) odd.add(read(mode), factors);
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    const PointQuad& quad = axis.points[static_cast<std::size_t>(tile_first + h)];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const Vector<T> a = even.a[h][v] + odd.a[h][v], half_a = even.a[h][v] - odd.a[h][v];
      const Vector<T> even_b = turned<kPoints, V, T>(even.b[h], v), odd_b = turned<kPoints, V, T>(odd.b[h], v);
      const Vector<T> b = even_b + odd_b, half_b = odd_b - even_b;
      store<T>(place<kPoints>(to, quad.plus, v), a + b);
      if (quad.minus >= 0) store<T>(place<kPoints>(to, quad.minus, v), a - b);
      if (quad.half_minus >= 0) store<T>(place<kPoints>(to, quad.half_minus, v), half_a + half_b);
      if (quad.half_plus >= 0) store<T>(place<kPoints>(to, quad.half_plus, v), half_a - half_b);
    }
  }
}

template <Direction kDirection, Points kPoints, int V, class T, int H = kDirection == Direction::to_modes ? kTileModes : kTilePoints>
inline void tile_of_axis(const AxisMatrices<T>& axis, const Tile& tile, const Columns<const T>& from, const Columns<T>& to) {
  if constexpr (H > 1) {
    if (tile.last - tile.first < H) return tile_of_axis<kDirection, kPoints, V, T, H - 1>(axis, tile, from, to);
  }
  if constexpr (kDirection == Direction::to_field) {
    tile_of_points<kPoints, H, V>(axis, tile.first, from, to);
  } else if (tile.parity == Parity::even) {
    tile_of_modes<kPoints, Parity::even, H, V>(axis, tile.first, from, to);
  } else {
    tile_of_modes<kPoints, Parity::odd, H, V>(axis, tile.first, from, to);
  }
}

/// `count` columns through an axis: two of real numbers at a time, or one of complex numbers.
template <Direction kDirection, Points kPoints, class T>
inline void through_axis(const AxisMatrices<T>& axis, std::int64_t count, const Columns<const T>& from, const Columns<T>& to) {
  constexpr std::int64_t kTogether = kPoints == Points::complex ? 1 : 2;
  for (std::int64_t column = 0; column < count; column += kTogether) {
    for (const Tile& tile : axis.tiles) {
      if (kPoints == Points::complex || column + 1 < count) {
        tile_of_axis<kDirection, kPoints, 2>(axis, tile, from.from(column), to.from(column));
      } else {
        tile_of_axis<kDirection, kPoints, 1>(axis, tile, from.from(column), to.from(column));
      }
    }
  }
}

}  // namespace trident::cpu
