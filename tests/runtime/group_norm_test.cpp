#include "runtime/ops/group_norm.h"

#include <cmath>

#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

TEST(GroupNorm, TwoPointsBecomeOneAndMinusOne) {
  const Tensor x = from_values<double>({1, 2, 2}, std::vector<double>{1, 3, 10, 50});
  EXPECT_TENSOR_NEAR(group_norm(x, 2, {}, {}, 0.0), from_values<double>({1, 2, 2}, std::vector<double>{-1, 1, -1, 1}), 1e-15);
  const Tensor scale = from_values<double>({2}, std::vector<double>{2, 4}), shift = from_values<double>({2}, std::vector<double>{1, 0});
  EXPECT_TENSOR_NEAR(group_norm(x, 2, scale, shift, 0.0), from_values<double>({1, 2, 2}, std::vector<double>{-1, 3, -4, 4}), 1e-15);
}

TEST(GroupNorm, GroupsAreNeighbouringChannelsOfOneSample) {
  const Tensor x = random_tensor({2, 6, 3, 5}, 1);
  const Tensor rows = reshape(x, {2, 3, 30}), distance = rows - mean(rows, {2}), variance = mean(distance * distance, {2});
  std::vector<double> inverse = to_host<double>(variance);
  for (double& value : inverse) value = 1.0 / std::sqrt(value + 1e-5);
  const Tensor expected = reshape(distance * from_values<double>({2, 3, 1}, inverse), x.shape());
  EXPECT_TENSOR_NEAR(group_norm(x, 3, {}, {}, 1e-5), expected, 1e-13);
}

TEST(GroupNorm, Gradients) {
  const Tensor x = random_tensor({2, 4, 3, 2}, 1), scale = random_tensor({4}, 2), shift = random_tensor({4}, 3);
  const Tensor own_scale = random_tensor({2, 4}, 4), own_shift = random_tensor({2, 4}, 5);
  for (const std::int64_t groups : {1, 2, 4}) {
    EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return group_norm(in[0], groups, {}, {}, 1e-3); }, {x}));
    EXPECT_TRUE(
        gradcheck_on_every_device([&](const auto& in) { return group_norm(in[0], groups, in[1], in[2], 1e-3); }, {x, scale, shift}));
    EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return group_norm(in[0], groups, in[1], in[2], 1e-3); },
                                          {x, own_scale, own_shift}));
  }
}

TEST(GroupNorm, NamesWhatDoesNotFit) {
  const Tensor x = zeros({2, 4, 3}, DType::f64);
  EXPECT_THROW(group_norm(x, 3, {}, {}, 1e-5), ShapeError);
  EXPECT_THROW(group_norm(x, 2, zeros({3}, DType::f64), zeros({3}, DType::f64), 1e-5), ShapeError);
  EXPECT_THROW(group_norm(x, 2, zeros({4}, DType::f64), {}, 1e-5), ShapeError);
}

}  // namespace
}  // namespace trident
