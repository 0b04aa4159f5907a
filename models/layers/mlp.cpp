#include "models/layers/mlp.h"

#include "runtime/ops/matmul.h"

namespace trident {
namespace {

/// What mlp() computes without a pass of its own.
std::optional<Activation> fused_activation(NonLinearity function) {
  if (function == NonLinearity::gelu) return Activation::gelu;
  if (function == NonLinearity::relu) return Activation::relu;
  return std::nullopt;
}

}  // namespace

Mlp::Mlp(std::int64_t width, std::int64_t hidden, Range own, NonLinearity activation, double deviation, const Mesh& mesh)
    : up(width, hidden, Bias::zero, deviation, SplitAlong::rows, own, mesh),
      down(hidden, width, Bias::zero, deviation, SplitAlong::columns, own, mesh),
      activation(activation),
      mesh(mesh) {}

Tensor Mlp::operator()(const Tensor& x) const {
  const DType numbers = x.dtype();
  const Tensor up_weight = up.weight.in(numbers), down_weight = down.weight.in(numbers), bias = added_once(mesh, down.bias_in(numbers));
  if (const auto fused = fused_activation(activation)) return mlp(x, up_weight, up.bias_in(numbers), down_weight, bias, *fused);
  return linear(activate(linear(x, up_weight, up.bias_in(numbers)), activation), down_weight, bias);
}

CarriedSum Mlp::operator()(const Tensor& x, const NormEnding& ending) const {
  const DType numbers = x.dtype();
  const Tensor up_weight = up.weight.in(numbers), down_weight = down.weight.in(numbers), bias = down.bias_in(numbers);
  if (const auto fused = fused_activation(activation)) {
    return mlp_norm(x, up_weight, up.bias_in(numbers), down_weight, bias, *fused, ending);
  }
  return linear_norm(activate(linear(x, up_weight, up.bias_in(numbers)), activation), down_weight, bias, ending);
}

}  // namespace trident
