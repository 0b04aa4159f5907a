/// A small matrix packed for products with rows of numbers (strip_product.h).
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
};

/// a (rows, depth) with any strides into `memory` of Tiled::size_for numbers.
template <class T>
inline Tiled<const T> tiled(std::int64_t rows, std::int64_t depth, const T* a, std::int64_t row_step, std::int64_t column_step, T* memory) {
  const std::int64_t height = Tiled<T>::height_for(rows);
  T* to = memory;
  for (std::int64_t first = 0; first < rows; first += height) {
    for (std::int64_t column = 0; column < depth; ++column) {
      for (std::int64_t row = first; row < first + height; ++row) *to++ = row < rows ? a[row * row_step + column * column_step] : T(0);
    }
  }
  return {memory, rows, depth, height};
}

}  // namespace trident::cpu
