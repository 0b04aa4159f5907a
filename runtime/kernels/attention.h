/// Attention inside windows: one task is one head of one window; nothing larger than a block of its scores is ever held.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"
#include "runtime/ops/attention.h"

namespace trident {

struct WindowAttentionSize {
  std::int64_t batch = 0, ny = 0, nx = 0, heads = 0, head_size = 0;
  WindowGrid grid;
  AttentionDropout dropout;

  constexpr std::int64_t windows_y() const { return ny / grid.window; }
  constexpr std::int64_t windows_x() const { return nx / grid.window; }
  constexpr std::int64_t tasks_per_head() const { return batch * windows_y() * windows_x(); }
  constexpr std::int64_t tokens() const { return grid.window * grid.window; }  // of a window

  /// Rows and columns by which a key can stand behind its query: (2 window - 1)^2. That of a pair is number
  /// token_offset(key) + token_offset(tokens() - 1 - query).
  constexpr std::int64_t offsets() const { return (2 * grid.window - 1) * (2 * grid.window - 1); }
  constexpr std::int64_t token_offset(std::int64_t token) const { return token / grid.window * (grid.window - 1) + token; }
};

template <class T>
struct WindowAttentionInputs {
  const T* qkv;                  // (batch, ny, nx, 3, heads, head size)
  const Wide<T>* logit_scale;    // (heads,)
  const Wide<T>* position_bias;  // (heads, offsets)
};
/// Where gradients go; all but that of qkv may be wanted by nobody.
template <class T>
struct WindowAttentionGradients {
  T* qkv;
  Into<Wide<T>> logit_scale, position_bias;
  Into<Wide<T>> qkv_bias{};  // (3, heads, head size): the sum of qkv's over all tokens; on a CUDA device alone
};
/// What the forward leaves to the backward on a CUDA device. The CPU leaves nothing: its backward repeats the forward.
template <class T>
struct WindowAttentionKept {
  const T* y;               // (batch, ny, nx, heads * head size), the result
  const Wide<T>* log_sums;  // (heads, batch, window rows, window columns, tokens) logarithms of the queries' sums of exponentials
};

/// y (batch, ny, nx, heads * head size). `log_sums` as above; null: not wanted.
template <class T>
void window_attention_forward(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, T* y, Wide<T>* log_sums);
template <class T>
void window_attention_forward(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, T* y, Wide<T>* log_sums);
template <class T>
void window_attention_backward(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, WindowAttentionKept<T>, const T* dy,
                               WindowAttentionGradients<T>);
template <class T>
void window_attention_backward(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, WindowAttentionKept<T>, const T* dy,
                               WindowAttentionGradients<T>);

}  // namespace trident
