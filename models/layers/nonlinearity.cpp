#include "models/layers/nonlinearity.h"

#include "runtime/error.h"
#include "runtime/ops/elementwise.h"

namespace trident {
namespace {

constexpr double kLeakySlope = 0.01;
constexpr double kSeluAlpha = 1.6732632423543772848170429916717, kSeluScale = 1.0507009873554804934193349852946;  // Klambauer et al. 2017

}  // namespace

Tensor activate(const Tensor& x, std::optional<NonLinearity> function) {
  if (!function) return x;
  switch (*function) {
    case NonLinearity::gelu:
      return gelu(x);
    case NonLinearity::relu:
      return relu(x);
    case NonLinearity::silu:
      return silu(x);
    case NonLinearity::tanh:
      return tanh(x);
    case NonLinearity::sigmoid:
      return sigmoid(x);
    case NonLinearity::elu:
      return elu(x);
    case NonLinearity::selu:
      return elu(x, kSeluAlpha, kSeluScale);
    case NonLinearity::leaky_relu:
      return leaky_relu(x, kLeakySlope);
    case NonLinearity::softplus:
      return softplus(x);
  }
  throw Error("activate: unknown function");
}

}  // namespace trident
