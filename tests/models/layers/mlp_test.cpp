#include "models/layers/mlp.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"

namespace trident {
namespace {

using testing::gradcheck, testing::random_tensor;

struct Made {
  Mlp mlp;
  ParameterList parameters;

  Made(std::int64_t width, std::int64_t hidden, NonLinearity activation)
      : mlp(width, hidden, {0, hidden}, activation, 0.5, Mesh()),
        parameters(materialize([this](const ParameterVisitor& visitor) { walk(mlp, visitor); }, DType::f64, Use::inference, RandomKey(1))) {
  }
};

TEST(Mlp, AppliesItsFunctionBetweenTheLayers) {
  constexpr double kX = 0.25, kBefore = 2.0 * kX + 1.0;
  for (const auto& [function, value] : {std::pair{NonLinearity::tanh, std::tanh(kBefore)},
                                        {NonLinearity::sigmoid, 1.0 / (1.0 + std::exp(-kBefore))},
                                        {NonLinearity::silu, kBefore / (1.0 + std::exp(-kBefore))},
                                        {NonLinearity::relu, kBefore},
                                        {NonLinearity::gelu, 0.5 * kBefore * std::erfc(-kBefore / std::sqrt(2.0))}}) {
    const Made made(1, 1, function);
    for (const auto& [weight, number] : {std::pair{made.mlp.up.weight.value, 2.0},
                                         {made.mlp.up.bias->value, 1.0},
                                         {made.mlp.down.weight.value, 3.0},
                                         {made.mlp.down.bias->value, 0.5}}) {
      weight.data<double>()[0] = number;
    }
    EXPECT_NEAR(to_number(made.mlp(full({1, 1}, kX, DType::f64))), 3.0 * value + 0.5, 1e-14);
  }
}

TEST(Mlp, GradientsAreRight) {
  for (const NonLinearity function : {NonLinearity::gelu, NonLinearity::silu}) {
    Made made(3, 5, function);
    EXPECT_TRUE(gradcheck(
        [&](const std::vector<Tensor>& v) {
          made.mlp.up.weight.value = v[1], made.mlp.down.weight.value = v[2];
          return made.mlp(v[0]);
        },
        {random_tensor({2, 3}, 1), random_tensor({5, 3}, 2), random_tensor({3, 5}, 3)}));
  }
}

}  // namespace
}  // namespace trident
