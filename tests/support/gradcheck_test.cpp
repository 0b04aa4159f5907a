#include "tests/support/gradcheck.h"

#include "runtime/autograd/tape.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident::testing {
namespace {

/// x^2 with a gradient of `factor` x.
Tensor square(const Tensor& x, double factor) {
  const Tensor y = x.detached() * x.detached();
  return record("square", y, {x}, [x = x.detached(), factor](const Tensor& dy, Wanted) { return std::vector{affine(dy * x, factor)}; });
}

TEST(Gradcheck, PassesTheRightGradient) {
  EXPECT_TRUE(gradcheck([](const auto& in) { return square(in[0], 2.0); }, {random_tensor({3, 4}, 1)}));
}

TEST(Gradcheck, FailsAGradientThatIsSlightlyWrong) {
  EXPECT_FALSE(gradcheck([](const auto& in) { return square(in[0], 2.0001); }, {random_tensor({3, 4}, 1)}));
}

TEST(Gradcheck, FailsWhenTheGradientIsMissing) {
  EXPECT_FALSE(gradcheck([](const auto& in) { return in[0].detached() * in[0].detached(); }, {random_tensor({3}, 1)}));
}

TEST(Gradcheck, FailsWhenTheGradientIgnoresStrides) {
  const auto careless = [](const std::vector<Tensor>& in) {
    const Tensor y = affine(in[0].detached(), 2.0);
    return record("careless", y, {in[0]}, [](const Tensor& dy, Wanted) {
      return std::vector{affine(Tensor(dy.storage(), dy.offset(), dy.shape(), contiguous_strides(dy.shape()), dy.dtype()), 2.0)};
    });
  };
  EXPECT_FALSE(gradcheck(careless, {random_tensor({3, 4}, 1)}));
}

using GradcheckOnEveryDevice = OnGpu;

TEST_F(GradcheckOnEveryDevice, FailsWhatIsAnotherFunctionOnAGpu) {
  const auto scaled = [](double on_gpu) {
    return [on_gpu](const std::vector<Tensor>& in) { return affine(in[0], in[0].device() == kGpu ? on_gpu : 2.0); };
  };
  EXPECT_TRUE(gradcheck_on_every_device(scaled(2.0), {random_tensor({3, 4}, 1)}));
  EXPECT_FALSE(gradcheck_on_every_device(scaled(2.0001), {random_tensor({3, 4}, 1)}));
}

TEST(Gradcheck, RefusesSinglePrecision) {
  EXPECT_FALSE(gradcheck([](const auto& in) { return in[0]; }, {random_tensor({3}, 1, DType::f32)}));
}

TEST(TensorNear, PrintsTheRelativeDifferenceAndThePlaceOfTheLargest) {
  const Tensor a = from_values<double>({2, 2}, {0.0, 0.0, 0.0, 4.5}), b = from_values<double>({2, 2}, {0.0, 0.0, 0.0, 4.0});
  EXPECT_TRUE(tensor_near("a", "b", "", a, b, 0.126));
  const auto result = tensor_near("a", "b", "", a, b, 0.0625);
  EXPECT_FALSE(result);
  EXPECT_NE(std::string(result.message()).find("relative 2-norm 0.125, allowed 0.0625; largest difference 0.5 at (1, 1)"),
            std::string::npos)
      << result.message();
}

TEST(TensorNear, FailsOnOtherShapesTypesAndNotANumber) {
  const Tensor a = full({2}, 1.0, DType::f64);
  EXPECT_FALSE(tensor_near("a", "b", "", a, full({1, 2}, 1.0, DType::f64), 1.0));
  EXPECT_FALSE(tensor_near("a", "b", "", a, full({2}, 1.0, DType::f32), 1.0));
  EXPECT_FALSE(tensor_near("a", "b", "", full({2}, NAN, DType::f64), a, 1.0));
  EXPECT_FALSE(tensor_near("a", "b", "", Tensor{}, a, 1.0));
}

}  // namespace
}  // namespace trident::testing
