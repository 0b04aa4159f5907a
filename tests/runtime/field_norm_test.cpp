#include "runtime/ops/field_norm.h"

#include <gtest/gtest.h>

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
using Inputs = std::vector<Tensor>;

TEST(PowerSums, AddPowersOfMagnitudesPerLeadingIndex) {
  const Tensor x = from_values<double>({1, 2, 3}, std::vector{1.0, -2.0, 3.0, 0.0, -1.0, 0.5});
  EXPECT_TENSOR_NEAR(power_sums(x, 1, 1.0), from_values<double>({1, 2}, std::vector{6.0, 1.5}), 1e-15);
  EXPECT_TENSOR_NEAR(power_sums(x, 1, 2.0), from_values<double>({1, 2}, std::vector{14.0, 1.25}), 1e-15);
  EXPECT_TENSOR_NEAR(power_sums(x, 2, 3.0), from_values<double>({1}, std::vector{37.125}), 1e-15);
}

TEST(PowerSums, HaveTheRightGradient) {
  for (const double p : {1.0, 2.0, 3.0, 2.5}) {
    EXPECT_TRUE(gradcheck_on_every_device([p](const Inputs& v) { return power_sums(v[0], 2, p); }, {random_tensor({2, 2, 3, 5}, 1)})) << p;
  }
}

TEST(PowerSums, RefuseMoreAxesThanThereAre) {
  EXPECT_THROW(power_sums(random_tensor({3, 4}, 1), 2, 2.0), ShapeError);
  EXPECT_THROW(power_sums(random_tensor({3, 4}, 1), 1, 0.5), ShapeError);
}

/// The same from operations that others check.
Tensor by_rolls(const Tensor& x, const std::vector<double>& spacings) {
  const int axes = static_cast<int>(spacings.size());
  std::vector<int> dims;
  for (int axis = 0; axis < axes; ++axis) dims.push_back(x.rank() - axes + axis);
  Tensor total = sum(x * x, dims);
  for (int axis = 0; axis < axes; ++axis) {
    const int dim = dims[static_cast<std::size_t>(axis)];
    const Tensor d = affine(roll(x, dim, -1) - roll(x, dim, 1), 0.5 / spacings[static_cast<std::size_t>(axis)]);
    total = total + sum(d * d, dims);
  }
  return total;
}

TEST(SobolevSums, AreThoseOfPeriodicCentralDifferences) {
  for (const Shape& shape : {Shape{2, 3, 7}, Shape{2, 1, 5, 6}, Shape{3, 9, 16}, Shape{1, 2, 3, 4, 5}, Shape{2, 1, 2, 3}, Shape{1, 1, 2}}) {
    const Tensor x = random_tensor(shape, 3);
    const int axes = shape.rank() == 3 && shape[0] == 3 ? 2 : std::max(1, shape.rank() - 2);
    const std::vector<double> spacings{0.5, 0.25, 0.125};
    const std::vector<double> used(spacings.begin(), spacings.begin() + axes);
    const Tensor sums = sobolev_sums(x, used);
    EXPECT_TENSOR_NEAR(sums, reshape(by_rolls(x, used), sums.shape()), 1e-14) << to_string(shape);
  }
}

TEST(SobolevSums, TakeNeighboursThatAreGiven) {
  const Tensor whole = random_tensor({2, 2, 8, 6}, 4);
  const Tensor part = contiguous(slice(whole, 2, 3, 6));
  // The other axis stays periodic; the rows above and below are those of the whole field.
  const std::vector<Neighbours> rows{{contiguous(slice(whole, 2, 2, 3)), contiguous(slice(whole, 2, 6, 7))}, {}};
  Tensor sum_of_parts = sobolev_sums(part, {0.5, 0.25}, rows);
  const Tensor rest = concatenate({slice(whole, 2, 6, 8), slice(whole, 2, 0, 3)}, 2);
  sum_of_parts = sum_of_parts + sobolev_sums(rest, {0.5, 0.25}, {{slice(whole, 2, 5, 6), slice(whole, 2, 3, 4)}, {}});
  EXPECT_TENSOR_NEAR(sum_of_parts, sobolev_sums(whole, {0.5, 0.25}), 1e-14);
}

TEST(SobolevSums, HaveTheRightGradient) {
  EXPECT_TRUE(gradcheck_on_every_device([](const Inputs& v) { return sobolev_sums(v[0], {0.5}); }, {random_tensor({2, 2, 5}, 1)}));
  EXPECT_TRUE(gradcheck_on_every_device([](const Inputs& v) { return sobolev_sums(v[0], {0.5, 0.25}); }, {random_tensor({2, 1, 4, 5}, 2)}));
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const Inputs& v) {
        return sobolev_sums(v[0], {0.5, 0.25, 0.5});
      },
      {random_tensor({1, 2, 3, 2, 4}, 3)}));
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const Inputs& v) {
        return sobolev_sums(v[0], {0.5, 0.25}, {{v[1], v[2]}, {v[3], v[4]}});
      },
      {random_tensor({2, 1, 3, 4}, 4), random_tensor({2, 1, 1, 4}, 5), random_tensor({2, 1, 1, 4}, 6), random_tensor({2, 1, 3, 1}, 7),
       random_tensor({2, 1, 3, 1}, 8)}));
}

TEST(SobolevSums, OneSidedNeighboursDifferentiateCubicsExactlyAtTheEnds) {
  constexpr double kSpacing = 0.5;
  std::vector<double> values;
  for (int i = 0; i < 4; ++i) values.push_back(std::pow(kSpacing * i, 3));
  const Tensor x = from_values<double>({1, 4}, values);
  const auto [before, after] = one_sided_neighbours(x, -1);
  EXPECT_NEAR((values[1] - to_number(before)) / (2 * kSpacing), 0.0, 1e-14);
  EXPECT_NEAR((to_number(after) - values[2]) / (2 * kSpacing), 3.0 * 1.5 * 1.5, 1e-13);
  EXPECT_THROW(one_sided_neighbours(random_tensor({2, 3}, 1), 1), ShapeError);
}

TEST(SobolevSums, RefuseNeighboursThatDoNotFit) {
  const Tensor x = random_tensor({2, 1, 3, 4}, 1), face = random_tensor({2, 1, 1, 4}, 2);
  EXPECT_THROW(sobolev_sums(x, {0.5, 0.5}, {{face, face}}), ShapeError);
  EXPECT_THROW(sobolev_sums(x, {0.5, 0.5}, {{face, Tensor{}}, {}}), ShapeError);
  EXPECT_THROW(sobolev_sums(x, {0.5, 0.5}, {{}, {face, face}}), ShapeError);
  EXPECT_THROW(sobolev_sums(x, {0.5, 0.5, 0.5, 0.5}), ShapeError);
}

}  // namespace
}  // namespace trident
