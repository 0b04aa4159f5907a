#include "models/layers/mlp.h"

namespace trident {

Mlp::Mlp(std::int64_t width, std::int64_t hidden, Range own, Activation activation, double deviation, const Mesh& mesh)
    : up(width, hidden, Bias::zero, deviation, SplitAlong::rows, own, mesh),
      down(hidden, width, Bias::zero, deviation, SplitAlong::columns, own, mesh),
      activation(activation),
      mesh(mesh) {}

Tensor Mlp::operator()(const Tensor& x) const {
  const DType numbers = x.dtype();
  return mlp(x, up.weight.in(numbers), up.bias_in(numbers), down.weight.in(numbers), added_once(mesh, down.bias_in(numbers)), activation);
}

}  // namespace trident
