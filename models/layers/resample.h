/// Fields on another grid, as neuraloperator's blocks bring their skip connections there.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// x (batch, channel, space...) -> `extents` points per dimension. 1-D: linear, 2-D: bicubic (kernel of Keys, a = -3/4, edges repeated),
/// the first and last points staying where they are (align_corners). 3-D: by Fourier modes, divided by the points forward; of an even
/// number m of shared points the frequencies -m/2 .. m/2 - 1 are kept in all dimensions but the last. Different from neuraloperator on
/// purpose: with an odd number of points it loses or moves the highest frequency in 3-D.
Tensor resample(const Tensor& x, const std::vector<std::int64_t>& extents);

}  // namespace trident
