/// Products of complex numbers by three real ones: of sums of p = re(a) re(b), q = im(a) im(b) and r = (re(a) + im(a)) (re(b) + im(b)) it
/// is (p - q, r - p - q). A pair (re, im) of a and a vector of pairs of b give p and q in one multiplication; r of two such vectors comes
/// in another. Both operands are packed before, with the sums of their parts, and with signs turned where conjugates are asked for.
#pragma once

#include <algorithm>

#include "runtime/kernels/complex_pairs.h"

namespace trident::cpu {

template <class T>
inline constexpr int kPairs = kLanes<T> / 2;  // complex numbers of a vector

/// A matrix of complex numbers to be packed: (depth, columns), its steps in numbers.
template <class T>
struct Unpacked {
  const T* data;
  std::int64_t depth_step, column_step;
  bool conjugate;
};

/// Numbers of a packed matrix of up to V vectors of columns: for each step of the depth V vectors of pairs, and one of their sums.
template <int V, class T>
inline constexpr std::int64_t kPackedStep = (V + 1) * kLanes<T>;

template <int V, class T>
inline void store_packed(Vector<T> first, Vector<T> second, Places<T> signs, T* to) {
  constexpr int L = kLanes<T>;
  first = with_signs<T>(first, signs), second = with_signs<T>(second, signs);
  store(to, first);
  if (V == 2) store(to + L, second);
  store(to + V * L, sums_of_pairs<T>(first, V == 2 ? second : first));
}

/// So many columns of x, at most V vectors of them; what lies behind them in a vector is of no meaning.
template <int V, class T>
inline void pack(const Unpacked<T>& x, std::int64_t depth, std::int64_t columns, T* packed) {
  constexpr int L = kLanes<T>, kStep = kPackedStep<V, T>;
  const Places<T> signs = signs_of_pairs<T>(false, x.conjugate);
  std::int64_t k = 0;
  if (x.column_step == 2) {
    for (; k < depth; ++k, packed += kStep) {
      const T* from = x.data + k * x.depth_step;
      const Vector<T> first = load_some(from, 2 * columns), second = V == 2 ? load_some(from + L, 2 * columns - L) : first;
      store_packed<V, T>(first, second, signs, packed);
    }
    return;
  }
  if constexpr (sizeof(T) == 4) {  // a complex number is as wide as a double: squares of them are turned in registers
    constexpr std::int64_t P = kPairs<T>;
    for (; x.depth_step == 2 && k < depth; k += P) {
      const std::int64_t count = std::min(P, depth - k);
      Vector<double> square[V][P];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
#pragma GCC unroll 8
        for (std::int64_t i = 0; i < P; ++i) {
          const T* from = x.data + std::min(v * P + i, columns - 1) * x.column_step + 2 * k;
          square[v][i] = load_some(reinterpret_cast<const double*>(from), count);
        }
        transpose<double>(square[v]);
      }
#pragma GCC unroll 8
      for (std::int64_t i = 0; i < P; ++i) {
        if (i < count) {
          const auto pairs = [&](int v) { return reinterpret_cast<Vector<T>>(square[v][i]); };
          store_packed<V, T>(pairs(0), pairs(V - 1), signs, packed + i * kStep);
        }
      }
      packed += count * kStep;
    }
  }
  for (; k < depth; ++k, packed += kStep) {
    T pairs[2 * L] = {};
    for (std::int64_t column = 0; column < columns; ++column) {
      const T* from = x.data + k * x.depth_step + column * x.column_step;
      pairs[2 * column] = from[0], pairs[2 * column + 1] = from[1];
    }
    store_packed<V, T>(load(pairs), load(pairs + L), signs, packed);
  }
}

/// c (H, numbers of columns) = start + a b, streamed where they fill their vectors and nothing is given; a packed as one vector for each
/// step of the depth and b as V: numbers fill all but the last.
template <int H, int V, bool kWhole, Start kStart, class T>
inline void packed_tile(std::int64_t depth, const T* a, const T* b, std::int64_t numbers, Rows<T> c, Storing storing) {
  constexpr int L = kLanes<T>;
  Vector<T> pairs[H][V], thirds[H];
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
    thirds[row] = Vector<T>{};
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) pairs[row][v] = Vector<T>{};
  }
  for (; depth > 0; --depth, a += kPackedStep<1, T>, b += kPackedStep<V, T>) {
    Vector<T> right[V + 1];
#pragma GCC unroll 3
    for (int v = 0; v <= V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 8
    for (int row = 0; row < H; ++row) {
      const Vector<T> pair = broadcast_pair(a + 2 * row);
      thirds[row] += a[L + 2 * row] * right[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) pairs[row][v] += pair * right[v];
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row, c.data += c.step) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const Vector<T> pq = pairs[row][v], r = v + 1 < V ? exchanged_pairs<T>(thirds[row]) : thirds[row];
      const std::int64_t count = kWhole ? L : numbers - v * L;
      Vector<T> sum = alternating<T>(pq, r - pq) - exchanged_pairs<T>(pq);
      if (kStart == Start::given) sum += load_some(c.data + v * L, count);
      if (kWhole && kStart == Start::zero && storing == Storing::streamed) {
        stream(c.data + v * L, sum);
      } else {
        store_some(c.data + v * L, sum, count);
      }
    }
  }
}

template <int H, int V, class T>
inline void packed_tile_of_height(std::int64_t height, std::int64_t depth, const T* a, const T* b, std::int64_t numbers, Start start,
                                  Rows<T> c, Storing storing) {
  if constexpr (H > kPairs<T>) {
    return;
  } else {
    if (height != H) return packed_tile_of_height<H + 1, V>(height, depth, a, b, numbers, start, c, storing);
    const bool whole = numbers == V * kLanes<T>;
    const auto tile = start == Start::zero ? (whole ? packed_tile<H, V, true, Start::zero, T> : packed_tile<H, V, false, Start::zero, T>)
                                           : (whole ? packed_tile<H, V, true, Start::given, T> : packed_tile<H, V, false, Start::given, T>);
    tile(depth, a, b, numbers, c, storing);
  }
}

}  // namespace trident::cpu
