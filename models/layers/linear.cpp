#include "models/layers/linear.h"

#include "runtime/ops/matmul.h"

namespace trident {

Linear::Linear(std::int64_t in, std::int64_t out, Bias with, double deviation) : weight(whole_parameter({out, in}, Init::normal(deviation))) {
  if (with == Bias::zero) bias = whole_parameter({out}, Init::constant(0.0));
}

Tensor Linear::operator()(const Tensor& x) const { return linear(x, weight.value, bias_value()); }

}  // namespace trident
