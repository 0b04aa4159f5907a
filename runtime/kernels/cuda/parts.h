/// Sums of parts that blocks have added up by themselves, and of the columns of a matrix: in an order that depends on the sizes alone.
#pragma once

#include "runtime/kernels/cuda/joint_sums.h"
#include "runtime/kernels/into.h"

namespace trident::cuda {

/// Parts (parts, count). The first `split` sums go to one place, the others to another.
struct Parts {
  std::int64_t parts = 0, count = 0;
  std::int64_t split = count;
  Sum sum = Sum::replaces;
};

inline constexpr int kPartColumns = 32, kPartRows = 16;

template <class From, class To>
__global__ void __launch_bounds__(kPartColumns* kPartRows) add_parts_kernel(Parts size, const From* from, To* first, To* second) {
  __shared__ double partial[kPartRows][kPartColumns];
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kPartColumns + threadIdx.x;
  double sum = 0;
  if (i < size.count) {
    for (std::int64_t part = threadIdx.y; part < size.parts; part += kPartRows) sum += static_cast<double>(from[part * size.count + i]);
  }
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= size.count) return;
  for (int row = 1; row < kPartRows; ++row) sum += partial[row][threadIdx.x];
  To& to = i < size.split ? first[i] : second[i - size.split];
  to = size.sum == Sum::adds ? to + static_cast<To>(sum) : static_cast<To>(sum);
}

/// first (split,) and second (count - split,) = or += the sums over the parts.
template <class From, class To>
void add_parts(Cuda device, const Parts& size, const From* from, To* first, To* second = nullptr) {
  launch_kernel(add_parts_kernel<From, To>, static_cast<unsigned>(divided_up<std::int64_t>(size.count, kPartColumns)),
                dim3(kPartColumns, kPartRows), 0, device, size, from, first, second);
}

inline constexpr int kColumnThreads = 256, kColumnRows = kColumnThreads / kWarp;

/// sums (width,) = or += what the threads of all blocks (x, y) have found for columns: each for N of them, those of block x for the same,
/// `lanes` lanes side by side and then the next rows. All threads call it, once.
template <int N, class C>
__device__ __forceinline__ void add_columns(C (&sum)[N], int lanes, std::int64_t width, const JointSums<C>& joint, const Into<C>& sums) {
  __shared__ C shared[kColumnRows][kWarp * N];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, count = lanes * N;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    for (int bit = lanes; bit < kWarp; bit *= 2) sum[i] += __shfl_xor_sync(kAllLanes, sum[i], bit);  // other rows of the same columns
    if (lane < lanes) shared[warp][i * lanes + lane] = sum[i];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kColumnThreads) {
    C total = shared[0][i];
    for (int other = 1; other < kColumnRows; ++other) total += shared[other][i];
    joint.part(blockIdx.x, blockIdx.y)[i] = total;
  }
  add_up(joint, blockIdx.x, blockIdx.y, [&](std::int64_t i, C total) {
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * count + i % lanes * N + i / lanes;
    if (column < width) sums.to[column] = sums.sum == Sum::adds ? sums.to[column] + total : total;
  });
}

/// How the columns of a matrix are added up: `lanes` lanes have N columns each, `rows` rows of them a block, block (x, y) the columns x and
/// the rows [y part_rows, ...).
struct ColumnSplit {
  int lanes = 1, rows;
  std::int64_t columns, parts, part_rows;

  ColumnSplit(std::int64_t matrix_rows, std::int64_t width, int n) {
    constexpr std::int64_t kEnoughBlocks = 528, kRounds = 8;
    while (lanes < kWarp && lanes * n < width) lanes *= 2;
    rows = kColumnThreads / lanes;
    columns = divided_up<std::int64_t>(width, lanes * n);
    const std::int64_t most_parts = std::max<std::int64_t>(1, kEnoughBlocks / std::max<std::int64_t>(1, columns));
    part_rows = std::max(divided_up(matrix_rows, most_parts), kRounds * rows);
    parts = std::max<std::int64_t>(1, divided_up(matrix_rows, part_rows));
  }
  dim3 grid() const { return {static_cast<unsigned>(columns), static_cast<unsigned>(parts)}; }

  /// Calls visit(where) for the vectors of N numbers of this thread, which all lie in the same columns, in a matrix (matrix_rows, width).
  template <int N, class Visit>
  __device__ __forceinline__ void for_each_vector(std::int64_t matrix_rows, std::int64_t width, Visit visit) const {
    const std::int64_t column = (static_cast<std::int64_t>(blockIdx.x) * lanes + static_cast<int>(threadIdx.x) % lanes) * N;
    const std::int64_t first = blockIdx.y * part_rows, last = min(matrix_rows, first + part_rows);
    if (column >= width) return;
#pragma unroll 2
    for (std::int64_t row = first + static_cast<int>(threadIdx.x) / lanes; row < last; row += rows) visit(row * width + column);
  }
};

/// sums (width,) = or += the sums over the rows of x (rows, width).
template <class T, int N>
__global__ void __launch_bounds__(kColumnThreads) column_sums_kernel(ColumnSplit split, std::int64_t rows, std::int64_t width, const T* x,
                                                                     JointSums<Compute<T>> joint, Into<Compute<T>> sums) {
  Compute<T> sum[N] = {};
  split.for_each_vector<N>(rows, width, [&](std::int64_t at) {
    const auto values = load<N>(x + at);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += compute(values[i]);
  });
  add_columns(sum, split.lanes, width, joint, sums);
}

template <class T>
void column_sums(Cuda device, std::int64_t rows, std::int64_t width, const T* x, Compute<T>* sums, Sum sum = Sum::replaces) {
  const auto launch = [&](auto n) {
    const ColumnSplit split(rows, width, n());
    const JointMemory<Compute<T>> memory(device, split.columns, split.parts, split.lanes * n());
    launch_kernel(column_sums_kernel<T, n()>, split.grid(), kColumnThreads, 0, device, split, rows, width, x, memory.sums(),
                  Into<Compute<T>>{sums, sum});
  };
  if (fits_vectors<kVectorWidth<T>>(width, x)) return launch(std::integral_constant<int, kVectorWidth<T>>{});
  launch(std::integral_constant<int, 1>{});
}

}  // namespace trident::cuda
