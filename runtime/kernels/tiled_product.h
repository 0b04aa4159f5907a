/// Products c = a b in which a is small, or packed for it, and b and c are rows of numbers side by side: any number of rows, no library
/// call.
#pragma once

#include "runtime/kernels/vector.h"

namespace trident::cpu {

inline std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

/// The matrix a (rows, depth) as tiles of `height` rows, (tile, depth, row of the tile), with zeros below: a product reads it front to
/// back.
template <class T>
struct Tiled {
  T* data = nullptr;
  std::int64_t rows = 0, depth = 0, height = 1;

  /// As few tiles as there must be, all of one height.
  static std::int64_t height_for(std::int64_t rows) {
    const std::int64_t tiles = (rows + kTileRows - 1) / kTileRows;
    return tiles == 0 ? 1 : (rows + tiles - 1) / tiles;
  }
  static std::int64_t size_for(std::int64_t rows, std::int64_t depth) { return round_up(rows, height_for(rows)) * depth; }
  T& at(std::int64_t row, std::int64_t column) const { return data[(row / height * depth + column) * height + row % height]; }
};

/// a (rows, depth) with any strides into `memory` of Tiled::size_for numbers.
template <class T>
inline Tiled<const T> tiled(std::int64_t rows, std::int64_t depth, const T* a, std::int64_t row_step, std::int64_t column_step, T* memory) {
  const Tiled<T> result{memory, rows, depth, Tiled<T>::height_for(rows)};
  const std::int64_t padded = round_up(rows, result.height);
  for (std::int64_t row = 0; row < padded; ++row) {
    for (std::int64_t column = 0; column < depth; ++column)
      result.at(row, column) = row < rows ? a[row * row_step + column * column_step] : T(0);
  }
  return {memory, rows, depth, result.height};
}

/// c (H, V vectors) = a b for one tile of a, or c + a b.
template <int H, int V, Start kStart, class T>
inline void tile_times_rows(std::int64_t depth, const T* a, Rows<const T> b, std::int64_t rows, Rows<T> c) {
  constexpr int L = kLanes<T>;
  Vector<T> sum[H][V];
  for (int row = 0; row < H; ++row) {
    for (int v = 0; v < V; ++v) sum[row][v] = kStart == Start::given && row < rows ? load(c.data + row * c.step + v * L) : Vector<T>{};
  }
  for (std::int64_t i = 0; i < depth; ++i) {
    Vector<T> right[V];
    for (int v = 0; v < V; ++v) right[v] = load(b.data + i * b.step + v * L);
    for (int row = 0; row < H; ++row) {
      for (int v = 0; v < V; ++v) sum[row][v] += a[i * H + row] * right[v];
    }
  }
  for (int row = 0; row < H; ++row) {
    if (row == rows) return;
    for (int v = 0; v < V; ++v) store(c.data + row * c.step + v * L, sum[row][v]);
  }
}

template <int H, Start kStart, class T>
inline void product_of_height(Tiled<const T> a, std::int64_t width, Rows<const T> b, Rows<T> c) {
  if constexpr (H > kTileRows) {
    return;
  } else {
    if (a.height != H) return product_of_height<H + 1, kStart>(a, width, b, c);
    constexpr std::int64_t L = kLanes<T>;
    for (std::int64_t column = 0; column < width; column += 2 * L) {
      const Rows<const T> right{b.data + column, b.step};
      for (std::int64_t row = 0; row < a.rows; row += H) {
        const Rows<T> target{c.data + row * c.step + column, c.step};
        const T* tile = a.data + row * a.depth;
        if (column + L < width) {
          tile_times_rows<H, 2, kStart>(a.depth, tile, right, a.rows - row, target);
        } else {
          tile_times_rows<H, 1, kStart>(a.depth, tile, right, a.rows - row, target);
        }
      }
    }
  }
}

/// c (a.rows, width) = a b; `width` in whole vectors.
template <class T>
inline void tiled_product(Tiled<const T> a, std::int64_t width, Rows<const T> b, Rows<T> c) {
  product_of_height<1, Start::zero>(a, width, b, c);
}
/// c += a b.
template <class T>
inline void add_tiled_product(Tiled<const T> a, std::int64_t width, Rows<const T> b, Rows<T> c) {
  product_of_height<1, Start::given>(a, width, b, c);
}

}  // namespace trident::cpu
