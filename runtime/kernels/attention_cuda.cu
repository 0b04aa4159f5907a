#include "runtime/kernels/attention.h"

#include <limits>

#include "runtime/device/cuda_driver.h"
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
  return std::is_same_v<T, bf16> && size.tokens() <= tensor::kMostTokens && size.head_size <= tensor::kLargestHead &&
         size.batch * size.ny * size.nx <= std::numeric_limits<int>::max();
}

/// Whether 8 numbers at a time can be copied from vectors of head_size numbers at these places.
bool copies_vectors(std::int64_t head_size, const bf16* a, const bf16* b) { return fits_vectors<8>(head_size, a, b); }

void tensor_forward(Cuda device, const WindowAttentionSize& size, WindowAttentionInputs<bf16> in, bf16* y, float* log_sums) {
  const int padded = tensor::padded_tokens(size.tokens()), rows = std::min(padded, tensor::kForwardWarps * tensor::kWarpRows);
  const dim3 grid(static_cast<unsigned>(size.tasks_per_head()), static_cast<unsigned>(divided_up(padded, rows)),
                  static_cast<unsigned>(size.heads));
  const tensor::Forward at{in, y, log_sums, copies_vectors(size.head_size, in.qkv, y)};
  with_head_and_dropout(size, [&](auto d, auto drops) {
    launch_kernel(tensor::forward_kernel<d(), drops()>, grid, rows, tensor::ForwardShared<d()>::bytes(padded, rows, size.offsets()), device,
                  size, at);
  });
}

template <class T>
unsigned tiles_of(const WindowAttentionSize& size) {
  return static_cast<unsigned>(divided_up<std::int64_t>(size.tokens(), simt::kTileRows<Compute<T>>));
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

constexpr int kOffsetThreads = 256;

/// The sums of pairs (heads, tokens, tokens) by offset: a warp adds up those of an offset.
template <class C>
__global__ void __launch_bounds__(kOffsetThreads) offset_sums_kernel(WindowAttentionSize size, const C* pairs, Into<C> into) {
  const int window = static_cast<int>(size.grid.window), side = 2 * window - 1, lane = static_cast<int>(threadIdx.x) % kWarp;
  for (std::int64_t item = grid_thread() / kWarp; item < size.heads * size.offsets(); item += grid_threads() / kWarp) {
    const int offset = static_cast<int>(item % size.offsets()), down = offset / side - window + 1, right = offset % side - window + 1;
    const int columns = window - abs(right), count = (window - abs(down)) * columns;
    const C* from = pairs + item / size.offsets() * size.tokens() * size.tokens();
    C sum = 0;
    for (int i = lane; i < count; i += kWarp) {
      const int row = max(0, -down) + i / columns, column = max(0, -right) + i % columns;
      sum += from[(row * window + column) * size.tokens() + (row + down) * window + column + right];
    }
    sum = warp_sum(sum);
    if (lane == 0) into.to[item] = into.sum == Sum::adds ? into.to[item] + sum : sum;
  }
}

void tensor_backward(Cuda device, const WindowAttentionSize& size, WindowAttentionInputs<bf16> in, WindowAttentionKept<bf16> kept,
                     const bf16* dy, WindowAttentionGradients<bf16> to) {
  const std::int64_t parts = attention_parts(size);
  const bool vectors = copies_vectors(size.head_size, in.qkv, dy) && copies_vectors(size.head_size, to.qkv, kept.y);
  const int padded = tensor::padded_tokens(size.tokens());
  with_head_and_dropout(size, [&](auto d, auto drops) {
    const JointMemory<float> memory(device, size.heads, parts, 1 + size.offsets() + 3 * d());
    const tensor::Backward at{in, kept.y, kept.log_sums, dy, to.qkv, to.logit_scale, to.position_bias, to.qkv_bias, memory.sums(), vectors};
    launch_kernel(tensor::backward_kernel<d(), drops()>, dim3(static_cast<unsigned>(parts), static_cast<unsigned>(size.heads)), padded,
                  tensor::BackwardShared<d()>::bytes(padded, size.offsets()), device, size, at);
  });
}

/// Whether a block has the memory for it: on an A100 one for heads of 64 numbers in windows of 256 tokens has not.
bool fits_tensor_backward(Cuda device, const WindowAttentionSize& size) {
  std::size_t needed = 0;
  with_head<tensor::kLargestHead>(
      size, [&](auto d) { needed = tensor::BackwardShared<d()>::bytes(tensor::padded_tokens(size.tokens()), size.offsets()); });
  return needed <= cuda_driver::shared_bytes_of_block(device.index);
}

template <class T>
void simt_backward(Cuda device, const WindowAttentionSize& size, WindowAttentionInputs<T> in, WindowAttentionKept<T> kept, const T* dy,
                   WindowAttentionGradients<T> to) {
  using C = Compute<T>;
  const std::int64_t tasks = size.heads * size.tasks_per_head(), parts = attention_parts(size), tiles = tiles_of<T>(size);
  const std::int64_t pairs = size.heads * size.tokens() * size.tokens();
  const bool wants_bias = to.position_bias.to != nullptr;
  const Block along_memory = workspace(device, static_cast<std::size_t>(tasks * size.tokens()) * sizeof(C));
  const Block bias_memory = workspace(device, wants_bias ? static_cast<std::size_t>((parts + 1) * pairs) * sizeof(C) : 0);
  const Block scale_memory = workspace(device, static_cast<std::size_t>(parts * tiles * size.heads) * sizeof(double));
  auto *along = static_cast<C*>(along_memory.data()), *bias_parts = wants_bias ? static_cast<C*>(bias_memory.data()) : nullptr;
  auto* scale_parts = static_cast<double*>(scale_memory.data());
  launch_kernel(along_kernel<T>, strided_grid(tasks * size.tokens() * kAlongLanes, kAlongThreads), kAlongThreads, 0, device, size, kept.y,
                dy, along);
  const simt::Backward<T> at{in,     kept.log_sums, along,       dy,
                             to.qkv, bias_parts,    scale_parts, simt::loads_vectors(size.head_size, in.qkv, dy)};
  with_head<kLargestHead>(size, [&](auto d) {
    const auto heads = static_cast<unsigned>(size.heads), rows = static_cast<unsigned>(tiles);
    constexpr std::size_t kShared = sizeof(simt::BackwardShared<C, d()>);
    launch_kernel(simt::query_kernel<T, d()>, dim3(rows, static_cast<unsigned>(parts), heads), simt::kThreads, kShared, device, size, at);
    launch_kernel(simt::key_kernel<T, d()>, dim3(static_cast<unsigned>(size.tasks_per_head()), rows, heads), simt::kThreads, kShared,
                  device, size, at);
  });
  if (wants_bias) {
    C* sums = bias_parts + parts * pairs;
    add_parts(device, {.parts = parts, .count = pairs}, static_cast<const C*>(bias_parts), sums);
    launch_kernel(offset_sums_kernel<C>, strided_grid(size.heads * size.offsets() * kWarp, kOffsetThreads), kOffsetThreads, 0, device, size,
                  static_cast<const C*>(sums), to.position_bias);
  }
  if (to.logit_scale.to != nullptr) {
    add_parts(device, {.parts = parts * tiles, .count = size.heads, .sum = to.logit_scale.sum}, static_cast<const double*>(scale_parts),
              to.logit_scale.to);
  }
}

/// Without windows nothing is added up: gradients are 0.
template <class C>
void set_zero(Cuda device, std::int64_t count, Into<C> into) {
  if (into.to != nullptr && into.sum == Sum::replaces)
    add_parts(device, {.parts = 0, .count = count}, static_cast<const C*>(nullptr), into.to);
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
  require_supported(size);
  if (size.tasks_per_head() == 0) {
    set_zero(device, size.heads, to.logit_scale);
    set_zero(device, size.heads * size.offsets(), to.position_bias);
    set_zero(device, 3 * size.heads * size.head_size, to.qkv_bias);
    return;
  }
  if constexpr (std::is_same_v<T, bf16>) {
    if (uses_tensor_cores<T>(size) && fits_tensor_backward(device, size)) return tensor_backward(device, size, in, kept, dy, to);
  }
  simt_backward(device, size, in, kept, dy, to);
  if (to.qkv_bias.to == nullptr) return;
  column_sums<T>(device, size.batch * size.ny * size.nx, 3 * size.heads * size.head_size, to.qkv, to.qkv_bias.to, to.qkv_bias.sum);
}

#define TRIDENT_ATTENTION(T)                                                                                                               \
  template void window_attention_forward<T>(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, T*, Wide<T>*);                     \
  template void window_attention_backward<T>(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, WindowAttentionKept<T>, const T*, \
                                             WindowAttentionGradients<T>);
TRIDENT_ATTENTION(float)
TRIDENT_ATTENTION(double)
TRIDENT_ATTENTION(bf16)

}  // namespace trident
