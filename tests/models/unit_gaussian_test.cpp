#include "models/unit_gaussian.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

TEST(UnitGaussian, FitsMeanAndUnbiasedDeviationOfAChannel) {
  UnitGaussian normalizer;
  normalizer.fit(from_values<double>({2, 2, 2}, std::vector{1.0, 2.0, 5.0, 5.0, 3.0, 4.0, 7.0, 7.0}));
  EXPECT_TENSOR_NEAR(normalizer.mean(), from_values<double>({1, 2, 1}, std::vector{2.5, 6.0}), 1e-15);
  EXPECT_TENSOR_NEAR(normalizer.std(), from_values<double>({1, 2, 1}, std::vector{std::sqrt(5.0 / 3.0), std::sqrt(4.0 / 3.0)}), 1e-15);
}

TEST(UnitGaussian, FitsEachPoint) {
  UnitGaussian normalizer(FitPer::pixel);
  normalizer.fit(from_values<double>({2, 1, 2}, std::vector{1.0, 2.0, 3.0, 8.0}));
  EXPECT_TENSOR_NEAR(normalizer.mean(), from_values<double>({1, 1, 2}, std::vector{2.0, 5.0}), 1e-15);
  EXPECT_TENSOR_NEAR(normalizer.std(), from_values<double>({1, 1, 2}, std::vector{std::sqrt(2.0), std::sqrt(18.0)}), 1e-15);
}

TEST(UnitGaussian, DecodesWhatItEncoded) {
  const Tensor x = testing::random_tensor({3, 2, 4, 5}, 1);
  UnitGaussian normalizer;
  normalizer.fit(x);
  EXPECT_TENSOR_NEAR(normalizer.decode(normalizer.encode(x)), x, 1e-14);
}

TEST(UnitGaussian, IncrementalFitHasTheFactorOfTheReferenceOutsideOfTheRoot) {
  const Tensor x = testing::random_tensor({6, 1, 3}, 2);
  UnitGaussian whole, parts;
  whole.fit(x);
  for (std::int64_t first = 0; first < 6; first += 2) parts.add(contiguous(slice(x, 0, first, first + 2)));
  EXPECT_TENSOR_NEAR(parts.mean(), whole.mean(), 1e-13);
  const double n = 18.0;
  EXPECT_NEAR(to_number(parts.std()) / to_number(whole.std()), std::sqrt((n - 1.0) / n) * n / (n - 1.0), 1e-13);
}

TEST(UnitGaussian, RefusesASingleNumber) { EXPECT_THROW(UnitGaussian().fit(testing::random_tensor({1, 1, 1}, 1)), ShapeError); }

}  // namespace
}  // namespace trident
