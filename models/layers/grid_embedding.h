/// Coordinates as further channels.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// x (batch, channel, space...) with one channel per dimension behind its own: the point's index over the number of points, 0 to below 1.
Tensor append_grid(const Tensor& x);

}  // namespace trident
