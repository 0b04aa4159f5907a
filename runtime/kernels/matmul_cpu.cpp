#include "runtime/kernels/matmul.h"

#include <omp.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "runtime/kernels/few_in_f64.h"
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/row_blocks.h"

namespace trident {
namespace {

cpu::Gemm one_of(const Products& size) {
  return {.m = size.m,
          .n = size.n,
          .k = size.k,
          .lda = size.transpose_a ? size.m : size.k,
          .ldb = size.transpose_b ? size.k : size.n,
          .ldc = size.n,
          .transpose_a = size.transpose_a,
          .transpose_b = size.transpose_b};
}

template <class T>
cpu::RowBlocks blocks_of(LinearSize size) {
  return {.rows = size.rows, .bytes_per_row = (size.in + size.out) * static_cast<std::int64_t>(sizeof(T))};
}

template <class T>
void add_bias(std::int64_t rows, std::int64_t width, const T* bias, T* y) {
  for (std::int64_t row = 0; row < rows; ++row) {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) y[row * width + i] += bias[i];
  }
}

void linear_forward_in_f64(LinearSize size, const float* x, const float* weight, const float* bias, float* y) {
  const std::vector<double> from = cpu::in_f64(x, size.rows * size.in), by = cpu::in_f64(weight, size.out * size.in);
  const std::vector<double> addend = cpu::in_f64(bias, size.out);
  std::vector<double> wide(static_cast<std::size_t>(size.rows * size.out));
  linear_forward(Cpu{}, size, from.data(), by.data(), cpu::data_or_null(addend), wide.data());
  cpu::round_to(y, wide);
}

}  // namespace

template <class T>
void multiply(Cpu, const Products& size, const T* a, const T* b, Into<T> c) {
  cpu::Gemm one = one_of(size);
  one.beta = c.beta();
  if (size.stride_c == 0) {
    if (size.count == 0 && c.sum == Sum::replaces) std::fill_n(c.to, size.m * size.n, T(0));
    for (std::int64_t i = 0; i < size.count; ++i) {
      cpu::gemm(one, a + i * size.stride_a, b + i * size.stride_b, c.to);
      one.beta = 1.0;
    }
    return;
  }
  // Few products: each on all threads. Many: each on one thread.
#pragma omp parallel for schedule(static) if (size.count >= omp_get_max_threads())
  for (std::int64_t i = 0; i < size.count; ++i) cpu::gemm(one, a + i * size.stride_a, b + i * size.stride_b, c.to + i * size.stride_c);
}

template <class T>
void linear_forward(Cpu, LinearSize size, const T* x, const T* weight, const T* bias, T* y) {
  if constexpr (std::is_same_v<T, float>) {
    if (cpu::are_few(size.rows * size.in * size.out)) return linear_forward_in_f64(size, x, weight, bias, y);
  }
  cpu::for_each_row_block(blocks_of<T>(size), [&](std::int64_t first, std::int64_t rows, int) {
    T* target = y + first * size.out;
    cpu::gemm({.m = rows, .n = size.out, .k = size.in, .lda = size.in, .ldb = size.in, .ldc = size.out, .transpose_b = true},
              x + first * size.in, weight, target);
    if (bias != nullptr) add_bias(rows, size.out, bias, target);
  });
}

template <class T>
void linear_backward_input(Cpu, LinearSize size, const T* dy, const T* weight, Into<T> dx) {
  cpu::for_each_row_block(blocks_of<T>(size), [&](std::int64_t first, std::int64_t rows, int) {
    cpu::gemm({.m = rows, .n = size.in, .k = size.out, .lda = size.out, .ldb = size.in, .ldc = size.in, .beta = dx.beta()},
              dy + first * size.out, weight, dx.to + first * size.in);
  });
}

template <class T>
void linear_backward_weight(Cpu, LinearSize size, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias) {
  if (dweight.to != nullptr) {
    cpu::gemm({.m = size.out,
               .n = size.in,
               .k = size.rows,
               .lda = size.out,
               .ldb = size.in,
               .ldc = size.in,
               .transpose_a = true,
               .beta = dweight.beta()},
              dy, x, dweight.to);
  }
  if (dbias.to != nullptr) cpu::column_sums(size.rows, size.out, dy, dbias);
}

#define TRIDENT_MATMUL(T)                                                               \
  template void multiply<T>(Cpu, const Products&, const T*, const T*, Into<T>);         \
  template void linear_forward<T>(Cpu, LinearSize, const T*, const T*, const T*, T*);   \
  template void linear_backward_input<T>(Cpu, LinearSize, const T*, const T*, Into<T>); \
  template void linear_backward_weight<T>(Cpu, LinearSize, const T*, const T*, Into<T>, Into<T>);
TRIDENT_MATMUL(float)
TRIDENT_MATMUL(double)

}  // namespace trident
