#include "models/layers/nonlinearity.h"

#include <cmath>
#include <numbers>

#include "runtime/error.h"
#include "runtime/ops/elementwise.h"

namespace trident {
namespace {

constexpr double kLeakySlope = 0.01;
constexpr double kSeluAlpha = 1.6732632423543772848170429916717, kSeluScale = 1.0507009873554804934193349852946;  // Klambauer et al. 2017

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: Hendrycks and Gimpel 2016.
Tensor gelu_of_tanh(const Tensor& x) {
  const double scale = 2.0 * std::sqrt(2.0 / std::numbers::pi);  // (1 + tanh(z)) / 2 = sigmoid(2 z)
  return x * sigmoid(affine(x * affine(x * x, 0.044715, 1.0), scale));
}

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
    case NonLinearity::gelu_of_tanh:
      return gelu_of_tanh(x);
    case NonLinearity::gelu_to_10:
      return minimum(gelu(x), 10.0);
    case NonLinearity::quick_gelu:
      return x * sigmoid(affine(x, 1.702));
    case NonLinearity::mish:
      return x * tanh(softplus(x));
    case NonLinearity::relu6:
      return minimum(relu(x), 6.0);
    case NonLinearity::squared_relu:
      return relu(x) * relu(x);
    case NonLinearity::linear:
      return x;
  }
  throw Error("activate: unknown function");
}

}  // namespace trident
