#include "runtime/kernels/attention.h"

#include "runtime/kernels/cuda/attention_simt.h"
#include "runtime/kernels/cuda/attention_tensor_backward.h"
#include "runtime/kernels/cuda/attention_tensor_forward.h"
#include "runtime/kernels/cuda/parts.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kLargestHead = 128;

void require_supported(const WindowAttentionSize& size) {
  if (size.head_size > kLargestHead) {
    throw ShapeError(
        concat("window_attention: heads of ", size.head_size, " numbers; CUDA devices take up to ", kLargestHead, ": use more heads"));
  }
}

/// Calls launch(D) as a constant: the least, of those up to Largest, that holds a head.
template <int Largest, class Launch>
void with_head(const WindowAttentionSize& size, Launch&& launch) {
  if (size.head_size <= 16) return launch(std::integral_constant<int, 16>{});
  if (size.head_size <= 32) return launch(std::integral_constant<int, 32>{});
  if (Largest == 64 || size.head_size <= 64) return launch(std::integral_constant<int, 64>{});
  if constexpr (Largest > 64) launch(std::integral_constant<int, Largest>{});
}

/// The same, launch(D, drops): dropout costs the fast kernels registers, so that they come with and without it.
template <class Launch>
void with_head_and_dropout(const WindowAttentionSize& size, Launch&& launch) {
  with_head<tensor::kLargestHead>(size, [&](auto d) {
    if (size.dropout.probability > 0.0) return launch(d, std::true_type{});
    launch(d, std::false_type{});
  });
}

/// Whether tensor cores do it; else ordinary arithmetic.
template <class T>
bool uses_tensor_cores(const WindowAttentionSize& size) {
  return std::is_same_v<T, bf16> && size.tokens() <= tensor::kMostTokens && size.head_size <= tensor::kLargestHead;
}

/// Whether 8 numbers at a time can be copied from vectors of head_size numbers at these places.
bool copies_vectors(std::int64_t head_size, const bf16* a, const bf16* b) { return fits_vectors<8>(head_size, a, b); }

void tensor_forward(Cuda device, const WindowAttentionSize& size, WindowAttentionInputs<bf16> in, bf16* y, float* log_sums) {
  const int padded = tensor::padded_tokens(size.tokens()), rows = std::min(padded, tensor::kForwardWarps * tensor::kWarpRows);
  const dim3 grid(static_cast<unsigned>(size.tasks_per_head()), static_cast<unsigned>(divided_up(padded, rows)),
                  static_cast<unsigned>(size.heads));
  const tensor::Forward at{in, y, log_sums, copies_vectors(size.head_size, in.qkv, y)};
  with_head_and_dropout(size, [&](auto d, auto drops) {
    launch_kernel(tensor::forward_kernel<d(), drops()>, grid, rows, tensor::ForwardShared<d()>::bytes(padded, rows), device, size, at);
  });
}

template <class T>
unsigned tiles_of(const WindowAttentionSize& size) {
  return static_cast<unsigned>(divided_up<std::int64_t>(size.tokens(), simt::kTileRows<Compute<T>>));
}

template <class T>
void simt_backward(Cuda device, const WindowAttentionSize& size, const simt::Backward<T>& at, std::int64_t parts, std::int64_t tiles) {
  with_head<kLargestHead>(size, [&](auto d) {
    const auto heads = static_cast<unsigned>(size.heads), rows = static_cast<unsigned>(tiles);
    constexpr std::size_t kShared = sizeof(simt::BackwardShared<Compute<T>, d()>);
    launch_kernel(simt::query_kernel<T, d()>, dim3(rows, static_cast<unsigned>(parts), heads), simt::kThreads, kShared, device, size, at);
    launch_kernel(simt::key_kernel<T, d()>, dim3(static_cast<unsigned>(size.tasks_per_head()), rows, heads), simt::kThreads, kShared,
                  device, size, at);
  });
}

constexpr int kAlongThreads = 256, kAlongLanes = 4;

/// along (tasks, tokens) = <y, dy> of every token's head.
template <class T>
__global__ void __launch_bounds__(kAlongThreads) along_kernel(WindowAttentionSize size, const T* y, const T* dy, Compute<T>* along) {
  const std::int64_t count = size.heads * size.tasks_per_head() * size.tokens();
  const int lane = static_cast<int>(threadIdx.x) % kAlongLanes;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * (kAlongThreads / kAlongLanes); first < count;
       first += static_cast<std::int64_t>(gridDim.x) * (kAlongThreads / kAlongLanes)) {
    const std::int64_t item = first + threadIdx.x / kAlongLanes, index = min(item, count - 1);
    const WindowTask task(size, index / size.tokens());
    const std::int64_t place = (task.token(size, static_cast<int>(index % size.tokens())) * size.heads + task.head) * size.head_size;
    Compute<T> sum = 0;
    for (std::int64_t c = lane; c < size.head_size; c += kAlongLanes) sum += compute(y[place + c]) * compute(dy[place + c]);
    sum = warp_sum<kAlongLanes>(sum);
    if (lane == 0 && item < count) along[item] = sum;
  }
}

}  // namespace

template <class T>
void window_attention_forward(Cuda device, const WindowAttentionSize& size, WindowAttentionInputs<T> in, T* y, Wide<T>* log_sums) {
  require_supported(size);
  if constexpr (std::is_same_v<T, bf16>) {
    if (uses_tensor_cores<T>(size)) return tensor_forward(device, size, in, y, log_sums);
  }
  const simt::Forward<T> at{in, y, log_sums, simt::loads_vectors(size.head_size, in.qkv)};
  with_head<kLargestHead>(size, [&](auto d) {
    const dim3 grid(static_cast<unsigned>(size.tasks_per_head()), tiles_of<T>(size), static_cast<unsigned>(size.heads));
    launch_kernel(simt::forward_kernel<T, d()>, grid, simt::kThreads, sizeof(simt::ForwardShared<Compute<T>, d()>), device, size, at);
  });
}

template <class T>
void window_attention_backward(Cuda device, const WindowAttentionSize& size, WindowAttentionInputs<T> in, WindowAttentionKept<T> kept,
                               const T* dy, WindowAttentionGradients<T> to) {
  using C = Compute<T>;
  require_supported(size);
  const std::int64_t tasks = size.heads * size.tasks_per_head(), parts = tasks == 0 ? 0 : attention_parts(size);
  const bool on_tensor_cores = uses_tensor_cores<T>(size);
  const std::int64_t tiles = on_tensor_cores ? 1 : tiles_of<T>(size);  // of queries, which add up the scale's gradient
  const std::int64_t biases = size.heads * size.tokens() * size.tokens();
  const Block along_memory = workspace(device, static_cast<std::size_t>(tasks * size.tokens()) * sizeof(C));
  const Block bias_memory = workspace(device, to.position_bias == nullptr ? 0 : static_cast<std::size_t>(parts * biases) * sizeof(C));
  const Block scale_memory = workspace(device, static_cast<std::size_t>(parts * tiles * size.heads) * sizeof(double));
  auto *along = static_cast<C*>(along_memory.data()),
       *bias_parts = to.position_bias == nullptr ? nullptr : static_cast<C*>(bias_memory.data());
  auto* scale_parts = static_cast<double*>(scale_memory.data());
  launch_kernel(along_kernel<T>, strided_grid(tasks * size.tokens() * kAlongLanes, kAlongThreads), kAlongThreads, 0, device, size, kept.y,
                dy, along);
  if constexpr (std::is_same_v<T, bf16>) {
    if (on_tensor_cores) {
      const tensor::Backward at{
          in,     kept.log_sums, along,       dy,
          to.qkv, bias_parts,    scale_parts, copies_vectors(size.head_size, in.qkv, dy) && copies_vectors(size.head_size, to.qkv, dy)};
      const int padded = tensor::padded_tokens(size.tokens());
      with_head_and_dropout(size, [&](auto d, auto drops) {
        launch_kernel(tensor::backward_kernel<d(), drops()>, dim3(static_cast<unsigned>(parts), static_cast<unsigned>(size.heads)), padded,
                      tensor::BackwardShared<d()>::bytes(padded), device, size, at);
      });
    }
  }
  if (!on_tensor_cores) {
    const simt::Backward<T> at{in,     kept.log_sums, along,       dy,
                               to.qkv, bias_parts,    scale_parts, simt::loads_vectors(size.head_size, in.qkv, dy)};
    simt_backward(device, size, at, parts, tiles);
  }
  if (to.position_bias != nullptr)
    add_parts(device, {.parts = parts, .count = biases}, static_cast<const C*>(bias_parts), to.position_bias);
  if (to.logit_scale != nullptr)
    add_parts(device, {.parts = parts * tiles, .count = size.heads}, static_cast<const double*>(scale_parts), to.logit_scale);
}

#define TRIDENT_ATTENTION(T)                                                                                                               \
  template void window_attention_forward<T>(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, T*, Wide<T>*);                     \
  template void window_attention_backward<T>(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, WindowAttentionKept<T>, const T*, \
                                             WindowAttentionGradients<T>);
TRIDENT_ATTENTION(float)
TRIDENT_ATTENTION(double)
TRIDENT_ATTENTION(bf16)

}  // namespace trident
