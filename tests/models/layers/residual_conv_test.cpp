#include "models/layers/residual_conv.h"

#include <gtest/gtest.h>

#include "runtime/tensor/create.h"
#include "tests/models/support.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck, testing::level_alone, testing::random_tensor;

template <class Module>
ParameterList give_values(Module& module) {
  return materialize([&](const ParameterVisitor& visitor) { walk(module, visitor); }, DType::f64, Use::inference, RandomKey(4));
}

TEST(ConvNextBlock, StartsAsAlmostTheIdentity) {
  ConvNextBlock block(3, Conditioning::none, 1e-5, 0.02, Mesh());
  give_values(block);
  const Tensor x = random_tensor({1, 4, 4, 3}, 1);
  EXPECT_TENSOR_NEAR(block(x, level_alone(1, {.rows = 4, .columns = 4, .window = 2, .halo = ConvNextBlock::kReach}), {}), x, 1e-5);
}

TEST(ConvNextBlock, GradientIsRight) {
  ConvNextBlock block(3, Conditioning::time, 1e-5, 0.5, Mesh());
  give_values(block);
  block.scale.value = random_tensor({3}, 9);
  const WindowLevel level = level_alone(2, {.rows = 3, .columns = 3, .window = 3, .halo = ConvNextBlock::kReach});
  EXPECT_TRUE(gradcheck([&](const std::vector<Tensor>& v) { return block(v[0], level, v[1]); },
                        {random_tensor({2, 3, 3, 3}, 1), random_tensor({2}, 2)}, {.tolerance = 1e-7}));
}

TEST(BatchNorm, KeepsRunningStatisticsAsPyTorchDoes) {
  BatchNorm norm(1, Mesh());
  give_values(norm);
  const Tensor x = from_values<double>({1, 1, 2, 2}, std::vector{1.0, 2.0, 3.0, 6.0});  // mean 3, unbiased variance 14/3
  norm(x, Mode::train);
  EXPECT_DOUBLE_EQ(to_number(norm.running_mean.value), 0.1 * 3.0);
  EXPECT_DOUBLE_EQ(to_number(norm.running_var.value), 0.9 + 0.1 * 14.0 / 3.0);
  EXPECT_EQ(to_host<std::int64_t>(norm.num_batches_tracked.value), std::vector<std::int64_t>{1});
  norm(x, Mode::eval);
  EXPECT_EQ(to_host<std::int64_t>(norm.num_batches_tracked.value), std::vector<std::int64_t>{1});
}

TEST(ResNetBlock, GradientIsRightInBothModes) {
  ResNetBlock block(2, Mesh(), 0.5);
  give_values(block);
  const WindowLevel level = level_alone(2, {.rows = 3, .columns = 3, .window = 3, .halo = ResNetBlock::kReach});
  for (const Mode mode : {Mode::eval, Mode::train}) {
    EXPECT_TRUE(gradcheck([&](const std::vector<Tensor>& v) { return block(v[0], level, mode); }, {random_tensor({2, 3, 3, 2}, 1)},
                          {.tolerance = 1e-6, .step = 1e-5}));
    give_values(block);  // the running statistics have moved
  }
}

}  // namespace
}  // namespace trident
