/// Gradients of biases in the backward of attention_tensor.h: a warp adds up in shared memory those of all pairs of tokens that stand
/// alike, and for the bias of q, k and v those of all tokens.
#pragma once

#include "runtime/kernels/cuda/attention_tensor.h"

namespace trident::cuda::tensor {

/// A number of each lane that goes to an offset.
struct AtOffset {
  float value;
  int offset;
};

/// The sums of a piece of 8 keys by 8 queries by offset: lane l has key l / 4 and queries l % 4 * 2 and the one behind, `offset` that of
/// the first. Only lanes for which is_first() get one. Lanes 9 apart have the same offset.
__device__ __forceinline__ AtOffset sum_diagonals(float first, float second, int offset) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, key = lane / 4, pair = lane % 4;
  const float next = __shfl_sync(kAllLanes, second, (lane + 4) % kWarp), before = __shfl_sync(kAllLanes, second, (lane + 27) % kWarp);
  float sum = first;
  if (key < 7) sum += next;
  if (key == 1 && pair > 0) sum += before;
  const float one = __shfl_sync(kAllLanes, sum, (lane + 9) % kWarp);
  if (pair < 3 && key < 6) sum += one;
  const float two = __shfl_sync(kAllLanes, sum, (lane + 18) % kWarp);
  if (pair < 2 && key < 4) sum += two;
  if (lane == kWarp - 1) return {next, offset - 8};  // the last query and the first key, alone on their diagonal
  return {sum, offset};
}
__device__ __forceinline__ bool is_first() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return lane % 4 == 0 || lane < 8 || lane == kWarp - 1;
}

/// Adds the gradients of 16 keys by 16 queries (accumulators of two tiles of 8 queries) to the warp's sums by offset. No two lanes add to
/// one place at a time, so that the order is always the same. With `rows_of_eight`, tokens from a multiple of 8 on, 8 of them, have
/// neighbouring offsets.
__device__ __forceinline__ void add_to_biases(float* sums, bool rows_of_eight, const float (&gradient)[2][4], const int (&key_offset)[2],
                                              const int (&query_offset)[2][2], const bool (&exists)[2][2][2]) {
  if (rows_of_eight) {
    // Both diagonal pieces have the same offsets, the other two none in common.
    const AtOffset below = sum_diagonals(gradient[0][2], gradient[0][3], key_offset[1] - query_offset[0][0]),
                   above = sum_diagonals(gradient[1][0], gradient[1][1], key_offset[0] - query_offset[1][0]),
                   along =
                       sum_diagonals(gradient[0][0] + gradient[1][2], gradient[0][1] + gradient[1][3], key_offset[0] - query_offset[0][0]);
    if (is_first()) {
      const float of_below = sums[below.offset] + below.value, of_above = sums[above.offset] + above.value;
      sums[below.offset] = of_below, sums[above.offset] = of_above;
    }
    __syncwarp();
    if (is_first()) sums[along.offset] += along.value;
    __syncwarp();
    return;
  }
  // Different keys of one query have different offsets.
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
          if (static_cast<int>(threadIdx.x) % 4 == pair && exists[half][n][i])
            sums[key_offset[half] - query_offset[n][i]] += gradient[n][half * 2 + i];
          __syncwarp();
        }
      }
    }
  }
}

/// Adds what each lane has of two neighbouring channels to sums: lanes 4 apart have different tokens.
__device__ __forceinline__ void add_tokens(float (&of_lane)[2], float* sums) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    for (int bit = 4; bit < kWarp; bit *= 2) of_lane[i] += __shfl_xor_sync(kAllLanes, of_lane[i], bit);
    if (static_cast<int>(threadIdx.x) % kWarp < 4) sums[i] += of_lane[i];
  }
}

/// Adds a warp's rows of shared memory to sums (D,).
template <int D>
__device__ __forceinline__ void add_rows(const bf16* rows, float* sums) {
  for (int channel = static_cast<int>(threadIdx.x) % kWarp * 2; channel < D; channel += 2 * kWarp) {
    float sum[2] = {};
#pragma unroll 4
    for (int row = 0; row < kWarpRows; ++row) {
      const auto pair = load<2>(rows + row * kStep<D> + channel);
      sum[0] += compute(pair[0]), sum[1] += compute(pair[1]);
    }
    sums[channel] += sum[0], sums[channel + 1] += sum[1];
  }
}

}  // namespace trident::cuda::tensor
