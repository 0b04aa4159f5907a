/// Linear maps of the channels of every point, channels before space.
#pragma once

#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// What a channel mix adds and how it ends; tensors may be undefined.
struct MixEnding {
  Tensor bias{};    // one number per output channel
  Tensor addend{};  // shape of the result
  Tensor gate{};    // one number per output channel, which the addend is multiplied by
  bool gelu = false;
};

/// gelu(weight x + bias + gate * addend) at every point, in one pass: a convolution with a kernel of one point and what follows it in a
/// Fourier block. x: (batch, in, space...); weight: (out, in) with any extents of 1 after them. Returns (batch, out, space...).
/// The gradients of weight, bias and gate are f32 where these are bf16.
Tensor channel_mix(const Tensor& x, const Tensor& weight, const MixEnding& ending = {});

struct Mix {
  Tensor weight;
  MixEnding ending;  // of all but the last: with a GELU, and without a gate
};

/// Channel mixes behind each other, the first of x: the same as one channel_mix() after the other. On the CPU it is one pass over the
/// field: what lies between two maps is kept for the backward as the GELU is given it, which is computed twice.
Tensor channel_mixes(const Tensor& x, const std::vector<Mix>& maps);

}  // namespace trident
