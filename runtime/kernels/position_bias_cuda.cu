#include "runtime/kernels/position_bias.h"

#include "runtime/kernels/cuda/kernel.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kHeads = kWarps;       // computed at a time: each warp adds up those of one
constexpr std::size_t kAtOnce = 32;  // attentions of a launch: as many as fit into a kernel's arguments

/// Attentions of one launch.
template <class Item>
struct Batch {
  Item items[kAtOnce];
};

/// Hidden number j at an offset.
template <class T>
__device__ __forceinline__ double hidden_at(const PositionBiasWeights<T>& weights, std::int64_t j, double row, double column) {
  return max(row * weights.up[2 * j] + (column * weights.up[2 * j + 1] + weights.up_bias[j]), 0.0);
}

/// Block (32 offsets, attention): a lane has an offset, a warp every kWarps-th hidden number. Limited by f64: 2 + heads multiply-adds for
/// each hidden number and offset.
template <class T>
__global__ void __launch_bounds__(kThreads) bias_kernel(PositionBiasSize size, const double* coordinates, Batch<PositionBias<T>> of) {
  __shared__ double partial[kWarps][kHeads][kWarp];
  const PositionBias<T>& at = of.items[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t offset = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane, place = min(offset, size.offsets - 1);
  const double row = coordinates[2 * place], column = coordinates[2 * place + 1];
  for (std::int64_t first = 0; first < at.weights.heads; first += kHeads) {
    const int heads = static_cast<int>(min(at.weights.heads - first, std::int64_t{kHeads}));
    double sums[kHeads] = {};
    for (std::int64_t j = warp; j < size.hidden; j += kWarps) {
      const double value = hidden_at(at.weights, j, row, column);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        if (h < heads) sums[h] += value * at.weights.down[(first + h) * size.hidden + j];
      }
    }
    __syncthreads();  // the heads before have been added up
#pragma unroll
    for (int h = 0; h < kHeads; ++h) partial[warp][h][lane] = sums[h];
    __syncthreads();
    if (warp >= heads || offset >= size.offsets) continue;
    double sum = 0;
    for (int other = 0; other < kWarps; ++other) sum += partial[other][warp][lane];
    const BoundedBias bias = bounded_bias(sum, exp(-abs(sum)));
    const std::int64_t to = (first + warp) * size.offsets + offset;
    at.y[to] = static_cast<T>(bias.value);
    if (at.slopes != nullptr) at.slopes[to] = static_cast<T>(bias.slope);
  }
}

template <class T>
__device__ __forceinline__ void put(Into<T> into, std::int64_t index, double value) {
  if (into.to != nullptr) into.to[index] = static_cast<T>(into.sum == Sum::adds ? static_cast<double>(into.to[index]) + value : value);
}

/// The sums over all warps of `Count` numbers of each lane: thread (warp, lane) gets number `warp` of its lane. All threads call it.
template <int Count>
__device__ __forceinline__ double sum_over_warps(const double (&values)[Count]) {
  __shared__ double partial[kWarps][Count][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Count; ++i) partial[warp][i][lane] = values[i];
  __syncthreads();
  double sum = 0;
  for (int other = 0; other < kWarps && warp < Count; ++other) sum += partial[other][warp][lane];
  return sum;
}

/// Block (32 hidden numbers, attention): a lane has a hidden number, a warp every kWarps-th offset. Limited as bias_kernel, by 5 + 2 heads.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gradient_kernel(PositionBiasSize size, const double* coordinates, Batch<PositionBiasGradient<T>> of) {
  __shared__ double slopes[kHeads][kThreads], rows[kThreads], columns[kThreads];
  const PositionBiasGradient<T>& at = of.items[blockIdx.y];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const std::int64_t j = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane, place = min(j, size.hidden - 1);
  const double up_row = at.weights.up[2 * place], up_column = at.weights.up[2 * place + 1], up_bias = at.weights.up_bias[place];
  double hidden[3] = {};  // gradients of the two weights and of the bias
  for (std::int64_t first = 0; first < at.weights.heads; first += kHeads) {
    double weight[kHeads], down[kHeads] = {};
#pragma unroll
    for (int h = 0; h < kHeads; ++h) weight[h] = first + h < at.weights.heads ? at.weights.down[(first + h) * size.hidden + place] : T(0);
    for (std::int64_t strip = 0; strip < size.offsets; strip += kThreads) {
      const int count = static_cast<int>(min(size.offsets - strip, std::int64_t{kThreads}));
      __syncthreads();  // the strip before has been used
      if (thread < count) {
        rows[thread] = coordinates[2 * (strip + thread)], columns[thread] = coordinates[2 * (strip + thread) + 1];
        for (int h = 0; h < kHeads; ++h) {
          const std::int64_t from = (first + h) * size.offsets + strip + thread;
          slopes[h][thread] = first + h < at.weights.heads ? static_cast<double>(at.dy[from]) * static_cast<double>(at.slopes[from]) : 0.0;
        }
      }
      __syncthreads();
      for (int i = warp; i < count; i += kWarps) {
        const double value = max(rows[i] * up_row + (columns[i] * up_column + up_bias), 0.0);
        double gradient = 0;
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          down[h] += value * slopes[h][i];
          gradient += weight[h] * slopes[h][i];
        }
        if (value <= 0.0) gradient = 0;
        hidden[0] += gradient * rows[i], hidden[1] += gradient * columns[i], hidden[2] += gradient;
      }
    }
    const double sum = sum_over_warps(down);
    if (first + warp < at.weights.heads && j < size.hidden) put(at.down, (first + warp) * size.hidden + j, sum);
  }
  const double sum = sum_over_warps(hidden);
  if (warp >= 3 || j >= size.hidden) return;
  if (warp < 2) {
    put(at.up, 2 * j + warp, sum);
  } else {
    put(at.up_bias, j, sum);
  }
}

/// Calls launch(batch, attentions of it) for all of them.
template <class Item, class Launch>
void in_batches(std::span<const Item> of, Launch&& launch) {
  for (std::size_t first = 0; first < of.size(); first += kAtOnce) {
    const std::span<const Item> some = of.subspan(first, std::min(kAtOnce, of.size() - first));
    Batch<Item> batch{};
    std::copy(some.begin(), some.end(), batch.items);
    launch(batch, static_cast<unsigned>(some.size()));
  }
}

}  // namespace

template <class T>
void position_biases(Cuda device, PositionBiasSize size, const double* coordinates, std::span<const PositionBias<T>> of) {
  in_batches(of, [&](const Batch<PositionBias<T>>& batch, unsigned count) {
    const dim3 grid(static_cast<unsigned>(divided_up<std::int64_t>(size.offsets, kWarp)), count);
    launch_kernel(bias_kernel<T>, grid, kThreads, 0, device, size, coordinates, batch);
  });
}

template <class T>
void position_bias_gradients(Cuda device, PositionBiasSize size, const double* coordinates, std::span<const PositionBiasGradient<T>> of) {
  in_batches(of, [&](const Batch<PositionBiasGradient<T>>& batch, unsigned count) {
    const dim3 grid(static_cast<unsigned>(divided_up<std::int64_t>(size.hidden, kWarp)), count);
    launch_kernel(gradient_kernel<T>, grid, kThreads, 0, device, size, coordinates, batch);
  });
}

#define TRIDENT_POSITION_BIAS(T)                                                                             \
  template void position_biases<T>(Cuda, PositionBiasSize, const double*, std::span<const PositionBias<T>>); \
  template void position_bias_gradients<T>(Cuda, PositionBiasSize, const double*, std::span<const PositionBiasGradient<T>>);
TRIDENT_POSITION_BIAS(float)
TRIDENT_POSITION_BIAS(double)

}  // namespace trident
