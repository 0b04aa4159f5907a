/// The products of products.h by ordinary arithmetic: of sizes and places that the library has no algorithm for.
#pragma once

#include "runtime/kernels/cuda/products.h"
#include "runtime/kernels/cuda/tiled_product.h"

namespace trident::cuda {

/// Writes the numbers of a product, with what is to be added to them.
template <class Out>
struct StoreProduct {
  Product size;
  const Out* bias;
  Out* c;

  __device__ void operator()(std::int64_t matrix, std::int64_t row, std::int64_t column, Compute<Out> value) const {
    Out& target = c[matrix * size.stride_c + row * size.ldc + column];
    if (bias != nullptr) value += compute(bias[column]);
    if (size.beta != 0.0) value += static_cast<Compute<Out>>(size.beta) * compute(target);
    target = stored<Out>(value);
  }
};

template <class T, class Out>
void plain_product(Cuda device, const Product& size, const T* a, const T* b, const Out* bias, Out* c) {
  tiled_product(device,
                {.batch = size.count,
                 .m = size.m,
                 .n = size.n,
                 .k = size.k,
                 .a_batch = size.stride_a,
                 .a_m = size.transpose_a ? 1 : size.lda,
                 .a_k = size.transpose_a ? size.lda : 1,
                 .b_batch = size.stride_b,
                 .b_k = size.transpose_b ? 1 : size.ldb,
                 .b_n = size.transpose_b ? size.ldb : 1},
                a, b, StoreProduct<Out>{size, bias, c});
}

}  // namespace trident::cuda
