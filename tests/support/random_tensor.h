/// Tensors for tests: random numbers, other layouts, other precisions.
#pragma once

#include <cstdint>

#include "runtime/tensor/tensor.h"

namespace trident::testing {

/// Standard normal numbers that depend on the seed alone.
Tensor random_tensor(const Shape& shape, std::uint64_t seed, DType dtype = DType::f64);
/// The same values, laid out with the dimensions in reverse order and a gap after each: nothing about it is contiguous.
Tensor strided_copy_of(const Tensor& x);

/// The values of an f64 tensor, rounded.
Tensor as_f32(const Tensor& x);
/// The values of an f32 tensor.
Tensor as_f64(const Tensor& x);

}  // namespace trident::testing
