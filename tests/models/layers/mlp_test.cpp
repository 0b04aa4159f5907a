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

TEST(Mlp, FunctionsOfTransformersHaveItsNumbers) {
  const std::vector<double> x{-3.0, -0.3, 0.5, 7.0, 12.0};
  // transformers 4.35.2, f64
  for (const auto& [function, values] :
       {std::pair{NonLinearity::gelu_of_tanh, std::vector{-0.00363739208177, -0.114629076457, 0.345714009825, 7.0, 12.0}},
        {NonLinearity::gelu_to_10, std::vector{-0.00404969409489, -0.114626573343, 0.345731230637, 6.99999999999, 10.0}},
        {NonLinearity::quick_gelu, std::vector{-0.0180713097078, -0.112515864618, 0.350388436606, 6.9999531283, 11.9999999838}},
        {NonLinearity::mish, std::vector{-0.145647461276, -0.151133177138, 0.375245211305, 6.99998837981, 11.9999999991}},
        {NonLinearity::relu6, std::vector{0.0, 0.0, 0.5, 6.0, 6.0}},
        {NonLinearity::squared_relu, std::vector{0.0, 0.0, 0.25, 49.0, 144.0}},
        {NonLinearity::linear, x}}) {
    const auto found = to_host<double>(activate(from_values<double>({5}, x), function));
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(found[i], values[i], 1e-10) << static_cast<int>(function) << ' ' << x[i];
    EXPECT_TRUE(gradcheck([&, at = function](const std::vector<Tensor>& v) { return activate(v[0], at); }, {random_tensor({2, 3}, 1)}));
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
