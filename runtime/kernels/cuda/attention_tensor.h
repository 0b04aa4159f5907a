/// Window attention in bf16 on tensor cores (mma.m16n8k16, f32 sums), for windows of up to 256 tokens and heads of up to 64 numbers. A
/// window's keys and values stay in shared memory as they came: norms, scale and bias are applied to the f32 scores, which live in
/// registers alone.
///
/// Position biases lie in shared memory by offset, 4 KB a head, in place of one for each of 65,536 pairs: neighbouring lanes have
/// neighbouring keys and queries, so what they read lies in 14 neighbouring words.
///
/// Per window and head of L (256 tokens, 64 numbers) forward: 16.8 MFLOP, 128 KB of q, k, v and y, 65,536 exponentials. At 989 TFLOP/s the
/// products take 2.2 us of a multiprocessor, its exponentials (16 a cycle) 2.3 us: expected is a third of the tensor peak. Backward 42
/// MFLOP (five products, scores recomputed once), 2.5 times the time. Included by attention_cuda.cu alone.
#pragma once

#include "runtime/kernels/cuda/attention_window.h"
#include "runtime/kernels/cuda/tensor_core.h"

namespace trident::cuda::tensor {

inline constexpr int kMostTokens = 256, kLargestHead = 64;
inline constexpr int kWarpRows = 32;  // queries (forward) or keys (backward) of a warp: two tiles of 16
inline constexpr int kMostWarps = kMostTokens / kWarpRows;
template <int D>
inline constexpr int kStep = D + 8;  // numbers between rows in shared memory: 16 bytes more, so that loads of matrices meet no bank twice

/// Scores are logarithms of base 2, because that is the base that a GPU exponentiates: what they are made of is multiplied by this.
inline constexpr float kLog2OfE = 1.44269504F, kLogOf2 = 0.693147181F;
inline constexpr float kMask = static_cast<float>(kMaskValue) * kLog2OfE;

__device__ __forceinline__ float exp2_approximate(float x) {
#ifdef __CUDACC__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  return exp2f(x);
#endif
}

/// Starts copying the vectors of the window's tokens [first, first + count) to rows of shared memory; zeros where there is no token or
/// channel. Without `vectors` the numbers come one by one. The caller commits.
template <int D>
__device__ __forceinline__ void start_rows(const bf16* from, std::int64_t stride, int head_size, bool vectors, int tokens, const int* place,
                                           int first, int count, bf16* rows) {
  constexpr int kPieces = D / 8;
  for (int item = static_cast<int>(threadIdx.x); item < count * kPieces; item += static_cast<int>(blockDim.x)) {
    const int row = item / kPieces, channel = item % kPieces * 8;
    const bool exists = first + row < tokens;
    const bf16* source = exists ? from + std::int64_t{place[first + row]} * stride + channel : from;
    bf16* target = rows + row * kStep<D> + channel;
    if (vectors) {
      copy_async<16>(target, channel < head_size ? source : from, exists && channel < head_size);
    } else {
      for (int i = 0; i < 8; ++i) target[i] = exists && channel + i < head_size ? source[i] : bf16{0};
    }
  }
}

__device__ __forceinline__ float inverse_norm(float squares) { return 1.0F / max(sqrtf(squares), static_cast<float>(kNormFloor)); }

/// 1 / max(norm, floor) of `count` rows of shared memory, `step` places apart.
template <int D>
__device__ __forceinline__ void find_inverse_norms(const bf16* rows, int count, float* inverse_norms, int step) {
  for (int row = static_cast<int>(threadIdx.x); row < count; row += static_cast<int>(blockDim.x)) {
    float squares = 0;
#pragma unroll
    for (int channel = 0; channel < D; channel += 8) {
      const auto values = load<8>(rows + row * kStep<D> + channel);
#pragma unroll
      for (int i = 0; i < 8; ++i) squares += compute(values[i]) * compute(values[i]);
    }
    inverse_norms[row * step] = inverse_norm(squares);
  }
}

/// Copies a warp's rows of shared memory [first, first + kWarpRows) to where the tokens lie.
template <int D>
__device__ __forceinline__ void store_rows(const bf16* rows, int first, int tokens, const int* place, bf16* to, std::int64_t stride,
                                           int head_size, bool vectors) {
  constexpr int kPieces = D / 8;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int item = lane; item < kWarpRows * kPieces; item += kWarp) {
    const int row = item / kPieces, channel = item % kPieces * 8;
    if (first + row >= tokens || channel >= head_size) continue;
    const bf16* source = rows + row * kStep<D> + channel;
    bf16* target = to + std::int64_t{place[first + row]} * stride + channel;
    if (vectors) {
      store<8>(target, load<8>(source));
    } else {
      for (int i = 0; i < 8 && channel + i < head_size; ++i) target[i] = source[i];
    }
  }
}

/// The places and regions of all tokens of a window.
__device__ __forceinline__ void find_tokens(const WindowAttentionSize& size, const WindowTask& task, bool masked, int padded, int* place,
                                            unsigned char* region) {
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += static_cast<int>(blockDim.x)) {
    const bool exists = i < static_cast<int>(size.tokens());
    place[i] = exists ? static_cast<int>(task.token(size, i)) : 0;
    region[i] = masked && exists ? static_cast<unsigned char>(task.region(size, i)) : static_cast<unsigned char>(0);
  }
}

/// A token's offset; 0 for those that fill up a tile.
__device__ __forceinline__ int offset_of(const WindowAttentionSize& size, int token) {
  return token < static_cast<int>(size.tokens()) ? static_cast<int>(size.token_offset(token)) : 0;
}

/// Copies a head's position biases to shared memory, as logarithms of base 2.
__device__ __forceinline__ void load_biases(const WindowAttentionSize& size, const float* position_bias, std::int64_t head, float* bias) {
  const int count = static_cast<int>(size.offsets());
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    bias[i] = position_bias[head * count + i] * kLog2OfE;
}

/// Tokens of a window in whole tiles of kWarpRows.
constexpr __host__ __device__ int padded_tokens(std::int64_t tokens) {
  return static_cast<int>((tokens + kWarpRows - 1) / kWarpRows * kWarpRows);
}

}  // namespace trident::cuda::tensor
