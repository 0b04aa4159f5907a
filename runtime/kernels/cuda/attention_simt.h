/// Window attention by ordinary arithmetic, for every number type, head size and window. A block has a tile of queries and walks over tiles
/// of keys (backward also the other way round); a thread has kRows rows and a few columns of the tile's scores in registers. Limited by the
/// units for f32 (f64): forward 4 tokens^2 head_size FLOPs per window and head, backward 14 (scores and their gradients are computed
/// twice). Included by attention_cuda.cu alone.
#pragma once

#include "runtime/kernels/cuda/attention_window.h"

namespace trident::cuda::simt {

inline constexpr int kThreads = 128, kAcross = 16, kDown = kThreads / kAcross;  // threads along the columns and the rows of a tile

template <class C>
inline constexpr int kVector = static_cast<int>(16 / sizeof(C));
template <class C>
inline constexpr int kRows = 2 * kVector<C>;  // of a thread
template <class C>
inline constexpr int kTileRows = kDown* kRows<C>;
inline constexpr int kPad = 4;  // numbers between the rows of a tile: fewer conflicts of banks, vectors stay aligned

/// A tile of tokens of a window: their places in the grid, their regions and offsets, and 1 / max(norm, floor) of their vectors.
template <class C, int Count>
struct TileTokens {
  std::int64_t place[Count];
  int region[Count], offset[Count];
  C inverse_norm[Count];
};

/// sum (R, N) += a^T b over `depth` rows: a (depth, step_a) at this thread's R columns, b (depth, step_b) at its N columns.
template <int R, int N, class C>
__device__ __forceinline__ void accumulate(int depth, const C* a, int step_a, const C* b, int step_b, C (&sum)[R][N]) {
  constexpr int kLeft = R < kVector<C> ? R : kVector<C>, kRight = N < kVector<C> ? N : kVector<C>;
  a += static_cast<int>(threadIdx.x) / kAcross * R;
  b += static_cast<int>(threadIdx.x) % kAcross * N;
#pragma unroll 2
  for (int k = 0; k < depth; ++k, a += step_a, b += step_b) {
    C left[R], right[N];
#pragma unroll
    for (int i = 0; i < R; i += kLeft) {
      const auto values = load<kLeft>(a + i);
#pragma unroll
      for (int j = 0; j < kLeft; ++j) left[i + j] = values[j];
    }
#pragma unroll
    for (int i = 0; i < N; i += kRight) {
      const auto values = load<kRight>(b + i);
#pragma unroll
      for (int j = 0; j < kRight; ++j) right[i + j] = values[j];
    }
#pragma unroll
    for (int i = 0; i < R; ++i) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum[i][j] += left[i] * right[j];
    }
  }
}

/// Finds tokens [first, first + Count) of a window. Barriers before and after are the caller's.
template <int Count, class C>
__device__ __forceinline__ void find_tokens(const WindowAttentionSize& size, const WindowTask& task, int first, bool masked,
                                            TileTokens<C, Count>& tokens) {
  for (int i = static_cast<int>(threadIdx.x); i < Count; i += kThreads) {
    const bool exists = first + i < static_cast<int>(size.tokens());
    tokens.place[i] = exists ? task.token(size, first + i) : -1;
    tokens.region[i] = masked && exists ? task.region(size, first + i) : 0;
    tokens.offset[i] = exists ? static_cast<int>(size.token_offset(first + i)) : 0;
  }
}

/// Copies the vectors of the tokens, of `stride` numbers each token from `from` on, to `across` (D, Count + kPad) and `along` (Count, D +
/// kPad); either may be null. Zeros where there is no token or channel.
template <int Count, int D, class T, class C>
__device__ __forceinline__ void gather_vectors(const T* from, std::int64_t stride, int head_size, bool vectors,
                                               const TileTokens<C, Count>& tokens, C* across, C* along) {
  constexpr int N = 4;
  for (int item = static_cast<int>(threadIdx.x); item < Count * (D / N); item += kThreads) {
    const int i = item / (D / N), channel = item % (D / N) * N;
    const std::int64_t place = tokens.place[i];
    C values[N] = {};
    if (place >= 0 && channel < head_size) {
      const T* source = from + place * stride + channel;
      if (vectors) {
        constexpr int kPiece = kVectorWidth<T> < N ? kVectorWidth<T> : N;
#pragma unroll
        for (int piece = 0; piece < N; piece += kPiece) {
          const auto loaded = load<kPiece>(source + piece);
#pragma unroll
          for (int j = 0; j < kPiece; ++j) values[piece + j] = compute(loaded[j]);
        }
      } else {
        for (int j = 0; j < N && channel + j < head_size; ++j) values[j] = compute(source[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (across != nullptr) across[(channel + j) * (Count + kPad) + i] = values[j];
      if (along != nullptr) along[i * (D + kPad) + channel + j] = values[j];
    }
  }
}

/// 1 / max(norm, floor) of the vectors in `across` (D, Count + kPad).
template <int Count, class C>
__device__ __forceinline__ void find_norms(int head_size, const C* across, TileTokens<C, Count>& tokens) {
  for (int i = static_cast<int>(threadIdx.x); i < Count; i += kThreads) {
    C squares = 0;
    for (int c = 0; c < head_size; ++c) squares += across[c * (Count + kPad) + i] * across[c * (Count + kPad) + i];
    tokens.inverse_norm[i] = C(1) / max(sqrt(squares), static_cast<C>(kNormFloor));
  }
}

/// Whether 4 numbers at a time can be loaded from vectors of head_size numbers at these places.
template <class... T>
bool loads_vectors(std::int64_t head_size, const T*... from) {
  return head_size % 4 == 0 && ((reinterpret_cast<std::uintptr_t>(from) % 16 == 0) && ...);
}

template <class T>
struct Forward {
  WindowAttentionInputs<T> in;
  T* y;
  Wide<T>* log_sums;
  bool vectors;
};

template <class C, int D>
struct ForwardShared {
  static constexpr int kColumns = kVector<C>, kTileColumns = kAcross * kColumns;
  C q[D][kTileRows<C> + kPad], k[D][kTileColumns + kPad], v[kTileColumns][D + kPad], p[kTileColumns][kTileRows<C> + kPad];
  TileTokens<C, kTileRows<C>> queries;
  TileTokens<C, kTileColumns> keys;
};

/// Block (window of a head, tile of queries, head).
template <class T, int D>
__global__ void __launch_bounds__(kThreads) forward_kernel(WindowAttentionSize size, Forward<T> at) {
  using C = Compute<T>;
  using Shared = ForwardShared<C, D>;
  constexpr int R = kRows<C>, N = Shared::kColumns, kOut = D / kAcross;
  Shared& shared = *dynamic_shared<Shared>();
  const int tokens = static_cast<int>(size.tokens()), head_size = static_cast<int>(size.head_size);
  const WindowTask task(size, blockIdx.z * size.tasks_per_head() + blockIdx.x);
  const bool masked = task.is_masked(size);
  const int first_row = static_cast<int>(blockIdx.y) * kTileRows<C>, down = static_cast<int>(threadIdx.x) / kAcross,
            across = static_cast<int>(threadIdx.x) % kAcross;
  const std::int64_t stride = 3 * size.heads * size.head_size;
  const T *q = at.in.qkv + task.head * size.head_size, *k = q + size.heads * size.head_size, *v = k + size.heads * size.head_size;
  const C scale = logit_factor(at.in.logit_scale[task.head]);
  const C* bias = position_bias_of(size, at.in.position_bias, task.head);
  const DropoutFactor<C> factor(size, task);

  find_tokens(size, task, first_row, masked, shared.queries);
  __syncthreads();
  gather_vectors<kTileRows<C>, D>(q, stride, head_size, at.vectors, shared.queries, &shared.q[0][0], static_cast<C*>(nullptr));
  __syncthreads();
  find_norms(head_size, &shared.q[0][0], shared.queries);

  C out[R][kOut] = {}, largest[R], sum[R] = {};
#pragma unroll
  for (int i = 0; i < R; ++i) largest[i] = static_cast<C>(kNoScore);
  for (int first = 0; first < tokens; first += Shared::kTileColumns) {
    __syncthreads();  // the tile before has been used
    find_tokens(size, task, first, masked, shared.keys);
    __syncthreads();
    gather_vectors<Shared::kTileColumns, D>(k, stride, head_size, at.vectors, shared.keys, &shared.k[0][0], static_cast<C*>(nullptr));
    gather_vectors<Shared::kTileColumns, D>(v, stride, head_size, at.vectors, shared.keys, static_cast<C*>(nullptr), &shared.v[0][0]);
    __syncthreads();
    find_norms(head_size, &shared.k[0][0], shared.keys);
    __syncthreads();
    C score[R][N] = {};
    accumulate(head_size, &shared.q[0][0], kTileRows<C> + kPad, &shared.k[0][0], Shared::kTileColumns + kPad, score);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int row = down * R + i, query = first_row + row;
      C most = largest[i];
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int column = across * N + j, key = first + column;
        if (query < tokens && key < tokens) {
          score[i][j] = score[i][j] * shared.queries.inverse_norm[row] * shared.keys.inverse_norm[column] * scale +
                        bias[shared.keys.offset[column] - shared.queries.offset[row]];
          if (shared.queries.region[row] != shared.keys.region[column]) score[i][j] += static_cast<C>(kMaskValue);
        } else {
          score[i][j] = static_cast<C>(kNoScore);
        }
        most = max(most, score[i][j]);
      }
      most = warp_max<kAcross>(most);
      const C shrink = exp(largest[i] - most);
      largest[i] = most;
      sum[i] *= shrink;
#pragma unroll
      for (int j = 0; j < kOut; ++j) out[i][j] *= shrink;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int column = across * N + j, key = first + column;
        const C p = key < tokens ? exp(score[i][j] - most) : C(0);
        sum[i] += p;
        shared.p[column][row] = p * factor(query, key);
      }
    }
    __syncthreads();
    accumulate(Shared::kTileColumns, &shared.p[0][0], kTileRows<C> + kPad, &shared.v[0][0], D + kPad, out);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const C total = warp_sum<kAcross>(sum[i]);
    const int row = down * R + i;
    if (first_row + row >= tokens) continue;
    T* target = at.y + (shared.queries.place[row] * size.heads + task.head) * size.head_size;
#pragma unroll
    for (int j = 0; j < kOut; ++j) {
      const int channel = across * kOut + j;
      if (channel < head_size) target[channel] = stored<T>(out[i][j] / total);
    }
    if (across == 0 && at.log_sums != nullptr) {
      at.log_sums[(task.head * size.tasks_per_head() + blockIdx.x) * tokens + first_row + row] = largest[i] + log(total);
    }
  }
}

template <class T>
struct Backward {
  WindowAttentionInputs<T> in;
  const Wide<T>*log_sums, *along;  // (tasks, tokens): of the forward; <y, dy> of each query
  const T* dy;
  T* dqkv;
  Wide<T>* bias_parts;  // (parts, heads, tokens, tokens), of each pair; null: not wanted
  double* scale_parts;  // (parts, tiles of queries, heads)
  bool vectors;
};

template <class C, int D>
struct BackwardShared {
  static constexpr int kColumns = kVector<C> / 2, kTileColumns = kAcross * kColumns;
  C row_unit[D][kTileRows<C> + kPad], row_value[D][kTileRows<C> + kPad];        // of the rows: q and dy, or k and v
  C column_unit[D][kTileColumns + kPad], column_value[D][kTileColumns + kPad];  // of the columns: k and v, or q and dy
  C unit_along[kTileColumns][D + kPad], value_along[kTileColumns][D + kPad];    // the same, a token's numbers close together
  C p[kTileColumns][kTileRows<C> + kPad];
  TileTokens<C, kTileRows<C>> rows;
  TileTokens<C, kTileColumns> columns;
};

/// The backward of one tile of queries (kKeys: of keys) of one window: q's gradient, and what the tile adds to those of position bias and
/// scale; or the gradients of k and v. Returns this thread's part of sum(dscores * cosines), for queries.
template <class T, int D, bool kKeys>
__device__ __forceinline__ double backward_tile(const WindowAttentionSize& size, const Backward<T>& at, const WindowTask& task,
                                                std::int64_t task_index, int first_row, Compute<T>* bias_part, bool is_first) {
  using C = Compute<T>;
  using Shared = BackwardShared<C, D>;
  constexpr int R = kRows<C>, N = Shared::kColumns, kOut = D / kAcross, kTileColumns = Shared::kTileColumns;
  Shared& shared = *dynamic_shared<Shared>();
  const int tokens = static_cast<int>(size.tokens()), head_size = static_cast<int>(size.head_size);
  const bool masked = task.is_masked(size);
  const int down = static_cast<int>(threadIdx.x) / kAcross, across = static_cast<int>(threadIdx.x) % kAcross;
  const std::int64_t width = size.heads * size.head_size;
  const T *q = at.in.qkv + task.head * size.head_size, *k = q + width, *v = k + width, *dy = at.dy + task.head * size.head_size;
  const C scale = logit_factor(at.in.logit_scale[task.head]);
  const C* bias = position_bias_of(size, at.in.position_bias, task.head);
  const C *log_sums = at.log_sums + task_index * tokens, *along = at.along + task_index * tokens;
  const DropoutFactor<C> factor(size, task);
  C* const nowhere = nullptr;

  __syncthreads();  // the tile before has been used
  find_tokens(size, task, first_row, masked, shared.rows);
  __syncthreads();
  gather_vectors<kTileRows<C>, D>(kKeys ? k : q, 3 * width, head_size, at.vectors, shared.rows, &shared.row_unit[0][0], nowhere);
  gather_vectors<kTileRows<C>, D>(kKeys ? v : dy, kKeys ? 3 * width : width, head_size, at.vectors, shared.rows, &shared.row_value[0][0],
                                  nowhere);
  __syncthreads();
  find_norms(head_size, &shared.row_unit[0][0], shared.rows);

  C dunit[R][kOut] = {}, dvalue[kKeys ? R : 1][kKeys ? kOut : 1] = {};
  for (int first = 0; first < tokens; first += kTileColumns) {
    __syncthreads();
    find_tokens(size, task, first, masked, shared.columns);
    __syncthreads();
    gather_vectors<kTileColumns, D>(kKeys ? q : k, 3 * width, head_size, at.vectors, shared.columns, &shared.column_unit[0][0],
                                    &shared.unit_along[0][0]);
    gather_vectors<kTileColumns, D>(kKeys ? dy : v, kKeys ? width : 3 * width, head_size, at.vectors, shared.columns,
                                    &shared.column_value[0][0], kKeys ? &shared.value_along[0][0] : nowhere);
    __syncthreads();
    find_norms(head_size, &shared.column_unit[0][0], shared.columns);
    __syncthreads();
    C p[R][N] = {}, slope[R][N] = {};
    accumulate(head_size, &shared.row_unit[0][0], kTileRows<C> + kPad, &shared.column_unit[0][0], kTileColumns + kPad, p);
    accumulate(head_size, &shared.row_value[0][0], kTileRows<C> + kPad, &shared.column_value[0][0], kTileColumns + kPad, slope);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int row = down * R + i;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int column = across * N + j, query = kKeys ? first + column : first_row + row, key = kKeys ? first_row + row : first + column;
        if (query >= tokens || key >= tokens) {
          p[i][j] = slope[i][j] = C(0);
          continue;
        }
        const int behind = (shared.columns.offset[column] - shared.rows.offset[row]) * (kKeys ? -1 : 1);
        C score = p[i][j] * shared.rows.inverse_norm[row] * shared.columns.inverse_norm[column] * scale + bias[behind];
        if (shared.rows.region[row] != shared.columns.region[column]) score += static_cast<C>(kMaskValue);
        const C probability = exp(score - log_sums[query]);
        const C kept = factor(query, key);
        p[i][j] = probability * kept;
        slope[i][j] = probability * (slope[i][j] * kept - along[query]);
        if (!kKeys && bias_part != nullptr) {
          C& target = bias_part[query * tokens + key];
          target = is_first ? slope[i][j] : target + slope[i][j];
        }
      }
    }
    if constexpr (kKeys) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
#pragma unroll
        for (int i = 0; i < R; ++i) shared.p[across * N + j][down * R + i] = p[i][j];
      }
      __syncthreads();
      accumulate(kTileColumns, &shared.p[0][0], kTileRows<C> + kPad, &shared.value_along[0][0], D + kPad, dvalue);
      __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
#pragma unroll
      for (int i = 0; i < R; ++i) shared.p[across * N + j][down * R + i] = slope[i][j] * shared.columns.inverse_norm[across * N + j];
    }
    __syncthreads();
    accumulate(kTileColumns, &shared.p[0][0], kTileRows<C> + kPad, &shared.unit_along[0][0], D + kPad, dunit);
  }
  double cosines = 0;
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int row = down * R + i;
    const C inverse = shared.rows.inverse_norm[row];
    C part = 0;
#pragma unroll
    for (int j = 0; j < kOut; ++j) part += dunit[i][j] * shared.row_unit[across * kOut + j][row] * inverse;
    const C whole = warp_sum<kAcross>(part);
    if (first_row + row >= tokens) continue;
    if (across == 0) cosines += static_cast<double>(whole);
    const C projected = inverse < static_cast<C>(1.0 / kNormFloor) ? whole : C(0);  // at the floor the norm is constant
    T* target = at.dqkv + (shared.rows.place[row] * 3 + (kKeys ? 1 : 0)) * width + task.head * size.head_size;
#pragma unroll
    for (int j = 0; j < kOut; ++j) {
      const int channel = across * kOut + j;
      if (channel >= head_size) continue;
      target[channel] = stored<T>((dunit[i][j] - shared.row_unit[channel][row] * inverse * projected) * scale * inverse);
      if constexpr (kKeys) target[width + channel] = stored<T>(dvalue[i][j]);
    }
  }
  return cosines;
}

/// Block (tile of queries, part, head): the queries' gradients in all windows of the part.
template <class T, int D>
__global__ void __launch_bounds__(kThreads) query_kernel(WindowAttentionSize size, Backward<T> at) {
  const std::int64_t tasks = size.tasks_per_head(), part = blockIdx.y, parts = gridDim.y, head = blockIdx.z,
                     pairs = size.tokens() * size.tokens();
  Compute<T>* bias_part = at.bias_parts == nullptr ? nullptr : at.bias_parts + (part * size.heads + head) * pairs;
  const std::int64_t begin = tasks * part / parts, end = tasks * (part + 1) / parts;
  double cosines = 0;
  for (std::int64_t index = head * tasks + begin; index < head * tasks + end; ++index) {
    cosines += backward_tile<T, D, false>(size, at, WindowTask(size, index), index, static_cast<int>(blockIdx.x) * kTileRows<Compute<T>>,
                                          bias_part, index == head * tasks + begin);
  }
  cosines = block_sum<kThreads>(cosines);
  if (threadIdx.x != 0 || at.scale_parts == nullptr) return;
  const auto logit_scale = at.in.logit_scale[head];
  const double slope = static_cast<double>(logit_scale) <= kLargestLogit ? static_cast<double>(logit_factor(logit_scale)) : 0.0;
  at.scale_parts[(part * gridDim.x + blockIdx.x) * size.heads + head] = cosines * slope;
}

/// Block (window of a head, tile of keys, head): the keys' and values' gradients.
template <class T, int D>
__global__ void __launch_bounds__(kThreads) key_kernel(WindowAttentionSize size, Backward<T> at) {
  const std::int64_t index = blockIdx.z * size.tasks_per_head() + blockIdx.x;
  backward_tile<T, D, true>(size, at, WindowTask(size, index), index, static_cast<int>(blockIdx.y) * kTileRows<Compute<T>>, nullptr, false);
}

}  // namespace trident::cuda::simt
