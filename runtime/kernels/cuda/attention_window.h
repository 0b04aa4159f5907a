/// Where a window's tokens lie, which regions they belong to, and what dropout leaves of a pair of them: for the kernels of window
/// attention.
#pragma once

#include "runtime/kernels/attention.h"
#include "runtime/kernels/cuda/kernel.h"

namespace trident::cuda {

inline constexpr double kNormFloor = 1e-12;                 // of torch.nn.functional.normalize
inline constexpr double kMaskValue = -200.0;                // the reference adds its -100 twice
inline constexpr double kNoScore = -1e30;                   // of keys that only fill up a tile: their probability is 0
inline constexpr double kLargestLogit = 4.605170185988091;  // ln 100

/// One head of one window of one sample, in the order head, sample, window row, window column.
struct WindowTask {
  std::int64_t head, sample, window_y, window_x;

  __device__ __forceinline__ WindowTask(const WindowAttentionSize& size, std::int64_t index) {
    window_x = index % size.windows_x();
    window_y = index / size.windows_x() % size.windows_y();
    sample = index / (size.windows_x() * size.windows_y()) % size.batch;
    head = index / size.tasks_per_head();
  }

  /// Place of the window's token i in the grid of all samples.
  __device__ __forceinline__ std::int64_t token(const WindowAttentionSize& size, int i) const {
    const int window = static_cast<int>(size.grid.window);
    std::int64_t row = window_y * window + i / window + size.grid.roll, column = window_x * window + i % window + size.grid.roll;
    if (row >= size.ny) row %= size.ny;
    if (column >= size.nx) column %= size.nx;
    return (sample * size.ny + row) * size.nx + column;
  }
  /// Region of the 3x3 slicing of the global rolled grid that token i belongs to.
  __device__ __forceinline__ int region(const WindowAttentionSize& size, int i) const {
    const int window = static_cast<int>(size.grid.window);
    const auto along = [&](std::int64_t position, std::int64_t extent) {
      return position < extent - window ? 0 : position < extent - size.grid.mask_shift ? 1 : 2;
    };
    return 3 * along(size.grid.first_row + window_y * window + i / window, size.grid.global_rows) +
           along(size.grid.first_column + window_x * window + i % window, size.grid.global_columns);
  }
  /// Whether the window has tokens of several regions: they differ only in the last windows of the global grid.
  __device__ __forceinline__ bool is_masked(const WindowAttentionSize& size) const {
    return size.grid.mask_shift > 0 && (size.grid.first_row + (window_y + 1) * size.grid.window == size.grid.global_rows ||
                                        size.grid.first_column + (window_x + 1) * size.grid.window == size.grid.global_columns);
  }
  __device__ __forceinline__ RandomKey dropout_key(const WindowAttentionSize& size) const {
    return size.dropout.key.key()
        .fold(static_cast<std::uint64_t>(size.dropout.first_sample + sample))
        .fold(static_cast<std::uint64_t>(size.grid.first_row / size.grid.window + window_y))
        .fold(static_cast<std::uint64_t>(size.grid.first_column / size.grid.window + window_x))
        .fold(static_cast<std::uint64_t>(size.dropout.first_head + head));
  }
};

/// What dropout multiplies the probability of a pair with: 0 or 1 / (1 - p).
template <class C>
struct DropoutFactor {
  RandomKey key;
  double probability;
  C kept;
  int tokens;

  __device__ __forceinline__ DropoutFactor(const WindowAttentionSize& size, const WindowTask& task)
      : key(task.dropout_key(size)),
        probability(size.dropout.probability),
        kept(static_cast<C>(1.0 / (1.0 - probability))),
        tokens(static_cast<int>(size.tokens())) {}
  __device__ __forceinline__ C operator()(int query, int of_key) const { return keeps(query, of_key) ? kept : C(0); }
  __device__ __forceinline__ bool keeps(int query, int of_key) const {
    return probability == 0.0 || uniform(key, static_cast<std::uint64_t>(query) * tokens + of_key) >= probability;
  }
};

template <class C>
__device__ __forceinline__ C logit_factor(C logit_scale) {
  return exp(min(logit_scale, static_cast<C>(kLargestLogit)));
}

/// A head's position biases, of the offset 0 on: what belongs to a pair is where the offset of its key lies behind that of its query.
template <class C>
__device__ __forceinline__ const C* position_bias_of(const WindowAttentionSize& size, const C* position_bias, std::int64_t head) {
  return position_bias + head * size.offsets() + size.offsets() / 2;
}

/// Parts in which a head's gradients of position bias and logit scale are added up: blocks of the backward that a device has at once,
/// shared out over the heads. A constant, so that the same sizes give the same bits on every device.
inline std::int64_t attention_parts(const WindowAttentionSize& size) {
  constexpr std::int64_t kBlocks = 132;  // multiprocessors of an H100
  return std::clamp<std::int64_t>(kBlocks / std::max<std::int64_t>(size.heads, 1), 1, std::max<std::int64_t>(size.tasks_per_head(), 1));
}

}  // namespace trident::cuda
