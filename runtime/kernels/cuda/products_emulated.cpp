#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/device/emulated_memory.h"
#include "runtime/device/emulated_streams.h"
#include "runtime/kernels/cuda/activation.h"
#include "runtime/kernels/cuda/products.h"
#include "runtime/kernels/gemm.h"

namespace trident::cuda {
namespace {

/// Numbers as the CPU's gemm takes them: those of bf16 converted.
template <class T>
std::vector<Compute<T>> widened(const T* from, std::int64_t count) {
  std::vector<Compute<T>> result(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) result[static_cast<std::size_t>(i)] = compute(from[i]);
  return result;
}

/// Elements from the first to the last of a row-major matrix as stored.
std::int64_t extent_of(std::int64_t rows, std::int64_t columns, std::int64_t ld) {
  return rows == 0 || columns == 0 ? 0 : (rows - 1) * ld + columns;
}

/// Stores op(a) op(b) by store(place in c, number of c's column, value).
template <class T, class Store>
void multiply_here(const Product& size, const T* a, const T* b, Store&& store) {
  const emulation::OpenMemory open;
  const cpu::Gemm gemm{.m = size.m,
                       .n = size.n,
                       .k = size.k,
                       .lda = size.lda,
                       .ldb = size.ldb,
                       .ldc = size.n,
                       .transpose_a = size.transpose_a,
                       .transpose_b = size.transpose_b};
  const std::int64_t extent_a = size.transpose_a ? extent_of(size.k, size.m, size.lda) : extent_of(size.m, size.k, size.lda);
  const std::int64_t extent_b = size.transpose_b ? extent_of(size.n, size.k, size.ldb) : extent_of(size.k, size.n, size.ldb);
  std::vector<Compute<T>> result(static_cast<std::size_t>(size.m * size.n));
  for (std::int64_t i = 0; i < size.count; ++i) {
    const auto left = widened(a + i * size.stride_a, extent_a), right = widened(b + i * size.stride_b, extent_b);
    cpu::gemm(gemm, left.data(), right.data(), result.data());
    for (std::int64_t row = 0; row < size.m; ++row) {
      for (std::int64_t column = 0; column < size.n; ++column) {
        store(i * size.stride_c + row * size.ldc + column, column, result[static_cast<std::size_t>(row * size.n + column)]);
      }
    }
  }
}

std::string launch_text(const Product& size) { return concat("product of ", size.count, ": ", size.m, " x ", size.n, " x ", size.k); }

}  // namespace

void allow_tf32(bool) {}

template <class T, class Out>
void product(Cuda device, const Product& size, const T* a, const T* b, const Out* bias, Out* c) {
  emulation::submit(device.stream, launch_text(size), [=] {
    multiply_here(size, a, b, [&](std::int64_t place, std::int64_t column, auto number) {
      auto value = static_cast<Compute<Out>>(number);
      if (bias != nullptr) value += compute(bias[column]);
      if (size.beta != 0.0) value += static_cast<Compute<Out>>(size.beta) * compute(c[place]);
      c[place] = stored<Out>(value);
    });
  });
}

void product_gelu(Cuda device, const Product& size, const bf16* a, const bf16* b, const bf16* bias, bf16* before, bf16* c) {
  emulation::submit(device.stream, launch_text(size), [=] {
    multiply_here(size, a, b, [&](std::int64_t place, std::int64_t column, float value) {
      if (bias != nullptr) value += compute(bias[column]);
      if (before != nullptr) before[place] = stored<bf16>(value);
      c[place] = stored<bf16>(gelu_by_tanh(value).value);
    });
  });
}

void product_gelu_slope(Cuda device, const Product& size, const bf16* a, const bf16* b, const bf16* before, bf16* c) {
  emulation::submit(device.stream, launch_text(size), [=] {
    multiply_here(size, a, b, [&](std::int64_t place, std::int64_t, float value) {
      c[place] = stored<bf16>(value * gelu_by_tanh(compute(before[place])).slope);
    });
  });
}

#define TRIDENT_PRODUCT(T, Out) template void product<T, Out>(Cuda, const Product&, const T*, const T*, const Out*, Out*);
TRIDENT_PRODUCT(float, float)
TRIDENT_PRODUCT(double, double)
TRIDENT_PRODUCT(bf16, bf16)
TRIDENT_PRODUCT(bf16, float)

}  // namespace trident::cuda
