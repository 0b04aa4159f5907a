#include "runtime/ops/matmul.h"

#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::as_f32;
using testing::as_f64;
using testing::gradcheck_on_every_device;
using testing::random_tensor;

/// a (m, k) times b (k, n), term by term.
Tensor naive(const Tensor& a, const Tensor& b) {
  const auto left = to_host<double>(a), right = to_host<double>(b);
  const std::int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  std::vector<double> c(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t l = 0; l < k; ++l) {
        c[static_cast<std::size_t>(i * n + j)] += left[static_cast<std::size_t>(i * k + l)] * right[static_cast<std::size_t>(l * n + j)];
      }
    }
  }
  return from_values({m, n}, c);
}

double gelu_of(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }

/// The mlp through plain products.
Tensor naive_mlp(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias) {
  const auto with_bias = [](const Tensor& y, const Tensor& bias, bool activate) {
    auto values = to_host<double>(y);
    const auto add = to_host<double>(bias);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] += add[i % add.size()];
      if (activate) values[i] = gelu_of(values[i]);
    }
    return from_values(y.shape(), values);
  };
  const Tensor hidden = with_bias(naive(x, view::permute(up, {1, 0})), up_bias, true);
  return with_bias(naive(hidden, view::permute(down, {1, 0})), down_bias, false);
}

TEST(Matmul, OfTwoByTwoIsWhatOneComputesByHand) {
  const Tensor a = from_values<double>({2, 2}, {1, 2, 3, 4}), b = from_values<double>({2, 2}, {5, 6, 7, 8});
  EXPECT_TENSOR_NEAR(matmul(a, b), from_values<double>({2, 2}, {19, 22, 43, 50}), 0);
  EXPECT_TENSOR_NEAR(matmul(a, b, Transpose::yes), from_values<double>({2, 2}, {26, 30, 38, 44}), 0);
  EXPECT_TENSOR_NEAR(matmul(a, b, Transpose::no, Transpose::yes), from_values<double>({2, 2}, {17, 23, 39, 53}), 0);
}

TEST(Matmul, AgreesWithSumsTermByTermInBothNumberTypes) {
  for (const Shape& size : {Shape{1, 1, 1}, Shape{3, 31, 33}, Shape{130, 7, 65}}) {
    const Tensor a = random_tensor({size[0], size[1]}, 1), b = random_tensor({size[1], size[2]}, 2), c = naive(a, b);
    EXPECT_TENSOR_NEAR(matmul(a, b), c, 1e-14);
    EXPECT_TENSOR_NEAR(as_f64(matmul(as_f32(a), as_f32(b))), c, 1e-6);
    EXPECT_TENSOR_NEAR(matmul(view::permute(a, {1, 0}), view::permute(b, {1, 0}), Transpose::yes, Transpose::yes), c, 1e-14);
  }
}

TEST(Matmul, TakesBatchesOnEitherSide) {
  const Tensor a = random_tensor({2, 3, 4, 5}, 1), b = random_tensor({2, 3, 5, 6}, 2);
  const Tensor both = matmul(a, b), right_alone = matmul(view::reshape(view::slice(view::slice(a, 0, 1, 2), 1, 2, 3), {4, 5}), b);
  EXPECT_EQ(both.shape(), (Shape{2, 3, 4, 6}));
  const Tensor last_a = view::reshape(view::slice(view::slice(a, 0, 1, 2), 1, 2, 3), {4, 5});
  const Tensor last_b = view::reshape(view::slice(view::slice(b, 0, 1, 2), 1, 2, 3), {5, 6});
  const auto last_of = [](const Tensor& y) { return view::reshape(view::slice(view::slice(y, 0, 1, 2), 1, 2, 3), {4, 6}); };
  EXPECT_TENSOR_NEAR(last_of(both), naive(last_a, last_b), 1e-14);
  EXPECT_TENSOR_NEAR(last_of(right_alone), naive(last_a, last_b), 1e-14);
  EXPECT_TENSOR_NEAR(last_of(matmul(a, last_b)), naive(last_a, last_b), 1e-14);
}

TEST(Matmul, HasTheGradientsOfItsOperandsForEveryTranspositionAndBatching) {
  for (const Transpose ta : {Transpose::no, Transpose::yes}) {
    for (const Transpose tb : {Transpose::no, Transpose::yes}) {
      const auto product = [=](const std::vector<Tensor>& x) { return matmul(x[0], x[1], ta, tb); };
      const auto left = [&](Shape s) {
        if (ta == Transpose::yes) std::swap(s[s.rank() - 1], s[s.rank() - 2]);
        return random_tensor(s, 1);
      };
      const auto right = [&](Shape s) {
        if (tb == Transpose::yes) std::swap(s[s.rank() - 1], s[s.rank() - 2]);
        return random_tensor(s, 2);
      };
      EXPECT_TRUE(gradcheck_on_every_device(product, {left({3, 4}), right({4, 2})}));
      EXPECT_TRUE(gradcheck_on_every_device(product, {left({2, 3, 4}), right({2, 4, 2})}));
      EXPECT_TRUE(gradcheck_on_every_device(product, {left({2, 3, 4}), right({4, 2})}));
      EXPECT_TRUE(gradcheck_on_every_device(product, {left({3, 4}), right({2, 4, 2})}));
    }
  }
}

TEST(Matmul, OfEmptyMatricesIsEmptyOrZero) {
  EXPECT_EQ(matmul(zeros({0, 3}, DType::f32), zeros({3, 2}, DType::f32)).shape(), (Shape{0, 2}));
  EXPECT_TENSOR_NEAR(matmul(zeros({2, 0}, DType::f32), zeros({0, 2}, DType::f32)), zeros({2, 2}, DType::f32), 0);
  EXPECT_EQ(matmul(zeros({0, 2, 3}, DType::f64), zeros({3, 2}, DType::f64)).shape(), (Shape{0, 2, 2}));
  EXPECT_EQ(linear(zeros({0, 3}, DType::f32), zeros({2, 3}, DType::f32)).shape(), (Shape{0, 2}));
}

TEST(Matmul, NamesTheShapesThatDoNotFit) {
  try {
    matmul(zeros({2, 3}, DType::f32), zeros({4, 2}, DType::f32));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("matmul: (2, 3) f32 and (4, 2) f32"), std::string::npos) << error.what();
  }
  EXPECT_THROW(matmul(zeros({2, 3}, DType::f32), zeros({3, 2}, DType::f64)), ShapeError);
  EXPECT_THROW(matmul(zeros({2, 2, 3}, DType::f32), zeros({3, 3, 2}, DType::f32)), ShapeError);
  EXPECT_THROW(matmul(zeros({3}, DType::f32), zeros({3, 3}, DType::f32)), ShapeError);
}

TEST(Linear, AddsTheBiasToEveryRow) {
  const Tensor y = linear(from_values<float>({1, 2, 2}, {1, 2, 3, 4}), from_values<float>({3, 2}, {1, 0, 0, 1, 1, 1}),
                          from_values<float>({3}, {10, 20, 30}));
  EXPECT_TENSOR_NEAR(y, from_values<float>({1, 2, 3}, {11, 22, 33, 13, 24, 37}), 0);
}

TEST(Linear, RoundsFewProductsOnceAndManyWithinTheirSums) {
  // One rounding is 2.5e-8 in the 2-norm; sums of 96 products in f32 are wrong by 1.7e-7.
  for (const auto& [rows, tolerance] : {std::pair{std::int64_t{64}, 3e-8}, {std::int64_t{512}, 1e-6}}) {
    const Tensor x = as_f32(random_tensor({rows, 96}, 1)), weight = as_f32(random_tensor({48, 96}, 2)),
                 bias = as_f32(random_tensor({48}, 3));
    EXPECT_TENSOR_NEAR(as_f64(linear(x, weight, bias)), linear(as_f64(x), as_f64(weight), as_f64(bias)), tolerance);
  }
}

TEST(Linear, HasTheGradientsOfInputWeightAndBias) {
  const auto with_bias = [](const std::vector<Tensor>& x) { return linear(x[0], x[1], x[2]); };
  EXPECT_TRUE(gradcheck_on_every_device(with_bias, {random_tensor({2, 3, 4}, 1), random_tensor({5, 4}, 2), random_tensor({5}, 3)}));
  const auto without = [](const std::vector<Tensor>& x) { return linear(x[0], x[1]); };
  EXPECT_TRUE(gradcheck_on_every_device(without, {random_tensor({6, 4}, 1), random_tensor({5, 4}, 2)}));
}

TEST(Linear, RefusesABiasOfAnotherWidth) {
  EXPECT_THROW(linear(zeros({2, 3}, DType::f32), zeros({4, 3}, DType::f32), zeros({3}, DType::f32)), ShapeError);
  EXPECT_THROW(linear(zeros({2, 3}, DType::f32), zeros({4, 2}, DType::f32)), ShapeError);
}

TEST(Mlp, AgreesWithTwoProductsAndTheActivationBetween) {
  for (const std::int64_t rows : {1, 4, 37, 10000}) {  // many products in the last
    const Tensor x = random_tensor({rows, 12}, 1), up = random_tensor({20, 12}, 2), up_bias = random_tensor({20}, 3);
    const Tensor down = random_tensor({17, 20}, 4), down_bias = random_tensor({17}, 5);
    const Tensor expected = naive_mlp(x, up, up_bias, down, down_bias);
    EXPECT_TENSOR_NEAR(mlp(x, up, up_bias, down, down_bias), expected, 1e-14);
    EXPECT_TENSOR_NEAR(as_f64(mlp(as_f32(x), as_f32(up), as_f32(up_bias), as_f32(down), as_f32(down_bias))), expected, 1e-6);
  }
}

TEST(Mlp, HasTheGradientsOfAllItsOperands) {
  const auto fn = [](const std::vector<Tensor>& x) { return mlp(x[0], x[1], x[2], x[3], x[4]); };
  EXPECT_TRUE(gradcheck_on_every_device(
      fn, {random_tensor({2, 3, 4}, 1), random_tensor({6, 4}, 2), random_tensor({6}, 3), random_tensor({5, 6}, 4), random_tensor({5}, 5)}));
  const auto plain = [](const std::vector<Tensor>& x) { return mlp(x[0], x[1], {}, x[2], {}, Activation::relu); };
  EXPECT_TRUE(gradcheck_on_every_device(plain, {random_tensor({3, 4}, 6), random_tensor({6, 4}, 7), random_tensor({5, 6}, 8)}));
}

/// Gradients of the sum of the mlp's outputs weighted by `dy`.
std::vector<Tensor> mlp_gradients(const std::vector<Tensor>& values, const Tensor& dy) {
  std::vector<Tensor> leaves;
  for (const Tensor& value : values) leaves.push_back(leaf(value));
  return gradients(mlp(leaves[0], leaves[1], leaves[2], leaves[3], leaves[4]), dy, leaves);
}

TEST(Mlp, GivesTheSameGradientsInBlocksOfRowsAsAtOnce) {
  // 5000 rows are many blocks for one thread; the f64 gradients of the first and last rows alone add up to those of all.
  const std::vector<Tensor> values{random_tensor({5000, 8}, 1), random_tensor({16, 8}, 2), random_tensor({16}, 3),
                                   random_tensor({4, 16}, 4), random_tensor({4}, 5)};
  const Tensor dy = random_tensor({5000, 4}, 6);
  const auto all = mlp_gradients(values, dy);
  std::vector<double> sums[5];
  for (std::int64_t first = 0; first < 5000; first += 50) {
    auto part = values;
    part[0] = view::slice(values[0], 0, first, first + 50);
    const auto some = mlp_gradients(part, view::slice(dy, 0, first, first + 50));
    for (std::size_t i = 1; i < 5; ++i) {
      const auto host = to_host<double>(some[i]);
      sums[i].resize(host.size());
      for (std::size_t j = 0; j < host.size(); ++j) sums[i][j] += host[j];
    }
  }
  for (std::size_t i = 1; i < 5; ++i) EXPECT_TENSOR_NEAR(all[i], from_values(all[i].shape(), sums[i]), 1e-13);
}

TEST(Mlp, RepeatsItsGradientsBitForBit) {
  const std::vector<Tensor> values{as_f32(random_tensor({3000, 24}, 1)), as_f32(random_tensor({96, 24}, 2)), as_f32(random_tensor({96}, 3)),
                                   as_f32(random_tensor({24, 96}, 4)), as_f32(random_tensor({24}, 5))};
  const Tensor dy = as_f32(random_tensor({3000, 24}, 6));
  const auto first = mlp_gradients(values, dy), second = mlp_gradients(values, dy);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_TENSOR_NEAR(first[i], second[i], 0);
}

TEST(Mlp, NamesWeightsThatDoNotFit) {
  const Tensor x = zeros({2, 3}, DType::f32), up = zeros({8, 3}, DType::f32);
  EXPECT_THROW(mlp(x, up, {}, zeros({3, 7}, DType::f32), {}), ShapeError);
  EXPECT_THROW(mlp(x, up, zeros({7}, DType::f32), zeros({3, 8}, DType::f32), {}), ShapeError);
  EXPECT_THROW(mlp(x, up, {}, zeros({3, 8}, DType::f32), zeros({8}, DType::f32)), ShapeError);
}

}  // namespace
}  // namespace trident
