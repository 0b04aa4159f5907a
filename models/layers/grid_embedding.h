/// Coordinates as further channels.
#pragma once

#include "models/layers/field_place.h"

namespace trident {

/// x (batch, channel, space...) with one channel per dimension behind its own: the point's index in the whole field over the number of
/// points, 0 to below 1.
Tensor append_grid(const Tensor& x, const FieldPlace& place);

}  // namespace trident
