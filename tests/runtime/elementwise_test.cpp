#include "runtime/ops/elementwise.h"

#include <cmath>
#include <limits>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/kernels/activation.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

Tensor numbers(const Shape& shape, const std::vector<double>& values) { return from_values(shape, values); }

TEST(Elementwise, ColumnAndRowBroadcastToAGrid) {
  const Tensor column = numbers({2, 1}, {6, 12}), row = numbers({3}, {1, 2, 3});
  EXPECT_TENSOR_NEAR(column + row, numbers({2, 3}, {7, 8, 9, 13, 14, 15}), 0);
  EXPECT_TENSOR_NEAR(column - row, numbers({2, 3}, {5, 4, 3, 11, 10, 9}), 0);
  EXPECT_TENSOR_NEAR(column * row, numbers({2, 3}, {6, 12, 18, 12, 24, 36}), 0);
  EXPECT_TENSOR_NEAR(column / row, numbers({2, 3}, {6, 3, 2, 12, 6, 4}), 0);
}

TEST(Elementwise, LargeOperandsAgreeWithSmallPieces) {
  // Long enough for several threads; (7, 5000) against (5000,) and (7, 1), at an odd tail.
  const Tensor a = random_tensor({7, 5001}, 1, DType::f32), b = random_tensor({5001}, 2, DType::f32),
               c = random_tensor({7, 1}, 3, DType::f32);
  const std::vector<float> av = to_host<float>(a), bv = to_host<float>(b), cv = to_host<float>(c), y = to_host<float>(a * b + c);
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], av[i] * bv[i % 5001] + cv[i / 5001], 1e-6) << i;
}

TEST(Elementwise, GradientsOfBroadcastOperands) {
  const Tensor a = random_tensor({2, 3, 4}, 1), row = random_tensor({4}, 2), column = random_tensor({2, 1, 1}, 3);
  for (const auto& b : {a, row, column, random_tensor({1}, 4), random_tensor({5, 2, 3, 4}, 5)}) {
    const Tensor divisor = exp(b);
    EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return in[0] + in[1]; }, {a, b}));
    EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return in[0] - in[1]; }, {a, b}));
    EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return in[0] * in[1]; }, {a, b}));
    EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return in[0] / in[1]; }, {a, divisor}));
  }
}

TEST(Elementwise, ActivationsHaveTheirValuesAndSlopes) {
  const Tensor x = numbers({3}, {-2, 0.5, 3});
  EXPECT_TENSOR_NEAR(tanh(x), numbers({3}, {std::tanh(-2.0), std::tanh(0.5), std::tanh(3.0)}), 1e-15);
  EXPECT_TENSOR_NEAR(silu(x), numbers({3}, {-2 / (1 + std::exp(2.0)), 0.5 / (1 + std::exp(-0.5)), 3 / (1 + std::exp(-3.0))}), 1e-15);
  EXPECT_TENSOR_NEAR(elu(x, 2.0, 3.0), numbers({3}, {6 * (std::exp(-2.0) - 1), 1.5, 9}), 1e-14);
  EXPECT_TENSOR_NEAR(leaky_relu(x, 0.01), numbers({3}, {-0.02, 0.5, 3}), 0);
  EXPECT_TENSOR_NEAR(softplus(x), numbers({3}, {std::log1p(std::exp(-2.0)), std::log1p(std::exp(0.5)), std::log1p(std::exp(3.0))}), 1e-15);
  EXPECT_TENSOR_NEAR(softplus(numbers({2}, {800, -800})), numbers({2}, {800, 0}), 0);
  const Tensor points = numbers({6}, {-3, -0.7, -0.2, 0.3, 0.9, 2.5});
  for (const auto& activation : std::vector<Tensor (*)(const Tensor&)>{
           tanh, silu, softplus, [](const Tensor& v) { return elu(v, 1.7, 1.1); }, [](const Tensor& v) { return leaky_relu(v, 0.01); }}) {
    EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return activation(in[0]); }, {points}));
  }
}

TEST(Elementwise, TensorsWithoutElementsAreLegal) {
  const Tensor nothing = zeros({0, 4}, DType::f32), row = zeros({4}, DType::f32);
  EXPECT_EQ((nothing + row).shape(), (Shape{0, 4}));
  const Tensor bias = leaf(row);
  const Tensor y = leaf(nothing) * bias;
  EXPECT_TENSOR_NEAR(gradients(y, nothing, {bias})[0], row, 0);
}

TEST(Elementwise, OperandsThatDoNotFitAreNamed) {
  try {
    zeros({2, 3}, DType::f32) + zeros({4}, DType::f32);
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "add: shapes (2, 3) and (4,) do not broadcast; extents must be equal or 1");
  }
  EXPECT_THROW(zeros({2}, DType::f32) * zeros({2}, DType::f64), ShapeError);
  EXPECT_THROW(zeros({2}, DType::i64) + zeros({2}, DType::i64), ShapeError);
}

TEST(Elementwise, FunctionsOfOneElement) {
  const Tensor x = numbers({5}, {-2, -0.5, 0, 0.5, 3});
  EXPECT_TENSOR_NEAR(affine(x, 2, 1), numbers({5}, {-3, 0, 1, 2, 7}), 0);
  EXPECT_TENSOR_NEAR(relu(x), numbers({5}, {0, 0, 0, 0.5, 3}), 0);
  EXPECT_TENSOR_NEAR(minimum(x, 0.5), numbers({5}, {-2, -0.5, 0, 0.5, 0.5}), 0);
  EXPECT_TENSOR_NEAR(gelu(x), numbers({5}, {-0.04550026389635842, -0.15426876936299344, 0, 0.34573123063700656, 2.99595030590511}), 1e-14);
  EXPECT_TENSOR_NEAR(sigmoid(x), numbers({5}, {0.11920292202211755, 0.3775406687981454, 0.5, 0.6224593312018546, 0.9525741268224334}),
                     1e-14);
  EXPECT_TENSOR_NEAR(exp(x), numbers({5}, {std::exp(-2.0), std::exp(-0.5), 1, std::exp(0.5), std::exp(3.0)}), 1e-15);
}

TEST(Elementwise, GradientsOfFunctionsOfOneElement) {
  const Tensor x = random_tensor({3, 5}, 1);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return affine(in[0], -1.5, 2.0); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return relu(in[0]); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return gelu(in[0]); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return sigmoid(in[0]); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return exp(in[0]); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return minimum(in[0], 0.3); }, {x}));
}

TEST(Elementwise, NotANumberPassesThrough) {
  const Tensor nan = full({3}, NAN, DType::f32);
  for (const Tensor& y : {relu(nan), gelu(nan), sigmoid(nan), exp(nan), minimum(nan, 1.0), affine(nan, 0.0, 1.0)}) {
    for (const float value : to_host<float>(y)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Elementwise, WhereChoosesAndBroadcasts) {
  const bool values[] = {true, false};
  const Tensor mask = from_values<bool>({2, 1}, values);
  EXPECT_TENSOR_NEAR(where(mask, numbers({3}, {1, 2, 3}), numbers({1}, {0})), numbers({2, 3}, {1, 2, 3, 0, 0, 0}), 0);
  EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return where(to_device(mask, in[0].device()), in[0], in[1]); },
                                        {random_tensor({2, 3}, 1), random_tensor({3}, 2)}));
  EXPECT_THROW(where(zeros({2}, DType::f32), numbers({2}, {1, 2}), numbers({1}, {0})), ShapeError);
}

TEST(Elementwise, WhereSelectsTheFiniteSideOnly) {
  const bool values[] = {true};
  const Tensor y = where(from_values<bool>({1}, values), numbers({1}, {2}), numbers({1}, {NAN}));
  EXPECT_EQ(to_number(y), 2.0);
}

TEST(Elementwise, CastRoundsAndItsGradientComesBackInTheFirstType) {
  const Tensor x = leaf(numbers({2}, {1.0 / 3, 2}));
  const Tensor y = cast(x, DType::f32);
  EXPECT_EQ(to_host<float>(y)[0], 1.0F / 3.0F);
  const Tensor dx = gradients(y, full({2}, 0.5, DType::f32), {x})[0];
  EXPECT_TENSOR_NEAR(dx, numbers({2}, {0.5, 0.5}), 0);
  EXPECT_EQ(to_host<float>(cast(cast(numbers({1}, {1.00390625}), DType::bf16), DType::f32))[0], 1.0F);  // a tie goes to the even neighbour
  EXPECT_THROW(cast(zeros({1}, DType::i64), DType::f32), ShapeError);
}

double ulps(double actual, double expected) {
  const float near = std::abs(static_cast<float>(expected));
  return std::abs(actual - expected) / (std::nextafter(near, std::numeric_limits<float>::infinity()) - static_cast<double>(near));
}

TEST(Activation, ExponentialInSinglePrecisionIsWithinOneUnitInTheLastPlace) {
  for (int i = 0; i <= 200000; ++i) {
    const float x = -104.0F + 192.7F * static_cast<float>(i) / 200000.0F;
    ASSERT_LE(ulps(fast_exp(x), std::exp(static_cast<double>(x))), 1.01) << x;
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fast_exp(-infinity), 0.0F);
  EXPECT_EQ(fast_exp(-200.0F), 0.0F);
  EXPECT_EQ(fast_exp(infinity), infinity);
  EXPECT_EQ(fast_exp(0.0F), 1.0F);
}

TEST(Activation, GeluInSinglePrecisionFollowsDoublePrecision) {
  for (int i = 0; i <= 200000; ++i) {
    const float x = -8.0F + 16.0F * static_cast<float>(i) / 200000.0F;
    const double wide = x;
    ASSERT_LE(std::abs(gelu(x) - gelu(wide)), 2.5e-7 * std::abs(wide)) << x;
    ASSERT_LE(std::abs(gelu_gradient(x) - gelu_gradient(wide)), 2.5e-7) << x;
  }
  EXPECT_EQ(gelu(-1e30F), 0.0F);
  EXPECT_EQ(gelu(1e30F), 1e30F);
  EXPECT_EQ(gelu_gradient(-1e30F), 0.0F);
}

}  // namespace
}  // namespace trident
