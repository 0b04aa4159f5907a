/// The number type in which sums, statistics and parameters' gradients of another one are kept.
#pragma once

#include "runtime/tensor/dtype.h"

namespace trident {

template <class T>
struct WideOf {
  using Type = T;
};
template <>
struct WideOf<bf16> {
  using Type = float;
};
/// f32 for bf16, else T itself.
template <class T>
using Wide = typename WideOf<T>::Type;
constexpr DType wide(DType dtype) { return dtype == DType::bf16 ? DType::f32 : dtype; }

}  // namespace trident
