#include "models/layers/norm.h"

#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/shape.h"

namespace trident {

Norm::Norm(Conditioning conditioning, std::int64_t width, double eps, double deviation)
    : affine_(Plain{whole_parameter({width}, Init::constant(1.0)), whole_parameter({width}, Init::constant(0.0))}), eps_(eps) {
  if (conditioning == Conditioning::time) {
    affine_ = Conditional{Linear(1, width, Bias::zero, deviation), Linear(1, width, Bias::zero, deviation)};
  }
}

Norm::Affine Norm::affine_at(const Tensor& time) const {
  if (const auto* plain = std::get_if<Plain>(&affine_)) return {plain->weight.value, plain->bias.value};
  const auto& conditional = std::get<Conditional>(affine_);
  const Tensor column = reshape(time, {time.numel(), 1});
  return {conditional.weight(column), conditional.bias(column)};
}

Tensor Norm::operator()(const Tensor& x, const Tensor& time) const {
  const Affine affine = affine_at(time);
  return layer_norm(x, affine.scale, affine.shift, eps_);
}

CarriedSum Norm::add_to(const CarriedSum& sum, const Tensor& x, const Tensor& time, const BranchFactor& factor,
                        const std::optional<SampleRows>& part) const {
  Affine affine = affine_at(time);
  if (factor.defined()) affine = {affine.scale * factor, affine.shift * factor};
  return add_layer_norm(sum, x, affine.scale, affine.shift, eps_, part);
}

}  // namespace trident
