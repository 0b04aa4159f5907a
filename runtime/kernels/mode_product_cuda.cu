#include "runtime/kernels/mode_product.h"

#include "runtime/kernels/cuda/complex_number.h"

namespace trident {
namespace {

using cuda::Complex;

constexpr int kModesOfBlock = 32, kTilesOfBlock = 8;

/// A warp takes 32 neighbouring modes and kTall x kWide numbers of the result at each; the warps of a block take tiles side by side, so
/// that what they share of the left matrix comes from the first-level cache. Weights are read once for every kTall rows.
template <class T, int kTall, int kWide>
__global__ void __launch_bounds__(kModesOfBlock* kTilesOfBlock)
    mode_product_kernel(ModeProduct size, const Complex<T>* a, const Complex<T>* b, Complex<T>* c) {
  const std::int64_t row_tiles = (size.m + kTall - 1) / kTall, column_tiles = (size.n + kWide - 1) / kWide;
  const std::int64_t column_groups = (column_tiles + kTilesOfBlock - 1) / kTilesOfBlock, task = blockIdx.x;
  const std::int64_t row = task % row_tiles * kTall;
  const std::int64_t column = (task / row_tiles % column_groups * kTilesOfBlock + threadIdx.y) * kWide;
  const std::int64_t mode = task / (row_tiles * column_groups) * kModesOfBlock + threadIdx.x;
  if (mode >= size.modes || column >= size.n) return;
  const T a_sign = size.conjugate_a ? T(-1) : T(1), b_sign = size.conjugate_b ? T(-1) : T(1);
  const Complex<T>* left[kTall];
  const Complex<T>* right[kWide];
  // Past the ends the last row and column are read again, and not written.
#pragma unroll
  for (int i = 0; i < kTall; ++i) left[i] = a + mode + min(row + i, size.m - 1) * size.a_m;
#pragma unroll
  for (int j = 0; j < kWide; ++j) right[j] = b + mode + min(column + j, size.n - 1) * size.b_n;
  Complex<T> sums[kTall][kWide] = {};
  for (std::int64_t k = 0; k < size.k; ++k) {
    Complex<T> x[kTall], y[kWide];
#pragma unroll
    for (int i = 0; i < kTall; ++i) x[i] = cuda::with_sign(left[i][k * size.a_k], a_sign);
#pragma unroll
    for (int j = 0; j < kWide; ++j) y[j] = cuda::with_sign(right[j][k * size.b_k], b_sign);
#pragma unroll
    for (int i = 0; i < kTall; ++i) {
#pragma unroll
      for (int j = 0; j < kWide; ++j) cuda::multiply_add(x[i], y[j], sums[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < kTall; ++i) {
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      if (row + i >= size.m || column + j >= size.n) continue;
      Complex<T>& to = c[mode + (row + i) * size.c_m + (column + j) * size.c_n];
      to = size.add ? Complex<T>{to.re + sums[i][j].re, to.im + sums[i][j].im} : sums[i][j];
    }
  }
}

template <class T, int kTall, int kWide>
void launch_mode_product(Cuda cuda, const ModeProduct& size, const Complex<T>* a, const Complex<T>* b, Complex<T>* c) {
  const std::int64_t column_tiles = (size.n + kWide - 1) / kWide;
  const std::int64_t blocks = (size.m + kTall - 1) / kTall * ((column_tiles + kTilesOfBlock - 1) / kTilesOfBlock) *
                              ((size.modes + kModesOfBlock - 1) / kModesOfBlock);
  cuda::launch_kernel(mode_product_kernel<T, kTall, kWide>, dim3(static_cast<unsigned>(blocks)), dim3(kModesOfBlock, kTilesOfBlock), 0,
                      cuda, size, a, b, c);
}

}  // namespace

template <class T>
void mode_product(Cuda cuda, const ModeProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  if (size.modes == 0 || size.m == 0 || size.n == 0) return;
  const auto *left = cuda::pairs(a), *right = cuda::pairs(b);
  if (size.m > 4) return launch_mode_product<T, 8, 4>(cuda, size, left, right, cuda::pairs(c));
  if (size.m > 1) return launch_mode_product<T, 4, 4>(cuda, size, left, right, cuda::pairs(c));
  launch_mode_product<T, 1, 4>(cuda, size, left, right, cuda::pairs(c));
}

#define TRIDENT_MODE_PRODUCT(T) \
  template void mode_product(Cuda, const ModeProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_MODE_PRODUCT(float)
TRIDENT_MODE_PRODUCT(double)

}  // namespace trident
