/// The backward of attention_tensor.h: a block walks over the windows of its part of a head. A warp has kWarpRows keys, whose gradients and
/// those of their values it adds up in registers over all queries, 16 at a time; the gradients of kChunk queries at a time are a product of
/// their scores' gradients, left in shared memory by all warps, and the keys. Nothing is added up across blocks but position bias and
/// scale, by the blocks that come last. Included by attention_cuda.cu alone.
#pragma once

#include "runtime/kernels/cuda/attention_tensor_gradients.h"
#include "runtime/kernels/cuda/joint_sums.h"

namespace trident::cuda::tensor {

struct Backward {
  WindowAttentionInputs<bf16> in;
  const bf16* y;          // of the forward
  const float* log_sums;  // (tasks, tokens): of the forward
  const bf16* dy;
  bf16* dqkv;
  Into<float> scale, bias, qkv_bias;  // (heads,), (heads, offsets)
  JointSums<float> sums;              // of a head: of the scale, of the biases, and of the channels of q, k and v
  bool vectors;
};

/// Writes the gradients of queries [chunk, chunk + kChunk): `Groups` warps share the channels of a tile of 16. Returns this thread's part
/// of sum(dscores * cosines). All threads call it.
template <int D, int Groups>
__device__ __forceinline__ double write_queries(const BackwardShared<D>& shared, const WindowState& window, int padded, int chunk,
                                                int buffer, std::int64_t width, bool vectors, bf16* dq) {
  constexpr int kTiles = kChunk / 16, kChannels = D / Groups;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp,
            warps = static_cast<int>(blockDim.x) / kWarp;
  const int group = Groups == 1 ? 0 : warp / kTiles, first_channel = group * kChannels;
  double cosines = 0;
  for (int round = 0; round < kTiles; round += warps) {  // the same number of rounds for all: there are barriers inside
    const int row = (round + (Groups == 1 ? warp : warp % kTiles)) * 16;
    const bool works = row < kChunk && chunk + row < window.tokens;
    float gradient[kChannels / 8][4] = {}, dot[2] = {};
    const bf16* q = shared.chunk_of_q(buffer);
    if (works) {
      for (int key = 0; key < padded; key += 16) {
        unsigned slope[4];
        load_left_transposed<kSlopeStep>(slope, shared.slopes, key, row);
#pragma unroll
        for (int c = 0; c < kChannels / 16; ++c) {
          unsigned right[2][2];
          load_right<kStep<D>>(right, shared.k, key, first_channel + c * 16);
          mma_bf16(gradient[c * 2], slope, right[0]);
          mma_bf16(gradient[c * 2 + 1], slope, right[1]);
        }
      }
#pragma unroll
      for (int i = 0; i < kChannels / 8 * 4; ++i) {
        const int local = row + i % 4 / 2 * 8 + lane / 4, channel = first_channel + i / 4 * 8 + lane % 4 * 2 + i % 2;
        dot[i % 4 / 2] += gradient[i / 4][i % 4] * compute(q[local * kStep<D> + channel]) * shared.queries[chunk + local].inverse_norm;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        dot[half] = warp_sum<4>(dot[half]);
        if (lane % 4 == 0) shared.dots[group * kChunk + row + half * 8 + lane / 4] = dot[half];
      }
    }
    __syncthreads();
    if (!works) continue;
    float inverse[2] = {}, projected[2] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int local = row + half * 8 + lane / 4, query = chunk + local;
      if (query >= window.tokens) continue;
      float whole = shared.dots[local];
      if constexpr (Groups == 2) whole += shared.dots[kChunk + local];
      if (group == 0 && lane % 4 == 0) cosines += static_cast<double>(whole);
      inverse[half] = shared.queries[query].inverse_norm;
      projected[half] = inverse[half] < static_cast<float>(1.0 / kNormFloor) ? whole * inverse[half] : 0.0F;
    }
#pragma unroll
    for (int n = 0; n < kChannels / 8; ++n) {
      const int channel = first_channel + n * 8 + lane % 4 * 2;
      float sums[2] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int local = row + half * 8 + lane / 4, query = chunk + local;
        if (query >= window.tokens) continue;
        bf16* target = dq + std::int64_t{shared.place[query]} * 3 * width;
        float values[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          values[i] =
              (gradient[n][half * 2 + i] - compute(q[local * kStep<D> + channel + i]) * projected[half]) * window.scale * inverse[half];
          sums[i] += values[i];
        }
        if (vectors && channel < window.head_size) {
          *reinterpret_cast<unsigned*>(target + channel) = pack_bf16(values[0], values[1]);
        } else if (!vectors) {
          for (int i = 0; i < 2; ++i) {
            if (channel + i < window.head_size) target[channel + i] = stored<bf16>(values[i]);
          }
        }
      }
      if (window.channels != nullptr) add_tokens(sums, window.channels + channel);
    }
  }
  return cosines;
}

/// A warp's gradients of keys and values go over its own keys and values in shared memory, and from there to memory in whole vectors.
/// Nobody may need these any more.
template <int D>
__device__ __forceinline__ void write_keys(const BackwardShared<D>& shared, const WindowState& window, int warp_key,
                                           const KeyGradients<D>& gradients, std::int64_t width, bool vectors, bf16* dk) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int key = warp_key + tile * 16 + half * 8 + lane / 4;
      const float inverse = shared.inverse_k[key];
      bf16* row = shared.k + key * kStep<D>;
      float along = 0;
#pragma unroll
      for (int i = 0; i < D / 8 * 2; ++i) {
        along += gradients.k[tile][i / 2][half * 2 + i % 2] * compute(row[i / 2 * 8 + lane % 4 * 2 + i % 2]) * inverse;
      }
      along = warp_sum<4>(along);
      const float projected = inverse < static_cast<float>(1.0 / kNormFloor) ? along * inverse : 0.0F;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const int channel = n * 8 + lane % 4 * 2;
        float values[2];
#pragma unroll
        for (int i = 0; i < 2; ++i)
          values[i] = (gradients.k[tile][n][half * 2 + i] - compute(row[channel + i]) * projected) * window.scale * inverse;
        *reinterpret_cast<unsigned*>(row + channel) = pack_bf16(values[0], values[1]);
        *reinterpret_cast<unsigned*>(shared.v + key * kStep<D> + channel) =
            pack_bf16(gradients.v[tile][n][half * 2], gradients.v[tile][n][half * 2 + 1]);
      }
    }
  }
  __syncwarp();
  if (window.channels != nullptr) {
    add_rows<D>(shared.k + warp_key * kStep<D>, window.channels + D);
    add_rows<D>(shared.v + warp_key * kStep<D>, window.channels + 2 * D);
  }
  store_rows<D>(shared.k + warp_key * kStep<D>, warp_key, window.tokens, shared.place, dk, 3 * width, window.head_size, vectors);
  store_rows<D>(shared.v + warp_key * kStep<D>, warp_key, window.tokens, shared.place, dk + width, 3 * width, window.head_size, vectors);
}

/// Reads a token's vectors of q, k, y and dy, and writes what is needed of them: norms and <y, dy>.
template <int D>
__device__ __forceinline__ void describe_token(const WindowAttentionSize& size, const Backward& at, std::int64_t head, int token,
                                               const float* log_sums, const BackwardShared<D>& shared) {
  Query query{.inverse_norm = 0.0F, .log_sum = 0.0F, .along = 0.0F, .offset = offset_of(size, token)};
  float k_squares = 0;
  if (token < static_cast<int>(size.tokens())) {
    const std::int64_t width = size.heads * size.head_size, place = shared.place[token], channel = head * size.head_size;
    const bf16 *q = at.in.qkv + place * 3 * width + channel, *k = q + width, *y = at.y + place * width + channel,
               *dy = at.dy + place * width + channel;
    float q_squares = 0;
    const auto add = [&](bf16 of_q, bf16 of_k, bf16 of_y, bf16 of_dy) {
      q_squares += compute(of_q) * compute(of_q), k_squares += compute(of_k) * compute(of_k), query.along += compute(of_y) * compute(of_dy);
    };
    if (at.vectors) {
#pragma unroll
      for (int c = 0; c < D; c += 8) {
        if (c >= size.head_size) break;
        const auto some_q = load<8>(q + c), some_k = load<8>(k + c), some_y = load<8>(y + c), some_dy = load<8>(dy + c);
#pragma unroll
        for (int i = 0; i < 8; ++i) add(some_q[i], some_k[i], some_y[i], some_dy[i]);
      }
    } else {
      for (int c = 0; c < size.head_size; ++c) add(q[c], k[c], y[c], dy[c]);
    }
    query.inverse_norm = inverse_norm(q_squares);
    query.log_sum = log_sums[token] * kLog2OfE;
  }
  shared.queries[token] = query;
  shared.inverse_k[token] = inverse_norm(k_squares);
}

/// One window of a head. Returns this thread's part of sum(dscores * cosines).
template <int D, bool kDrops>
__device__ __forceinline__ double backward_window(const WindowAttentionSize& size, const Backward& at, std::int64_t task_index,
                                                  const BackwardShared<D>& shared, const WindowState& window) {
  const int padded = static_cast<int>(blockDim.x), tokens = window.tokens, warp_key = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  const WindowTask task(size, task_index);
  const std::int64_t width = size.heads * size.head_size, head = task.head * size.head_size;
  const bf16 *q = at.in.qkv + head, *k = q + width, *v = k + width, *dy = at.dy + head;
  const auto start_chunk = [&](int chunk, int buffer) {
    start_rows<D>(q, 3 * width, window.head_size, at.vectors, tokens, shared.place, chunk, kChunk, shared.chunk_of_q(buffer));
    start_rows<D>(dy, width, window.head_size, at.vectors, tokens, shared.place, chunk, kChunk, shared.chunk_of_dy(buffer));
    commit_copies();
  };
  __syncthreads();  // the window before has been used
  find_tokens(size, task, window.masked, padded, shared.place, shared.region);
  if (kDrops && threadIdx.x == 0) *shared.dropout = DropoutFactor<float>(size, task);
  __syncthreads();
  start_rows<D>(k, 3 * width, window.head_size, at.vectors, tokens, shared.place, 0, padded, shared.k);
  start_rows<D>(v, 3 * width, window.head_size, at.vectors, tokens, shared.place, 0, padded, shared.v);
  start_chunk(0, 0);
  describe_token<D>(size, at, task.head, static_cast<int>(threadIdx.x), at.log_sums + task_index * tokens, shared);
  KeyGradients<D> gradients = {};
  double cosines = 0;
  for (int chunk = 0, buffer = 0; chunk < tokens; chunk += kChunk, buffer = 1 - buffer) {
    if (chunk + kChunk < tokens) {
      start_chunk(chunk + kChunk, 1 - buffer);
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    __syncthreads();
    for (int sub = 0; sub < kChunk && chunk + sub < tokens; sub += 16) {
      add_queries<D, kDrops>(shared, window, warp_key, chunk, sub, buffer, gradients);
    }
    __syncthreads();
    bf16* dq = at.dqkv + head;
    if (D >= 32 && padded == kMostTokens) {
      cosines += write_queries < D, D >= 32 ? 2 : 1 > (shared, window, padded, chunk, buffer, width, at.vectors, dq);
    } else {
      cosines += write_queries<D, 1>(shared, window, padded, chunk, buffer, width, at.vectors, dq);
    }
    __syncthreads();  // before the next chunk's numbers come
  }
  write_keys<D>(shared, window, warp_key, gradients, width, at.vectors, at.dqkv + head + width);
  return cosines;
}

/// Block (part, head); kWarpRows keys a warp.
template <int D, bool kDrops>
__global__ void __launch_bounds__(kMostTokens, 1) backward_kernel(WindowAttentionSize size, Backward at) {
  const std::int64_t tasks = size.tasks_per_head(), part = blockIdx.x, parts = gridDim.x, head = blockIdx.y;
  const int offsets = static_cast<int>(size.offsets()), warp = static_cast<int>(threadIdx.x) / kWarp,
            warps = static_cast<int>(blockDim.x) / kWarp;
  const BackwardShared<D> shared(dynamic_shared<std::byte>(), static_cast<int>(blockDim.x), offsets);
  const float logit_scale = at.in.logit_scale[head];
  WindowState window{.tokens = static_cast<int>(size.tokens()),
                     .head_size = static_cast<int>(size.head_size),
                     .masked = false,
                     .wants_bias = at.bias.to != nullptr,
                     .rows_of_eight = size.grid.window % 8 == 0,
                     .scale = logit_factor(logit_scale),
                     .bias = shared.bias + offsets / 2,
                     .dbias = shared.dbias + warp * offsets + offsets / 2,
                     .channels = at.qkv_bias.to == nullptr ? nullptr : shared.channels + warp * 3 * D};
  load_biases(size, at.in.position_bias, head, shared.bias);
  for (int i = static_cast<int>(threadIdx.x); i < warps * offsets; i += static_cast<int>(blockDim.x)) shared.dbias[i] = 0.0F;
  for (int i = static_cast<int>(threadIdx.x); i < warps * 3 * D; i += static_cast<int>(blockDim.x)) shared.channels[i] = 0.0F;
  double cosines = 0;
  for (std::int64_t i = tasks * part / parts; i < tasks * (part + 1) / parts; ++i) {
    window.masked = WindowTask(size, head * tasks + i).is_masked(size);
    cosines += backward_window<D, kDrops>(size, at, head * tasks + i, shared, window);
  }
  cosines = warp_sum(cosines);
  if (threadIdx.x % kWarp == 0) shared.cosines[warp] = cosines;
  __syncthreads();
  float* own = at.sums.part(head, static_cast<unsigned>(part));
  const auto sum_warps = [&](const float* of_warps, int count, float* to) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
      float sum = of_warps[i];
      for (int other = 1; other < warps; ++other) sum += of_warps[other * count + i];
      to[i] = sum;
    }
  };
  sum_warps(shared.dbias, offsets, own + 1);
  sum_warps(shared.channels, 3 * D, own + 1 + offsets);
  if (threadIdx.x == 0) {
    for (int other = 1; other < warps; ++other) cosines += shared.cosines[other];
    own[0] = static_cast<double>(logit_scale) <= kLargestLogit ? static_cast<float>(cosines * static_cast<double>(window.scale)) : 0.0F;
  }
  add_up(at.sums, head, static_cast<unsigned>(part), [&](std::int64_t i, float sum) {
    const auto put = [sum](const Into<float>& into, std::int64_t place) {
      if (into.to != nullptr) into.to[place] = into.sum == Sum::adds ? into.to[place] + sum : sum;
    };
    if (i == 0) return put(at.scale, head);
    if (i <= offsets) return put(at.bias, head * offsets + i - 1);
    const std::int64_t third = (i - 1 - offsets) / D, channel = (i - 1 - offsets) % D;
    if (channel < size.head_size) put(at.qkv_bias, (third * size.heads + head) * size.head_size + channel);
  });
}

}  // namespace trident::cuda::tensor
