/// Calling kernels for CUDA on tensors, and comparing what comes out with what those for the CPU make of the same numbers.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/wide.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident::testing {

inline Cuda gpu() { return current_cuda("test", kGpu); }

inline Tensor as(const Tensor& x, DType dtype) {
  const Tensor result = empty(x.shape(), dtype);
  copy_into(result, x);
  return result;
}

/// Random numbers that bf16 can hold, and so every type.
inline Tensor random_numbers(const Shape& shape, std::uint64_t seed) { return as(as(random_tensor(shape, seed), DType::bf16), DType::f64); }

/// The f64 tensor `x` on the device, as numbers of T; the device's pointer to them.
template <class T>
Tensor on_gpu(const Tensor& x) {
  return to_device(as(x, dtype_of<T>), kGpu);
}
/// Room for numbers of T on the device, which nobody has written.
template <class T>
Tensor room(const Shape& shape) {
  return empty(shape, dtype_of<T>, kGpu);
}
/// Back on the host as f64.
inline Tensor back(const Tensor& x) { return as(to_device(x, {}), DType::f64); }

/// How far results of T may be from those of f64: bf16 keeps 8 bits.
template <class T>
inline constexpr double kTolerance = 0;
template <>
inline constexpr double kTolerance<double> = 1e-12;
template <>
inline constexpr double kTolerance<float> = 5e-6;
template <>
inline constexpr double kTolerance<bf16> = 1e-2;

}  // namespace trident::testing
