#include <algorithm>
#include <complex>

#include "runtime/kernels/complex_pairs.h"
#include "runtime/kernels/mode_product.h"

namespace trident {
namespace {

using cpu::kLanes;
using cpu::Vector;

template <class T>
constexpr int kModes = kLanes<T> / 2;  // complex numbers of a vector
constexpr std::int64_t kModesOfTask = 512;

template <class T>
Vector<T> real_parts(Vector<T> x) {
  cpu::Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = lane & ~1;
  return __builtin_shuffle(x, order);
}
template <class T>
Vector<T> imaginary_parts(Vector<T> x) {
  cpu::Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = lane | 1;
  return __builtin_shuffle(x, order);
}
/// (even, odd, even, odd, ...)
template <class T>
Vector<T> alternating(T even, T odd) {
  Vector<T> x;
  for (int lane = 0; lane < kLanes<T>; ++lane) x[lane] = (lane & 1) == 0 ? even : odd;
  return x;
}

/// Where a tile of matrices begins.
template <class T>
struct Corner {
  const T *a, *b;
  T* c;
};

/// M by N numbers of c at `count` modes, a vector or what is left of one.
template <int M, int N, bool kWhole, class T>
void tile(const ModeProduct& size, Corner<T> at, std::int64_t count, Vector<T> sign, Vector<T> result_sign) {
  Vector<T> sum[M][N] = {};
  const auto read = [&](const T* from) { return kWhole ? cpu::load(from) : cpu::load_some(from, 2 * count); };
  for (std::int64_t k = 0; k < size.k; ++k) {
    Vector<T> b[N], turned[N];
    for (int j = 0; j < N; ++j) {
      const T* from = at.b + 2 * (k * size.b_k + j * size.b_n);
      b[j] = read(from);
      if (kWhole) __builtin_prefetch(from + kLanes<T>);  // the next modes: neighbours lie a whole set of modes away
      turned[j] = cpu::exchanged_pairs<T>(b[j]);
    }
    for (int i = 0; i < M; ++i) {
      const Vector<T> a = read(at.a + 2 * (i * size.a_m + k * size.a_k));
      const Vector<T> re = real_parts<T>(a), im = imaginary_parts<T>(a) * sign;
      for (int j = 0; j < N; ++j) sum[i][j] += re * b[j] + im * turned[j];
    }
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
      const Vector<T> result = sum[i][j] * result_sign;
      T* to = at.c + 2 * (i * size.c_m + j * size.c_n);
      if (kWhole) {
        cpu::store(to, result);
      } else {
        for (std::int64_t lane = 0; lane < 2 * count; ++lane) to[lane] = result[static_cast<int>(lane)];
      }
    }
  }
}

template <int M, int N, class T>
void tile_of_modes(const ModeProduct& size, Corner<T> at, std::int64_t modes) {
  // conj(b) a = conj(b conj(a)): conjugates are signs of a's imaginary parts and of the result's.
  const bool turn_a = size.conjugate_a != size.conjugate_b;
  const Vector<T> sign = turn_a ? alternating<T>(1, -1) : alternating<T>(-1, 1);
  const Vector<T> result_sign = alternating<T>(1, size.conjugate_b ? -1 : 1);
  std::int64_t mode = 0;
  for (; mode + kModes<T> <= modes; mode += kModes<T>) {
    tile<M, N, true>(size, Corner<T>{at.a + 2 * mode, at.b + 2 * mode, at.c + 2 * mode}, kModes<T>, sign, result_sign);
  }
  if (mode < modes) tile<M, N, false>(size, Corner<T>{at.a + 2 * mode, at.b + 2 * mode, at.c + 2 * mode}, modes - mode, sign, result_sign);
}

template <int M, class T>
void tile_row(const ModeProduct& size, Corner<T> at, std::int64_t columns, std::int64_t modes) {
  if (columns == 4) return tile_of_modes<M, 4>(size, at, modes);
  if (columns >= 2) {
    tile_of_modes<M, 2>(size, at, modes);
    at.b += 4 * size.b_n, at.c += 4 * size.c_n, columns -= 2;
  }
  if (columns == 1) tile_of_modes<M, 1>(size, at, modes);
}

}  // namespace

template <class T>
void mode_product(Cpu, const ModeProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  constexpr std::int64_t kColumns = 4, kRows = 4;
  const std::int64_t spans = (size.modes + kModesOfTask - 1) / kModesOfTask, column_tiles = (size.n + kColumns - 1) / kColumns;
#pragma omp parallel for schedule(static) collapse(2) if (size.modes * size.m * size.n * size.k > 1 << 14)
  for (std::int64_t column_tile = 0; column_tile < column_tiles; ++column_tile) {
    for (std::int64_t span = 0; span < spans; ++span) {
      const std::int64_t mode = span * kModesOfTask, modes = std::min(kModesOfTask, size.modes - mode);
      const std::int64_t column = column_tile * kColumns, columns = std::min(kColumns, size.n - column);
      for (std::int64_t row = 0; row < size.m;) {
        const std::int64_t rows = size.m - row;
        const Corner<T> at{reinterpret_cast<const T*>(a + row * size.a_m + mode), reinterpret_cast<const T*>(b + column * size.b_n + mode),
                           reinterpret_cast<T*>(c + row * size.c_m + column * size.c_n + mode)};
        if (rows >= kRows) {
          tile_row<4>(size, at, columns, modes);
          row += 4;
        } else if (rows >= 2) {
          tile_row<2>(size, at, columns, modes);
          row += 2;
        } else {
          tile_row<1>(size, at, columns, modes);
          row += 1;
        }
      }
    }
  }
}

#define TRIDENT_MODE_PRODUCT(T) \
  template void mode_product(Cpu, const ModeProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_MODE_PRODUCT(float)
TRIDENT_MODE_PRODUCT(double)

}  // namespace trident
