/// Sums of products of complex numbers that lie side by side: dots of rows of one matrix and columns of another. Each product is four real
/// ones: the sums that three need would cost more here, where a number meets few others.
#pragma once

#include <algorithm>
#include <bit>
#include <span>

#include "runtime/kernels/complex_pairs.h"
#include "runtime/kernels/fetch_ahead.h"
#include "runtime/kernels/lane_sums.h"

namespace trident::cpu {

inline constexpr std::int64_t kFewRows = 2;        // as a tile of them has, if it is the only one
inline constexpr std::int64_t kColumnsAhead = 16;  // that memory is asked for then

/// Where a run of numbers to be summed begins in both matrices, and how many numbers they are.
struct DotRun {
  std::int64_t a, b, numbers;
};

/// Rows of a and columns of b, and c, of whose numbers each is a dot, perhaps added to what it is; steps in numbers.
template <class T>
struct Dots {
  Rows<const T> a, b;
  bool conjugate_a, conjugate_b;
  Rows<T> c;
  Start start;
};

/// M by N numbers of c; `ahead`: what comes after the runs.
template <int M, int N, class T>
inline void dots(const Dots<T>& x, std::span<const DotRun> runs, Ahead<T>& ahead) {
  constexpr int L = kLanes<T>, kTogether = std::min<int>(std::bit_ceil(static_cast<unsigned>(M * N)), L);
  constexpr int kSums = (M * N + kTogether - 1) / kTogether * kTogether;
  Vector<T> same[kSums], crossed[kSums];  // (re re, im im) and (im re, re im) of every pair
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) same[i] = crossed[i] = Vector<T>{};
  for (const DotRun& run : runs) {
    const T *rows = x.a.data + run.a, *columns = x.b.data + run.b;
    for (std::int64_t left = run.numbers; left > 0; left -= L, rows += L, columns += L) {
      Vector<T> row[M], exchanged[M];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        row[m] = load_some(rows + m * x.a.step, left);
        exchanged[m] = exchanged_pairs<T>(row[m]);
      }
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        if (M <= kFewRows) fetch_line(columns + (n + kColumnsAhead) * x.b.step);  // no other rows have fetched those
        const Vector<T> column = in_register(load_some(columns + n * x.b.step, left));
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          same[m * N + n] += row[m] * column;
          crossed[m * N + n] += exchanged[m] * column;
        }
      }
      ahead.ask();
    }
  }
  const bool differ = x.conjugate_a != x.conjugate_b;
  const Places<T> of_same = signs_of_pairs<T>(false, !differ), of_crossed = signs_of_pairs<T>(x.conjugate_a, x.conjugate_b);
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) {
    same[i] = with_signs<T>(same[i], of_same);
    crossed[i] = with_signs<T>(crossed[i], of_crossed);
  }
#pragma GCC unroll 4
  for (int first = 0; first < M * N; first += kTogether) {
    const Vector<T> re = sums_of_lanes<kTogether, T>(same + first), im = sums_of_lanes<kTogether, T>(crossed + first);
    for (int i = first; i < std::min(M * N, first + kTogether); ++i) {
      T* to = x.c.data + i / N * x.c.step + 2 * (i % N);
      to[0] = x.start == Start::given ? to[0] + re[i - first] : re[i - first];
      to[1] = x.start == Start::given ? to[1] + im[i - first] : im[i - first];
    }
  }
}

/// As many columns as there are, up to N.
template <int M, int N, class T>
inline void dots_of_columns(const Dots<T>& x, std::int64_t columns, std::span<const DotRun> runs, Ahead<T>& ahead) {
  if (columns >= N) return dots<M, N>(x, runs, ahead);
  if constexpr (N > 1) dots_of_columns<M, N - 1>(x, columns, runs, ahead);
}

/// All columns of M rows, or of those that there are.
template <int M, class T>
inline void dots_of_rows(Dots<T> x, std::int64_t rows, std::int64_t columns, std::span<const DotRun> runs, Ahead<T>& ahead) {
  constexpr int kWide = kVectorBytes == 64 ? 4 : 2;
  if (rows < M) {
    if constexpr (M > 1) dots_of_rows<M - 1>(x, rows, columns, runs, ahead);
    return;
  }
  for (std::int64_t column = 0; column < columns; column += kWide, x.b.data += kWide * x.b.step, x.c.data += 2 * kWide)
    dots_of_columns<M, kWide>(x, columns - column, runs, ahead);
}

/// (rows, columns) of c.
template <class T>
inline void all_dots(Dots<T> x, std::int64_t rows, std::int64_t columns, std::span<const DotRun> runs, Ahead<T>& ahead) {
  constexpr int kTall = kVectorBytes == 64 ? 3 : 2;  // with two sums for each number of c, 24 registers
  for (std::int64_t row = 0; row < rows; row += kTall, x.a.data += kTall * x.a.step, x.c.data += kTall * x.c.step)
    dots_of_rows<kTall>(x, rows - row, columns, runs, ahead);
}

}  // namespace trident::cpu
