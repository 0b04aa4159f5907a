#include "models/layers/skip_connection.h"

#include "models/layers/domain_padding.h"
#include "runtime/ops/convolution.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck;
using testing::random_tensor;

FieldPlace whole(const Tensor& x) { return {Domain(Mesh()), {x.shape().begin() + 2, x.shape().end()}}; }

/// x convolved with this weight.
Tensor convolved(const Tensor& x, const Tensor& weight) {
  SkipConnection skip(SkipKind::convolution, weight.size(0), weight.rank() - 2, weight.size(2));
  ParameterVisitor visitor;
  visitor.parameter = [&](const std::string&, Parameter& parameter) { parameter.value = weight; };
  walk(skip, visitor);
  return skip(x, whole(x));
}

TEST(SkipConnection, ConvolutionsSeeZerosOutsideOfTheField) {
  const Tensor line = from_values<double>({1, 1, 3}, std::vector<double>{1, 10, 100});
  const Tensor odd = from_values<double>({1, 1, 3}, std::vector<double>{1, 2, 3}),
               even = from_values<double>({1, 1, 2}, std::vector<double>{1, 2});
  EXPECT_TENSOR_NEAR(packed(convolved(line, odd)), from_values<double>({1, 1, 3}, std::vector<double>{32, 321, 210}), 0);
  EXPECT_TENSOR_NEAR(packed(convolved(line, even)), from_values<double>({1, 1, 3}, std::vector<double>{21, 210, 100}), 0);
}

TEST(SkipConnection, AConvolutionInSpaceIsThatOfAPlaneWhereItsKernelIsFlat) {
  const Tensor plane = random_tensor({2, 2, 5, 4}, 1), weight = random_tensor({2, 2, 3, 3}, 2), cube = zeros({2, 2, 3, 3, 3}, DType::f64);
  copy_into(view::slice(cube, 2, 1, 2), view::reshape(weight, {2, 2, 1, 3, 3}));
  const Tensor expected = conv2d(plane, weight, {}, 1);
  EXPECT_TENSOR_NEAR(view::reshape(packed(convolved(view::reshape(plane, {2, 2, 1, 5, 4}), cube)), {2, 2, 5, 4}), expected, 1e-13);
}

TEST(SkipConnection, GradientsOfConvolutions) {
  for (const auto& [x, weight] : {std::pair{random_tensor({2, 2, 5}, 1), random_tensor({2, 2, 2}, 2)},
                                  std::pair{random_tensor({1, 2, 3, 4}, 3), random_tensor({2, 2, 2, 2}, 4)},
                                  std::pair{random_tensor({1, 1, 2, 3, 2}, 5), random_tensor({1, 1, 3, 3, 3}, 6)}}) {
    EXPECT_TRUE(gradcheck([](const auto& in) { return convolved(in[0], in[1]); }, {x, weight}));
  }
}

TEST(DomainPadding, RoundsHalfToEvenAndComesOffAgain) {
  const Tensor line = random_tensor({1, 2, 20}, 1);
  const DomainPadding both({0.125}, PaddingMode::symmetric), behind({0.125}, PaddingMode::one_sided);  // 2.5 points
  const Tensor padded = both.pad(line, whole(line));
  EXPECT_EQ(padded.shape(), (Shape{1, 2, 24}));
  EXPECT_EQ(both.padded({20}), std::vector<std::int64_t>{24});
  EXPECT_TENSOR_NEAR(packed(both.unpad(padded, whole(line), {1.0})), line, 0);
  EXPECT_EQ(behind.pad(line, whole(line)).shape(), (Shape{1, 2, 22}));
  EXPECT_TENSOR_NEAR(packed(behind.unpad(behind.pad(line, whole(line)), whole(line), {1.0})), line, 0);
  EXPECT_EQ(both.unpad(zeros({1, 2, 48}, DType::f64), whole(line), {2.0}).shape(), (Shape{1, 2, 40}));
  EXPECT_EQ(both.unpadded({48}, {20}, {2.0}), std::vector<std::int64_t>{40});
}

}  // namespace
}  // namespace trident
