/// The forward of attention_tensor.h. Included by attention_cuda.cu alone.
#pragma once

#include "runtime/kernels/cuda/attention_tensor.h"

namespace trident::cuda::tensor {

struct Forward {
  WindowAttentionInputs<bf16> in;
  bf16* y;
  float* log_sums;
  bool vectors;
};

inline constexpr int kForwardWarps = 4;
inline constexpr int kKeys = 32;  // whose scores are held at a time

/// What scores need to know of a key.
struct alignas(8) Key {
  float inverse_norm;
  int offset;
};

/// What a block has in shared memory, in this order; `rows`: of queries.
template <int D>
struct ForwardShared {
  bf16 *k, *v, *q;
  Key* keys;
  float *inverse_q, *bias;
  int* place;
  unsigned char* region;

  __device__ ForwardShared(std::byte* memory, int padded, int rows, int offsets)
      : k(reinterpret_cast<bf16*>(memory)),
        v(k + padded * kStep<D>),
        q(v + padded * kStep<D>),
        keys(reinterpret_cast<Key*>(q + rows * kStep<D>)),
        inverse_q(reinterpret_cast<float*>(keys + padded)),
        bias(inverse_q + rows),
        place(reinterpret_cast<int*>(bias + offsets)),
        region(reinterpret_cast<unsigned char*>(place + padded)) {}
  static std::size_t bytes(int padded, int rows, std::int64_t offsets) {
    return static_cast<std::size_t>((2 * padded + rows) * kStep<D>) * sizeof(bf16) +
           static_cast<std::size_t>(padded) * (sizeof(Key) + sizeof(int) + 1) + static_cast<std::size_t>(rows + offsets) * sizeof(float);
  }
};

/// The scores of two tiles of queries and kKeys keys, before softmax: accumulators of 16 x 8 numbers.
using Scores = float[2][kKeys / 8][4];

/// Of this lane's 2 x 2 rows (tile, upper or lower half): what does not change from keys to keys.
struct QueryRows {
  int query[2][2], region[2][2];
  int origin[2][2];    // of the biases: where those of keys of offset 0 are
  float factor[2][2];  // inverse norm times scale
};

/// Applies norms, scale, bias and mask to the raw products of queries and keys [first, first + kKeys).
template <int D>
__device__ __forceinline__ void finish_scores(const ForwardShared<D>& shared, const QueryRows& rows, int tokens, int first, bool masked,
                                              Scores& s) {
  const bool whole = first + kKeys <= tokens;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int key = first + n * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i;
      const Key of_key = shared.keys[key];
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float& score = s[tile][n][half * 2 + i];
          score = score * (of_key.inverse_norm * rows.factor[tile][half]) + shared.bias[rows.origin[tile][half] + of_key.offset];
          if (masked && shared.region[key] != rows.region[tile][half]) score += kMask;
          if (!whole && key >= tokens) score = static_cast<float>(kNoScore);
        }
      }
    }
  }
}

/// Softmax as far as these keys go: scores become exponentials, sums grow, and what has been summed so far shrinks where a maximum grew.
template <int D>
__device__ __forceinline__ void exponentiate(Scores& s, float (&largest)[2][2], float (&sum)[2][2], float (&out)[2][D / 8][4]) {
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[tile][half];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) most = max(most, max(s[tile][n][half * 2], s[tile][n][half * 2 + 1]));
      most = warp_max<4>(most);
      if (__any_sync(kAllLanes, most > largest[tile][half])) {
        const float shrink = exp2_approximate(largest[tile][half] - most);
        sum[tile][half] *= shrink;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) out[tile][n][half * 2] *= shrink, out[tile][n][half * 2 + 1] *= shrink;
        largest[tile][half] = most;
      }
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = half * 2; i < half * 2 + 2; ++i) {
          s[tile][n][i] = exp2_approximate(s[tile][n][i] - most);
          sum[tile][half] += s[tile][n][i];
        }
      }
    }
  }
}

/// Block (window of a head, tile of queries, head); a warp has kWarpRows queries.
template <int D, bool kDrops>
__global__ void __launch_bounds__(kForwardWarps* kWarp, 2) forward_kernel(WindowAttentionSize size, Forward at) {
  const int tokens = static_cast<int>(size.tokens()), padded = padded_tokens(tokens), head_size = static_cast<int>(size.head_size);
  const int block_rows = static_cast<int>(blockDim.x), first_row = static_cast<int>(blockIdx.y) * block_rows;
  const ForwardShared<D> shared(dynamic_shared<std::byte>(), padded, block_rows, static_cast<int>(size.offsets()));
  const std::int64_t task_index = blockIdx.z * size.tasks_per_head() + blockIdx.x, width = size.heads * size.head_size;
  const WindowTask task(size, task_index);
  const bool masked = task.is_masked(size);
  const bf16 *q = at.in.qkv + task.head * size.head_size, *k = q + width, *v = k + width;

  find_tokens(size, task, masked, padded, shared.place, shared.region);
  __syncthreads();
  start_rows<D>(q, 3 * width, head_size, at.vectors, tokens, shared.place, first_row, block_rows, shared.q);
  start_rows<D>(k, 3 * width, head_size, at.vectors, tokens, shared.place, 0, padded, shared.k);
  commit_copies();
  start_rows<D>(v, 3 * width, head_size, at.vectors, tokens, shared.place, 0, padded, shared.v);
  commit_copies();
  load_biases(size, at.in.position_bias, task.head, shared.bias);
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += block_rows) shared.keys[i].offset = offset_of(size, i);
  wait_copies<1>();
  __syncthreads();
  find_inverse_norms<D>(shared.q, block_rows, shared.inverse_q, 1);
  find_inverse_norms<D>(shared.k, padded, &shared.keys->inverse_norm, sizeof(Key) / sizeof(float));
  wait_copies<0>();
  __syncthreads();

  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp_row = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  const float scale = logit_factor(at.in.logit_scale[task.head]) * kLog2OfE;
  QueryRows rows;
  unsigned query[2][D / 16][4];
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_row + tile * 16 + half * 8 + lane / 4;
      rows.query[tile][half] = min(first_row + row, tokens - 1);
      rows.region[tile][half] = shared.region[rows.query[tile][half]];
      rows.factor[tile][half] = shared.inverse_q[row] * scale;
      rows.origin[tile][half] = static_cast<int>(size.offsets() / 2) - shared.keys[rows.query[tile][half]].offset;
    }
#pragma unroll
    for (int c = 0; c < D / 16; ++c) load_left<kStep<D>>(query[tile][c], shared.q, warp_row + tile * 16, c * 16);
  }
  float out[2][D / 8][4] = {}, sum[2][2] = {}, largest[2][2];
#pragma unroll
  for (int i = 0; i < 4; ++i) largest[i / 2][i % 2] = static_cast<float>(kNoScore);
  for (int first = 0; first < padded; first += kKeys) {
    Scores s = {};
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
#pragma unroll
      for (int c = 0; c < D / 16; ++c) {
        unsigned key[2][2];
        load_right_transposed<kStep<D>>(key, shared.k, first + n * 16, c * 16);
#pragma unroll
        for (int tile = 0; tile < 2; ++tile) {
          mma_bf16(s[tile][n * 2], query[tile][c], key[0]);
          mma_bf16(s[tile][n * 2 + 1], query[tile][c], key[1]);
        }
      }
    }
    finish_scores(shared, rows, tokens, first, masked, s);
    exponentiate<D>(s, largest, sum, out);
    if constexpr (kDrops) {
      const DropoutFactor<float> factor(size, task);
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
        for (int i = 0; i < kKeys / 8 * 4; ++i)
          s[tile][i / 4][i % 4] *= factor(rows.query[tile][i % 4 / 2], first + i / 4 * 8 + lane % 4 * 2 + i % 2);
      }
    }
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      unsigned p[2][4];
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) p[tile][i] = pack_bf16(s[tile][n * 2 + i / 2][i % 2 * 2], s[tile][n * 2 + i / 2][i % 2 * 2 + 1]);
      }
#pragma unroll
      for (int c = 0; c < D / 16; ++c) {
        unsigned value[2][2];
        load_right<kStep<D>>(value, shared.v, first + n * 16, c * 16);
#pragma unroll
        for (int tile = 0; tile < 2; ++tile) {
          mma_bf16(out[tile][c * 2], p[tile], value[0]);
          mma_bf16(out[tile][c * 2 + 1], p[tile], value[1]);
        }
      }
    }
  }
  // Each warp's results go over its own queries, and from there to memory in whole vectors.
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = warp_sum<4>(sum[tile][half]), inverse = 1.0F / total;
      const int row = warp_row + tile * 16 + half * 8 + lane / 4;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        *reinterpret_cast<unsigned*>(shared.q + row * kStep<D> + n * 8 + lane % 4 * 2) =
            pack_bf16(out[tile][n][half * 2] * inverse, out[tile][n][half * 2 + 1] * inverse);
      }
      if (lane % 4 == 0 && first_row + row < tokens && at.log_sums != nullptr) {
        at.log_sums[task_index * tokens + first_row + row] = largest[tile][half] * kLogOf2 + logf(total);
      }
    }
  }
  __syncwarp();
  store_rows<D>(shared.q + warp_row * kStep<D>, first_row + warp_row, tokens, shared.place, at.y + task.head * size.head_size, width,
                head_size, at.vectors);
}

}  // namespace trident::cuda::tensor
