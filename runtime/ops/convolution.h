/// Convolutions: zero padding, stride 1.
#pragma once

#include <cstdint>

#include "runtime/tensor/tensor.h"

namespace trident {

/// x: (batch, in, ny, nx), weight: (out, in, k, k), bias: (out,) or undefined -> (batch, out, ny + 2 pad - k + 1, nx + 2 pad - k + 1).
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t padding);

/// Each channel by a kernel of its own, channels last. x: (batch, ny, nx, d), weight: (d, 1, k, k), bias: (d,) or undefined
/// -> (batch, ny + 2 pad - k + 1, nx + 2 pad - k + 1, d).
Tensor depthwise_conv(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t padding);

}  // namespace trident
