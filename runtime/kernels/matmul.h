/// Products of row-major matrices, and the linear layer.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"

namespace trident {

/// A batch of products c_i = op(a_i) op(b_i) with op(a) (m, k), op(b) (k, n), c (m, n), all without gaps. Strides are elements between
/// the matrices of a batch; 0 in a or b: one matrix serves all; 0 in c: the products are summed in the order of the batch.
struct Products {
  std::int64_t count = 1, m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;
};
template <class T>
void multiply(Cpu, const Products&, const T* a, const T* b, Into<T> c);
template <class T>
void multiply(Cuda, const Products&, const T* a, const T* b, Into<T> c);

struct LinearSize {
  std::int64_t rows = 0, in = 0, out = 0;
};
/// y (rows, out) = x (rows, in) weight (out, in)^T + bias; bias may be null.
template <class T>
void linear_forward(Cpu, LinearSize, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void linear_forward(Cuda, LinearSize, const T* x, const T* weight, const T* bias, T* y);
/// dx (rows, in) = dy weight.
template <class T>
void linear_backward_input(Cpu, LinearSize, const T* dy, const T* weight, Into<T> dx);
template <class T>
void linear_backward_input(Cuda, LinearSize, const T* dy, const T* weight, Into<T> dx);
/// dweight (out, in) = dy^T x, and dbias (out,) = column sums of dy; either may be null.
template <class T>
void linear_backward_weight(Cpu, LinearSize, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias);
template <class T>
void linear_backward_weight(Cuda, LinearSize, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias);

}  // namespace trident
