/// Registers of numbers, and the small matrix product on them that kernels of fixed-size tiles are made of.
#pragma once

#include <cstdint>
#include <cstring>

namespace trident::cpu {

#ifdef __AVX512F__
inline constexpr int kVectorBytes = 64;
inline constexpr int kTileRows = 8;
#else
inline constexpr int kVectorBytes = 32;  // x86-64-v3
inline constexpr int kTileRows = 4;      // 16 registers hold a tile of 4 rows by 2 vectors and its operands
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T> using Vector = typename VectorOf<T>::type;
template <class T> inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
inline void store(T* to, Vector<T> value) { std::memcpy(to, &value, sizeof value); }
template <class T>
inline Vector<T> broadcast(T value) { return Vector<T>{} + value; }

/// A matrix read one number at a time: element (row, i) lies at data[row * row_step + i * step].
template <class T>
struct Scalars {
  const T* data;
  std::int64_t row_step, step;
};
/// A matrix read and written by whole vectors: rows of `step` numbers.
template <class T>
struct Rows {
  T* data;
  std::int64_t step;
};

/// c (kTileRows, V vectors) = a b, added to c if kAdd; `depth` is the extent that is summed over.
template <class T, int V, bool kAdd>
inline void product_tile(std::int64_t depth, Scalars<T> a, Rows<const T> b, Rows<T> c) {
  constexpr int L = kLanes<T>;
  Vector<T> sum[kTileRows][V];
  for (int row = 0; row < kTileRows; ++row) {
    for (int v = 0; v < V; ++v) sum[row][v] = kAdd ? load(c.data + row * c.step + v * L) : Vector<T>{};
  }
  for (std::int64_t i = 0; i < depth; ++i) {
    Vector<T> right[V];
    for (int v = 0; v < V; ++v) right[v] = load(b.data + i * b.step + v * L);
    for (int row = 0; row < kTileRows; ++row) {
      const T left = a.data[row * a.row_step + i * a.step];
      for (int v = 0; v < V; ++v) sum[row][v] += left * right[v];
    }
  }
  for (int row = 0; row < kTileRows; ++row) {
    for (int v = 0; v < V; ++v) store(c.data + row * c.step + v * L, sum[row][v]);
  }
}

/// c (rows, width) = a b or += a b; rows is a multiple of kTileRows and width of kLanes.
template <class T, bool kAdd>
inline void small_product(std::int64_t rows, std::int64_t width, std::int64_t depth, Scalars<T> a, Rows<const T> b, Rows<T> c) {
  constexpr int L = kLanes<T>;
  std::int64_t column = 0;
  for (; column + 2 * L <= width; column += 2 * L) {
    for (std::int64_t row = 0; row < rows; row += kTileRows) {
      product_tile<T, 2, kAdd>(depth, {a.data + row * a.row_step, a.row_step, a.step}, {b.data + column, b.step},
                               {c.data + row * c.step + column, c.step});
    }
  }
  for (; column < width; column += L) {
    for (std::int64_t row = 0; row < rows; row += kTileRows) {
      product_tile<T, 1, kAdd>(depth, {a.data + row * a.row_step, a.row_step, a.step}, {b.data + column, b.step},
                               {c.data + row * c.step + column, c.step});
    }
  }
}

}  // namespace trident::cpu
