/// Attention inside windows: one task is one head of one window; nothing larger than a block of its scores is ever held.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/ops/attention.h"

namespace trident {

struct WindowAttentionSize {
  std::int64_t batch = 0, ny = 0, nx = 0, heads = 0, head_size = 0;
  WindowGrid grid;
  AttentionDropout dropout;

  std::int64_t windows_y() const { return ny / grid.window; }
  std::int64_t windows_x() const { return nx / grid.window; }
  std::int64_t tasks_per_head() const { return batch * windows_y() * windows_x(); }
  std::int64_t tokens() const { return grid.window * grid.window; }  // of a window
};

template <class T>
struct WindowAttentionInputs {
  const T* qkv;            // (batch, ny, nx, 3, heads, head size)
  const T* logit_scale;    // (heads,)
  const T* position_bias;  // (heads, tokens, tokens)
};
/// Where gradients go; all but qkv may be null where not wanted.
template <class T>
struct WindowAttentionGradients {
  T* qkv;
  T* logit_scale;
  T* position_bias;
};

/// y (batch, ny, nx, heads * head size).
template <class T> void window_attention_forward(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, T* y);
template <class T> void window_attention_forward(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, T* y);
template <class T>
void window_attention_backward(Cpu, const WindowAttentionSize&, WindowAttentionInputs<T>, const T* dy, WindowAttentionGradients<T>);
template <class T>
void window_attention_backward(Cuda, const WindowAttentionSize&, WindowAttentionInputs<T>, const T* dy, WindowAttentionGradients<T>);

}  // namespace trident
