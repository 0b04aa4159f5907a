/// Normalisation of groups of channels, channels before space.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// (x - mean) / sqrt(var + eps) * scale + shift, mean and (biased) variance over each sample's groups of neighbouring channels and all
/// their points. x: (batch, channel, space...); scale and shift: (channel,), or (batch, channel) with one row per sample, or both
/// undefined; f32 where x is bf16. As many groups as channels: instance normalisation. Throws ShapeError if `groups` does not divide the
/// channels.
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& scale, const Tensor& shift, double eps);

}  // namespace trident
