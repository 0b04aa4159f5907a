/// Numbers that are computed on the host and do not change: brought to a device once.
#pragma once

#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// Row-major numbers in a floating type. On a GPU the same shape, type and numbers give the same tensor, which nobody writes to: only the
/// first call copies. For few numbers that come back (coordinates, weights of groups), as they are kept as long as the process lives.
Tensor constant(const Shape& shape, const std::vector<double>& values, DType dtype, Device device);

}  // namespace trident
