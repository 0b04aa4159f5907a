/// Linear maps of the channels of every point, channels before space.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// What a channel mix adds and how it ends; tensors may be undefined.
struct MixEnding {
  Tensor bias{};    // one number per output channel
  Tensor addend{};  // shape of the result
  Tensor gate{};    // one number per output channel, which the addend is multiplied by
  bool gelu = false;
};

/// What a channel mix is given: the numbers to mix, or those whose GELU it mixes. These are then kept for the backward in place of a result
/// and a slope, and the GELU is computed twice.
enum class MixInput { values, before_gelu };

/// gelu(weight x + bias + gate * addend) at every point, in one pass: a convolution with a kernel of one point and what follows it in a
/// Fourier block. x: (batch, in, space...); weight: (out, in) with any extents of 1 after them. Returns (batch, out, space...).
/// The gradients of weight, bias and gate are f32 where these are bf16.
Tensor channel_mix(const Tensor& x, const Tensor& weight, const MixEnding& ending = {}, MixInput input = MixInput::values);

}  // namespace trident
