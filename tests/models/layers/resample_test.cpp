#include "models/layers/resample.h"

#include <cmath>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

Tensor numbers(const Shape& shape, const std::vector<double>& values) { return from_values(shape, values); }

TEST(Resample, LinesAreInterpolatedBetweenTheirEnds) {
  const Tensor line = numbers({1, 1, 3}, {0, 10, 40});
  EXPECT_TENSOR_NEAR(packed(resample(line, {5})), numbers({1, 1, 5}, {0, 5, 10, 25, 40}), 1e-14);
  EXPECT_TENSOR_NEAR(packed(resample(line, {2})), numbers({1, 1, 2}, {0, 40}), 1e-14);
  EXPECT_TENSOR_NEAR(packed(resample(line, {1})), numbers({1, 1, 1}, {0}), 0);
}

TEST(Resample, PlanesAgreeWithTorchsBicubicInterpolation) {
  // torch.nn.functional.interpolate(mode="bicubic", align_corners=True), torch 2.15, f64.
  const Tensor plane = numbers({1, 1, 4, 3}, {1, 4, 9, 2, 7, 3, 5, 6, 8, 0, 1, 2});
  EXPECT_TENSOR_NEAR(packed(resample(plane, {5, 2})),
                     numbers({1, 1, 5, 2}, {1, 9, 1.45703125, 3.83203125, 4.0625, 5.5, 4.18359375, 7.16796875, 0, 2}), 1e-13);
  EXPECT_TENSOR_NEAR(packed(resample(plane, {2, 4})),
                     numbers({1, 1, 2, 4}, {1, 2.5, 5.907407407407409, 9, 0, 0.574074074074074, 1.4259259259259265, 2}), 1e-13);
}

TEST(Resample, SpaceAgreesWithTheReferenceOnEvenGrids) {
  // neuraloperator 93d3f06, layers/resample.py, f64: the first plane of (4, 2, 4) points made (2, 4, 6).
  std::vector<double> values;
  for (int i = 0; i < 32; ++i) values.push_back(i * 7 % 11);
  const Tensor fine = packed(resample(numbers({1, 1, 4, 2, 4}, values), {2, 4, 6}));
  const std::vector<double> expected{-1.125, 7.082531754730548, 8.582531754730548, 1.875, 6.417468245269452, 4.917468245269452};
  const std::vector<double> actual = to_host<double>(fine);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-13) << i;
}

TEST(Resample, OddGridsOfSpaceKeepTheirHighestFrequency) {
  // cos(2 pi 2 z / 5) on 5 planes is a mode of 10 planes too.
  std::vector<double> coarse, fine;
  for (int z = 0; z < 5; ++z) coarse.push_back(std::cos(2 * M_PI * 2 * z / 5));
  for (int z = 0; z < 10; ++z) fine.push_back(std::cos(2 * M_PI * 2 * z / 10));
  EXPECT_TENSOR_NEAR(packed(resample(numbers({1, 1, 5, 1, 1}, coarse), {10, 1, 1})), numbers({1, 1, 10, 1, 1}, fine), 1e-13);
  EXPECT_TENSOR_NEAR(packed(resample(numbers({1, 1, 10, 1, 1}, fine), {5, 1, 1})), numbers({1, 1, 5, 1, 1}, coarse), 1e-13);
}

TEST(Resample, Gradients) {
  using testing::gradcheck;
  using testing::random_tensor;
  EXPECT_TRUE(gradcheck([](const auto& in) { return resample(in[0], {7}); }, {random_tensor({2, 1, 4}, 1)}));
  EXPECT_TRUE(gradcheck([](const auto& in) { return resample(in[0], {3, 6}); }, {random_tensor({1, 2, 4, 5}, 2)}));
  EXPECT_TRUE(gradcheck([](const auto& in) { return resample(in[0], {3, 2, 4}); }, {random_tensor({1, 1, 2, 3, 4}, 3)}));
  EXPECT_THROW(resample(random_tensor({1, 1, 4}, 1), {3, 3}), ShapeError);
}

}  // namespace
}  // namespace trident
