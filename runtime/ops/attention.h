/// Attention inside windows of a grid of tokens (Swin v2: scaled cosine, continuous position bias, shifted windows).
#pragma once

#include "runtime/tensor/stream_key.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// How a grid of tokens is cut into windows.
struct WindowGrid {
  std::int64_t window = 0;  // tokens per side
  std::int64_t roll = 0;  // tokens by which the grid is rolled up and left before it is cut: row j of the rolled grid is (j + roll) mod ny
  // Shifted windows do not mix tokens of different regions (Swin's 3x3 slicing) of the *global* rolled grid, of which these tokens
  // are the rectangle that starts at (first_row, first_column), multiples of the window.
  std::int64_t mask_shift = 0;  // tokens; 0: no mask
  std::int64_t first_row = 0, first_column = 0;
  std::int64_t global_rows = 0, global_columns = 0;  // extents of the global padded grid; used only with a mask
};

/// Dropout of attention probabilities; numbers are indexed by global sample, window, head, query and key.
struct AttentionDropout {
  double probability = 0.0;
  StreamKey key{};
  std::int64_t first_sample = 0;  // global index of the first sample of the batch
  std::int64_t first_head = 0;    // global index of the first head
};

/// softmax(cosine(q, k) * exp(min(logit_scale, ln 100)) + position_bias + mask) v in every window, never holding the scores of all
/// windows at once; the backward recomputes them.
/// qkv: (batch, ny, nx, 3, heads, head size), ny and nx multiples of the window; logit_scale: a number for each head, in any shape;
/// position_bias: (heads, (2 window - 1)^2) for the offsets (dy, dx) from a query to a key, dy and then dx from 1 - window up; these two
/// are f32 where qkv is bf16. Returns (batch, ny, nx, heads * head size), rolled back. q and k are divided by max(norm, 1e-12). Mask: -200
/// between regions (the reference adds its -100 twice). Source: Liu et al. 2022, "Swin Transformer V2"; transformers 4.35
/// Swinv2SelfAttention.
Tensor window_attention(const Tensor& qkv, const Tensor& logit_scale, const Tensor& position_bias, const WindowGrid& grid,
                        const AttentionDropout& dropout = {});

}  // namespace trident
