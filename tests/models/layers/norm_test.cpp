#include "models/layers/norm.h"

#include <gtest/gtest.h>

#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck, testing::random_tensor;

ParameterList give_values(Norm& norm) {
  return materialize([&](const ParameterVisitor& visitor) { walk(norm, visitor); }, DType::f64, Use::inference, RandomKey(1));
}

TEST(Norm, PlainIsNormalisedThenAddedToTheResidual) {
  Norm norm(Conditioning::none, 2, 1e-12, 0.02);
  give_values(norm);
  const Tensor x = from_values<double>({1, 1, 2}, std::vector{1.0, 3.0});
  const Tensor residual = from_values<double>({1, 1, 2}, std::vector{10.0, 20.0});
  EXPECT_TENSOR_NEAR(norm.add_to({residual, {}}, x, {}, {}, {}).value, from_values<double>({1, 1, 2}, std::vector{9.0, 21.0}), 1e-10);
}

TEST(Norm, BranchFactorScalesWhatIsAddedAndNotTheResidual) {
  Norm norm(Conditioning::none, 2, 1e-12, 0.02);
  give_values(norm);
  const Tensor x = from_values<double>({2, 1, 2}, std::vector{1.0, 3.0, 1.0, 3.0});
  const Tensor residual = from_values<double>({2, 1, 2}, std::vector{10.0, 20.0, 10.0, 20.0});
  const Tensor factor = from_values<double>({2, 1}, std::vector{0.0, 2.0});
  EXPECT_TENSOR_NEAR(norm.add_to({residual, {}}, x, {}, factor, {}).value,
                     from_values<double>({2, 1, 2}, std::vector{10.0, 20.0, 8.0, 22.0}), 1e-10);
}

TEST(Norm, ConditionalNamesAreThoseOfTwoLinearLayers) {
  Norm norm(Conditioning::time, 3, 1e-5, 0.02);
  std::vector<std::string> names;
  for (const Described& tensor : describe([&](const ParameterVisitor& visitor) { walk(norm, visitor); })) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"weight.weight", "weight.bias", "bias.weight", "bias.bias"}));
}

TEST(Norm, ConditionalGradientIsRight) {
  Norm norm(Conditioning::time, 3, 1e-5, 0.5);
  give_values(norm);
  EXPECT_TRUE(gradcheck(
      [&](const std::vector<Tensor>& v) {
        return norm.add_to({v[2], {}}, v[0], v[1], v[3], {}).value;
      },
      {random_tensor({2, 2, 2, 3}, 1), random_tensor({2}, 2), random_tensor({2, 2, 2, 3}, 3), random_tensor({2, 1}, 4)}));
}

}  // namespace
}  // namespace trident
