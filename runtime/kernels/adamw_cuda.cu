/// One block of threads per FlatBlock, all in one launch. Limited by memory: 28 bytes an element of f32, 30 with the bf16 copy.
#include "runtime/kernels/adamw.h"
#include "runtime/kernels/cuda/kernel.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

/// The clipping factor; NaN if nothing is to be written.
__device__ double clipping(const AdamWStep& step, double norm) {
  if (!(norm <= 1.7976931348623157e308)) return norm - norm;  // of inf and NaN: NaN
  return step.max_norm > 0.0 ? min(1.0, step.max_norm / (norm + 1e-6)) : 1.0;
}

/// torch.optim.AdamW. Its numbers are those of adamw_cpu.cpp.
template <class T>
struct TorchRule {
  static constexpr int kUnit = 1;  // numbers that are updated together
  T clip, keep1, beta2, keep2, root2, eps, shrink, size;

  __device__ TorchRule(const AdamWStep& step, const AdamWGroup& group, double clip)
      : clip(static_cast<T>(clip)),
        keep1(static_cast<T>(1.0 - step.beta1)),
        beta2(static_cast<T>(step.beta2)),
        keep2(static_cast<T>(1.0 - step.beta2)),
        root2(static_cast<T>(sqrt(step.correction2))),
        eps(static_cast<T>(step.eps)),
        shrink(static_cast<T>(1.0 - group.learning_rate * group.weight_decay)),
        size(static_cast<T>(group.learning_rate / step.correction1)) {}

  __device__ __forceinline__ void operator()(T* x, const T* gradient, T* mean, T* square) const {
    const T g = *gradient * clip;
    const T m = *mean + (g - *mean) * keep1;
    const T v = *square * beta2 + g * g * keep2;
    *mean = m;
    *square = v;
    *x = *x * shrink - size * m / (sqrt(v) / root2 + eps);
  }
};

/// neuralop.training.AdamW, on real numbers or on pairs of re and im.
template <class T, int Unit>
struct NeuralopRule {
  static constexpr int kUnit = Unit;
  T clip, beta1, keep1, beta2, keep2, eps, size, shrink;

  __device__ NeuralopRule(const AdamWStep& step, const AdamWGroup& group, double clip)
      : clip(static_cast<T>(clip)),
        beta1(static_cast<T>(step.beta1)),
        keep1(static_cast<T>(1.0 - step.beta1)),
        beta2(static_cast<T>(step.beta2)),
        keep2(static_cast<T>(1.0 - step.beta2)),
        eps(static_cast<T>(step.eps)),
        size(static_cast<T>(group.learning_rate * sqrt(step.correction2) / step.correction1)),
        shrink(static_cast<T>(1.0 - group.learning_rate * group.weight_decay)) {}

  __device__ __forceinline__ void operator()(T* x, const T* gradient, T* mean, T* square) const {
    T squares = 0;
#pragma unroll
    for (int i = 0; i < Unit; ++i) {
      const T g = gradient[i] * clip;
      mean[i] = mean[i] * beta1 + g * keep1;
      squares += g * g;
    }
    const T v = *square * beta2 + squares * keep2;
    *square = v;
    const T step = size / (sqrt(v) + eps);
#pragma unroll
    for (int i = 0; i < Unit; ++i) x[i] = (x[i] - step * mean[i]) * shrink;
  }
};

/// N neighbours from element `offset` of a block on, through vectors if they are aligned.
template <int N, bool kAligned, class T, class Rule>
__device__ __forceinline__ void update(const AdamWBuffers<T>& to, const FlatBlock& block, const Rule& rule, std::int64_t offset) {
  constexpr int kSquares = N / Rule::kUnit;
  const std::int64_t at = block.begin + offset, place = block.place + offset, second = block.second + offset / Rule::kUnit;
  Vector<T, N> x, g, m;
  Vector<T, kSquares> v;
  if constexpr (kAligned) {
    g = load<N>(to.gradient + at), x = load<N>(to.value + at), m = load<N>(to.first + place), v = load<kSquares>(to.second + second);
  } else {
    for (int i = 0; i < N; ++i) g[i] = to.gradient[at + i], x[i] = to.value[at + i], m[i] = to.first[place + i];
    for (int i = 0; i < kSquares; ++i) v[i] = to.second[second + i];
  }
#pragma unroll
  for (int i = 0; i < N; i += Rule::kUnit) rule(&x[i], &g[i], &m[i], &v[i / Rule::kUnit]);
  Vector<bf16, N> rounded;
#pragma unroll
  for (int i = 0; i < N; ++i) rounded[i] = stored<bf16>(static_cast<float>(x[i]));
  if constexpr (kAligned) {
    store<N>(to.value + at, x), store<N>(to.first + place, m), store<kSquares>(to.second + second, v);
    if (to.copy != nullptr) store<N>(to.copy + at, rounded);
  } else {
    for (int i = 0; i < N; ++i) {
      to.value[at + i] = x[i], to.first[place + i] = m[i];
      if (to.copy != nullptr) to.copy[at + i] = rounded[i];
    }
    for (int i = 0; i < kSquares; ++i) to.second[second + i] = v[i];
  }
}

template <class T>
__device__ __forceinline__ bool is_aligned(const T* place) {
  return reinterpret_cast<std::uintptr_t>(place) % (kVectorWidth<T> * sizeof(T)) == 0;
}

template <class T, class Rule>
__device__ void update_block(const AdamWBuffers<T>& to, const FlatBlock& block, const Rule& rule) {
  constexpr int N = kVectorWidth<T>, kUnit = Rule::kUnit;
  const std::int64_t count = block.end - block.begin;
  std::int64_t head = (N - block.begin % N) % N;  // elements before the first whole vector
  const bool aligned = block.begin % N == block.place % N && head % kUnit == 0 && (block.second + head / kUnit) % (N / kUnit) == 0 &&
                       is_aligned(to.value) && is_aligned(to.gradient) && is_aligned(to.first) && is_aligned(to.second) &&
                       reinterpret_cast<std::uintptr_t>(to.copy) % (N * sizeof(bf16)) == 0;
  if (!aligned || head > count) head = count;
  const std::int64_t vectors = (count - head) / N, tail = head + vectors * N;
  for (std::int64_t i = threadIdx.x; i < vectors; i += kThreads) update<N, true>(to, block, rule, head + i * N);
  for (std::int64_t i = threadIdx.x * kUnit; i < head; i += kThreads * kUnit) update<kUnit, false>(to, block, rule, i);
  for (std::int64_t i = tail + threadIdx.x * kUnit; i < count; i += kThreads * kUnit) {
    update<kUnit, false>(to, block, rule, i);
  }
}

template <class T, bool kNeuralop>
__global__ void __launch_bounds__(kThreads) adamw_kernel(const AdamWStep* step, FlatBlocks blocks, const double* norm, AdamWBuffers<T> to) {
  const double clip = clipping(*step, *norm);
  if (clip != clip) return;
  const FlatBlock block = blocks.data[blockIdx.x];
  const AdamWGroup group = step->groups[block.group];
  if constexpr (!kNeuralop) {
    update_block(to, block, TorchRule<T>(*step, group, clip));
  } else if (block.complex != 0) {
    update_block(to, block, NeuralopRule<T, 2>(*step, group, clip));
  } else {
    update_block(to, block, NeuralopRule<T, 1>(*step, group, clip));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) sums_of_squares_kernel(FlatBlocks blocks, const T* x, double* sums) {
  constexpr int N = kVectorWidth<T>;
  const FlatBlock block = blocks.data[blockIdx.x];
  const std::int64_t head = is_aligned(x) ? min(block.end, (block.begin + N - 1) / N * N) : block.end;
  const std::int64_t vectors = (block.end - head) / N, tail = head + vectors * N;
  double sum = 0;
  const auto add = [&](T value) { sum += static_cast<double>(value) * static_cast<double>(value); };
  for (std::int64_t i = threadIdx.x; i < vectors; i += kThreads) {
    const auto values = load<N>(x + head + i * N);
#pragma unroll
    for (int k = 0; k < N; ++k) add(values[k]);
  }
  for (std::int64_t i = block.begin + threadIdx.x; i < head; i += kThreads) add(x[i]);
  for (std::int64_t i = tail + threadIdx.x; i < block.end; i += kThreads) add(x[i]);
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) sums[block.place] = sum;
}

unsigned grid_of(FlatBlocks blocks) { return static_cast<unsigned>(blocks.count); }

}  // namespace

template <class T>
void adamw(Cuda device, const AdamWStep* step, FlatBlocks blocks, const double* norm, const AdamWBuffers<T>& buffers) {
  launch_kernel(adamw_kernel<T, false>, grid_of(blocks), kThreads, 0, device, step, blocks, norm, buffers);
}

template <class T>
void neuralop_adamw(Cuda device, const AdamWStep* step, FlatBlocks blocks, const double* norm, const AdamWBuffers<T>& buffers) {
  launch_kernel(adamw_kernel<T, true>, grid_of(blocks), kThreads, 0, device, step, blocks, norm, buffers);
}

template <class T>
void sums_of_squares(Cuda device, FlatBlocks blocks, const T* x, double* sums) {
  launch_kernel(sums_of_squares_kernel<T>, grid_of(blocks), kThreads, 0, device, blocks, x, sums);
}

#define TRIDENT_ADAMW(T)                                                                                      \
  template void adamw<T>(Cuda, const AdamWStep*, FlatBlocks, const double*, const AdamWBuffers<T>&);          \
  template void neuralop_adamw<T>(Cuda, const AdamWStep*, FlatBlocks, const double*, const AdamWBuffers<T>&); \
  template void sums_of_squares<T>(Cuda, FlatBlocks, const T*, double*);
TRIDENT_ADAMW(float)
TRIDENT_ADAMW(double)

}  // namespace trident
