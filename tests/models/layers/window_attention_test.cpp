#include "models/layers/window_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/ops/position_bias.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/models/support.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck, testing::level_alone, testing::pass_of, testing::random_tensor;

ParameterList give_values(WindowAttention& attention) {
  return materialize([&](const ParameterVisitor& visitor) { walk(attention, visitor); }, DType::f64, Use::inference, RandomKey(2));
}

TEST(WindowAttention, ListsNamesInTheOrderOfTheReferenceAndNoKeyBias) {
  WindowAttention attention(4, 2, {.window = 2, .shift = 0}, Bias::zero, 0.0, 0.02, Mesh());
  std::vector<std::string> names;
  for (const Described& tensor : describe([&](const ParameterVisitor& visitor) { walk(attention, visitor); })) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"self.logit_scale", "self.continuous_position_bias_mlp.0.weight",
                                             "self.continuous_position_bias_mlp.0.bias", "self.continuous_position_bias_mlp.2.weight",
                                             "self.query.weight", "self.query.bias", "self.key.weight", "self.value.weight",
                                             "self.value.bias", "output.dense.weight", "output.dense.bias"}));
}

TEST(WindowAttention, OffsetsAreLogSpacedAndBeginWithTheLastQueryAndTheFirstKey) {
  const double far = std::log2(9.0) / 3.0;  // one step of one: 8 after scaling
  const std::vector<double> offsets = to_host<double>(log_spaced_offsets(2, {}));
  ASSERT_EQ(offsets.size(), 18U);
  const auto expect = [&](std::size_t offset, double y, double x) {
    EXPECT_NEAR(offsets[2 * offset], y, 1e-7) << offset;
    EXPECT_NEAR(offsets[2 * offset + 1], x, 1e-7) << offset;
  };
  expect(0, far, far), expect(1, far, 0.0), expect(3, 0.0, far), expect(4, 0.0, 0.0), expect(8, -far, -far);
}

TEST(WindowAttention, WindowsDoNotSeeEachOtherUnlessShifted) {
  for (const std::int64_t shift : {0, 1}) {
    WindowAttention attention(2, 1, {.window = 2, .shift = shift}, Bias::zero, 0.0, 0.5, Mesh());
    give_values(attention);
    const Tensor bias = position_biases(log_spaced_offsets(2, {}), {attention.bias_mlp()})[0];
    const WindowLevel level = level_alone(1, {.rows = 4, .columns = 4, .window = 2, .shift = shift});
    Tensor x = random_tensor({1, 4, 4, 2}, 1);
    const Tensor before = attention(x, level, bias, pass_of(DType::f64));
    Tensor y = random_tensor({1, 4, 4, 2}, 1);
    y.data<double>()[0] += 1.0;  // the first token
    const Tensor after = attention(y, level, bias, pass_of(DType::f64));
    // (1, 1) shares the first token's window only without a shift; with one the first token is cut off by the mask.
    const double change = std::fabs(before.data<double>()[10] - after.data<double>()[10]);
    EXPECT_EQ(change > 0.0, shift == 0) << "shift " << shift;
    EXPECT_EQ(before.data<double>()[2 * 15], after.data<double>()[2 * 15]);  // the opposite corner: another window
  }
}

TEST(WindowAttention, GradientIsRightOnAPaddedShiftedGrid) {
  WindowAttention attention(4, 2, {.window = 2, .shift = 1}, Bias::zero, 0.0, 0.5, Mesh());
  give_values(attention);
  const WindowLevel level = level_alone(1, {.rows = 3, .columns = 3, .window = 2, .shift = 1});
  EXPECT_TRUE(gradcheck([&](const std::vector<Tensor>& v) { return attention(v[0], level, v[1], pass_of(DType::f64)); },
                        {random_tensor({1, 3, 3, 4}, 1), random_tensor({2, 9}, 2)}, {.tolerance = 1e-6}));
}

}  // namespace
}  // namespace trident
