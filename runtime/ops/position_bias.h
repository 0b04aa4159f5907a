/// The continuous position bias of Swin v2: a small network of how far a key stands from its query.
#pragma once

#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// The weights of one attention's network.
struct PositionBiasMlp {
  Tensor up, up_bias, down;  // (hidden, 2), (hidden,), (heads, hidden)
};

/// 16 sigmoid(relu(offsets up^T + up_bias) down^T) - 8, of which softmax does not see the 8: (heads, offsets) for each of `mlps`, all at
/// once. offsets: f64 (offsets, 2). Computed in f64 whatever the weights' type is. Each attention has weights of its own; `hidden` and the
/// type are the same for all.
std::vector<Tensor> position_biases(const Tensor& offsets, const std::vector<PositionBiasMlp>& mlps);

}  // namespace trident
