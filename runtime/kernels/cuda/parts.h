/// Sums of parts that blocks have added up by themselves, and of the columns of a matrix: in an order that depends on the sizes alone.
#pragma once

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/cuda/workspace.h"
#include "runtime/kernels/into.h"

namespace trident::cuda {

/// Parts (batch, parts, count). The first `split` sums of each of the batch go to one place, the others to another.
struct Parts {
  std::int64_t batch = 1, parts = 0, count = 0;
  std::int64_t split = count;
  Sum sum = Sum::replaces;
};

inline constexpr int kPartColumns = 32, kPartRows = 16;

template <class From, class To>
__global__ void __launch_bounds__(kPartColumns* kPartRows) add_parts_kernel(Parts size, const From* from, To* first, To* second) {
  __shared__ double partial[kPartRows][kPartColumns];
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kPartColumns + threadIdx.x, sample = blockIdx.y;
  double sum = 0;
  if (i < size.count) {
    for (std::int64_t part = threadIdx.y; part < size.parts; part += kPartRows)
      sum += static_cast<double>(from[(sample * size.parts + part) * size.count + i]);
  }
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= size.count) return;
  for (int row = 1; row < kPartRows; ++row) sum += partial[row][threadIdx.x];
  To& to = i < size.split ? first[sample * size.split + i] : second[sample * (size.count - size.split) + i - size.split];
  to = size.sum == Sum::adds ? to + static_cast<To>(sum) : static_cast<To>(sum);
}

/// first (batch, split) and second (batch, count - split) = the sums over the parts.
template <class From, class To>
void add_parts(Cuda device, const Parts& size, const From* from, To* first, To* second = nullptr) {
  const dim3 grid(static_cast<unsigned>(divided_up<std::int64_t>(size.count, kPartColumns)), static_cast<unsigned>(size.batch));
  launch_kernel(add_parts_kernel<From, To>, grid, dim3(kPartColumns, kPartRows), 0, device, size, from, first, second);
}

inline constexpr int kColumnThreads = 256, kColumnRows = kColumnThreads / kWarp;

/// parts[blockIdx.y] (width,) gets the sums over a block's warps of each lane's N columns from `column` on. All threads call it, once.
template <int N, class C>
__device__ __forceinline__ void add_warps(C (&sum)[N], std::int64_t column, std::int64_t width, C* parts) {
  __shared__ C shared[kColumnRows][kWarp * N];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int i = 0; i < N; ++i) shared[warp][i * kWarp + lane] = sum[i];
  __syncthreads();
  if (warp != 0 || column >= width) return;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    for (int row = 1; row < kColumnRows; ++row) sum[i] += shared[row][i * kWarp + lane];
    parts[blockIdx.y * width + column + i] = sum[i];
  }
}

/// Sums of rows [blockIdx.y * part_rows, ...) of x (rows, width) for a warp's width of vectors of N columns.
template <class T, int N>
__global__ void __launch_bounds__(kColumnThreads)
    column_parts_kernel(std::int64_t rows, std::int64_t width, std::int64_t part_rows, const T* x, Compute<T>* parts) {
  using C = Compute<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.x) * kWarp + lane) * N, first = blockIdx.y * part_rows;
  C sum[N] = {};
  if (column < width) {
    for (std::int64_t row = first + warp; row < min(rows, first + part_rows); row += kColumnRows) {
      const auto values = load<N>(x + row * width + column);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += compute(values[i]);
    }
  }
  add_warps(sum, column, width, parts);
}

/// sums (width,) = or += the sums over the rows of x (rows, width).
template <class T>
void column_sums(Cuda device, std::int64_t rows, std::int64_t width, const T* x, Compute<T>* sums, Sum sum = Sum::replaces) {
  constexpr std::int64_t kFewestRows = 256, kMostParts = 512;
  const std::int64_t part_rows = std::max(kFewestRows, divided_up(rows, kMostParts)), parts = divided_up(rows, part_rows);
  const Block memory = workspace(device, static_cast<std::size_t>(parts * width) * sizeof(Compute<T>));
  auto* partial = static_cast<Compute<T>*>(memory.data());
  const auto launch = [&](auto n) {
    const dim3 grid(static_cast<unsigned>(divided_up<std::int64_t>(width, n() * kWarp)), static_cast<unsigned>(parts));
    launch_kernel(column_parts_kernel<T, n()>, grid, kColumnThreads, 0, device, rows, width, part_rows, x, partial);
  };
  if (fits_vectors<kVectorWidth<T>>(width, x)) {
    launch(std::integral_constant<int, kVectorWidth<T>>{});
  } else {
    launch(std::integral_constant<int, 1>{});
  }
  add_parts(device, {.parts = parts, .count = width, .sum = sum}, partial, sums);
}

}  // namespace trident::cuda
