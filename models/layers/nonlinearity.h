/// Functions of one number between the layers of neural operators.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/tensor/tensor.h"

namespace trident {

/// Constants of torch.nn.functional; from gelu_of_tanh on of transformers' ACT2FN.
enum class NonLinearity : std::uint8_t {
  gelu,
  relu,
  silu,
  tanh,
  sigmoid,
  elu,
  selu,
  leaky_relu,
  softplus,
  gelu_of_tanh,
  gelu_to_10,
  quick_gelu,
  mish,
  relu6,
  squared_relu,
  linear
};
/// Of those that neural operators take.
inline auto config_names(NonLinearity) {
  using enum NonLinearity;
  return std::array{std::pair{gelu, "gelu"},        std::pair{relu, "relu"}, std::pair{silu, "silu"}, std::pair{tanh, "tanh"},
                    std::pair{sigmoid, "sigmoid"},  std::pair{elu, "elu"},   std::pair{selu, "selu"}, std::pair{leaky_relu, "leaky_relu"},
                    std::pair{softplus, "softplus"}};
}

/// x itself without one.
Tensor activate(const Tensor& x, std::optional<NonLinearity> function);

}  // namespace trident
