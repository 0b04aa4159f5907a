#include "runtime/kernels/relative_bias.h"

#include "runtime/kernels/cuda/parts.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

template <class T>
__global__ void __launch_bounds__(kThreads) bias_kernel(RelativeBiasSize size, const T* table, const std::int64_t* index, T* y) {
  for (std::int64_t i = grid_thread(); i < size.heads * size.pairs; i += grid_threads())
    y[i] = table[index[i % size.pairs] * size.heads + i / size.pairs];
}

/// Positions that a block adds up at a time: each warp has a sum of its own for each of them.
template <class T>
constexpr int kPositions = (40 << 10) / (kWarps * static_cast<int>(sizeof(T)));

/// The sum of the values of the lanes that have the same key as this one, in the order of lanes; only the first of them gets it.
template <class T>
__device__ __forceinline__ T sum_of_equals(std::int64_t key, T value, bool& is_first) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  unsigned rest = __match_any_sync(kAllLanes, key);
  is_first = __ffs(static_cast<int>(rest)) - 1 == lane;
  rest = is_first ? rest & (rest - 1) : 0;
  T sum = value;
  while (__any_sync(kAllLanes, rest != 0)) {
    const T other = __shfl_sync(kAllLanes, value, rest != 0 ? __ffs(static_cast<int>(rest)) - 1 : lane);
    if (rest != 0) sum += other;
    rest &= rest - 1;
  }
  return sum;
}

/// Block (head, part, range of positions): parts (gridDim.y, positions, heads) = sums over every gridDim.y-th stretch of pairs. Pairs whose
/// position another block has count as one position more, which is thrown away.
template <class T>
__global__ void __launch_bounds__(kThreads) gradient_kernel(RelativeBiasSize size, const T* dy, const std::int64_t* index, T* parts) {
  __shared__ T sums[kWarps][kPositions<T> + 1];
  const std::int64_t head = blockIdx.x, first = static_cast<std::int64_t>(blockIdx.z) * kPositions<T>;
  const std::int64_t count = min(size.positions - first, std::int64_t{kPositions<T>});
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  for (std::int64_t i = lane; i <= kPositions<T>; i += kWarp) sums[warp][i] = T(0);
  __syncwarp();
  for (std::int64_t base = (static_cast<std::int64_t>(blockIdx.y) * kWarps + warp) * kWarp; base < size.pairs;
       base += static_cast<std::int64_t>(gridDim.y) * kThreads) {
    const std::int64_t pair = base + lane;
    const std::int64_t place = pair < size.pairs ? index[pair] - first : -1;
    const bool counts = place >= 0 && place < count;
    bool is_first = false;
    const T sum = sum_of_equals(counts ? place : kPositions<T>, counts ? dy[head * size.pairs + pair] : T(0), is_first);
    if (is_first && counts) sums[warp][place] += sum;
    __syncwarp();
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    T total = sums[0][i];
    for (int other = 1; other < kWarps; ++other) total += sums[other][i];
    parts[(blockIdx.y * size.positions + first + i) * size.heads + head] = total;
  }
}

}  // namespace

template <class T>
void relative_bias(Cuda device, RelativeBiasSize size, const T* table, const std::int64_t* index, T* y) {
  launch_kernel(bias_kernel<T>, strided_grid(size.heads * size.pairs, kThreads), kThreads, 0, device, size, table, index, y);
}

template <class T>
void relative_bias_gradient(Cuda device, RelativeBiasSize size, const T* dy, const std::int64_t* index, T* dtable) {
  constexpr std::int64_t kMostParts = 16;  // of 65,536 pairs each has 16 stretches
  const std::int64_t count = std::clamp<std::int64_t>(divided_up<std::int64_t>(size.pairs, kThreads), 1, kMostParts);
  const Block memory = workspace(device, static_cast<std::size_t>(count * size.positions * size.heads) * sizeof(T));
  auto* parts = static_cast<T*>(memory.data());
  const dim3 grid(static_cast<unsigned>(size.heads), static_cast<unsigned>(count),
                  static_cast<unsigned>(divided_up<std::int64_t>(size.positions, kPositions<T>)));
  launch_kernel(gradient_kernel<T>, grid, kThreads, 0, device, size, dy, index, parts);
  add_parts(device, {.parts = count, .count = size.positions * size.heads}, static_cast<const T*>(parts), dtable);
}

#define TRIDENT_RELATIVE_BIAS(T)                                                             \
  template void relative_bias<T>(Cuda, RelativeBiasSize, const T*, const std::int64_t*, T*); \
  template void relative_bias_gradient<T>(Cuda, RelativeBiasSize, const T*, const std::int64_t*, T*);
TRIDENT_RELATIVE_BIAS(float)
TRIDENT_RELATIVE_BIAS(double)

}  // namespace trident
