#include "runtime/ops/position_bias.h"

#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::as_f32;
using testing::as_f64;
using testing::random_tensor;

PositionBiasMlp random_mlp(std::int64_t hidden, std::int64_t heads, std::uint64_t seed) {
  return {random_tensor({hidden, 2}, seed), random_tensor({hidden}, seed + 1), random_tensor({heads, hidden}, seed + 2)};
}
PositionBiasMlp as_f32(const PositionBiasMlp& x) { return {as_f32(x.up), as_f32(x.up_bias), as_f32(x.down)}; }
PositionBiasMlp leaves(const PositionBiasMlp& x) { return {leaf(x.up), leaf(x.up_bias), leaf(x.down)}; }

/// The definition, of operations of their own.
Tensor expected(const Tensor& offsets, const PositionBiasMlp& mlp) {
  const Tensor heads = linear(relu(linear(offsets, mlp.up, mlp.up_bias)), mlp.down, {});
  return permute(affine(sigmoid(heads), 16.0, -8.0), {1, 0});
}

TEST(PositionBias, OfAZeroNetworkIsZero) {
  const Tensor offsets = from_values<double>({2, 2}, {0.5, -1.0, 0.0, 1.0});
  const PositionBiasMlp mlp{zeros({3, 2}, DType::f64), zeros({3}, DType::f64), zeros({2, 3}, DType::f64)};
  EXPECT_TENSOR_NEAR(position_biases(offsets, {mlp})[0], zeros({2, 2}, DType::f64), 0);
}

TEST(PositionBias, AgreesWithItsDefinitionForAllAttentionsAtOnce) {
  for (const std::int64_t offsets : {1, 25, 200}) {
    const Tensor at = random_tensor({offsets, 2}, 1);
    const std::vector<PositionBiasMlp> mlps{random_mlp(37, 3, 2), random_mlp(37, 6, 5), random_mlp(37, 1, 8)};
    const std::vector<Tensor> biases = position_biases(at, mlps);
    const std::vector<Tensor> narrow = position_biases(at, {as_f32(mlps[0]), as_f32(mlps[1])});
    ASSERT_EQ(biases.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TENSOR_NEAR(biases[i], expected(at, mlps[i]), 1e-12);
    for (std::size_t i = 0; i < 2; ++i) EXPECT_TENSOR_NEAR(as_f64(narrow[i]), biases[i], 5e-6);
  }
}

TEST(PositionBias, HasTheGradientsOfAllWeights) {
  const Tensor at = random_tensor({30, 2}, 1);
  const auto fn = [&](const std::vector<Tensor>& x) {
    const std::vector<Tensor> biases = position_biases(to_device(at, x[0].device()), {{x[0], x[1], x[2]}, {x[3], x[4], x[5]}});
    return concatenate({biases[1], biases[0]}, 0);
  };
  const PositionBiasMlp a = random_mlp(11, 2, 2), b = random_mlp(11, 9, 5);
  EXPECT_TRUE(testing::gradcheck_on_every_device(fn, {a.up, a.up_bias, a.down, b.up, b.up_bias, b.down}));
}

TEST(PositionBias, OfWhichNoGradientHasArrivedGivesZeros) {
  const Tensor at = random_tensor({9, 2}, 1);
  const PositionBiasMlp used = leaves(random_mlp(8, 2, 2)), unused = leaves(random_mlp(8, 2, 5));
  backward(sum(position_biases(at, {unused, used})[1]));
  EXPECT_TENSOR_NEAR(gradient_of(unused.down), zeros({2, 8}, DType::f64), 0);
  const PositionBiasMlp alone = leaves(random_mlp(8, 2, 2));
  backward(sum(position_biases(at, {alone})[0]));
  EXPECT_TENSOR_NEAR(gradient_of(used.up), gradient_of(alone.up), 0);
}

TEST(PositionBias, IsTheSameOnEveryNumberOfThreads) {
  const Tensor at = random_tensor({200, 2}, 1);
  const int before = num_threads();
  std::vector<Tensor> values, gradients_of_up;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const PositionBiasMlp mlp = leaves(as_f32(random_mlp(64, 5, 2)));
    values.push_back(position_biases(at, {mlp})[0]);
    gradients_of_up.push_back(gradients(values.back(), random_tensor({5, 200}, 3, DType::f32), {mlp.up})[0]);
  }
  set_num_threads(before);
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_TENSOR_NEAR(values[i].detached(), values[0].detached(), 0);
    EXPECT_TENSOR_NEAR(gradients_of_up[i], gradients_of_up[0], 0);
  }
}

TEST(PositionBias, NamesTheShapesThatDoNotFit) {
  const Tensor at = zeros({4, 2}, DType::f64);
  const PositionBiasMlp mlp = random_mlp(8, 2, 1);
  EXPECT_TRUE(position_biases(at, {}).empty());
  EXPECT_THROW(position_biases(zeros({4, 3}, DType::f64), {mlp}), ShapeError);
  EXPECT_THROW(position_biases(zeros({4, 2}, DType::f32), {mlp}), ShapeError);
  EXPECT_THROW(position_biases(at, {mlp, random_mlp(7, 2, 1)}), ShapeError);
  EXPECT_THROW(position_biases(at, {mlp, as_f32(mlp)}), ShapeError);
  EXPECT_THROW(position_biases(at, {{mlp.up, mlp.up_bias, zeros({2, 7}, DType::f64)}}), ShapeError);
}

}  // namespace
}  // namespace trident
