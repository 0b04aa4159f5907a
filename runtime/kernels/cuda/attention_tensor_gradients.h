/// What a window of attention_tensor_backward.h leaves in shared memory, and the tensor cores' work on it: gradients of scores, and what 16
/// queries give to the gradients of a warp's keys and values. Included by attention_cuda.cu alone.
#pragma once

#include "runtime/kernels/cuda/attention_tensor_bias.h"

namespace trident::cuda::tensor {

inline constexpr int kChunk = 64;              // queries whose gradients are computed at a time
inline constexpr int kSlopeStep = kChunk + 8;  // numbers between the keys of the scores' gradients

/// What probabilities and their gradients need to know of a query.
struct alignas(16) Query {
  float inverse_norm, log_sum, along;  // the second of base 2; <y, dy>
  int offset;
};

/// What a block has in shared memory, in this order.
template <int D>
struct BackwardShared {
  bf16 *k, *v, *q, *dy, *slopes;           // (padded, step) twice, (2, kChunk, step) twice, (padded, kSlopeStep)
  Query* queries;                          // (padded,)
  double* cosines;                         // (kMostWarps,)
  DropoutFactor<float>* dropout;           // of the window; here it takes no registers while gradients fill them
  float *inverse_k, *dots, *bias, *dbias;  // (padded,), (2, kChunk), (offsets,), (warps, offsets)
  float* channels;                         // (warps, 3, D): sums of the gradients of q, k and v over tokens
  int* place;                              // (padded,)
  unsigned char* region;                   // (padded,)

  __device__ BackwardShared(std::byte* memory, int padded, int offsets) {
    k = reinterpret_cast<bf16*>(memory), v = k + padded * kStep<D>;
    q = v + padded * kStep<D>, dy = q + 2 * kChunk * kStep<D>, slopes = dy + 2 * kChunk * kStep<D>;
    queries = reinterpret_cast<Query*>(slopes + padded * kSlopeStep);
    cosines = reinterpret_cast<double*>(queries + padded);
    dropout = reinterpret_cast<DropoutFactor<float>*>(cosines + kMostWarps);
    inverse_k = reinterpret_cast<float*>(dropout + 1);
    dots = inverse_k + padded, bias = dots + 2 * kChunk, dbias = bias + offsets;
    channels = dbias + padded / kWarpRows * offsets;
    place = reinterpret_cast<int*>(channels + padded / kWarpRows * 3 * D);
    region = reinterpret_cast<unsigned char*>(place + padded);
  }
  /// One of the two places of chunks. (Computed: an array of pointers that is indexed would lie in local memory.)
  __device__ __forceinline__ bf16* chunk_of_q(int buffer) const { return q + buffer * kChunk * kStep<D>; }
  __device__ __forceinline__ bf16* chunk_of_dy(int buffer) const { return dy + buffer * kChunk * kStep<D>; }
  static std::size_t bytes(int padded, std::int64_t offsets) {
    return static_cast<std::size_t>((2 * padded + 4 * kChunk) * kStep<D> + padded * kSlopeStep) * sizeof(bf16) +
           static_cast<std::size_t>(padded) * (sizeof(Query) + sizeof(float) + sizeof(int) + 1) + kMostWarps * sizeof(double) +
           sizeof(DropoutFactor<float>) +
           (2 * kChunk + static_cast<std::size_t>(1 + padded / kWarpRows) * static_cast<std::size_t>(offsets)) * sizeof(float) +
           static_cast<std::size_t>(padded / kWarpRows * 3 * D) * sizeof(float);
  }
};

/// What does not change within a window.
struct WindowState {
  int tokens, head_size;
  bool masked, wants_bias;
  bool rows_of_eight;  // see add_to_biases()
  float scale;
  const float* bias;  // of the offset 0
  float* dbias;       // the same of this warp's sums
  float* channels;    // this warp's sums (3, D) of the gradients of q, k and v over tokens; null: not wanted
};

/// Gradients of 32 keys and values, as accumulators.
template <int D>
struct KeyGradients {
  float k[2][D / 8][4], v[2][D / 8][4];
};

/// Which of this thread's pairs of differentiate() dropout keeps, a bit for each in its order. One at a time: drawn all at once they would
/// take the registers that hold gradients.
__device__ __forceinline__ unsigned kept_pairs(const DropoutFactor<float>& factor, int warp_key, int first_query) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  unsigned kept = 0;
#pragma unroll 1
  for (int pair = 0; pair < 16; ++pair) {
    const int key = warp_key + pair / 4 * 8 + lane / 4, query = first_query + pair / 2 % 2 * 8 + lane % 4 * 2 + pair % 2;
    kept |= static_cast<unsigned>(factor.keeps(query, key)) << pair;
  }
  return kept;
}

/// Turns raw products of keys and queries, and of values and dy, into what v and k are to be multiplied with; leaves the scores' gradients
/// (times the keys' inverse norms) in shared memory. Rows of the tiles are keys from `warp_key` on, columns the queries [chunk + sub, +
/// 16); `kept` is of dropout.
template <int D, bool kDrops>
__device__ __forceinline__ void differentiate(const BackwardShared<D>& shared, const WindowState& window, unsigned kept, int warp_key,
                                              int chunk, int sub, float (&p)[2][2][4], float (&slope)[2][2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, tokens = window.tokens;
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
    float gradients[2][4];
    int key_offset[2], query_offset[2][2];
    bool exists[2][2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int key = warp_key + tile * 16 + half * 8 + lane / 4;
      const float inverse_k = shared.inverse_k[key], by_key = inverse_k * window.scale * kLog2OfE;
      key_offset[half] = shared.queries[key].offset;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int local = sub + n * 8 + lane % 4 * 2;
        float weighted[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int query = chunk + local + i;
          const Query of_query = shared.queries[query];
          float &probability = p[tile][n][half * 2 + i], &gradient = slope[tile][n][half * 2 + i];
          query_offset[n][i] = of_query.offset;
          exists[half][n][i] = key < tokens && query < tokens;
          float score = probability * (by_key * of_query.inverse_norm) + window.bias[key_offset[half] - of_query.offset];
          if (window.masked && shared.region[key] != shared.region[query]) score += kMask;
          const float whole = exists[half][n][i] ? exp2_approximate(score - of_query.log_sum) : 0.0F;
          const bool drops = kDrops && (kept >> (tile * 8 + half * 4 + n * 2 + i) & 1U) == 0;
          const float drop = !kDrops ? 1.0F : drops ? 0.0F : shared.dropout->kept;
          probability = whole * drop;
          gradients[n][half * 2 + i] = whole * (gradient * drop - of_query.along);
          weighted[i] = gradients[n][half * 2 + i] * inverse_k;
          gradient = gradients[n][half * 2 + i] * of_query.inverse_norm;
        }
        *reinterpret_cast<unsigned*>(shared.slopes + key * kSlopeStep + local) = pack_bf16(weighted[0], weighted[1]);
      }
    }
    if (window.wants_bias) add_to_biases(window.dbias, window.rows_of_eight, gradients, key_offset, query_offset, exists);
  }
}

/// Adds what the queries [chunk + sub, + 16) give to the gradients of a warp's keys and values.
template <int D, bool kDrops>
__device__ __forceinline__ void add_queries(const BackwardShared<D>& shared, const WindowState& window, int warp_key, int chunk, int sub,
                                            int buffer, KeyGradients<D>& gradients) {
  const unsigned kept = kDrops ? kept_pairs(*shared.dropout, warp_key, chunk + sub) : 0U;
  const bf16 *q = shared.chunk_of_q(buffer), *dy = shared.chunk_of_dy(buffer);
  float p[2][2][4] = {}, slope[2][2][4] = {};
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    unsigned query[2][2], output[2][2];
    load_right_transposed<kStep<D>>(query, q, sub, c * 16);
    load_right_transposed<kStep<D>>(output, dy, sub, c * 16);
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      unsigned left[4];
      load_left<kStep<D>>(left, shared.k, warp_key + tile * 16, c * 16);
#pragma unroll
      for (int n = 0; n < 2; ++n) mma_bf16(p[tile][n], left, query[n]);
      load_left<kStep<D>>(left, shared.v, warp_key + tile * 16, c * 16);
#pragma unroll
      for (int n = 0; n < 2; ++n) mma_bf16(slope[tile][n], left, output[n]);
    }
  }
  differentiate<D, kDrops>(shared, window, kept, warp_key, chunk, sub, p, slope);
  unsigned probabilities[2][4], slopes[2][4];
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      probabilities[tile][i] = pack_bf16(p[tile][i / 2][i % 2 * 2], p[tile][i / 2][i % 2 * 2 + 1]);
      slopes[tile][i] = pack_bf16(slope[tile][i / 2][i % 2 * 2], slope[tile][i / 2][i % 2 * 2 + 1]);
    }
  }
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    unsigned query[2][2], output[2][2];
    load_right<kStep<D>>(query, q, sub, c * 16);
    load_right<kStep<D>>(output, dy, sub, c * 16);
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        mma_bf16(gradients.v[tile][c * 2 + n], probabilities[tile], output[n]);
        mma_bf16(gradients.k[tile][c * 2 + n], slopes[tile], query[n]);
      }
    }
  }
}

}  // namespace trident::cuda::tensor
