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

Tensor Norm::operator()(const Tensor& x, const Tensor& time, const Tensor& residual, const BranchFactor& factor,
                        const std::optional<SampleRows>& part) const {
  Tensor scale, shift;
  if (const auto* plain = std::get_if<Plain>(&affine_)) {
    scale = plain->weight.value;
    shift = plain->bias.value;
  } else {
    const auto& conditional = std::get<Conditional>(affine_);
    const Tensor column = reshape(time, {time.numel(), 1});
    scale = conditional.weight(column);
    shift = conditional.bias(column);
  }
  if (factor.defined()) {
    scale = scale * factor;
    shift = shift * factor;
  }
  return layer_norm(x, scale, shift, eps_, residual, part);
}

}  // namespace trident
