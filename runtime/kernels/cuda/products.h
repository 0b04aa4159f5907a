/// Matrix products on a CUDA device: by cuBLASLt, or by the CPU's gemm on the emulated device.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident::cuda {

/// c_i = op(a_i) op(b_i) + bias + beta c_i for i in [0, count), row-major, op(a) (m, k), op(b) (k, n). ld: elements between rows as stored;
/// stride: between the matrices of a batch, 0 in a or b: one matrix serves all.
struct Product {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t lda = 0, ldb = 0, ldc = 0;
  bool transpose_a = false, transpose_b = false;
  std::int64_t count = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  double beta = 0.0;
};

/// In (T, Out): (float, float), (double, double), (bf16, bf16), (bf16, float). bf16 is added up in f32. bias (n,) may be null. The
/// algorithm is the first that cuBLASLt's heuristics name for sizes and alignments, so the same ones give the same bits; where they name
/// none, ordinary arithmetic.
template <class T, class Out>
void product(Cuda, const Product&, const T* a, const T* b, const Out* bias, Out* c);

/// Products of bf16 that end in GELU, by tanh, as cuBLASLt has it: 5e-4 from the exact one at most, a tenth of what rounding to bf16 takes.
/// c = gelu(before), before = op(a) op(b) + bias, one matrix without gaps; `before` is stored unless null.
void product_gelu(Cuda, const Product&, const bf16* a, const bf16* b, const bf16* bias, bf16* before, bf16* c);
/// c = op(a) op(b) gelu'(before).
void product_gelu_slope(Cuda, const Product&, const bf16* a, const bf16* b, const bf16* before, bf16* c);

/// Whether products of f32 may round their operands to TF32's 10 bits; at the start they may not. For the whole process.
void allow_tf32(bool allowed);

}  // namespace trident::cuda
