#include <limits>

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/reduce.h"
#include "runtime/ops/reduce.h"

namespace trident {
namespace {

constexpr int kThreads = 256;
// As on the CPU: the workspaces are sized for blocks no smaller than these.
constexpr std::int64_t kBlock = 1 << 13;  // elements of a run that a block of threads adds up
constexpr std::int64_t kThreadRows = 64;  // rows that a thread adds up

template <class T>
__device__ __forceinline__ double wide(T x) {
  return static_cast<double>(cuda::compute(x));
}

/// The sum of value(i) for i in [0, count): each thread's in ascending order, then the threads'.
template <class Value>
__device__ __forceinline__ double sum_over(std::int64_t count, Value value) {
  double total = 0;
#pragma unroll 4
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) total += value(i);
  return cuda::block_sum<kThreads>(total);
}

// ---- runs of neighbours ----

/// y (outer,) of runs (outer, count): a warp for each. From: T, or f64 where the runs are sums of blocks.
template <class From, class T>
__global__ void __launch_bounds__(kThreads) sum_by_warps(std::int64_t outer, std::int64_t count, const From* x, T* y) {
  const std::int64_t warps = cuda::grid_threads() / cuda::kWarp;
  const int lane = static_cast<int>(threadIdx.x % cuda::kWarp);
  for (std::int64_t run = cuda::grid_thread() / cuda::kWarp; run < outer; run += warps) {
    double total = 0;
    for (std::int64_t i = lane; i < count; i += cuda::kWarp) total += wide(x[run * count + i]);
    total = cuda::warp_sum(total);
    if (lane == 0) y[run] = static_cast<T>(total);
  }
}

/// A block for every kBlock elements of a run.
template <class T>
__global__ void __launch_bounds__(kThreads)
    sum_run_blocks(std::int64_t tasks, std::int64_t blocks, std::int64_t count, const T* x, double* partial) {
  for (std::int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const std::int64_t begin = task % blocks * kBlock;
    const T* from = x + task / blocks * count + begin;
    const double total = sum_over(min(kBlock, count - begin), [=](std::int64_t i) { return wide(from[i]); });
    if (threadIdx.x == 0) partial[task] = total;
  }
}

template <class T>
void sum_runs(Cuda cuda, const SumExtents& extents, const T* x, double* workspace, Wide<T>* y) {
  constexpr std::int64_t kShort = 1024;
  const unsigned grid = cuda::strided_grid(extents.outer, kThreads / cuda::kWarp);
  if (extents.count <= kShort) {
    return cuda::launch_kernel(sum_by_warps<T, Wide<T>>, grid, kThreads, 0, cuda, extents.outer, extents.count, x, y);
  }
  const std::int64_t blocks = cuda::divided_up(extents.count, kBlock), tasks = extents.outer * blocks;
  cuda::launch_kernel(sum_run_blocks<T>, cuda::strided_grid(tasks, 1), kThreads, 0, cuda, tasks, blocks, extents.count, x, workspace);
  cuda::launch_kernel(sum_by_warps<double, Wide<T>>, grid, kThreads, 0, cuda, extents.outer, blocks, workspace, y);
}

// ---- rows added to one another ----

/// A block has `columns` threads for neighbouring columns (a power of two) and the others for rows: it adds up `rows` rows of a slab.
struct RowBlocks {
  std::int64_t outer, count, inner;
  int columns;
  std::int64_t rows;
  std::int64_t blocks, column_blocks;  // of a slab
};

template <class T>
__global__ void __launch_bounds__(kThreads) sum_row_blocks(RowBlocks size, const T* x, double* partial) {
  __shared__ double sums[kThreads];
  const int column_in_block = static_cast<int>(threadIdx.x) % size.columns, row_in_block = static_cast<int>(threadIdx.x) / size.columns;
  const int row_threads = kThreads / size.columns;
  for (std::int64_t task = blockIdx.x; task < size.outer * size.blocks * size.column_blocks; task += gridDim.x) {
    const std::int64_t column = task % size.column_blocks * size.columns + column_in_block;
    const std::int64_t block = task / size.column_blocks % size.blocks, slab = task / size.column_blocks / size.blocks;
    const std::int64_t last = min(size.count, (block + 1) * size.rows);
    double total = 0;
    if (column < size.inner) {
      const T* from = x + slab * size.count * size.inner + column;
#pragma unroll 4
      for (std::int64_t row = block * size.rows + row_in_block; row < last; row += row_threads) total += wide(from[row * size.inner]);
    }
    __syncthreads();
    sums[threadIdx.x] = total;
    __syncthreads();
    if (row_in_block != 0 || column >= size.inner) continue;
    for (int row = 1; row < row_threads; ++row) total += sums[row * size.columns + column_in_block];
    partial[(slab * size.blocks + block) * size.inner + column] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) add_row_blocks(RowBlocks size, const double* partial, T* y) {
  for (std::int64_t i = cuda::grid_thread(); i < size.outer * size.inner; i += cuda::grid_threads()) {
    const double* from = partial + i / size.inner * size.blocks * size.inner + i % size.inner;
    double total = 0;
    for (std::int64_t block = 0; block < size.blocks; ++block) total += from[block * size.inner];
    y[i] = static_cast<T>(total);
  }
}

template <class T>
void sum_rows(Cuda cuda, const SumExtents& extents, const T* x, double* workspace, Wide<T>* y) {
  RowBlocks size{extents.outer, extents.count, extents.inner, 1, 0, 0, 0};
  while (size.columns < kThreads && size.columns < extents.inner) size.columns *= 2;
  size.rows = kThreadRows * (kThreads / size.columns);
  size.blocks = cuda::divided_up(size.count, size.rows);
  size.column_blocks = cuda::divided_up(size.inner, static_cast<std::int64_t>(size.columns));
  cuda::launch_kernel(sum_row_blocks<T>, cuda::strided_grid(size.outer * size.blocks * size.column_blocks, 1), kThreads, 0, cuda, size, x,
                      workspace);
  cuda::launch_kernel(add_row_blocks<Wide<T>>, cuda::strided_grid(size.outer * size.inner, kThreads), kThreads, 0, cuda, size, workspace,
                      y);
}

// ---- errors ----

constexpr int kMostGroups = 128;
/// The groups as a kernel's argument.
struct Groups {
  int count = 0, first[kMostGroups], last[kMostGroups];
};

Groups groups_of(const ErrorExtents& extents) {
  if (extents.num_groups > kMostGroups) {
    throw ShapeError(concat("error_sums: ", extents.num_groups, " groups of channels; a GPU takes at most ", kMostGroups));
  }
  Groups groups{};
  groups.count = static_cast<int>(extents.num_groups);
  for (int index = 0; index < groups.count; ++index) {
    groups.first[index] = extents.groups[index].first;
    groups.last[index] = extents.groups[index].last;
  }
  return groups;
}

struct Planes {
  std::int64_t batch, channels, points, blocks;  // blocks: of kBlock points
  int power;
};
Planes planes_of(const ErrorExtents& e) { return {e.batch, e.channels, e.points, cuda::divided_up(e.points, kBlock), e.power}; }

template <class T>
__global__ void __launch_bounds__(kThreads) error_blocks(Planes size, const T* a, const T* b, double* partial) {
  for (std::int64_t task = blockIdx.x; task < size.batch * size.channels * size.blocks; task += gridDim.x) {
    const std::int64_t begin = task % size.blocks * kBlock, offset = task / size.blocks * size.points + begin;
    const double total = sum_over(min(kBlock, size.points - begin), [=](std::int64_t i) {
      const T difference = b == nullptr ? a[offset + i] : a[offset + i] - b[offset + i];
      return wide(size.power == 1 ? fabs(difference) : difference * difference);
    });
    if (threadIdx.x == 0) partial[task] = total;
  }
}

/// A block for every group.
template <class T>
__global__ void __launch_bounds__(kThreads) add_error_blocks(Planes size, Groups groups, const double* partial, T* sums) {
  const int group = static_cast<int>(blockIdx.x);
  const std::int64_t first = groups.first[group], width = (groups.last[group] - first) * size.blocks;
  const double total =
      sum_over(size.batch * width, [=](std::int64_t i) { return partial[(i / width * size.channels + first) * size.blocks + i % width]; });
  if (threadIdx.x == 0) sums[group] = static_cast<T>(total);
}

template <class T>
__global__ void __launch_bounds__(kThreads) error_gradient(Planes size, Groups groups, const T* a, const T* b, const T* dsums, T* da) {
  for (std::int64_t task = blockIdx.x; task < size.batch * size.channels * size.blocks; task += gridDim.x) {
    const int channel = static_cast<int>(task / size.blocks % size.channels);
    T factor = 0;
    for (int group = 0; group < groups.count; ++group) {
      if (channel >= groups.first[group] && channel < groups.last[group]) factor += dsums[group];
    }
    const std::int64_t begin = task % size.blocks * kBlock, offset = task / size.blocks * size.points + begin;
    const std::int64_t count = min(kBlock, size.points - begin);
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
      const T difference = b == nullptr ? a[offset + i] : a[offset + i] - b[offset + i];
      da[offset + i] = factor * (size.power == 2 ? T(2) * difference : difference > T(0) ? T(1) : difference < T(0) ? T(-1) : T(0));
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) find_not_finite(std::int64_t count, const T* x, bool* finite) {
  bool bad = false;
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads())
    bad = bad || !(fabs(x[i]) <= std::numeric_limits<T>::max());
  if (bad) *finite = false;  // whoever finds one writes the same
}
__global__ void set_true(bool* finite) { *finite = true; }

}  // namespace

template <class T>
void sum_middle(Cuda cuda, const SumExtents& extents, const T* x, double* workspace, Wide<T>* y) {
  if (extents.inner > 1) return sum_rows(cuda, extents, x, workspace, y);
  sum_runs(cuda, extents, x, workspace, y);
}

template <class T>
void error_sums(Cuda cuda, const ErrorExtents& extents, const T* a, const T* b, double* workspace, T* sums) {
  const Planes size = planes_of(extents);
  cuda::launch_kernel(error_blocks<T>, cuda::strided_grid(size.batch * size.channels * size.blocks, 1), kThreads, 0, cuda, size, a, b,
                      workspace);
  const Groups groups = groups_of(extents);
  cuda::launch_kernel(add_error_blocks<T>, static_cast<unsigned>(groups.count), kThreads, 0, cuda, size, groups, workspace, sums);
}

template <class T>
void error_sums_gradient(Cuda cuda, const ErrorExtents& extents, const T* a, const T* b, const T* dsums, T* da) {
  const Planes size = planes_of(extents);
  cuda::launch_kernel(error_gradient<T>, cuda::strided_grid(size.batch * size.channels * size.blocks, 1), kThreads, 0, cuda, size,
                      groups_of(extents), a, b, dsums, da);
}

template <class T>
void all_finite(Cuda cuda, std::int64_t count, const T* x, bool* finite) {
  cuda::launch_kernel(set_true, 1, 1, 0, cuda, finite);
  cuda::launch_kernel(find_not_finite<T>, cuda::strided_grid(count, kThreads * 8), kThreads, 0, cuda, count, x, finite);
}

#define TRIDENT_REDUCE(T)                                                                         \
  template void sum_middle(Cuda, const SumExtents&, const T*, double*, T*);                       \
  template void error_sums(Cuda, const ErrorExtents&, const T*, const T*, double*, T*);           \
  template void error_sums_gradient(Cuda, const ErrorExtents&, const T*, const T*, const T*, T*); \
  template void all_finite(Cuda, std::int64_t, const T*, bool*);
TRIDENT_REDUCE(float)
TRIDENT_REDUCE(double)
template void sum_middle(Cuda, const SumExtents&, const bf16*, double*, float*);

}  // namespace trident
