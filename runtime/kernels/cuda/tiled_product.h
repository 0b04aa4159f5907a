/// Products of many matrices with any strides, real (f32, f64, bf16 added up in f32) or complex, with what follows applied to each number
/// where it is computed.
///
/// A block computes a tile of the result: 256 threads of kTall x kWide numbers each, in registers. Slices of both matrices pass through
/// shared memory; the next one is fetched while the current one is multiplied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "runtime/kernels/cuda/complex_number.h"

namespace trident::cuda {

/// C[i] (m, n) = A[i] (m, k) B[i] (k, n), i < batch. Strides in numbers. With parts > 1 the sum is cut into `parts` spans of `part_k`, and
/// the batch counts matrices times parts: C[matrix * parts + part] is one span's sum.
struct TiledProduct {
  std::int64_t batch = 1, m = 0, n = 0, k = 0;
  std::int64_t a_batch = 0, a_m = 0, a_k = 0;
  std::int64_t b_batch = 0, b_k = 0, b_n = 0;
  std::int64_t parts = 1, part_k = 0;  // part_k 0: all of k
  bool conjugate_a = false, conjugate_b = false;
};

/// Writes the numbers row-major, or adds them to what is there.
template <class T>
struct StoreRows {
  T* c;
  std::int64_t m, n;
  std::int64_t adds = 0;
  __device__ void operator()(std::int64_t batch, std::int64_t row, std::int64_t column, Compute<T> value) const {
    T& place = c[(batch * m + row) * n + column];
    place = stored<T>(adds != 0 ? compute(place) + value : value);
  }
};

inline constexpr int kProductThreads = 256, kProductSide = 16;

/// A tile of a matrix on its way to shared memory: kExtent numbers across by kDepth along the sum, converted on the way.
template <class T, int kExtent, int kDepth>
struct TileFetch {
  using Number = Compute<T>;
  static constexpr int kCount = kExtent * kDepth / kProductThreads;
  static constexpr int kStep = kExtent + 4;  // numbers between rows in shared memory: keeps vectors aligned, and writes off one bank
  Number held[kCount];

  /// `base` is the matrix's first number; the thread with consecutive places follows the matrix's dense direction.
  __device__ void fetch(const T* base, std::int64_t first, std::int64_t extent, std::int64_t stride, std::int64_t depth_first,
                        std::int64_t depth_end, std::int64_t depth_stride, bool along_depth, typename PartOf<Number>::type sign) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int place = static_cast<int>(threadIdx.x) + i * kProductThreads;
      const int across = along_depth ? place / kDepth : place % kExtent, depth = along_depth ? place % kDepth : place / kExtent;
      const std::int64_t row = first + across, k = depth_first + depth;
      held[i] = row < extent && k < depth_end ? with_sign(compute(base[row * stride + k * depth_stride]), sign) : Number{};
    }
  }

  __device__ void put(Number* tile, bool along_depth) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int place = static_cast<int>(threadIdx.x) + i * kProductThreads;
      const int across = along_depth ? place / kDepth : place % kExtent, depth = along_depth ? place % kDepth : place / kExtent;
      tile[depth * kStep + across] = held[i];
    }
  }
};

template <class A, class B, int kTall, int kWide, int kDepth, class Ending>
__global__ void __launch_bounds__(kProductThreads) tiled_product_kernel(TiledProduct size, const A* a, const B* b, Ending ending) {
  using Number = Compute<A>;
  using Part = typename PartOf<Number>::type;
  constexpr int kRows = kProductSide * kTall, kColumns = kProductSide * kWide;
  constexpr bool kBySlices = sizeof(Part) == 4;  // sums of f32 lose fewer digits as sums of short sums than number by number
  using FetchA = TileFetch<A, kRows, kDepth>;
  using FetchB = TileFetch<B, kColumns, kDepth>;
  alignas(16) __shared__ Number a_tile[kDepth * FetchA::kStep];
  alignas(16) __shared__ Number b_tile[kDepth * FetchB::kStep];

  const std::int64_t column_tiles = (size.n + kColumns - 1) / kColumns, row_tiles = (size.m + kRows - 1) / kRows;
  const std::int64_t tile = blockIdx.x;
  const std::int64_t first_column = tile % column_tiles * kColumns, first_row = tile / column_tiles % row_tiles * kRows;
  const std::int64_t batch = tile / (column_tiles * row_tiles), matrix = batch / size.parts, begin = batch % size.parts * size.part_k;
  const std::int64_t end = min(size.k, begin + size.part_k);
  const int x = static_cast<int>(threadIdx.x) % kProductSide, y = static_cast<int>(threadIdx.x) / kProductSide;
  const bool a_deep = size.a_k == 1, b_deep = size.b_k == 1 && size.b_n != 1;
  const Part a_sign = size.conjugate_a ? Part(-1) : Part(1), b_sign = size.conjugate_b ? Part(-1) : Part(1);
  a += matrix * size.a_batch;
  b += matrix * size.b_batch;

  Number sums[kTall][kWide] = {};
  FetchA next_a;
  FetchB next_b;
  next_a.fetch(a, first_row, size.m, size.a_m, begin, end, size.a_k, a_deep, a_sign);
  next_b.fetch(b, first_column, size.n, size.b_n, begin, end, size.b_k, b_deep, b_sign);
  for (std::int64_t k = begin; k < end; k += kDepth) {
    next_a.put(a_tile, a_deep);
    next_b.put(b_tile, b_deep);
    __syncthreads();
    if (k + kDepth < end) {
      next_a.fetch(a, first_row, size.m, size.a_m, k + kDepth, end, size.a_k, a_deep, a_sign);
      next_b.fetch(b, first_column, size.n, size.b_n, k + kDepth, end, size.b_k, b_deep, b_sign);
    }
    Number of_slice[kTall][kWide] = {};
    Number(&to)[kTall][kWide] = kBySlices ? of_slice : sums;
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
      Number left[kTall], right[kWide];
#pragma unroll
      for (int i = 0; i < kTall; ++i) left[i] = a_tile[depth * FetchA::kStep + y * kTall + i];
#pragma unroll
      for (int j = 0; j < kWide; ++j) right[j] = b_tile[depth * FetchB::kStep + j * kProductSide + x];
#pragma unroll
      for (int i = 0; i < kTall; ++i) {
#pragma unroll
        for (int j = 0; j < kWide; ++j) multiply_add(left[i], right[j], to[i][j]);
      }
    }
    if constexpr (kBySlices) {
#pragma unroll
      for (int i = 0; i < kTall; ++i) {
#pragma unroll
        for (int j = 0; j < kWide; ++j) sums[i][j] = sums[i][j] + of_slice[i][j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kTall; ++i) {
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      const std::int64_t row = first_row + y * kTall + i, column = first_column + j * kProductSide + x;
      if (row < size.m && column < size.n) ending(batch, row, column, sums[i][j]);
    }
  }
}

template <int kTall, int kWide, int kDepth, class A, class B, class Ending>
void launch_tiled_product(Cuda cuda, const TiledProduct& size, const A* a, const B* b, const Ending& ending) {
  constexpr std::int64_t kRows = kProductSide * kTall, kColumns = kProductSide * kWide;
  const std::int64_t tiles = (size.n + kColumns - 1) / kColumns * ((size.m + kRows - 1) / kRows) * size.batch;
  launch_kernel(tiled_product_kernel<A, B, kTall, kWide, kDepth, Ending>, dim3(static_cast<unsigned>(tiles)), dim3(kProductThreads), 0,
                cuda, size, a, b, ending);
}

/// Hands every number of the product to `ending(batch, row, column, value)`. Tiles are chosen by the shape alone.
template <class A, class B, class Ending>
void tiled_product(Cuda cuda, TiledProduct size, const A* a, const B* b, const Ending& ending) {
  static_assert(std::is_same_v<Compute<A>, Compute<B>>);
  if (size.batch == 0 || size.m == 0 || size.n == 0) return;
  if (size.part_k == 0) size.part_k = std::max<std::int64_t>(size.k, 1);
  if (size.n <= 32) return launch_tiled_product<8, 2, 16>(cuda, size, a, b, ending);
  if (size.m > 64 && size.n <= 64) return launch_tiled_product<8, 4, 16>(cuda, size, a, b, ending);
  if (size.m > 64 && size.n <= 80) return launch_tiled_product<8, 5, 16>(cuda, size, a, b, ending);
  if (size.n <= 64) return launch_tiled_product<4, 4, 16>(cuda, size, a, b, ending);
  launch_tiled_product<4, 8, 16>(cuda, size, a, b, ending);
}
template <class T, class Ending>
void tiled_product(Cuda cuda, TiledProduct size, const Complex<T>* a, const Complex<T>* b, const Ending& ending) {
  if (size.batch == 0 || size.m == 0 || size.n == 0) return;
  if (size.part_k == 0) size.part_k = std::max<std::int64_t>(size.k, 1);
  if (size.n <= 32) return launch_tiled_product<4, 2, 8>(cuda, size, a, b, ending);
  if (size.n <= 48) return launch_tiled_product<4, 3, 16>(cuda, size, a, b, ending);
  launch_tiled_product<4, 4, 8>(cuda, size, a, b, ending);
}

}  // namespace trident::cuda
