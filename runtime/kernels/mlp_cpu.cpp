#include "runtime/kernels/mlp.h"

#include <algorithm>

#include "runtime/kernels/activation.h"
#include "runtime/kernels/few_in_f64.h"
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/matmul.h"
#include "runtime/kernels/row_blocks.h"

namespace trident {
namespace {

constexpr std::int64_t kGrain = 1 << 12;  // numbers of one piece of an element-wise pass

/// Calls work(begin, end) for pieces of [0, count), on all threads unless inside a parallel region. Loops stand in `work`, on pointers of
/// its own: the compiler does not vectorise them otherwise.
template <class Work>
void for_each_piece(std::int64_t count, Work&& work) {
  const std::int64_t pieces = (count + kGrain - 1) / kGrain;
#pragma omp parallel for schedule(static) if (pieces > 1 && !omp_in_parallel())
  for (std::int64_t piece = 0; piece < pieces; ++piece) work(piece * kGrain, std::min(count, (piece + 1) * kGrain));
}

template <class T>
void add_bias(std::int64_t rows, std::int64_t width, const T* bias, T* y) {
  if (bias == nullptr) return;
#pragma omp parallel for schedule(static) if (rows * width > kGrain && !omp_in_parallel())
  for (std::int64_t row = 0; row < rows; ++row) {
    T* target = y + row * width;
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) target[i] += bias[i];
  }
}

/// before += bias (which may be null), after = activation(before); the two may be the same memory.
template <class T>
void activate(Activation activation, std::int64_t rows, std::int64_t width, const T* bias, T* before, T* after) {
#pragma omp parallel for schedule(static) if (rows * width > kGrain && !omp_in_parallel())
  for (std::int64_t row = 0; row < rows; ++row) {
    T *x = before + row * width, *y = after + row * width;
    if (bias != nullptr) {
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) x[i] += bias[i];
    }
    if (activation == Activation::gelu) {
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) y[i] = gelu(x[i]);
    } else {
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) y[i] = x[i] > T(0) ? x[i] : T(0);
    }
  }
}

/// gradient *= activation'(before), and after = activation(before).
template <class T>
void activate_backward(Activation activation, std::int64_t count, const T* before, T* after, T* gradient) {
  for_each_piece(count, [=](std::int64_t begin, std::int64_t end) {
    const T* x = before;
    T *y = after, *dy = gradient;
    if (activation == Activation::gelu) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        const T value = x[i], distribution = normal_distribution(value);
        y[i] = value * distribution;
        dy[i] *= distribution + value * normal_density(value);
      }
    } else {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        y[i] = x[i] > T(0) ? x[i] : T(0);
        dy[i] = x[i] > T(0) ? dy[i] : T(0);
      }
    }
  });
}

/// Weight gradients of one thread, added up over its blocks.
template <class T>
struct PartialGradients {
  T *up, *up_bias, *down, *down_bias;
  static std::int64_t numbers(MlpSize size) { return size.hidden * (size.in + size.out + 1) + size.out; }
  PartialGradients(MlpSize size, T* memory)
      : up(memory), up_bias(up + size.hidden * size.in), down(up_bias + size.hidden), down_bias(down + size.hidden * size.out) {}
};

template <class T>
void add_column_sums(std::int64_t rows, std::int64_t width, const T* x, T* sums) {
  for (std::int64_t row = 0; row < rows; ++row) {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) sums[i] += x[row * width + i];
  }
}

/// Adds what `parts` threads have summed, in their order.
template <class T>
void add_parts(std::int64_t parts, std::int64_t stride, std::int64_t count, const T* first, Into<T> total) {
  if (total.to == nullptr) return;
  for_each_piece(count, [=](std::int64_t begin, std::int64_t end) {
    if (total.sum == Sum::replaces) std::copy(first + begin, first + end, total.to + begin);
    for (std::int64_t part = total.sum == Sum::replaces ? 1 : 0; part < parts; ++part) {
      const T* source = first + part * stride;
      T* target = total.to;
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) target[i] += source[i];
    }
  });
}

/// One block of rows backward. `after` and `gradient` are scratch of (rows, hidden).
template <class T>
struct BackwardBlock {
  MlpSize size;
  const T *x, *before, *dy;
  MlpWeights<T> weights;
  Into<T> dx;
  T *after, *gradient;

  void hidden_and_input(std::int64_t rows) const {
    cpu::gemm({.m = rows, .n = size.hidden, .k = size.out, .lda = size.out, .ldb = size.hidden, .ldc = size.hidden}, dy, weights.down,
              gradient);
    activate_backward(size.activation, rows * size.hidden, before, after, gradient);
    if (dx.to == nullptr) return;
    cpu::gemm({.m = rows, .n = size.in, .k = size.hidden, .lda = size.hidden, .ldb = size.in, .ldc = size.in, .beta = dx.beta()}, gradient,
              weights.up, dx.to);
  }

  void up(std::int64_t rows, Into<T> target) const { weight(size.hidden, size.in, rows, gradient, x, target); }
  void down(std::int64_t rows, Into<T> target) const { weight(size.out, size.hidden, rows, dy, after, target); }

  /// (m, n) from m gradients and n inputs of every row.
  static void weight(std::int64_t m, std::int64_t n, std::int64_t rows, const T* gradients, const T* inputs, Into<T> target) {
    cpu::gemm({.m = m, .n = n, .k = rows, .lda = m, .ldb = n, .ldc = n, .transpose_a = true, .beta = target.beta()}, gradients, inputs,
              target.to);
  }
};

/// The threads share every product: for few rows and large weights.
template <class T>
void backward_together(MlpSize size, const BackwardBlock<T>& block, const MlpGradients<T>& to) {
  block.hidden_and_input(size.rows);
  if (to.up.to != nullptr) block.up(size.rows, to.up);
  if (to.up_bias.to != nullptr) cpu::column_sums(size.rows, size.hidden, block.gradient, to.up_bias);
  if (to.down.to != nullptr) block.down(size.rows, to.down);
  if (to.down_bias.to != nullptr) cpu::column_sums(size.rows, size.out, block.dy, to.down_bias);
}

template <class T>
cpu::RowBlocks blocks_of(MlpSize size, std::int64_t hidden_copies) {
  return {.rows = size.rows, .bytes_per_row = (hidden_copies * size.hidden + size.in + size.out) * static_cast<std::int64_t>(sizeof(T))};
}

}  // namespace

template <class T>
void mlp_forward(Cpu, MlpSize size, const T* x, MlpWeights<T> weights, MlpHidden<T> keep, T* y) {
  T* before = keep.before;
  if (cpu::are_few(size.rows * size.hidden * std::max(size.in, size.out))) {
    const Block scratch(static_cast<std::size_t>(size.rows * size.hidden) * sizeof(T), {});
    T* after = static_cast<T*>(scratch.data());
    T* hidden = before == nullptr ? after : before;
    linear_forward<T>(Cpu{}, {size.rows, size.in, size.hidden}, x, weights.up, weights.up_bias, hidden);
    activate<T>(size.activation, size.rows, size.hidden, nullptr, hidden, after);
    return linear_forward<T>(Cpu{}, {size.rows, size.hidden, size.out}, after, weights.down, weights.down_bias, y);
  }
  const cpu::RowBlocks blocks = blocks_of<T>(size, before == nullptr ? 1 : 2);
  const std::int64_t scratch_rows = blocks.fill_threads() ? blocks.rows_per_block() * omp_get_max_threads() : size.rows;
  const Block scratch(static_cast<std::size_t>(scratch_rows * size.hidden) * sizeof(T), {});
  cpu::for_each_row_block(blocks, [&](std::int64_t first, std::int64_t rows, int thread) {
    T* after = static_cast<T*>(scratch.data()) + thread * blocks.rows_per_block() * size.hidden;
    T* hidden = before == nullptr ? after : before + first * size.hidden;
    T* target = y + first * size.out;
    cpu::gemm({.m = rows, .n = size.hidden, .k = size.in, .lda = size.in, .ldb = size.in, .ldc = size.hidden, .transpose_b = true},
              x + first * size.in, weights.up, hidden);
    activate(size.activation, rows, size.hidden, weights.up_bias, hidden, after);
    cpu::gemm({.m = rows, .n = size.out, .k = size.hidden, .lda = size.hidden, .ldb = size.hidden, .ldc = size.out, .transpose_b = true},
              after, weights.down, target);
    add_bias(rows, size.out, weights.down_bias, target);
  });
}

template <class T>
void mlp_backward(Cpu, MlpSize size, const T* x, MlpHidden<const T> kept, const T* dy, MlpWeights<T> weights, MlpGradients<T> to) {
  const T* before = kept.before;
  const cpu::RowBlocks blocks = blocks_of<T>(size, 3);
  const bool apart =
      blocks.fill_threads() && omp_get_max_threads() * size.hidden <= size.rows;  // else partial sums cost more than they save
  const std::int64_t threads = omp_get_max_threads(), block_rows = apart ? blocks.rows_per_block() : size.rows;
  const std::int64_t numbers = PartialGradients<T>::numbers(size), per_thread = 2 * block_rows * size.hidden + (apart ? numbers : 0);
  const Block scratch(static_cast<std::size_t>((apart ? threads : 1) * per_thread) * sizeof(T), {});
  T* memory = static_cast<T*>(scratch.data());
  if (!apart) {
    backward_together(size, BackwardBlock<T>{size, x, before, dy, weights, to.x, memory, memory + block_rows * size.hidden}, to);
    return;
  }
  std::int64_t team = 1;
#pragma omp parallel
  {
#pragma omp single
    team = omp_get_num_threads();
    T* mine = memory + omp_get_thread_num() * per_thread;
    const PartialGradients<T> part(size, mine);
    std::fill_n(mine, numbers, T(0));
    T *after = mine + numbers, *gradient = after + block_rows * size.hidden;
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      const std::int64_t first = block * block_rows, rows = std::min(block_rows, size.rows - first);
      const BackwardBlock<T> one{size,
                                 x + first * size.in,
                                 before + first * size.hidden,
                                 dy + first * size.out,
                                 weights,
                                 {to.x.to == nullptr ? nullptr : to.x.to + first * size.in, to.x.sum},
                                 after,
                                 gradient};
      one.hidden_and_input(rows);
      if (to.up.to != nullptr) one.up(rows, {part.up, Sum::adds});
      if (to.up_bias.to != nullptr) add_column_sums(rows, size.hidden, gradient, part.up_bias);
      if (to.down.to != nullptr) one.down(rows, {part.down, Sum::adds});
      if (to.down_bias.to != nullptr) add_column_sums(rows, size.out, one.dy, part.down_bias);
    }
  }
  const PartialGradients<T> parts(size, memory);
  add_parts<T>(team, per_thread, size.hidden * size.in, parts.up, to.up);
  add_parts<T>(team, per_thread, size.hidden, parts.up_bias, to.up_bias);
  add_parts<T>(team, per_thread, size.hidden * size.out, parts.down, to.down);
  add_parts<T>(team, per_thread, size.out, parts.down_bias, to.down_bias);
}

#define TRIDENT_MLP(T)                                                                   \
  template void mlp_forward<T>(Cpu, MlpSize, const T*, MlpWeights<T>, MlpHidden<T>, T*); \
  template void mlp_backward<T>(Cpu, MlpSize, const T*, MlpHidden<const T>, const T*, MlpWeights<T>, MlpGradients<T>);
TRIDENT_MLP(float)
TRIDENT_MLP(double)

}  // namespace trident
