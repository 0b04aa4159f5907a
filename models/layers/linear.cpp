#include "models/layers/linear.h"

#include "runtime/ops/matmul.h"

namespace trident {

Linear::Linear(std::int64_t in, std::int64_t out, Bias with, double deviation)
    : weight(whole_parameter({out, in}, Init::normal(deviation))) {
  if (with == Bias::zero) bias = whole_parameter({out}, Init::constant(0.0));
}

Linear::Linear(std::int64_t in, std::int64_t out, Bias with, double deviation, SplitAlong along, Range own, const Mesh& mesh)
    : weight(split_parameter({out, in}, along == SplitAlong::rows ? 0 : 1, own, Init::normal(deviation), mesh)) {
  if (with == Bias::none) return;
  const Init zero = Init::constant(0.0);
  bias = along == SplitAlong::rows ? split_parameter({out}, 0, own, zero, mesh) : whole_parameter({out}, zero);
}

Tensor Linear::operator()(const Tensor& x) const { return linear(x, weight.in(x.dtype()), bias_in(x.dtype())); }

}  // namespace trident
