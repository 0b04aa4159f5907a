// Operands lie anywhere, so nothing here is bound by memory but by the latency of reading it: tiles of c are computed from slices of both
// matrices in shared memory, and long sums, of which gradients of factors have few numbers, are cut into parts of several blocks.
#include "runtime/kernels/strided_product.h"

#include <algorithm>
#include <complex>

#include "runtime/kernels/cuda/complex_number.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident {
namespace {

using cuda::Complex;

constexpr int kThreads = 256, kSide = 16, kDepth = 16;

/// Steps through the loops that add up, or through the others; `index` counts their steps, the last loop fastest.
struct Place {
  std::int64_t a = 0, b = 0, c = 0;
};
__device__ inline Place place_of(const StridedProduct& size, bool adding, std::int64_t index) {
  Place place;
  for (int i = StridedProduct::kMostLoops - 1; i >= 0; --i) {
    const ProductLoop& loop = size.loops[static_cast<std::size_t>(i)];
    if (loop.extent == 1 || (loop.c == 0) != adding) continue;
    const std::int64_t step = index % loop.extent;
    index /= loop.extent;
    place.a += step * loop.a, place.b += step * loop.b, place.c += step * loop.c;
  }
  return place;
}

std::int64_t steps_of(const StridedProduct& size, bool adding) {
  std::int64_t steps = 1;
  for (const ProductLoop& loop : size.loops) {
    if (loop.extent != 1 && (loop.c == 0) == adding) steps *= loop.extent;
  }
  return steps;
}

/// A product's work: `matrices` of c, each number a sum of `depth` products, which are added up in `parts` of `part_depth`.
struct Cut {
  std::int64_t matrices, depth, parts, part_depth;
};

/// By the extents alone: as many parts as it takes to keep a GPU busy, none with fewer than 256 products.
Cut cut_of(const StridedProduct& size, std::int64_t tile) {
  constexpr std::int64_t kEnoughBlocks = 264, kFewestProducts = 256;
  const std::int64_t matrices = steps_of(size, false), depth = size.k * steps_of(size, true);
  const std::int64_t tiles = matrices * cuda::divided_up(size.m, tile) * cuda::divided_up(size.n, tile);
  const std::int64_t most =
      std::clamp<std::int64_t>(depth / kFewestProducts, 1, cuda::divided_up(kEnoughBlocks, std::max<std::int64_t>(tiles, 1)));
  const std::int64_t part_depth = std::max<std::int64_t>(cuda::divided_up(cuda::divided_up(depth, most), std::int64_t{kDepth}), 1) * kDepth;
  return {matrices, depth, std::max<std::int64_t>(cuda::divided_up(depth, part_depth), 1), part_depth};
}

/// A tile of kSide * kEach rows and columns for each block, of which a thread has kEach x kEach numbers.
template <class T, int kEach>
__global__ void __launch_bounds__(kThreads)
    strided_product_kernel(StridedProduct size, Cut cut, const Complex<T>* a, const Complex<T>* b, Complex<T>* c, Complex<T>* partial) {
  constexpr int kTile = kSide * kEach, kFetched = kTile * kDepth / kThreads;
  __shared__ Complex<T> a_tile[kDepth][kTile + 1], b_tile[kDepth][kTile + 1];
  __shared__ std::int64_t a_at[kDepth], b_at[kDepth];
  const std::int64_t row_tiles = cuda::divided_up<std::int64_t>(size.m, kTile),
                     column_tiles = cuda::divided_up<std::int64_t>(size.n, kTile);
  const std::int64_t column = blockIdx.x % column_tiles * kTile, row = blockIdx.x / column_tiles % row_tiles * kTile;
  const std::int64_t task = blockIdx.x / (column_tiles * row_tiles), part = task % cut.parts, matrix = task / cut.parts;
  const std::int64_t begin = part * cut.part_depth, end = min(begin + cut.part_depth, cut.depth);
  const Place apart = place_of(size, false, matrix);
  const T a_sign = size.conjugate_a ? T(-1) : T(1), b_sign = size.conjugate_b ? T(-1) : T(1);
  const bool a_deep = size.a_k == 1, b_deep = size.b_k == 1 && size.b_n != 1;
  const int thread = static_cast<int>(threadIdx.x), x = thread % kSide, y = thread / kSide;

  Complex<T> sums[kEach][kEach] = {};
  for (std::int64_t first = begin; first < end; first += kDepth) {
    if (thread < kDepth && first + thread < end) {
      const std::int64_t k = (first + thread) % size.k;
      const Place at = place_of(size, true, (first + thread) / size.k);
      a_at[thread] = apart.a + at.a + k * size.a_k, b_at[thread] = apart.b + at.b + k * size.b_k;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kFetched; ++i) {
      const int place = thread + i * kThreads;
      const auto fetch = [&](bool deep, const Complex<T>* from, const std::int64_t* at, std::int64_t tile_begin, std::int64_t extent,
                             std::int64_t stride, T sign, Complex<T>(*tile)[kTile + 1]) {
        const int across = deep ? place / kDepth : place % kTile, depth = deep ? place % kDepth : place / kTile;
        const bool inside = tile_begin + across < extent && first + depth < end;
        tile[depth][across] = inside ? cuda::with_sign(from[at[depth] + (tile_begin + across) * stride], sign) : Complex<T>{};
      };
      fetch(a_deep, a, a_at, row, size.m, size.a_m, a_sign, a_tile);
      fetch(b_deep, b, b_at, column, size.n, size.b_n, b_sign, b_tile);
    }
    __syncthreads();
#pragma unroll 4
    for (int depth = 0; depth < kDepth; ++depth) {
      Complex<T> left[kEach], right[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) left[i] = a_tile[depth][y + i * kSide], right[i] = b_tile[depth][x + i * kSide];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) cuda::multiply_add(left[i], right[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  const bool ends = cut.parts == 1, adds = ends && size.add;
  Complex<T>* to = ends ? c + apart.c : partial + task * size.m * size.n;
  const std::int64_t row_step = ends ? size.c_m : size.n, column_step = ends ? size.c_n : 1;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const std::int64_t own_row = row + y + i * kSide, own_column = column + x + j * kSide;
      if (own_row >= size.m || own_column >= size.n) continue;
      Complex<T>& number = to[own_row * row_step + own_column * column_step];
      number = adds ? number + sums[i][j] : sums[i][j];
    }
  }
}

/// The parts of each number, in their order.
template <class T>
__global__ void __launch_bounds__(kThreads) add_parts_kernel(StridedProduct size, Cut cut, const Complex<T>* partial, Complex<T>* c) {
  const std::int64_t numbers = size.m * size.n, i = cuda::grid_thread(), matrix = i / numbers, place = i % numbers;
  if (matrix >= cut.matrices) return;
  Complex<T> sum{};
  for (std::int64_t part = 0; part < cut.parts; ++part) sum = sum + partial[(matrix * cut.parts + part) * numbers + place];
  Complex<T>& number = c[place_of(size, false, matrix).c + place / size.n * size.c_m + place % size.n * size.c_n];
  number = size.add ? number + sum : sum;
}

template <int kEach, class T>
void launch_product(Cuda cuda, const StridedProduct& size, const Complex<T>* a, const Complex<T>* b, Complex<T>* c) {
  constexpr std::int64_t kTile = kSide * kEach;
  const Cut cut = cut_of(size, kTile);
  const std::int64_t numbers = cut.matrices * size.m * size.n;
  const Block memory = cuda::workspace(cuda, cut.parts == 1 ? 0 : static_cast<std::size_t>(numbers * cut.parts) * sizeof(Complex<T>));
  auto* partial = static_cast<Complex<T>*>(memory.data());
  const std::int64_t blocks = cut.matrices * cut.parts * cuda::divided_up(size.m, kTile) * cuda::divided_up(size.n, kTile);
  cuda::launch_kernel(strided_product_kernel<T, kEach>, dim3(static_cast<unsigned>(blocks)), kThreads, 0, cuda, size, cut, a, b, c,
                      partial);
  if (cut.parts == 1) return;
  cuda::launch_kernel(add_parts_kernel<T>, dim3(static_cast<unsigned>(cuda::divided_up<std::int64_t>(numbers, kThreads))), kThreads, 0,
                      cuda, size, cut, static_cast<const Complex<T>*>(partial), c);
}

}  // namespace

template <class T>
void strided_product(Cuda cuda, const StridedProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  if (size.m > 32 && size.n > 32) return launch_product<4>(cuda, size, cuda::pairs(a), cuda::pairs(b), cuda::pairs(c));
  launch_product<2>(cuda, size, cuda::pairs(a), cuda::pairs(b), cuda::pairs(c));
}

#define TRIDENT_STRIDED_PRODUCT(T) \
  template void strided_product(Cuda, const StridedProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_STRIDED_PRODUCT(float)
TRIDENT_STRIDED_PRODUCT(double)

}  // namespace trident
