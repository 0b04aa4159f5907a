#include "models/layers/mlp.h"

namespace trident {

Mlp::Mlp(std::int64_t width, std::int64_t hidden, Range own, Activation activation, double deviation, const Mesh& mesh)
    : up(width, hidden, Bias::zero, deviation, SplitAlong::rows, own, mesh),
      down(hidden, width, Bias::zero, deviation, SplitAlong::columns, own, mesh),
      activation(activation),
      mesh(mesh) {}

Tensor Mlp::operator()(const Tensor& x) const {
  return mlp(x, up.weight.value, up.bias_value(), down.weight.value, added_once(mesh, down.bias_value()), activation);
}

}  // namespace trident
