#include "runtime/kernels/matmul.h"

#include "runtime/kernels/cuda/parts.h"
#include "runtime/kernels/cuda/products.h"

namespace trident {

using namespace cuda;

template <class T>
void multiply(Cuda device, const Products& size, const T* a, const T* b, Into<T> c) {
  Product one{.m = size.m,
              .n = size.n,
              .k = size.k,
              .lda = size.transpose_a ? size.m : size.k,
              .ldb = size.transpose_b ? size.k : size.n,
              .ldc = size.n,
              .transpose_a = size.transpose_a,
              .transpose_b = size.transpose_b,
              .beta = c.beta()};
  const T* no_bias = nullptr;
  if (size.stride_c != 0) {
    one.count = size.count, one.stride_a = size.stride_a, one.stride_b = size.stride_b, one.stride_c = size.stride_c;
    return product(device, one, a, b, no_bias, c.to);
  }
  if (size.count == 0) {  // an empty sum
    one.k = 0;
    return product(device, one, a, b, no_bias, c.to);
  }
  for (std::int64_t i = 0; i < size.count; ++i) {
    product(device, one, a + i * size.stride_a, b + i * size.stride_b, no_bias, c.to);
    one.beta = 1.0;
  }
}

template <class T>
void linear_forward(Cuda device, LinearSize size, const T* x, const T* weight, const T* bias, T* y) {
  product(device, {.m = size.rows, .n = size.out, .k = size.in, .lda = size.in, .ldb = size.in, .ldc = size.out, .transpose_b = true}, x,
          weight, bias, y);
}

template <class T>
void linear_backward_input(Cuda device, LinearSize size, const T* dy, const T* weight, Into<T> dx) {
  const T* no_bias = nullptr;
  product(device, {.m = size.rows, .n = size.in, .k = size.out, .lda = size.out, .ldb = size.in, .ldc = size.in, .beta = dx.beta()}, dy,
          weight, no_bias, dx.to);
}

template <class T>
void linear_backward_weight(Cuda device, LinearSize size, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias) {
  if (dweight.to != nullptr) {
    const Wide<T>* no_bias = nullptr;
    product(device,
            {.m = size.out,
             .n = size.in,
             .k = size.rows,
             .lda = size.out,
             .ldb = size.in,
             .ldc = size.in,
             .transpose_a = true,
             .beta = dweight.beta()},
            dy, x, no_bias, dweight.to);
  }
  if (dbias.to != nullptr) column_sums(device, size.rows, size.out, dy, dbias.to, dbias.sum);
}

#define TRIDENT_MATMUL(T)                                                                \
  template void multiply<T>(Cuda, const Products&, const T*, const T*, Into<T>);         \
  template void linear_forward<T>(Cuda, LinearSize, const T*, const T*, const T*, T*);   \
  template void linear_backward_input<T>(Cuda, LinearSize, const T*, const T*, Into<T>); \
  template void linear_backward_weight<T>(Cuda, LinearSize, const T*, const T*, Into<Wide<T>>, Into<Wide<T>>);
TRIDENT_MATMUL(float)
TRIDENT_MATMUL(double)
TRIDENT_MATMUL(bf16)

}  // namespace trident
