/// Products with strips of columns, two vectors wide (channel_strips.h).
#pragma once

#include "runtime/kernels/channel_strips.h"
#include "runtime/kernels/lane_sums.h"
#include "runtime/kernels/tiled_matrix.h"

namespace trident::cpu {

/// What the sums of a strip begin with: a number for each row, and a row of an addend times its gate.
template <class T>
struct StripStart {
  const T* numbers;
  Rows<const T> addend;  // null for none
  const T* gate;         // null for ones

  StripStart from(std::int64_t row) const {
    return {numbers + row,
            {addend.data == nullptr ? nullptr : addend.data + row * addend.step, addend.step},
            gate == nullptr ? nullptr : gate + row};
  }
};

/// c (rows of H, V vectors) = start + a b for one tile of a.
template <int H, int V, class T>
inline void strip_tile(std::int64_t depth, const T* a, Rows<const T> b, const StripStart<T>& start, std::int64_t rows, Rows<T> c,
                       Storing storing) {
  constexpr int L = kLanes<T>;
  Vector<T> sum[H][V];
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
    const bool adds = start.addend.data != nullptr && row < rows;
    const T gate = start.gate != nullptr && row < rows ? start.gate[row] : T(1);
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      sum[row][v] = broadcast(start.numbers[row]);
      if (adds) sum[row][v] += gate * load(start.addend.data + row * start.addend.step + v * L);
    }
  }
  for (std::int64_t i = 0; i < depth; ++i, a += H, b.data += b.step) {
    Vector<T> right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) right[v] = load(b.data + v * L);
#pragma GCC unroll 8
    for (int row = 0; row < H; ++row) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[row][v] += a[row] * right[v];
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
    if (row == rows) return;
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* to = c.data + row * c.step + v * L;
      if (storing == Storing::streamed) {
        stream(to, sum[row][v]);
      } else {
        store(to, sum[row][v]);
      }
    }
  }
}

template <int H, class T, class Target, class Done>
inline void strip_tiles(Tiled<const T> a, const StripStart<T>& start, std::int64_t vectors, Rows<const T> b, Storing storing,
                        Target&& target, Done&& done) {
  if constexpr (H > kTileRows) {
    return;
  } else {
    if (a.height != H) return strip_tiles<H + 1>(a, start, vectors, b, storing, target, done);
    for (std::int64_t row = 0; row < a.rows; row += H) {
      const std::int64_t rows = std::min<std::int64_t>(H, a.rows - row);
      const auto tile = vectors == 2 ? strip_tile<H, 2, T> : strip_tile<H, 1, T>;
      tile(a.depth, a.data + row * a.depth, b, start.from(row), rows, target(row), storing);
      done(row, rows);
    }
  }
}

/// start + a b of a strip b of one or two vectors, tile by tile: each is written to target(first row), and then done(first row, rows) is
/// called.
template <class T, class Target, class Done>
inline void strip_product(Tiled<const T> a, const StripStart<T>& start, std::int64_t vectors, Rows<const T> b, Storing storing,
                          Target&& target, Done&& done) {
  strip_tiles<1>(a, start, vectors, b, storing, target, done);
}

/// Numbers of a panel: of all columns of a block two vectors of rows.
template <class T>
inline constexpr std::int64_t kPanel = kBlockStrips* kStrip<T>* kStrip<T>;
template <class T>
inline std::int64_t numbers_of_panels(std::int64_t rows) {
  return (rows + kStrip<T> - 1) / kStrip<T> * kPanel<T>;
}

/// sums (H, V vectors) += a b over a block's columns: a in copied strips, b (column, two vectors).
template <int H, int V, class T>
inline void add_outer_tile(std::int64_t vectors, const T* a, std::int64_t strip_step, const T* b, Rows<T> sums) {
  constexpr int L = kLanes<T>;
  Vector<T> sum[H][V];
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[row][v] = load(sums.data + row * sums.step + v * L);
  }
  for (; vectors > 0; vectors -= 2, a += strip_step) {
    const std::int64_t columns = std::min<std::int64_t>(vectors, 2) * L;
    for (std::int64_t column = 0; column < columns; ++column, b += 2 * L) {
      Vector<T> right[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 8
      for (int row = 0; row < H; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[row][v] += a[row * 2 * L + column] * right[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) store(sums.data + row * sums.step + v * L, sum[row][v]);
  }
}

template <int H, class T>
inline void add_outer_tiles(std::int64_t vectors, const Strips<const T>& a, std::int64_t height, std::int64_t width, const T* b, T* sums) {
  if constexpr (H > kTileRows) {
    return;
  } else {
    if (height != H) return add_outer_tiles<H + 1>(vectors, a, height, width, b, sums);
    constexpr int L = kLanes<T>;
    for (std::int64_t column = 0; column < width; column += 2 * L, b += kPanel<T>) {
      const auto tile = column + L < width ? add_outer_tile<H, 2, T> : add_outer_tile<H, 1, T>;
      for (std::int64_t row = 0; row < a.rows; row += H)
        tile(vectors, a.data + row * a.row_step, a.strip_step, b, {sums + row * width + column, width});
    }
  }
}

/// sums (a.rows, width) += a b over so many vectors of a block's columns: a in copied strips of rows that tiles of `height` fill, b in
/// panels (panel, column, two vectors); width in whole vectors.
template <class T>
inline void add_outer_product(std::int64_t vectors, const Strips<const T>& a, std::int64_t height, std::int64_t width, const T* b,
                              T* sums) {
  add_outer_tiles<1>(vectors, a, height, width, b, sums);
}

/// The rows of x in panels, zeros behind the last row.
template <class T>
inline void transpose_strips(std::int64_t vectors, const Strips<const T>& x, T* panels) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t first = 0; first < x.rows; first += L) {
    T* to = panels + first / kStrip<T> * kPanel<T> + first % kStrip<T>;
    for (std::int64_t v = 0; v < vectors; ++v) {
      const T* from = x.at(first, v * L);
      Vector<T> block[L];
#pragma GCC unroll 16
      for (std::int64_t row = 0; row < L; ++row) block[row] = first + row < x.rows ? load(from + row * x.row_step) : Vector<T>{};
      transpose<T>(block);
#pragma GCC unroll 16
      for (std::int64_t row = 0; row < L; ++row) store(to + (v * L + row) * kStrip<T>, block[row]);
    }
  }
}

/// sums (M, N) += the products of rows of a with rows of b, summed over columns.
template <int M, int N, class T>
inline void add_dots(std::int64_t vectors, const Strips<const T>& a, const Strips<const T>& b, Rows<T> sums) {
  Vector<T> dots[M * N];
#pragma GCC unroll 16
  for (int i = 0; i < M * N; ++i) dots[i] = Vector<T>{};
  for (std::int64_t v = 0; v < vectors; ++v) {
    const T *left = a.data + v / 2 * a.strip_step + v % 2 * kLanes<T>, *right = b.data + v / 2 * b.strip_step + v % 2 * kLanes<T>;
    Vector<T> other[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) other[n] = load(right + n * b.row_step);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const Vector<T> one = in_register(load(left + m * a.row_step));
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) dots[m * N + n] += one * other[n];
    }
  }
  constexpr int kTogether = std::min(M * N, kLanes<T>);
#pragma GCC unroll 4
  for (int first = 0; first < M * N; first += kTogether) {
    const Vector<T> totals = sums_of_lanes<kTogether, T>(dots + first);
#pragma GCC unroll 16
    for (int i = 0; i < kTogether; ++i) sums.data[(first + i) / N * sums.step + (first + i) % N] += totals[i];
  }
}

/// sums (rows of a, rows of b; `width` apart) += a b^T over so many vectors of a block's columns: the same without transposing b, for few
/// rows.
template <class T>
inline void add_products_of_rows(std::int64_t vectors, std::int64_t rows, Strips<const T> a, const Strips<const T>& b, std::int64_t width,
                                 T* sums) {
  constexpr int kTall = 4, kWide = kVectorBytes == 64 ? 4 : 2;
  for (std::int64_t row = 0; row < rows;) {
    const std::int64_t tall = row + kTall <= rows ? kTall : 1;
    Strips<const T> right = b;
    for (std::int64_t column = 0; column < b.rows;) {
      const std::int64_t wide = column + kWide <= b.rows ? kWide : 1;
      const auto add = tall == 1 ? (wide == 1 ? add_dots<1, 1, T> : add_dots<1, kWide, T>)
                                 : (wide == 1 ? add_dots<kTall, 1, T> : add_dots<kTall, kWide, T>);
      add(vectors, a, right, {sums + row * width + column, width});
      right.data += wide * right.row_step;
      column += wide;
    }
    a.data += tall * a.row_step;
    row += tall;
  }
}

}  // namespace trident::cpu
