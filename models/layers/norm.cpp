#include "models/layers/norm.h"

namespace trident {

Norm::Norm(Conditioning conditioning, std::int64_t width, double eps, double deviation)
    : affine_(Plain{whole_parameter({width}, Init::constant(1.0)), whole_parameter({width}, Init::constant(0.0))}), eps_(eps) {
  if (conditioning == Conditioning::time) {
    affine_ = Conditional{Linear(1, width, Bias::zero, deviation), Linear(1, width, Bias::zero, deviation)};
  }
}

NormAffine Norm::affine_at(const Tensor& time) const {
  if (const auto* plain = std::get_if<Plain>(&affine_)) return {.scale = plain->weight.value, .shift = plain->bias.value};
  const auto& [weight, bias] = std::get<Conditional>(affine_);
  return {.scale = weight.bias->value,
          .shift = bias.bias->value,
          .scale_slope = weight.weight.value,
          .shift_slope = bias.weight.value,
          .time = time};
}

Tensor Norm::operator()(const Tensor& x, const Tensor& time) const { return layer_norm(x, affine_at(time), eps_); }

CarriedSum Norm::add_to(const CarriedSum& sum, const Tensor& x, const Tensor& time, const BranchFactor& factor,
                        const std::optional<SampleRows>& part) const {
  NormAffine affine = affine_at(time);
  affine.factor = factor;
  return add_layer_norm(sum, x, affine, eps_, part);
}

}  // namespace trident
