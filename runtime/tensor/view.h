/// Views that share memory and are not recorded on the tape (runtime/ops/shape.h has the differentiable ones).
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident::view {

/// The same contiguous elements with another shape of as many. Throws ShapeError if x is not contiguous.
Tensor reshape(const Tensor& x, const Shape& shape);
/// Elements [begin, end) of `dim` (negative dims count from the end).
Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end);
/// Dimensions in another order.
Tensor permute(const Tensor& x, const Shape& order);
/// Extents of 1 (and missing leading ones) repeated by stride 0.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

/// Complex numbers (...) as their parts (..., 2).
Tensor as_real(const Tensor& x);
/// Parts (..., 2), re and im side by side, as complex numbers (...). Throws ShapeError for another layout.
Tensor as_complex(const Tensor& x);

}  // namespace trident::view
