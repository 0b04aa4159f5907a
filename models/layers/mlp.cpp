#include "models/layers/mlp.h"

namespace trident {

Mlp::Mlp(std::int64_t width, std::int64_t hidden, Activation activation, double deviation)
    : up(width, hidden, Bias::zero, deviation), down(hidden, width, Bias::zero, deviation), activation(activation) {}

Tensor Mlp::operator()(const Tensor& x) const {
  return mlp(x, up.weight.value, up.bias_value(), down.weight.value, down.bias_value(), activation);
}

}  // namespace trident
